-- Decides one batch in which there is more than plain checks of fixed windows: other algorithms, shadow limits,
-- reservations and their ends, checks with an id. Entries in order, none hurt by another's fault. `prelude.lua`
-- comes before it and tells of KEYS[1], ARGV and the head of the answer; then comes `counters.lua`.
--
-- KEYS[2..]  the keys of entry 1, then those of entry 2, and so on. Of an entry: those of each of its charges (the
--            counter's; of a sliding window, the one of the window before; of a shadow limit, the one of the checks
--            that it would have denied), then its reservation's record, then its memo
--
-- ARGV[1]    [7] shapes: for each: cost (at the end of a reservation: what it is settled to), count (0: peek, charges
--            nothing), kind (0: a check; +1: reserved; +2: with a memo; 4: commit; 5: cancel; 6: release; 7: an offer,
--            cost in all; 8: a heartbeat, which counts for cost ms, and count is when the replica had nothing to write
--            back, ms since the epoch, or 0; 9: an answer to be remembered; 10: one to be forgotten), then for
--            each charge: window (index of its pair in [6], from 1), max, flags (4 * algorithm, 0: fixed window,
--            1: sliding window, 2: token bucket, 3: concurrency, 4: sliding log; +2: a shadow limit; +1: look whether the key still has
--            a time to live), length in ms (of a sliding window, of the one before), what else the algorithm needs (when the window
--            after this one ends, ms; burst; how long a slot is held, ms; of a log, when it is charged, ms, or 0: now)
--            [8] entries: for each its shape, an index in [7] from 1
--            [9] memos: for each entry with a memo in turn the hash of its arguments, then that of its counters; for an
--            answer to be remembered the memo itself, then for how many ms; for one to be forgotten its reservation, then ''
--
-- What lies under the keys: windows and refusals, an integer; a token bucket, "LEVEL MS", its level and when it was
-- that; concurrency, a sorted set of reservations by the time at which they expire; a sliding log, MessagePack, a list of each
-- charge's time, ms after the one before, and its amount by turns, oldest first; records and memos, MessagePack,
-- see `record` and `remember`.
--
-- Returns    for each entry: how many of its checks were admitted (peek: 1 if it would be), followed by each charge's
--            tally after that (the counter; of a sliding window then the window before; of concurrency the first and
--            the last expiry; of a log the 20 numbers of `tellLog`; of a shadow limit at last its refusals); or -1 alone: a window does not hold now; or -3,
--            when, the reservation or '', n, n numbers: charged then, as it was told then; or -4 alone: the id is that
--            of a check with other arguments; or, as a string alone, what went wrong. For the end of a reservation:
--            1: done; 0: there is none, or it is spent; the same of an answer to be remembered (0: something else is) or
--            forgotten (0: nothing of that reservation is remembered). For an offer: 1, the tally. For a heartbeat: 1; as one
--            string "REPLICA MS MS REPLICA MS MS ...", the latest first: replicas, when each gave its last one, and when
--            it last had nothing to write back (0: never); and how many members of their lists named none. And for the end of a
--            reservation also -5 alone: what it is settled to would be more than can be counted, so nothing was done; or -6, and
--            as a string what went wrong with a counter: the others are settled.
--
-- An entry reads all of its counters before it writes to any: nothing has to be taken back. Only slots are freed first, since
-- that alone may be refused: what was freed may be freed again.
--
-- Whenever the end of a reservation lowers counters of windows or buckets, or raises one that makes room evenly, so that
-- it takes longer, that is published on `PREFIX:1:changed`: of their keys the part up to the end of the braces, each once.
-- Slots that are freed are not: nobody remembers them.

local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local RESERVED, REMEMBERED, COMMIT, CANCEL, RELEASE, OFFER, HEARTBEAT, REMEMBER, FORGET = 1, 2, 4, 5, 6, 7, 8, 9, 10
local MAX_REPLICAS_TOLD = 1024
local WINDOW_IS_OVER, REPLAYED, OTHER_ARGUMENTS, TOO_MUCH, PASSED_OVER = -1, -3, -4, -5, -6
local MEMO_TTL_MS = 600000
local SPENT = -1

