import SluicePolicy

/// The usage of one window, fixed or sliding.
struct WindowUsage {
    /// The highest usage that the store reported, plus what later turned out to be charged there.
    var sharedUsed: Int64 = 0
    /// Local admissions that are not known to be in the store's usage.
    var own: Int64 = 0
    /// `sharedUsed` at the start of the outage: the share is a part of what it left of the maximum.
    private(set) var shareBase: Int64 = 0
    /// How much of the share is spent, whether or not the store has it by now. Others' spending is not included, so
    /// that a store that is available on and off does not hand out the share again.
    private(set) var taken: Int64 = 0
    /// This replica's share of a fixed window; -1 until the first check needs it.
    private(set) var localShare: Int64 = -1
    /// The maximum that `localShare` was computed from.
    private var shareMax: Int64 = -1

    init() {}

    /// Restores what an earlier process knew.
    init(used: Int64, own: Int64) {
        sharedUsed = used
        self.own = own
    }

    /// Goes on with the share that an earlier process began.
    mutating func goOn(withShareOf base: Int64, taken: Int64) {
        shareBase = base
        self.taken = taken
    }

    mutating func observe(used: Int64) { sharedUsed = used }

    /// Begins an outage for this window: a share of what is left is spent from here on.
    mutating func beginShare() {
        shareBase = sharedUsed
        taken = own
        localShare = -1
    }

    /// Local admissions turned out to be charged in the store. They still count as taken from the share.
    mutating func confirm(_ amount: Int64) {
        sharedUsed = Self.sum(sharedUsed, markStored(amount))
    }

    mutating func admit(_ cost: Int64) {
        own = Self.sum(own, cost)
        take(cost)
    }

    /// The store's usage has it.
    /// - Returns: how much of it was still counted as local.
    @discardableResult
    mutating func markStored(_ amount: Int64) -> Int64 {
        let settled = min(own, amount)
        own -= settled
        return settled
    }

    /// Takes from the share; a negative amount returns it.
    mutating func take(_ amount: Int64) { taken = max(0, Self.sum(taken, amount)) }

    /// Changes the local admissions.
    mutating func adjust(by amount: Int64) {
        let before = own
        own = max(0, Self.sum(own, amount))
        take(own - before)
    }

    /// All known usage.
    var used: Int64 { Self.sum(sharedUsed, own) }

    var isTouched: Bool { own > 0 || taken > 0 }

    /// Usage can exceed the maximum, if a limit passes every check or a commit exceeds the reserved cost: sums are
    /// clamped.
    fileprivate static func sum(_ one: Int64, _ other: Int64) -> Int64 { min(Quota.maxExact, one + other) }

    // MARK: Fixed windows

    /// Whether this replica's share is computed for the limit's present maximum.
    func hasShare(_ quota: Quota) -> Bool { localShare >= 0 && shareMax == quota.max }

    mutating func setShare(_ quota: Quota, _ share: Int64) {
        localShare = share
        shareMax = quota.max
    }

    /// What is left of the share. The caller also bounds admissions by what the store's usage leaves.
    var left: Int64 { localShare - taken }

    // MARK: Sliding windows

    /// The share grows while the previous window slides out; local admissions are taken from the share alone.
    func left(
        _ quota: Quota, _ before: WindowBefore, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        let shared = quota.max - shareBase - quota.reach(of: before.shareBase, nowMs: nowMs)
        let share = replicas.share(of: shared, counterHash: hash)
        return min(
            share - taken - quota.reach(of: before.taken, nowMs: nowMs),
            max(0, quota.max - used - quota.reach(of: before.used, nowMs: nowMs)))
    }

    func retryAfterMs(
        _ quota: Quota, _ before: WindowBefore, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        var usage = self
        var before = before
        var quota = quota
        for _ in 0..<2 {
            // The share grows with time: a binary search finds when it suffices.
            var low = max(nowMs, quota.windowStartMs)
            var high = quota.windowEndMs - 1
            if usage.left(quota, before, replicas: replicas, hash: hash, nowMs: high) >= cost {
                while low < high {
                    let middle = low + (high - low) / 2
                    if usage.left(quota, before, replicas: replicas, hash: hash, nowMs: middle) >= cost {
                        high = middle
                    } else {
                        low = middle + 1
                    }
                }
                return max(1, low - nowMs)
            }
            before = WindowBefore(usage, unconfirmed: 0)
            usage = WindowUsage()
            quota.windowStartMs = quota.windowEndMs
            quota.windowEndMs = quota.nextEndMs
            quota.previousLengthMs = quota.lengthMs
            quota.lengthMs = quota.windowEndMs - quota.windowStartMs
            quota.nextEndMs += quota.lengthMs
        }
        // The check exceeds this replica's share: wait until both windows are over, if the store stays unavailable.
        return max(1, quota.windowEndMs - quota.lengthMs - nowMs)
    }
}

