import SluicePolicy

/// The usage of the open window, plus the part of the previous window's usage that a window of the open one's length,
/// ending now, overlaps: see `Quota.reach`.
enum SlidingWindow: AlgorithmRules {
    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 {
        quota.max - usage.used - quota.reach(of: usage.previous, nowMs: nowMs)
    }

    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        let room = quota.max - usage.used - cost
        // Either in this window, when enough of the previous one has slid out; or in the next, when enough of this one
        // has.
        let at =
            room >= 0
            ? quota.windowEndMs - timeLeft(forReach: room, of: usage.previous, lengthMs: quota.previousLengthMs)
            : max(
                quota.windowEndMs,
                quota.nextEndMs - timeLeft(forReach: quota.max - cost, of: usage.used, lengthMs: quota.lengthMs))
        return max(1, at - nowMs)
    }

    /// The most that may be left of a window for `previous` to count in it with no more than `reach`, ms.
    ///
    /// - Parameter lengthMs: the length of the window in which `previous` was used.
    private static func timeLeft(forReach reach: Int64, of previous: Int64, lengthMs: Int64) -> Int64 {
        guard previous > reach else { return lengthMs }
        return scale(lengthMs, by: reach, over: previous).quotient
    }

    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 {
        max(1, (usage.used > 0 ? quota.nextEndMs : quota.windowEndMs) - nowMs)
    }

    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        quota.nextEndMs
    }

    static func scriptParameters(_ quota: Quota) -> (lengthMs: Int64, extra: Int64) {
        (quota.previousLengthMs, quota.nextEndMs)
    }

    static let usageCount = 2

    static func read(_ numbers: ArraySlice<Int64>, into usage: inout Usage) {
        usage.previous = numbers[numbers.startIndex + 1]
    }

    static func append(_ usage: Usage, to numbers: inout [Int64]) { numbers.append(usage.previous) }

    static func keeps(_ usage: CounterState.Usage) -> Bool { if case .window = usage { true } else { false } }

    static func localUsage(lengthMs: Int64) -> (any LocalUsage)? { SlidingUsage() }
}

extension Quota {
    /// How much of the previous window's usage still counts, rounded up.
    package func reach(of previous: Int64, nowMs: Int64) -> Int64 {
        guard previous > 0 else { return 0 }
        let reachingMs = Swift.max(0, windowEndMs - nowMs)
        // It counts at most once: the open window may be the longer one.
        guard reachingMs < previousLengthMs else { return previous }
        let (share, rest) = scale(previous, by: reachingMs, over: previousLengthMs)
        return rest > 0 ? share + 1 : share
    }
}

/// `value * part / whole`, where the product may overflow an integer.
///
/// - Parameter part: 0 to `whole`.
private func scale(_ value: Int64, by part: Int64, over whole: Int64) -> (quotient: Int64, remainder: Int64) {
    whole.dividingFullWidth(value.multipliedFullWidth(by: part))
}

/// The usage of a sliding window: of the open window, and of the one before it, part of which still counts.
struct SlidingUsage: LocalUsage {
    private var open = WindowUsage()
    /// As `UnwrittenUsage.unconfirmed`, of the open window.
    private var unconfirmed: Int64 = 0
    private var before = WindowBefore()
    /// What was given back of the open window without the store.
    private var givenBack = Credit()

    // MARK: Reports of the store

    mutating func observe(_ usage: Usage, decidedMs: Int64) {
        open.observe(used: usage.used)
        before.sharedUsed = usage.previous
    }

    mutating func markStored(_ amount: Int64, _ quota: Quota, _ place: Counter.Place) {
        switch place {
        case .open: open.markStored(amount)
        case .before: before.own.markStored(amount)
        }
    }

    mutating func confirm(_ amount: Int64, _ quota: Quota, _ place: Counter.Place) -> Bool {
        switch place {
        case .open: open.confirm(amount)
        case .before: before.confirm(amount)
        }
        return place == .open
    }

    mutating func turn(isNext: Bool) {
        before = isNext ? WindowBefore(open, unconfirmed: unconfirmed) : WindowBefore()
        open = WindowUsage()
        unconfirmed = 0
        // What was given back of a window that is over before the store is back stays charged there.
        givenBack = Credit()
    }

    // MARK: During an outage

    mutating func beginShare() {
        open.beginShare()
        before.beginShare()
    }

