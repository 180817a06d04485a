-- Charges one batch of plain checks, which fixed windows alone decide: each entry all or nothing, entries in order,
-- none hurt by another's fault. `prelude.lua` comes before it and tells of KEYS[1], ARGV and the head of the answer.
--
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    [6] shapes: for each: cost, count (0: peek, charges nothing), then for each counter: window (index of its
--            pair in [5], from 1), max, verify (1: look whether the key still has a time to live)
--
-- Returns    for each entry: how many of its checks were admitted (peek: 1 if it would be), followed by each counter's
--            tally after that; or -1 alone: a window does not hold now; or, as a string alone, what went wrong with a
--            counter.

for i = 1, #shapes do
    local shape = shapes[i]
    shape.counters = (#shape - 2) / 3
    shape.holds = true
    shape.wanted = shape[1] * shape[2]
    shape.wantedText = format('%.0f', shape.wanted) -- once a shape: Redis would write it out for every command
    for at = 3, #shape, 3 do
        local w = shape[at] * 2
        if now < windows[w - 1] or now >= windows[w] then
            shape.holds = false
        end
    end
end

local reply = {1, timeMs, previous}
local size = 3
local used = {}

-- Tells what a check of this shape would find.
local function peek(shape, firstKey)
    local passes = 1
    for i = 1, shape.counters do
        local value = try('GET', KEYS[firstKey + i])
        if type(value) == 'table' then
            return value.err
        end
        used[i] = tonumber(value or 0)
        if not used[i] or used[i] % 1 ~= 0 then
            return 'ERR value is not an integer or out of range'
        end
        if used[i] + shape[1] > shape[i * 3 + 1] then
            passes = 0
        end
    end
    return passes
end

-- Adds first and takes back what does not fit: one command a counter when everything passes.
local function charge(shape, firstKey)
    local cost, count = shape[1], shape[2]
    local wanted, wantedText, admitted = shape.wanted, shape.wantedText, count
    for i = 1, shape.counters do
        local at = i * 3
        local key = KEYS[firstKey + i]
        local tally = try('INCRBY', key, wantedText)
        if type(tally) == 'table' then
            for j = 1, i - 1 do
                call('DECRBY', KEYS[firstKey + j], wantedText)
            end
            return tally.err
        end
        used[i] = tally
        if tally == wanted or (shape[at + 2] == 1 and call('PTTL', key) == -1) then
            call('PEXPIREAT', key, windows[shape[at] * 2] + EXPIRY_SLACK_MS)
        end
        if tally > shape[at + 1] then
            local fits = floor((shape[at + 1] - tally + wanted) / cost)
            if fits < admitted then
                admitted = fits > 0 and fits or 0
            end
        end
    end
    if admitted < count then
        local back = (count - admitted) * cost
        for i = 1, shape.counters do
            used[i] = call('DECRBY', KEYS[firstKey + i], back)
        end
    end
    return admitted
end

local firstKey = 1
for e = 1, #entries do
    local shape = shapes[entries[e]]
    local outcome = -1
    if shape.holds then
        outcome = (shape[2] == 0 and peek or charge)(shape, firstKey)
    end
    size = size + 1
    reply[size] = outcome
    if type(outcome) == 'number' and outcome >= 0 then
        for i = 1, shape.counters do
            size = size + 1
            reply[size] = used[i]
        end
    end
    firstKey = firstKey + shape.counters
end
return reply
