-- Token buckets, algorithm 2. Under the key is "LEVEL MS" or "LEVEL MS CREDITED": the level, in units of cost times the
-- window's length, when it was valid, and how much was given back. `extra` is what the bucket holds.

ALGORITHMS[2] = function()
    -- For each charge: when the level was valid, how much was given back, and the key's remaining time to live (-1: no
    -- expiry; nil: no key).
    local lastMs, credits, leftMs = {}, {}, {}

    -- A product beyond 2^53 is not exact, but then it exceeds any level. Nothing leaks by a time that is not this
    -- store's: replicas that follow this store's clock already would leak it a second time.
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

    local function text(level, since, credited)
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
            call('SET', key, text(level, since, credited), 'KEEPTTL')
        end
        return level, since, credited, true
    end

    -- Keeps the key at least as long as before: see `countsUntil`.
    local function writeBucket(key, level, sinceMs, credited, keptMs, maximum, lengthMs)
        local value = text(level, sinceMs, credited)
        local untilMs = countsUntil(level, sinceMs, maximum, lengthMs) + EXPIRY_SLACK_MS
        if keptMs and keptMs >= untilMs - timeMs then
            call('SET', key, value, 'KEEPTTL')
        else
            call('SET', key, value, 'PXAT', format('%.0f', untilMs))
        end
    end

    local algorithm = {keys = 1, usages = 1, recorded = 6}

    function algorithm.read(charge, i, first)
        local key = KEYS[first + charge.key]
        local level, since, credited, exists = readBucket(key)
        if not level then
            return since
        end
        lastMs[i], credits[i], leftMs[i] = since, credited, exists and call('PTTL', key) or nil
        used[i] = drained(level, since, charge.max)
    end

    function algorithm.room(charge, i)
        return divide(charge.extra * charge.lengthMs - used[i], charge.lengthMs)
    end

    function algorithm.apply(charge, i, key, amount)
        used[i] = used[i] + amount * charge.lengthMs
        -- If the clock steps back, the bucket must not leak twice.
        writeBucket(key, used[i], max(now, lastMs[i]), credits[i], leftMs[i], charge.max, charge.lengthMs)
    end

    function algorithm.refund(charge, i, key, amount)
        local back = min(amount * charge.lengthMs, used[i])
        if back > 0 then
            used[i] = used[i] - back
            credits[i] = credits[i] + back > MAX_EXACT and 0 or credits[i] + back
            writeBucket(key, used[i], max(now, lastMs[i]), credits[i], leftMs[i], charge.max, charge.lengthMs)
            lowered(key)
        end
    end

    -- It also lives longer if it leaks more slowly now than when it was charged.
    function algorithm.retain(charge, i, first)
        local untilMs = drainedAt(used[i], lastMs[i], charge.max, charge.lengthMs) + EXPIRY_SLACK_MS
        if leftMs[i] and (leftMs[i] == -1 or (used[i] > 0 and leftMs[i] < untilMs - timeMs)) then
            call('PEXPIREAT', KEYS[first + charge.key], untilMs)
        end
    end

    function algorithm.usage(_, i, push)
        push(used[i])
    end

    function algorithm.record(charge, i, entry)
        entry[3], entry[4], entry[5], entry[6] = charge.max, charge.lengthMs, used[i], credits[i]
        return countsUntil(used[i], lastMs[i], charge.max, charge.lengthMs)
    end

    function algorithm.holds(entry, more)
        local level, since = readBucket(entry[2])
        return not level or more <= divide(MAX_EXACT - drained(level, since, entry[3]), entry[4])
    end

    -- What has leaked of the charge is not given back: that room is usable already. What lay under the charge leaked
    -- first, except for what was given back since. It is unknown whose that was, so all of it counts as part of what lay
    -- under the charge.
    function algorithm.settle(entry, difference, chargedMs)
        local maximum, lengthMs, levelAfter, creditedBefore = entry[3], entry[4], entry[5], entry[6]
        local level, since, credited, exists = readBucket(entry[2])
        if not level then
            skippedFault = since
            return
        elseif difference < 0 and not exists then
            return
        end
        local keptMs = exists and call('PTTL', entry[2])
        if difference > 0 then
            level, since = drained(level, since, maximum) + difference * lengthMs, max(now, since)
        else
            -- Keeps the level of `since`: the next check computes how much has leaked, possibly with another maximum.
            local under = max(0, levelAfter - (credited - creditedBefore))
            -- Less was credited than before the charge: the bucket has been empty since, or the sum has restarted from
            -- 0. If the clock has stepped back the bucket does not leak, but what had leaked before has leaked.
            local leaked = maximum * max(0, max(now, since) - chargedMs)
            local rest = credited < creditedBefore and 0 or max(0, under - leaked)
            local credit = min(-difference * lengthMs, rest, level)
            level = level - credit
            credited = credited + credit > MAX_EXACT and 0 or credited + credit
        end
        writeBucket(entry[2], level, since, credited, keptMs, maximum, lengthMs)
        lowered(entry[2])
    end

    return algorithm
end
