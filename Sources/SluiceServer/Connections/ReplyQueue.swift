import DequeModule
import NIOCore
import SluiceEngine
import SluiceProtocol

/// The replies of one connection that cannot be sent yet because an earlier one is missing: replies are sent in the
/// order of requests. A value-type state machine; the handler moves the bytes.
struct ReplyQueue {
    /// The form of a decision's reply.
    enum Form {
        case check
        case throttle(ThrottleForm)
        /// Indirect: it is rare, and every waiting reply takes the room of the largest form.
        indirect case explanation(of: ExplainedCheck)

        /// The bytes that are stored outside it, its names included.
        @inline(__always)
        var boxedBytes: Int { if case .explanation = self { 1_024 } else { 0 } }
    }

    private enum Slot {
        /// Its check waits for the store.
        case waiting(ReplyWriter, Form)
        /// Indirect, like written replies: a reply seldom comes before the one ahead of it, and this keeps slots small.
        indirect case decided(Decision, ReplyWriter, Form)
        indirect case written(ByteBuffer)

        /// The bytes that are stored outside the slot.
        var boxedBytes: Int {
            switch self {
            case .waiting(_, let form): form.boxedBytes
            case .decided(let decision, _, _):
                MemoryLayout<Decision>.size + 64 + (decision.trace?.capacity ?? 0)
                    * MemoryLayout<Decision.LimitTrace>.stride
            case .written(let bytes): bytes.storageCapacity + 64
            }
        }
    }

    private var slots: Deque<Slot> = []
    /// The number of the first slot.
    private var firstNumber: UInt32 = 0

    /// Bytes stored outside the slots: mostly replies that are ready.
    private(set) var boxedBytes = 0

    var count: Int { slots.count }
    /// Its memory, bytes.
    var bytes: Int { slots.count * MemoryLayout<Slot>.stride + boxedBytes }
    var isEmpty: Bool { slots.isEmpty }

    /// The number that the next reserved place will have.
    var nextNumber: UInt32 { firstNumber &+ UInt32(slots.count) }

    /// Reserves a place for a later reply; `nextNumber`, read before, identifies it in `fill`.
    mutating func reserve(_ writer: ReplyWriter, _ form: Form = .check) {
        boxedBytes += form.boxedBytes
        slots.append(.waiting(writer, form))
    }

    /// Adds an immediate decision: written at once if no reply is before it.
    mutating func append(
        _ decision: Decision, _ writer: ReplyWriter, _ form: Form = .check, to output: inout ByteBuffer
    ) {
        if slots.isEmpty {
            writer.write(decision, form, to: &output)
        } else {
            append(.decided(decision, writer, form))
        }
    }

    private mutating func append(_ slot: Slot) {
        boxedBytes += slot.boxedBytes
        slots.append(slot)
    }

    /// Adds any other immediate reply. - Returns: its length in bytes.
    @discardableResult
    mutating func append(to output: inout ByteBuffer, write: (inout ByteBuffer) -> Void) -> Int {
        if slots.isEmpty {
            let before = output.readableBytes
            write(&output)
            return output.readableBytes - before
        }
        var written = ByteBuffer()
        write(&written)
        append(.written(written))
        return written.readableBytes
    }

    /// Fills a reserved place with its decision, and writes every reply that can be sent now.
    mutating func fill(_ number: UInt32, with decision: Decision, to output: inout ByteBuffer) {
        let index = Int(number &- firstNumber)
        guard index == 0 else {
            guard case .waiting(let writer, let form) = slots[index] else {
                preconditionFailure("a place is filled once")
            }
            replace(index, by: .decided(decision, writer, form))
            return
        }
        let slot = slots.removeFirst()
        guard case .waiting(let writer, let form) = slot else { preconditionFailure("a place is filled once") }
        boxedBytes -= form.boxedBytes
        firstNumber &+= 1
        writer.write(decision, form, to: &output)
        release(to: &output)
    }

    /// The same for another kind of reply.
    mutating func fill(_ number: UInt32, to output: inout ByteBuffer, write: (ReplyWriter, inout ByteBuffer) -> Void) {
        let index = Int(number &- firstNumber)
        guard case .waiting(let writer, _) = slots[index] else { preconditionFailure("a place is filled once") }
        var written = ByteBuffer()
        write(writer, &written)
        replace(index, by: .written(written))
        release(to: &output)
    }

    private mutating func release(to output: inout ByteBuffer) {
        while let first = slots.first {
            switch first {
            case .waiting: return
            case .decided(let decision, let writer, let form): writer.write(decision, form, to: &output)
            case .written(var bytes): output.writeBuffer(&bytes)
            }
            boxedBytes -= first.boxedBytes
            slots.removeFirst()
            firstNumber &+= 1
        }
    }

    private mutating func replace(_ index: Int, by slot: Slot) {
        boxedBytes += slot.boxedBytes - slots[index].boxedBytes
        slots[index] = slot
    }
}

/// How the answer to `CL.THROTTLE` differs from the underlying decision.
enum ThrottleForm {
    case plain
    /// A quantity of 0 only peeks, and is never limited.
    case look
    /// A quantity beyond the bucket's capacity: it was peeked at, and can never pass.
    case never
}

extension ReplyWriter {
    fileprivate func write(_ decision: Decision, _ form: ReplyQueue.Form, to output: inout ByteBuffer) {
        switch form {
        case .check: writeDecision(decision, to: &output)
        case .throttle(let form): write(decision, form, to: &output)
        case .explanation(let check): check.write(decision, self, to: &output)
        }
    }

    /// In redis-cell's form: whether it is limited, the limit, what remains, and in seconds, rounded up, when to retry
    /// (-1: now, or never) and when all is available again.
    private func write(_ decision: Decision, _ form: ThrottleForm, to output: inout ByteBuffer) {
        func seconds(_ ms: Int64) -> Int64 { ms < 0 ? -1 : ms / 1000 + (ms % 1000 > 0 ? 1 : 0) }
        let isLimited = form == .never || (form == .plain && !decision.allowed)
        let retryAfterMs = form == .plain && isLimited ? decision.retryAfterMs : -1
        writeArrayHeader(5, to: &output)
        for number in [
            isLimited ? 1 : 0, decision.limit, decision.remaining, seconds(retryAfterMs), seconds(decision.resetMs),
        ] {
            writeInteger(number, to: &output)
        }
    }

    /// Writes the engine's decision in the protocol's terms.
    func writeDecision(_ decision: Decision, to output: inout ByteBuffer) {
        writeDecision(
            allowed: decision.allowed, limit: decision.limit, remaining: decision.remaining,
            retryAfterMs: decision.retryAfterMs, resetMs: decision.resetMs, verdict: ReplyVerdict(decision.verdict),
            rule: decision.rule, source: ReplySource(decision.source), message: decision.message,
            waitMs: decision.messageHasWait ? decision.retryAfterMs : nil, waitRange: decision.messageWaitRange,
            reservation: decision.reservation,
            trace: decision.trace?.map {
                TraceEntry(rule: $0.rule, windowStartMs: $0.windowStartMs, used: $0.used, max: $0.max)
            },
            to: &output)
    }
}

extension ReplyVerdict {
    init(_ verdict: Decision.Verdict) {
        self =
            switch verdict {
            case .allow: .allow
            case .limit: .limit
            case .deny: .deny
            case .approve: .approve
            case .unavailable: .unavailable
            }
    }
}

extension ReplySource {
    init(_ source: Decision.Source) {
        self =
            switch source {
            case .shared: .shared
            case .local: .local
            case .lease: .lease
            case .cache: .cache
            case .policy: .policy
            }
    }
}
