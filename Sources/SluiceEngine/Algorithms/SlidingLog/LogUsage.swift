import SluicePolicy

/// The usage of a sliding log. In an outage this replica admits its share of what the log had left, which grows as
/// earlier charges expire, and what it has spent of that counts for a window, too.
struct LogUsage: LocalUsage {
    private let lengthMs: Int64
    /// The log as the store last reported it, in a few steps, plus what later turned out to be charged there. It frees
    /// nothing sooner than the store does.
    private var shared = UsageLog()
    /// Until then, ms since the epoch, `shared` is exactly what the store has; after that it may be more.
    private(set) var exactUntilMs: Int64 = 0
    /// Local admissions that are not known to be in the store.
    private var own = UsageLog()
    /// The part that must not be written back now, by time of admission: see `UnwrittenUsage.unconfirmed`.
    private var unconfirmed = UsageLog()
    /// `shared` at the start of the outage: the share is a part of what it left of the maximum.
    private var shareBase = UsageLog()
    /// What is spent of the share, whether or not the store has it by now.
    private var taken = UsageLog()
    /// What was given back without the store, by the time of the charges that it takes back.
    private var givenBack = UsageLog()
    /// While it is not 0, a batch in flight may have given back some of it in the store.
    private var heldRefund: Int64 = 0
    /// Admissions up to then have been dropped, ms since the epoch.
    private var trimmedMs: Int64 = -1
    var countedBytes = 0

    init(lengthMs: Int64) { self.lengthMs = lengthMs }

    var bytes: Int {
        shared.bytes + own.bytes + unconfirmed.bytes + shareBase.bytes + taken.bytes + givenBack.bytes
    }

    // MARK: Reports of the store

    /// A `Usage` does not hold the steps.
    mutating func observe(_ usage: Usage, decidedMs: Int64) {}

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

    mutating func markStored(_ steps: [UsageLog.Step]) {
        for step in steps { markStored(step.units, atMs: step.ms) }
    }

    /// The store's usage has it.
    private mutating func markStored(_ amount: Int64, atMs: Int64) { own.remove(amount, atMs: atMs) }

    mutating func confirm(_ steps: [UsageLog.Step], chargedMs: Int64) {
        for step in steps { confirm(step.units, atMs: step.ms, chargedMs: chargedMs) }
    }

    /// They still count as taken from the share.
    private mutating func confirm(_ amount: Int64, atMs: Int64, chargedMs: Int64) {
        shared.add(own.remove(amount, atMs: atMs), atMs: max(atMs, chargedMs))
        exactUntilMs = 0
    }

    // MARK: During an outage

    mutating func beginShare() {
        shareBase = shared
        taken = own
    }

