import SluicePolicy

/// Per-check accessors that read a counter's row field by field: a method of `Counter` would receive a copy of it.
extension PlanTable {
    /// The earliest start of a plan's windows, ms since the epoch; -1 if one has no window.
    @inline(__always)
    func firstStartMs(ofPlan plan: Int) -> Int64 {
        var firstMs = Int64.max
        for index in 0..<plans[plan].counters.count {
            let counter = plans[plan].counters[index]
            firstMs = min(firstMs, counters[counter].span.startMs)
        }
        return firstMs
    }

    /// The last window of a counter.
    @inline(__always)
    func open(ofCounter counter: Int) -> Counter.OpenWindow {
        Counter.open(counters[counter].span, of: counters[counter].template.window, counters[counter].algorithm)
    }

    /// Appends `Counter.baseKey`.
    @inline(__always)
    func appendBaseKey(ofCounter counter: Int, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: counters[counter].template.head)
        counters[counter].own.append(to: &bytes)
        bytes.append(contentsOf: counters[counter].template.tail)
    }

    /// The number of bytes that it appends.
    @inline(__always)
    func baseKeyByteCount(ofCounter counter: Int) -> Int {
        counters[counter].template.head.count + counters[counter].own.count + counters[counter].template.tail.count
    }

    /// The quota of one limit of a plan, in the last window of its counter.
    func quota(ofPlan plan: Int, _ index: Int) -> Quota {
        self[rulesOf: plan].limits[index].quota.at(open(ofCounter: counter(ofPlan: plan, index)))
    }

    /// The hashes that identify repeats of a check.
    func idempotency(_ tracked: borrowing TrackedCheck, plan: Int) -> Batch.Idempotency {
        var hash = stableHash([])
        for (index, limit) in self[rulesOf: plan].limits.enumerated() {
            hash = stableHash(counters[counter(ofPlan: plan, index)].baseKey, after: hash)
            // The usage of a shadow limit has other numbers.
            hash = stableHash([limit.isShadow ? 1 : 0], after: hash)
        }
        return Batch.Idempotency(
            argumentsHash: ReservationID.hexadecimal(tracked.argumentsHash),
            countersHash: ReservationID.hexadecimal(hash))
    }

    /// The window of a counter that contains `nowMs`.
    @inline(__always)
    func bounds(ofCounter counter: Int, at nowMs: Int64) -> Counter.OpenWindow {
        if counters[counter].span.holds(nowMs) { return open(ofCounter: counter) }
        return Counter.bounds(of: counters[counter].template.window, counters[counter].algorithm, at: nowMs)
    }

    /// Whether the counter's last window contains `nowMs`, and the store has reported it.
    @inline(__always)
    func isOpen(counter: Int, at nowMs: Int64) -> Bool {
        counters[counter].isSeen && counters[counter].span.holds(nowMs)
    }

    /// The combined usage: see `Counter.combinedUsage`.
    @inline(__always)
    func combinedUsage(ofCounter counter: Int, _ quota: Quota, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: counters[counter].windowed.used) }
        return counters[counter].combinedUsage(quota, nowMs: nowMs)
    }

    /// The usage that the store last reported, as it is at `nowMs` for a check of that cost, without charges that
    /// turned out later.
    @inline(__always)
    func reported(ofCounter counter: Int, _ quota: Quota, cost: Int64, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: counters[counter].windowed.sharedUsed) }
        return counters[counter].shared(quota, cost: cost, nowMs: nowMs)
    }

    /// Whether it counts only a fixed window, as most counters do.
    @inline(__always)
    private func hasWindowAlone(_ counter: Int) -> Bool {
        counters[counter].algorithm == .fixedWindow && counters[counter].rare == nil
    }
}
