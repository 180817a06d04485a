-- What replicas do for themselves: they restore counters, and leave a heartbeat. `settlements.lua` comes before it.

-- Raises a counter to the usage that a replica saw before this store lost its data.
local function restore(shape, firstKey)
    if not readAll(shape, firstKey) then
        return
    end
    local charge = shape.charges[1]
    if charge.algorithm.raise then
        charge.algorithm.raise(charge, 1, KEYS[firstKey + charge.key], shape.cost)
    else
        local more = max(0, shape.cost - used[1])
        apply(charge, 1, more, more > 0 and 1 or 0, 0, firstKey, '')
    end
    push(1)
    pushUsages(shape, push, shape.cost)
end

-- Writes a replica's time into a sorted set, and removes replicas whose time is older than `lifeMs`.
local function note(key, ms, lifeMs)
    local noted = try('ZADD', key, format('%.0f', ms), match(KEYS[1], '[^:]*$'))
    if type(noted) == 'table' then
        return noted.err
    end
    call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now - lifeMs))
    call('PEXPIREAT', key, format('%.0f', now + lifeMs))
end

-- The replicas of such a set, each followed by its time, and how many members name none; or nil and the fault. Members
-- that name no replica are removed as far as they were read: anybody may have written there. So are replicas whose time
-- is further ahead than a heartbeat counts: their clock ran ahead, and they return if they live.
local function listed(key, lifeMs)
    local found = try('ZRANGE', key, 0, MAX_LISTED_REPLICAS - 1, 'REV', 'WITHSCORES')
    if found.err then
        return nil, found.err
    end
    local replicas, unnamed = {}, 0
    for i = 1, #found, 2 do
        local replica, ms = found[i], tonumber(found[i + 1])
        local isNamed = #replica == 16 and not find(replica, '[^0-9a-f]')
        if isNamed and ms > now - lifeMs and ms <= now + lifeMs and ms % 1 == 0 then
            replicas[#replicas + 1] = replica
            replicas[#replicas + 1] = format('%.0f', ms)
        else
            call('ZREM', key, replica)
            unnamed = unnamed + (isNamed and 0 or 1)
        end
    end
    return replicas, unnamed
end

-- Records this replica's heartbeat and when it had nothing to write back, and pushes those of all replicas.
local function heartbeat(lifeMs, writtenBackMs, key, writtenBackKey)
    local fault = note(key, now, lifeMs) or writtenBackMs > 0 and note(writtenBackKey, writtenBackMs, lifeMs)
    if fault then
        return push(fault)
    end
    local replicas, unnamed = listed(key, lifeMs)
    local written, more = listed(writtenBackKey, lifeMs)
    if not replicas or not written then
        return push(replicas and more or unnamed)
    end
    local writtenBack, listing = {}, {}
    for i = 1, #written, 2 do
        writtenBack[written[i]] = written[i + 1]
    end
    for i = 1, #replicas, 2 do
        listing[#listing + 1] = replicas[i]
        listing[#listing + 1] = replicas[i + 1]
        listing[#listing + 1] = writtenBack[replicas[i]] or '0'
    end
    push(1)
    push(table.concat(listing, ' '))
    push(unnamed + more)
end
