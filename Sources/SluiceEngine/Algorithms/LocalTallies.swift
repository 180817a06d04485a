/// What is counted of one window, fixed or sliding.
struct WindowTally {
    /// The highest usage that the store reported, with what turned out to have been charged since.
    var sharedUsed: Int64 = 0
    /// Admitted locally in it, and not known to be in the store's usage.
    var own: Int64 = 0
    /// The share is a part of what this left of the maximum: `sharedUsed`, as it was when the outage began.
    private(set) var shareBase: Int64 = 0
    /// How much of the share is spent, whether or not the store has it by now. What others spend of theirs is not in it, so
    /// that a store which comes and goes does not hand out the share again.
    private(set) var taken: Int64 = 0
    /// This replica's share of a fixed window; -1 until the first check asks for it.
    private(set) var localShare: Int64 = -1
    /// The maximum of which that is the share.
    private var shareMax: Int64 = -1

    init() {}

    /// What an earlier process knew.
    init(used: Int64, own: Int64) {
        sharedUsed = used
        self.own = own
    }

    /// The share that an earlier process began is not begun again.
    mutating func goOn(withShareOf base: Int64, taken: Int64) {
        shareBase = base
        self.taken = taken
    }

    mutating func observe(used: Int64) { sharedUsed = used }

    /// An outage begins for this window: from here on a share of what is left is spent.
    mutating func beginShare() {
        shareBase = sharedUsed
        taken = own
        localShare = -1
    }

    /// The store turned out to have charged what was admitted here. It stays taken from the share.
    mutating func resolve(_ amount: Int64) {
        sharedUsed = Self.sum(sharedUsed, settle(amount))
    }

    mutating func admit(_ cost: Int64) {
        own = Self.sum(own, cost)
        take(cost)
    }

    /// The store has it.
    /// - Returns: how much of it was still counted here.
    @discardableResult
    mutating func settle(_ amount: Int64) -> Int64 {
        let settled = min(own, amount)
        own -= settled
        return settled
    }

    /// Spends some of the share, or gives some of it back.
    mutating func take(_ amount: Int64) { taken = max(0, Self.sum(taken, amount)) }

    /// Changes what was admitted here.
    mutating func adjust(by amount: Int64) {
        let before = own
        own = max(0, Self.sum(own, amount))
        take(own - before)
    }

    /// All that is known to count.
    var used: Int64 { Self.sum(sharedUsed, own) }

    var isTouched: Bool { own > 0 || taken > 0 }

    /// Where a limit passes every check, or a commit charges what it likes, there is no maximum that bounds a tally.
    fileprivate static func sum(_ one: Int64, _ other: Int64) -> Int64 { min(Terms.maxExact, one + other) }

    // MARK: Fixed windows

    /// Whether this replica's share is known, of the limit's present maximum.
    func hasShare(_ terms: Terms) -> Bool { localShare >= 0 && shareMax == terms.max }

    mutating func setShare(_ terms: Terms, _ share: Int64) {
        localShare = share
        shareMax = terms.max
    }

    /// What is left of the share. Beyond what the store has left nothing is admitted, whatever the share.
    var left: Int64 { localShare - taken }

    // MARK: Sliding windows

    /// The share grows while the window before moves out of reach; what was admitted here is taken from it alone.
    func left(
        _ terms: Terms, _ before: WindowBefore, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        let shared = terms.max - shareBase - terms.reach(of: before.shareBase, nowMs: nowMs)
        let share = replicas.share(of: shared, counterHash: hash)
        return min(
            share - taken - terms.reach(of: before.taken, nowMs: nowMs),
            max(0, terms.max - used - terms.reach(of: before.used, nowMs: nowMs)))
    }

    func retryAfterMs(
        _ terms: Terms, _ before: WindowBefore, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        var tally = self
        var before = before
        var terms = terms
        for _ in 0..<2 {
            // The share grows while time passes: the first time at which it suffices is found by halving.
            var low = max(nowMs, terms.windowStartMs)
            var high = terms.windowEndMs - 1
            if tally.left(terms, before, replicas: replicas, hash: hash, nowMs: high) >= cost {
                while low < high {
                    let middle = low + (high - low) / 2
                    if tally.left(terms, before, replicas: replicas, hash: hash, nowMs: middle) >= cost {
                        high = middle
                    } else {
                        low = middle + 1
                    }
                }
                return max(1, low - nowMs)
            }
            before = WindowBefore(tally, inDoubt: 0)
            tally = WindowTally()
            terms.windowStartMs = terms.windowEndMs
            terms.windowEndMs = terms.nextEndMs
            terms.previousLengthMs = terms.lengthMs
            terms.lengthMs = terms.windowEndMs - terms.windowStartMs
            terms.nextEndMs += terms.lengthMs
        }
        // More than this replica's share: not before the store is back, or both windows are over.
        return max(1, terms.windowEndMs - terms.lengthMs - nowMs)
    }
}

