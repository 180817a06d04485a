import DequeModule
import NIOCore
import SluiceEngine
import SluiceProtocol

/// The replies of one connection that cannot go out yet, because one before them is not there: replies come in the order
/// of requests. A value-type state machine; the handler moves the bytes.
struct ReplyQueue {
    private enum Slot {
        /// Its check waits for the store.
        case waiting(ReplyWriter)
        case decided(Decision, ReplyWriter)
        case written(ByteBuffer)
    }

    private var slots: Deque<Slot> = []
    /// The number of the first slot.
    private var firstNumber: UInt32 = 0

    var count: Int { slots.count }
    var isEmpty: Bool { slots.isEmpty }

    /// The number that the next place to be reserved will have.
    var nextNumber: UInt32 { firstNumber &+ UInt32(slots.count) }

    /// Keeps a place for a reply that comes later; `nextNumber`, read before, names it in `fill`.
    mutating func reserve(_ writer: ReplyWriter) {
        slots.append(.waiting(writer))
    }

    /// A decision that is there at once: straight out if nothing is before it.
    mutating func append(_ decision: Decision, _ writer: ReplyWriter, to output: inout ByteBuffer) {
        if slots.isEmpty {
            writer.writeDecision(decision, to: &output)
        } else {
            slots.append(.decided(decision, writer))
        }
    }

    /// Any other reply that is there at once.
    mutating func append(to output: inout ByteBuffer, write: (inout ByteBuffer) -> Void) {
        if slots.isEmpty {
            write(&output)
        } else {
            var written = ByteBuffer()
            write(&written)
            slots.append(.written(written))
        }
    }

    /// The decision of a reserved place has come; whatever can go out now is written.
    mutating func fill(_ number: UInt32, with decision: Decision, to output: inout ByteBuffer) {
        let index = Int(number &- firstNumber)
        guard case .waiting(let writer) = slots[index] else { preconditionFailure("a place is filled once") }
        if index == 0 {
            slots.removeFirst()
            firstNumber &+= 1
            writer.writeDecision(decision, to: &output)
            release(to: &output)
        } else {
            slots[index] = .decided(decision, writer)
        }
    }

    /// The same for a reply of another kind.
    mutating func fill(_ number: UInt32, to output: inout ByteBuffer, write: (ReplyWriter, inout ByteBuffer) -> Void) {
        let index = Int(number &- firstNumber)
        guard case .waiting(let writer) = slots[index] else { preconditionFailure("a place is filled once") }
        var written = ByteBuffer()
        write(writer, &written)
        slots[index] = .written(written)
        release(to: &output)
    }

    private mutating func release(to output: inout ByteBuffer) {
        while let first = slots.first {
            switch first {
            case .waiting: return
            case .decided(let decision, let writer): writer.writeDecision(decision, to: &output)
            case .written(var bytes): output.writeBuffer(&bytes)
            }
            slots.removeFirst()
            firstNumber &+= 1
        }
    }
}

extension ReplyWriter {
    /// The engine's decision in the protocol's words.
    func writeDecision(_ decision: Decision, to output: inout ByteBuffer) {
        writeDecision(
            allowed: decision.allowed, limit: decision.limit, remaining: decision.remaining,
            retryAfterMs: decision.retryAfterMs, resetMs: decision.resetMs, verdict: ReplyVerdict(decision.verdict),
            rule: decision.rule, source: ReplySource(decision.source), message: decision.message,
            waitMs: decision.messageTellsWait ? decision.retryAfterMs : nil,
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
