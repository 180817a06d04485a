-- The counters of every algorithm: reading them, their remaining room, charging them. `prelude.lua` comes before it,
-- and after it `decide.lua`, whose head describes KEYS, ARGV and the values under the keys.
--
-- A charge is a table: algorithm; max, capacity (the most that may be used at once), lengthMs, holdMs (how long a slot
-- is held, ms; of a log: when a replica admitted it locally, ms, 0: now); endMs and countsUntilMs of windows; isShadow,
-- verifies; key and denialsKey, counted from the first key of its entry.

local fmod, max, min, find, match = math.fmod, math.max, math.min, string.find, string.match
local FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, CONCURRENCY, SLIDING_LOG = 0, 1, 2, 3, 4
local DIGIT = 262144 -- 2^18
local CLOCK_STEP_MS = 60000 -- how far ahead the time of a bucket or a log may be before it is corrected
local MAX_LOG_ENTRIES, LOG_STEPS, EXACT_LOG_STEPS = 1024, 8, 4
local NOT_A_LOG = 'ERR value is not a log of charges'
local DENIALS_TTL_MS = 86400000 -- for algorithms without windows

local nowText = format('%.0f', now)
-- A log goes by this store's own clock alone: by a clock ahead of it, charges that still count would be dropped.
local logNow = isBehind and timeMs or now

-- For each charge of the current entry: the usage found, and how much of it the checks took.
local used, before, firstExpiry, lastExpiry, denials, taken = {}, {}, {}, {}, {}, {}
-- For buckets: when the level was valid, how much was given back, and the key's remaining time to live (-1: no expiry;
-- nil: no key).
local lastMs, credits, leftMs = {}, {}, {}
-- For logs: times and amounts of the charges that count, oldest first, and when the current check was charged.
local logTimes, logUnits, logCharged = {}, {}, {}

-- Arithmetic --------------------------------------------------------------------------------------------------------

-- Rounded down. The quotient itself may be rounded up to a whole number when the dividend is near 2^53.
local function divide(dividend, divisor)
    return (dividend - fmod(dividend, divisor)) / divisor
end

local function divideUp(dividend, divisor)
    local rest = fmod(dividend, divisor)
    return (dividend - rest) / divisor + (rest > 0 and 1 or 0)
end

-- value * part / whole, rounded up, where the product may exceed what is exact; part is below whole, and whole below
-- 2^35 (366 days in ms are). It is long division in two digits: the upper digit of `part` is below 2^17.
local function scaleUp(value, part, whole)
    local product = value * part
    if product < MAX_EXACT then
        return divideUp(product, whole)
    end
    local rest, lower = fmod(value, whole), fmod(part, DIGIT)
    local upper = rest * ((part - lower) / DIGIT)
    local carried, last = fmod(upper, whole) * DIGIT, rest * lower
    return (value - rest) / whole * part + divide(upper, whole) * DIGIT + divide(carried, whole) + divide(last, whole)
        + divideUp(fmod(carried, whole) + fmod(last, whole), whole)
end

-- How much of the previous window still counts. If the open window is longer than it, its usage counts in full.
local function reach(charge, previousUsed)
    local reachingMs = max(0, charge.endMs - now)
    if previousUsed <= 0 or reachingMs >= charge.lengthMs then
        return max(0, previousUsed)
    end
    return scaleUp(previousUsed, reachingMs, charge.lengthMs)
end

-- A product beyond 2^53 is not exact, but then it exceeds any level. Nothing leaks by a time that is not this store's:
-- replicas that follow this store's clock already would leak it a second time.
local function drained(level, sinceMs, maximum)
    return not isBehind and now > sinceMs and max(0, level - maximum * (now - sinceMs)) or level
end

-- When a bucket of this level will be empty. A bucket that does not leak is kept for its length. It does not leak
-- before `sinceMs`.
local function drainedAt(level, sinceMs, maximum, lengthMs)
    return min(MAX_EXACT, max(now, sinceMs) + (maximum > 0 and divideUp(level, maximum) or lengthMs))
end

-- Until when a charge to a bucket may count. A replica may come with a lower maximum, so that the bucket leaks more
-- slowly. So this is at least one window's length, and longer once a check with such a maximum has read it: see
-- `retain`.
local function countsUntil(level, sinceMs, maximum, lengthMs)
    return max(drainedAt(level, sinceMs, maximum, lengthMs), min(MAX_EXACT, now + lengthMs))
end

local function room(charge, i, cost)
    local left = charge.capacity - used[i]
    if charge.algorithm == SLIDING_WINDOW then
        left = left - reach(charge, before[i])
    elseif charge.algorithm == TOKEN_BUCKET then
        left = divide(charge.capacity * charge.lengthMs - used[i], charge.lengthMs)
    end
    if left <= 0 then
        return 0
    end
    return charge.algorithm == CONCURRENCY and left or divide(left, cost)