/// What is counted of the window before a sliding one, into which it reaches.
struct WindowBefore {
    /// As `WindowTally` has them.
    var sharedUsed: Int64 = 0
    var own = Unsettled()
    private(set) var shareBase: Int64 = 0
    private(set) var taken: Int64 = 0

    init() {}

    /// A window that was open.
    ///
    /// - Parameter inDoubt: of what was admitted locally in it.
    init(_ tally: WindowTally, inDoubt: Int64) {
        sharedUsed = tally.sharedUsed
        own = Unsettled(used: tally.own, inDoubt: inDoubt)
        shareBase = tally.shareBase
        taken = tally.taken
    }

    init(used: Int64, own: Int64) {
        sharedUsed = used
        self.own.used = own
    }

    mutating func goOn(withShareOf base: Int64, taken: Int64) {
        shareBase = base
        self.taken = taken
    }

    mutating func beginShare() {
        shareBase = sharedUsed
        taken = own.used
    }

    mutating func take(_ amount: Int64) { taken = max(0, WindowTally.sum(taken, amount)) }

    mutating func adjust(by amount: Int64) {
        let before = own.used
        own.adjust(by: amount)
        take(own.used - before)
    }

    var used: Int64 { WindowTally.sum(sharedUsed, own.used) }

    var isTouched: Bool { used > 0 }
}

/// What was admitted here in one window and the store is still to be told.
struct Unsettled {
    var used: Int64 = 0
    /// What of that must not be told now: a batch that is on its way may have charged it, or a reservation may yet give
    /// it back.
    var inDoubt: Int64 = 0

    /// What the store can be told now.
    var owed: Int64 { max(0, used - inDoubt) }

    /// Gives back some of it, or charges more.
    mutating func adjust(by amount: Int64) { used = max(0, min(Terms.maxExact, used + amount)) }

    /// The store has it.
    /// - Returns: how much of it was still counted here.
    @discardableResult
    mutating func settle(_ amount: Int64) -> Int64 {
        let settled = min(used, amount)
        used -= settled
        return settled
    }

    mutating func doubt(_ amount: Int64) { inDoubt = max(0, min(Terms.maxExact, inDoubt + amount)) }
}

/// What is counted of a token bucket. While the store is away this replica has a bucket of its own, which holds its share
/// of what all hold and leaks one part in as many as there are replicas. To stay with integers its level is kept times
/// the number of replicas ("fine").
struct BucketTally {
    /// As the store told, and when that was true, by the store's clock.
    private var sharedLevel: Int64 = 0
    private var sharedMs: Int64 = 0
    /// The level of this replica's own bucket, fine; -1 while the store counts.
    private var localLevel: Int64 = -1
    /// What of it was admitted here, fine: it stays counted when the store is back, for the next outage.
    private var ownLevel: Int64 = 0
    /// What was given back of that so far, fine.
    private var credited: Int64 = 0
    /// What of that was charged in the store as well, fine, as it turned out after it had last told.
    private var resolvedLevel: Int64 = 0
    private var localMs: Int64 = 0
    private var replicaCount: Int64 = 1
    /// This replica's share of the bucket, fine.
    private var localCapacity: Int64 = 0
    /// As `Unsettled.inDoubt`, in units of cost. What of a level that is cannot be told: while there is any, nothing is
    /// settled.
    private var inDoubt: Int64 = 0
    /// The limit, as it was when it was last asked of here.
    private(set) var terms: Terms?

    /// Beyond every level that means anything, with room for sums.
    private static let most: Int64 = 1 << 61
    static let levels: ClosedRange<Int64> = 0...most

