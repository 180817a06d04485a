-- Charges one batch of plain checks of fixed windows. Entries run in order; each check is charged to all of its
-- counters or to none, and a fault of one entry does not affect the others. `prelude.lua` comes before it and describes
-- KEYS[1], ARGV and the head of the answer.
--
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    [8] shapes: for each: cost, count (0: peek, charges nothing), then for each counter: window (index of its
--            pair in [7], from 1), max, verify (1: check whether the key still has a time to live)
--            [9] entries: runs of neighbours of one shape: pairs of an index in [8], from 1, and the run's length
--
-- Returns    the KEYS table with its elements replaced: Redis made that table, a new one would have to grow. KEYS[1]
--            becomes the head, a table. An entry's first key becomes: its usage, if all of its checks were admitted (a
--            peek: if it would be); {number admitted, usage} if not all were; false: a window does not hold now; or a
--            string: the fault of a counter. Its other keys become their usages, or false where it was not decided.
--            Usages are as the entry left them.
--
-- With hundreds of entries in a batch the interpreter's own work is a third of what a batch costs. So what a run has in
-- common is looked up once, and the loop over its entries uses little but locals.

local type, min, max = type, math.min, math.max

-- For each shape: whether all windows hold now, and lists of maxima, expiries and verifies.
local quotas = {}
for number = 1, #shapes do
    local shape, holds, maxima, expiries, verifies = shapes[number], true, {}, {}, {}
    for at = 3, #shape, 3 do
        local i, w = at / 3, shape[at] * 2
        if now < windows[w - 1] or now >= windows[w] then
            holds = false
        end
        expiries[i], verifies[i] = windows[w] + EXPIRY_SLACK_MS, shape[at + 2] == 1
        -- 2^53 + 1 looks like 2^53 here, so no usage may reach 2^53.
        maxima[i] = min(shape[at + 1], MAX_EXACT - 1)
    end
    quotas[number] = {holds, maxima, expiries, verifies}
end

-- Replaces an entry's first key with a value, and its other keys with false.
local function place(value, first, counters)
    KEYS[first] = value
    for at = first + 1, first + counters - 1 do
        KEYS[at] = false
    end
end

-- Replaces an entry's keys with the usages.
local function placeUsages(admitted, count, usages, first, counters)
    KEYS[first] = admitted == count and usages[1] or {admitted, usages[1]}
    for i = 2, counters do
        KEYS[first + i - 1] = usages[i]
    end
end

-- Restores the time to live of a key that lost it.
local function keepMortal(key, expiry)
    if call('PTTL', key) == -1 then
        call('PEXPIREAT', key, expiry)
    end
end

-- Answers a peek: what a check of this cost would find.
local function peek(cost, maxima, expiries, counters, first)
    local passes, usages = 1, {}
    for i = 1, counters do
        local key = KEYS[first + i - 1]
        local used, exists = readCounter(key)
        if not used then
            return place(exists, first, counters)
        end
        if used > 0 then
            keepMortal(key, expiries[i])
        end
        usages[i] = used
        if used + cost > maxima[i] then
            passes = 0
        end
    end
    placeUsages(passes, 1, usages, first, counters)
end

-- What a key held before `wanted` was added to it, if that was a valid usage; otherwise takes the increment back and
-- returns nil.
local function before(key, usage, wanted, wantedText)
    if usage >= wanted and usage <= MAX_EXACT then
        return usage - wanted
    end
    call('DECRBY', key, wantedText)
    local stored = readCounter(key)
    if stored then
        call('INCRBY', key, wantedText)
    end
    return stored
end

-- How many of an entry's checks fit beside the stored usage, if not all of them do.
local function fitting(maximum, stored, cost)
    return max(0, floor((maximum - stored) / cost))
end

-- Charges a run of entries with one counter each, the usual case. It adds first and takes back what does not fit: one
-- command per entry when everything passes.
local function chargeSingles(cost, count, length, maximum, expiry, verifies, first)
    local wanted = cost * count
    local wantedText = format('%.0f', wanted) -- once a run: Redis would format it for every command
    for at = first, first + length - 1 do
        local key = KEYS[at]
        local usage = try('INCRBY', key, wantedText)
        if type(usage) == 'table' then
            KEYS[at] = usage.err
        else
            if usage == wanted or (verifies and call('PTTL', key) == -1) then
                call('PEXPIREAT', key, expiry)
            end
            if usage <= maximum and usage >= wanted then
                KEYS[at] = usage
            else
                local stored = before(key, usage, wanted, wantedText)
                if stored then
                    local admitted = fitting(maximum, stored, cost)
                    KEYS[at] = {admitted, call('DECRBY', key, format('%.0f', (count - admitted) * cost))}
                    keepMortal(key, expiry)
                else
                    KEYS[at] = NOT_A_COUNT
                end
            end
        end
    end
end

-- Reverts an entry after a fault: takes back what was charged to the counters before the faulty one.
local function takeBack(first, charged, wantedText, fault, counters)
    for at = first, first + charged - 1 do
        call('DECRBY', KEYS[at], wantedText)
    end
    place(fault, first, counters)
end

-- Charges one entry of several counters in the same way.
local function chargeAll(cost, count, counters, maxima, expiries, verifies, first)
    local wanted = cost * count
    local wantedText = format('%.0f', wanted)
    local admitted, usages = count, {}
    for i = 1, counters do
        local key = KEYS[first + i - 1]
        local usage = try('INCRBY', key, wantedText)
        if type(usage) == 'table' then
            return takeBack(first, i - 1, wantedText, usage.err, counters)
        end
        if usage > maxima[i] or usage < wanted then
            local stored = before(key, usage, wanted, wantedText)
            if not stored then
                return takeBack(first, i - 1, wantedText, NOT_A_COUNT, counters)
            end
            admitted = min(admitted, fitting(maxima[i], stored, cost))
        end
        usages[i] = usage
        if usage == wanted or (verifies[i] and call('PTTL', key) == -1) then
            call('PEXPIREAT', key, expiries[i])
        end
    end
    if admitted < count then
        local back = format('%.0f', (count - admitted) * cost)
        for i = 1, counters do
            usages[i] = call('DECRBY', KEYS[first + i - 1], back)
            keepMortal(KEYS[first + i - 1], expiries[i])
        end
    end
    placeUsages(admitted, count, usages, first, counters)
end

local first = 2
for at = 1, #entries, 2 do
    local shape, length = shapes[entries[at]], entries[at + 1]
    local cost, count, counters = shape[1], shape[2], (#shape - 2) / 3
    local holds, maxima, expiries, verifies = unpack(quotas[entries[at]])
    local after = first + length * counters
    if holds and count > 0 and counters == 1 then
        chargeSingles(cost, count, length, maxima[1], expiries[1], verifies[1], first)
    else
        for entry = first, after - 1, counters do
            if not holds then
                place(false, entry, counters)
            elseif count > 0 then
                chargeAll(cost, count, counters, maxima, expiries, verifies, entry)
            else
                peek(cost, maxima, expiries, counters, entry)
            end
        end
    end
    first = after
end
KEYS[1] = {1, timeMs, previous}
return KEYS
