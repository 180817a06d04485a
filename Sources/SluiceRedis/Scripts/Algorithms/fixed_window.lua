-- Fixed windows, algorithm 0: one counter for each window. Plain checks of fixed windows alone are decided by
-- `charge.lua`.

ALGORITHMS[0] = function()
    local MIN_DAY_MS, MAX_WINDOW_MS = 82800000, 5529600000 -- 23 hours; 64 days: two months
    local algorithm = {keys = 1, usages = 1, recorded = 4}

    function algorithm.describe(charge)
        charge.countsUntilMs, charge.nextLengthMs = charge.endMs, charge.lengthMs
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

    function algorithm.refund(charge, i, key, amount, first)
        local back = min(amount, used[i])
        if back > 0 then
            used[i] = used[i] - back
            call('DECRBY', key, format('%.0f', back))
            keepMortal(key, charge.countsUntilMs)
            -- A sliding window has a second key.
            charge.algorithm.retain(charge, i, first)
            lowered(key)
        end
    end

    function algorithm.record(charge, _, entry)
        entry[3], entry[4] = charge.countsUntilMs, charge.isUneven and 0 or charge.nextLengthMs
        return charge.countsUntilMs
    end

    function algorithm.holds(entry, more)
        return now >= entry[3] or more <= MAX_EXACT - (readCounter(entry[2]) or 0)
    end

    local function base36(number)
        local text = ''
        repeat
            local digit = number % 36
            text = string.char(digit < 10 and 48 + digit or 87 + digit) .. text
            number = floor(number / 36)
        until number == 0
        return text
    end

    -- Charges more to the open window, when the one that was charged no longer counts. Of uneven windows only the next
    -- one's beginning is known, and that it lasts for 23 hours at least.
    local function chargeOpenWindow(entry, difference)
        local startMs, lengthMs, expiresAtMs = entry[3], entry[4], now + MAX_WINDOW_MS
        if lengthMs > 0 then
            startMs = startMs + floor((now - startMs) / lengthMs) * lengthMs
            -- A sliding window counts in the next one, too.
            expiresAtMs = startMs + (entry[1] % 8 == 1 and 2 or 1) * lengthMs + EXPIRY_SLACK_MS
        elseif now - startMs >= MIN_DAY_MS then
            return
        end
        -- The start is in windows if they are of a number of seconds, else in seconds.
        local prefix, seconds = match(entry[2], '^(.*:%l(%d*)[^:]*:)%w+$')
        if not prefix then
            return
        end
        local key = prefix .. base36(startMs / ((tonumber(seconds) or 1) * 1000))
        local usage, fault = readCounter(key)
        if not usage then
            skippedFault = fault
            return
        end
        add(key, min(difference, MAX_EXACT - 1 - usage), false, expiresAtMs)
        lowered(key)
    end

    -- Changes the usage of the window that was charged, while it still counts.
    function algorithm.settle(entry, difference)
        local countsUntilMs = entry[3]
        if now >= countsUntilMs then
            if difference > 0 then
                chargeOpenWindow(entry, difference)
            end
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
