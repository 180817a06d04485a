package import NIOCore

/// All fields of the reply to a `CHECK` or a `PEEK`.
package struct DecisionFields: Sendable, Equatable {
    package var allowed: Bool
    /// The maximum of the binding limit; -1 if none applied.
    package var limit: Int64
    /// What is left of the binding limit after this check; -1 if none applied.
    package var remaining: Int64
    /// 0 if allowed; how long until the same check could pass, in milliseconds; -1 if it never can.
    package var retryAfterMs: Int64
    /// Until the binding window resets, in milliseconds; -1 if none.
    package var resetMs: Int64
    package var verdict: ReplyVerdict
    /// The path of what decided.
    package var rule: String
    package var source: ReplySource
    /// When denied, one sentence for the agent; otherwise empty.
    package var message: String
    /// If set, the message ends with " Try again in N seconds.", in the form of `WaitTime`. In milliseconds.
    package var waitMs: Int64?
    /// If set together with `waitMs`, these UTF-8 bytes of the message are replaced by the time instead.
    package var waitRange: Range<Int>?
    /// The id for `COMMIT`, `CANCEL` and `RELEASE`, empty when denied; `nil` if `RESERVE` was not given.
    package var reservation: String?
    /// The limits that were evaluated; `nil` if `TRACE` was not given.
    package var trace: [TraceEntry]?

    package init(
        allowed: Bool, limit: Int64 = -1, remaining: Int64 = -1, retryAfterMs: Int64 = 0, resetMs: Int64 = -1,
        verdict: ReplyVerdict, rule: String, source: ReplySource, message: String = "", waitMs: Int64? = nil,
        reservation: String? = nil, trace: [TraceEntry]? = nil
    ) {
        self.allowed = allowed
        self.limit = limit
        self.remaining = remaining
        self.retryAfterMs = retryAfterMs
        self.resetMs = resetMs
        self.verdict = verdict
        self.rule = rule
        self.source = source
        self.message = message
        self.waitMs = waitMs
        self.reservation = reservation
        self.trace = trace
    }
}

extension ReplyWriter {
    /// Writes a decision: in RESP2 an array of nine elements, followed by the reservation and the trace if they were
    /// requested; in RESP3 a map of the same in the same order, and in RESP2 with names what a map is there: names and
    /// values in turn. It allocates only to make `output` grow.
    package func writeDecision(_ fields: borrowing DecisionFields, to output: inout ByteBuffer) {
        writeDecision(
            allowed: fields.allowed, limit: fields.limit, remaining: fields.remaining,
            retryAfterMs: fields.retryAfterMs, resetMs: fields.resetMs, verdict: fields.verdict, rule: fields.rule,
            source: fields.source, message: fields.message, waitMs: fields.waitMs, waitRange: fields.waitRange,
            reservation: fields.reservation, trace: fields.trace, to: &output)
    }

