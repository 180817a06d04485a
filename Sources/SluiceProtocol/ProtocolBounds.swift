/// Every bound of the socket protocol, with its unit, its reason, and the error when it is exceeded.
package enum ProtocolBounds {
    /// Largest request frame, in bytes, with its headers and line ends; an inline command's line counts in full. The
    /// largest `CHECK` (16 attributes and every option at 256 bytes) is about 10 KiB. Over it: `TOOBIG`, then close.
    package static let maxFrameBytes = 64 * 1024
    /// Longest `*n` or `$n` header, in bytes without its line end: 19 digits, a sign and the type byte fit. Over it:
    /// `ERR Protocol error`, then close.
    package static let maxHeaderBytes = 24
    /// Most arguments of one frame, the command's name counted. A `CHECK` with all its options has 62. Over it:
    /// `TOOBIG`, then close.
    package static let maxArguments = 128
    /// Longest name (grant, tool, server, session, id, attribute, attribute's value), in UTF-8 bytes: each becomes part
    /// of a key in Redis. Over it: `BADARG`.
    package static let maxNameBytes = 256
    /// Highest cost of a check: as high as a limit's maximum can be. Over it: `BADARG`.
    package static let maxCost: Int64 = 1_000_000_000_000
    /// Most attributes of one check: as many as a check may meet limits. Over it: `BADARG`.
    package static let maxAttributes = 16
    /// Most requests of one connection that wait for their answers. At it the server stops reading from the connection
    /// until answers have been sent; no request is rejected.
    package static let maxPipelinedRequests = 1024
    /// Most bytes of replies that a client leaves unread: 2,000 denials with messages are about 700 KB, and many clients
    /// write a pipeline to its end before they read. At it the server stops reading from the connection; a client that
    /// reads nothing for `maxUnreadSeconds` is closed, and one that meanwhile sends more after `maxStalledSeconds`.
    package static let maxUnreadOutputBytes = 1024 * 1024
    /// Longest that a client may leave replies unread at the bound above, in seconds. Past it: close.
    package static let maxUnreadSeconds = 30
    /// How long a client at that bound may go on sending without reading a byte, in seconds: both sides would wait for each
    /// other. One that is alive reads within milliseconds. Past it: `TOOBIG`, then close.
    package static let maxStalledSeconds = 3
    /// Longest time from the first byte of a frame to its last, in seconds: a frame on a local socket takes
    /// microseconds, and half a frame holds memory. Past it: `ERR Protocol error`, then close. Between frames a
    /// connection may be idle for ever, as pooled connections are.
    package static let maxFrameSeconds = 10
    /// Most rows that one `COUNTERS` answers, so that an operator's question cannot stall the checks. Over it:
    /// `BADARG`.
    package static let maxCounterRows = 10_000
    /// Rows that `COUNTERS` answers when `LIMIT` is not given: a long page for a person.
    package static let defaultCounterRows = 100
    /// Longest path of a limit that an operator may name, in bytes: a server, a tool and a counter, of 256 bytes each, with
    /// escapes. Over it: `BADARG`.
    package static let maxRuleBytes = 2_048
    /// The longest time for an override, in seconds: a week. What holds for longer belongs into the policy. Over it:
    /// `BADARG`.
    package static let maxOverrideSeconds: Int64 = 7 * 86_400
    /// Most bytes of a caller's word that an error repeats; the rest is cut.
    package static let maxQuotedBytes = 64

    /// Deepest nesting of a reply that a client accepts: Sluice's own replies need 7 (`COMMAND DOCS`). Over it: the
    /// reply is malformed and the connection closes.
    package static let maxReplyDepth = 16
    /// Largest reply that a client accepts, in bytes: 10,000 counters with long names are about 8 MB.
    package static let maxReplyBytes = 16 * 1024 * 1024
    /// Longest simple string or error that a client accepts, in bytes: a sentence is far shorter.
    package static let maxReplyLineBytes = 64 * 1024
    /// Most elements of one reply, including nested ones, that a client accepts: 10,000 counters have about 20 each.
    /// Nothing is reserved for elements that are only announced.
    package static let maxReplyElements = 1_000_000
    /// Most traced limits of a decision that a client accepts: as many as a check may meet, and room to grow.
    package static let maxTraceEntries = 64
}
