package import SluicePolicy
import Synchronization

/// The answer to one check, with everything that a gateway needs to inform its client.
package struct Decision: Sendable, Equatable {
    package enum Verdict: UInt8, Sendable, CaseIterable {
        case allow, limit, deny, approve, unavailable
    }

    /// Where an answer comes from.
    package enum Source: UInt8, Sendable, CaseIterable {
        /// Counted in the store, for all replicas.
        case shared
        /// Counted in this replica alone.
        case local
        /// Served from a block that was charged in advance.
        case lease
        /// A denial that follows from an earlier one.
        case cache
        /// The policy alone decided.
        case policy
    }

    /// One limit that was evaluated.
    package struct LimitTrace: Sendable, Equatable {
        package var rule: String
        package var windowStartMs: Int64
        package var used: Int64
        package var max: Int64
        /// What may still be admitted, by the store or by this replica's share, whichever decided. Negative if the
        /// limit is exceeded.
        package var left: Int64
        /// Whether it had room for the check.
        package var fits: Bool
        /// How long until it has room, ms; 0 if it has, -1 if never.
        package var waitMs: Int64
        package var resetMs: Int64
        package var isShadow: Bool
        /// How many checks a shadow limit would have denied.
        package var denials: Int64
        /// Usage that this replica admitted by itself in an outage, and that still counts.
        package var localUsed: Int64
    }

    /// The texts of a decision, shared by all decisions of the same limit. Most decisions are copied several times,
    /// and each copy then costs one reference.
    final class Words: Sendable, Equatable {
        let rule: String
        let message: String
        private let offset = Atomic(-1)
        /// Whether the message says how long to wait.
        let addsWait: Bool
        /// The UTF-8 bytes of a policy's own message that the wait replaces; nil if it is appended.
        let waitRange: Range<Int>?

        /// Where the row of its rule begins in the `RuleFigures` of the limiter that made it; -1 until it first decides.
        /// Only that limiter reads and sets it.
        var figuresOffset: Int {
            get { offset.load(ordering: .relaxed) }
            set { offset.store(newValue, ordering: .relaxed) }
        }
        /// The limit that decided; nil if none did.
        let limit: Limit?

        init(rule: String, message: String = "", addsWait: Bool = false, limit: Limit? = nil) {
            self.rule = rule
            self.message = message
            self.addsWait = addsWait
            self.limit = limit
            waitRange = Limit.waitRange(in: message)
        }

        /// The message where there is no wait: the call can never pass.
        var messageWithoutWait: String {
            guard let waitRange else { return message }
            let begin = message.utf8.index(message.utf8.startIndex, offsetBy: waitRange.lowerBound)
            let end = message.utf8.index(begin, offsetBy: waitRange.count)
            return String(message[..<begin]) + "never" + String(message[end...])
        }

        static func == (one: Words, other: Words) -> Bool {
            one === other
                || (one.rule == other.rule && one.message == other.message && one.addsWait == other.addsWait)
        }
    }

    /// Fields that few checks ask for.
    private struct Extras: Sendable, Equatable {
        var trace: [LimitTrace]?
        var reservation: String?
    }

    package var verdict: Verdict
    package var source: Source
    /// The maximum of the binding limit; -1 if no limit applied.
    package var limit: Int64 = -1
    /// What is left of it after this check; -1 if no limit applied.
    package var remaining: Int64 = -1
    /// 0 if allowed; else how long until the same check could pass, ms; -1 if it never can.
    package var retryAfterMs: Int64 = 0
    /// How long until the binding window resets, ms; -1 if none.
    package var resetMs: Int64 = -1
    let words: Words
    private var extras: CopyOnWriteBox<Extras>?

    package var allowed: Bool { verdict == .allow }

    /// The path in the policy of the rule that decided.
    package var rule: String { words.rule }
    /// The limit that `limit`, `remaining` and `resetMs` are about; nil if none applied.
    package var bindingLimit: Limit? { words.limit }
    /// The message for the agent, if denied; else empty.
    package var message: String {
        if allowed { return "" }
        return words.waitRange == nil || messageHasWait ? words.message : words.messageWithoutWait
    }
    /// Whether the message says how long to wait.
    package var messageHasWait: Bool { words.addsWait && !allowed && retryAfterMs >= 0 }
    /// The UTF-8 bytes of the message that the wait replaces; nil if it is appended.
    package var messageWaitRange: Range<Int>? { words.waitRange }

    /// Only for a check that asked for a trace.
    package var trace: [LimitTrace]? {
        get { extras?.value.trace }
        set { setExtras(Extras(trace: newValue, reservation: reservation)) }
    }

    /// Only for a check that asked to reserve: the reservation's id, or empty if it was denied.
    package var reservation: String? {
        get { extras?.value.reservation }
        set { setExtras(Extras(trace: trace, reservation: newValue)) }
    }

    private mutating func setExtras(_ new: Extras) { extras = new == Extras() ? nil : CopyOnWriteBox(new) }

    package init(verdict: Verdict, source: Source, rule: String, message: String = "") {
        self.init(verdict: verdict, source: source, words: Words(rule: rule, message: message))
    }

    init(verdict: Verdict, source: Source, words: Words) {
        self.verdict = verdict
        self.source = source
        self.words = words
    }

    /// Sets every field at once: a value that is changed after it was made is copied when it is returned.
    init(
        verdict: Verdict, source: Source, limit: Int64, remaining: Int64, retryAfterMs: Int64, resetMs: Int64,
        words: Words, trace: [LimitTrace]?
    ) {
        self.verdict = verdict
        self.source = source
        self.limit = limit
        self.remaining = remaining
        self.retryAfterMs = retryAfterMs
        self.resetMs = resetMs
        self.words = words
        extras = trace.map { CopyOnWriteBox(Extras(trace: $0)) }
    }
}

extension CopyOnWriteBox: Equatable where Value: Equatable {
    static func == (one: Self, other: Self) -> Bool { one.value == other.value }
}