    /// The same, for a caller that has the fields as separate values.
    package func writeDecision(
        allowed: Bool, limit: Int64, remaining: Int64, retryAfterMs: Int64, resetMs: Int64, verdict: ReplyVerdict,
        rule: String, source: ReplySource, message: String = "", waitMs: Int64? = nil, waitRange: Range<Int>? = nil,
        reservation: String? = nil, trace: [TraceEntry]? = nil, to output: inout ByteBuffer
    ) {
        let isMap = namesFields
        let textBytes = rule.utf8.count + message.utf8.count + (reservation?.utf8.count ?? 0)
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.fixedDecisionBytes + textBytes) { bytes in
            var raw = RawOutput(bytes)
            let count: Int64 = 9 + (reservation == nil ? 0 : 1) + (trace == nil ? 0 : 1)
            if isMap { raw.mapHeader(count, version) } else { raw.integer(UInt8(ascii: "*"), count) }
            if isMap { raw.text("$7\r\nallowed\r\n") }
            raw.text(allowed ? ":1\r\n" : ":0\r\n")
            if isMap { raw.text("$5\r\nlimit\r\n") }
            raw.integer(UInt8(ascii: ":"), limit)
            if isMap { raw.text("$9\r\nremaining\r\n") }
            raw.integer(UInt8(ascii: ":"), remaining)
            if isMap { raw.text("$14\r\nretry_after_ms\r\n") }
            raw.integer(UInt8(ascii: ":"), retryAfterMs)
            if isMap { raw.text("$8\r\nreset_ms\r\n") }
            raw.integer(UInt8(ascii: ":"), resetMs)
            if isMap { raw.text("$7\r\nverdict\r\n") }
            raw.text(verdict.bulkString)
            if isMap { raw.text("$4\r\nrule\r\n") }
            raw.bulkString(rule)
            if isMap { raw.text("$6\r\nsource\r\n") }
            raw.text(source.bulkString)
            if isMap { raw.text("$7\r\nmessage\r\n") }
            if let waitMs, let waitRange {
                raw.message(message, waitMs: waitMs, in: waitRange)
            } else {
                raw.message(message, waitMs: waitMs)
            }
            if let reservation {
                if isMap { raw.text("$11\r\nreservation\r\n") }
                raw.bulkString(reservation)
            }
            return raw.count
        }
        if let trace { writeTrace(trace, to: &output) }
    }

    /// An upper bound of a decision's bytes without its texts: the names of its fields in RESP3 (178 bytes), six
    /// numbers, five texts' headers, verdict, source, and the sentence about waiting.
    private static let fixedDecisionBytes = 512

    private func writeTrace(_ trace: [TraceEntry], to output: inout ByteBuffer) {
        if namesFields { output.writeStaticString("$5\r\ntrace\r\n") }
        writeArrayHeader(trace.count, to: &output)
        for entry in trace {
            writeArrayHeader(4, to: &output)
            writeBulkString(entry.rule, to: &output)
            writeInteger(entry.windowStartMs, to: &output)
            writeInteger(entry.used, to: &output)
            writeInteger(entry.max, to: &output)
        }
    }
}

extension RawOutput {
    @inline(__always)
    mutating func mapHeader(_ count: Int64, _ version: RESPVersion) {
        switch version {
        case .resp2: integer(UInt8(ascii: "*"), count * 2)
        case .resp3: integer(UInt8(ascii: "%"), count)
        }
    }

    @inline(__always)
    mutating func bulkString(_ text: String) {
        integer(UInt8(ascii: "$"), Int64(text.utf8.count))
        self.text(text)
        lineEnd()
    }

    /// A message, and how long to wait if that is set.
    @inline(__always)
    mutating func message(_ message: String, waitMs: Int64?) {
        guard let waitMs else { return bulkString(message) }
        let wait = WaitTime(milliseconds: waitMs)
        let opening: StaticString = message.isEmpty ? "Try again in " : " Try again in "
        let closing = wait.closing
        let length =
            message.utf8.count + opening.utf8CodeUnitCount + Self.digitCount(wait.count) + closing.utf8CodeUnitCount
        integer(UInt8(ascii: "$"), Int64(length))
        text(message)
        text(opening)
        digits(wait.count)
        text(closing)
        lineEnd()
    }
}

extension RawOutput {
    /// A message in which how long to wait, `29 seconds`, takes the place of some bytes.
    mutating func message(_ message: String, waitMs: Int64, in range: Range<Int>) {
        let wait = WaitTime(milliseconds: waitMs)
        let (utf8, closing) = (message.utf8, wait.closing)
        let begin = utf8.index(utf8.startIndex, offsetBy: range.lowerBound)
        let end = utf8.index(begin, offsetBy: range.count)
        // The closing ends a sentence.
        let length = utf8.count - range.count + Self.digitCount(wait.count) + closing.utf8CodeUnitCount - 1
        integer(UInt8(ascii: "$"), Int64(length))
        for byte in utf8[..<begin] { self.byte(byte) }
        digits(wait.count)
        closing.withUTF8Buffer { for byte in $0.dropLast() { self.byte(byte) } }
        for byte in utf8[end...] { self.byte(byte) }
        lineEnd()
    }
}

extension ReplyVerdict {
    fileprivate var bulkString: StaticString {
        switch self {
        case .allow: "$5\r\nallow\r\n"
        case .limit: "$5\r\nlimit\r\n"
        case .deny: "$4\r\ndeny\r\n"
        case .approve: "$7\r\napprove\r\n"
        case .unavailable: "$11\r\nunavailable\r\n"
        }
    }
}

extension ReplySource {
    fileprivate var bulkString: StaticString {
        switch self {
        case .shared: "$6\r\nshared\r\n"
        case .local: "$5\r\nlocal\r\n"
        case .lease: "$5\r\nlease\r\n"
        case .cache: "$5\r\ncache\r\n"
        case .policy: "$6\r\npolicy\r\n"
        }
    }
}
