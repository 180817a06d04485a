-- Decides one batch that holds more than plain checks of fixed windows: other algorithms, shadow limits, reservations
-- and their settlements, charges and refunds, checks with an idempotency key, restores, heartbeats, overrides. Entries run in order, and a fault of one
-- does not affect the others. `prelude.lua` comes before it and describes KEYS[1], ARGV and the head of the answer;
-- then come `checks.lua`, which decides the first entries if they are simple, `usage.lua` and `counters.lua`. After it come
-- `settlements.lua`, `replicas.lua`, `overrides.lua` and `batch.lua`, which runs the entries.
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
