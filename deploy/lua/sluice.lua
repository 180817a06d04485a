-- Asks Sluice, the rate-limiter sidecar, before a request goes on. For nginx with Lua, OpenResty, APISIX and Kong; for HAProxy
-- with sluice_haproxy.lua. Lua 5.1 to 5.4; sluice_mcp.lua belongs beside it, and nothing else.
--
--     sluice = require("sluice").new { socket = "/run/sluice/sluice.sock" }         -- once, in init_by_lua
--     sluice:http(grant, tool)           -- in access_by_lua: denied requests end here, with 429, 403 or 503
--     sluice:mcp(grant, { server = "tools" })    -- the same before an MCP server: the tool is in the body
--
-- README.md beside this file has every option.
local mcp = require("sluice_mcp")

local concat, find, floor, format, sub = table.concat, string.find, math.floor, string.format, string.sub
local quoted = mcp.quoted

local Sluice = { version = "0.1.0" }
Sluice.__index = Sluice

-- Bounds ---------------------------------------------------------------------------------------------------------------

-- Longest wait for a connection, and then for the whole answer, in ms. The sidecar answers within its own budget, 20 ms unless
-- set otherwise; longer means that it is stopped or overloaded.
local TIMEOUT_MS = 250
-- Most connections of one nginx worker, requests that wait for one, and how long an idle one is kept, in ms.
local CONNECTIONS, WAITING, IDLE_MS = 32, 1024, 60000
-- Bytes of one text, and elements of one array, in an answer: no sidecar sends as much.
local MAX_TEXT, MAX_ELEMENTS = 65536, 64
-- Bytes of a name and of an MCP request's body, and attributes of a check.
local MAX_NAME, MAX_BODY, MAX_ATTRIBUTES = 256, 1048576, 16
-- What a denial says if there was no answer, in ms.
local UNAVAILABLE_RETRY_MS = 1000

-- Requests -------------------------------------------------------------------------------------------------------------

local function is_name(value)
    return type(value) == "string" and #value >= 1 and #value <= MAX_NAME and not find(value, "%z")
end

