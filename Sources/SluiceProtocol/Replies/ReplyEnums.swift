/// The version of RESP that a connection speaks: 2 until `HELLO 3` asks for 3.
package enum RESPVersion: Int, Sendable {
    case resp2 = 2
    case resp3 = 3
}

/// The code word that begins an error reply, for a program to branch on.
package enum ErrorCode: String, Sendable, CaseIterable {
    /// The request makes no sense as a command, or the frame is malformed.
    case error = "ERR"
    /// The command is known and one of its arguments is wrong.
    case badArgument = "BADARG"
    /// A frame is over a bound.
    case tooBig = "TOOBIG"
    /// Too many checks are waiting.
    case busy = "BUSY"
    /// The caller may not use this command.
    case noPermission = "NOPERM"
    /// `HELLO` asked for an unsupported version of RESP.
    case noProtocol = "NOPROTO"
    /// `EXEC` after commands that were not run.
    case transactionAborted = "EXECABORT"
}

/// The verdict of a decision, as the field `verdict` carries it.
package enum ReplyVerdict: String, Sendable, CaseIterable {
    case allow
    /// Over a limit.
    case limit
    /// The policy forbids the call.
    case deny
    /// A person must approve the call.
    case approve
    /// Redis is unavailable and the limit says `on_outage: deny`.
    case unavailable
}

/// The origin of a decision, as the field `source` carries it.
package enum ReplySource: String, Sendable, CaseIterable {
    /// Counted in Redis for all replicas.
    case shared
    /// Counted in this replica alone.
    case local
    /// Served from a block that was charged in Redis before.
    case lease
    /// A denial from the denial cache.
    case cache
    /// The policy alone decided.
    case policy
}

/// One limit that a check evaluated, as `TRACE` reports it.
package struct TraceEntry: Sendable, Equatable {
    /// The limit, as the field `rule` names one.
    package var rule: String
    /// The start of its window, in milliseconds since 1970, by Redis's clock.
    package var windowStartMs: Int64
    /// How much of the window is used, after this check.
    package var used: Int64
    /// The limit's maximum.
    package var max: Int64

    package init(rule: String, windowStartMs: Int64, used: Int64, max: Int64) {
        self.rule = rule
        self.windowStartMs = windowStartMs
        self.used = used
        self.max = max
    }
}
