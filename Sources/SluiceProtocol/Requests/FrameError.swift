/// A fault after which the rest of a connection's bytes cannot be read: it is sent, and the connection is closed.
package enum FrameError: Error, Equatable, Sendable {
    /// A `*` header without a whole number from -1 up.
    case invalidArgumentCount
    /// A `*` header or an inline line with more than `ProtocolBounds.maxArguments`.
    case tooManyArguments
    /// An argument that does not begin with `$`; the byte that was there.
    case expectedBulkString(got: UInt8)
    /// A `$` header without a whole number from 0 up.
    case invalidBulkLength
    /// An argument's bytes that are not followed by CR LF.
    case missingLineEnd
    /// A frame of more than `ProtocolBounds.maxFrameBytes`.
    case frameTooBig
    /// An inline line of more than `ProtocolBounds.maxFrameBytes`.
    case lineTooBig
    /// An inline line whose quotes do not pair up, or whose closing quote is not followed by a space.
    case unbalancedQuotes
    /// A frame that was not finished within `ProtocolBounds.maxFrameSeconds`; only the server detects it, because it
    /// has a clock.
    case tooSlow
    /// Requests that go on while `ProtocolBounds.maxUnreadOutputBytes` of answers are not read; only the server detects it.
    case answersUnread
    /// The first line of an HTTP request: answered in HTTP, so that an HTTP client can read the answer.
    case isHTTP

    package var code: ErrorCode {
        switch self {
        case .tooManyArguments, .frameTooBig, .lineTooBig, .answersUnread: .tooBig
        case .invalidArgumentCount, .expectedBulkString, .invalidBulkLength, .missingLineEnd, .unbalancedQuotes,
            .tooSlow, .isHTTP:
            .error
        }
    }

    /// One sentence for the author of the client: what was wrong and what to send. It begins with Redis's own words,
    /// since clients look for them.
    package var sentence: String {
        switch self {
        case .invalidArgumentCount:
            "Protocol error: invalid multibulk length, send * and the number of arguments"
        case .tooManyArguments:
            "Protocol error: too many arguments, send at most \(ProtocolBounds.maxArguments)"
        case .expectedBulkString(let byte):
            "Protocol error: expected '$', got '\(Self.printable(byte))', send every argument as a bulk string"
        case .invalidBulkLength:
            "Protocol error: invalid bulk length, send $ and the number of bytes that follow"
        case .missingLineEnd:
            "Protocol error: expected CRLF after an argument, send as many bytes as its header says"
        case .frameTooBig:
            "Protocol error: too big request, send at most \(ProtocolBounds.maxFrameBytes) bytes"
        case .lineTooBig:
            "Protocol error: too big inline request, send at most \(ProtocolBounds.maxFrameBytes) bytes"
        case .unbalancedQuotes:
            "Protocol error: unbalanced quotes in request, close each quote and put a space after it"
        case .isHTTP:
            "this socket speaks RESP, the protocol of Redis, and not HTTP: use a Redis client, such as redis-cli -s SOCKET "
                + "PING"
        case .answersUnread:
            "pipeline is too long: \(ProtocolBounds.maxUnreadOutputBytes / 1_024) KiB of answers are not read while more is sent,"
                + " send less at once or read meanwhile"
        case .tooSlow:
            "Protocol error: unfinished request, send it whole within \(ProtocolBounds.maxFrameSeconds) seconds"
        }
    }

    /// The whole answer, if it is not a RESP error.
    package var wholeReply: String? {
        guard self == .isHTTP else { return nil }
        let body = "\(sentence)\n"
        return "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
            + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
    }

    private static func printable(_ byte: UInt8) -> String {
        (0x20..<0x7f).contains(byte) ? String(UnicodeScalar(byte)) : "?"
    }
}
