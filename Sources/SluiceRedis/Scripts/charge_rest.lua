-- The rest of a batch of `charge.lua`, which comes before it, as `usage.lua` does: from the first entry on that is not
-- simply admitted, because a maximum is reached, a window does not hold, a counter has a fault, or it is a peek.

local min, max = math.min, math.max

-- Replaces an entry's first key with a value, and its other keys with false.
local function place(value, counters)
    KEYS[first] = value
    for at = first + 1, first + counters - 1 do
        KEYS[at] = false
    end
end

-- Replaces an entry's keys with the usages.
local function placeUsages(admitted, count, counters)
    KEYS[first] = admitted == count and usages[0] or {admitted, usages[0]}
    for i = 1, counters - 1 do
        KEYS[first + i] = usages[i]
    end
end

-- Restores the time to live of a key that lost it.
local function keepMortal(key, endMs)
    if call('PTTL', key) == -1 then
        call('PEXPIREAT', key, endMs + EXPIRY_SLACK_MS)
    end
end

-- Whether all windows of a shape hold now.
local function holds(shape, counters)
    for at = shape + 4, shape + 4 * counters, 4 do
        if now < batch[at] or now >= batch[at + 1] then
            return false
        end
    end
    return true
end

-- Answers a peek: what a check of this cost would find.
local function peek(shape, cost, counters)
    local passes = 1
    for i = 0, counters - 1 do
        local key, at = KEYS[first + i], shape + 4 + 4 * i
        local used, exists = readCounter(key)
        if not used then
            return place(exists, counters)
        end
        if used > 0 then
            keepMortal(key, batch[at + 1])
        end
        usages[i] = used
        if used + cost > batch[at + 2] then
            passes = 0
        end
    end
    placeUsages(passes, 1, counters)
end

-- What a key held before `wanted` was added to it, if that was a valid usage; otherwise takes the increment back and
-- returns nil.
local function before(key, used, wanted, wantedText)
    if used >= wanted and used <= MAX_EXACT then
        return used - wanted
    end
    call('DECRBY', key, wantedText)
    local stored = readCounter(key)
    if stored then
        call('INCRBY', key, wantedText)
    end
    return stored
end

-- Reverts an entry after a fault: takes back what was charged to the counters before the faulty one.
local function takeBack(charged, wantedText, fault, counters)
    for at = first, first + charged - 1 do
        call('DECRBY', KEYS[at], wantedText)
    end
    place(fault, counters)
end

-- Charges an entry, of which `counted` counters are charged already: it adds first, and takes back what does not fit.
local function charge(shape, cost, count, counters)
    local wanted, wantedText, admitted = cost * count, batch[shape + 2], count
    for i = 0, counters - 1 do
        local key, at = KEYS[first + i], shape + 4 + 4 * i
        if i >= counted then
            usage = usage or try('INCRBY', key, wantedText)
            if type(usage) == 'table' then
                return takeBack(i, wantedText, usage.err, counters)
            end
            if usage > batch[at + 2] or usage < wanted then
                local stored = before(key, usage, wanted, wantedText)
                if not stored then
                    return takeBack(i, wantedText, NOT_A_COUNT, counters)
                end
                admitted = min(admitted, max(0, floor((batch[at + 2] - stored) / cost)))
            end
            usages[i] = usage
            if usage == wanted or batch[at + 3] == 1 and call('PTTL', key) == -1 then
                call('PEXPIREAT', key, batch[at + 1] + EXPIRY_SLACK_MS)
            end
            usage = nil
        end
    end
    if admitted < count then
        local back = format('%.0f', (count - admitted) * cost)
        for i = 0, counters - 1 do
            usages[i] = call('DECRBY', KEYS[first + i], back)
            keepMortal(KEYS[first + i], batch[shape + 5 + 4 * i])
        end
    end
    placeUsages(admitted, count, counters)
end

usages = usages or {}
while run < size do
    local shape = batch[run]
    local cost, count, counters = batch[shape], batch[shape + 1], batch[shape + 3]
    local isOpen = holds(shape, counters)
    while first < last do
        if not isOpen then
            place(false, counters)
        elseif count > 0 then
            charge(shape, cost, count, counters)
        else
            peek(shape, cost, counters)
        end
        first, counted, usage = first + counters, 0, nil
    end
    run = run + 2
    if run < size then
        last = first + batch[run + 1] * batch[batch[run] + 3]
    end
end
return KEYS
