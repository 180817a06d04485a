/// A reply that is not RESP or exceeds a bound; the bytes after it cannot be read.
package enum ReplyError: Error, Sendable, Equatable {
    /// What was expected, for a person to read.
    case malformed(String)
    /// The reply is over `ProtocolBounds.maxReplyBytes`, `maxReplyLineBytes` or `maxReplyElements`.
    case tooBig
    /// The reply is nested deeper than `ProtocolBounds.maxReplyDepth`.
    case tooDeep
}
