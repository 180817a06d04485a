import NIOCore
import SluiceProtocol

/// Settles a reservation: to the actual cost of the call, or cancels it.
struct Settlement: Sendable {
    /// The check that reserved.
    var target: CheckTarget
    var reservation: String
    /// The cost that was charged to that check.
    var cost: Int64
    /// The cost that is committed; nil to cancel.
    var committedCost: Int64?
    var source: ReplySource
    /// The windows that the check was counted in.
    var trace: [TraceEntry]?
}

/// Gives back a part of a charge, or all of it.
struct Refund: Sendable {
    /// The charge.
    var target: CheckTarget
    /// At most what was charged.
    var cost: Int64
    /// When the charge was sent.
    var chargeSentNs: Int64
}

/// The bytes of one connection in both directions, and the questions that wait for their answers, which arrive in the
/// same order.
///
/// A value, so that a read or a refill accesses the connection's storage once, not once a check.
struct RequestPipeline {
    /// A check, or a settlement, that waits for its answer.
    struct Outstanding {
        var target: CheckTarget
        /// When it was sent; in an open loop, when it should have been. Latency counts from here.
        var intendedNs: Int64
        var sentNs: Int64
        /// nil for a check.
        var settlement: SettlementKind?
        /// nil for anything else.
        var refund: Refund?
        /// The number that it gave its own reservation; nil if there is none.
        var reservation: UInt64?
    }

    enum SettlementKind {
        case commit
        case cancel
    }

    /// A question that was answered.
    struct Answered {
        enum Answer {
            /// - reservation: nil unless there is one to settle.
            case decision(isAllowed: Bool, source: ReplySource, trace: [TraceEntry]?, reservation: String?)
            /// A settlement was done, or the sidecar does not know the reservation.
            case settled(SettlementKind, isDone: Bool)
            /// An error reply: its code word and sentence.
            case error(String)
            /// Not a reply of the target: what was expected. The bytes after it cannot be read.
            case garbage(String)
        }

        /// nil if no check was sent, as when a sidecar has too many connections.
        var check: Outstanding?
        var answer: Answer
    }

    private let target: LoadTarget
    private let frames: CheckFrames
    /// The beginning of an incomplete answer.
    private var rest = ByteBuffer()
    private(set) var outstanding = CircularBuffer<Outstanding>(initialCapacity: 64)
    /// Numbers the reservations that a sidecar would name. Random, so that no other connection has the same ones.
    private var nextReservation = UInt64.random(in: .min ... .max)
    /// Lines that answer the bytes sent before the first check.
    private var greetingLines = 0

    init(target: LoadTarget, frames: CheckFrames) {
        self.target = target
        self.frames = frames
    }

    /// Those that have been waiting since before `ns`, the oldest first.
    func outstanding(sentBefore ns: Int64) -> some Sequence<Outstanding> {
        outstanding.lazy.prefix { $0.sentNs < ns }
    }

    // MARK: - Sending

    /// Writes the bytes that must precede the first check.
    mutating func greet() {
        guard target == .redis else { return }
        output.writeString(BaselineScript.loading)
        greetingLines = BaselineScript.answerLines
    }

    mutating func send(_ target: CheckTarget, intendedNs: Int64, nowNs: Int64) {
        var check = Outstanding(target: target, intendedNs: intendedNs, sentNs: nowNs)
        if frames.needsReservation(target) {
            check.reservation = nextReservation
            nextReservation &+= 1
        }
        frames.write(target, reservation: check.reservation, to: &output)
        outstanding.append(check)
    }

    /// Writes the next checks of `workload` until `count` are outstanding.
    mutating func fill(to count: Int, from workload: inout Workload, nowNs: Int64) {
        while outstanding.count < count { send(workload.next(), intendedNs: nowNs, nowNs: nowNs) }
    }

    mutating func settle(_ settlement: Settlement, nowNs: Int64) {
        frames.write(settlement, to: &output)
        outstanding.append(
            Outstanding(
                target: settlement.target, intendedNs: nowNs, sentNs: nowNs,
                settlement: settlement.committedCost == nil ? .cancel : .commit))
    }

    mutating func refund(_ refund: Refund, nowNs: Int64) {
        frames.write(refund, to: &output)
        outstanding.append(Outstanding(target: refund.target, intendedNs: nowNs, sentNs: nowNs, refund: refund))
    }

    /// The bytes to be sent.
    private(set) var output = ByteBuffer()

    /// The output has been sent.
    mutating func clearOutput() { output.clear() }

    // MARK: - Reading

