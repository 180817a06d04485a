/// The usage of a sliding log. In an outage this replica admits its share of what the log had left, which grows as
/// earlier charges expire, and what it has spent of that counts for a window, too.
struct LogUsage {
    let lengthMs: Int64
    /// The log as the store last reported it, in a few steps, plus what later turned out to be charged there. It frees
    /// nothing sooner than the store does.
    private(set) var shared = UsageLog()
    /// Until then, ms since the epoch, `shared` is exactly what the store has; after that it may be more.
    private(set) var exactUntilMs: Int64 = 0
    /// Local admissions that are not known to be in the store.
    private(set) var own = UsageLog()
    /// The part that must not be written back now, by time of admission: see `Unsettled.unconfirmed`.
    private var unconfirmed = UsageLog()
    /// `shared` at the start of the outage: the share is a part of what it left of the maximum.
    private(set) var shareBase = UsageLog()
    /// What is spent of the share, whether or not the store has it by now.
    private(set) var taken = UsageLog()
    /// Admissions up to then have been dropped, ms since the epoch.
    private var trimmedMs: Int64 = -1
    /// Its bytes as last counted by the table.
    var countedBytes = 0

    init(lengthMs: Int64) { self.lengthMs = lengthMs }

    var bytes: Int { shared.bytes + own.bytes + unconfirmed.bytes + shareBase.bytes + taken.bytes }

    // MARK: - Reports of the store

    /// - Parameter numbers: as in `Batch.logUsageCount`.
    mutating func observe(_ numbers: ArraySlice<Int64>) {
        let first = numbers.startIndex
        var steps: [UsageLog.Step] = []
        for at in stride(from: first + 4, to: first + Batch.logUsageCount, by: 2) where numbers[at + 1] > 0 {
            steps.append(UsageLog.Step(ms: numbers[at], units: numbers[at + 1]))
        }
        shared = UsageLog(steps)
        let exact = Int(min(numbers[first + 3], Int64(steps.count)))
        exactUntilMs = exact == steps.count ? .max : exact > 0 ? steps[exact - 1].ms + lengthMs : 0
    }

    /// The store's usage has it.
    mutating func markStored(_ amount: Int64, atMs: Int64) { own.remove(amount, atMs: atMs) }

    /// Local admissions turned out to be charged in the store. They still count as taken from the share.
    ///
    /// - Parameter chargedMs: the latest time at which the store charged it.
    mutating func confirm(_ amount: Int64, atMs: Int64, chargedMs: Int64) {
        shared.add(own.remove(amount, atMs: atMs), atMs: max(atMs, chargedMs))
        exactUntilMs = 0
    }

    // MARK: - During an outage

    mutating func beginShare() {
        shareBase = shared
        taken = own
    }

    /// Takes from the share; a negative amount returns it.
    mutating func take(_ amount: Int64, atMs: Int64) {
        if amount > 0 { taken.add(amount, atMs: atMs) } else { taken.remove(-amount, atMs: atMs) }
    }

    /// Drops what no longer counts. If the store's clock was followed back, charges that lay ahead count from here on.
    mutating func turn(toMs nowMs: Int64) {
        shared.turnBack(toMs: nowMs)
        shared.trim(nowMs: nowMs, lengthMs: lengthMs)
        shareBase.turnBack(toMs: nowMs)
        shareBase.trim(nowMs: nowMs, lengthMs: lengthMs)
        taken.turnBack(toMs: nowMs)
        taken.trim(nowMs: nowMs, lengthMs: lengthMs)
        own.turnBack(toMs: nowMs)
        own.trim(nowMs: nowMs, lengthMs: lengthMs)
        unconfirmed.turnBack(toMs: nowMs)
        unconfirmed.trim(nowMs: nowMs, lengthMs: lengthMs)
        trimmedMs = nowMs - lengthMs
    }