    mutating func takeShare(_ amount: Int64, _ quota: Quota, _ place: Counter.Place?, cutMs: Int64, nowMs: Int64) {
        switch place {
        case .open?: open.take(amount)
        case .before?: before.take(amount)
        case nil: break
        }
    }

    func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        Self.left(quota, open, before, credit: givenBack.amount, replicas: replicas, hash: hash, nowMs: nowMs)
    }

    /// The share grows while the previous window slides out; local admissions are taken from the share alone.
    private static func left(
        _ quota: Quota, _ open: WindowUsage, _ before: WindowBefore, credit: Int64, replicas: borrowing ReplicaView,
        hash: UInt64, nowMs: Int64
    ) -> Int64 {
        let shared = quota.max - open.shareBase - quota.reach(of: before.shareBase, nowMs: nowMs)
        let share = replicas.share(of: shared, counterHash: hash)
        return min(
            share + credit - open.taken - quota.reach(of: before.taken, nowMs: nowMs),
            max(0, quota.max - max(0, open.used - credit) - quota.reach(of: before.used, nowMs: nowMs)))
    }

    mutating func admit(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt? {
        givenBack.bound(by: open.used)
        open.admit(cost)
        return nil
    }

    mutating func adjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) {
        switch place {
        case .open?:
            open.adjust(by: cost)
            givenBack.bound(by: open.used)
        case .before?: before.adjust(by: cost)
        case nil: if cost > 0 { open.admit(cost) }
        }
    }

    func canAdjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) -> Bool {
        // What no longer counts is not changed, and so never exceeds the bound.
        let used = place.map { $0 == .open ? open.own : before.own.used } ?? 0
        return cost <= Quota.maxExact - used
    }

    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        var open = open
        var before = before
        var quota = quota
        var credit = givenBack.amount
        func left(nowMs: Int64) -> Int64 {
            Self.left(quota, open, before, credit: credit, replicas: replicas, hash: hash, nowMs: nowMs)
        }
        for _ in 0..<2 {
            // The share grows with time: a binary search finds when it suffices.
            var low = max(nowMs, quota.windowStartMs)
            var high = quota.windowEndMs - 1
            if left(nowMs: high) >= cost {
                while low < high {
                    let middle = low + (high - low) / 2
                    if left(nowMs: middle) >= cost {
                        high = middle
                    } else {
                        low = middle + 1
                    }
                }
                return max(1, low - nowMs)
            }
            before = WindowBefore(open, unconfirmed: 0)
            open = WindowUsage()
            credit = 0
            let lengthMs = quota.nextEndMs - quota.windowEndMs
            quota = Quota(
                algorithm: .slidingWindow, max: quota.max, windowStartMs: quota.windowEndMs,
                windowEndMs: quota.nextEndMs, lengthMs: lengthMs, previousLengthMs: quota.lengthMs,
                nextEndMs: quota.nextEndMs + lengthMs)
        }
        // The check exceeds this replica's share: wait until both windows are over, if the store stays unavailable.
        return max(1, quota.windowEndMs - quota.lengthMs - nowMs)
    }

    // MARK: Combined usage

    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage {
        var usage = Usage(used: max(0, open.used - givenBack.amount))
        usage.previous = before.used
        return usage
    }

    func sharedUsage(_ quota: Quota?, cost: Int64, nowMs: Int64) -> Usage {
        var usage = Usage(used: open.sharedUsed)
        usage.previous = before.sharedUsed
        return usage
    }

    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 { max(0, open.own - givenBack.amount) }

    var isTouched: Bool { open.own > 0 }

    func isQuiet(_ quota: Quota?, nowMs: Int64) -> Bool { !open.isTouched && !before.isTouched }

    // MARK: Write-backs

    mutating func markUnconfirmed(_ amount: Int64, _ place: Counter.Place?, cutMs: Int64) {
        switch place {
        case .open?: unconfirmed = max(0, min(Quota.maxExact, unconfirmed + amount))
        case .before?: before.own.markUnconfirmed(amount)
        case nil: break
        }
    }

    func isUnconfirmed(nowMs: Int64) -> Bool { unconfirmed != 0 || before.own.unconfirmed != 0 }

    func hasLocalAdmissions(nowMs: Int64) -> Bool { open.own > 0 || before.own.used > 0 || givenBack.amount > 0 }

    func writeBacks(restores: Bool, atMost: Int64, windowStartMs: Int64, nowMs: Int64) -> [WriteBack] {
        var writeBacks: [WriteBack] = []
        let beforeMs = windowStartMs - 1
        if restores {
            if beforeMs >= 0 { writeBacks.append(WriteBack(.restore, before.sharedUsed, windowMs: beforeMs)) }
            writeBacks.append(WriteBack(.restore, open.sharedUsed, windowMs: windowStartMs))
        }
        if beforeMs >= 0 {
            writeBacks.append(WriteBack(.increment, min(atMost, before.own.unwritten), windowMs: beforeMs))
        }
        let unwritten = max(0, open.own - unconfirmed)
        writeBacks.append(WriteBack(.increment, min(atMost, unwritten), windowMs: windowStartMs))
        writeBacks.append(WriteBack(.decrement, restores ? 0 : min(atMost, givenBack.unsent), windowMs: windowStartMs))
        return writeBacks
    }

    mutating func wroteBack(
        _ amount: Int64, of writeBack: WriteBack, _ numbers: ArraySlice<Int64>?, _ place: Counter.Place,
        decidedMs: Int64
    ) -> Bool {
        switch place {
        case .open: open.wroteBack(amount, numbers?.first)
        case .before: before.wroteBack(amount, numbers?.first)
        }
        return place == .open
    }

    // MARK: Refunds

    mutating func refund(_ cost: Int64, _ quota: Quota, isShared: Bool, nowMs: Int64) {
        let amount = min(cost, max(0, open.used - givenBack.amount))
        if isShared { givenBack.add(amount) } else { open.adjust(by: -amount) }
    }

    mutating func clearBefore() { before = WindowBefore() }

    mutating func holdRefund(_ amount: Int64) { givenBack.hold(amount) }

    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool) {
        givenBack.remove(cost)
        if !isReported { open.sharedUsed = max(0, open.sharedUsed - cost) }
    }

    mutating func wroteBackRefund(_ amount: Int64, _ numbers: ArraySlice<Int64>?, decidedMs: Int64) {
        givenBack.remove(amount)
        open.sharedUsed = numbers?.first ?? max(0, open.sharedUsed - amount)
    }

    var credit: Int64 { givenBack.amount }
    mutating func restoreCredit(_ amount: Int64) { givenBack.add(amount) }

    // MARK: A restart

    func state(hasShare: Bool) -> CounterState.Usage? {
        var state = open.state(hasShare: hasShare)
        state.sharedPrevious = before.sharedUsed
        state.ownPrevious = before.own.used
        state.share?.previousBase = before.shareBase
        state.share?.previousTaken = before.taken
        return .window(state)
    }

    mutating func restore(_ state: CounterState.Usage) -> Bool {
        guard case .window(let window) = state else { return false }
        open = WindowUsage(window)
        before = WindowBefore(window)
        return window.share != nil
    }
}

