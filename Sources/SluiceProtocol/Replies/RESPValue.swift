/// A reply as a client reads it, from either version of RESP. Sluice's replies are text; invalid UTF-8, which only
/// `ECHO` can cause, is replaced.
package enum RESPValue: Sendable, Equatable {
    package struct Pair: Sendable, Equatable {
        package var key: RESPValue
        package var value: RESPValue

        package init(key: RESPValue, value: RESPValue) {
            self.key = key
            self.value = value
        }
    }

    /// A simple, bulk or verbatim string (its format taken off), or a big number.
    case string(String)
    /// An error: its first word, and the rest.
    case error(code: String, message: String)
    case integer(Int64)
    case double(Double)
    case boolean(Bool)
    case null
    /// An array or a set.
    case array([RESPValue])
    case map([Pair])
    /// A push message of RESP3. It answers no request.
    case push([RESPValue])
}

/// A reply that is not RESP or exceeds a bound; the bytes after it cannot be read.
package enum ReplyError: Error, Sendable, Equatable {
    /// What was expected, for a person to read.
    case malformed(String)
    /// The reply is over `ProtocolBounds.maxReplyBytes`, `maxReplyLineBytes` or `maxReplyElements`.
    case tooBig
    /// The reply is nested deeper than `ProtocolBounds.maxReplyDepth`.
    case tooDeep
}