    mutating func observe(level: Int64, atMs: Int64) {
        sharedLevel = level
        sharedMs = atMs
        ownLevel = max(0, ownLevel - resolvedLevel)
        resolvedLevel = 0
    }

    /// An outage begins: the bucket is divided when it is next asked for.
    mutating func beginShare() { localLevel = -1 }

    /// Spends some of this replica's bucket, or gives some of it back; `turnLocal` was called before.
    mutating func take(_ cost: Int64, _ terms: Terms, nowMs: Int64) {
        drain(terms, nowMs: nowMs)
        guard localLevel >= 0 else { return }
        let amount = Self.fine(abs(cost), terms.lengthMs, replicaCount)
        localLevel = max(0, min(Self.most, cost >= 0 ? localLevel + amount : localLevel - amount))
    }

    /// Of what was admitted here, this much is in the store's level that was just told.
    mutating func settle(_ cost: Int64, _ terms: Terms) {
        ownLevel = max(0, ownLevel - Self.fine(cost, terms.lengthMs, replicaCount))
    }

    /// What never leaks admits nothing.
    mutating func learn(_ terms: Terms) { self.terms = terms.max > 0 ? terms : nil }

    func holdsUnsettled(nowMs: Int64) -> Bool {
        guard let terms else { return false }
        return terms.drained(ownLevel - resolvedLevel, sinceMs: localMs, nowMs: nowMs) > 0
    }

    mutating func doubt(_ cost: Int64) { inDoubt = max(0, min(Terms.maxExact, inDoubt + cost)) }

    var isInDoubt: Bool { inDoubt > 0 }

    /// What the store is still to be told, as a level of its bucket; rounded up.
    func owedLevel(_ terms: Terms, nowMs: Int64) -> Int64 {
        guard inDoubt == 0 else { return 0 }
        let level = terms.drained(ownLevel - resolvedLevel, sinceMs: localMs, nowMs: nowMs)
        return max(0, min(Terms.maxExact, (level + replicaCount - 1) / replicaCount))
    }

    /// The store has it, and has told its level.
    mutating func settle(level: Int64) { ownLevel = max(0, ownLevel - Self.fine(level, replicaCount)) }

    /// It stays counted here until the store tells its level.
    mutating func resolve(level: Int64) {
        resolvedLevel = min(ownLevel, resolvedLevel + Self.fine(level, replicaCount))
    }

    /// It stays counted here until the store tells its level.
    mutating func resolve(_ cost: Int64, _ terms: Terms) {
        resolvedLevel = min(ownLevel, resolvedLevel + Self.fine(cost, terms.lengthMs, replicaCount))
    }