/// The usage of the window before a sliding one, part of which still counts.
struct WindowBefore {
    /// As in `WindowUsage`.
    var sharedUsed: Int64 = 0
    var own = Unsettled()
    private(set) var shareBase: Int64 = 0
    private(set) var taken: Int64 = 0

    init() {}

    /// The window that was open before.
    ///
    /// - Parameter unconfirmed: the local admissions in it that must not be written back yet.
    init(_ usage: WindowUsage, unconfirmed: Int64) {
        sharedUsed = usage.sharedUsed
        own = Unsettled(used: usage.own, unconfirmed: unconfirmed)
        shareBase = usage.shareBase
        taken = usage.taken
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

    mutating func take(_ amount: Int64) { taken = max(0, WindowUsage.sum(taken, amount)) }

    mutating func adjust(by amount: Int64) {
        let before = own.used
        own.adjust(by: amount)
        take(own.used - before)
    }

    var used: Int64 { WindowUsage.sum(sharedUsed, own.used) }

    var isTouched: Bool { used > 0 }
}

/// Local admissions of one window that are still to be written back.
struct Unsettled {
    var used: Int64 = 0
    /// The part that must not be written back now: a batch in flight may have charged it, or a reservation may still
    /// return it.
    var unconfirmed: Int64 = 0

    /// What can be written back now.
    var unwritten: Int64 { max(0, used - unconfirmed) }

    /// Adds a charge, or takes back some of it.
    mutating func adjust(by amount: Int64) { used = max(0, min(Quota.maxExact, used + amount)) }

    /// The store's usage has it.
    /// - Returns: how much of it was still counted as local.
    @discardableResult
    mutating func markStored(_ amount: Int64) -> Int64 {
        let settled = min(used, amount)
        used -= settled
        return settled
    }

    mutating func markUnconfirmed(_ amount: Int64) { unconfirmed = max(0, min(Quota.maxExact, unconfirmed + amount)) }
}

/// The usage of a token bucket. In an outage this replica has a bucket of its own, with its share of the common level,
/// which leaks at the rate divided by the number of replicas. To stay with integers, its level is multiplied by the
/// number of replicas ("fine").
struct BucketUsage {
    /// The level as the store reported it, and when, by the store's clock.
    private var sharedLevel: Int64 = 0
    private var sharedMs: Int64 = 0
    /// The level of this replica's own bucket, fine; -1 while the store counts.
    private var localLevel: Int64 = -1
    /// The local admissions in it, fine: they stay counted after the outage, for the next one.
    private var ownLevel: Int64 = 0
    /// How much of those was given back so far, fine.
    private var credited: Int64 = 0
    /// How much of those turned out to be charged in the store after its last report, fine.
    private var confirmedLevel: Int64 = 0
    private var localMs: Int64 = 0
    private var replicaCount: Int64 = 1
    /// This replica's share of the capacity, fine.
    private var localCapacity: Int64 = 0
    /// As `Unsettled.unconfirmed`, in units of cost. Its part of the level is not known: while there is any, nothing
    /// is written back.
    private var unconfirmed: Int64 = 0
    /// The limit as last checked here.
    private(set) var quota: Quota?

    /// Above every meaningful level, with room for sums.
    private static let most: Int64 = 1 << 61
    static let levels: ClosedRange<Int64> = 0...most

    mutating func observe(level: Int64, atMs: Int64) {
        sharedLevel = level
        sharedMs = atMs
        ownLevel = max(0, ownLevel - confirmedLevel)
        confirmedLevel = 0
    }

    /// Begins an outage: the bucket is divided at the next check.
    mutating func beginShare() { localLevel = -1 }

