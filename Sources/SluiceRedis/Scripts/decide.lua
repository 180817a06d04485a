-- Decides one batch that holds more than plain checks of fixed windows: other algorithms, shadow limits, reservations
-- and their settlements, charges and refunds, checks with an idempotency key, restores, heartbeats, overrides. Entries run in order, and a fault of one
-- does not affect the others. `prelude.lua` comes before it and describes KEYS[1], ARGV and the head of the answer;
-- then come `checks.lua`, which decides the first entries if they are simple, `usage.lua` and `counters.lua`.
--
-- KEYS[2..]  the keys of entry 1, then those of entry 2, and so on. Of an entry: those of each of its charges (the
--            counter's; of a sliding window also the previous window's; of a shadow limit also the one that counts the
--            checks it would have denied), then its reservation's record, then its idempotency key
--
-- ARGV[1]    [10] windows: start, end (exclusive), start, end ... in ms since the epoch
--            [11] shapes, what entries have in common: for each: cost (of a settlement: the cost it settles to), count (0: peek, charges nothing),
--            kind (0: a check; +1: reserved; +2: with an idempotency key; 4: commit; 5: cancel; 6: release; 7: a
--            restore, cost in all; 8: a heartbeat, which counts for cost ms, and count is when the replica had nothing
--            to write back, ms since the epoch, or 0; 9: cache an answer; 10: drop a cached answer; 11: clear a counter; 12: the overrides,
--            cost: for how long the change holds, ms, 0: it ends; count: the version that is known; +16: a charge whatever
--            the maxima say; +32: a refund), then for each
--            charge: window (index of its pair in [10], from 1), max, flags (4 * the algorithm's number; +32: counts calls,
--            whatever they cost; +64: its windows differ in length; +2: a shadow limit; +1: check whether the key still has a time to live), length in
--            ms, what else the algorithm needs
--            [12] entries: for each its shape, an index in [11] from 1
--            [13] idempotency: two values for each entry that needs them. A check with an idempotency key: the hash of
--            its arguments, the hash of its counters. An answer to cache: the encoded answer, its time to live in ms. A
--            cached answer to drop: its reservation, ''. Overrides: which one to change, '': none, and its maximum
--
-- Under the keys: the overrides are text: their version (a time in ms that every change raises), then for each a space, its
-- name, a space, the maximum, a space, and when it ends, ms; each algorithm's file says what is in its own; denials are integers; records and cached answers are
-- MessagePack, see `record` and `cacheAnswer`.
--
-- Returns    for a check: how many were admitted (peek: 1 if it would be), followed by each charge's usage after that
--            (the numbers that its algorithm lists; of a shadow limit last its denials); or -1 alone: a window does not
--            hold now; or -3, when, the reservation or '', n, n numbers: it was charged before, and this was the
--            answer; or -4 alone: the idempotency key belongs to a check with other arguments; or a string alone: the
--            fault. For a charge 1 if it fitted, for a refund 1; then the same.
--            For a settlement: 1: done; 0: there is no such reservation, or it is spent; -5 alone: the cost it settles
--            to is more than can be counted, so nothing was done; -6 and a string: the fault of a counter, the others
--            are settled.
--            For an answer to cache: 1: done; 0: another one is cached. For one to drop: 1: done; 0: none of that
--            reservation is cached. For a restore: 1, the usage. For a clear: 1, the usage before it.
--            For a heartbeat: 1; one string "REPLICA MS MS REPLICA MS MS ...", the latest first: each replica, its last
--            heartbeat, and when it last had nothing to write back (0: never); then how many members of the lists name
--            no replica. For overrides: 1: done, 0: there was none to end, 2: there are too many; the version; the list, '' if
--            its version is the known one. After the last entry: what the batch published, see below.
--
-- An entry reads all of its counters before it writes to any, so nothing has to be taken back. The exception is a
-- settlement's slots: they are freed first, because only that can fail, and freeing them twice does no harm.
--
-- If a settlement or a refund lowers counters of windows, buckets or logs, or raises one whose capacity returns gradually,
-- so that it takes longer, or a charge raises such a one beyond its maximum, the script publishes on `PREFIX:2:changed`
-- the keys' part up to the end of the owner, each once, and reports it to the replica. Freed
-- slots are not published: they are in no denial cache. Of counters that were cleared it publishes the keys, too, so that no
-- replica restores what it saw of them before. A change of the overrides publishes their key.

local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local RESERVED, WITH_KEY, COMMIT, CANCEL, RELEASE, RESTORE, HEARTBEAT, CACHE, DROP, CLEAR, OVERRIDES =
    1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12
