-- Sliding windows, algorithm 1: a fixed window's counters, and what of the previous window still counts. `lengthMs` is the
-- length of the previous window, and `extra` when the next one ends, ms.

ALGORITHMS[1] = function()
    local fixed = algorithmOf(0)
    local before = {}
    local DIGIT = 262144 -- 2^18

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
        return (value - rest) / whole * part + divide(upper, whole) * DIGIT + divide(carried, whole)
            + divide(last, whole) + divideUp(fmod(carried, whole) + fmod(last, whole), whole)
    end

    -- How much of the previous window still counts. If the open window is longer than it, its usage counts in full.
    local function reach(charge, previousUsed)
        local reachingMs = max(0, charge.endMs - now)
        if previousUsed <= 0 or reachingMs >= charge.lengthMs then
            return max(0, previousUsed)
        end
        return scaleUp(previousUsed, reachingMs, charge.lengthMs)
    end

    local algorithm = {keys = 2, usages = 2, recorded = 4, apply = fixed.apply, refund = fixed.refund, record = fixed.record,
        holds = fixed.holds}

    function algorithm.describe(charge)
        charge.countsUntilMs, charge.nextLengthMs = charge.extra, charge.extra - charge.endMs
    end

    function algorithm.read(charge, i, first)
        local fault
        used[i], fault = readCounter(KEYS[first + charge.key])
        if used[i] then
            before[i], fault = readCounter(KEYS[first + charge.key + 1])
        end
        return not (used[i] and before[i]) and fault
    end

    function algorithm.room(charge, i)
        return charge.max - used[i] - reach(charge, before[i])
    end

    function algorithm.retain(charge, i, first)
        fixed.retain(charge, i, first)
        if before[i] > 0 then
            keepMortal(KEYS[first + charge.key + 1], charge.endMs)
        end
    end

    -- All of the previous window, also what no longer counts of it.
    function algorithm.clearBefore(charge, i, first)
        if before[i] > 0 then
            local key = KEYS[first + charge.key + 1]
            call('DECRBY', key, format('%.0f', before[i]))
            keepMortal(key, charge.endMs)
            lowered(key)
            before[i] = 0
        end
    end

    function algorithm.usage(_, i, push)
        push(used[i])
        push(before[i])
    end

    function algorithm.settle(entry, difference)
        if fixed.settle(entry, difference) then
            lowered(entry[2])
        end
    end

    return algorithm
end
