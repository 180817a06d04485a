import NIOCore
import SluiceProtocol

/// The bytes of one connection in both directions, and the checks that wait for their answers, which come in the same
/// order.
///
/// A value, so that a read or a refill touches the connection's storage once, not once a check.
struct Exchange {
    /// A check that waits for its answer.
    struct Outstanding {
        var target: CheckTarget
        /// When it was sent; in an open loop, when it should have been. Latency counts from here.
        var intendedNs: Int64
        var sentNs: Int64
    }

    /// A check that was answered.
    struct Answered {
        enum Answer {
            case decision(isAllowed: Bool, source: ReplySource, trace: [TraceEntry]?)
            /// An error reply: its code word and sentence.
            case error(String)
            /// Not a reply of Sluice: what was expected. Nothing behind it means anything.
            case garbage(String)
        }

        /// nil where nothing was asked, as when a sidecar has too many connections.
        var check: Outstanding?
        var answer: Answer
    }

    private var input = ByteBuffer()
    private(set) var outstanding = CircularBuffer<Outstanding>(initialCapacity: 64)

    // MARK: - Sending

    mutating func send(_ target: CheckTarget, _ frames: CheckFrames, intendedNs: Int64, nowNs: Int64) {
        frames.write(target, to: &output)
        outstanding.append(Outstanding(target: target, intendedNs: intendedNs, sentNs: nowNs))
    }

    /// Sends until `count` checks are outstanding.
    mutating func fill(to count: Int, from workload: inout Workload, _ frames: CheckFrames, nowNs: Int64) {
        while outstanding.count < count {
            send(workload.next(), frames, intendedNs: nowNs, nowNs: nowNs)
        }
    }

    /// What is to go out.
    private(set) var output = ByteBuffer()

    /// It went out.
    mutating func clearOutput() { output.clear() }

    // MARK: - Reading

    /// Takes in what arrived, and appends the checks that it answers.
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
        switch try DecisionReply.read(input) {
        case .incomplete:
            return nil
        case .decision(let decision):
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            input.moveReaderIndex(forwardBy: decision.byteCount)
            return Answered(
                check: check,
                answer: .decision(isAllowed: decision.allowed, source: decision.source, trace: decision.trace))
        case .error(let text, let byteCount):
            let sentence = input.getString(at: input.readerIndex + text.lowerBound, length: text.count) ?? ""
            input.moveReaderIndex(forwardBy: byteCount)
            return Answered(check: outstanding.popFirst(), answer: .error(sentence))
        }
    }

    /// The connection is gone: the checks that were never answered.
    mutating func takeOutstanding() -> CircularBuffer<Outstanding> {
        defer { outstanding.removeAll() }
        return outstanding
    }
}
