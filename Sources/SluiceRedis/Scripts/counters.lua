-- The counters of every algorithm: what is read from them, what is left, what is charged. `prelude.lua` comes before
-- it, and after it `decide.lua`, whose head tells of KEYS, ARGV, and what lies under the keys.
--
-- A charge is a table: algorithm; max, capacity (what may be used at once), lengthMs, holdMs; endMs and countsUntilMs
-- of windows; isShadow, verifies; key and refusalsKey, counted from the first key of its entry.

local fmod, max, min, find, match = math.fmod, math.max, math.min, string.find, string.match
local FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, CONCURRENCY = 0, 1, 2, 3
local DIGIT = 262144 -- 2^18
local CLOCK_STEP_MS = 60000 -- how far ahead a bucket's time may be, and is waited for
local REFUSALS_TTL_MS = 86400000 -- where no window ends that they belong to

local nowText = format('%.0f', now)

-- What each charge of the entry at hand found, and what of it the checks took.
local used, before, firstExpiry, lastExpiry, refusals, taken = {}, {}, {}, {}, {}, {}
-- Of a bucket: when its level was true, what was given back of it, and how long its key is kept yet (-1: for ever; nil: there is none).
local lastMs, credits, leftMs = {}, {}, {}

-- Arithmetic --------------------------------------------------------------------------------------------------------

-- Rounded down. The quotient alone may be rounded up to a whole number when the dividend is near 2^53.
local function divide(dividend, divisor)
    return (dividend - fmod(dividend, divisor)) / divisor
end

local function divideUp(dividend, divisor)
    local rest = fmod(dividend, divisor)
    return (dividend - rest) / divisor + (rest > 0 and 1 or 0)
end

-- value * part / whole, rounded up, where the product may be beyond what is exact; part is below whole, and whole below
-- 2^35, as 366 days in ms are. It is divided as on paper, in two digits: the upper one of `part` is below 2^17.
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

-- How much of the window before still counts. The open window may be the longer one: what was used counts once.
local function reach(charge, previousUsed)
    local reachingMs = max(0, charge.endMs - now)
    if previousUsed <= 0 or reachingMs >= charge.lengthMs then
        return max(0, previousUsed)
    end
    return scaleUp(previousUsed, reachingMs, charge.lengthMs)
end

-- A product beyond 2^53 is not exact, but then it is more than any level. Nothing leaks by a time that is not this store's:
-- replicas that follow it already would count what leaked once more.
local function drained(level, sinceMs, maximum)
    return not isBehind and now > sinceMs and max(0, level - maximum * (now - sinceMs)) or level
end

-- When a bucket of this level will be empty; one that does not leak is kept for as long as it would leak otherwise. Until
-- `sinceMs` it does not leak.
local function drainedAt(level, sinceMs, maximum, lengthMs)
    return min(MAX_EXACT, max(now, sinceMs) + (maximum > 0 and divideUp(level, maximum) or lengthMs))
end

-- Until when what a bucket was just charged may count: a replica may come with a lower maximum, by which it leaks more slowly.
-- So for as long as a window, and longer once a check by such a maximum has looked at it: see `retain`.
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

-- A bucket's level and when it was that, or nil and what is wrong with it.
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
    -- A clock that ran far ahead has come back, and is followed: the bucket leaks on from now.
    if since > now + CLOCK_STEP_MS then
        since = now
        call('SET', key, bucketText(level, since, credited), 'KEEPTTL')
    end
    return level, since, credited, true
end

-- When a slot expires, or nil if its score is no such time.
local function scoreAt(found)
    local score = tonumber(found[2])
    return score and score % 1 == 0 and score <= MAX_EXACT and score
end

-- How many slots are taken, and when the first and the last of them expire; or nil and what is wrong.
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