end

-- Reading -----------------------------------------------------------------------------------------------------------

local function bucketText(level, since, credited)
    return credited > 0 and format('%.0f %.0f %.0f', level, since, credited) or format('%.0f %.0f', level, since)
end

-- A bucket's level, when it was valid and what was given back, or nil and the fault.
local function readBucket(key)
    local value = try('GET', key)
    if not value then
        return 0, 0, 0
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local level, since, credited = match(value, '^(%d+) (%d+)$')
    if not level then
        level, since, credited = match(value, '^(%d+) (%d+) (%d+)$')
    end
    level, since, credited = toCount(level or ''), toCount(since or ''), toCount(credited or '0')
    if not level or not since or not credited then
        return nil, 'ERR value is not a token bucket'
    end
    -- The clock ran far ahead and has come back: the bucket leaks from now on.
    if since > now + CLOCK_STEP_MS then
        since = now
        call('SET', key, bucketText(level, since, credited), 'KEEPTTL')
    end
    return level, since, credited, true
end

-- When a slot expires, or nil if its score is not a valid time.
local function scoreAt(found)
    local score = tonumber(found[2])
    return score and score % 1 == 0 and score <= MAX_EXACT and score
end

-- How many slots are taken, and when the first and the last of them expire; or nil and the fault.
local function readSlots(key, isPeek)
    local first = try('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first.err then
        return nil, first.err
    end
    local count
    if first[1] and tonumber(first[2]) <= now then
        if isPeek then
            count = call('ZCOUNT', key, '(' .. nowText, '+inf')
            first = call('ZRANGEBYSCORE', key, '(' .. nowText, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
        else
            call('ZREMRANGEBYSCORE', key, '-inf', nowText)
            first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
        end
    end
    if not first[1] then
        return 0, 0, 0
    end
    local firstMs, lastMs = scoreAt(first), scoreAt(call('ZRANGE', key, -1, -1, 'WITHSCORES'))
    if not firstMs or not lastMs then
        return nil, 'ERR value is not a set of slots'
    end
    return count or call('ZCARD', key), firstMs, lastMs
end

local function writeLog(key, times, units, lengthMs)
    local packed, last = {}, 0
    for at = 1, #times do
        packed[2 * at - 1], packed[2 * at] = times[at] - last, units[at]
        last = times[at]
    end
    if #times == 0 then
        call('DEL', key)
    else
        call('SET', key, cmsgpack.pack(packed), 'PXAT', format('%.0f', last + lengthMs + EXPIRY_SLACK_MS))
    end
end

-- Decodes a log: times and amounts of the charges after `sinceMs`, oldest first, their sum, and the part of the sum
-- that lies after now; or nil if the log is invalid. A value that is not a number raises an error. A log may be long,
-- so this is plain arithmetic without calls.
local function unpackLog(packed, sinceMs)
    local times, units, n, ms, sum, ahead = {}, {}, 0, 0, 0, 0
    for at = 1, #packed, 2 do
        local delta, amount = packed[at], packed[at + 1]
        if not (delta >= 0 and amount >= 1 and delta % 1 == 0 and amount % 1 == 0 and amount <= MAX_EXACT)
            or (at > 1 and delta == 0) then
            return nil
        end
        ms = ms + delta
        if ms > sinceMs then
            n = n + 1
            times[n], units[n] = ms, amount
            sum = sum + amount
            if ms > logNow then
                ahead = ahead + amount
            end
        end
    end
    if sum > MAX_EXACT or ms > MAX_EXACT then
        return nil
    end
    return times, units, sum, ahead
end

-- Times and amounts of a log's charges that still count, oldest first, their sum, and whether the key exists; or nil
-- and the fault.
local function readLog(key, lengthMs)
    local value = try('GET', key)
    if not value then
        return {}, {}, 0, false
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local isRead, packed, more = pcall(cmsgpack.unpack, value)
    if not isRead or type(packed) ~= 'table' or more ~= nil or #packed % 2 ~= 0 or #packed > 2 * MAX_LOG_ENTRIES then
        return nil, NOT_A_LOG
    end
    local isLog, times, units, sum, ahead = pcall(unpackLog, packed, logNow - lengthMs)
    if not isLog or not times then
        return nil, NOT_A_LOG
    end
    local n = #times
    -- The clock ran far ahead and has come back: charges of that time count from now on.
    if n > 0 and times[n] > logNow + CLOCK_STEP_MS then
        while n > 0 and times[n] >= logNow do
            ahead = times[n] == logNow and ahead + units[n] or ahead
            times[n], units[n] = nil, nil
            n = n - 1
        end
        times[n + 1], units[n + 1] = logNow, ahead
        writeLog(key, times, units, lengthMs)
    end
    return times, units, sum, true
end

-- Reads the usage for one charge; returns the fault, or nil.
local function readUsage(charge, i, firstKey, isPeek)
    local key = KEYS[firstKey + charge.key]
    local usage, second, third, exists
    if charge.algorithm == TOKEN_BUCKET then
        usage, second, third, exists = readBucket(key)
        if usage then
            lastMs[i], credits[i], leftMs[i] = second, third, exists and call('PTTL', key) or nil
            usage = drained(usage, second, charge.max)
        end
    elseif charge.algorithm == CONCURRENCY then
        usage, second, third = readSlots(key, isPeek)
        firstExpiry[i], lastExpiry[i] = second, third
    elseif charge.algorithm == SLIDING_LOG then
        logTimes[i], logUnits[i], usage = readLog(key, charge.lengthMs)
        if not logTimes[i] then
            usage, second = nil, logUnits[i]
        end
    else
        usage, second = readCounter(key)
        if usage and charge.algorithm == SLIDING_WINDOW then
            before[i], second = readCounter(KEYS[firstKey + charge.key + 1])
            usage = before[i] and usage
        end
    end
    used[i] = usage
    if usage and charge.isShadow then
        denials[i], second = readCounter(KEYS[firstKey + charge.denialsKey])
        usage = denials[i]
    end
    return not usage and second or nil
end

-- Writing -----------------------------------------------------------------------------------------------------------

-- Adds to a usage that is known to be an integer, and sets its time to live if it is new or has none.
local function add(key, amount, verifies, expiresAtMs)
    local isNew = false
    local usage
    if amount > 0 then
        usage = call('INCRBY', key, format('%.0f', amount))
        isNew = usage == amount
    end
    if isNew or (verifies and call('PTTL', key) == -1) then
        call('PEXPIREAT', key, expiresAtMs)
    end
end

-- Inserts a charge in time order. If there are too many charges, merges the two oldest at the later time.
local function addToLog(times, units, amount, ms)
    local at = #times
    while at > 0 and times[at] > ms do
        at = at - 1
    end
    if at > 0 and times[at] == ms then
        units[at] = units[at] + amount
    else
        table.insert(times, at + 1, ms)
        table.insert(units, at + 1, amount)
    end
    if #times > MAX_LOG_ENTRIES then
        units[2] = units[1] + units[2]
        table.remove(times, 1)
        table.remove(units, 1)
    end
end

-- Takes an amount back from a log's first charge at that time or later.
local function takeFromLog(times, units, amount, ms)
    local at = 1
    while times[at] and times[at] < ms do
        at = at + 1
    end
    if times[at] and units[at] > amount then
        units[at] = units[at] - amount
    elseif times[at] then
        table.remove(times, at)
        table.remove(units, at)
    end
end

-- Raises a log so that at least `amount` was charged at `ms` or later. Older charges are moved there first. Returns by
-- how much the total grew.
local function raiseLog(times, units, amount, ms)
    local later, at = 0, #times
    while at > 0 and times[at] >= ms do
        later = later + units[at]
        at = at - 1
    end
    local missing, older = amount - later, 0
    if missing <= 0 then
        return 0
    end
    while at > 0 and older < missing do
        local moved = min(missing - older, units[at])
        older = older + moved
        takeFromLog(times, units, moved, times[at])
        at = at - 1
    end
    addToLog(times, units, missing, ms)
    return missing - older
end

-- The time at which a log is charged: its newest charge or later, except for a charge that was admitted locally.
local function logTime(charge, times)
    local ms = max(logNow, times[#times] or 0)
    return charge.holdMs > 0 and min(charge.holdMs, ms) or ms
end

-- Pushes of a log: the usage, when one more check of this cost fits (0: now, or never), when the log will be empty, how
-- many steps are exact, and `LOG_STEPS` pairs of time and amount. Steps that are not exact merge charges at the last
-- one's time, so they free nothing sooner than the log does.
local function pushLog(charge, i, cost, list)
    local times, units = logTimes[i], logUnits[i]
    local count, missing, free, sum = #times, used[i] + cost - charge.max, 0, 0
    for at = 1, cost <= charge.max and missing > 0 and count or 0 do
        sum = sum + units[at]
        if sum >= missing then
            free = times[at] + charge.lengthMs
            break
        end
    end
    list(used[i])
    list(free)
    list(count > 0 and times[count] + charge.lengthMs or 0)
    local exact = count > LOG_STEPS and EXACT_LOG_STEPS or count
    list(exact)
    local rest = used[i]
    for at = 1, exact do
        list(times[at])
        list(units[at])
        rest = rest - units[at]
    end
    local steps, size = exact, max(1, divideUp(rest, LOG_STEPS - EXACT_LOG_STEPS))
    local pushed, total, most = 0, 0, size
    for at = exact + 1, count do
        total = total + units[at]
        while total > most do
            most = most + size
        end
        if at == count or total + units[at + 1] > most then
            list(times[at])
            list(total - pushed)
            pushed = total
            steps = steps + 1
        end
    end
    for _ = steps + 1, LOG_STEPS do
        list(0)
        list(0)
    end
end

-- Keeps the key at least as long as before: see `countsUntil`.
local function writeBucket(key, level, sinceMs, credited, keptMs, maximum, lengthMs)
    local value = bucketText(level, sinceMs, credited)
    local untilMs = countsUntil(level, sinceMs, maximum, lengthMs) + EXPIRY_SLACK_MS
    if keptMs and keptMs >= untilMs - timeMs then
        call('SET', key, value, 'KEEPTTL')
    else
        call('SET', key, value, 'PXAT', format('%.0f', untilMs))
    end
end

-- Keeps the keys of an entry that was read without a charge while they count. A key that lost its time to live gets one
-- again; a bucket's gets a longer one if it leaks more slowly now than when it was charged.
local function retain(charge, i, firstKey)
    local key = KEYS[firstKey + charge.key]
    if charge.algorithm == TOKEN_BUCKET then
        local untilMs = drainedAt(used[i], lastMs[i], charge.max, charge.lengthMs) + EXPIRY_SLACK_MS
        if leftMs[i] and (leftMs[i] == -1 or (used[i] > 0 and leftMs[i] < untilMs - timeMs)) then
            call('PEXPIREAT', key, untilMs)
        end
    else
        local countsUntilMs = charge.algorithm == CONCURRENCY and lastExpiry[i] or charge.countsUntilMs
        if charge.algorithm == SLIDING_LOG then
            countsUntilMs = (logTimes[i][#logTimes[i]] or 0) + charge.lengthMs
        end
        if used[i] > 0 and call('PTTL', key) == -1 then
            call('PEXPIREAT', key, countsUntilMs + EXPIRY_SLACK_MS)
        end
    end
    if charge.algorithm == SLIDING_WINDOW and before[i] > 0 and call('PTTL', KEYS[firstKey + charge.key + 1]) == -1 then
        call('PEXPIREAT', KEYS[firstKey + charge.key + 1], charge.endMs + EXPIRY_SLACK_MS)
    end
end

-- Charges `n` admitted checks; `denied` more would not have fitted a shadow limit.
local function apply(charge, i, cost, n, denied, firstKey, reservation)
    local key = KEYS[firstKey + charge.key]
    if charge.algorithm == TOKEN_BUCKET then
        used[i] = used[i] + cost * n * charge.lengthMs
        if n > 0 then
            -- If the clock steps back, the bucket must not leak twice.
            writeBucket(key, used[i], max(now, lastMs[i]), credits[i], leftMs[i], charge.max, charge.lengthMs)
        end
    elseif charge.algorithm == CONCURRENCY then
        if n > 0 then
            local expiry = now + charge.holdMs
            call('ZADD', key, format('%.0f', expiry), reservation)
            firstExpiry[i] = used[i] == 0 and expiry or min(firstExpiry[i], expiry)
            lastExpiry[i] = max(lastExpiry[i], expiry)
            used[i] = used[i] + n
            call('PEXPIREAT', key, lastExpiry[i] + EXPIRY_SLACK_MS)
        end
    elseif charge.algorithm == SLIDING_LOG then
        logCharged[i] = logTime(charge, logTimes[i])
        local amount = min(cost * n, MAX_EXACT - used[i])
        if amount > 0 and logCharged[i] > logNow - charge.lengthMs then
            used[i] = used[i] + amount
            addToLog(logTimes[i], logUnits[i], amount, logCharged[i])
            writeLog(key, logTimes[i], logUnits[i], charge.lengthMs)
        end
    elseif n > 0 then
        used[i] = used[i] + cost * n
        add(key, cost * n, charge.verifies, charge.countsUntilMs + EXPIRY_SLACK_MS)
    end
    if n == 0 then
        retain(charge, i, firstKey)
    end
    if charge.isShadow then
        local more = max(0, min(denied, MAX_EXACT - denials[i]))
        denials[i] = denials[i] + more
        local expiresAtMs = charge.countsUntilMs and charge.countsUntilMs + EXPIRY_SLACK_MS or now + DENIALS_TTL_MS
        add(KEYS[firstKey + charge.denialsKey], more, charge.verifies, expiresAtMs)
    end
end
