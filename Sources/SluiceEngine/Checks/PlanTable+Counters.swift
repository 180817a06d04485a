/// What each check asks of a counter, read field by field in its row: a method of the counter would be handed a copy of all
/// of it.
extension PlanTable {
    /// When the first of the windows of a plan's counters began, ms since the epoch; -1 where one has none.
    @inline(__always)
    func firstStartMs(ofPlan plan: Int) -> Int64 {
        var firstMs = Int64.max
        for index in 0..<plans[plan].counters.count {
            let counter = plans[plan].counters[index]
            firstMs = min(firstMs, counters[counter].span.startMs)
        }
        return firstMs
    }

    /// The window of a counter that was looked at last.
    @inline(__always)
    func open(ofCounter counter: Int) -> Counter.OpenWindow {
        Counter.open(counters[counter].span, of: counters[counter].family.window, counters[counter].algorithm)
    }

    /// Appends `Counter.baseKey`.
    @inline(__always)
    func appendBaseKey(ofCounter counter: Int, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: counters[counter].family.head)
        counters[counter].own.append(to: &bytes)
        bytes.append(contentsOf: counters[counter].family.tail)
    }

    /// How many bytes that is.
    @inline(__always)
    func baseKeyByteCount(ofCounter counter: Int) -> Int {
        counters[counter].family.head.count + counters[counter].own.count + counters[counter].family.tail.count
    }

    /// The window of a counter that holds `nowMs`.
    @inline(__always)
    func bounds(ofCounter counter: Int, at nowMs: Int64) -> Counter.OpenWindow {
        if counters[counter].span.holds(nowMs) { return open(ofCounter: counter) }
        return Counter.bounds(of: counters[counter].family.window, counters[counter].algorithm, at: nowMs)
    }

    /// Whether the window of a counter that was looked at last holds `nowMs`, and the store told of it.
    @inline(__always)
    func isOpen(counter: Int, at nowMs: Int64) -> Bool {
        counters[counter].isSeen && counters[counter].span.holds(nowMs)
    }

    /// All that is known here to count: see `Counter.known`.
    @inline(__always)
    func known(ofCounter counter: Int, _ quota: Quota, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: counters[counter].windowed.used) }
        return counters[counter].known(quota, nowMs: nowMs)
    }

    /// What the store told last, as it is at `nowMs` for a check of that cost, without what turned out later to have been charged.
    @inline(__always)
    func told(ofCounter counter: Int, _ quota: Quota, cost: Int64, nowMs: Int64) -> Usage {
        if hasWindowAlone(counter) { return Usage(used: counters[counter].windowed.sharedUsed) }
        var usage = counters[counter].shared(quota, nowMs: nowMs)
        if quota.algorithm.hasWindows { usage.used = counters[counter].windowed.sharedUsed }
        if quota.algorithm == .slidingLog {
            usage.firstExpiryMs = counters[counter].log?.sharedFreeMs(quota, cost: cost, nowMs: nowMs) ?? 0
        }
        return usage
    }

    /// Whether nothing is counted of it but a fixed window, as of most.
    @inline(__always)
    private func hasWindowAlone(_ counter: Int) -> Bool {
        counters[counter].algorithm == .fixedWindow && counters[counter].rare == nil
    }
}