local MAX_LISTED_REPLICAS = 1024
local MAX_OVERRIDES = 1000
-- How long the version of an empty list is kept: longer than a replica waits before it reads the list again.
local OVERRIDES_VERSION_TTL_MS = 3600000
local WINDOW_IS_OVER, REPLAYED, OTHER_ARGUMENTS, TOO_MUCH, SKIPPED = -1, -3, -4, -5, -6
local CACHED_ANSWER_TTL_MS = 600000
-- How long a reservation can be settled after the last of what it charged has stopped to count.
local SETTLE_SLACK_MS = 600000
local SPENT = -1

local function push(value)
    size = size + 1
    reply[size] = value
end

-- Checks ------------------------------------------------------------------------------------------------------------

-- Reads the usage for one charge; returns the fault, or nil.
local function readUsage(charge, i, firstKey, isPeek)
    local fault = charge.algorithm.read(charge, i, firstKey, isPeek)
    if not fault and charge.isShadow then
        denials[i], fault = readCounter(KEYS[firstKey + charge.denialsKey])
        fault = not denials[i] and fault
    end
    return fault
end

-- What a check of this cost takes of a limit.
local function unitsOf(charge, cost)
    return charge.countsCalls and 1 or cost
end

-- Charges `n` admitted checks; `denied` more would not have fitted a shadow limit.
local function apply(charge, i, cost, n, denied, firstKey, reservation)
    cost = unitsOf(charge, cost)
    if n > 0 then
        charge.algorithm.apply(charge, i, KEYS[firstKey + charge.key], cost * n, reservation)
    else
        charge.algorithm.retain(charge, i, firstKey)
    end
    if charge.isShadow then
        local more = max(0, min(denied, MAX_EXACT - denials[i]))
        denials[i] = denials[i] + more
        local expiresAtMs = charge.countsUntilMs and charge.countsUntilMs + EXPIRY_SLACK_MS or now + DENIALS_TTL_MS
        add(KEYS[firstKey + charge.denialsKey], more, charge.verifies, expiresAtMs)
    end
end