    /// Admits nothing beyond what the store's usage leaves, whatever the share.
    func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        let share = replicas.share(
            of: quota.max - shareBase.used(nowMs: nowMs, lengthMs: lengthMs), counterHash: hash)
        return min(
            share - taken.used(nowMs: nowMs, lengthMs: lengthMs), max(0, quota.max - knownUsed(nowMs: nowMs)))
    }

    mutating func admit(_ cost: Int64, nowMs: Int64) {
        own.add(cost, atMs: nowMs)
        taken.add(cost, atMs: nowMs)
    }

    /// Changes a local admission, while it counts.
    mutating func adjust(by cost: Int64, chargedMs: Int64, nowMs: Int64) {
        guard chargedMs + lengthMs > nowMs else { return }
        if cost >= 0 {
            own.add(cost, atMs: chargedMs)
            taken.add(cost, atMs: chargedMs)
        } else {
            taken.remove(own.remove(-cost, atMs: chargedMs), atMs: chargedMs)
        }
    }

    func canAdjust(by cost: Int64) -> Bool { cost <= Quota.maxExact - own.total }

    /// How long until a check that does not fit locally could, ms; if it exceeds this replica's share, until a window
    /// is over.
    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        // What is left only grows without new checks: a binary search finds when it suffices.
        let lastMs = max(shared.newestMs, own.newestMs, shareBase.newestMs, taken.newestMs) + lengthMs
        var (low, high) = (nowMs, max(nowMs, lastMs))
        guard left(quota, replicas: replicas, hash: hash, nowMs: high) >= cost else { return max(1, lengthMs) }
        while low < high {
            let middle = low + (high - low) / 2
            if left(quota, replicas: replicas, hash: hash, nowMs: middle) >= cost {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return max(1, low - nowMs)
    }

    // MARK: - Combined usage

    private func knownUsed(nowMs: Int64) -> Int64 {
        min(
            Quota.maxExact,
            shared.used(nowMs: nowMs, lengthMs: lengthMs) + own.used(nowMs: nowMs, lengthMs: lengthMs))
    }

    func combinedUsage(nowMs: Int64) -> Usage {
        var usage = Usage(used: knownUsed(nowMs: nowMs))
        if usage.used > 0 { usage.lastExpiryMs = max(shared.newestMs, own.newestMs) + lengthMs }
        return usage
    }

    /// The log that the store reported, as it is at `nowMs`.
    func sharedUsage(nowMs: Int64) -> Usage {
        var usage = Usage(used: shared.used(nowMs: nowMs, lengthMs: lengthMs))
        if usage.used > 0 { usage.lastExpiryMs = shared.newestMs + lengthMs }
        return usage
    }

    /// When a check of this cost that does not fit at `nowMs` will fit, by the store's report, ms since the epoch; not
    /// exact beyond `exactUntilMs`. 0 if it never will.
    func sharedFreeMs(_ quota: Quota, cost: Int64, nowMs: Int64) -> Int64 {
        let missing = shared.used(nowMs: nowMs, lengthMs: lengthMs) + cost - quota.max
        return shared.freeMs(missing, nowMs: nowMs, lengthMs: lengthMs) ?? 0
    }

    func locallyUsed(nowMs: Int64) -> Int64 { own.used(nowMs: nowMs, lengthMs: lengthMs) }

    var isTouched: Bool { !(shared.isEmpty && own.isEmpty && taken.isEmpty) }

    /// When nothing of it counts any more, ms since the epoch.
    var countsUntilMs: Int64 {
        let newestMs = max(shared.newestMs, own.newestMs, taken.newestMs)
        return newestMs < 0 ? 0 : newestMs + lengthMs
    }

    // MARK: - Write-backs

    mutating func markUnconfirmed(_ amount: Int64, atMs: Int64) {
        // What has been dropped is not unconfirmed any more, and cannot become so.
        guard atMs > trimmedMs else { return }
        if amount > 0 { unconfirmed.add(amount, atMs: atMs) } else { unconfirmed.remove(-amount, atMs: atMs) }
    }

    func isUnconfirmed(nowMs: Int64) -> Bool { unconfirmed.used(nowMs: nowMs, lengthMs: lengthMs) > 0 }

    /// Local admissions that may be written back, by time of admission.
    ///
    /// - Parameter most: the most steps to return.
    mutating func unwritten(atMost most: Int, nowMs: Int64) -> [UsageLog.Step] {
        turn(toMs: nowMs)
        own.coarsen(to: most)
        var lastMs: Int64 = -1
        return own.steps.map { step in
            defer { lastMs = step.ms }
            let unconfirmed = unconfirmed.units(from: lastMs + 1) - unconfirmed.units(from: step.ms + 1)
            return UsageLog.Step(ms: step.ms, units: max(0, step.units - unconfirmed))
        }
    }

    /// The steps to restore: the store is raised so that each step's units were charged then or later.
    var restores: [UsageLog.Step] {
        shared.steps.map { UsageLog.Step(ms: $0.ms, units: shared.units(from: $0.ms)) }
    }

    // MARK: - A restart

    func state(hasShare: Bool) -> CounterState.LogState {
        CounterState.LogState(
            shared: shared.steps, own: own.steps, base: hasShare ? shareBase.steps : nil,
            taken: hasShare ? taken.steps : [])
    }

    init(_ state: CounterState.LogState, lengthMs: Int64) {
        self.lengthMs = lengthMs
        shared = UsageLog(state.shared)
        own = UsageLog(state.own)
        guard let base = state.base else { return }
        shareBase = UsageLog(base)
        taken = UsageLog(state.taken)
    }
}