    /// Takes the arrived bytes, and appends the questions that they answer. - Returns: whether all bytes were valid; if
    /// not, the connection must be closed.
    mutating func receive(_ arrived: ByteBuffer, into answered: inout [Answered]) -> Bool {
        var bytes = arrived
        if rest.readableBytes > 0 {
            rest.writeImmutableBuffer(arrived)
            swap(&rest, &bytes)
        }
        // Keeps no more of the read bytes than an incomplete answer.
        rest = ByteBuffer()
        var offset = 0
        do throws(ReplyError) {
            let span = bytes.readableBytesUInt8Span
            while offset < span.count, let next = try readAnswer(span, &offset) { answered.append(next) }
        } catch {
            answered.append(Answered(check: outstanding.popFirst(), answer: .garbage("\(error)")))
            return false
        }
        guard offset < bytes.readableBytes else { return true }
        bytes.moveReaderIndex(forwardBy: offset)
        if bytes.readerIndex > ProtocolBounds.maxFrameBytes { bytes.discardReadBytes() }
        rest = bytes
        return true
    }

    /// The answer at `offset`, which moves past it; nil if it is incomplete.
    private mutating func readAnswer(_ bytes: Span<UInt8>, _ offset: inout Int) throws(ReplyError) -> Answered? {
        if target == .sluice && outstanding.first?.settlement == nil { return try readDecision(bytes, &offset) }
        return try readLineAnswer(bytes, &offset)
    }

    private mutating func readDecision(_ bytes: Span<UInt8>, _ offset: inout Int) throws(ReplyError) -> Answered? {
        switch try DecisionReply.read(at: offset, of: bytes) {
        case .incomplete:
            return nil
        case .decision(let decision):
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            var reservation: String?
            if decision.allowed, let range = decision.reservation, !range.isEmpty {
                reservation = bytes.string(offset + range.lowerBound..<offset + range.upperBound)
            }
            offset += decision.byteCount
            return Answered(
                check: check,
                answer: .decision(
                    isAllowed: decision.allowed, source: decision.source, trace: decision.trace,
                    reservation: reservation))
        case .error(let text, let byteCount):
            let sentence = bytes.string(offset + text.lowerBound..<offset + text.upperBound)
            offset += byteCount
            return Answered(check: outstanding.popFirst(), answer: .error(sentence))
        }
    }

    /// An answer of one line: to a settlement, to Redis's script, to `PING`.
    private mutating func readLineAnswer(_ bytes: Span<UInt8>, _ offset: inout Int) throws(ReplyError) -> Answered? {
        while offset < bytes.count {
            var end = offset
            while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
            guard end < bytes.count else {
                guard end - offset <= ProtocolBounds.maxReplyLineBytes else { throw .tooBig }
                return nil
            }
            // Without its CRLF.
            let line = offset..<max(offset, end - 1)
            offset = end + 1
            let isError = bytes[line.lowerBound] == UInt8(ascii: "-")
            if greetingLines > 0 {
                greetingLines -= 1
                guard isError else { continue }
                greetingLines = 0
                return Answered(check: nil, answer: .error(bytes.string(line.dropFirst())))
            }
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            if isError {
                return Answered(check: check, answer: .error(bytes.string(line.dropFirst())))
            }
            return Answered(check: check, answer: try answer(bytes, line, to: check))
        }
        return nil
    }

    private func answer(
        _ bytes: Span<UInt8>, _ line: Range<Int>, to check: Outstanding
    ) throws(ReplyError) -> Answered.Answer {
        if let settlement = check.settlement {
            guard bytes[line.lowerBound] == UInt8(ascii: ":") else { throw .malformed("expected 1 or 0") }
            return .settled(settlement, isDone: Self.equal(bytes, line, ":1"))
        }
        switch target {
        case .ping:
            guard Self.equal(bytes, line, "+PONG") else { throw .malformed("expected PONG") }
            return .decision(isAllowed: true, source: .shared, trace: nil, reservation: nil)
        case .redis, .sluice:
            guard bytes[line.lowerBound] == UInt8(ascii: ":") else { throw .malformed("expected a whole number") }
            let isAllowed = bytes[line.lowerBound + 1] != UInt8(ascii: "-")
            return .decision(
                isAllowed: isAllowed, source: .shared, trace: nil,
                reservation: isAllowed ? check.reservation.map { String($0) } : nil)
        }
    }

    private static func equal(_ bytes: Span<UInt8>, _ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for index in 0..<range.count where bytes[range.lowerBound + index] != text.utf8Start[index] { return false }
        return true
    }

    /// The connection has closed: returns the unanswered questions.
    mutating func takeOutstanding() -> CircularBuffer<Outstanding> {
        defer { outstanding.removeAll() }
        return outstanding
    }
}