    /// Takes from this replica's bucket; a negative cost returns it. `turnLocal` was called before.
    mutating func take(_ cost: Int64, _ quota: Quota, nowMs: Int64) {
        drain(quota, nowMs: nowMs)
        guard localLevel >= 0 else { return }
        let amount = Self.fine(abs(cost), quota.lengthMs, replicaCount)
        localLevel = max(0, min(Self.most, cost >= 0 ? localLevel + amount : localLevel - amount))
    }

    /// The level that the store just reported contains this much of the local admissions.
    mutating func markStored(_ cost: Int64, _ quota: Quota) {
        ownLevel = max(0, ownLevel - Self.fine(cost, quota.lengthMs, replicaCount))
    }

    /// A bucket that never leaks admits nothing.
    mutating func updateQuota(_ quota: Quota) { self.quota = quota.max > 0 ? quota : nil }

    func holdsUnsettled(nowMs: Int64) -> Bool {
        guard let quota else { return false }
        return quota.drained(ownLevel - confirmedLevel, sinceMs: localMs, nowMs: nowMs) > 0
    }

    mutating func markUnconfirmed(_ cost: Int64) { unconfirmed = max(0, min(Quota.maxExact, unconfirmed + cost)) }

    var isUnconfirmed: Bool { unconfirmed > 0 }

    /// The amount to write back, as a level of the store's bucket; rounded up.
    func unwrittenLevel(_ quota: Quota, nowMs: Int64) -> Int64 {
        guard unconfirmed == 0 else { return 0 }
        let level = quota.drained(ownLevel - confirmedLevel, sinceMs: localMs, nowMs: nowMs)
        return max(0, min(Quota.maxExact, (level + replicaCount - 1) / replicaCount))
    }

    /// The store has it, and has reported its level.
    mutating func markStored(level: Int64) { ownLevel = max(0, ownLevel - Self.fine(level, replicaCount)) }

    /// It stays counted here until the store reports its level.
    mutating func confirm(level: Int64) {
        confirmedLevel = min(ownLevel, confirmedLevel + Self.fine(level, replicaCount))
    }

    /// It stays counted here until the store reports its level.
    mutating func confirm(_ cost: Int64, _ quota: Quota) {
        confirmedLevel = min(ownLevel, confirmedLevel + Self.fine(cost, quota.lengthMs, replicaCount))
    }

    /// Drains the bucket up to `nowMs`; divides it first if an outage has just begun.
    mutating func turnLocal(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) {
        turnBack(toMs: nowMs)
        let share = Self.fine(replicas.share(of: quota.burst * quota.lengthMs, counterHash: hash), replicas.count)
        if localLevel < 0 {
            let free = quota.burst * quota.lengthMs - quota.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs)
            let freeShare = Self.fine(replicas.share(of: free, counterHash: hash), replicas.count)
            drain(quota, nowMs: nowMs)
            localLevel = min(Self.most, share - freeShare + ownLevel)
        } else {
            drain(quota, nowMs: nowMs)
        }
        replicaCount = replicas.count
        localCapacity = share
        updateQuota(quota)
    }

    /// If the store's clock was followed back, it leaks on from here.
    private mutating func turnBack(toMs nowMs: Int64) {
        if sharedMs > nowMs + EngineBounds.clockStepMs { sharedMs = nowMs }
        if localMs > nowMs + EngineBounds.clockStepMs { localMs = nowMs }
    }

    private mutating func drain(_ quota: Quota, nowMs: Int64) {
        ownLevel = quota.drained(ownLevel, sinceMs: localMs, nowMs: nowMs)
        confirmedLevel = quota.drained(confirmedLevel, sinceMs: localMs, nowMs: nowMs)
        if localLevel >= 0 { localLevel = quota.drained(localLevel, sinceMs: localMs, nowMs: nowMs) }
        localMs = max(localMs, nowMs)
    }

    func left(_ quota: Quota) -> Int64 {
        let free = localCapacity - localLevel
        let unit = quota.lengthMs * replicaCount
        // Rounded down, as in the store.
        return free >= 0 ? free / unit : -((unit - 1 - free) / unit)
    }

    /// The state of a bucket right after a charge.
    struct ChargeReceipt {
        /// The level of local admissions, fine.
        var level: Int64
        /// How much of those had been given back when this was taken, fine.
        var credited: Int64
    }

