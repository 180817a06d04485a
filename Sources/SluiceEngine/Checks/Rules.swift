import SluicePolicy

/// The ruling of the policies on a call: decided outright, or counted under these limits.
struct CallRuling: Hashable {
    /// nil if limits count it.
    var verdict: Decision.Verdict?
    /// The rule that allowed or denied it.
    var rule: String
    /// The message for the agent, when denied.
    var message: String
    var limits: [Limit]
    /// For how long it holds, ms since the epoch.
    var validMs = always
    /// Whether the call is denied only until then.
    var opensLater = false

    static let always = Int64.min..<Int64.max

    /// Whether it depends on the time.
    var isTimed: Bool { validMs != Self.always }

    init(_ verdict: Decision.Verdict, rule: String, message: String = "") {
        self.verdict = verdict
        self.rule = rule
        self.message = message
        limits = []
    }

    init(rule: String, limits: [Limit]) {
        verdict = limits.isEmpty ? .allow : nil
        self.rule = rule
        message = ""
        self.limits = limits
    }
}

/// A ruling, prepared for use and shared by all identities that have it, so that a check of one among a million
/// touches little memory that no other check touches.
struct Rules {
    struct LimitRule {
        /// Without the window, which the counter has.
        var quota: Quota
        var isShadow: Bool
        var onOutage: Limit.OnOutage
        /// Whether its counter is charged in blocks.
        var isLeased: Bool
        /// The texts of its decisions.
        var words: Decision.Words
        /// The texts of its decisions in an outage when nothing may be admitted.
        var wordsWhenUnavailable: Decision.Words
        /// How many numbers report its usage in the store's reply.
        var usageCount: Int

        init(_ limit: Limit) {
            quota = Quota(limit)
            isShadow = limit.mode == .shadow
            onOutage = limit.onOutage
            isLeased = limit.precision == .leased && limit.algorithm == .fixedWindow && limit.mode == .enforce
            words = Decision.Words(
                rule: limit.rule, message: limit.denialMessage, addsWait: quota.capacity > 0, limit: limit)
            wordsWhenUnavailable = Decision.Words(
                rule: limit.rule, message: "The limit on this call cannot be checked right now.", addsWait: true,
                limit: limit)
            usageCount = Batch.Charge(quota: quota, isShadow: isShadow, verifiesTimeToLive: false).usageCount
        }
    }

    let ruling: CallRuling
    /// Whether the ruling holds for a time only.
    let isTimed: Bool
    let limits: [LimitRule]
    /// The texts of an admission to which no limit applies.
    let words: Decision.Words
    /// A check that costs more than this can never pass.
    let smallestMax: Int64
    /// Whether a limit admits nothing, so that its denial is the same whatever the usage and the store need not be
    /// asked.
    let isBlocked: Bool
    /// Whether a limit counts calls in progress: each call then takes a slot.
    let countsSlots: Bool
    /// Whether such a limit can deny checks: they must then reserve, so that the slot can be released.
    let mustReserve: Bool
    /// Whether every limit is counted in blocks, so that a check can be answered from them.
    let isLeased: Bool
    /// Whether any is.
    let hasLeasedLimit: Bool
    /// Whether a limit counts costs, which can be charged or given back afterwards.
    let countsCost: Bool
    /// The weight of its charges in a batch: see `EngineBounds.maxChargesPerBatch`.
    let chargeWeight: Int
    /// How many numbers report the usage of all its limits.
    let usageCount: Int
    /// How many plans have them; 0 frees them.
    var references = 0
    /// Bytes held, with the ruling that is its key.
    var bytes: Int {
        let texts = ruling.rule.utf8.count + ruling.message.utf8.count
        return HeldBytes.perRow(of: [CallRuling: Int32].self) + HeldBytes.array(texts) + 2 * HeldBytes.perArray
            + limits.count * (MemoryLayout<Limit>.stride + MemoryLayout<LimitRule>.stride + HeldBytes.array(256))
    }

    init(_ ruling: CallRuling) {
        self.ruling = ruling
        isTimed = ruling.isTimed
        words = Decision.Words(rule: ruling.rule)
        let limits = ruling.limits.map { LimitRule($0) }
        self.limits = limits
        smallestMax = limits.reduce(Int64.max) { smallest, limit in
            if limit.isShadow || (limit.quota.countsCalls && limit.quota.max > 0) { return smallest }
            return min(smallest, limit.quota.capacity)
        }
        let blocking = limits.filter { !$0.isShadow && $0.quota.capacity == 0 }
        isBlocked = !blocking.isEmpty && blocking.allSatisfy { $0.quota.ignoresUsage }
        countsSlots = limits.contains { $0.quota.algorithm == .concurrency }
        mustReserve = limits.contains { $0.quota.algorithm == .concurrency && !$0.isShadow }
        isLeased = !limits.isEmpty && limits.allSatisfy(\.isLeased)
        hasLeasedLimit = limits.contains(where: \.isLeased)
        countsCost = limits.contains { !$0.quota.countsCalls }
        chargeWeight = limits.reduce(0) { weight, limit in
            let isPlain = limit.quota.algorithm == .fixedWindow && !limit.isShadow
            if isPlain { return weight + 1 }
            // A log is read whole.
            let isLog = limit.quota.algorithm == .slidingLog
            let more = isLog ? limit.quota.max / EngineBounds.logUnitsPerUnusualWork : 0
            return weight + EngineBounds.chargesOfUnusualWork * Int(1 + more)
        }
        usageCount = limits.reduce(0) { $0 + $1.usageCount }
    }
}

extension CallRuling {
    /// The decision if no limit counts: a denial that no waiting changes, or that ends when its hours begin, or an
    /// admission without limits. nil if limits count.
    func decision(atMs nowMs: Int64) -> Decision? {
        guard let verdict else { return nil }
        let waitMs = opensLater && validMs.upperBound != .max ? max(1, validMs.upperBound - nowMs) : -1
        var decision = Decision(
            verdict: verdict, source: .policy,
            words: Decision.Words(rule: rule, message: message, addsWait: opensLater && waitMs > 0))
        if verdict != .allow { decision.retryAfterMs = waitMs }
        return decision
    }
}

extension Quota {
    /// The quota of a limit, without a window: see `at`.
    init(_ limit: Limit) {
        self.init(
            algorithm: limit.algorithm, max: limit.max, burst: limit.burst ?? 0, holdMs: limit.holdMs ?? 0,
            windowStartMs: Self.endless.lowerBound, windowEndMs: Self.endless.upperBound,
            lengthMs: limit.window.fixedLengthMs ?? 1, countsCalls: limit.counts == .calls,
            hasUnevenWindows: limit.window.fixedLengthMs == nil)
    }
}
