/// A command that is answered like `PEXPIRETIME`, also by Redis 6.2, which has no such command.
func expiryCommand(_ key: String) -> [String] {
    let script = """
        local expiry = redis.pcall('PEXPIRETIME', KEYS[1])
        if type(expiry) == 'number' then return expiry end
        local function nowMs()
            local time = redis.call('TIME')
            return time[1] * 1000 + math.floor(time[2] / 1000)
        end
        while true do
            -- Exact if all of it happens within a millisecond.
            local before = nowMs()
            local leftMs = redis.call('PTTL', KEYS[1])
            if leftMs < 0 then return leftMs end
            if nowMs() == before then return before + leftMs end
        end
        """
    return ["EVAL", script, "1", key]
}
