-- Fixed windows, algorithm 0: one counter for each window. Plain checks of fixed windows alone are decided by
-- `charge.lua`.

ALGORITHMS[0] = function()
    local algorithm = {keys = 1, usages = 1, recorded = 3}

    function algorithm.describe(charge)
        charge.countsUntilMs = charge.endMs
    end

    function algorithm.read(charge, i, first)
        local fault
        used[i], fault = readCounter(KEYS[first + charge.key])
        return not used[i] and fault
    end

    function algorithm.room(charge, i)
        return charge.max - used[i]
    end

    function algorithm.apply(charge, i, key, amount)
        used[i] = used[i] + amount
        add(key, amount, charge.verifies, charge.countsUntilMs + EXPIRY_SLACK_MS)
    end

    function algorithm.retain(charge, i, first)
        if used[i] > 0 then
            keepMortal(KEYS[first + charge.key], charge.countsUntilMs)
        end
    end

    function algorithm.usage(_, i, push)
        push(used[i])
    end

    function algorithm.record(charge, _, entry)
        entry[3] = charge.countsUntilMs
        return charge.countsUntilMs
    end

    function algorithm.holds(entry, more)
        return now >= entry[3] or more <= MAX_EXACT - (readCounter(entry[2]) or 0)
    end

    -- Changes the usage of the window that was charged, while it still counts.
    function algorithm.settle(entry, difference)
        local countsUntilMs = entry[3]
        if now >= countsUntilMs then
            return
        end
        local usage, exists = readCounter(entry[2])
        if not usage then
            skippedFault = exists
        elseif difference > 0 then
            add(entry[2], difference, false, countsUntilMs + EXPIRY_SLACK_MS)
            return true
        elseif exists and usage > 0 then
            call('DECRBY', entry[2], format('%.0f', min(-difference, usage)))
            lowered(entry[2])
        end
    end

    return algorithm
end
