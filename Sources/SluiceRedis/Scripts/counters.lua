-- The counters of every algorithm: what is read from them, what is left, what is charged. `prelude.lua` comes before
-- it, and after it `decide.lua`, whose head tells of KEYS, ARGV, and what lies under the keys.
--
-- A charge is a table: algorithm; max, capacity (what may be used at once), lengthMs, holdMs (of a log: when what a replica
-- admitted alone was charged, ms; 0: now); endMs and countsUntilMs of windows; isShadow, verifies; key and refusalsKey, counted from the first key of its entry.

local fmod, max, min, find, match = math.fmod, math.max, math.min, string.find, string.match
local FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, CONCURRENCY, SLIDING_LOG = 0, 1, 2, 3, 4
local DIGIT = 262144 -- 2^18
local CLOCK_STEP_MS = 60000 -- how far ahead the time of a bucket or a log may be, and is waited for
local MAX_LOG_ENTRIES, LOG_STEPS, EXACT_LOG_STEPS = 1024, 8, 4
local NOT_A_LOG = 'ERR value is not a log of charges'
local REFUSALS_TTL_MS = 86400000 -- where no window ends that they belong to

local nowText = format('%.0f', now)
-- A log goes by this store's own clock alone: by one that is ahead of it, what counts here would be dropped.
local logNow = isBehind and timeMs or now

-- What each charge of the entry at hand found, and what of it the checks took.
local used, before, firstExpiry, lastExpiry, refusals, taken = {}, {}, {}, {}, {}, {}
-- Of a bucket: when its level was true, what was given back of it, and how long its key is kept yet (-1: for ever; nil: there is none).
local lastMs, credits, leftMs = {}, {}, {}
-- Of a log: the times and the amounts of its charges that count, oldest first, and when the check at hand was charged.
local logTimes, logUnits, logCharged = {}, {}, {}

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

-- Takes a log's charges apart: the times and amounts of those that count after `sinceMs`, oldest first, their sum, and what
-- of that lies ahead of now; or nil if they are none. What is no number ends it with an error. A log may be long, so this is
-- plain arithmetic, without a call.
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

-- The times and amounts of the charges in a log that still count, oldest first, their sum, and whether there is a key; or
-- nil and what is wrong.
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
    -- A clock that ran far ahead has come back, and is followed: what was charged then counts from now on.
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
    elseif charge.algorithm == SLIDING_LOG then
        logTimes[i], logUnits[i], tally = readLog(key, charge.lengthMs)
        if not logTimes[i] then
            tally, second = nil, logUnits[i]
        end
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

-- Adds to a log in its order; of too many charges the two oldest become one, at the time of the later.
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

-- Takes back from the first charge of a log at that time or later.
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

-- Raises a log so that at least so much of it was charged at a time or later: what was older of that moves there. What it
-- is raised by.
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

-- The time at which a log is charged: never before its newest charge.
local function logTime(charge, times)
    local ms = max(logNow, times[#times] or 0)
    return charge.holdMs > 0 and min(charge.holdMs, ms) or ms
end

-- Tells of a log what is used, when one more check of this cost fits (0: now, or never), when it will be empty, and
-- `LOG_STEPS` times and amounts that stand for it: so many of them as they are, the others free nothing sooner than it does.
local function tellLog(charge, i, cost, list)
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
    local told, total, most = 0, 0, size
    for at = exact + 1, count do
        total = total + units[at]
        while total > most do
            most = most + size
        end
        if at == count or total + units[at + 1] > most then
            list(times[at])
            list(total - told)
            told = total
            steps = steps + 1
        end
    end
    for _ = steps + 1, LOG_STEPS do
        list(0)
        list(0)
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
        local more = max(0, min(refused, MAX_EXACT - refusals[i]))
        refusals[i] = refusals[i] + more
        local expiresAtMs = charge.countsUntilMs and charge.countsUntilMs + EXPIRY_SLACK_MS or now + REFUSALS_TTL_MS
        add(KEYS[firstKey + charge.refusalsKey], more, charge.verifies, expiresAtMs)
    end
end
