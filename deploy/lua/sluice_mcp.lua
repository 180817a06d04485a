-- What is called by a request to an MCP server, read strictly from its body, and what its client gets when denied. Used by
-- sluice.lua; Lua 5.1 to 5.4, no other module.
local byte, char, concat, find, floor, format, gsub, lower, sub =
    string.byte, string.char, table.concat, string.find, math.floor, string.format, string.gsub, string.lower, string.sub

-- How deep a body's arrays and objects may be nested; its bytes are bounded where it is read.
local MAX_DEPTH = 32

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quoted(text)
    return '"' .. gsub(text, '["\\%z\1-\31]', function(found) return ESCAPES[found] or format("\\u%04x", byte(found)) end) .. '"'
end

-- JSON -----------------------------------------------------------------------------------------------------------------

-- Reads JSON strictly, so that the server behind reads the same in it: valid UTF-8, no key twice, bounded depth. It builds nothing
-- but what `want` names: { key = true } keeps the value's text, { key = { ... } } looks into an object.

local function is_utf8(text)
    local at = find(text, "[\128-\255]")
    while at do
        local first, second = byte(text, at, at + 1)
        local length = first >= 0xF0 and 4 or first >= 0xE0 and 3 or 2
        -- Neither longer than needed, nor a surrogate, nor beyond U+10FFFF.
        local low = first == 0xE0 and 0xA0 or first == 0xF0 and 0x90 or 0x80
        local high = first == 0xED and 0x9F or first == 0xF4 and 0x8F or 0xBF
        if first < 0xC2 or first > 0xF4 or not second or second < low or second > high then return false end
        if not find(text, "^[\128-\191]", at + length - 1) or (length == 4 and not find(text, "^[\128-\191]", at + 2)) then
            return false
        end
        at = find(text, "[\128-\255]", at + length)
    end
    return true
end

