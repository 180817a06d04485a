-- Decides one batch that holds more than plain checks of fixed windows: other algorithms, shadow limits, reservations
-- and their settlements, checks with an idempotency key, restores, heartbeats. Entries run in order, and a fault of one
-- does not affect the others. `prelude.lua` comes before it and describes KEYS[1], ARGV and the head of the answer;
-- then comes `counters.lua`.
--
-- KEYS[2..]  the keys of entry 1, then those of entry 2, and so on. Of an entry: those of each of its charges (the
--            counter's; of a sliding window also the previous window's; of a shadow limit also the one that counts the
--            checks it would have denied), then its reservation's record, then its idempotency key
--
-- ARGV[1]    [7] shapes: for each: cost (of a settlement: the cost it settles to), count (0: peek, charges nothing),
--            kind (0: a check; +1: reserved; +2: with an idempotency key; 4: commit; 5: cancel; 6: release; 7: a
--            restore, cost in all; 8: a heartbeat, which counts for cost ms, and count is when the replica had nothing
--            to write back, ms since the epoch, or 0; 9: cache an answer; 10: drop a cached answer), then for each
--            charge: window (index of its pair in [6], from 1), max, flags (4 * algorithm, 0: fixed window, 1: sliding
--            window, 2: token bucket, 3: concurrency, 4: sliding log; +2: a shadow limit; +1: check whether the key
--            still has a time to live), length in ms (of a sliding window, of the previous one), what else the
--            algorithm needs (when the next window ends, ms; burst; how long a slot is held, ms; of a log, when it is
--            charged, ms, or 0: now)
--            [8] entries: for each its shape, an index in [7] from 1
--            [9] idempotency: two values for each entry that needs them. A check with an idempotency key: the hash of
--            its arguments, the hash of its counters. An answer to cache: the encoded answer, its time to live in ms. A
--            cached answer to drop: its reservation, ''
--
-- Under the keys: windows and denials are integers; a token bucket is "LEVEL MS" or "LEVEL MS CREDITED": its level,
-- when that was valid, and how much was given back; concurrency is a sorted set of reservations, scored by when they
-- expire; a sliding log is MessagePack, a list of pairs of each charge's time, ms after the one before, and its amount,
-- oldest first; records and cached answers are MessagePack, see `record` and `cacheAnswer`.
--
-- Returns    for a check: how many were admitted (peek: 1 if it would be), followed by each charge's usage after that
--            (the counter; of a sliding window then the previous window; of concurrency the first and the last expiry;
--            of a log the 20 numbers of `pushLog`; of a shadow limit last its denials); or -1 alone: a window does not
--            hold now; or -3, when, the reservation or '', n, n numbers: it was charged before, and this was the
--            answer; or -4 alone: the idempotency key belongs to a check with other arguments; or a string alone: the
--            fault.
--            For a settlement: 1: done; 0: there is no such reservation, or it is spent; -5 alone: the cost it settles
--            to is more than can be counted, so nothing was done; -6 and a string: the fault of a counter, the others
--            are settled.
--            For an answer to cache: 1: done; 0: another one is cached. For one to drop: 1: done; 0: none of that
--            reservation is cached. For a restore: 1, the usage.
--            For a heartbeat: 1; one string "REPLICA MS MS REPLICA MS MS ...", the latest first: each replica, its last
--            heartbeat, and when it last had nothing to write back (0: never); then how many members of the lists name
--            no replica.
--
-- An entry reads all of its counters before it writes to any, so nothing has to be taken back. The exception is a
-- settlement's slots: they are freed first, because only that can fail, and freeing them twice does no harm.
--
-- If a settlement lowers counters of windows, buckets or logs, or raises one whose capacity returns gradually, so that
-- it takes longer, the script publishes on `PREFIX:1:changed` the keys' part up to the closing brace, each once. Freed
-- slots are not published: they are in no denial cache.

local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local RESERVED, WITH_KEY, COMMIT, CANCEL, RELEASE, RESTORE, HEARTBEAT, CACHE, DROP = 1, 2, 4, 5, 6, 7, 8, 9, 10
local MAX_LISTED_REPLICAS = 1024
local WINDOW_IS_OVER, REPLAYED, OTHER_ARGUMENTS, TOO_MUCH, SKIPPED = -1, -3, -4, -5, -6
local CACHED_ANSWER_TTL_MS = 600000
local SPENT = -1

local reply = {1, timeMs, previous}
local size = 3
local function push(value)
    size = size + 1
    reply[size] = value
end

-- Checks ------------------------------------------------------------------------------------------------------------

