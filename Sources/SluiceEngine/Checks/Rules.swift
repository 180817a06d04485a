import SluicePolicy

/// What the policies say of a call: decided outright, or counted under these limits.
struct CallRuling: Hashable {
    /// nil if limits count it.
    var verdict: Decision.Verdict?
    /// What allowed or denied it.
    var rule: String
    /// For the agent, when denied.
    var message: String
    var limits: [Limit]

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

/// A ruling, ready to be applied: shared by all identities that it is for, so that a check of one among a million
/// touches little memory that no other check has touched.
struct Rules {
    struct LimitRule {
        /// Without the window, which is the counter's to know.
        var quota: Quota
        var isShadow: Bool
        var onOutage: Limit.OnOutage
        /// Of its decisions.
        var words: Decision.Words
        /// Of its decisions while the store is away and nothing is to be admitted.
        var wordsWhenUnavailable: Decision.Words
        /// In how many numbers the store tells its tally.
        var usageCount: Int

        init(_ limit: Limit) {
            quota = Quota(limit)
            isShadow = limit.mode == .shadow
            onOutage = limit.onOutage
            words = Decision.Words(
                rule: limit.rule, message: limit.denialMessage, tellsWait: limit.onDeny == nil && quota.capacity > 0)
            wordsWhenUnavailable = Decision.Words(
                rule: limit.rule, message: "The limit on this call cannot be checked right now.", tellsWait: true)
            usageCount = Batch.Charge(quota: quota, isShadow: isShadow, verifiesTimeToLive: false).usageCount
        }
    }

    let ruling: CallRuling
    let limits: [LimitRule]
    /// Of what is allowed where no limit has a say.
    let words: Decision.Words
    /// A check that costs more can never pass.
    let smallestMax: Int64
    /// Whether a limit admits nothing, and what is told of it need not be asked for: it is the same whatever is counted.
    let isBlocked: Bool
    /// Whether one of its limits counts the calls that are going on: each call then takes a slot of its own.
    let countsSlots: Bool
    /// Whether such a limit holds checks back: they must then reserve, so that the slot can be released.
    let mustReserve: Bool
    /// What its charges count as in a batch: see `EngineBounds.maxChargesPerBatch`.
    let chargeWeight: Int
    /// In how many numbers the store tells the tallies of all its limits.
    let usageCount: Int
    /// How many plans have them; 0 frees them.
    var references = 0
    /// What they take, with the ruling by which they are found.
    var bytes: Int {
        let texts = ruling.rule.utf8.count + ruling.message.utf8.count
        return HeldBytes.perRow(of: [CallRuling: Int32].self) + HeldBytes.apart(texts) + 2 * HeldBytes.perArray
            + limits.count * (MemoryLayout<Limit>.stride + MemoryLayout<LimitRule>.stride + HeldBytes.apart(256))
    }

    init(_ ruling: CallRuling) {
        self.ruling = ruling
        words = Decision.Words(rule: ruling.rule)
        let limits = ruling.limits.map { LimitRule($0) }
        self.limits = limits
        smallestMax = limits.reduce(Int64.max) { smallest, limit in
            if limit.isShadow || (limit.quota.algorithm == .concurrency && limit.quota.max > 0) { return smallest }
            return min(smallest, limit.quota.capacity)
        }
        let blocking = limits.filter { !$0.isShadow && $0.quota.capacity == 0 }
        isBlocked = !blocking.isEmpty && blocking.allSatisfy { $0.quota.tellsNothingOfUse }
        countsSlots = limits.contains { $0.quota.algorithm == .concurrency }
        mustReserve = limits.contains { $0.quota.algorithm == .concurrency && !$0.isShadow }
        chargeWeight = limits.reduce(0) { weight, limit in
            let isPlain = limit.quota.algorithm == .fixedWindow && !limit.isShadow
            if isPlain { return weight + 1 }
            // A log is gone through whole.
            let isLog = limit.quota.algorithm == .slidingLog
            let more = isLog ? limit.quota.max / EngineBounds.logUnitsPerUnusualWork : 0
            return weight + EngineBounds.chargesOfUnusualWork * Int(1 + more)
        }
        usageCount = limits.reduce(0) { $0 + $1.usageCount }
    }
}

extension CallRuling {
    /// What it comes to where no limit counts: a denial that no waiting changes, or no limit at all. nil where limits do.
    var decision: Decision? {
        guard let verdict else { return nil }
        var decision = Decision(verdict: verdict, source: .policy, rule: rule, message: message)
        if verdict != .allow { decision.retryAfterMs = -1 }
        return decision
    }
}

extension Quota {
    /// Whether an answer about it is the same whatever is used, given that nothing may be.
    fileprivate var tellsNothingOfUse: Bool {
        switch algorithm {
        case .fixedWindow: true
        case .tokenBucket: max == 0
        case .slidingWindow, .slidingLog, .concurrency: false
        }
    }

    /// Of a limit, without a window: see `at`.
    init(_ limit: Limit) {
        var burst: Int64 = 0
        var holdMs: Int64 = 0
        switch limit.algorithm {
        case .fixedWindow, .slidingWindow, .slidingLog: break
        case .tokenBucket(let size): burst = size
        case .concurrency(let ms): holdMs = ms
        }
        self.init(
            algorithm: Algorithm(limit.algorithm), max: limit.max, burst: burst, holdMs: holdMs,
            windowStartMs: Self.endless.lowerBound, windowEndMs: Self.endless.upperBound,
            lengthMs: limit.window.fixedLengthMs ?? 1)
    }

    /// The same for one window.
    func at(_ window: Counter.OpenWindow) -> Quota {
        var quota = self
        quota.windowStartMs = window.startMs
        quota.windowEndMs = window.endMs
        quota.nextEndMs = window.nextEndMs
        if algorithm.hasWindows { quota.lengthMs = window.endMs - window.startMs }
        quota.previousLengthMs = algorithm == .slidingWindow ? window.previousLengthMs : quota.lengthMs
        return quota
    }
}
