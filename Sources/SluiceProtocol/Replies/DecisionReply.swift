package import NIOCore

/// A decision decoded straight from its bytes, for callers that read millions of them: it makes no String, and
/// allocates only if the decision was traced. Ranges are offsets from the reader index of the buffer that it was read
/// from.
package struct DecisionReply: Sendable, Equatable {
    package enum Outcome: Sendable, Equatable {
        case decision(DecisionReply)
        /// An error reply: the range of its text (code word and sentence), and the length of the reply.
        case error(text: Range<Int>, byteCount: Int)
        /// The reply is incomplete.
        case incomplete
    }

    /// The fields as `DecisionFields` documents them.
    package var allowed = false
    package var limit: Int64 = -1
    package var remaining: Int64 = -1
    package var retryAfterMs: Int64 = 0
    package var resetMs: Int64 = -1
    package var verdict = ReplyVerdict.deny
    package var rule = 0..<0
    package var source = ReplySource.policy
    package var message = 0..<0
    /// `nil` if `RESERVE` was not given.
    package var reservation: Range<Int>?
    /// `nil` if `TRACE` was not given.
    package var trace: [TraceEntry]?
    /// The length of the reply in bytes: the caller advances the reader index by it to reach the next reply.
    package var byteCount = 0

    package init() {}

    /// Reads the reply at the buffer's reader index, which does not move. An incomplete reply is read from its start
    /// again when more of it has arrived; it is a few hundred bytes.
    ///
    /// Unknown elements and fields are ignored. Throws if the reply is neither a decision nor an error.
    package static func read(_ buffer: ByteBuffer) throws(ReplyError) -> Outcome {
        try read(at: 0, of: buffer.readableBytesUInt8Span)
    }

    /// Reads the reply that begins at `start`, in the same way; its ranges count from there.
    package static func read(at start: Int, of bytes: Span<UInt8>) throws(ReplyError) -> Outcome {
        do {
            return try read(bytes.extracting(start..<bytes.count))
        } catch {
            switch error {
            case .incomplete: return .incomplete
            case .fault(let fault): throw fault
            }
        }
    }

    private enum Stop: Error {
        case incomplete
        case fault(ReplyError)
    }

    private static func read(_ bytes: Span<UInt8>) throws(Stop) -> Outcome {
        var offset = 0
        switch try peek(bytes, offset) {
        case UInt8(ascii: "-"):
            var end = 1
            while try peek(bytes, end) != UInt8(ascii: "\r") {
                end += 1
                guard end <= ProtocolBounds.maxReplyLineBytes else { throw .fault(.tooBig) }
            }
            guard try peek(bytes, end + 1) == UInt8(ascii: "\n") else { throw malformed("CRLF at the end of a line") }
            return .error(text: 1..<end, byteCount: end + 2)
        case UInt8(ascii: "*"):
            let count = try number(bytes, &offset, UInt8(ascii: "*"))
            return .decision(try readArray(bytes, &offset, count: count))
        case UInt8(ascii: "%"):
            let count = try number(bytes, &offset, UInt8(ascii: "%"))
            return .decision(try readMap(bytes, &offset, count: count))
        default: throw malformed("a decision or an error")
        }
    }

    private static func readArray(
        _ bytes: Span<UInt8>, _ offset: inout Int, count: Int64
    ) throws(Stop) -> DecisionReply {
        guard count >= 9, count <= ProtocolBounds.maxReplyElements else { throw malformed("at least nine elements") }
        var reply = DecisionReply()
        for field in Field.inOrder { try reply.set(field, bytes, &offset) }
        for _ in 9..<count {
            // The reservation is a string and the trace is an array, so each is recognised without the other.
            switch try peek(bytes, offset) {
            case UInt8(ascii: "$"): try reply.set(.reservation, bytes, &offset)
            case UInt8(ascii: "*"): try reply.set(.trace, bytes, &offset)
            default: try skip(bytes, &offset, depth: 1)
            }
        }
        reply.byteCount = offset
        return reply
    }

    private static func readMap(
        _ bytes: Span<UInt8>, _ offset: inout Int, count: Int64
    ) throws(Stop) -> DecisionReply {
        guard count >= 9, count <= ProtocolBounds.maxReplyElements else { throw malformed("at least nine fields") }
        var reply = DecisionReply()
        var seen: UInt16 = 0
        for _ in 0..<count {
            let key = try string(bytes, &offset)
            guard let field = Field.named(bytes, key) else {
                try skip(bytes, &offset, depth: 1)
                continue
            }
            seen |= 1 << UInt16(field.rawValue)
            try reply.set(field, bytes, &offset)
        }
        guard seen & 0x1ff == 0x1ff else { throw malformed("each of the nine fields") }
        reply.byteCount = offset
        return reply
    }

    private enum Field: Int {
        case allowed, limit, remaining, retryAfterMs, resetMs, verdict, rule, source, message, reservation, trace

        /// The elements of RESP2's array.
        static let inOrder: [Field] = [
            .allowed, .limit, .remaining, .retryAfterMs, .resetMs, .verdict, .rule, .source, .message,
        ]

        static func named(_ bytes: Span<UInt8>, _ key: Range<Int>) -> Field? {
            switch PackedWord.of(bytes, key) {
            case 0x61_6c6c_6f77_6564: .allowed
            case 0x6c_696d_6974: .limit
            case 0x7665_7264_6963_74: .verdict
            case 0x7275_6c65: .rule
            case 0x736f_7572_6365: .source
            case 0x6d65_7373_6167_65: .message
            case PackedWord.trace: .trace
            default: longer(bytes, key)
            }
        }

        /// Names longer than a packed word, or with an underscore.
        private static func longer(_ bytes: Span<UInt8>, _ key: Range<Int>) -> Field? {
            if equal(bytes, key, "remaining") { return .remaining }
            if equal(bytes, key, "retry_after_ms") { return .retryAfterMs }
            if equal(bytes, key, "reset_ms") { return .resetMs }
            if equal(bytes, key, "reservation") { return .reservation }
            return nil
        }
    }

    private mutating func set(_ field: Field, _ bytes: Span<UInt8>, _ offset: inout Int) throws(Stop) {
        let integer = UInt8(ascii: ":")
        switch field {
        case .allowed: allowed = try Self.number(bytes, &offset, integer) == 1
        case .limit: limit = try Self.number(bytes, &offset, integer)
        case .remaining: remaining = try Self.number(bytes, &offset, integer)
        case .retryAfterMs: retryAfterMs = try Self.number(bytes, &offset, integer)
        case .resetMs: resetMs = try Self.number(bytes, &offset, integer)
        case .verdict:
            let word = try Self.string(bytes, &offset)
            guard let value = ReplyVerdict(bytes, word) else { throw Self.malformed("a verdict") }
            verdict = value
        case .rule: rule = try Self.string(bytes, &offset)
        case .source:
            let word = try Self.string(bytes, &offset)
            guard let value = ReplySource(bytes, word) else { throw Self.malformed("a source") }
            source = value
        case .message: message = try Self.string(bytes, &offset)
        case .reservation: reservation = try Self.string(bytes, &offset)
        case .trace: trace = try Self.trace(bytes, &offset)
        }
    }

    private static func trace(_ bytes: Span<UInt8>, _ offset: inout Int) throws(Stop) -> [TraceEntry] {
        let count = try number(bytes, &offset, UInt8(ascii: "*"))
        guard count >= 0, count <= ProtocolBounds.maxTraceEntries else { throw malformed("a trace within its bound") }
        var entries: [TraceEntry] = []
        for _ in 0..<count {
            guard try number(bytes, &offset, UInt8(ascii: "*")) == 4 else {
                throw malformed("four elements of a trace")
            }
            let rule = try string(bytes, &offset)
            entries.append(
                TraceEntry(
                    rule: bytes.string(rule), windowStartMs: try number(bytes, &offset, UInt8(ascii: ":")),
                    used: try number(bytes, &offset, UInt8(ascii: ":")),
                    max: try number(bytes, &offset, UInt8(ascii: ":"))))
        }
        return entries
    }

    /// Skips one value of any type.
    private static func skip(_ bytes: Span<UInt8>, _ offset: inout Int, depth: Int) throws(Stop) {
        guard depth <= ProtocolBounds.maxReplyDepth else { throw .fault(.tooDeep) }
        let type = try peek(bytes, offset)
        switch type {
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            _ = try string(bytes, &offset, type: type)
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "%"):
            let count = try number(bytes, &offset, type)
            guard count <= ProtocolBounds.maxReplyElements else { throw .fault(.tooBig) }
            let values = type == UInt8(ascii: "%") ? count * 2 : count
            for _ in 0..<max(0, values) { try skip(bytes, &offset, depth: depth + 1) }
        default:
            while try peek(bytes, offset) != UInt8(ascii: "\n") { offset += 1 }
            offset += 1
        }
    }

    private static func malformed(_ expected: StaticString) -> Stop { .fault(.malformed("expected \(expected)")) }

    @inline(__always)
    private static func peek(_ bytes: Span<UInt8>, _ offset: Int) throws(Stop) -> UInt8 {
        guard offset < bytes.count else { throw .incomplete }
        return bytes[offset]
    }

    private static func number(_ bytes: Span<UInt8>, _ offset: inout Int, _ type: UInt8) throws(Stop) -> Int64 {
        guard try peek(bytes, offset) == type else { throw malformed("an element of another type") }
        switch readDecimal(bytes, from: offset + 1, maxBytes: ProtocolBounds.maxHeaderBytes) {
        case .value(let value, let end):
            offset = end
            return value
        case .incomplete: throw .incomplete
        case .invalid: throw malformed("a whole number and CRLF")
        }
    }

    /// A bulk string's range. A null one is empty.
    private static func string(
        _ bytes: Span<UInt8>, _ offset: inout Int, type: UInt8 = UInt8(ascii: "$")
    ) throws(Stop) -> Range<Int> {
        let length = try number(bytes, &offset, type)
        guard length >= 0 else {
            guard length == -1 else { throw malformed("a number of bytes from 0 up") }
            return offset..<offset
        }
        guard length <= ProtocolBounds.maxReplyBytes else { throw .fault(.tooBig) }
        let range = offset..<offset + Int(length)
        guard try peek(bytes, range.upperBound) == UInt8(ascii: "\r"),
            try peek(bytes, range.upperBound + 1) == UInt8(ascii: "\n")
        else { throw malformed("CRLF after a bulk string") }
        offset = range.upperBound + 2
        return range
    }

    fileprivate static func equal(_ bytes: Span<UInt8>, _ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for offset in 0..<range.count where bytes[range.lowerBound + offset] != text.utf8Start[offset] { return false }
        return true
    }
}

extension ReplyVerdict {
    fileprivate init?(_ bytes: Span<UInt8>, _ word: Range<Int>) {
        switch PackedWord.of(bytes, word) {
        case 0x61_6c6c_6f77: self = .allow
        case 0x6c_696d_6974: self = .limit
        case 0x6465_6e79: self = .deny
        case 0x6170_7072_6f76_65: self = .approve
        default:
            guard DecisionReply.equal(bytes, word, "unavailable") else { return nil }
            self = .unavailable
        }
    }
}

extension ReplySource {
    fileprivate init?(_ bytes: Span<UInt8>, _ word: Range<Int>) {
        switch PackedWord.of(bytes, word) {
        case 0x7368_6172_6564: self = .shared
        case 0x6c_6f63_616c: self = .local
        case 0x6c_6561_7365: self = .lease
        case 0x63_6163_6865: self = .cache
        case 0x706f_6c69_6379: self = .policy
        default: return nil
        }
    }
}
