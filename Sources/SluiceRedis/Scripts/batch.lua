-- Decides the entries that `checks.lua` has left, and publishes what was lowered: the end of the script whose KEYS, ARGV and
-- answer `decide.lua` describes.

-- Names the numbers of a shape and assigns its keys.
local function decodeShape(shape)
    shape.cost, shape.count, shape.kind = shape[1], shape[2], shape[3]
    shape.charges, shape.holds, shape.usages = {}, true, 0
    shape.isCharge, shape.isRefund = floor(shape.kind / 16) == 1, floor(shape.kind / 16) == 2
    shape.kind = shape.kind % 16
    local keys = 0
    for at = 4, #shape, 5 do
        local window, flags, lengthMs, extra = shape[at] * 2, shape[at + 2], shape[at + 3], shape[at + 4]
        local number = floor(flags / 4) % 8
        local algorithm = algorithmOf(number)
        local charge = {
            number = number, algorithm = algorithm, max = shape[at + 1], lengthMs = lengthMs, extra = extra,
            endMs = windows[window], isShadow = flags % 4 >= 2, verifies = flags % 2 == 1, key = keys + 1,
            countsCalls = flags % 64 >= 32 or algorithm.takesSlots, isUneven = flags >= 64,
        }
        if algorithm.describe then
            algorithm.describe(charge)
        end
        keys = keys + algorithm.keys
        shape.usages = shape.usages + algorithm.usages
        shape.takesSlots = shape.takesSlots or algorithm.takesSlots
        if charge.isShadow then
            keys = keys + 1
            charge.denialsKey = keys
            shape.usages = shape.usages + 1
        end
        if now < windows[window - 1] or now >= windows[window] then
            shape.holds = false
        end
        shape.charges[#shape.charges + 1] = charge
    end
    if (shape.kind >= COMMIT and shape.kind ~= RESTORE and shape.kind ~= CLEAR) or (shape.kind < COMMIT and shape.kind % 2 == RESERVED) then
        keys = keys + (shape.kind == HEARTBEAT and 2 or 1)
        shape.recordKey = keys
    end
    if shape.kind < COMMIT and shape.kind >= WITH_KEY then
        keys = keys + 1
        shape.idempotencyKey = keys
    end
    shape.keys = keys
end

for i = 1, #shapes do
    decodeShape(shapes[i])
end

-- An entry with an idempotency key, or an answer to cache, is none of those before.
local idempotencyAt = 0
for e = entry, entryCount do
    local shape = shapes[entries[e]]
    if shape.kind == RESTORE then
        restore(shape, firstKey)
    elseif shape.kind == CLEAR then
        clear(shape, firstKey)
    elseif shape.kind == HEARTBEAT then
        heartbeat(shape.cost, shape.count, KEYS[firstKey + 1], KEYS[firstKey + 2])
    elseif shape.kind == OVERRIDES then
        overrides(KEYS[firstKey + 1], idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2], shape.cost, shape.count)
        idempotencyAt = idempotencyAt + 2
    elseif shape.kind == CACHE then
        local encoded, ttlMs = idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2]
        push(call('SET', KEYS[firstKey + 1], encoded, 'NX', 'PX', ttlMs) and 1 or 0)
        idempotencyAt = idempotencyAt + 2
    elseif shape.kind == DROP then
        push(dropCachedAnswer(KEYS[firstKey + 1], idempotency[idempotencyAt + 1]))
        idempotencyAt = idempotencyAt + 2
    elseif shape.kind >= COMMIT then
        local outcome, fault = settle(shape, KEYS[firstKey + 1])
        push(outcome)
        if fault then
            push(fault)
        end
    else
        local decide = (shape.isCharge or shape.isRefund) and account or check
        if shape.idempotencyKey then
            decide(shape, firstKey, idempotency[idempotencyAt + 1], idempotency[idempotencyAt + 2])
            idempotencyAt = idempotencyAt + 2
        else
            decide(shape, firstKey)
        end
    end
    firstKey = firstKey + shape.keys
end
-- A user without the right to publish can still settle. Without the right to subscribe, the denial cache is off.
local prefix = #lowerings > 0 and (match(KEYS[1], '^([^{]*:){[^}]*}:replica:') or match(KEYS[1], '^(.*:)replica:'))
for i = 1, prefix and #lowerings or 0 do
    try('PUBLISH', prefix .. 'changed', lowerings[i])
    push(lowerings[i])
end
return reply
