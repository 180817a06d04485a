-- Operators' overrides of maxima, a list of them under one key. `replicas.lua` comes before it.

-- Those that hold, each {name, maximum, end}, and their version; or nil and the fault.
local function readOverrides(key)
    local value = try('GET', key)
    if type(value) == 'table' then
        return nil, value.err
    end
    local version, rest = match(value or '0', '^(%d+)(.*)$')
    version = version and toCount(version)
    if not version then
        return nil, 'ERR value is no list of overrides'
    end
    local list = {}
    for name, limit, untilMs in string.gmatch(rest, ' (%S+) (%d+) (%d+)') do
        if (toCount(untilMs) or 0) > now then
            list[#list + 1] = {name, limit, untilMs}
        end
    end
    return list, version
end

local function overridesText(list)
    local parts = {}
    for i = 1, #list do
        parts[i] = table.concat(list[i], ' ')
    end
    return table.concat(parts, ' ')
end

-- Sets an override for `forMs`, or ends it if that is 0, unless its name is ''; then pushes them all.
local function overrides(key, name, limit, forMs, known)
    local list, version = readOverrides(key)
    if not list then
        return push(version)
    end
    local done = 1
    if name ~= '' then
        local others, found = {}, 0
        for i = 1, #list do
            if list[i][1] == name then
                found = 1
            else
                others[#others + 1] = list[i]
            end
        end
        if forMs == 0 then
            done = found
        elseif #others < MAX_OVERRIDES then
            others[#others + 1] = {name, limit, format('%.0f', now + forMs)}
        else
            done = 2
        end
        if done == 1 then
            list, version = others, max(version + 1, now)
            local expiresAtMs = now + OVERRIDES_VERSION_TTL_MS
            for i = 1, #list do
                expiresAtMs = max(expiresAtMs, tonumber(list[i][3]) + EXPIRY_SLACK_MS)
            end
            local text = format('%.0f', version) .. (#list > 0 and ' ' or '') .. overridesText(list)
            call('SET', key, text, 'PXAT', format('%.0f', expiresAtMs))
            lowerings[#lowerings + 1] = key
        end
    end
    push(done)
    push(version)
    push(version == known and '' or overridesText(list))
end