    mutating func admit(_ quota: Quota, cost: Int64) -> ChargeReceipt {
        raise(by: Self.fine(cost, quota.lengthMs, replicaCount))
        return ChargeReceipt(level: ownLevel, credited: credited)
    }

    /// Whether a charge can be raised by this much.
    func canAdjust(by cost: Int64, _ quota: Quota, nowMs: Int64) -> Bool {
        guard cost > 0 else { return true }
        let level = (self.quota ?? quota).drained(ownLevel, sinceMs: localMs, nowMs: nowMs)
        return cost <= (Self.fine(Quota.maxExact, replicaCount) - level) / (quota.lengthMs * replicaCount)
    }

    /// Changes a local admission to another cost. What has leaked of it is not given back, because it no longer
    /// counted. Older usage leaked first, except for what was given back since; that may have been anyone's, so all of
    /// it counts as older usage.
    mutating func adjust(
        by cost: Int64, after receipt: ChargeReceipt, chargedMs: Int64, _ quota: Quota, nowMs: Int64
    ) {
        turnBack(toMs: nowMs)
        let amount = Self.fine(abs(cost), quota.lengthMs, replicaCount)
        // Drains by the present limit, which may leak more slowly than the one it was charged by.
        drain(self.quota ?? quota, nowMs: nowMs)
        if cost >= 0 { return raise(by: amount) }
        let remaining = quota.drained(
            max(0, receipt.level - (credited - receipt.credited)), sinceMs: chargedMs, nowMs: nowMs)
        let back = min(amount, remaining, ownLevel)
        credited = min(Self.most, credited + back)
        ownLevel -= back
        if localLevel >= 0 { localLevel = max(0, localLevel - back) }
    }

    private mutating func raise(by amount: Int64) {
        let fullest = Self.fine(Quota.maxExact, replicaCount)
        ownLevel = min(fullest, ownLevel + amount)
        if localLevel >= 0 { localLevel = min(fullest, localLevel + amount) }
    }

    func retryAfterMs(_ quota: Quota, cost: Int64) -> Int64 {
        let missing = localLevel + Self.fine(cost, quota.lengthMs, replicaCount) - localCapacity
        guard quota.max > 0 else { return -1 }
        return max(1, (min(missing, Self.most) + quota.max - 1) / quota.max)
    }

    func combinedLevel(_ quota: Quota, nowMs: Int64) -> Int64 {
        let own = quota.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) / replicaCount
        return min(Quota.maxExact, sharedLevel(quota, nowMs: nowMs) + own)
    }

    /// - Parameter quota: nil if the policy no longer has the limit: then no leak is assumed.
    func sharedLevel(_ quota: Quota?, nowMs: Int64) -> Int64 {
        quota?.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs) ?? sharedLevel
    }

    /// In units of cost, rounded up.
    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 {
        guard let quota else { return 0 }
        let unit = quota.lengthMs * replicaCount
        return (quota.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) + unit - 1) / unit
    }

    var isTouched: Bool { sharedLevel > 0 || ownLevel > 0 }

    /// What a restart must not lose. What is given back after that counts as given back of older usage.
    var state: CounterState.BucketState {
        CounterState.BucketState(
            sharedLevel: sharedLevel, sharedMs: sharedMs, localLevel: localLevel, ownLevel: ownLevel,
            confirmedLevel: confirmedLevel, localMs: localMs, replicaCount: replicaCount, localCapacity: localCapacity,
            max: quota?.max ?? 0, burst: quota?.burst ?? 0, lengthMs: quota?.lengthMs ?? 0)
    }

    init() {}

    init(_ state: CounterState.BucketState) {
        sharedLevel = state.sharedLevel
        sharedMs = state.sharedMs
        localLevel = state.localLevel
        ownLevel = state.ownLevel
        confirmedLevel = state.confirmedLevel
        localMs = state.localMs
        replicaCount = state.replicaCount
        localCapacity = state.localCapacity
        guard state.max > 0, state.lengthMs > 0 else { return }
        quota = Quota(
            algorithm: .tokenBucket, max: state.max, burst: state.burst, windowStartMs: Quota.endless.lowerBound,
            windowEndMs: Quota.endless.upperBound, lengthMs: state.lengthMs)
    }

    /// When nothing of it counts any more, ms since the epoch. It is kept for at least a window: after a reload or a
    /// restart with a lower maximum, it leaks more slowly.
    var countsUntilMs: Int64 {
        guard let quota else { return 0 }
        func untilMs(_ level: Int64, sinceMs: Int64) -> Int64 {
            level > 0 ? sinceMs + max(quota.lengthMs, (level + quota.max - 1) / quota.max) : 0
        }
        return max(untilMs(sharedLevel, sinceMs: sharedMs), untilMs(ownLevel, sinceMs: localMs))
    }

    /// Whether dropping it loses nothing, however slowly it may leak from now on.
    ///
    /// - Parameter quota: the limit that it is checked for.
    func isQuiet(_ quota: Quota, nowMs: Int64) -> Bool {
        guard isTouched else { return true }
        guard combinedLevel(quota, nowMs: nowMs) == 0 else { return false }
        return nowMs - max(sharedLevel > 0 ? sharedMs : 0, ownLevel > 0 ? localMs : 0) >= quota.lengthMs
    }

    private static func fine(_ level: Int64, _ replicas: Int64) -> Int64 {
        let (product, overflow) = level.multipliedReportingOverflow(by: replicas)
        return overflow ? most : min(product, most)
    }

    /// What a cost adds to a level. A commit may have any cost, so the product is clamped if it overflows.
    private static func fine(_ cost: Int64, _ lengthMs: Int64, _ replicas: Int64) -> Int64 {
        fine(fine(cost, lengthMs), replicas)
    }
}

