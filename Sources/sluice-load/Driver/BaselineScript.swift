/// The scripts of `LoadTarget.redis`: for each way of counting the cheapest one that decides a check in Redis alone.
///
/// KEYS[1]: the counter; keys derived from it work on a single server only. ARGV[1]: cost. ARGV[2]: maximum. ARGV[3]:
/// the window, ms. Each returns what is left after the check; less than 0 if it was denied.
enum BaselineScript: CaseIterable, Sendable {
    /// A fixed window, which begins with the first check. It increments first and takes back when it denies, so that an
    /// admission, the common case, costs one command.
    case fixedWindow
    /// The same for three equal limits, all or nothing.
    case threeFixedWindows
    /// Two windows, the one before counted by the part of it that still overlaps.
    case slidingWindow
    /// The generic cell rate algorithm: when the bucket is empty again, ms since 1970. ARGV[2]: what it holds. ARGV[3]: ms
    /// until a unit of cost has leaked.
    case tokenBucket
    /// A fixed window whose charge can be settled once. ARGV[4]: the reservation, of which Redis keeps what it charged.
    case reserve
    /// Settles it. ARGV[1]: the cost that counts in the end. ARGV[2]: the reservation. Returns 1; 0 if it is not known.
    case commit

    /// The prefix of all their keys.
    static let keyPrefix = "sluice-load:"

    var text: String {
        switch self {
        case .fixedWindow:
            """
            local used = redis.call('INCRBY', KEYS[1], ARGV[1])
            local left = ARGV[2] - used
            if left < 0 then
                redis.call('DECRBY', KEYS[1], ARGV[1])
            elseif used == tonumber(ARGV[1]) then
                redis.call('PEXPIRE', KEYS[1], ARGV[3])
            end
            return left
            """
        case .threeFixedWindows:
            """
            local left = tonumber(ARGV[2])
            for limit = 1, 3 do
                local key = KEYS[1] .. ':' .. limit
                local used = redis.call('INCRBY', key, ARGV[1])
                if ARGV[2] - used < left then left = ARGV[2] - used end
                if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', key, ARGV[3]) end
            end
            if left < 0 then
                for limit = 1, 3 do redis.call('DECRBY', KEYS[1] .. ':' .. limit, ARGV[1]) end
            end
            return left
            """
        case .slidingWindow:
            """
            local time = redis.call('TIME')
            local now = time[1] * 1000 + math.floor(time[2] / 1000)
            local key = KEYS[1] .. ':sliding:'
            local start = now - now % ARGV[3]
            local used = redis.call('INCRBY', key .. start, ARGV[1])
            local before = redis.call('GET', key .. start - ARGV[3])
            local left = ARGV[2] - used
            if before then left = left - math.ceil(before * (ARGV[3] - now % ARGV[3]) / ARGV[3]) end
            if left < 0 then
                redis.call('DECRBY', key .. start, ARGV[1])
            elseif used == tonumber(ARGV[1]) then
                redis.call('PEXPIRE', key .. start, 2 * ARGV[3])
            end
            return left
            """
        case .tokenBucket:
            """
            local time = redis.call('TIME')
            local now = time[1] * 1000 + math.floor(time[2] / 1000)
            local key = KEYS[1] .. ':bucket'
            local empty = tonumber(redis.call('GET', key) or 0)
            if empty < now then empty = now end
            empty = empty + ARGV[1] * ARGV[3]
            local left = ARGV[2] - math.ceil((empty - now) / ARGV[3])
            if left >= 0 then redis.call('SET', key, empty, 'PXAT', empty) end
            return left
            """
        case .reserve:
            """
            local used = redis.call('INCRBY', KEYS[1], ARGV[1])
            local left = ARGV[2] - used
            if left < 0 then
                redis.call('DECRBY', KEYS[1], ARGV[1])
            else
                if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
                redis.call('SET', KEYS[1] .. ':' .. ARGV[4], ARGV[1], 'PX', 60000)
            end
            return left
            """
        case .commit:
            """
            local reserved = redis.call('GETDEL', KEYS[1] .. ':' .. ARGV[2])
            if not reserved then return 0 end
            redis.call('DECRBY', KEYS[1], reserved - ARGV[1])
            return 1
            """
        }
    }

    /// The result of `SCRIPT LOAD`.
    var sha1: String {
        switch self {
        case .fixedWindow: "6dc0593a9be634110af5e4c3a3213209bfa51bea"
        case .threeFixedWindows: "c870cd26c448ed9b36ee83aaf9f4f36e5c1111a3"
        case .slidingWindow: "91aeddb7826261f9ade64c689294c523ffc4a7ef"
        case .tokenBucket: "bc9971b85b85bae05b2762e39a69bf615ee006d9"
        case .reserve: "4cdfd31ecc5e36d9cb28a346c540594ffb0e0d66"
        case .commit: "917ac2e6f71f25d50e3c9c980a882d1cb9da0c6f"
        }
    }

    /// The bytes that load the scripts into a server: sent first on every connection, since a restarted server has lost
    /// them.
    static let loading = allCases.map { script in
        "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$\(script.text.utf8.count)\r\n\(script.text)\r\n"
    }.joined()
    /// Lines of the answers: each is a bulk string's length and its content.
    static let answerLines = 2 * allCases.count
}
