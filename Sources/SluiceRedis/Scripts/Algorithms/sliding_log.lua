-- Sliding logs, algorithm 4. Under the key is MessagePack: a list of pairs of each charge's time, ms after the one before,
-- and its amount, oldest first. `extra` is when it is charged, ms, or 0: now.

ALGORITHMS[4] = function()
    local MAX_LOG_ENTRIES, LOG_STEPS, EXACT_LOG_STEPS = 1024, 8, 4
    local NOT_A_LOG = 'ERR value is not a log of charges'
    -- A log goes by this store's own clock alone: by a clock ahead of it, charges that still count would be dropped.
    local logNow = isBehind and timeMs or now

    -- For each charge: times and amounts of what counts, oldest first, and when the current check is charged.
    local logTimes, logUnits, logCharged = {}, {}, {}

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

    local algorithm = {keys = 1, usages = 4 + 2 * LOG_STEPS, recorded = 4}

    function algorithm.read(charge, i, first)
        local times, units, sum = readLog(KEYS[first + charge.key], charge.lengthMs)
        if not times then
            return units
        end
        used[i], logTimes[i], logUnits[i] = sum, times, units
        -- It is charged at its newest charge or later, except for a charge that a replica admitted locally, `extra`.
        local ms = max(logNow, times[#times] or 0)
        logCharged[i] = charge.extra > 0 and min(charge.extra, ms) or ms
    end

    function algorithm.room(charge, i)
        return charge.max - used[i]
    end

    function algorithm.apply(charge, i, key, amount)
        amount = min(amount, MAX_EXACT - used[i])
        if amount > 0 and logCharged[i] > logNow - charge.lengthMs then
            used[i] = used[i] + amount
            addToLog(logTimes[i], logUnits[i], amount, logCharged[i])
            writeLog(key, logTimes[i], logUnits[i], charge.lengthMs)
        end
    end

    -- The newest charges first.
    function algorithm.refund(charge, i, key, amount)
        local times, units = logTimes[i], logUnits[i]
        local rest = min(amount, used[i])
        if rest <= 0 then
            return
        end
        used[i] = used[i] - rest
        while rest > 0 do
            local n = #times
            local back = min(rest, units[n])
            rest, units[n] = rest - back, units[n] - back
            if units[n] == 0 then
                times[n], units[n] = nil, nil
            end
        end
        writeLog(key, times, units, charge.lengthMs)
        lowered(key)
    end

    function algorithm.raise(charge, i, key, to)
        if logCharged[i] > logNow - charge.lengthMs then
            used[i] = used[i] + raiseLog(logTimes[i], logUnits[i], to, logCharged[i])
            writeLog(key, logTimes[i], logUnits[i], charge.lengthMs)
        end
    end

    function algorithm.retain(charge, i, first)
        if used[i] > 0 then
            keepMortal(KEYS[first + charge.key], (logTimes[i][#logTimes[i]] or 0) + charge.lengthMs)
        end
    end

    -- Pushes of a log: the usage, when one more check of this cost fits (0: now, or never), when the log will be empty, how
    -- many steps are exact, and `LOG_STEPS` pairs of time and amount. Steps that are not exact merge charges at the last
    -- one's time, so they free nothing sooner than the log does.
    function algorithm.usage(charge, i, list, cost)
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

    function algorithm.record(charge, i, entry)
        entry[3], entry[4] = charge.lengthMs, logCharged[i]
        return logCharged[i] + charge.lengthMs
    end

    function algorithm.holds(entry, more)
        local times, _, sum = readLog(entry[2], entry[3])
        return entry[4] + entry[3] <= logNow or not times or more <= MAX_EXACT - sum
    end

    -- Changes the amount of a charge while it still counts; more is charged now if it does not.
    function algorithm.settle(entry, difference)
        local lengthMs, ms = entry[3], entry[4]
        if ms + lengthMs <= logNow then
            if difference <= 0 then
                return
            end
            ms = logNow
        end
        local times, units, sum, exists = readLog(entry[2], lengthMs)
        if not times then
            skippedFault = units
            return
        end
        if difference > 0 then
            addToLog(times, units, min(difference, MAX_EXACT - sum), ms)
        elseif exists and sum > 0 then
            takeFromLog(times, units, -difference, ms)
        else
            return
        end
        writeLog(entry[2], times, units, lengthMs)
        lowered(entry[2])
    end

    return algorithm
end
