-- The counters of every algorithm: what is read from them, what is left, what is charged. `prelude.lua` comes before
-- it, and after it `decide.lua`, whose head tells of KEYS, ARGV, and what lies under the keys.
--
-- A charge is a table: algorithm; max, capacity (what may be used at once), lengthMs, holdMs; endMs and countsUntilMs
-- of windows; isShadow, verifies; key and refusalsKey, counted from the first key of its entry.

local fmod, max, min, find, match = math.fmod, math.max, math.min, string.find, string.match
local FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, CONCURRENCY = 0, 1, 2, 3
local MAX_EXACT = 9007199254740992 -- 2^53
local DIGIT = 262144 -- 2^18
local REFUSALS_TTL_MS = 86400000 -- where no window ends that they belong to

local nowText = format('%.0f', now)

-- What each charge of the entry at hand found, and what of it the checks took.
local used, before, firstExpiry, lastExpiry, refusals, taken = {}, {}, {}, {}, {}, {}
local lastMs, credits = {}, {}

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

-- A product beyond 2^53 is not exact, but then it is more than any level.
local function drained(level, sinceMs, maximum)
    return now > sinceMs and max(0, level - maximum * (now - sinceMs)) or level
end

-- When a bucket of this level will be empty; one that does not leak is kept for as long as it would leak otherwise.
local function drainedAt(level, maximum, lengthMs)
    return min(MAX_EXACT, now + (maximum > 0 and divideUp(level, maximum) or lengthMs))
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

-- The integer under a key, or nil and what is wrong with it: only what Redis itself would add to is one.
local function readTally(key)
    local value = try('GET', key)
    if not value then
        return 0
    end
    if type(value) == 'table' then
        return nil, value.err
    end
    local number = (value == '0' or find(value, '^%-?[1-9]%d*$')) and tonumber(value)
    if not number or number < -MAX_EXACT or number > MAX_EXACT then
        return nil, 'ERR value is not an integer or out of range'
    end
    return number, nil, true
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
    local level, since, credited = match(value, '^(%d+) (%d+) ?(%d*)$')
    level, since, credited = tonumber(level), tonumber(since), tonumber(credited) or 0
    if not level or level > MAX_EXACT or since > MAX_EXACT or credited > MAX_EXACT then
        return nil, 'ERR value is not a token bucket'
    end
    return level, since, credited, true
end

local function scoreAt(found)
    return min(floor(tonumber(found[2])), MAX_EXACT)
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
    return count or call('ZCARD', key), scoreAt(first), scoreAt(call('ZRANGE', key, -1, -1, 'WITHSCORES'))
end

-- Finds what was counted for one charge; what is wrong, if anything is.
local function look(charge, i, firstKey, isPeek)
    local key = KEYS[firstKey + charge.key]
    local tally, second, third
    if charge.algorithm == TOKEN_BUCKET then
        tally, second, third = readBucket(key)
        if tally then
            lastMs[i], credits[i] = second, third
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

-- A clock that steps back must not let it leak twice.
local function writeBucket(key, level, sinceMs, credited, maximum, lengthMs)
    local value = credited > 0 and format('%.0f %.0f %.0f', level, max(now, sinceMs), credited)
        or format('%.0f %.0f', level, max(now, sinceMs))
    call('SET', key, value, 'PXAT', format('%.0f', drainedAt(level, maximum, lengthMs) + EXPIRY_SLACK_MS))
end

-- `n` checks pass, and a shadow limit had no room for `refused` more.
local function apply(charge, i, cost, n, refused, firstKey, reservation)
    local key = KEYS[firstKey + charge.key]
    if charge.algorithm == TOKEN_BUCKET then
        used[i] = used[i] + cost * n * charge.lengthMs
        if n > 0 then
            writeBucket(key, used[i], lastMs[i], credits[i], charge.max, charge.lengthMs)
        else
            add(key, 0, charge.verifies, drainedAt(used[i], charge.max, charge.lengthMs) + EXPIRY_SLACK_MS)
        end
    elseif charge.algorithm == CONCURRENCY then
        if n > 0 then
            local expiry = now + charge.holdMs
            call('ZADD', key, format('%.0f', expiry), reservation)
            firstExpiry[i] = used[i] == 0 and expiry or min(firstExpiry[i], expiry)
            lastExpiry[i] = max(lastExpiry[i], expiry)
            used[i] = used[i] + n
            call('PEXPIREAT', key, lastExpiry[i] + EXPIRY_SLACK_MS)
        else
            add(key, 0, charge.verifies, lastExpiry[i] + EXPIRY_SLACK_MS)
        end
    else
        used[i] = used[i] + cost * n
        add(key, cost * n, charge.verifies, charge.countsUntilMs + EXPIRY_SLACK_MS)
    end
    if charge.isShadow then
        local more = max(0, min(refused, MAX_EXACT - refusals[i]))
        refusals[i] = refusals[i] + more
        local expiry = charge.countsUntilMs and charge.countsUntilMs + EXPIRY_SLACK_MS or now + REFUSALS_TTL_MS
        add(KEYS[firstKey + charge.refusalsKey], more, charge.verifies, expiry)
    end
end
