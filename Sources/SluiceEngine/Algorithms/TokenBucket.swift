import SluicePolicy

/// A bucket that each check fills by its cost. It leaks `max` in every `lengthMs`, evenly, and holds `burst`. A usage is
/// its level, in units of cost times `lengthMs`.
enum TokenBucket: AlgorithmRules {
    static func capacity(_ quota: Quota) -> Int64 { quota.burst }

    /// Rounded down: a unit that has leaked only in part is not available.
    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 {
        let free = quota.burst * quota.lengthMs - usage.used
        return free / quota.lengthMs - (free % quota.lengthMs < 0 ? 1 : 0)
    }

    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        // A bucket that never leaks never makes room.
        guard quota.max > 0 else { return -1 }
        return max(1, quota.leakMs(usage.used + cost * quota.lengthMs - quota.burst * quota.lengthMs))
    }

    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 {
        usage.used == 0 || quota.max == 0 ? 0 : quota.leakMs(usage.used)
    }

    /// A replica's own bucket leaks only at its share of the rate.
    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        // The store may report any level; the bound keeps times countable.
        let emptyMs = min(resetMs(quota, usage, nowMs: nowMs), Quota.maxExact / replicas.count) * replicas.count
        return nowMs + max(quota.lengthMs, emptyMs)
    }

    static func charge(_ quota: Quota, cost: Int64, count: Int64) -> Int64 { cost * count * quota.lengthMs }

    static func scriptParameters(_ quota: Quota) -> (lengthMs: Int64, extra: Int64) { (quota.lengthMs, quota.burst) }

    static func usage(_ quota: Quota, of stored: StoredCounter, nowMs: Int64) -> Usage {
        var usage = stored.usage
        usage.used = quota.drained(usage.used, sinceMs: stored.lastMs, nowMs: nowMs)
        return usage
    }

    static func ignoresUsage(_ quota: Quota) -> Bool { quota.max == 0 }

    static func keeps(_ usage: CounterState.Usage) -> Bool { if case .bucket = usage { true } else { false } }

    static func localUsage(lengthMs: Int64) -> (any LocalUsage)? { BucketUsage() }
}

extension Quota {
    /// A bucket's level after leaking.
    package func drained(_ level: Int64, sinceMs: Int64, nowMs: Int64) -> Int64 {
        guard nowMs > sinceMs else { return level }
        let (leaked, overflow) = max.multipliedReportingOverflow(by: nowMs - sinceMs)
        return overflow || leaked >= level ? 0 : level - leaked
    }

    /// How long a level takes to leak, rounded up; `max` is not 0.
    fileprivate func leakMs(_ level: Int64) -> Int64 { (level + max - 1) / max }

    /// A token bucket that is charged in levels instead of costs, and has room for any level.
    fileprivate var unlimitedLevel: Quota {
        Quota(
            algorithm: .tokenBucket, max: max, burst: Self.maxExact, windowStartMs: windowStartMs,
            windowEndMs: windowEndMs, lengthMs: 1)
    }
}

/// The usage of a token bucket. In an outage this replica has a bucket of its own, with its share of the common level,
/// which leaks at the rate divided by the number of replicas: to stay with integers, a millisecond's leak once in as many
/// milliseconds as there are replicas.
struct BucketUsage: LocalUsage {
    /// The level as the store reported it, and when, by the store's clock.
    private var sharedLevel: Int64 = 0
    private var sharedMs: Int64 = 0
    /// The level of this replica's own bucket; -1 while the store counts.
    private var localLevel: Int64 = -1
    /// The local admissions in it: they stay counted after the outage, for the next one.
    private var ownLevel: Int64 = 0
    /// How much of those was given back so far.
    private var credited: Int64 = 0
    /// How much of those turned out to be charged in the store after its last report.
    private var confirmedLevel: Int64 = 0
    /// Up to when these have leaked: up to `replicaCount` - 1 ms ago.
    private var localMs: Int64 = 0
    private var replicaCount: Int64 = 1
    /// This replica's share of the capacity.
    private var localCapacity: Int64 = 0
    /// As `UnwrittenUsage.unconfirmed`, in units of cost. Its part of the level is not known: while there is any, nothing
    /// is written back.
    private var unconfirmed: Int64 = 0
    /// What was given back without the store, as a level. It counts as far as there is a level.
    private var givenBack = Credit()
    /// The limit as last checked here: see `quota`. A maximum of 0: none.
    private var max: Int64 = 0
    private var burst: Int64 = 0
    private var lengthMs: Int64 = 0