/// The usage of the window before a sliding one, part of which still counts.
private struct WindowBefore {
    /// As in `WindowUsage`.
    var sharedUsed: Int64 = 0
    var own = UnwrittenUsage()
    private(set) var shareBase: Int64 = 0
    private(set) var taken: Int64 = 0

    init() {}

    /// The window that was open before.
    ///
    /// - Parameter unconfirmed: the local admissions in it that must not be written back yet.
    init(_ usage: WindowUsage, unconfirmed: Int64) {
        sharedUsed = usage.sharedUsed
        own = UnwrittenUsage(used: usage.own, unconfirmed: unconfirmed)
        shareBase = usage.shareBase
        taken = usage.taken
    }

    init(_ state: CounterState.WindowState) {
        sharedUsed = state.sharedPrevious
        own.used = state.ownPrevious
        guard let share = state.share else { return }
        shareBase = share.previousBase
        taken = share.previousTaken
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

    /// Local admissions turned out to be charged in the store.
    mutating func confirm(_ amount: Int64) { sharedUsed = WindowUsage.sum(sharedUsed, own.markStored(amount)) }

    /// As in `WindowUsage`.
    mutating func wroteBack(_ amount: Int64, _ reported: Int64?) {
        guard let reported else { return confirm(amount) }
        own.markStored(amount)
        sharedUsed = reported
    }

    var used: Int64 { WindowUsage.sum(sharedUsed, own.used) }

    var isTouched: Bool { used > 0 }
}

/// Local admissions of one window that are still to be written back.
private struct UnwrittenUsage {
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