    mutating func takeShare(_ amount: Int64, _ quota: Quota, _ place: Counter.Place?, cutMs: Int64, nowMs: Int64) {
        take(amount, atMs: cutMs)
    }

    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64) {
        take(-amount, atMs: fromMs)
        take(amount, atMs: toMs)
    }

    private mutating func take(_ amount: Int64, atMs: Int64) {
        if amount > 0 { taken.add(amount, atMs: atMs) } else { taken.remove(-amount, atMs: atMs) }
    }

    /// Drops what no longer counts. If the store's clock was followed back, charges that lay ahead count from here on.
    private mutating func turn(toMs nowMs: Int64) {
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
        givenBack.turnBack(toMs: nowMs)
        givenBack.trim(nowMs: nowMs, lengthMs: lengthMs)
        trimmedMs = nowMs - lengthMs
    }

    mutating func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        turn(toMs: nowMs)
        return shareLeft(quota, replicas: replicas, hash: hash, nowMs: nowMs)
    }

    /// Admits nothing beyond what the store's usage leaves, whatever the share.
    private func shareLeft(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        let share = replicas.share(
            of: quota.max - shareBase.used(nowMs: nowMs, lengthMs: lengthMs), counterHash: hash)
        let credit = givenBack.used(nowMs: nowMs, lengthMs: lengthMs)
        return min(
            share + credit - taken.used(nowMs: nowMs, lengthMs: lengthMs), max(0, quota.max - knownUsed(nowMs: nowMs)))
    }

    mutating func admit(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt? {
        own.add(cost, atMs: nowMs)
        taken.add(cost, atMs: nowMs)
        return nil
    }

    mutating func adjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) {
        guard item.chargedMs + lengthMs > nowMs || cost > 0 else { return }
        let chargedMs = item.chargedMs + lengthMs > nowMs ? item.chargedMs : nowMs
        if cost >= 0 {
            own.add(cost, atMs: chargedMs)
            taken.add(cost, atMs: chargedMs)
        } else {
            taken.remove(own.remove(-cost, atMs: chargedMs), atMs: chargedMs)
            boundCredit(atMs: chargedMs)
        }
    }

    /// No more can be given back of a charge than is left of it.
    private mutating func boundCredit(atMs ms: Int64) {
        func units(_ log: UsageLog) -> Int64 { log.units(from: ms) - log.units(from: ms + 1) }
        givenBack.remove(units(givenBack) - units(own) - units(shared), atMs: ms)
    }

    func canAdjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) -> Bool {
        cost <= Quota.maxExact - own.total
    }

    /// If it exceeds this replica's share, until a window is over.
    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        // What is left only grows without new checks: a binary search finds when it suffices.
        let newestMs = max(shared.newestMs, own.newestMs, shareBase.newestMs, taken.newestMs)
        var (low, high) = (nowMs, max(nowMs, newestMs + lengthMs))
        guard shareLeft(quota, replicas: replicas, hash: hash, nowMs: high) >= cost else { return max(1, lengthMs) }
        while low < high {
            let middle = low + (high - low) / 2
            if shareLeft(quota, replicas: replicas, hash: hash, nowMs: middle) >= cost {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return max(1, low - nowMs)
    }

    // MARK: Combined usage

    private func knownUsed(nowMs: Int64) -> Int64 {
        min(
            Quota.maxExact,
            max(
                0,
                shared.used(nowMs: nowMs, lengthMs: lengthMs) + own.used(nowMs: nowMs, lengthMs: lengthMs)
                    - givenBack.used(nowMs: nowMs, lengthMs: lengthMs)))
    }

    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage {
        var usage = Usage(used: knownUsed(nowMs: nowMs))
        if usage.used > 0 { usage.lastExpiryMs = max(shared.newestMs, own.newestMs) + lengthMs }
        return usage
    }

    func sharedUsage(_ quota: Quota?, cost: Int64, nowMs: Int64) -> Usage {
        var usage = Usage(used: shared.used(nowMs: nowMs, lengthMs: lengthMs))
        if usage.used > 0 { usage.lastExpiryMs = shared.newestMs + lengthMs }
        if let quota, cost > 0 {
            usage.firstExpiryMs = sharedFreeMs(quota, cost: quota.units(ofCost: cost), nowMs: nowMs)
        }
        return usage
    }

    /// When a check of this cost that does not fit at `nowMs` will fit, by the store's report, ms since the epoch; not
    /// exact beyond `exactUntilMs`. 0 if it never will.
    private func sharedFreeMs(_ quota: Quota, cost: Int64, nowMs: Int64) -> Int64 {
        let missing = shared.used(nowMs: nowMs, lengthMs: lengthMs) + cost - quota.max
        return shared.freeMs(missing, nowMs: nowMs, lengthMs: lengthMs) ?? 0
    }

    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 { own.used(nowMs: nowMs, lengthMs: lengthMs) }

    var isTouched: Bool { !(shared.isEmpty && own.isEmpty && taken.isEmpty) }

    func isQuiet(_ quota: Quota?, nowMs: Int64) -> Bool { nowMs >= lastMs }

    private var lastMs: Int64 {
        let newestMs = max(shared.newestMs, own.newestMs, taken.newestMs)
        return newestMs < 0 ? 0 : newestMs + lengthMs
    }

    // MARK: Write-backs

    mutating func markUnconfirmed(_ amount: Int64, _ place: Counter.Place?, cutMs: Int64) {
        // What has been dropped is not unconfirmed any more, and cannot become so.
        guard cutMs > trimmedMs else { return }
        if amount > 0 { unconfirmed.add(amount, atMs: cutMs) } else { unconfirmed.remove(-amount, atMs: cutMs) }
    }

    func isUnconfirmed(nowMs: Int64) -> Bool { unconfirmed.used(nowMs: nowMs, lengthMs: lengthMs) > 0 }

    func hasLocalAdmissions(nowMs: Int64) -> Bool {
        own.used(nowMs: nowMs, lengthMs: lengthMs) > 0 || givenBack.used(nowMs: nowMs, lengthMs: lengthMs) > 0
    }

    mutating func writeBacks(restores: Bool, atMost: Int64, windowStartMs: Int64, nowMs: Int64) -> [WriteBack] {
        let unwritten = unwritten(atMost: EngineBounds.maxLogStepsWrittenBack, nowMs: nowMs)
        // The store is raised so that each step's units were charged then or later.
        let restored =
            restores
            ? shared.steps.map { WriteBack(.restore, shared.units(from: $0.ms), windowMs: $0.ms) } : []
        let unsent = heldRefund == 0 && !restores ? givenBack.total : 0
        return restored + unwritten.map { WriteBack(.increment, $0.units, windowMs: $0.ms) } + [
            WriteBack(.decrement, unsent, windowMs: max(0, givenBack.newestMs))
        ]
    }

    /// Local admissions that may be written back, by time of admission.
    ///
    /// - Parameter most: the most steps to return.
    private mutating func unwritten(atMost most: Int, nowMs: Int64) -> [UsageLog.Step] {
        turn(toMs: nowMs)
        own.coarsen(to: most)
        var lastMs: Int64 = -1
        return own.steps.map { step in
            defer { lastMs = step.ms }
            let unconfirmed = unconfirmed.units(from: lastMs + 1) - unconfirmed.units(from: step.ms + 1)
            return UsageLog.Step(ms: step.ms, units: max(0, step.units - unconfirmed))
        }
    }

    /// A write-back is charged when the replica admitted it.
    func quota(of writeBack: WriteBack) -> Quota? {
        Quota(
            algorithm: .slidingLog, max: Quota.maxExact, holdMs: writeBack.windowMs,
            windowStartMs: Quota.endless.lowerBound, windowEndMs: Quota.endless.upperBound, lengthMs: lengthMs)
    }

    mutating func wroteBack(
        _ amount: Int64, of writeBack: WriteBack, _ numbers: ArraySlice<Int64>?, _ place: Counter.Place,
        decidedMs: Int64
    ) -> Bool {
        guard let numbers else {
            confirm(amount, atMs: writeBack.windowMs, chargedMs: writeBack.windowMs)
            return true
        }
        markStored(amount, atMs: writeBack.windowMs)
        observe(numbers)
        return true
    }

    // MARK: Refunds

    mutating func refund(_ cost: Int64, _ quota: Quota, isShared: Bool, nowMs: Int64) {
        turn(toMs: nowMs)
        if isShared { return restoreCredit(cost) }
        own.removeNewest(cost)
        taken.removeNewest(cost)
    }

    /// Takes back the newest charges.
    mutating func restoreCredit(_ amount: Int64) {
        var all = shared
        for step in own.steps { all.add(step.units, atMs: step.ms) }
        var left = amount
        for step in all.steps.reversed() where left > 0 {
            let before = givenBack.units(from: step.ms) - givenBack.units(from: step.ms + 1)
            let back = min(left, max(0, step.units - before))
            givenBack.add(back, atMs: step.ms)
            left -= back
        }
    }

    mutating func holdRefund(_ amount: Int64) { heldRefund = max(0, min(Quota.maxExact, heldRefund + amount)) }

    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool) {
        givenBack.removeNewest(cost)
        if !isReported { lowerShared(by: cost) }
    }

    mutating func wroteBackRefund(_ amount: Int64, _ numbers: ArraySlice<Int64>?, decidedMs: Int64) {
        givenBack.removeNewest(amount)
        if let numbers { observe(numbers) } else { lowerShared(by: amount) }
    }

    private mutating func lowerShared(by amount: Int64) {
        shared.removeNewest(amount)
        exactUntilMs = 0
    }

    var credit: Int64 { givenBack.total }

    // MARK: A restart

    func state(hasShare: Bool) -> CounterState.Usage? {
        .log(
            CounterState.LogState(
                shared: shared.steps, own: own.steps, base: hasShare ? shareBase.steps : nil,
                taken: hasShare ? taken.steps : []))
    }

    mutating func restore(_ usage: CounterState.Usage) -> Bool {
        guard case .log(let state) = usage else { return false }
        shared = UsageLog(state.shared)
        own = UsageLog(state.own)
        guard let base = state.base else { return false }
        shareBase = UsageLog(base)
        taken = UsageLog(state.taken)
        return true
    }

    var countsUntilMs: Int64? { lastMs }
}

