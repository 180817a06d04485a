/// Calls in progress. Each takes one slot, whatever its cost, until it is released or has expired.
enum Concurrency: AlgorithmRules {
    /// The longest wait for a slot that is reported, ms: a slot may be released at any moment.
    static let pollMs: Int64 = 1000

    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { quota.max - usage.used }

    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        max(1, min(pollMs, usage.firstExpiryMs - nowMs))
    }

    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { max(0, usage.lastExpiryMs - nowMs) }

    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        nowMs + quota.holdMs
    }

    static let usageCount = 3

    static func read(_ numbers: ArraySlice<Int64>, into usage: inout Usage) {
        usage.firstExpiryMs = numbers[numbers.startIndex + 1]
        usage.lastExpiryMs = numbers[numbers.startIndex + 2]
    }

    static func append(_ usage: Usage, to numbers: inout [Int64]) {
        numbers += [usage.firstExpiryMs, usage.lastExpiryMs]
    }

    static func keeps(_ usage: CounterState.Usage) -> Bool { false }

    static func localUsage(lengthMs: Int64) -> (any LocalUsage)? { SlotUsage() }
}

/// The usage of a concurrency limit: slots that the store reported, and slots taken here.
struct SlotUsage: LocalUsage {
    private var sharedUsed: Int64 = 0
    private var sharedFirstMs: Int64 = 0
    /// When all slots that the store reported will have expired.
    private var sharedLastMs: Int64 = 0
    /// Slots taken here during an outage, in order; at most as many as the limit has, and
    /// `EngineBounds.maxLocalReservations`.
    private var own: [(id: ReservationID, expiryMs: Int64)] = []

    mutating func observe(_ usage: Usage, decidedMs: Int64) {
        sharedUsed = usage.used
        sharedFirstMs = usage.firstExpiryMs
        sharedLastMs = usage.lastExpiryMs
    }

    /// The share is a part of what is left at the time of each check.
    mutating func beginShare() {}

    /// Slots are not shared for checks that the store decides.
    mutating func takeShare(_ amount: Int64, _ quota: Quota, _ place: Counter.Place?, cutMs: Int64, nowMs: Int64) {}

    private mutating func expire(nowMs: Int64) {
        if own.contains(where: { $0.expiryMs <= nowMs }) { own.removeAll { $0.expiryMs <= nowMs } }
    }

    mutating func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        expire(nowMs: nowMs)
        return replicas.share(of: quota.max - shared(nowMs: nowMs).used, counterHash: hash) - Int64(own.count)
    }

    mutating func admit(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt? {
        if let reservation { own.append((reservation, nowMs + quota.holdMs)) }
        return nil
    }

    /// A slot costs 1, whatever the call costs.
    mutating func adjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) {}

    func canAdjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) -> Bool {
        true
    }

    mutating func release(_ reservation: ReservationID) { own.removeAll { $0.id == reservation } }

    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        var firstMs = own.map(\.expiryMs).min() ?? .max
        if sharedLastMs > nowMs { firstMs = min(firstMs, sharedLastMs) }
        return max(1, min(Concurrency.pollMs, firstMs - nowMs))
    }

    func sharedUsage(_ quota: Quota?, cost: Int64, nowMs: Int64) -> Usage { shared(nowMs: nowMs) }

    private func shared(nowMs: Int64) -> Usage {
        guard nowMs < sharedLastMs else { return Usage(used: 0) }
        var usage = Usage(used: sharedUsed)
        usage.firstExpiryMs = sharedFirstMs
        usage.lastExpiryMs = sharedLastMs
        return usage
    }

    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 { Int64(own.count { $0.expiryMs > nowMs }) }

    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage {
        combinedUsage(nowMs: nowMs)
    }

    private func combinedUsage(nowMs: Int64) -> Usage {
        let live = own.lazy.filter { $0.expiryMs > nowMs }.map(\.expiryMs)
        let shared = shared(nowMs: nowMs)
        var usage = Usage(used: shared.used + Int64(live.count))
        usage.firstExpiryMs = min(live.min() ?? .max, shared.used > 0 ? max(shared.firstExpiryMs, nowMs + 1) : .max)
        usage.lastExpiryMs = max(live.max() ?? 0, shared.used > 0 ? shared.lastExpiryMs : 0)
        if usage.used == 0 { usage.firstExpiryMs = 0 }
        return usage
    }

    var isTouched: Bool { sharedUsed > 0 || !own.isEmpty }

    func isQuiet(_ quota: Quota?, nowMs: Int64) -> Bool { combinedUsage(nowMs: nowMs).used == 0 }

    // Slots are neither written back nor restored nor recorded: they belong to reservations, which expire.

    mutating func markUnconfirmed(_ amount: Int64, _ place: Counter.Place?, cutMs: Int64) {}
    func isUnconfirmed(nowMs: Int64) -> Bool { locallyUsed(nil, nowMs: nowMs) > 0 }
    func hasLocalAdmissions(nowMs: Int64) -> Bool { false }
    func writeBacks(restores: Bool, atMost: Int64, windowStartMs: Int64, nowMs: Int64) -> [WriteBack] { [] }

    mutating func wroteBack(
        _ amount: Int64, of writeBack: WriteBack, _ numbers: ArraySlice<Int64>?, _ place: Counter.Place,
        decidedMs: Int64
    ) -> Bool { false }

    func state(hasShare: Bool) -> CounterState.Usage? { nil }
    mutating func restore(_ state: CounterState.Usage) -> Bool { false }
}
