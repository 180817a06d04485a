-- Charges one batch of plain checks, which fixed windows alone decide: each entry all or nothing, entries in order,
-- none hurt by another's fault. `prelude.lua` comes before it and tells of KEYS[1], ARGV and the head of the answer.
--
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    [6] shapes: for each: cost, count (0: peek, charges nothing), then for each counter: window (index of its
--            pair in [5], from 1), max, verify (1: look whether the key still has a time to live)
--            [7] entries: runs of neighbours of one shape: index in [6], from 1, and how many they are, by turns
--
-- Returns    for each entry: how many of its checks were admitted (peek: 1 if it would be), followed by each counter's
--            tally after that; or -1 alone: a window does not hold now; or, as a string alone, what went wrong with a
--            counter.
--
-- With hundreds of entries in a batch the interpreter's own work is a third of what a batch costs. So what a run has in
-- common is looked up once, and the loop over its entries touches locals and little else.

local type = type
local reply = {1, timeMs, previous}
local size = 3

-- What the counters of each shape are held to: whether all windows hold now, and lists of maxima, expiries and verifies.
local terms = {}
for number = 1, #shapes do
    local shape, holds, maxima, expiries, verifies = shapes[number], true, {}, {}, {}
    for at = 3, #shape, 3 do
        local i, w = at / 3, shape[at] * 2
        if now < windows[w - 1] or now >= windows[w] then
            holds = false
        end
        expiries[i], maxima[i], verifies[i] = windows[w] + EXPIRY_SLACK_MS, shape[at + 1], shape[at + 2] == 1
    end
    terms[number] = {holds, maxima, expiries, verifies}
end

-- Replaces what was told of an entry by what went wrong.
local function tellFault(fault, told)
    for i = 2, told + 1 do
        reply[size + i] = nil
    end
    size = size + 1
    reply[size] = fault
end

-- Tells what a check of this cost would find.
local function peek(cost, maxima, counters, firstKey)
    local passes = 1
    for i = 1, counters do
        local value = try('GET', KEYS[firstKey + i])
        if type(value) == 'table' then
            return tellFault(value.err, i - 1)
        end
        local used = tonumber(value or 0)
        if not used or used % 1 ~= 0 then
            return tellFault('ERR value is not an integer or out of range', i - 1)
        end
        reply[size + 1 + i] = used
        if used + cost > maxima[i] then
            passes = 0
        end
    end
    reply[size + 1] = passes
    size = size + 1 + counters
end

-- Charges the entries of a run: adds first and takes back what does not fit, so one command a counter when everything
-- passes.
local function charge(shape, length, counters, maxima, expiries, verifies, firstKey)
    local cost, count = shape[1], shape[2]
    local wanted = cost * count
    local wantedText = format('%.0f', wanted) -- once a run: Redis would write it out for every command
    for base = firstKey, firstKey + (length - 1) * counters, counters do
        local admitted, fault = count, nil
        for i = 1, counters do
            local key = KEYS[base + i]
            local tally = try('INCRBY', key, wantedText)
            if type(tally) == 'table' then
                for j = 1, i - 1 do
                    call('DECRBY', KEYS[base + j], wantedText)
                end
                fault = tally.err
                tellFault(fault, i - 1)
                break
            end
            reply[size + 1 + i] = tally
            if tally == wanted or (verifies[i] and call('PTTL', key) == -1) then
                call('PEXPIREAT', key, expiries[i])
            end
            if tally > maxima[i] then
                local fits = floor((maxima[i] - tally + wanted) / cost)
                if fits < admitted then
                    admitted = fits > 0 and fits or 0
                end
            end
        end
        if not fault then
            if admitted < count then
                local back = (count - admitted) * cost
                for i = 1, counters do
                    reply[size + 1 + i] = call('DECRBY', KEYS[base + i], back)
                end
            end
            reply[size + 1] = admitted
            size = size + 1 + counters
        end
    end
end

local firstKey = 1
for at = 1, #entries, 2 do
    local shape, length = shapes[entries[at]], entries[at + 1]
    local counters = (#shape - 2) / 3
    local holds, maxima, expiries, verifies = unpack(terms[entries[at]])
    if not holds then
        for _ = 1, length do
            size = size + 1
            reply[size] = -1
        end
    elseif shape[2] > 0 then
        charge(shape, length, counters, maxima, expiries, verifies, firstKey)
    else
        for base = firstKey, firstKey + (length - 1) * counters, counters do
            peek(shape[1], maxima, counters, base)
        end
    end
    firstKey = firstKey + length * counters
end
return reply
