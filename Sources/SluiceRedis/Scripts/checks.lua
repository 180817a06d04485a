-- The beginning of `decide.lua`, which says what KEYS, ARGV and the answer hold: it decides checks of fixed windows, sliding
-- windows and token buckets, from the batch's first entry on, up to the first that is anything else, or that is not
-- admitted whole. The rest is left to what follows, `usage.lua`, `counters.lua`, the algorithms and `decide.lua`, whose
-- functions take Redis as long to make as many checks. All of an entry is read before any of it is written, so until then
-- it can be left to them. `prelude.lua` comes before it.
--
-- It does what the algorithms' own files say, which explain it, for numbers of up to 15 digits.

local windows, shapes, entries, idempotency = batch[10], batch[11], batch[12], batch[13]
local reply, size = {1, timeMs, previous}, 3
local type, find, match, fmod = type, string.find, string.match, math.fmod
local CLOCK_STEP_MS = 60000 -- how far ahead the time of a bucket or a log may be before it is corrected
-- The entry that is next, and the key before its first.
local entry, firstKey, entryCount = 1, 1, #entries
-- Of each charge of the current entry: the usage with the checks, of a window by how much it grows and the window before,
-- of a bucket its time and how long the key lives.
local usages, amounts, earlier, keptMs = {}, {}, {}, {}

while entry <= entryCount do
    local shape = shapes[entries[entry]]
    local cost, count, last = shape[1], shape[2], #shape
    local isSimple, i, key = shape[3] == 0 and count > 0, 0, firstKey
    for at = 4, isSimple and last or 0, 5 do
        local window, maximum, flags, lengthMs = shape[at] * 2, shape[at + 1], shape[at + 2], shape[at + 3]
        local number, startMs, endMs = (flags % 32 - flags % 4) / 4, windows[window - 1], windows[window]
        i, key = i + 1, key + 1
        -- No shadow limits, and no other algorithms.
        isSimple = number < 3 and flags % 4 < 2 and now >= startMs and now < endMs
        local value = isSimple and try('GET', KEYS[key])
        local amount = flags % 64 >= 32 and count or cost * count
        if not isSimple then
            break
        elseif number == 2 then
            local level, sinceMs, capacity = 0, 0, shape[at + 4] * lengthMs
            keptMs[i] = nil
            if value then
                level, sinceMs = match(type(value) == 'string' and value or '', '^(%d+) (%d+)$')
                if not level or #level > 15 or #sinceMs > 15 or sinceMs - CLOCK_STEP_MS > now then
                    isSimple = false
                    break
                end
                level, sinceMs, keptMs[i] = level + 0, sinceMs + 0, call('PTTL', KEYS[key])
            end
            if now > sinceMs then
                local leaked = isBehind and 0 or maximum * (now - sinceMs)
                level, sinceMs = level > leaked and level - leaked or 0, now
            end
            amount = amount * lengthMs
            usages[i], earlier[i] = level + amount, sinceMs
            isSimple = amount < MAX_EXACT and usages[i] <= capacity
        else
            local usage, reaches = 0, 0
            if value then
                isSimple = value == '0' or type(value) == 'string' and #value < 16 and find(value, '^[1-9]%d*$')
                usage = isSimple and value + 0
            end
            if isSimple and number == 1 then
                key = key + 1
                value = try('GET', KEYS[key])
                if value then
                    isSimple = value == '0' or type(value) == 'string' and #value < 16 and find(value, '^[1-9]%d*$')
                    reaches = isSimple and value + 0 or 0
                end
                earlier[i] = reaches
                if endMs - now < lengthMs then
                    local product = reaches * (endMs - now)
                    local rest = fmod(product, lengthMs)
                    reaches = (product - rest) / lengthMs + (rest > 0 and 1 or 0)
                    isSimple = isSimple and product < MAX_EXACT
                end
            end
            if isSimple then
                usages[i], amounts[i] = usage + amount, amount
                isSimple = amount < MAX_EXACT and usages[i] + reaches <= maximum
            end
        end
        if not isSimple then
            break
        end
    end
    if not isSimple then
        break
    end
    i, key = 0, firstKey
    size = size + 1
    reply[size] = count
    for at = 4, last, 5 do
        local flags, lengthMs = shape[at + 2], shape[at + 3]
        local number = (flags % 32 - flags % 4) / 4
        i, key, size = i + 1, key + 1, size + 1
        reply[size] = usages[i]
        if number == 2 then
            local level, sinceMs, maximum = usages[i], earlier[i], shape[at + 1]
            local rest = maximum > 0 and fmod(level, maximum) or 0
            local drainsMs = maximum > 0 and (level - rest) / maximum + (rest > 0 and 1 or 0) or lengthMs
            local untilMs = sinceMs + drainsMs > now + lengthMs and sinceMs + drainsMs or now + lengthMs
            untilMs = (untilMs < MAX_EXACT and untilMs or MAX_EXACT) + EXPIRY_SLACK_MS
            local value = format('%.0f %.0f', level, sinceMs)
            if keptMs[i] and keptMs[i] >= untilMs - timeMs then
                call('SET', KEYS[key], value, 'KEEPTTL')
            else
                call('SET', KEYS[key], value, 'PXAT', format('%.0f', untilMs))
            end
        else
            local amount = amounts[i]
            if call('INCRBY', KEYS[key], amount == 1 and '1' or format('%.0f', amount)) == amount
                or flags % 2 == 1 and call('PTTL', KEYS[key]) == -1 then
                call('PEXPIREAT', KEYS[key], (number == 1 and shape[at + 4] or windows[shape[at] * 2]) + EXPIRY_SLACK_MS)
            end
            if number == 1 then
                key, size = key + 1, size + 1
                reply[size] = earlier[i]
            end
        end
    end
    entry, firstKey = entry + 1, key
end
if entry > entryCount then
    return reply
end