-- Writes what a settlement needs: {cost, or SPENT, when it was charged, charges, the idempotency key or ''}. `charges`
-- holds those that were applied: {algorithm, key}, then of windows: until when they count; of a log: its length and
-- when it was charged; of a bucket: max, length, the level after the charge, and how much had been given back of the
-- bucket before. The record lives as long as any of the entry's counters: a later settlement has nothing to change.
local function record(shape, firstKey, idempotencyKey)
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
    call('SET', KEYS[firstKey + shape.recordKey], pack({shape.cost, now, charged, idempotencyKey or ''}),
        'PXAT', format('%.0f', untilMs))
end

local function pushUsages(shape, list)
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        if charge.algorithm == SLIDING_LOG then
            pushLog(charge, i, shape.cost, list)
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
            list(denials[i])
        end
    end
end

local function isCount(number)
    return type(number) == 'number' and number >= 0 and number <= MAX_EXACT and number % 1 == 0
end

-- Whether it is what `cacheAnswer` wrote: {hash of the arguments, hash of the counters, when, the reservation or '',
-- then the usages}. `when` is negative if a replica admitted it locally and cached it later.
local function isCachedAnswer(answer)
    if type(answer) ~= 'table' or type(answer[1]) ~= 'string' or type(answer[2]) ~= 'string'
        or type(answer[3]) ~= 'number' or not isCount(math.abs(answer[3])) or type(answer[4]) ~= 'string'
        or not (answer[4] == '' or (#answer[4] == 32 and not find(answer[4], '[^0-9a-f]'))) then
        return false
    end
    for i = 5, #answer do
        if not isCount(answer[i]) then
            return false
        end
    end
    return true
end

-- Pushes the answer cached under an idempotency key; returns false if there is none.
local function pushCachedAnswer(shape, key, arguments, counters)
    local value = try('GET', key)
    if not value then
        return false
    end
    if type(value) == 'table' then
        push(value.err)
        return true
    end
    local isRead, answer = pcall(unpack, value)
    if not isRead or not isCachedAnswer(answer) then
        push('ERR value is not a memo')
    elseif answer[1] ~= arguments then
        push(OTHER_ARGUMENTS)
    else
        local count = answer[2] == counters and #answer - 4 == shape.usages and shape.usages or 0
        push(REPLAYED)
        push(answer[3])
        push(answer[4])
        push(count)
        for i = 1, count do
            push(answer[4 + i])
        end
    end
    return true
end

local function cacheAnswer(shape, key, reservation, arguments, counters)
    local answer = {arguments, counters, now, reservation}
    pushUsages(shape, function(number) answer[#answer + 1] = number end)
    call('SET', key, pack(answer), 'PX', CACHED_ANSWER_TTL_MS)
end

-- Drops the cached answer of the call with that reservation; returns 1 if it did.
local function dropCachedAnswer(key, reservation)
    local value = try('GET', key)
    if type(value) ~= 'string' then
        return 0
    end
    local isRead, answer = pcall(unpack, value)
    return isRead and isCachedAnswer(answer) and answer[4] == reservation and call('DEL', key) or 0
end

local function check(shape, firstKey, arguments, counters)
    local idempotencyKey = shape.idempotencyKey and KEYS[firstKey + shape.idempotencyKey]
    if idempotencyKey and pushCachedAnswer(shape, idempotencyKey, arguments, counters) then
        return
    end
    if not shape.holds then
        return push(WINDOW_IS_OVER)
    end
    local isPeek = shape.count == 0
    local admitted = isPeek and 1 or shape.count
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        local fault = readUsage(charge, i, firstKey, isPeek)
        if fault then
            return push(fault)
        end
        taken[i] = room(charge, i, shape.cost)
        if not charge.isShadow then
            admitted = min(admitted, taken[i])
        end
    end
    local reservation = shape.recordKey and string.sub(KEYS[firstKey + shape.recordKey], -32) or ''
    if not isPeek then
        if shape.takesSlots and reservation == '' then
            return push('ERR a slot is only for a reservation')
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
    push(admitted)
    pushUsages(shape, push)
    if not isPeek and admitted > 0 then
        if shape.recordKey then
            record(shape, firstKey, idempotencyKey)
        end
        if idempotencyKey then
            cacheAnswer(shape, idempotencyKey, reservation, arguments, counters)
        end
    end
end

-- Settlements --------------------------------------------------------------------------------------------------------

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

-- Tags of the counters that this settlement lowered, or raised where capacity returns gradually.
local lowerings = {}

local function lowered(key)
    local tag = match(key, '^[^}]*}')
    if tag and not lowerings[tag] then
        lowerings[tag] = true
        lowerings[#lowerings + 1] = tag
    end
end

-- The fault of a counter that this settlement should have changed, if any.
local skippedFault

-- A user without the right to publish can still settle. Without the right to subscribe, the denial cache is off.
local function publishLowerings()
    local prefix = match(KEYS[1], '^(.*:)replica:')
    for i = 1, prefix and #lowerings or 0 do
        try('PUBLISH', prefix .. 'changed', lowerings[i])
    end
    lowerings = {}
end

-- Whether the counter can count `difference` more.
local function holds(charge, difference)
    if charge[1] == TOKEN_BUCKET then
        local level, since = readBucket(charge[2])
        return not level or difference <= divide(MAX_EXACT - drained(level, since, charge[3]), charge[4])
    end
    if charge[1] == SLIDING_LOG then
        local times, _, sum = readLog(charge[2], charge[3])
        return charge[4] + charge[3] <= logNow or not times or difference <= MAX_EXACT - sum
    end
    return now >= charge[3] or difference <= MAX_EXACT - (readCounter(charge[2]) or 0)
end

-- Changes the usage of the window that was charged, while it still counts.
local function settleWindow(charge, difference)
    local countsUntilMs = charge[3]
    if now >= countsUntilMs then
        return
    end
    local usage, exists = readCounter(charge[2])
    if not usage then
        skippedFault = exists
        return
    end
    if difference > 0 then
        add(charge[2], difference, false, countsUntilMs + EXPIRY_SLACK_MS)
        if charge[1] == SLIDING_WINDOW then
            lowered(charge[2])
        end
    elseif exists and usage > 0 then
        call('DECRBY', charge[2], format('%.0f', min(-difference, usage)))
        lowered(charge[2])
    end
end

-- What has leaked of the charge is not given back: that room is usable already. What lay under the charge leaked first,
-- except for what was given back since. It is unknown whose that was, so all of it counts as part of what lay under the
-- charge.
local function settleBucket(charge, difference, chargedMs)
    local maximum, lengthMs, levelAfter, creditedBefore = charge[3], charge[4], charge[5], charge[6]
    local level, since, credited, exists = readBucket(charge[2])
    if not level then
        skippedFault = since
        return
    elseif difference < 0 and not exists then
        return
    end
    local keptMs = exists and call('PTTL', charge[2])
    if difference > 0 then
        level, since = drained(level, since, maximum) + difference * lengthMs, max(now, since)
    else
        -- Keeps the level of `since`: the next check computes how much has leaked, possibly with another maximum.
        local under = max(0, levelAfter - (credited - creditedBefore))
        -- Less was credited than before the charge: the bucket has been empty since, or the sum has restarted from 0.
        -- If the clock has stepped back the bucket does not leak, but what had leaked before has leaked.
        local leaked = maximum * max(0, max(now, since) - chargedMs)
        local rest = credited < creditedBefore and 0 or max(0, under - leaked)
        local credit = min(-difference * lengthMs, rest, level)
        level = level - credit
        credited = credited + credit > MAX_EXACT and 0 or credited + credit
    end
    writeBucket(charge[2], level, since, credited, keptMs, maximum, lengthMs)
    lowered(charge[2])
end

-- Changes the amount of a charge while it still counts.
local function settleLog(charge, difference)
    local lengthMs, ms = charge[3], charge[4]
    if ms + lengthMs <= logNow then
        return
    end
    local times, units, sum, exists = readLog(charge[2], lengthMs)
    if not times then
        skippedFault = units
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

-- Returns 1 or SKIPPED and the fault if something was still to be settled, 0 if nothing was; or a string: what went
-- wrong.
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
    skippedFault = nil
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
    -- A cancelled call was never made, so its cached answer is dropped.
    if settlesCost and shape.kind == CANCEL and reservation[4] ~= '' then
        dropCachedAnswer(reservation[4], string.sub(key, -32))
    end
    publishLowerings()
    cost = settlesCost and SPENT or cost
    if cost == SPENT and #rest == 0 then
        call('DEL', key)
    else
        call('SET', key, pack({cost, chargedMs, rest, reservation[4]}), 'KEEPTTL')
    end
    return skippedFault and SKIPPED or 1, skippedFault
end

-- Replicas ----------------------------------------------------------------------------------------------------------

-- Raises a counter to the usage that a replica saw before this store lost its data.
local function restore(shape, firstKey)
    if not shape.holds then
        return push(WINDOW_IS_OVER)
    end
    local charge = shape.charges[1]
    local fault = readUsage(charge, 1, firstKey, false)
    if fault then
        return push(fault)
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
    push(1)
    pushUsages(shape, push)
end

-- Writes a replica's time into a sorted set, and removes replicas whose time is older than `lifeMs`.
local function note(key, ms, lifeMs)
    local noted = try('ZADD', key, format('%.0f', ms), match(KEYS[1], '[^:]*$'))
    if type(noted) == 'table' then
        return noted.err
    end
    call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now - lifeMs))
    call('PEXPIREAT', key, format('%.0f', now + lifeMs))
end

-- The replicas of such a set, each followed by its time, and how many members name none; or nil and the fault. Members
-- that name no replica are removed as far as they were read: anybody may have written there. So are replicas whose time
-- is further ahead than a heartbeat counts: their clock ran ahead, and they return if they live.
local function listed(key, lifeMs)
    local found = try('ZRANGE', key, 0, MAX_LISTED_REPLICAS - 1, 'REV', 'WITHSCORES')
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

-- Records this replica's heartbeat and when it had nothing to write back, and pushes those of all replicas.
local function heartbeat(lifeMs, writtenBackMs, key, writtenBackKey)
    local fault = note(key, now, lifeMs) or writtenBackMs > 0 and note(writtenBackKey, writtenBackMs, lifeMs)
    if fault then
        return push(fault)
    end
    local replicas, unnamed = listed(key, lifeMs)
    local written, more = listed(writtenBackKey, lifeMs)
    if not replicas or not written then
        return push(replicas and more or unnamed)
    end
    local writtenBack, listing = {}, {}
    for i = 1, #written, 2 do
        writtenBack[written[i]] = written[i + 1]
    end
    for i = 1, #replicas, 2 do
        listing[#listing + 1] = replicas[i]
        listing[#listing + 1] = replicas[i + 1]
        listing[#listing + 1] = writtenBack[replicas[i]] or '0'
    end
    push(1)
    push(table.concat(listing, ' '))
    push(unnamed + more)
end

-- The batch ---------------------------------------------------------------------------------------------------------

-- Names the numbers of a shape and assigns its keys.
local function decodeShape(shape)
    shape.cost, shape.count, shape.kind = shape[1], shape[2], shape[3]
    shape.charges, shape.holds, shape.usages = {}, true, 0
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
        shape.usages = shape.usages + 1
        if algorithm == FIXED_WINDOW then
            charge.countsUntilMs = charge.endMs
        elseif algorithm == SLIDING_WINDOW then
            charge.countsUntilMs = extra
            keys = keys + 1
            shape.usages = shape.usages + 1
        elseif algorithm == SLIDING_LOG then
            shape.usages = shape.usages + 3 + 2 * LOG_STEPS
        elseif algorithm == CONCURRENCY then
            shape.takesSlots = true
            shape.usages = shape.usages + 2
        end
        if charge.isShadow then
            keys = keys + 1
            charge.denialsKey = keys
            shape.usages = shape.usages + 1
        end
        if now < windows[window - 1] or now >= windows[window] then
            shape.holds = false
        end
        shape.charges[#shape.charges + 1] = charge
    end
    if (shape.kind >= COMMIT and shape.kind ~= RESTORE) or (shape.kind < COMMIT and shape.kind % 2 == RESERVED) then
        keys = keys + (shape.kind == HEARTBEAT and 2 or 1)
        shape.recordKey = keys
    end
    if shape.kind < COMMIT and shape.kind >= WITH_KEY then
        keys = keys + 1
        shape.idempotencyKey = keys
    end
    shape.keys = keys
end

for i = 1, #shapes do
    decodeShape(shapes[i])
end

local firstKey, idempotencyAt = 1, 0
for e = 1, #entries do
    local shape = shapes[entries[e]]
    if shape.kind == RESTORE then
        restore(shape, firstKey)
    elseif shape.kind == HEARTBEAT then
        heartbeat(shape.cost, shape.count, KEYS[firstKey + 1], KEYS[firstKey + 2])
    elseif shape.kind == CACHE then
        local encoded, ttlMs = idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2]
        push(call('SET', KEYS[firstKey + 1], encoded, 'NX', 'PX', ttlMs) and 1 or 0)
        idempotencyAt = idempotencyAt + 2
    elseif shape.kind == DROP then
        push(dropCachedAnswer(KEYS[firstKey + 1], idempotency[idempotencyAt + 1]))
        idempotencyAt = idempotencyAt + 2
    elseif shape.kind >= COMMIT then
        local outcome, fault = settle(shape, KEYS[firstKey + 1])
        push(outcome)
        if fault then
            push(fault)
        end
    elseif shape.idempotencyKey then
        check(shape, firstKey, idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2])
        idempotencyAt = idempotencyAt + 2
    else
        check(shape, firstKey)
    end
    firstKey = firstKey + shape.keys
end
return reply