    /// The time has passed; if the store has just gone, the bucket is divided.
    mutating func turnLocal(_ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) {
        turnBack(toMs: nowMs)
        let share = Self.fine(replicas.share(of: terms.burst * terms.lengthMs, counterHash: hash), replicas.count)
        if localLevel < 0 {
            let free = terms.burst * terms.lengthMs - terms.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs)
            let freeShare = Self.fine(replicas.share(of: free, counterHash: hash), replicas.count)
            drain(terms, nowMs: nowMs)
            localLevel = min(Self.most, share - freeShare + ownLevel)
        } else {
            drain(terms, nowMs: nowMs)
        }
        replicaCount = replicas.count
        localCapacity = share
        learn(terms)
    }

    /// Where the store's clock was followed back, it leaks on from here.
    private mutating func turnBack(toMs nowMs: Int64) {
        if sharedMs > nowMs + EngineBounds.clockStepMs { sharedMs = nowMs }
        if localMs > nowMs + EngineBounds.clockStepMs { localMs = nowMs }
    }

    private mutating func drain(_ terms: Terms, nowMs: Int64) {
        ownLevel = terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs)
        resolvedLevel = terms.drained(resolvedLevel, sinceMs: localMs, nowMs: nowMs)
        if localLevel >= 0 { localLevel = terms.drained(localLevel, sinceMs: localMs, nowMs: nowMs) }
        localMs = max(localMs, nowMs)
    }

    func left(_ terms: Terms) -> Int64 {
        let free = localCapacity - localLevel
        let unit = terms.lengthMs * replicaCount
        // Rounded down, as the store does.
        return free >= 0 ? free / unit : -((unit - 1 - free) / unit)
    }

    /// A bucket right after a charge.
    struct Mark {
        /// The level of what was admitted here, fine.
        var level: Int64
        /// What had been given back of that by then, fine.
        var credited: Int64
    }

    mutating func admit(_ terms: Terms, cost: Int64) -> Mark {
        raise(by: Self.fine(cost, terms.lengthMs, replicaCount))
        return Mark(level: ownLevel, credited: credited)
    }

    /// Whether so much more than a charge came to can be counted.
    func canAdjust(by cost: Int64, _ terms: Terms, nowMs: Int64) -> Bool {
        guard cost > 0 else { return true }
        let level = (self.terms ?? terms).drained(ownLevel, sinceMs: localMs, nowMs: nowMs)
        return cost <= (Self.fine(Terms.maxExact, replicaCount) - level) / (terms.lengthMs * replicaCount)
    }

    /// Settles what was admitted here to another cost. What has leaked of it is not given back: it no longer counted. What
    /// lay under it leaked first, but for what was given back of that since; whose that was is not known, so all of it
    /// counts as what lay under it.
    mutating func adjust(
        by cost: Int64, after mark: Mark, chargedMs: Int64, _ terms: Terms, nowMs: Int64
    ) {
        turnBack(toMs: nowMs)
        let amount = Self.fine(abs(cost), terms.lengthMs, replicaCount)
        // What has leaked since goes by the limit as it is now: it may leak more slowly than when it was charged.
        drain(self.terms ?? terms, nowMs: nowMs)
        if cost >= 0 { return raise(by: amount) }
        let remaining = terms.drained(
            max(0, mark.level - (credited - mark.credited)), sinceMs: chargedMs, nowMs: nowMs)
        let back = min(amount, remaining, ownLevel)
        credited = min(Self.most, credited + back)
        ownLevel -= back
        if localLevel >= 0 { localLevel = max(0, localLevel - back) }
    }

    private mutating func raise(by amount: Int64) {
        let fullest = Self.fine(Terms.maxExact, replicaCount)
        ownLevel = min(fullest, ownLevel + amount)
        if localLevel >= 0 { localLevel = min(fullest, localLevel + amount) }
    }

    func retryAfterMs(_ terms: Terms, cost: Int64) -> Int64 {
        let missing = localLevel + Self.fine(cost, terms.lengthMs, replicaCount) - localCapacity
        guard terms.max > 0 else { return -1 }
        return max(1, (min(missing, Self.most) + terms.max - 1) / terms.max)
    }

    func knownLevel(_ terms: Terms, nowMs: Int64) -> Int64 {
        let own = terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) / replicaCount
        return min(Terms.maxExact, sharedLevel(terms, nowMs: nowMs) + own)
    }

    /// - Parameter terms: nil where the policy no longer has the limit: then nothing is known to have leaked.
    func sharedLevel(_ terms: Terms?, nowMs: Int64) -> Int64 {
        terms?.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs) ?? sharedLevel
    }

    /// In units of cost, rounded up.
    func locallyUsed(_ terms: Terms?, nowMs: Int64) -> Int64 {
        guard let terms else { return 0 }
        let unit = terms.lengthMs * replicaCount
        return (terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) + unit - 1) / unit
    }

    var isTouched: Bool { sharedLevel > 0 || ownLevel > 0 }

    /// What a restart must not lose; what is given back of it after that counts as given back of what lay under it.
    var state: CounterState.BucketState {
        CounterState.BucketState(
            sharedLevel: sharedLevel, sharedMs: sharedMs, localLevel: localLevel, ownLevel: ownLevel,
            resolvedLevel: resolvedLevel, localMs: localMs, replicaCount: replicaCount, localCapacity: localCapacity,
            max: terms?.max ?? 0, burst: terms?.burst ?? 0, lengthMs: terms?.lengthMs ?? 0)
    }

    init() {}

    init(_ state: CounterState.BucketState) {
        sharedLevel = state.sharedLevel
        sharedMs = state.sharedMs
        localLevel = state.localLevel
        ownLevel = state.ownLevel
        resolvedLevel = state.resolvedLevel
        localMs = state.localMs
        replicaCount = state.replicaCount
        localCapacity = state.localCapacity
        guard state.max > 0, state.lengthMs > 0 else { return }
        terms = Terms(
            algorithm: .tokenBucket, max: state.max, burst: state.burst, windowStartMs: Terms.endless.lowerBound,
            windowEndMs: Terms.endless.upperBound, lengthMs: state.lengthMs)
    }

    /// When nothing of it counts any more, ms since the epoch. It is kept for a window at least: by a lower maximum, which a
    /// reload or the next process may come with, what was used leaks more slowly.
    var countsUntilMs: Int64 {
        guard let terms else { return 0 }
        func untilMs(_ level: Int64, sinceMs: Int64) -> Int64 {
            level > 0 ? sinceMs + max(terms.lengthMs, (level + terms.max - 1) / terms.max) : 0
        }
        return max(untilMs(sharedLevel, sinceMs: sharedMs), untilMs(ownLevel, sinceMs: localMs))
    }

    /// Whether forgetting it loses nothing, however slowly it may leak from now on.
    ///
    /// - Parameter terms: of the limit for which it is asked.
    func isQuiet(_ terms: Terms, nowMs: Int64) -> Bool {
        guard isTouched else { return true }
        guard knownLevel(terms, nowMs: nowMs) == 0 else { return false }
        return nowMs - max(sharedLevel > 0 ? sharedMs : 0, ownLevel > 0 ? localMs : 0) >= terms.lengthMs
    }

    private static func fine(_ level: Int64, _ replicas: Int64) -> Int64 {
        let (product, overflow) = level.multipliedReportingOverflow(by: replicas)
        return overflow ? most : min(product, most)
    }

    /// What a cost adds to a level. A commit may say any cost, and so the product may be beyond the integers.
    private static func fine(_ cost: Int64, _ lengthMs: Int64, _ replicas: Int64) -> Int64 {
        fine(fine(cost, lengthMs), replicas)
    }
}