local reply = {1, timeMs, previous}
local size = 3
local function tell(value)
    size = size + 1
    reply[size] = value
end

-- Checks ------------------------------------------------------------------------------------------------------------

-- Writes what it takes to settle the reservation: {cost, or SPENT, when it was charged, charges, the memo's key
-- or ''}. Charges are those
-- that were applied: {algorithm, key}, then of windows: until when they count; of a log: its length, and when it was
-- charged; of a bucket: max, length, level after the charge, what had been given back of the bucket by then.
-- It lives for as long as any of the entry's counters, for whoever settles it late asks about nothing any more.
local function record(shape, firstKey, memoKey)
    local charged, untilMs = {}, now + 1
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        local entry = {charge.algorithm, KEYS[firstKey + charge.key]}
        if charge.algorithm == TOKEN_BUCKET then
            entry[3], entry[4], entry[5], entry[6] = charge.max, charge.lengthMs, used[i], credits[i]
            untilMs = max(untilMs, countsUntil(used[i], lastMs[i], charge.max, charge.lengthMs))
        elseif charge.algorithm == CONCURRENCY then
            untilMs = max(untilMs, now + charge.holdMs)
        elseif charge.algorithm == SLIDING_LOG then
            entry[3], entry[4] = charge.lengthMs, logCharged[i]
            untilMs = max(untilMs, logCharged[i] + charge.lengthMs)
        else
            entry[3] = charge.countsUntilMs
            untilMs = max(untilMs, charge.countsUntilMs)
        end
        if taken[i] > 0 then
            charged[#charged + 1] = entry
        end
    end
    call('SET', KEYS[firstKey + shape.recordKey], pack({shape.cost, now, charged, memoKey or ''}),
        'PXAT', format('%.0f', untilMs))
end

local function tellTallies(shape, list)
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        if charge.algorithm == SLIDING_LOG then
            tellLog(charge, i, shape.cost, list)
        else
            list(used[i])
        end
        if charge.algorithm == SLIDING_WINDOW then
            list(before[i])
        elseif charge.algorithm == CONCURRENCY then
            list(firstExpiry[i])
            list(lastExpiry[i])
        end
        if charge.isShadow then
            list(refusals[i])
        end
    end
end

local function isCount(number)
    return type(number) == 'number' and number >= 0 and number <= MAX_EXACT and number % 1 == 0
end

-- Whether it is what `remember` wrote: {hash of the arguments, hash of the counters, when, the reservation or '',
-- then the tallies}. When is negative if a replica admitted it alone, and told so later.
local function isMemo(memo)
    if type(memo) ~= 'table' or type(memo[1]) ~= 'string' or type(memo[2]) ~= 'string' or type(memo[3]) ~= 'number' or not isCount(math.abs(memo[3]))
        or type(memo[4]) ~= 'string' or not (memo[4] == '' or (#memo[4] == 32 and not find(memo[4], '[^0-9a-f]'))) then
        return false
    end
    for i = 5, #memo do
        if not isCount(memo[i]) then
            return false
        end
    end
    return true
end

-- Tells what is remembered under a memo's key; false if nothing is.
local function recall(shape, key, arguments, counters)
    local value = try('GET', key)
    if not value then
        return false
    end
    if type(value) == 'table' then
        tell(value.err)
        return true
    end
    local isRead, memo = pcall(unpack, value)
    if not isRead or not isMemo(memo) then
        tell('ERR value is not a memo')
    elseif memo[1] ~= arguments then
        tell(OTHER_ARGUMENTS)
    else
        local count = memo[2] == counters and #memo - 4 == shape.tallies and shape.tallies or 0
        tell(REPLAYED)
        tell(memo[3])
        tell(memo[4])
        tell(count)
        for i = 1, count do
            tell(memo[4 + i])
        end
    end
    return true
end

local function remember(shape, key, reservation, arguments, counters)
    local memo = {arguments, counters, now, reservation}
    tellTallies(shape, function(number) memo[#memo + 1] = number end)
    call('SET', key, pack(memo), 'PX', MEMO_TTL_MS)
end

-- Forgets what is remembered of the call with that reservation; 1 if it was.
local function forget(key, reservation)
    local value = try('GET', key)
    if type(value) ~= 'string' then
        return 0
    end
    local isRead, memo = pcall(unpack, value)
    return isRead and isMemo(memo) and memo[4] == reservation and call('DEL', key) or 0
end

local function check(shape, firstKey, arguments, counters)
    local memoKey = shape.memoKey and KEYS[firstKey + shape.memoKey]
    if memoKey and recall(shape, memoKey, arguments, counters) then
        return
    end
    if not shape.holds then
        return tell(WINDOW_IS_OVER)
    end
    local isPeek = shape.count == 0
    local admitted = isPeek and 1 or shape.count
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        local fault = look(charge, i, firstKey, isPeek)
        if fault then
            return tell(fault)
        end
        taken[i] = room(charge, i, shape.cost)
        if not charge.isShadow then
            admitted = min(admitted, taken[i])
        end
    end
    local reservation = shape.recordKey and string.sub(KEYS[firstKey + shape.recordKey], -32) or ''
    if not isPeek then
        if shape.takesSlots and reservation == '' then
            return tell('ERR a slot is only for a reservation')
        end
        for i = 1, #shape.charges do
            local charge = shape.charges[i]
            taken[i] = charge.isShadow and min(admitted, taken[i]) or admitted
            apply(charge, i, shape.cost, taken[i], admitted - taken[i], firstKey, reservation)
        end
    end
    if isPeek then
        for i = 1, #shape.charges do
            retain(shape.charges[i], i, firstKey)
        end
    end
    tell(admitted)
    tellTallies(shape, tell)
    if not isPeek and admitted > 0 then
        if shape.recordKey then
            record(shape, firstKey, memoKey)
        end
        if memoKey then
            remember(shape, memoKey, reservation, arguments, counters)
        end
    end
end

-- Ends of reservations ----------------------------------------------------------------------------------------------

-- Whether it is what `record` wrote.
local function isRecord(value)
    if type(value) ~= 'table' or not (isCount(value[1]) or value[1] == SPENT) or not isCount(value[2])
        or type(value[3]) ~= 'table' or type(value[4]) ~= 'string' then
        return false
    end
    for i = 1, #value[3] do
        local charge = value[3][i]
        if type(charge) ~= 'table' or type(charge[2]) ~= 'string' then
            return false
        end
        local numbers = ({[FIXED_WINDOW] = 3, [SLIDING_WINDOW] = 3, [TOKEN_BUCKET] = 6, [CONCURRENCY] = 2, [SLIDING_LOG] = 4})[charge[1]]
        for at = 3, numbers or 0 do
            if not isCount(charge[at]) then
                return false
            end
        end
        if not numbers then
            return false
        end
    end
    return true
end

-- Which tags the settlement at hand has lowered counters of, or raised those that make room evenly.
local lowerings = {}

local function lowered(key)
    local tag = match(key, '^[^}]*}')
    if tag and not lowerings[tag] then
        lowerings[tag] = true
        lowerings[#lowerings + 1] = tag
    end
end

-- What is wrong with a counter that the settlement at hand should have changed, if anything is.
local passedOver

-- A user who may not publish can still settle; who may not subscribe either remembers no refusals.
local function publishLowerings()
    local prefix = match(KEYS[1], '^(.*:)replica:')
    for i = 1, prefix and #lowerings or 0 do
        try('PUBLISH', prefix .. 'changed', lowerings[i])
    end
    lowerings = {}
end

-- Whether so much more can be counted.
local function holds(charge, difference)
    if charge[1] == TOKEN_BUCKET then
        local level, since = readBucket(charge[2])
        return not level or difference <= divide(MAX_EXACT - drained(level, since, charge[3]), charge[4])
    end
    if charge[1] == SLIDING_LOG then
        local times, _, sum = readLog(charge[2], charge[3])
        return charge[4] + charge[3] <= logNow or not times or difference <= MAX_EXACT - sum
    end
    return now >= charge[3] or difference <= MAX_EXACT - (readTally(charge[2]) or 0)
end

-- Changes the tally of the window that was charged, while it still counts.
local function settleWindow(charge, difference)
    local countsUntilMs = charge[3]
    if now >= countsUntilMs then
        return
    end
    local tally, exists = readTally(charge[2])
    if not tally then
        passedOver = exists
        return
    end
    if difference > 0 then
        add(charge[2], difference, false, countsUntilMs + EXPIRY_SLACK_MS)
        if charge[1] == SLIDING_WINDOW then
            lowered(charge[2])
        end
    elseif exists and tally > 0 then
        call('DECRBY', charge[2], format('%.0f', min(-difference, tally)))
        lowered(charge[2])
    end
end

-- What has leaked of the charge is not given back: it is there to be used already. What lay under it leaked first, but
-- for what was given back of that since; whose that was is not known, so all of it counts as what lay under it.
local function settleBucket(charge, difference, chargedMs)
    local maximum, lengthMs, levelAfter, creditedBefore = charge[3], charge[4], charge[5], charge[6]
    local level, since, credited, exists = readBucket(charge[2])
    if not level then
        passedOver = since
        return
    elseif difference < 0 and not exists then
        return
    end
    local keptMs = exists and call('PTTL', charge[2])
    if difference > 0 then
        level, since = drained(level, since, maximum) + difference * lengthMs, max(now, since)
    else
        -- It stays the level of then: by how much it has leaked since is for the next check to say, whose maximum may be
        -- another.
        local under = max(0, levelAfter - (credited - creditedBefore))
        -- Less was credited than before the charge: the bucket has been empty since, or the sum has begun anew.
        -- Where the clock has stepped back the bucket stands still, but what had leaked by then has leaked.
        local leaked = maximum * max(0, max(now, since) - chargedMs)
        local rest = credited < creditedBefore and 0 or max(0, under - leaked)
        local credit = min(-difference * lengthMs, rest, level)
        level = level - credit
        credited = credited + credit > MAX_EXACT and 0 or credited + credit
    end
    writeBucket(charge[2], level, since, credited, keptMs, maximum, lengthMs)
    lowered(charge[2])
end

-- Changes the amount of a charge, while it still counts.
local function settleLog(charge, difference)
    local lengthMs, ms = charge[3], charge[4]
    if ms + lengthMs <= logNow then
        return
    end
    local times, units, sum, exists = readLog(charge[2], lengthMs)
    if not times then
        passedOver = units
        return
    end
    if difference > 0 then
        addToLog(times, units, difference, ms)
    elseif exists and sum > 0 then
        takeFromLog(times, units, -difference, ms)
    else
        return
    end
    writeLog(charge[2], times, units, lengthMs)
    lowered(charge[2])
end

local settlers = {
    [FIXED_WINDOW] = settleWindow, [SLIDING_WINDOW] = settleWindow, [TOKEN_BUCKET] = settleBucket,
    [SLIDING_LOG] = settleLog,
}

-- Whether anything of it was still to be done, and if so what it passed over; or what went wrong.
local function settle(shape, key)
    local value = try('GET', key)
    if not value then
        return 0
    end
    if type(value) == 'table' then
        return value.err
    end
    local isRead, reservation = pcall(unpack, value)
    if not isRead or not isRecord(reservation) then
        return 'ERR value is not a reservation'
    end
    local cost, chargedMs, charges = reservation[1], reservation[2], reservation[3]
    local settlesCost, freesSlots = shape.kind ~= RELEASE and cost ~= SPENT, false
    local difference = (shape.kind == COMMIT and shape.cost or 0) - cost
    for i = 1, #charges do
        local charge = charges[i]
        if charge[1] == CONCURRENCY then
            local freed = shape.kind ~= COMMIT and try('ZREM', charge[2], string.sub(key, -32))
            if type(freed) == 'table' then
                return freed.err
            end
        elseif settlesCost and difference > 0 and not holds(charge, difference) then
            return TOO_MUCH
        end
    end
    local rest = {}
    passedOver = nil
    for i = 1, #charges do
        local charge = charges[i]
        if charge[1] == CONCURRENCY and shape.kind ~= COMMIT then
            freesSlots = true
        elseif charge[1] == CONCURRENCY or not settlesCost then
            rest[#rest + 1] = charge
        elseif difference ~= 0 then
            settlers[charge[1]](charge, difference, chargedMs)
        end
    end
    if not settlesCost and not freesSlots then
        return 0
    end
    -- A call that was never made is not remembered as one that was admitted.
    if settlesCost and shape.kind == CANCEL and reservation[4] ~= '' then
        forget(reservation[4], string.sub(key, -32))
    end
    publishLowerings()
    cost = settlesCost and SPENT or cost
    if cost == SPENT and #rest == 0 then
        call('DEL', key)
    else
        call('SET', key, pack({cost, chargedMs, rest, reservation[4]}), 'KEEPTTL')
    end
    return passedOver and PASSED_OVER or 1, passedOver
end

-- Replicas ----------------------------------------------------------------------------------------------------------

-- Raises a counter to what a replica saw before this store forgot.
local function offer(shape, firstKey)
    if not shape.holds then
        return tell(WINDOW_IS_OVER)
    end
    local charge = shape.charges[1]
    local fault = look(charge, 1, firstKey, false)
    if fault then
        return tell(fault)
    end
    if charge.algorithm == SLIDING_LOG then
        local ms = logTime(charge, logTimes[1])
        if ms > logNow - charge.lengthMs then
            used[1] = used[1] + raiseLog(logTimes[1], logUnits[1], shape.cost, ms)
            writeLog(KEYS[firstKey + charge.key], logTimes[1], logUnits[1], charge.lengthMs)
        end
    else
        local more = max(0, shape.cost - used[1])
        apply(charge, 1, more, more > 0 and 1 or 0, 0, firstKey, '')
    end
    tell(1)
    tellTallies(shape, tell)
end

-- Writes when a replica did something into a list of them, and removes those that have not done it for long.
local function note(key, ms, lifeMs)
    local noted = try('ZADD', key, format('%.0f', ms), match(KEYS[1], '[^:]*$'))
    if type(noted) == 'table' then
        return noted.err
    end
    call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now - lifeMs))
    call('PEXPIREAT', key, format('%.0f', now + lifeMs))
end

-- The replicas of such a list, each with its time behind it, and how many members name none; or nil and what is wrong. What
-- names no replica is taken out, as far as it was looked at: anybody may have written to it. So is a replica whose time is
-- further ahead than a heartbeat counts: its clock ran ahead, and it comes again if it lives.
local function listed(key, lifeMs)
    local found = try('ZRANGE', key, 0, MAX_REPLICAS_TOLD - 1, 'REV', 'WITHSCORES')
    if found.err then
        return nil, found.err
    end
    local replicas, unnamed = {}, 0
    for i = 1, #found, 2 do
        local replica, ms = found[i], tonumber(found[i + 1])
        local isNamed = #replica == 16 and not find(replica, '[^0-9a-f]')
        if isNamed and ms > now - lifeMs and ms <= now + lifeMs and ms % 1 == 0 then
            replicas[#replicas + 1] = replica
            replicas[#replicas + 1] = format('%.0f', ms)
        else
            call('ZREM', key, replica)
            unnamed = unnamed + (isNamed and 0 or 1)
        end
    end
    return replicas, unnamed
end

-- Notes that this replica lives, and whether it has written back, and tells of all.
local function heartbeat(lifeMs, writtenBackMs, key, writtenBackKey)
    local fault = note(key, now, lifeMs) or writtenBackMs > 0 and note(writtenBackKey, writtenBackMs, lifeMs)
    if fault then
        return tell(fault)
    end
    local replicas, unnamed = listed(key, lifeMs)
    local written, more = listed(writtenBackKey, lifeMs)
    if not replicas or not written then
        return tell(replicas and more or unnamed)
    end
    local writtenBack, told = {}, {}
    for i = 1, #written, 2 do
        writtenBack[written[i]] = written[i + 1]
    end
    for i = 1, #replicas, 2 do
        told[#told + 1] = replicas[i]
        told[#told + 1] = replicas[i + 1]
        told[#told + 1] = writtenBack[replicas[i]] or '0'
    end
    tell(1)
    tell(table.concat(told, ' '))
    tell(unnamed + more)
end

-- The batch ---------------------------------------------------------------------------------------------------------

-- Gives the numbers of a shape their names, and its keys their places.
local function understand(shape)
    shape.cost, shape.count, shape.kind = shape[1], shape[2], shape[3]
    shape.charges, shape.holds, shape.tallies = {}, true, 0
    local keys = 0
    for at = 4, #shape, 5 do
        local window, flags, lengthMs, extra = shape[at] * 2, shape[at + 2], shape[at + 3], shape[at + 4]
        local algorithm = floor(flags / 4)
        local charge = {
            algorithm = algorithm, max = shape[at + 1], lengthMs = lengthMs, holdMs = extra, endMs = windows[window],
            capacity = algorithm == TOKEN_BUCKET and extra or shape[at + 1],
            isShadow = flags % 4 >= 2, verifies = flags % 2 == 1, key = keys + 1,
        }
        keys = keys + 1
        shape.tallies = shape.tallies + 1
        if algorithm == FIXED_WINDOW then
            charge.countsUntilMs = charge.endMs
        elseif algorithm == SLIDING_WINDOW then
            charge.countsUntilMs = extra
            keys = keys + 1
            shape.tallies = shape.tallies + 1
        elseif algorithm == SLIDING_LOG then
            shape.tallies = shape.tallies + 3 + 2 * LOG_STEPS
        elseif algorithm == CONCURRENCY then
            shape.takesSlots = true
            shape.tallies = shape.tallies + 2
        end
        if charge.isShadow then
            keys = keys + 1
            charge.refusalsKey = keys
            shape.tallies = shape.tallies + 1
        end
        if now < windows[window - 1] or now >= windows[window] then
            shape.holds = false
        end
        shape.charges[#shape.charges + 1] = charge
    end
    if (shape.kind >= COMMIT and shape.kind ~= OFFER) or (shape.kind < COMMIT and shape.kind % 2 == RESERVED) then
        keys = keys + (shape.kind == HEARTBEAT and 2 or 1)
        shape.recordKey = keys
    end
    if shape.kind < COMMIT and shape.kind >= REMEMBERED then
        keys = keys + 1
        shape.memoKey = keys
    end
    shape.keys = keys
end

for i = 1, #shapes do
    understand(shapes[i])
end

local firstKey, memo = 1, 0
for e = 1, #entries do
    local shape = shapes[entries[e]]
    if shape.kind == OFFER then
        offer(shape, firstKey)
    elseif shape.kind == HEARTBEAT then
        heartbeat(shape.cost, shape.count, KEYS[firstKey + 1], KEYS[firstKey + 2])
    elseif shape.kind == REMEMBER then
        tell(call('SET', KEYS[firstKey + 1], memos[memo + 1], 'NX', 'PX', memos[memo + 2]) and 1 or 0)
        memo = memo + 2
    elseif shape.kind == FORGET then
        tell(forget(KEYS[firstKey + 1], memos[memo + 1]))
        memo = memo + 2
    elseif shape.kind >= COMMIT then
        local outcome, fault = settle(shape, KEYS[firstKey + 1])
        tell(outcome)
        if fault then
            tell(fault)
        end
    elseif shape.memoKey then
        check(shape, firstKey, memos[memo + 1], memos[memo + 2])
        memo = memo + 2
    else
        check(shape, firstKey)
    end
    firstKey = firstKey + shape.keys
end
return reply
