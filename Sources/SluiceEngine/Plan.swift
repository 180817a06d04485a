import SluicePolicy

/// What the policy makes of one identity: decided outright, or counted under these limits.
struct Plan {
    struct LimitRef {
        var counter: Int
        /// Without the window, which is the counter's to know.
        var terms: Terms
        var isShadow: Bool
        var onOutage: Limit.OnOutage
        var rule: String
        var message: String
        var messageTellsWait: Bool

        init(_ limit: Limit, counter: Int) {
            self.counter = counter
            terms = Terms(limit)
            isShadow = limit.mode == .shadow
            onOutage = limit.onOutage
            rule = limit.rule
            message = limit.denialMessage
            messageTellsWait = limit.onDeny == nil && terms.capacity > 0
        }

        /// In how many numbers the store tells its tally.
        var tallyCount: Int { Batch.Charge(terms: terms, isShadow: isShadow, verifiesTimeToLive: false).tallyCount }
    }

    var identity: ByteString
    /// The policy alone decides; then there are no limits.
    var ruled: Decision?
    var limits: [LimitRef]
    /// What allowed it, where no limit has a say.
    var rule: String
    /// A check that costs more can never pass.
    var smallestMax: Int64
    /// Whether one of its limits counts the calls that are going on: each call then takes a slot of its own.
    var countsSlots: Bool
    /// Whether such a limit holds checks back: they must then reserve, so that the slot can be released.
    var mustReserve: Bool
    /// What its charges count as in a batch: see `EngineBounds.maxChargesPerBatch`.
    var chargeWeight: Int
    /// In how many numbers the store tells the tallies of all its limits.
    var tallyCount: Int
    var lastUsedNs: Int64
    /// Until then a check may be refused by what its counters are known to hold: see `Limiter.refuseAgain`.
    var refusedUntilNs = Int64.min
    /// How many entries of pending batches name this plan: it must not be forgotten before they are done.
    var pins = 0
    /// Its first entry in the batch of that id.
    var batchID: Int64 = -1
    var firstEntry = -1
    /// Whether the store could not charge one of its counters when it was last asked.
    var isFaulty = false
    var isFree = false
    /// Which policies it was made by: see `PlanTable.outdate`.
    var edition = 0
    /// Another plan has its identity now; it goes when no batch names it any more.
    var isReplaced = false

    init(
        identity: ByteString, ruled: Decision?, limits: [LimitRef], rule: String, lastUsedNs: Int64, edition: Int = 0
    ) {
        self.identity = identity
        self.ruled = ruled
        self.limits = limits
        self.rule = rule
        self.lastUsedNs = lastUsedNs
        self.edition = edition
        smallestMax = limits.reduce(Int64.max) { smallest, limit in
            if limit.isShadow || (limit.terms.algorithm == .concurrency && limit.terms.max > 0) { return smallest }
            return min(smallest, limit.terms.capacity)
        }
        countsSlots = limits.contains { $0.terms.algorithm == .concurrency }
        chargeWeight = limits.reduce(0) { weight, limit in
            let isPlain = limit.terms.algorithm == .fixedWindow && !limit.isShadow
            return weight + (isPlain ? 1 : EngineBounds.chargesOfUnusualWork)
        }
        tallyCount = limits.reduce(0) { $0 + $1.tallyCount }
        mustReserve = limits.contains { $0.terms.algorithm == .concurrency && !$0.isShadow }
    }

    /// The place of one that was forgotten.
    static var free: Plan {
        var plan = Plan(identity: ByteString(bytes: []), ruled: nil, limits: [], rule: "", lastUsedNs: 0)
        plan.isFree = true
        return plan
    }
}

extension Terms {
    /// Of a limit, without a window: see `at`.
    init(_ limit: Limit) {
        var burst: Int64 = 0
        var holdMs: Int64 = 0
        switch limit.algorithm {
        case .fixedWindow, .slidingWindow: break
        case .tokenBucket(let size): burst = size
        case .concurrency(let ms): holdMs = ms
        }
        self.init(
            algorithm: Algorithm(limit.algorithm), max: limit.max, burst: burst, holdMs: holdMs,
            windowStartMs: Self.endless.lowerBound, windowEndMs: Self.endless.upperBound,
            lengthMs: limit.window.fixedLengthMs ?? 1)
    }

    /// The same for one window.
    func at(_ window: Counter.OpenWindow) -> Terms {
        var terms = self
        terms.windowStartMs = window.startMs
        terms.windowEndMs = window.endMs
        terms.nextEndMs = window.nextEndMs
        if algorithm.hasWindows { terms.lengthMs = window.endMs - window.startMs }
        return terms
    }
}