/// What is counted of concurrency: slots that the store told of, and those that were taken here.
struct SlotTally {
    private var sharedUsed: Int64 = 0
    private var sharedFirstMs: Int64 = 0
    /// When all that the store told of have expired.
    private var sharedLastMs: Int64 = 0
    /// Taken here while the store was away, in the order of taking; as many at most as the limit has slots, and
    /// `EngineBounds.maxLocalReservations`.
    private var own: [(id: ReservationID, expiryMs: Int64)] = []

    mutating func observe(_ tally: Tally) {
        sharedUsed = tally.used
        sharedFirstMs = tally.firstExpiryMs
        sharedLastMs = tally.lastExpiryMs
    }

    mutating func expire(nowMs: Int64) {
        if own.contains(where: { $0.expiryMs <= nowMs }) { own.removeAll { $0.expiryMs <= nowMs } }
    }

    func left(_ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        replicas.share(of: terms.max - shared(nowMs: nowMs).used, counterHash: hash) - Int64(own.count)
    }

    mutating func take(_ id: ReservationID, expiryMs: Int64) { own.append((id, expiryMs)) }

    mutating func release(_ id: ReservationID) { own.removeAll { $0.id == id } }

    func retryAfterMs(nowMs: Int64) -> Int64 {
        var firstMs = own.map(\.expiryMs).min() ?? .max
        if sharedLastMs > nowMs { firstMs = min(firstMs, sharedLastMs) }
        return max(1, min(Terms.slotPollMs, firstMs - nowMs))
    }

    func shared(nowMs: Int64) -> Tally {
        guard nowMs < sharedLastMs else { return Tally(used: 0) }
        var tally = Tally(used: sharedUsed)
        tally.firstExpiryMs = sharedFirstMs
        tally.lastExpiryMs = sharedLastMs
        return tally
    }

    func locallyUsed(nowMs: Int64) -> Int64 { Int64(own.count { $0.expiryMs > nowMs }) }

    func known(nowMs: Int64) -> Tally {
        let live = own.lazy.filter { $0.expiryMs > nowMs }.map(\.expiryMs)
        let shared = shared(nowMs: nowMs)
        var tally = Tally(used: shared.used + Int64(live.count))
        tally.firstExpiryMs = min(live.min() ?? .max, shared.used > 0 ? max(shared.firstExpiryMs, nowMs + 1) : .max)
        tally.lastExpiryMs = max(live.max() ?? 0, shared.used > 0 ? shared.lastExpiryMs : 0)
        if tally.used == 0 { tally.firstExpiryMs = 0 }
        return tally
    }

    var isTouched: Bool { sharedUsed > 0 || !own.isEmpty }
}