-- Finds what was counted for one charge; what is wrong, if anything is.
local function look(charge, i, firstKey, isPeek)
    local key = KEYS[firstKey + charge.key]
    local tally, second, third, exists
    if charge.algorithm == TOKEN_BUCKET then
        tally, second, third, exists = readBucket(key)
        if tally then
            lastMs[i], credits[i], leftMs[i] = second, third, exists and call('PTTL', key) or nil
            tally = drained(tally, second, charge.max)
        end
    elseif charge.algorithm == CONCURRENCY then
        tally, second, third = readSlots(key, isPeek)
        firstExpiry[i], lastExpiry[i] = second, third
    else
        tally, second = readTally(key)
        if tally and charge.algorithm == SLIDING_WINDOW then
            before[i], second = readTally(KEYS[firstKey + charge.key + 1])
            tally = before[i] and tally
        end
    end
    used[i] = tally
    if tally and charge.isShadow then
        refusals[i], second = readTally(KEYS[firstKey + charge.refusalsKey])
        tally = refusals[i]
    end
    return not tally and second or nil
end

-- Writing -----------------------------------------------------------------------------------------------------------

-- Adds to a tally that is known to be an integer, and sees to its time to live.
local function add(key, amount, verifies, expiresAtMs)
    local isNew = false
    local tally
    if amount > 0 then
        tally = call('INCRBY', key, format('%.0f', amount))
        isNew = tally == amount
    end
    if isNew or (verifies and call('PTTL', key) == -1) then
        call('PEXPIREAT', key, expiresAtMs)
    end
end

-- It is kept for as long as it was, or longer: see `countsUntil`.
local function writeBucket(key, level, sinceMs, credited, keptMs, maximum, lengthMs)
    local value = bucketText(level, sinceMs, credited)
    local untilMs = countsUntil(level, sinceMs, maximum, lengthMs) + EXPIRY_SLACK_MS
    if keptMs and keptMs >= untilMs - timeMs then
        call('SET', key, value, 'KEEPTTL')
    else
        call('SET', key, value, 'PXAT', format('%.0f', untilMs))
    end
end

-- Sees to it that what an entry looked at without charging it lives for as long as it counts: a key that lost its time to
-- live gets one again, and that of a bucket a longer one where it leaks more slowly than when it was charged.
local function retain(charge, i, firstKey)
    local key = KEYS[firstKey + charge.key]
    if charge.algorithm == TOKEN_BUCKET then
        local untilMs = drainedAt(used[i], lastMs[i], charge.max, charge.lengthMs) + EXPIRY_SLACK_MS
        if leftMs[i] and (leftMs[i] == -1 or (used[i] > 0 and leftMs[i] < untilMs - timeMs)) then
            call('PEXPIREAT', key, untilMs)
        end
    else
        local countsUntilMs = charge.algorithm == CONCURRENCY and lastExpiry[i] or charge.countsUntilMs
        if used[i] > 0 and call('PTTL', key) == -1 then
            call('PEXPIREAT', key, countsUntilMs + EXPIRY_SLACK_MS)
        end
    end
    if charge.algorithm == SLIDING_WINDOW and before[i] > 0 and call('PTTL', KEYS[firstKey + charge.key + 1]) == -1 then
        call('PEXPIREAT', KEYS[firstKey + charge.key + 1], charge.endMs + EXPIRY_SLACK_MS)
    end
end

-- `n` checks pass, and a shadow limit had no room for `refused` more.
local function apply(charge, i, cost, n, refused, firstKey, reservation)
    local key = KEYS[firstKey + charge.key]
    if charge.algorithm == TOKEN_BUCKET then
        used[i] = used[i] + cost * n * charge.lengthMs
        if n > 0 then
            -- A clock that steps back must not let it leak twice.
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
    elseif n > 0 then
        used[i] = used[i] + cost * n
        add(key, cost * n, charge.verifies, charge.countsUntilMs + EXPIRY_SLACK_MS)
    end
    if n == 0 then
        retain(charge, i, firstKey)
    end
    if charge.isShadow then
        local more = max(0, min(refused, MAX_EXACT - refusals[i]))
        refusals[i] = refusals[i] + more
        local expiresAtMs = charge.countsUntilMs and charge.countsUntilMs + EXPIRY_SLACK_MS or now + REFUSALS_TTL_MS
        add(KEYS[firstKey + charge.refusalsKey], more, charge.verifies, expiresAtMs)
    end
end
