import NIOCore
import SluiceProtocol

/// What ends a reservation: it is settled to what the call really cost, or given back.
struct Settlement: Sendable {
    /// The check that reserved.
    var target: CheckTarget
    var reservation: String
    /// What that check was charged.
    var cost: Int64
    /// What it is committed to; nil to cancel it.
    var committedCost: Int64?
    var source: ReplySource
    /// What the check was counted in.
    var trace: [TraceEntry]?
}

/// The bytes of one connection in both directions, and the questions that wait for their answers, which come in the same
/// order.
///
/// A value, so that a read or a refill touches the connection's storage once, not once a check.
struct Exchange {
    /// A check, or a settlement, that waits for its answer.
    struct Outstanding {
        var target: CheckTarget
        /// When it was sent; in an open loop, when it should have been. Latency counts from here.
        var intendedNs: Int64
        var sentNs: Int64
        /// nil for a check.
        var settlement: SettlementKind?
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
            /// A settlement was done, or was for nothing that the sidecar knows.
            case settled(SettlementKind, isDone: Bool)
            /// An error reply: its code word and sentence.
            case error(String)
            /// Not a reply of what is loaded: what was expected. Nothing behind it means anything.
            case garbage(String)
        }

        /// nil where nothing was asked, as when a sidecar has too many connections.
        var check: Outstanding?
        var answer: Answer
    }

    private let target: LoadTarget
    private var input = ByteBuffer()
    private(set) var outstanding = CircularBuffer<Outstanding>(initialCapacity: 64)
    /// Lines that answer what was sent before the first check.
    private var greetingLines = 0

    init(target: LoadTarget) { self.target = target }

    // MARK: - Sending

    /// Sends what must go before the first check.
    mutating func greet() {
        guard target == .redis else { return }
        output.writeString(BaselineScript.loading)
        greetingLines = BaselineScript.answerLines
    }

    mutating func send(_ target: CheckTarget, _ frames: CheckFrames, intendedNs: Int64, nowNs: Int64) {
        frames.write(target, to: &output)
        outstanding.append(Outstanding(target: target, intendedNs: intendedNs, sentNs: nowNs))
    }

    mutating func settle(_ settlement: Settlement, _ frames: CheckFrames, nowNs: Int64) {
        frames.write(settlement, to: &output)
        outstanding.append(
            Outstanding(
                target: settlement.target, intendedNs: nowNs, sentNs: nowNs,
                settlement: settlement.committedCost == nil ? .cancel : .commit))
    }

    /// What is to go out.
    private(set) var output = ByteBuffer()

    /// It went out.
    mutating func clearOutput() { output.clear() }

    // MARK: - Reading

    /// Takes in what arrived, and appends the questions that it answers.
    /// - Returns: whether all of it made sense; if not, the connection is to be closed.
    mutating func receive(_ bytes: ByteBuffer, into answered: inout [Answered]) -> Bool {
        if input.readableBytes == 0 {
            input = bytes
        } else {
            var bytes = bytes
            input.writeBuffer(&bytes)
        }
        do throws(ReplyError) {
            while input.readableBytes > 0, let next = try readAnswer() { answered.append(next) }
        } catch {
            answered.append(Answered(check: outstanding.popFirst(), answer: .garbage("\(error)")))
            return false
        }
        if input.readableBytes == 0 {
            // The next bytes replace it: it is given back meanwhile.
            input = ByteBuffer()
        } else if input.readerIndex > ProtocolBounds.maxFrameBytes {
            input.discardReadBytes()
        }
        return true
    }

    private mutating func readAnswer() throws(ReplyError) -> Answered? {
        if target == .sluice && outstanding.first?.settlement == nil { return try readDecision() }
        return try readLineAnswer()
    }

    private mutating func readDecision() throws(ReplyError) -> Answered? {
        switch try DecisionReply.read(input) {
        case .incomplete:
            return nil
        case .decision(let decision):
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            let reservation = decision.reservation.flatMap { range in
                range.isEmpty
                    ? nil : input.getString(at: input.readerIndex + range.lowerBound, length: range.count)
            }
            input.moveReaderIndex(forwardBy: decision.byteCount)
            return Answered(
                check: check,
                answer: .decision(
                    isAllowed: decision.allowed, source: decision.source, trace: decision.trace,
                    reservation: decision.allowed ? reservation : nil))
        case .error(let text, let byteCount):
            let sentence = input.getString(at: input.readerIndex + text.lowerBound, length: text.count) ?? ""
            input.moveReaderIndex(forwardBy: byteCount)
            return Answered(check: outstanding.popFirst(), answer: .error(sentence))
        }
    }

    /// An answer of one line: to a settlement, to Redis's script, to `PING`.
    private mutating func readLineAnswer() throws(ReplyError) -> Answered? {
        while let line = try readLine() {
            if greetingLines > 0 {
                greetingLines -= 1
                guard line.first == UInt8(ascii: "-") else { continue }
                greetingLines = 0
                return Answered(check: nil, answer: .error(String(decoding: line.dropFirst(), as: UTF8.self)))
            }
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            if line.first == UInt8(ascii: "-") {
                return Answered(check: check, answer: .error(String(decoding: line.dropFirst(), as: UTF8.self)))
            }
            return Answered(check: check, answer: try answer(line, to: check))
        }
        return nil
    }

    private func answer(_ line: ByteBufferView, to check: Outstanding) throws(ReplyError) -> Answered.Answer {
        if let settlement = check.settlement {
            guard line.first == UInt8(ascii: ":") else { throw .malformed("expected 1 or 0") }
            return .settled(settlement, isDone: line.elementsEqual(":1".utf8))
        }
        switch target {
        case .ping:
            guard line.elementsEqual("+PONG".utf8) else { throw .malformed("expected PONG") }
            return .decision(isAllowed: true, source: .shared, trace: nil, reservation: nil)
        case .redis, .sluice:
            guard line.first == UInt8(ascii: ":") else { throw .malformed("expected a whole number") }
            let isAllowed = line.dropFirst().first != UInt8(ascii: "-")
            return .decision(isAllowed: isAllowed, source: .shared, trace: nil, reservation: nil)
        }
    }

    /// The next line without its CRLF; nil if it is not here in full.
    private mutating func readLine() throws(ReplyError) -> ByteBufferView? {
        let view = input.readableBytesView
        guard let end = view.firstIndex(of: UInt8(ascii: "\n")) else {
            guard view.count <= ProtocolBounds.maxReplyLineBytes else { throw .tooBig }
            return nil
        }
        input.moveReaderIndex(forwardBy: end - view.startIndex + 1)
        return view[view.startIndex..<max(view.startIndex, end - 1)]
    }

    /// The connection is gone: the questions that were never answered.
    mutating func takeOutstanding() -> CircularBuffer<Outstanding> {
        defer { outstanding.removeAll() }
        return outstanding
    }
}
