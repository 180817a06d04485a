-- HAProxy asks Sluice, the rate-limiter sidecar, before a request goes on: two actions, for HAProxy 2.4 and newer. With
-- ../lua/sluice.lua and ../lua/sluice_mcp.lua in lua-prepend-path.
--
--     setenv SLUICE_SOCKET /run/sluice/sluice.sock    (optional: SLUICE_TIMEOUT_MS 250, SLUICE_FAIL closed or open)
--     lua-load-per-thread sluice_haproxy.lua
--
--     http-request lua.sluice        an HTTP API: the grant is in txn.sluice_grant, the tool in txn.sluice_tool
--     http-request lua.sluice_mcp    an MCP server: the tool is in the body (http-request wait-for-body first), whose
--                                    length must be given
--     http-request deny deny_status 503 unless { var(txn.sluice_decided) -m bool }
--
-- The last line belongs after each: HAProxy goes on with a request whose action fails. Optional variables: txn.sluice_server,
-- txn.sluice_session, txn.sluice_cost. After an admission the values of RateLimit headers are in txn.sluice_ratelimit and
-- txn.sluice_ratelimit_policy, the verdict in txn.sluice_verdict.
local Sluice = require("sluice")

-- A connection of HAProxy, for one check: an idle one would run into the time-out that was set for its answer.
local Connection = {}
Connection.__index = Connection

local function now()
    local time = core.now()
    return time.sec * 1000 + time.usec / 1000
end

function Connection:send(frame, timeout)
    self.socket:settimeout(timeout / 1000)
    return self.socket:send(frame) == #frame
end

function Connection:receive(what, left)
    self.socket:settimeout(left / 1000)
    local began = now()
    local data = self.socket:receive(what)
    -- A part of what was asked for is the end of the connection.
    if data and (what == "*l" or #data == what) then return data end
    -- HAProxy has one word for all that ends a read.
    return nil, now() - began >= left and "timeout" or "lost"
end

function Connection:line(_, left) return self:receive("*l", left) end

function Connection:bytes(count, left) return self:receive(count, left) end

function Connection:close() self.socket:close() end

function Connection:keep() self.socket:close() end

local host = {
    now = now,
    log = function(text) core.Warning("sluice: " .. text) end,
    connect = function(options)
        local socket, began = core.tcp(), now()
        socket:settimeout(options.connect_timeout / 1000)
        local is_connected, detail = socket:connect("unix@" .. options.socket)
        if is_connected then return setmetatable({ socket = socket }, Connection) end
        socket:close()
        return nil, now() - began >= options.connect_timeout and "timeout" or "missing", detail
    end,
}

local sluice = Sluice.new({
    socket = os.getenv("SLUICE_SOCKET"), fail = os.getenv("SLUICE_FAIL"),
    timeout = tonumber(os.getenv("SLUICE_TIMEOUT_MS")),
}, host)

local function options_of(txn)
    local function named(name)
        local value = txn:get_var("txn.sluice_" .. name)
        return value and value ~= "" and tostring(value) or nil
    end
    return { server = named("server"), session = named("session"), cost = tonumber(named("cost")) }
end

-- Answers the client instead of the server behind.
local function finish(txn, answer)
    local headers = {}
    for name, value in pairs(answer.headers) do headers[name] = { value } end
    headers["Content-Length"] = { tostring(#answer.body) }
    txn:done(txn:reply({ status = answer.status, headers = headers, body = answer.body }))
end

local function apply(txn, decision, answer)
    if decision then
        local headers = Sluice.headers(decision)
        txn:set_var("txn.sluice_verdict", decision.verdict)
        if headers["RateLimit"] then
            txn:set_var("txn.sluice_ratelimit", headers["RateLimit"])
            txn:set_var("txn.sluice_ratelimit_policy", headers["RateLimit-Policy"])
        end
    end
    if answer then return finish(txn, answer) end
    txn:set_var("txn.sluice_decided", true)
end

core.register_action("sluice", { "http-req" }, function(txn)
    local grant, tool = txn:get_var("txn.sluice_grant"), txn:get_var("txn.sluice_tool")
    local decision = sluice:check(grant, tool, options_of(txn))
    apply(txn, decision, not decision.allowed and Sluice.http_denial(decision))
end)

core.register_action("sluice_mcp", { "http-req" }, function(txn)
    local options = options_of(txn)
    if not options.session then
        local session = txn.sf:req_hdr("mcp-session-id")
        options.session = Sluice.is_name(session) and session or nil
    end
    -- HAProxy keeps as much of a body as fits into its buffer (tune.bufsize). Only a length says whether that is all.
    local body, size = txn.f:req_body() or "", tonumber(txn.sf:req_hdr("content-length"))
    if size ~= #body or size > Sluice.max_body then body = nil end
    apply(txn, sluice:decide_mcp(txn:get_var("txn.sluice_grant"), txn.sf:method(), body, options))
end)
