import SluicePolicy

/// Per-check accessors that read a counter's row field by field: a method of `Counter` would receive a copy of it.
extension PlanTable {
    /// The earliest start of a plan's windows, ms since the epoch; -1 if one has no window.
    @inline(__always)
    func firstStartMs(ofPlan plan: PlanID) -> Int64 {
        var firstMs = Int64.max
        for index in 0..<self[plan].counters.count {
            let counter = self[plan].counters[index]
            firstMs = min(firstMs, self[counter].span.startMs)
        }
        return firstMs
    }

    /// The last window of a counter.
    @inline(__always)
    func open(ofCounter counter: CounterID) -> Counter.OpenWindow {
        Counter.open(self[counter].span, of: self[counter].template.window, self[counter].algorithm)
    }

    /// Appends `Counter.baseKey`.
    @inline(__always)
    func appendBaseKey(ofCounter counter: CounterID, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: self[counter].template.head)
        self[counter].own.append(to: &bytes)
        bytes.append(contentsOf: self[counter].template.tail)
    }

    /// The number of bytes that it appends.
    @inline(__always)
    func baseKeyByteCount(ofCounter counter: CounterID) -> Int {
        self[counter].template.head.count + self[counter].own.count + self[counter].template.tail.count
    }

    /// The quota of one limit of a plan, in the last window of its counter.
    func quota(ofPlan plan: PlanID, _ index: Int) -> Quota {
        self[rulesOf: plan].limits[index].quota.at(open(ofCounter: counter(ofPlan: plan, index)))
    }

    /// The hashes that identify repeats of a check.
    func idempotency(_ tracked: borrowing TrackedCheck, plan: PlanID) -> Batch.Idempotency {
        var hash = stableHash([])
        for (index, limit) in self[rulesOf: plan].limits.enumerated() {
            hash = stableHash(self[counter(ofPlan: plan, index)].baseKey, after: hash)
            // The usage of a shadow limit has other numbers.
            hash = stableHash([limit.isShadow ? 1 : 0], after: hash)
        }
        return Batch.Idempotency(
            argumentsHash: ReservationID.hexadecimal(tracked.argumentsHash),
            countersHash: ReservationID.hexadecimal(hash))
    }

    /// The window of a counter that contains `nowMs`.
    @inline(__always)
    func bounds(ofCounter counter: CounterID, at nowMs: Int64) -> Counter.OpenWindow {
        if self[counter].span.holds(nowMs) { return open(ofCounter: counter) }
        return Counter.bounds(of: self[counter].template.window, self[counter].algorithm, at: nowMs)
    }

    /// Whether the counter's last window contains `nowMs`, and the store has reported it.
    @inline(__always)
    func isOpen(counter: CounterID, at nowMs: Int64) -> Bool {
        self[counter].isSeen && self[counter].span.holds(nowMs)
    }

    /// The combined usage: see `Counter.combinedUsage`.
    @inline(__always)
    func combinedUsage(ofCounter counter: CounterID, _ quota: Quota, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: self[counter].windowed.used) }
        return self[counter].combinedUsage(quota, nowMs: nowMs)
    }

    /// The usage that the store last reported, as it is at `nowMs` for a check of that cost, without charges that
    /// turned out later.
    @inline(__always)
    func reported(ofCounter counter: CounterID, _ quota: Quota, cost: Int64, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: self[counter].windowed.sharedUsed) }
        return self[counter].shared(quota, cost: cost, nowMs: nowMs)
    }

    /// Whether it counts only a fixed window, as most counters do.
    @inline(__always)
    private func hasWindowAlone(_ counter: CounterID) -> Bool {
        self[counter].algorithm == .fixedWindow && self[counter].rare == nil
    }
}