    /// Above every meaningful level, with room for sums.
    private static let most: Int64 = 1 << 61
    static let levels: ClosedRange<Int64> = 0...most

    // MARK: Reports of the store

    mutating func observe(_ usage: Usage, decidedMs: Int64) { observe(level: usage.used, atMs: decidedMs) }

    private mutating func observe(level: Int64, atMs: Int64) {
        sharedLevel = level
        sharedMs = atMs
        ownLevel = Swift.max(0, ownLevel - confirmedLevel)
        confirmedLevel = 0
    }

    /// The level that the store just reported contains this much of the local admissions.
    mutating func markStored(_ cost: Int64, _ quota: Quota, _ place: Counter.Place) {
        ownLevel = Swift.max(0, ownLevel - Self.product(cost, quota.lengthMs))
    }

    /// It stays counted here until the store reports its level.
    mutating func confirm(_ cost: Int64, _ quota: Quota, _ place: Counter.Place) -> Bool {
        confirmedLevel = min(ownLevel, confirmedLevel + Self.product(cost, quota.lengthMs))
        return false
    }

    /// A bucket that never leaks admits nothing.
    mutating func updateQuota(_ quota: Quota) { (max, burst, lengthMs) = (quota.max, quota.burst, quota.lengthMs) }

    var quota: Quota? {
        guard max > 0, lengthMs > 0 else { return nil }
        return Quota(
            algorithm: .tokenBucket, max: max, burst: burst, windowStartMs: Quota.endless.lowerBound,
            windowEndMs: Quota.endless.upperBound, lengthMs: lengthMs)
    }

    // MARK: During an outage

    /// The bucket is divided at the next check.
    mutating func beginShare() { localLevel = -1 }

    mutating func takeShare(_ amount: Int64, _ quota: Quota, _ place: Counter.Place?, cutMs: Int64, nowMs: Int64) {
        drain(quota, nowMs: nowMs)
        guard localLevel >= 0 else { return }
        let level = Self.product(abs(amount), quota.lengthMs)
        localLevel = Swift.max(0, min(Self.most, amount >= 0 ? localLevel + level : localLevel - level))
    }

