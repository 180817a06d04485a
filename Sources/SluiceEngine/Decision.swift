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
    package struct Look: Sendable, Equatable {
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
        package var refusals: Int64
        /// What this replica admitted by itself while the store was away, and counts still.
        package var localUsed: Int64
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
    /// What decided, as a path into the policy.
    package var rule: String
    /// For the agent, when denied; else empty.
    package var message: String = ""
    /// Whether the message wants the waiting time added; never with a policy's own words.
    package var messageTellsWait = false
    /// Only for a check that asked for it.
    package var trace: [Look]?
    /// Only for a check that asked for one: the reservation's id, or nothing where it was denied.
    package var reservation: String?

    package var allowed: Bool { verdict == .allow }

    package init(verdict: Verdict, source: Source, rule: String, message: String = "") {
        self.verdict = verdict
        self.source = source
        self.rule = rule
        self.message = message
    }

    /// With every field at once: a value that is changed after it was made is copied when it is returned.
    init(
        verdict: Verdict, source: Source, limit: Int64, remaining: Int64, retryAfterMs: Int64, resetMs: Int64,
        rule: String, message: String, messageTellsWait: Bool, trace: [Look]?
    ) {
        self.verdict = verdict
        self.source = source
        self.limit = limit
        self.remaining = remaining
        self.retryAfterMs = retryAfterMs
        self.resetMs = resetMs
        self.rule = rule
        self.message = message
        self.messageTellsWait = messageTellsWait
        self.trace = trace
    }
}