-- The frame of a check; nil if an argument is no name or no number.
local function check_frame(grant, tool, options)
    local words, count = { "CHECK", grant, tool }, 3
    local function add(word, value)
        words[count + 1], words[count + 2], count = word, value, count + 2
    end
    if options.cost then add("COST", type(options.cost) == "number" and format("%.0f", options.cost) or "") end
    if options.server then add("SERVER", options.server) end
    if options.session then add("SESSION", options.session) end
    if options.id then add("ID", options.id) end
    local attributes = 0
    for name, value in pairs(options.attributes or {}) do
        add("ATTR", name)
        count, attributes = count + 1, attributes + 1
        words[count] = value
    end
    for index = 1, count do
        if not is_name(words[index]) then return nil end
    end
    if attributes > MAX_ATTRIBUTES then return nil end
    if options.approved then words[count + 1], count = "APPROVED", count + 1 end
    local parts = { format("*%d\r\n", count) }
    for index = 1, count do parts[index + 1] = format("$%d\r\n%s\r\n", #words[index], words[index]) end
    return concat(parts)
end

-- Answers --------------------------------------------------------------------------------------------------------------

-- Reads one reply: a number, a text, a list, or { code, sentence, is_error = true }. nil and a reason if there is none: "lost",
-- "timeout" or "garbled". `line()` and `bytes(n)` read from the connection, and give nil and a reason.
local function read_reply(line, bytes, depth)
    local text, reason = line()
    if not text then return nil, reason end
    local kind, rest = sub(text, 1, 1), sub(text, 2)
    if kind == "+" then return rest end
    if kind == "-" then
        local _, _, code, sentence = find(rest, "^(%S+) ?(.*)$")
        return { code or "ERR", sentence or "", is_error = true }
    end
    local number = find(rest, "^-?%d+$") and #rest <= 20 and tonumber(rest)
    if not number then return nil, "garbled" end
    if kind == ":" then return number end
    if kind == "$" and number >= 0 and number <= MAX_TEXT then
        text, reason = bytes(number + 2)
        if not text then return nil, reason end
        if sub(text, -2) ~= "\r\n" then return nil, "garbled" end
        return sub(text, 1, -3)
    end
    if kind ~= "*" or number < 0 or number > MAX_ELEMENTS or depth == 0 then return nil, "garbled" end
    local list = {}
    for index = 1, number do
        list[index], reason = read_reply(line, bytes, depth - 1)
        if list[index] == nil then return nil, reason end
    end
    return list
end

-- The decision when the sidecar gave none.
local function no_answer(reason, fail)
    local is_open = fail == "open"
    return {
        allowed = is_open, limit = -1, remaining = -1, retry_after_ms = is_open and 0 or UNAVAILABLE_RETRY_MS,
        reset_ms = -1, verdict = "unavailable", rule = "(" .. reason .. ")", source = "client",
        message = is_open and "" or "The rate limiter does not answer. Try again in 1 second.",
    }
end

-- A denial that asked nobody.
local function denial(rule, message)
    return {
        allowed = false, limit = -1, remaining = -1, retry_after_ms = -1, reset_ms = -1, verdict = "deny", rule = rule,
        source = "client", message = message,
    }
end

-- The decision of a reply to CHECK; nil and a reason if it is none.
local function decision_of(reply)
    if reply.is_error and reply[1] == "BUSY" then return nil, "busy" end
    if reply.is_error then
        -- Names come from callers, so a request that is wrong is a denial.
        local answer = denial("(" .. reply[1] .. ")", "This call cannot be checked.")
        answer.fault = reply[1] .. " " .. reply[2]
        return answer
    end
    if #reply < 9 then return nil, "garbled" end
    for index = 1, 9 do
        if type(reply[index]) ~= (index <= 5 and "number" or "string") then return nil, "garbled" end
    end
    return {
        allowed = reply[1] == 1, limit = reply[2], remaining = reply[3], retry_after_ms = reply[4], reset_ms = reply[5],
        verdict = reply[6], rule = reply[7], source = reply[8], message = reply[9],
    }
end

-- Asking ---------------------------------------------------------------------------------------------------------------

-- One request on one connection: the reply, or nil, a reason, what became of the request, and the system's words. It was "sent",
-- and so may be counted, or not, on a connection that was "stale": closed by the sidecar since it was used last.
local function exchange(host, options, frame)
    local connection, reason, detail = host.connect(options)
    if not connection then return nil, reason, nil, detail end
    local deadline = host.now() + options.timeout
    local sent = connection:send(frame, options.timeout)
    if not sent then
        -- What was not sent whole is never carried out.
        connection:close()
        return nil, "lost", connection.is_reused and "stale" or nil
    end
    local function bounded(read)
        return function(count)
            local left = deadline - host.now()
            if left <= 0 then return nil, "timeout" end
            return read(connection, count, left)
        end
    end
    local reply
    reply, reason = read_reply(bounded(connection.line), bounded(connection.bytes), 4)
    if reply == nil then
        connection:close()
        return nil, reason, "sent"
    end
    if reply.is_error then connection:close() else connection:keep(options) end
    return reply
end

-- May this grant call this tool? If so, the call is charged. A check is sent once, whatever happens: again only if the connection
-- turned out to be closed before it was sent, or, with an `id`, was lost later. A time-out is final.
function Sluice:check(grant, tool, options)
    options = options or {}
    if not is_name(grant) then return denial("(no grant)", "This request carries no grant, so no tool is allowed.") end
    local frame = is_name(tool) and check_frame(grant, tool, options)
    if not frame then return denial("(BADARG)", "This call cannot be checked.") end
    local may_repeat, reply, reason, fate, detail = options.id ~= nil, nil, nil, nil, nil
    for _ = 0, self.options.connections do
        reply, reason, fate, detail = exchange(self.host, self.options, frame)
        local is_again = reason == "lost" and (fate == "stale" or (fate == "sent" and may_repeat))
        if reply or not is_again then break end
        may_repeat = may_repeat and fate ~= "sent"
    end
    local decision
    if reply then decision, reason = decision_of(reply) end
    if decision and decision.fault then self:note("wrong", "a check was rejected: " .. decision.fault) end
    if decision and not decision.fault then self:note(nil, self.options.socket .. " answers again") end
    if decision then return decision end
    self:note(reason, format("%s does not answer (%s%s)", self.options.socket, reason, detail and ": " .. detail or ""))
    return no_answer(reason, self.options.fail)
end

-- One line of the log when something begins to be wrong, and one when it ends.
function Sluice:note(reason, text)
    if self.trouble == reason then return end
    self.trouble = reason
    self.host.log(text)
end

-- HTTP -----------------------------------------------------------------------------------------------------------------

local STATUS = { limit = 429, unavailable = 503 }

local function status_of(decision) return decision.allowed and 200 or STATUS[decision.verdict] or 403 end

local function seconds(ms) return format("%d", floor((ms + 999) / 1000)) end

-- What informs a client of its limit: as the sidecar's own door for HTTP. They never hold a grant.
local function headers_of(decision)
    local headers = { ["X-Sluice-Verdict"] = decision.verdict }
    if not decision.allowed and decision.retry_after_ms >= 0 then
        headers["Retry-After"] = seconds(decision.retry_after_ms)
    end
    if decision.limit < 0 then return headers end
    local _, _, name = find(decision.rule, "([^/]+)$")
    if not name or find(name, '[^ -~]') or find(name, '["\\]') then name = "limit" end
    local reset = decision.reset_ms >= 0 and seconds(decision.reset_ms)
    headers["RateLimit-Policy"] = format('"%s";q=%.0f', name, decision.limit)
    headers["RateLimit"] = format('"%s";r=%.0f', name, decision.remaining) .. (reset and ";t=" .. reset or "")
    headers["X-RateLimit-Limit"] = format("%.0f", decision.limit)
    headers["X-RateLimit-Remaining"] = format("%.0f", decision.remaining)
    if reset then headers["X-RateLimit-Reset"] = reset end
    return headers
end

-- What a denied client gets: status, headers, body.
local function http_denial(decision)
    local headers = headers_of(decision)
    headers["Content-Type"] = "application/json"
    return {
        status = status_of(decision), headers = headers,
        body = format(
            '{"verdict":%s,"rule":%s,"message":%s,"retry_after_ms":%s}\n', quoted(decision.verdict), quoted(decision.rule),
            quoted(decision.message), decision.retry_after_ms >= 0 and format("%.0f", decision.retry_after_ms) or "null"),
    }
end

-- MCP ------------------------------------------------------------------------------------------------------------------

-- Decides a request to an MCP server: a decision or nil, and what to answer if it is not to go on. Only what is posted asks for
-- something. `body` is nil if it is longer than MAX_BODY or not all there.
function Sluice:decide_mcp(grant, method, body, options)
    if method ~= "POST" then return nil end
    if not body then return nil, mcp.unreadable(413, "This request is too long to be checked, or does not say how long it is.") end
    local call = mcp.call_of(body)
    if call == "response" then return nil end
    if not call then return nil, mcp.unreadable(400, "This request names no method that can be checked, or no tool.") end
    local is_tool = call.method == "tools/call"
    -- What is no tool needs no policy, and so no grant.
    if not is_tool and not is_name(grant) then return nil end
    local decision = self:check(grant, is_tool and call.tool or call.method, options)
    if decision.allowed then return decision end
    -- Other methods are checked only where the policy lists them.
    if not is_tool and decision.rule == "(default deny)" then return nil end
    return decision, mcp.denial_of(decision, call, headers_of(decision), status_of(decision))
end

-- nginx ----------------------------------------------------------------------------------------------------------------

local ngx = rawget(_G, "ngx")

local function nginx_reason(reason)
    if reason == "timeout" then return "timeout" end
    return reason == "too many waiting connect operations" and "pool" or "lost"
end

-- A connection of nginx, from the worker's pool.
local Cosocket = {}
Cosocket.__index = Cosocket

function Cosocket:send(frame, timeout)
    self.socket:settimeout(timeout)
    return self.socket:send(frame)
end

function Cosocket:receive(what, left)
    self.socket:settimeout(left)
    local data, reason = self.socket:receive(what)
    if data then return data end
    return nil, nginx_reason(reason)
end

function Cosocket:line(_, left) return self:receive("*l", left) end

function Cosocket:bytes(count, left) return self:receive(count, left) end

function Cosocket:close() self.socket:close() end

function Cosocket:keep(options) self.socket:setkeepalive(options.idle, options.connections) end

local nginx = {
    now = function() return ngx.now() * 1000 end,
    log = function(text) ngx.log(ngx.WARN, "sluice: ", text) end,
    connect = function(options)
        local socket, reason = ngx.socket.tcp(), nil
        socket:settimeout(options.connect_timeout)
        local is_connected
        is_connected, reason = socket:connect(
            "unix:" .. options.socket,
            { pool = "sluice:" .. options.socket, pool_size = options.connections, backlog = WAITING })
        if is_connected then
            return setmetatable({ socket = socket, is_reused = socket:getreusedtimes() > 0 }, Cosocket)
        end
        local kind = nginx_reason(reason)
        return nil, kind == "lost" and "missing" or kind, reason
    end,
}

local function finish(answer)
    ngx.status = answer.status
    for name, value in pairs(answer.headers) do ngx.header[name] = value end
    ngx.header["Content-Length"] = #answer.body
    ngx.print(answer.body)
    return ngx.exit(ngx.HTTP_OK)
end

-- Lets the request go on, or ends it.
local function apply(decision, answer)
    if answer then return finish(answer) end
    if decision then
        for name, value in pairs(headers_of(decision)) do ngx.header[name] = value end
    end
    return decision
end

-- In nginx's access phase: the request goes on if this grant may call this tool; otherwise it ends here. Returns the decision.
function Sluice:http(grant, tool, options)
    local decision = self:check(grant, tool, options)
    return apply(decision, not decision.allowed and http_denial(decision))
end

-- The same before an MCP server: the tool is in the body, which nginx must keep in memory (client_body_buffer_size).
function Sluice:mcp(grant, options)
    local method, body = ngx.req.get_method(), nil
    if method == "POST" then
        ngx.req.read_body()
        -- A body in a file is longer than the buffer.
        body = ngx.req.get_body_data() or (not ngx.req.get_body_file() and "" or nil)
        if body and #body > MAX_BODY then body = nil end
    end
    options = options or {}
    local session = ngx.req.get_headers()["mcp-session-id"]
    if not options.session and is_name(session) then
        local copy = { session = session }
        for name, value in pairs(options) do copy[name] = value end
        options = copy
    end
    return apply(self:decide_mcp(grant, method, body, options))
end

-- Making ---------------------------------------------------------------------------------------------------------------

-- options: socket (required), fail ("closed" or "open"), timeout and connect_timeout (ms), connections, idle (ms).
-- host: how another program than nginx connects, tells the time and logs.
function Sluice.new(options, host)
    local own = {
        fail = "closed", timeout = TIMEOUT_MS, connect_timeout = TIMEOUT_MS, connections = CONNECTIONS, idle = IDLE_MS,
    }
    for name, value in pairs(options) do
        if name ~= "socket" and own[name] == nil then error("sluice: unknown option " .. name, 2) end
        own[name] = value
    end
    if type(own.socket) ~= "string" or #own.socket < 1 or #own.socket > 107 then
        error("sluice: socket is the path of the sidecar's socket, 1 to 107 bytes", 2)
    end
    if own.fail ~= "closed" and own.fail ~= "open" then error("sluice: fail is closed or open", 2) end
    for _, name in ipairs({ "timeout", "connect_timeout", "connections", "idle" }) do
        if type(own[name]) ~= "number" or own[name] < 1 then error("sluice: " .. name .. " is a number from 1 up", 2) end
    end
    return setmetatable({ options = own, host = host or nginx, trouble = nil }, Sluice)
end

Sluice.headers, Sluice.http_denial, Sluice.max_body, Sluice.is_name = headers_of, http_denial, MAX_BODY, is_name
return Sluice
