internal import SluiceEngine

/// A script that tries every command of the other scripts, since Redis checks rights inside scripts too: a missing one
/// is found when the connection opens, rather than by the first check that needs it.
enum CommandCheck {
    /// What a refused command costs.
    enum Use: Equatable {
        /// Nothing can be counted without it.
        case counting
        /// Needed for reservations, `sliding_log`, `concurrency` and the list of live replicas.
        case records
        /// Needed to notify other replicas of counters that were lowered.
        case notifying
    }

    static let uses: [String: Use] = [
        "TIME": .counting, "GET": .counting, "SET": .counting, "INCRBY": .counting, "DECRBY": .counting,
        "PTTL": .counting, "PEXPIREAT": .counting,
        "DEL": .records, "ZADD": .records, "ZREM": .records, "ZREMRANGEBYSCORE": .records, "ZCOUNT": .records,
        "ZCARD": .records, "ZRANGEBYSCORE": .records, "ZRANGE": .records,
        "PUBLISH": .notifying,
    ]

    /// A key that nothing else uses. It is left without a value.
    static func key(prefix: String) -> String { String(decoding: KeySpace(prefix: prefix).rights, as: UTF8.self) }

    /// KEYS[1] is `key`, ARGV[1] the change channel, on which an empty message names no counter. It returns the commands
    /// that failed, each followed by its error. A failure does not show a missing right if the server cannot write just
    /// now: the answers to batches report that.
    static let script = """
        local KEY, failures = KEYS[1], {}
        local function attempt(...)
            local result = redis.pcall(...)
            if type(result) == 'table' and result.err then
                failures[#failures + 1] = (...)
                failures[#failures + 1] = result.err
            end
        end
        attempt('TIME')
        attempt('GET', KEY)
        attempt('PTTL', KEY)
        attempt('PEXPIREAT', KEY, '1')
        attempt('INCRBY', KEY, '1')
        attempt('DECRBY', KEY, '1')
        attempt('SET', KEY, '0', 'PX', '1000')
        attempt('DEL', KEY)
        attempt('ZADD', KEY, 'XX', '1', 'x')
        attempt('ZREM', KEY, 'x')
        attempt('ZREMRANGEBYSCORE', KEY, '0', '0')
        attempt('ZCOUNT', KEY, '0', '0')
        attempt('ZCARD', KEY)
        attempt('ZRANGEBYSCORE', KEY, '0', '0')
        attempt('ZRANGE', KEY, '0', '0')
        attempt('PUBLISH', ARGV[1], '')
        return failures
        """
}