local function utf8_of(code)
    if code < 0x80 then return char(code) end
    if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64) end
    return char(
        0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

local UNESCAPED = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function fail(what) error({ json = what }, 0) end

-- The string whose opening quote is at `at`, and where the text goes on.
local function read_string(text, at)
    local parts, from = nil, at + 1
    while true do
        local stop = find(text, '["\\%z\1-\31]', from)
        local found = stop and sub(text, stop, stop)
        if found == '"' then
            local rest = sub(text, from, stop - 1)
            return parts and concat(parts) .. rest or rest, stop + 1
        end
        if found ~= "\\" then fail("a string that ends") end
        parts = parts or {}
        parts[#parts + 1] = sub(text, from, stop - 1)
        local kind = sub(text, stop + 1, stop + 1)
        if UNESCAPED[kind] then
            parts[#parts + 1], from = UNESCAPED[kind], stop + 2
        else
            local _, last, digits = find(text, "^\\u(%x%x%x%x)", stop)
            local code = tonumber(digits or "", 16)
            if not code then fail("a known escape") end
            if code >= 0xD800 and code < 0xDC00 then
                _, last, digits = find(text, "^\\u([dD][c-fC-F]%x%x)", last + 1)
                if not digits then fail("the second half of a pair") end
                code = 0x10000 + (code - 0xD800) * 1024 + tonumber(digits, 16) - 0xDC00
            elseif code >= 0xDC00 and code < 0xE000 then
                fail("the first half of a pair")
            end
            parts[#parts + 1], from = utf8_of(code), last + 1
        end
    end
end

-- Where the text goes on after spaces.
local function skip(text, at) return find(text, "[^ \t\r\n]", at) or #text + 1 end

-- Keys that some servers take for `key`, since they do not look at upper and lower case (Unicode's, too).
local function folded(key) return lower((gsub(gsub(key, "\197\191", "s"), "\226\132\170", "k"))) end

local read_value

local function read_object(text, at, depth, want)
    local found, seen, allowed = {}, {}, want or {}
    at = skip(text, at + 1)
    if sub(text, at, at) == "}" then return found, at + 1 end
    while true do
        if sub(text, at, at) ~= '"' then fail("a key") end
        local key
        key, at = read_string(text, at)
        if seen[key] then fail("each key once") end
        seen[key] = true
        if want and not allowed[key] and allowed[folded(key)] then fail(folded(key) .. " in lower case") end
        at = skip(text, at)
        if sub(text, at, at) ~= ":" then fail("a colon") end
        found[key], at = read_value(text, skip(text, at + 1), depth + 1, allowed[key])
        at = skip(text, at)
        local separator = sub(text, at, at)
        if separator == "}" then return found, at + 1 end
        if separator ~= "," then fail("a comma") end
        at = skip(text, at + 1)
    end
end

local function read_array(text, at, depth)
    at = skip(text, at + 1)
    if sub(text, at, at) == "]" then return at + 1 end
    while true do
        local _
        _, at = read_value(text, at, depth + 1)
        at = skip(text, at)
        local separator = sub(text, at, at)
        if separator == "]" then return at + 1 end
        if separator ~= "," then fail("a comma") end
        at = skip(text, at + 1)
    end
end

-- A value that is wanted: { kind, raw, text or members }; nil otherwise. And where the text goes on.
function read_value(text, at, depth, want)
    local first, start = sub(text, at, at), at
    if (first == "{" or first == "[") and depth > MAX_DEPTH then fail("less depth") end
    local kind, content = "other", nil
    if first == '"' then
        kind = "string"
        content, at = read_string(text, at)
    elseif first == "{" then
        kind = "object"
        content, at = read_object(text, at, depth, type(want) == "table" and want or nil)
    elseif first == "[" then
        at = read_array(text, at, depth)
    else
        local _, last = find(text, "^-?%d+", at)
        if last then
            kind = "number"
            if find(text, "^-?0%d", at) then fail("a number without a leading zero") end
            local _, fraction = find(text, "^%.%d+", last + 1)
            local _, exponent = find(text, "^[eE][+-]?%d+", (fraction or last) + 1)
            last = exponent or fraction or last
        else
            _, last = find(text, "^[a-z]+", at)
            local word = last and sub(text, at, last)
            if word ~= "true" and word ~= "false" and word ~= "null" then fail("a value") end
        end
        at = last + 1
    end
    return want and { kind = kind, raw = sub(text, start, at - 1), content = content } or nil, at
end

-- The members of a JSON object that `want` names; nil and what was expected if the text is no such object.
local function read_json(text, want)
    if not is_utf8(text) then return nil, "UTF-8" end
    local ok, members = pcall(function()
        local at = skip(text, 1)
        if sub(text, at, at) ~= "{" then fail("an object") end
        local members
        members, at = read_object(text, at, 1, want)
        if skip(text, at) <= #text then fail("nothing after the object") end
        return members
    end)
    if ok then return members end
    return nil, type(members) == "table" and members.json or tostring(members)
end

-- MCP ------------------------------------------------------------------------------------------------------------------

local CALL = { method = true, id = true, params = { name = true }, result = true, error = true }

local function is_name(value) return #value >= 1 and #value <= 256 and not find(value, "%z") end

-- What a body asks for: { method, tool, id, has_id }, id as it was written. "response" for an answer of the client, which asks for
-- nothing; nil for anything else.
local function call_of(body)
    local members = read_json(body, CALL)
    if not members then return nil end
    local method, id, params = members.method, members.id, members.params
    if not method then return id and (members.result or members.error) and "response" or nil end
    if method.kind ~= "string" or not is_name(method.content) then return nil end
    local call = { method = method.content, has_id = id ~= nil }
    if id and (id.kind == "string" or id.kind == "number") then call.id = id.raw end
    if call.method == "tools/call" then
        local name = params and params.kind == "object" and params.content.name
        if not name or name.kind ~= "string" or not is_name(name.content) then return nil end
        call.tool = name.content
    end
    return call
end

-- What an agent gets that calls a tool and is denied: a tool's result that it can read; as the sidecar answers Envoy. `headers` and
-- `status` are those of a plain denial.
local function denial_of(decision, call, headers, status)
    local retry = format("%.0f", decision.retry_after_ms)
    -- A notification has no answer.
    if not call.has_id then return { status = 202, headers = headers, body = "" } end
    headers["Content-Type"] = "application/json"
    local message, verdict, rule = quoted(decision.message), quoted(decision.verdict), quoted(decision.rule)
    local answer
    if call.method == "tools/call" then
        answer = format(
            '"result":{"resultType":"complete","isError":true,"content":[{"type":"text","text":%s}],"_meta":'
                .. '{"sluice/verdict":%s,"sluice/rule":%s,"sluice/retry_after_ms":%s}}', message, verdict, rule, retry)
    else
        answer = format(
            '"error":{"code":-32000,"message":%s,"data":{"reason":%s,"rule":%s,"retry_after_ms":%s}}', message, verdict,
            rule, retry)
    end
    return {
        -- Without the id no client finds the call that this answers, but each understands the status.
        status = call.id and 200 or status, headers = headers,
        body = format('{"jsonrpc":"2.0","id":%s,%s}', call.id or "null", answer),
    }
end

local function unreadable(status, message)
    return {
        status = status, headers = { ["Content-Type"] = "application/json" },
        body = format('{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":%s}}', quoted(message)),
    }
end

return { call_of = call_of, denial_of = denial_of, unreadable = unreadable, read_json = read_json, quoted = quoted }
