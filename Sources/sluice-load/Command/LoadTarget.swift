import SluiceProtocol

/// The server under load.
enum LoadTarget: String, Sendable, CaseIterable {
    /// Sidecars, with `CHECK`.
    case sluice
    /// Redis itself, with one script per check: a limiter without a sidecar.
    case redis
    /// Any server that speaks RESP, with `PING`: the cost of the socket and the driver alone.
    case ping

    /// The name under which a source's answers are reported: without a sidecar the only source is the target itself.
    func name(of source: ReplySource) -> String { self == .sluice ? source.rawValue : rawValue }

    /// What the server is called in messages.
    var noun: String {
        switch self {
        case .sluice: "sidecar"
        case .redis: "Redis"
        case .ping: "RESP server"
        }
    }
}

/// The script of `LoadTarget.redis`: the cheapest one that counts a check against one limit in Redis alone. It
/// increments first and takes back when it denies, so that an admission, the common case, costs one command.
enum BaselineScript {
    /// The prefix of all its keys.
    static let keyPrefix = "sluice-load:"

    /// KEYS[1]: the counter. ARGV[1]: cost. ARGV[2]: maximum. ARGV[3]: the window in ms, which begins with the first
    /// check.
    ///
    /// Returns what is left after the check; less than 0 if it was denied.
    static let text = """
        local used = redis.call('INCRBY', KEYS[1], ARGV[1])
        local left = ARGV[2] - used
        if left < 0 then
            redis.call('DECRBY', KEYS[1], ARGV[1])
        elseif used == tonumber(ARGV[1]) then
            redis.call('PEXPIRE', KEYS[1], ARGV[3])
        end
        return left
        """

    /// The same for three equal limits, all or nothing. Their keys are derived from KEYS[1], which works on a single
    /// server only.
    static let textForThree = """
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

    /// The result of `SCRIPT LOAD` for `text`, and for `textForThree`.
    static let sha1 = "6dc0593a9be634110af5e4c3a3213209bfa51bea"
    static let sha1ForThree = "c870cd26c448ed9b36ee83aaf9f4f36e5c1111a3"

    static func sha1(limits: Int) -> String { limits == 3 ? sha1ForThree : sha1 }
    /// Lines of both answers: each is a bulk string's length and its content.
    static let answerLines = 4

    /// The bytes that load the scripts into a server: sent first on every connection, since a restarted server has lost
    /// them.
    static let loading = [text, textForThree]
        .map { "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
}
