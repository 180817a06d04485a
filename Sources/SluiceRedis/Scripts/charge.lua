-- Charges one batch of checks: each entry all or nothing, entries in order, none hurt by another's fault.
--
-- KEYS[1]    this replica's marker: holds the sequence of the last batch of its that ran; negated: of the first batch
--            that was told that this store forgot, while no later one has acknowledged that
-- KEYS[2..]  the counters of entry 1, then those of entry 2, and so on; each counts one window of one limit
--
-- ARGV[1]    MessagePack values, one after the other (not in an array: Redis builds tables slowly):
--            [1] sequence      this batch's, counted from 1 by the replica
--            [2] acknowledged  the highest sequence that the replica knows to have run, or to have been told that this
--                              store forgot; 0: none
--            [3] floor         the highest time of this store that the replica has seen, ms
--            [4] markerTtl     how long the marker lives, ms
--            [5] windows       start, end (exclusive), start, end ... in ms since the epoch
--            [6] shapes        what entries have in common; each: cost, count (0: peek, charges nothing), then
--                              for each counter: window (index of its pair in [5], from 1), max,
--                              verify (1: look whether the key still has a time to live)
--            [7] entries       for each entry its shape (index in [6], from 1)
--
-- Returns    [1] 1: ran; else nothing was charged: 0: this store does not remember `acknowledged`; -1: a later batch
--                of this replica ran before
--            [2] this store's clock, ms
--            [3] the sequence in the marker before this batch; 0: none, or negated
--            then, if it ran, for each entry: how many of its checks were admitted (peek: 1 if it would be), followed
--            by each counter's tally after that; or -1 alone: a window does not hold now; or, as a string alone, what
--            went wrong with a counter.
--
-- Numbers are integers below 2^53, where Lua's are exact; Redis passes them on to commands with all their digits.

local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local KEYS = KEYS
local EXPIRY_SLACK_MS = 60000 -- keys outlive their window, so that a clock that steps back finds them

local sequence, acknowledged, floorMs, markerTtl, windows, shapes, entries = cmsgpack.unpack(ARGV[1])

local time = call('TIME')
local timeMs = time[1] * 1000 + floor(time[2] / 1000)
local now = timeMs > floorMs and timeMs or floorMs

-- The first write: a store that cannot take it (read-only, out of memory) ends the script here, with nothing charged.
local previous = tonumber(call('SET', KEYS[1], sequence, 'PX', markerTtl, 'GET') or 0)
if previous >= sequence then
    call('SET', KEYS[1], previous, 'PX', markerTtl)
    return {-1, timeMs, previous}
end
if previous < acknowledged then
    -- An answer can get lost: it is told again until a batch shows that the replica knows.
    local since = previous < 0 and -previous <= sequence and -previous or sequence
    if previous >= 0 or acknowledged < since then
        call('SET', KEYS[1], -since, 'PX', markerTtl)
        return {0, timeMs, previous > 0 and previous or 0}
    end
    previous = 0
end

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
        local value = pcall('GET', KEYS[firstKey + i])
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
        local tally = pcall('INCRBY', key, wantedText)
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
