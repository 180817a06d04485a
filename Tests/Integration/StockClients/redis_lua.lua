-- redis-lua.
local found, redis = pcall(require, "redis")
if not found then os.exit(77) end

local path, grant = arg[1], arg[2]
redis.commands.check = redis.command("CHECK")
redis.commands.peek = redis.command("PEEK")
local client = redis.connect("unix://" .. path)

assert(client:ping())
for call = 0, 9 do
    local reply = client:check(grant, "run")
    assert(reply[1] == 1 and reply[3] == 9 - call and reply[6] == "allow")
end
local denied = client:check(grant, "run")
assert(denied[1] == 0 and denied[9]:find("^run is limited to 10 calls"))
assert(client:peek(grant, "run")[1] == 0)
local passed, reason = pcall(client.check, client, grant)
assert(not passed and tostring(reason):find("wrong number of arguments"))
local replies = client:pipeline(function(pipeline)
    for _ = 1, 1000 do pipeline:check(grant, "big") end
end)
assert(#replies == 1000)
for index = 2, 1000 do assert(replies[index][3] == replies[1][3] - index + 1) end
assert(client:echo("still here") == "still here")
print("ok redis-lua " .. tostring(redis._VERSION):gsub("^redis%-lua ", ""))
