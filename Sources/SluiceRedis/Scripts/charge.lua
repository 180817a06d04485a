-- Charges one batch of plain checks, which fixed windows alone decide: each entry all or nothing, entries in order,
-- none hurt by another's fault. `prelude.lua` comes before it and tells of KEYS[1], ARGV and the head of the answer.
--
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    [7] shapes: for each: cost, count (0: peek, charges nothing), then for each counter: window (index of its
--            pair in [6], from 1), max, verify (1: look whether the key still has a time to live)
--            [8] entries: runs of neighbours of one shape: index in [7], from 1, and how many they are, by turns
--
-- Returns    the keys themselves, with something else in the place of each: Redis made that table, and one of our own would
--            have to grow. In place of KEYS[1] comes the head, a table; in place of an entry's first key its tally if
--            all of the entry's checks were admitted (a peek: if it would be); or {how many were, tally}; or nothing: a
--            window does not hold now; or, as a string, what went wrong with a counter. In place of its other keys come
--            their tallies; or nothing, where it was not decided. Tallies are as the entry left them.
--
-- With hundreds of entries in a batch the interpreter's own work is a third of what a batch costs. So what a run has in
-- common is looked up once, and the loop over its entries touches locals and little else.

local type, min, max = type, math.min, math.max

-- What the counters of each shape are held to: whether all windows hold now, and lists of maxima, expiries and verifies.
local terms = {}
for number = 1, #shapes do
    local shape, holds, maxima, expiries, verifies = shapes[number], true, {}, {}, {}
    for at = 3, #shape, 3 do
        local i, w = at / 3, shape[at] * 2
        if now < windows[w - 1] or now >= windows[w] then
            holds = false
        end
        expiries[i], verifies[i] = windows[w] + EXPIRY_SLACK_MS, shape[at + 2] == 1
        -- One more than 2^53 looks like 2^53 here, so no tally may reach that.
        maxima[i] = min(shape[at + 1], MAX_EXACT - 1)
    end
    terms[number] = {holds, maxima, expiries, verifies}
end

-- Puts something in the place of an entry's first key, and nothing in the places of the others.
local function tell(something, first, counters)
    KEYS[first] = something
    for at = first + 1, first + counters - 1 do
        KEYS[at] = false
    end
end

-- Puts the tallies in the places of an entry's keys.
local function tellTallies(admitted, count, tallies, first, counters)
    KEYS[first] = admitted == count and tallies[1] or {admitted, tallies[1]}
    for i = 2, counters do
        KEYS[first + i - 1] = tallies[i]
    end
end

-- A key that lost its time to live gets one again.
local function keepMortal(key, expiry)
    if call('PTTL', key) == -1 then
        call('PEXPIREAT', key, expiry)
    end
end

-- Tells what a check of this cost would find.
local function peek(cost, maxima, expiries, counters, first)
    local passes, tallies = 1, {}
    for i = 1, counters do
        local key = KEYS[first + i - 1]
        local used, exists = readTally(key)
        if not used then
            return tell(exists, first, counters)
        end
        if used > 0 then
            keepMortal(key, expiries[i])
        end
        tallies[i] = used
        if used + cost > maxima[i] then
            passes = 0
        end
    end
    tellTallies(passes, 1, tallies, first, counters)
end

-- What a key held before `wanted` was added to it, if that was a tally; else it is taken back, and nil is told.
local function before(key, tally, wanted, wantedText)
    if tally >= wanted and tally <= MAX_EXACT then
        return tally - wanted
    end
    call('DECRBY', key, wantedText)
    local stored = readTally(key)
    if stored then
        call('INCRBY', key, wantedText)
    end
    return stored
end

-- How many of an entry's checks fit beside what others had used of a counter, if not all of them do.
local function fitting(maximum, stored, cost)
    return max(0, floor((maximum - stored) / cost))
end

-- Charges a run of entries with one counter each, as most have: adds first and takes back what does not fit, so one
-- command when everything passes.
local function chargeSingles(cost, count, length, maximum, expiry, verifies, first)
    local wanted = cost * count
    local wantedText = format('%.0f', wanted) -- once a run: Redis would write it out for every command
    for at = first, first + length - 1 do
        local key = KEYS[at]
        local tally = try('INCRBY', key, wantedText)
        if type(tally) == 'table' then
            KEYS[at] = tally.err
        else
            if tally == wanted or (verifies and call('PTTL', key) == -1) then
                call('PEXPIREAT', key, expiry)
            end
            if tally <= maximum and tally >= wanted then
                KEYS[at] = tally
            else
                local stored = before(key, tally, wanted, wantedText)
                if stored then
                    local admitted = fitting(maximum, stored, cost)
                    KEYS[at] = {admitted, call('DECRBY', key, format('%.0f', (count - admitted) * cost))}
                    keepMortal(key, expiry)
                else
                    KEYS[at] = NOT_A_TALLY
                end
            end
        end
    end
end

-- One counter of an entry is at fault: those before it were charged.
local function takeBack(first, charged, wantedText, fault, counters)
    for at = first, first + charged - 1 do
        call('DECRBY', KEYS[at], wantedText)
    end
    tell(fault, first, counters)
end

-- The same for one entry of several counters.
local function chargeAll(cost, count, counters, maxima, expiries, verifies, first)
    local wanted = cost * count
    local wantedText = format('%.0f', wanted)
    local admitted, tallies = count, {}
    for i = 1, counters do
        local key = KEYS[first + i - 1]
        local tally = try('INCRBY', key, wantedText)
        if type(tally) == 'table' then
            return takeBack(first, i - 1, wantedText, tally.err, counters)
        end
        if tally > maxima[i] or tally < wanted then
            local stored = before(key, tally, wanted, wantedText)
            if not stored then
                return takeBack(first, i - 1, wantedText, NOT_A_TALLY, counters)
            end
            admitted = min(admitted, fitting(maxima[i], stored, cost))
        end
        tallies[i] = tally
        if tally == wanted or (verifies[i] and call('PTTL', key) == -1) then
            call('PEXPIREAT', key, expiries[i])
        end
    end
    if admitted < count then
        local back = format('%.0f', (count - admitted) * cost)
        for i = 1, counters do
            tallies[i] = call('DECRBY', KEYS[first + i - 1], back)
            keepMortal(KEYS[first + i - 1], expiries[i])
        end
    end
    tellTallies(admitted, count, tallies, first, counters)
end

local first = 2
for at = 1, #entries, 2 do
    local shape, length = shapes[entries[at]], entries[at + 1]
    local cost, count, counters = shape[1], shape[2], (#shape - 2) / 3
    local holds, maxima, expiries, verifies = unpack(terms[entries[at]])
    local after = first + length * counters
    if holds and count > 0 and counters == 1 then
        chargeSingles(cost, count, length, maxima[1], expiries[1], verifies[1], first)
    else
        for entry = first, after - 1, counters do
            if not holds then
                tell(false, entry, counters)
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
