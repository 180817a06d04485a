/// What each check asks of a counter, read field by field in its row: a method of the counter would be handed a copy of all
/// of it.
extension PlanTable {
    /// When the first of the windows of a plan's counters began, ms since the epoch; -1 where one has none.
    @inline(__always)
    func firstStartMs(ofPlan plan: Int) -> Int64 {
        var firstMs = Int64.max
        for index in 0..<plans[plan].counters.count {
            let counter = plans[plan].counters[index]
            firstMs = min(firstMs, counters[counter].open.startMs)
        }
        return firstMs
    }

    /// The window of a counter that holds `nowMs`.
    @inline(__always)
    func bounds(ofCounter counter: Int, at nowMs: Int64) -> Counter.OpenWindow {
        let open = counters[counter].open
        if open.holds(nowMs) { return open }
        return Counter.bounds(of: counters[counter].window, counters[counter].algorithm, at: nowMs)
    }

    /// Whether the window of a counter that was looked at last holds `nowMs`, and the store told of it.
    @inline(__always)
    func isOpen(counter: Int, at nowMs: Int64) -> Bool {
        counters[counter].isSeen && counters[counter].open.holds(nowMs)
    }

    /// All that is known here to count: see `Counter.known`.
    @inline(__always)
    func known(ofCounter counter: Int, _ terms: Terms, nowMs: Int64) -> Tally {
        if hasWindowAlone(counter) { return Tally(used: counters[counter].windowed.used) }
        return counters[counter].known(terms, nowMs: nowMs)
    }

    /// What the store told last, as it is at `nowMs`, without what turned out later to have been charged.
    @inline(__always)
    func told(ofCounter counter: Int, _ terms: Terms, nowMs: Int64) -> Tally {
        if hasWindowAlone(counter) { return Tally(used: counters[counter].windowed.sharedUsed) }
        var tally = counters[counter].shared(terms, nowMs: nowMs)
        if terms.algorithm.hasWindows { tally.used = counters[counter].windowed.sharedUsed }
        return tally
    }

    /// Whether nothing is counted of it but a fixed window, as of most.
    @inline(__always)
    private func hasWindowAlone(_ counter: Int) -> Bool {
        counters[counter].algorithm == .fixedWindow && counters[counter].shadow == nil
    }
}