/// The usage of a concurrency limit: slots that the store reported, and slots taken here.
struct SlotUsage {
    private var sharedUsed: Int64 = 0
    private var sharedFirstMs: Int64 = 0
    /// When all slots that the store reported will have expired.
    private var sharedLastMs: Int64 = 0
    /// Slots taken here during an outage, in order; at most as many as the limit has, and
    /// `EngineBounds.maxLocalReservations`.
    private var own: [(id: ReservationID, expiryMs: Int64)] = []

    mutating func observe(_ usage: Usage) {
        sharedUsed = usage.used
        sharedFirstMs = usage.firstExpiryMs
        sharedLastMs = usage.lastExpiryMs
    }

    mutating func expire(nowMs: Int64) {
        if own.contains(where: { $0.expiryMs <= nowMs }) { own.removeAll { $0.expiryMs <= nowMs } }
    }

    func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        replicas.share(of: quota.max - shared(nowMs: nowMs).used, counterHash: hash) - Int64(own.count)
    }

    mutating func take(_ id: ReservationID, expiryMs: Int64) { own.append((id, expiryMs)) }

    mutating func release(_ id: ReservationID) { own.removeAll { $0.id == id } }

    func retryAfterMs(nowMs: Int64) -> Int64 {
        var firstMs = own.map(\.expiryMs).min() ?? .max
        if sharedLastMs > nowMs { firstMs = min(firstMs, sharedLastMs) }
        return max(1, min(Quota.slotPollMs, firstMs - nowMs))
    }

    func shared(nowMs: Int64) -> Usage {
        guard nowMs < sharedLastMs else { return Usage(used: 0) }
        var usage = Usage(used: sharedUsed)
        usage.firstExpiryMs = sharedFirstMs
        usage.lastExpiryMs = sharedLastMs
        return usage
    }

    func locallyUsed(nowMs: Int64) -> Int64 { Int64(own.count { $0.expiryMs > nowMs }) }

    func combinedUsage(nowMs: Int64) -> Usage {
        let live = own.lazy.filter { $0.expiryMs > nowMs }.map(\.expiryMs)
        let shared = shared(nowMs: nowMs)
        var usage = Usage(used: shared.used + Int64(live.count))
        usage.firstExpiryMs = min(live.min() ?? .max, shared.used > 0 ? max(shared.firstExpiryMs, nowMs + 1) : .max)
        usage.lastExpiryMs = max(live.max() ?? 0, shared.used > 0 ? shared.lastExpiryMs : 0)
        if usage.used == 0 { usage.firstExpiryMs = 0 }
        return usage
    }

    var isTouched: Bool { sharedUsed > 0 || !own.isEmpty }
}