    mutating func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        turnLocal(quota, replicas: replicas, hash: hash, nowMs: nowMs)
        let free = localCapacity - localLevel
        // Rounded down, as in the store.
        return free / quota.lengthMs - (free % quota.lengthMs < 0 ? 1 : 0)
    }

    /// Drains the bucket up to `nowMs`; divides it first if an outage has just begun.
    private mutating func turnLocal(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) {
        turnBack(toMs: nowMs)
        drain(quota, nowMs: nowMs)
        localCapacity = replicas.share(of: quota.burst * quota.lengthMs, counterHash: hash)
        replicaCount = replicas.count
        if localLevel < 0 {
            let free = quota.burst * quota.lengthMs - quota.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs)
            localLevel = min(Self.most, localCapacity - replicas.share(of: free, counterHash: hash) + ownLevel)
            localMs = Swift.max(localMs, nowMs)
        }
        updateQuota(quota)
    }

    /// If the store's clock was followed back, it leaks on from here.
    private mutating func turnBack(toMs nowMs: Int64) {
        if sharedMs > nowMs + EngineBounds.clockStepMs { sharedMs = nowMs }
        if localMs > nowMs + EngineBounds.clockStepMs { localMs = nowMs }
    }

    private mutating func drain(_ quota: Quota, nowMs: Int64) {
        ownLevel = drained(ownLevel, quota, nowMs: nowMs)
        confirmedLevel = drained(confirmedLevel, quota, nowMs: nowMs)
        if localLevel >= 0 { localLevel = drained(localLevel, quota, nowMs: nowMs) }
        let rest = ownLevel > 0 || localLevel > 0 ? Swift.max(0, nowMs - localMs) % replicaCount : 0
        localMs = Swift.max(localMs, nowMs - rest)
    }

    /// What is left of a level of `localMs`, or of `sinceMs`.
    private func drained(_ level: Int64, _ quota: Quota, sinceMs: Int64? = nil, nowMs: Int64) -> Int64 {
        quota.drained(level, sinceMs: 0, nowMs: (nowMs - (sinceMs ?? localMs)) / replicaCount)
    }

    /// The state of a bucket right after a charge.
    struct ChargeReceipt {
        /// The level of local admissions, at `sinceMs`.
        var level: Int64
        var sinceMs: Int64
        /// How much of those had been given back when this was taken.
        var credited: Int64
    }

    mutating func admit(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> ChargeReceipt? {
        // What has leaked away since cannot be given back.
        if givenBack.amount > 0 { givenBack.bound(by: wholeLevel(quota, nowMs: nowMs)) }
        raise(by: Self.product(cost, quota.lengthMs))
        return ChargeReceipt(level: ownLevel, sinceMs: localMs, credited: credited)
    }

    func canAdjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) -> Bool {
        guard cost > 0 else { return true }
        let quota = item.quota
        return cost <= (Quota.maxExact - drained(ownLevel, self.quota ?? quota, nowMs: nowMs)) / quota.lengthMs
    }

    /// Changes a local admission to another cost. What has leaked of it is not given back, because it no longer
    /// counted. Older usage leaked first, except for what was given back since; that may have been anyone's, so all of
    /// it counts as older usage.
    mutating func adjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) {
        guard let receipt = item.receipt else { return }
        let quota = item.quota
        turnBack(toMs: nowMs)
        let amount = Self.product(abs(cost), quota.lengthMs)
        // Drains by the present limit, which may leak more slowly than the one it was charged by.
        drain(self.quota ?? quota, nowMs: nowMs)
        if cost >= 0 { return raise(by: amount) }
        let remaining = drained(
            Swift.max(0, receipt.level - (credited - receipt.credited)), quota, sinceMs: receipt.sinceMs, nowMs: nowMs)
        let back = min(amount, remaining, ownLevel)
        credited = min(Self.most, credited + back)
        ownLevel -= back
        if localLevel >= 0 { localLevel = Swift.max(0, localLevel - back) }
        if givenBack.amount > 0 { givenBack.bound(by: wholeLevel(self.quota ?? quota, nowMs: nowMs)) }
    }

    private mutating func raise(by amount: Int64) {
        ownLevel = min(Quota.maxExact, ownLevel + amount)
        if localLevel >= 0 { localLevel = min(Quota.maxExact, localLevel + amount) }
    }

    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        let missing = localLevel + Self.product(cost, quota.lengthMs) - localCapacity
        guard quota.max > 0 else { return -1 }
        return Swift.max(1, (missing + quota.max - 1) / quota.max * replicaCount - Swift.max(0, nowMs - localMs))
    }

    // MARK: Combined usage

    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage { Usage(used: combinedLevel(quota, nowMs: nowMs)) }

    private func combinedLevel(_ quota: Quota, nowMs: Int64) -> Int64 {
        Swift.max(0, wholeLevel(quota, nowMs: nowMs) - givenBack.amount)
    }

    /// With what was given back since.
    private func wholeLevel(_ quota: Quota, nowMs: Int64) -> Int64 {
        min(Quota.maxExact, sharedLevel(quota, nowMs: nowMs) + drained(ownLevel, quota, nowMs: nowMs))
    }

    func sharedUsage(_ quota: Quota?, cost: Int64, nowMs: Int64) -> Usage {
        Usage(used: sharedLevel(quota, nowMs: nowMs))
    }

    /// - Parameter quota: nil if the policy no longer has the limit: then no leak is assumed.
    private func sharedLevel(_ quota: Quota?, nowMs: Int64) -> Int64 {
        quota?.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs) ?? sharedLevel
    }

    /// Rounded up.
    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 {
        guard let quota else { return 0 }
        return (drained(ownLevel, quota, nowMs: nowMs) + quota.lengthMs - 1) / quota.lengthMs
    }

    var isTouched: Bool { sharedLevel > 0 || ownLevel > 0 }

    // MARK: Write-backs

    mutating func markUnconfirmed(_ cost: Int64, _ place: Counter.Place?, cutMs: Int64) {
        unconfirmed = Swift.max(0, min(Quota.maxExact, unconfirmed + cost))
    }

    func isUnconfirmed(nowMs: Int64) -> Bool { unconfirmed > 0 }

    func hasLocalAdmissions(nowMs: Int64) -> Bool {
        guard let quota else { return false }
        return drained(ownLevel - confirmedLevel, quota, nowMs: nowMs) > 0
            || (givenBack.amount > 0 && wholeLevel(quota, nowMs: nowMs) > 0)
    }

    func writeBacks(restores: Bool, atMost: Int64, windowStartMs: Int64, nowMs: Int64) -> [WriteBack] {
        guard let quota else { return [] }
        // Its part of the level is not known: while there is any, nothing is written back.
        let unwritten = unconfirmed == 0 ? drained(ownLevel - confirmedLevel, quota, nowMs: nowMs) : 0
        return [
            WriteBack(.restore, restores ? sharedLevel(quota, nowMs: nowMs) : 0, windowMs: windowStartMs),
            WriteBack(.increment, min(atMost, unwritten), windowMs: windowStartMs),
            WriteBack(
                .decrement, restores ? 0 : min(atMost, givenBack.unsent, wholeLevel(quota, nowMs: nowMs)),
                windowMs: windowStartMs),
        ]
    }

    func quota(of writeBack: WriteBack) -> Quota? { quota?.unlimitedLevel }

    mutating func wroteBack(
        _ amount: Int64, of writeBack: WriteBack, _ numbers: ArraySlice<Int64>?, _ place: Counter.Place,
        decidedMs: Int64
    ) -> Bool {
        guard let level = numbers?.first else {
            // It stays counted here until the store reports its level.
            confirmedLevel = min(ownLevel, confirmedLevel + amount)
            return false
        }
        ownLevel = Swift.max(0, ownLevel - amount)
        observe(level: level, atMs: decidedMs)
        return true
    }

    // MARK: Refunds

    /// What this replica's own bucket has room for grows by as much.
    mutating func refund(_ cost: Int64, _ quota: Quota, isShared: Bool, nowMs: Int64) {
        let amount = min(Self.product(cost, quota.lengthMs), combinedLevel(quota, nowMs: nowMs))
        // As a settlement that gives back: see `adjust`.
        credited = min(Self.most, credited + amount)
        if isShared {
            givenBack.bound(by: wholeLevel(quota, nowMs: nowMs))
            givenBack.add(amount)
        } else {
            ownLevel = Swift.max(0, ownLevel - amount)
        }
        if localLevel >= 0 { localLevel = Swift.max(0, localLevel - amount) }
    }

    mutating func holdRefund(_ amount: Int64) { givenBack.hold(amount) }

    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool) {
        let amount = Self.product(cost, quota.lengthMs)
        givenBack.remove(amount)
        if !isReported { sharedLevel = Swift.max(0, sharedLevel - amount) }
    }

    mutating func wroteBackRefund(_ amount: Int64, _ numbers: ArraySlice<Int64>?, decidedMs: Int64) {
        givenBack.remove(amount)
        if let level = numbers?.first { return observe(level: level, atMs: decidedMs) }
        sharedLevel = Swift.max(0, sharedLevel - amount)
    }

    var credit: Int64 { givenBack.amount }
    mutating func restoreCredit(_ amount: Int64) { givenBack.add(amount) }

    // MARK: A restart

    /// What is given back after that counts as given back of older usage. The levels of the own bucket are saved times
    /// the number of replicas.
    func state(hasShare: Bool) -> CounterState.Usage? {
        .bucket(
            CounterState.BucketState(
                sharedLevel: sharedLevel, sharedMs: sharedMs,
                localLevel: hasShare && localLevel >= 0 ? Self.product(localLevel, replicaCount) : -1,
                ownLevel: Self.product(ownLevel, replicaCount),
                confirmedLevel: Self.product(confirmedLevel, replicaCount), localMs: localMs,
                replicaCount: replicaCount, localCapacity: Self.product(localCapacity, replicaCount), max: max,
                burst: max > 0 ? burst : 0, lengthMs: max > 0 ? lengthMs : 0))
    }

    mutating func restore(_ usage: CounterState.Usage) -> Bool {
        guard case .bucket(let state) = usage else { return false }
        sharedLevel = state.sharedLevel
        sharedMs = state.sharedMs
        replicaCount = state.replicaCount
        localLevel = state.localLevel < 0 ? -1 : state.localLevel / replicaCount
        ownLevel = (state.ownLevel + replicaCount - 1) / replicaCount
        confirmedLevel = state.confirmedLevel / replicaCount
        localMs = state.localMs
        localCapacity = state.localCapacity / replicaCount
        (max, burst, lengthMs) = (state.max, state.burst, state.lengthMs)
        return localLevel >= 0
    }

    /// When nothing of it counts any more, ms since the epoch. It is kept for at least a window: after a reload or a
    /// restart with a lower maximum, it leaks more slowly.
    var countsUntilMs: Int64? {
        guard let quota else { return 0 }
        func untilMs(_ level: Int64, sinceMs: Int64, replicas: Int64) -> Int64 {
            level > 0 ? sinceMs + Swift.max(quota.lengthMs, (level + quota.max - 1) / quota.max * replicas) : 0
        }
        return Swift.max(
            untilMs(sharedLevel, sinceMs: sharedMs, replicas: 1),
            untilMs(ownLevel, sinceMs: localMs, replicas: replicaCount))
    }

    /// However slowly it may leak from now on.
    func isQuiet(_ quota: Quota?, nowMs: Int64) -> Bool {
        guard let quota, isTouched else { return true }
        guard combinedLevel(quota, nowMs: nowMs) == 0 else { return false }
        return nowMs - Swift.max(sharedLevel > 0 ? sharedMs : 0, ownLevel > 0 ? localMs : 0) >= quota.lengthMs
    }

    /// What a cost adds to a level. A commit may have any cost, so the product is clamped if it overflows.
    private static func product(_ cost: Int64, _ lengthMs: Int64) -> Int64 {
        let (product, overflow) = cost.multipliedReportingOverflow(by: lengthMs)
        return overflow ? most : min(product, most)
    }
}