extension CounterState {
    /// See `LogUsage`.
    package struct LogState: Sendable, Equatable, SavedUsage {
        package var shared: [UsageLog.Step]
        package var own: [UsageLog.Step]
        /// nil while all count in the store; then nothing is taken.
        package var base: [UsageLog.Step]?
        package var taken: [UsageLog.Step]

        package init(
            shared: [UsageLog.Step], own: [UsageLog.Step], base: [UsageLog.Step]? = nil, taken: [UsageLog.Step] = []
        ) {
            self.shared = shared
            self.own = own
            self.base = base
            self.taken = taken
        }
    }
}

extension CounterState.LogState {
    var isPlausible: Bool {
        [shared, own, base ?? [], taken].allSatisfy { steps in
            steps.count <= EngineBounds.maxLogEntries
                && steps.allSatisfy { StateRecord.isTime($0.ms) && 1...Quota.maxExact ~= $0.units }
                && zip(steps, steps.dropFirst()).allSatisfy { $0.ms < $1.ms }
        }
    }

    var isVoid: Bool { shared.isEmpty && own.isEmpty && taken.isEmpty }
    var isUnsent: Bool { !own.isEmpty }

    func append(to writer: inout RecordWriter) {
        writer.put((base == nil ? UsageKind.logWithoutShare : .logWithShare).rawValue)
        for steps in [shared, own] + (base.map { [$0, taken] } ?? []) {
            writer.put(Int64(steps.count) * 2)
            for step in steps { writer.put(step.ms, step.units) }
        }
    }

    init?(_ reader: inout RecordReader, hasShare: Bool) {
        var lists: [[UsageLog.Step]] = []
        for _ in 0..<(hasShare ? 4 : 2) {
            guard let numbers = reader.list(), numbers.count.isMultiple(of: 2) else { return nil }
            lists.append(
                stride(from: 0, to: numbers.count, by: 2).map {
                    UsageLog.Step(ms: numbers[$0], units: numbers[$0 + 1])
                })
        }
        self.init(
            shared: lists[0], own: lists[1], base: hasShare ? lists[2] : nil, taken: hasShare ? lists[3] : [])
    }
}