-- Writes what a settlement needs: {cost, or SPENT, when it was charged, charges, the idempotency key or ''}. `charges`
-- holds those that were applied: {n, key}, then what algorithm n adds; of those that count calls n + 8. The record lives
-- longer than any of the entry's counters, so that what a call cost more can be charged to an open window.
local function record(shape, firstKey, idempotencyKey)
    local charged, untilMs = {}, now + 1
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        local number = charge.number + (charge.countsCalls and not charge.algorithm.takesSlots and 8 or 0)
        local entry = {number, KEYS[firstKey + charge.key]}
        untilMs = max(untilMs, charge.algorithm.record(charge, i, entry) + (charge.countsCalls and 0 or SETTLE_SLACK_MS))
        if taken[i] > 0 then
            charged[#charged + 1] = entry
        end
    end
    call('SET', KEYS[firstKey + shape.recordKey], pack({shape.cost, now, charged, idempotencyKey or ''}),
        'PXAT', format('%.0f', untilMs))
end

local function pushUsages(shape, list, cost)
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        charge.algorithm.usage(charge, i, list, unitsOf(charge, cost))
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

local function cacheAnswer(shape, key, reservation, arguments, counters, cost)
    local answer = {arguments, counters, now, reservation}
    pushUsages(shape, function(number) answer[#answer + 1] = number end, cost)
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
        local left = max(0, charge.algorithm.room(charge, i))
        taken[i] = divide(left, unitsOf(charge, shape.cost))
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
            shape.charges[i].algorithm.retain(shape.charges[i], i, firstKey)
        end
    end
    push(admitted)
    pushUsages(shape, push, shape.cost)
    if not isPeek and admitted > 0 then
        if shape.recordKey then
            record(shape, firstKey, idempotencyKey)
        end
        if idempotencyKey then
            cacheAnswer(shape, idempotencyKey, reservation, arguments, counters, shape.cost)
        end
    end
end

-- Charges and refunds -----------------------------------------------------------------------------------------------

-- Reads the usage for all charges, slots without freeing any. Returns whether it could; else it pushes why not.
local function readAll(shape, firstKey)
    local fault = not shape.holds and WINDOW_IS_OVER
    for i = 1, fault and 0 or #shape.charges do
        fault = fault or readUsage(shape.charges[i], i, firstKey, true)
    end
    if fault then
        push(fault)
    end
    return not fault
end

-- Charges a cost whatever the maxima say, or gives it back. It is that of a call that was counted when it was checked, so
-- limits that count calls are only read. The wait is reported for a cost of 1.
local function account(shape, firstKey, arguments, counters)
    local idempotencyKey = shape.idempotencyKey and KEYS[firstKey + shape.idempotencyKey]
    if idempotencyKey and pushCachedAnswer(shape, idempotencyKey, arguments, counters) then
        return
    end
    if not readAll(shape, firstKey) then
        return
    end
    local fits = 1
    for i = 1, #shape.charges do
        local charge = shape.charges[i]
        local algorithm, key = charge.algorithm, KEYS[firstKey + charge.key]
        if charge.countsCalls then
            algorithm.retain(charge, i, firstKey)
        elseif shape.isRefund then
            algorithm.refund(charge, i, key, shape.cost, firstKey)
        else
            local exceeds = algorithm.room(charge, i) < shape.cost
            local amount = min(shape.cost, spare(charge, i))
            if amount > 0 then
                algorithm.apply(charge, i, key, amount, '')
            end
            if exceeds and charge.number ~= 0 then
                lowered(key)
            end
            if exceeds and not charge.isShadow then
                fits = 0
            end
        end
    end
    push(fits)
    pushUsages(shape, push, 1)
    if idempotencyKey then
        cacheAnswer(shape, idempotencyKey, '', arguments, counters, 1)
    end
end

-- Gives back all that a counter holds, and reports what that was. Slots are only read: their calls go on.
local function clear(shape, firstKey)
    if not readAll(shape, firstKey) then
        return
    end
    local charge = shape.charges[1]
    push(1)
    pushUsages(shape, push, 1)
    local algorithm, key = charge.algorithm, KEYS[firstKey + charge.key]
    if not algorithm.refund then
        return
    end
    if used[1] > 0 then
        algorithm.refund(charge, 1, key, MAX_EXACT, firstKey)
    end
    if algorithm.clearBefore then
        algorithm.clearBefore(charge, 1, firstKey)
    end
    lowerings[#lowerings + 1] = key
end

-- Settlements --------------------------------------------------------------------------------------------------------

-- The algorithm of a charge that `record` wrote, and whether it counts calls.
local function recordedAlgorithm(number)
    if type(number) ~= 'number' then
        return nil
    end
    return algorithmOf(number % 8), number >= 8
end

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
        local algorithm = recordedAlgorithm(charge[1])
        for at = 3, algorithm and algorithm.recorded or 0 do
            if not isCount(charge[at]) then
                return false
            end
        end
        if not algorithm then
            return false
        end
    end
    return true
end

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
    -- A call that was made counts as one, whatever it cost in the end.
    local callsDifference = shape.kind == COMMIT and 0 or -1
    for i = 1, #charges do
        local charge = charges[i]
        local algorithm, countsCalls = recordedAlgorithm(charge[1])
        if algorithm.takesSlots then
            local freed = shape.kind ~= COMMIT and try('ZREM', charge[2], string.sub(key, -32))
            if type(freed) == 'table' then
                return freed.err
            end
        elseif settlesCost and difference > 0 and not countsCalls and not algorithm.holds(charge, difference) then
            return TOO_MUCH
        end
    end
    local rest = {}
    skippedFault = nil
    for i = 1, #charges do
        local charge = charges[i]
        local algorithm, countsCalls = recordedAlgorithm(charge[1])
        local change = countsCalls and callsDifference or difference
        if algorithm.takesSlots and shape.kind ~= COMMIT then
            freesSlots = true
        elseif algorithm.takesSlots or not settlesCost then
            rest[#rest + 1] = charge
        elseif change ~= 0 then
            algorithm.settle(charge, change, chargedMs)
        end
    end
    if not settlesCost and not freesSlots then
        return 0
    end
    -- A cancelled call was never made, so its cached answer is dropped.
    if settlesCost and shape.kind == CANCEL and reservation[4] ~= '' then
        dropCachedAnswer(reservation[4], string.sub(key, -32))
    end
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
    if not readAll(shape, firstKey) then
        return
    end
    local charge = shape.charges[1]
    if charge.algorithm.raise then
        charge.algorithm.raise(charge, 1, KEYS[firstKey + charge.key], shape.cost)
    else
        local more = max(0, shape.cost - used[1])
        apply(charge, 1, more, more > 0 and 1 or 0, 0, firstKey, '')
    end
    push(1)
    pushUsages(shape, push, shape.cost)
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

-- Overrides ----------------------------------------------------------------------------------------------------------

-- Those that hold, each {name, maximum, end}, and their version; or nil and the fault.
local function readOverrides(key)
    local value = try('GET', key)
    if type(value) == 'table' then
        return nil, value.err
    end
    local version, rest = match(value or '0', '^(%d+)(.*)$')
    version = version and toCount(version)
    if not version then
        return nil, 'ERR value is no list of overrides'
    end
    local list = {}
    for name, limit, untilMs in string.gmatch(rest, ' (%S+) (%d+) (%d+)') do
        if (toCount(untilMs) or 0) > now then
            list[#list + 1] = {name, limit, untilMs}
        end
    end
    return list, version
end

local function overridesText(list)
    local parts = {}
    for i = 1, #list do
        parts[i] = table.concat(list[i], ' ')
    end
    return table.concat(parts, ' ')
end

-- Sets an override for `forMs`, or ends it if that is 0, unless its name is ''; then pushes them all.
local function overrides(key, name, limit, forMs, known)
    local list, version = readOverrides(key)
    if not list then
        return push(version)
    end
    local done = 1
    if name ~= '' then
        local others, found = {}, 0
        for i = 1, #list do
            if list[i][1] == name then
                found = 1
            else
                others[#others + 1] = list[i]
            end
        end
        if forMs == 0 then
            done = found
        elseif #others < MAX_OVERRIDES then
            others[#others + 1] = {name, limit, format('%.0f', now + forMs)}
        else
            done = 2
        end
        if done == 1 then
            list, version = others, max(version + 1, now)
            local expiresAtMs = now + OVERRIDES_VERSION_TTL_MS
            for i = 1, #list do
                expiresAtMs = max(expiresAtMs, tonumber(list[i][3]) + EXPIRY_SLACK_MS)
            end
            local text = format('%.0f', version) .. (#list > 0 and ' ' or '') .. overridesText(list)
            call('SET', key, text, 'PXAT', format('%.0f', expiresAtMs))
            lowerings[#lowerings + 1] = key
        end
    end
    push(done)
    push(version)
    push(version == known and '' or overridesText(list))
end

-- The batch ---------------------------------------------------------------------------------------------------------

-- Names the numbers of a shape and assigns its keys.
local function decodeShape(shape)
    shape.cost, shape.count, shape.kind = shape[1], shape[2], shape[3]
    shape.charges, shape.holds, shape.usages = {}, true, 0
    shape.isCharge, shape.isRefund = floor(shape.kind / 16) == 1, floor(shape.kind / 16) == 2
    shape.kind = shape.kind % 16
    local keys = 0
    for at = 4, #shape, 5 do
        local window, flags, lengthMs, extra = shape[at] * 2, shape[at + 2], shape[at + 3], shape[at + 4]
        local number = floor(flags / 4) % 8
        local algorithm = algorithmOf(number)
        local charge = {
            number = number, algorithm = algorithm, max = shape[at + 1], lengthMs = lengthMs, extra = extra,
            endMs = windows[window], isShadow = flags % 4 >= 2, verifies = flags % 2 == 1, key = keys + 1,
            countsCalls = flags % 64 >= 32 or algorithm.takesSlots, isUneven = flags >= 64,
        }
        if algorithm.describe then
            algorithm.describe(charge)
        end
        keys = keys + algorithm.keys
        shape.usages = shape.usages + algorithm.usages
        shape.takesSlots = shape.takesSlots or algorithm.takesSlots
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
    if (shape.kind >= COMMIT and shape.kind ~= RESTORE and shape.kind ~= CLEAR) or (shape.kind < COMMIT and shape.kind % 2 == RESERVED) then
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

-- An entry with an idempotency key, or an answer to cache, is none of those before.
local idempotencyAt = 0
for e = entry, entryCount do
    local shape = shapes[entries[e]]
    if shape.kind == RESTORE then
        restore(shape, firstKey)
    elseif shape.kind == CLEAR then
        clear(shape, firstKey)
    elseif shape.kind == HEARTBEAT then
        heartbeat(shape.cost, shape.count, KEYS[firstKey + 1], KEYS[firstKey + 2])
    elseif shape.kind == OVERRIDES then
        overrides(KEYS[firstKey + 1], idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2], shape.cost, shape.count)
        idempotencyAt = idempotencyAt + 2
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
    else
        local decide = (shape.isCharge or shape.isRefund) and account or check
        if shape.idempotencyKey then
            decide(shape, firstKey, idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2])
            idempotencyAt = idempotencyAt + 2
        else
            decide(shape, firstKey)
        end
    end
    firstKey = firstKey + shape.keys
end
-- A user without the right to publish can still settle. Without the right to subscribe, the denial cache is off.
local prefix = #lowerings > 0 and (match(KEYS[1], '^([^{]*:){[^}]*}:replica:') or match(KEYS[1], '^(.*:)replica:'))
for i = 1, prefix and #lowerings or 0 do
    try('PUBLISH', prefix .. 'changed', lowerings[i])
    push(lowerings[i])
end
return reply
