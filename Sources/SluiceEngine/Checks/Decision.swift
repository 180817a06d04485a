/// The answer to one check, with every fact that a gateway needs to tell its client.
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
        /// Served from a block that was charged up front.
        case lease
        /// A refusal that an earlier one proved.
        case cache
        /// The policy alone decided.
        case policy
    }

    /// One limit that was looked at.
    package struct LimitTrace: Sendable, Equatable {
        package var rule: String
        package var windowStartMs: Int64
        package var used: Int64
        package var max: Int64
        /// What may still be admitted, by whoever decided: the store, or this replica by its share. Below 0 where more is
        /// used than may be.
        package var left: Int64
        /// Whether it had room for the check.
        package var fits: Bool
        /// How long until it would have had, ms; 0 if it has, -1 if never.
        package var waitMs: Int64
        package var resetMs: Int64
        package var isShadow: Bool
        /// How many checks a shadow limit would have denied.
        package var denials: Int64
        /// What this replica admitted by itself while the store was away, and counts still.
        package var localUsed: Int64
    }

    /// What is told in words: one for all decisions by the same limit. Most decisions are copied several times on their way,
    /// and so cost one reference each time.
    final class Words: Sendable, Equatable {
        let rule: String
        let message: String
        /// Whether the message wants the waiting time added; never with a policy's own words.
        let tellsWait: Bool

        init(rule: String, message: String = "", tellsWait: Bool = false) {
            self.rule = rule
            self.message = message
            self.tellsWait = tellsWait
        }

        static func == (one: Words, other: Words) -> Bool {
            one === other
                || (one.rule == other.rule && one.message == other.message && one.tellsWait == other.tellsWait)
        }
    }

    /// What few checks ask for.
    private struct Extras: Sendable, Equatable {
        var trace: [LimitTrace]?
        var reservation: String?
    }

    package var verdict: Verdict
    package var source: Source
    /// The maximum of the binding limit; -1 if none applied.
    package var limit: Int64 = -1
    /// What is left of it after this check; -1 if none applied.
    package var remaining: Int64 = -1
    /// 0 if allowed; until the same check could pass; -1 if it never can.
    package var retryAfterMs: Int64 = 0
    /// Until the binding window resets; -1 if none.
    package var resetMs: Int64 = -1
    private let words: Words
    private var extras: CopyOnWriteBox<Extras>?

    package var allowed: Bool { verdict == .allow }

    /// What decided, as a path into the policy.
    package var rule: String { words.rule }
    /// For the agent, when denied; else empty.
    package var message: String { allowed ? "" : words.message }
    /// Whether the message wants the waiting time added.
    package var messageTellsWait: Bool { words.tellsWait && !allowed && retryAfterMs >= 0 }

    /// Only for a check that asked for it.
    package var trace: [LimitTrace]? {
        get { extras?.value.trace }
        set { setExtras(Extras(trace: newValue, reservation: reservation)) }
    }

    /// Only for a check that asked for one: the reservation's id, or nothing where it was denied.
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

    /// With every field at once: a value that is changed after it was made is copied when it is returned.
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
