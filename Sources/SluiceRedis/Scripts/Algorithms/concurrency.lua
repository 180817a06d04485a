-- Calls in progress, algorithm 3. Under the key is a sorted set of reservations, scored by when their slots expire.
-- `extra` is how long a slot is held, ms. Slots of a reservation are freed by `settlements.lua`, before anything else of it is settled.

ALGORITHMS[3] = function()
    local firstExpiry, lastExpiry = {}, {}
    local nowText = format('%.0f', now)

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

    local algorithm = {keys = 1, usages = 3, recorded = 2, takesSlots = true}

    function algorithm.read(charge, i, first, isPeek)
        used[i], firstExpiry[i], lastExpiry[i] = readSlots(KEYS[first + charge.key], isPeek)
        return not used[i] and firstExpiry[i]
    end

    function algorithm.room(charge, i)
        return charge.max - used[i]
    end

    function algorithm.apply(charge, i, key, _, reservation)
        local expiry = now + charge.extra
        call('ZADD', key, format('%.0f', expiry), reservation)
        firstExpiry[i] = used[i] == 0 and expiry or min(firstExpiry[i], expiry)
        lastExpiry[i] = max(lastExpiry[i], expiry)
        used[i] = used[i] + 1
        call('PEXPIREAT', key, lastExpiry[i] + EXPIRY_SLACK_MS)
    end

    function algorithm.retain(charge, i, first)
        if used[i] > 0 then
            keepMortal(KEYS[first + charge.key], lastExpiry[i])
        end
    end

    function algorithm.usage(_, i, push)
        push(used[i])
        push(firstExpiry[i])
        push(lastExpiry[i])
    end

    function algorithm.record(charge)
        return now + charge.extra
    end

    return algorithm
end
