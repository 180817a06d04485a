-- Settlements: what was reserved is committed to its cost, cancelled or released. `decide.lua` comes before it.

-- The algorithm of a charge that `record` wrote, and whether it counts calls.
local function recordedAlgorithm(number)
    if type(number) ~= 'number' then
        return nil
    end
    return algorithmOf(number % 8), number >= 8
end

-- Whether it is what `record` wrote.
local function isRecord(value)
    if type(value) ~= 'table' or not (isCount(value[1]) or value[1] == SPENT) or not isCount(value[2])
        or type(value[3]) ~= 'table' or type(value[4]) ~= 'string' then
        return false
    end
    for i = 1, #value[3] do
        local charge = value[3][i]
        if type(charge) ~= 'table' or type(charge[2]) ~= 'string' then
            return false
        end
        local algorithm = recordedAlgorithm(charge[1])
        for at = 3, algorithm and algorithm.recorded or 0 do
            if not isCount(charge[at]) then
                return false
            end
        end
        if not algorithm then
            return false
        end
    end
    return true
end

-- Returns 1 or SKIPPED and the fault if something was still to be settled, 0 if nothing was; or a string: what went
-- wrong.
local function settle(shape, key)
    local value = try('GET', key)
    if not value then
        return 0
    end
    if type(value) == 'table' then
        return value.err
    end
    local isRead, reservation = pcall(unpack, value)
    if not isRead or not isRecord(reservation) then
        return 'ERR value is not a reservation'
    end
    local cost, chargedMs, charges = reservation[1], reservation[2], reservation[3]
    local settlesCost, freesSlots = shape.kind ~= RELEASE and cost ~= SPENT, false
    local difference = (shape.kind == COMMIT and shape.cost or 0) - cost
    -- A call that was made counts as one, whatever it cost in the end.
    local callsDifference = shape.kind == COMMIT and 0 or -1
    for i = 1, #charges do
        local charge = charges[i]
        local algorithm, countsCalls = recordedAlgorithm(charge[1])
        if algorithm.takesSlots then
            local freed = shape.kind ~= COMMIT and try('ZREM', charge[2], string.sub(key, -32))
            if type(freed) == 'table' then
                return freed.err
            end
        elseif settlesCost and difference > 0 and not countsCalls and not algorithm.holds(charge, difference) then
            return TOO_MUCH
        end
    end
    local rest = {}
    skippedFault = nil
    for i = 1, #charges do
        local charge = charges[i]
        local algorithm, countsCalls = recordedAlgorithm(charge[1])
        local change = countsCalls and callsDifference or difference
        if algorithm.takesSlots and shape.kind ~= COMMIT then
            freesSlots = true
        elseif algorithm.takesSlots or not settlesCost then
            rest[#rest + 1] = charge
        elseif change ~= 0 then
            algorithm.settle(charge, change, chargedMs)
        end
    end
    if not settlesCost and not freesSlots then
        return 0
    end
    -- A cancelled call was never made, so its cached answer is dropped.
    if settlesCost and shape.kind == CANCEL and reservation[4] ~= '' then
        dropCachedAnswer(reservation[4], string.sub(key, -32))
    end
    cost = settlesCost and SPENT or cost
    if cost == SPENT and #rest == 0 then
        call('DEL', key)
    else
        call('SET', key, pack({cost, chargedMs, rest, reservation[4]}), 'KEEPTTL')
    end
    return skippedFault and SKIPPED or 1, skippedFault
end