extension CounterState {
    /// See `BucketUsage`.
    package struct BucketState: Sendable, Equatable, SavedUsage {
        package var sharedLevel: Int64
        package var sharedMs: Int64
        /// -1 while the store counts.
        package var localLevel: Int64
        package var ownLevel: Int64
        package var confirmedLevel: Int64
        package var localMs: Int64
        package var replicaCount: Int64
        package var localCapacity: Int64
        /// The limit; a maximum of 0: none is known.
        package var max: Int64
        package var burst: Int64
        package var lengthMs: Int64
    }
}

extension CounterState.BucketState {
    var isPlausible: Bool {
        // The time of a bucket that was never used is 0.
        guard StateRecord.isAmount(sharedLevel), StateRecord.isTime(sharedMs), StateRecord.isTime(localMs),
            BucketUsage.levels ~= localLevel || localLevel == -1,
            [ownLevel, confirmedLevel, localCapacity].allSatisfy({ BucketUsage.levels ~= $0 }),
            1...Int64(EngineBounds.maxReplicas + 1) ~= replicaCount,
            0...PolicyBounds.maxLimit ~= max, 0...PolicyBounds.maxLimit ~= burst,
            0...PolicyBounds.maxWindowSeconds * 1000 ~= lengthMs
        else { return false }
        // No more than the capacity of the replica's own bucket.
        guard ownLevel / replicaCount <= Quota.maxExact, confirmedLevel <= ownLevel else { return false }
        return lengthMs == 0 || Swift.max(max, burst) <= Quota.maxExact / lengthMs
    }

    var isVoid: Bool { sharedLevel <= 0 && ownLevel <= 0 }
    var isUnsent: Bool { ownLevel > confirmedLevel }

    func append(to writer: inout RecordWriter) {
        writer.put(UsageKind.bucket.rawValue)
        writer.put(sharedLevel, sharedMs, localLevel, ownLevel, confirmedLevel)
        writer.put(localMs, replicaCount, localCapacity)
        writer.put(max, burst, lengthMs)
    }

    init?(_ reader: inout RecordReader) {
        guard let numbers = reader.numbers(11) else { return nil }
        self.init(
            sharedLevel: numbers[0], sharedMs: numbers[1], localLevel: numbers[2], ownLevel: numbers[3],
            confirmedLevel: numbers[4], localMs: numbers[5], replicaCount: numbers[6], localCapacity: numbers[7],
            max: numbers[8], burst: numbers[9], lengthMs: numbers[10])
    }
}
