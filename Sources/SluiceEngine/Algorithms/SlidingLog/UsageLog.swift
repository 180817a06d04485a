/// Charges in order of time: what a `sliding_log` limit counts.
///
/// A charge made at `ms` counts before `ms + lengthMs`, so no stretch of that length has more usage than was counted
/// at its last charge. Charges of one millisecond are one entry. Beyond `EngineBounds.maxLogEntries` the two oldest
/// entries are merged at the later time: usage is then freed later, and never less is counted.
///
/// Entries hold running totals instead of amounts, so that a binary search finds what counts at a time.
package struct UsageLog: Sendable, Equatable {
    private struct Entry: Equatable, Sendable {
        var ms: Int64
        /// Units of this entry and all earlier ones, plus `before`.
        var total: Int64
    }

    private var entries: [Entry] = []
    /// The total before the first entry.
    private var before: Int64 = 0

    package init() {}

    /// - Parameter steps: in order of time.
    package init(_ steps: [Step]) { for step in steps { add(step.units, atMs: step.ms) } }

    /// Some units, and when they were charged, ms since the epoch.
    package struct Step: Sendable, Equatable {
        package var ms: Int64
        package var units: Int64

        package init(ms: Int64, units: Int64) {
            self.ms = ms
            self.units = units
        }
    }

    package var isEmpty: Bool { entries.isEmpty }
    package var count: Int { entries.count }
    /// When the newest was charged, ms since the epoch; -1 if it is empty.
    package var newestMs: Int64 { entries.last?.ms ?? -1 }
    /// Units of all entries: 0 to 2^53.
    package var total: Int64 { (entries.last?.total ?? before) - before }
    /// Bytes that it holds.
    var bytes: Int { entries.capacity == 0 ? 0 : HeldBytes.array(entries.capacity * MemoryLayout<Entry>.stride) }

    package var steps: [Step] {
        var last = before
        return entries.map { entry in
            defer { last = entry.total }
            return Step(ms: entry.ms, units: entry.total - last)
        }
    }

    // MARK: - Queries

    /// The index of the first entry at `ms` or later.
    private func index(from ms: Int64) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].ms < ms { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func units(ofEntry index: Int) -> Int64 { entries[index].total - totalBefore(index) }

    private func totalBefore(_ index: Int) -> Int64 { index == 0 ? before : entries[index - 1].total }

    /// Units charged at `ms` or later.
    package func units(from ms: Int64) -> Int64 { (entries.last?.total ?? before) - totalBefore(index(from: ms)) }

    /// Units that count at `nowMs`.
    package func used(nowMs: Int64, lengthMs: Int64) -> Int64 { units(from: nowMs - lengthMs + 1) }

    /// When `units` of what counts at `nowMs` will have expired, ms since the epoch: `nowMs` for none; nil if fewer
    /// count.
    package func freeMs(_ units: Int64, nowMs: Int64, lengthMs: Int64) -> Int64? {
        guard units > 0 else { return nowMs }
        let first = index(from: nowMs - lengthMs + 1)
        let wanted = totalBefore(first) + units
        var (low, high) = (first, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].total < wanted { low = middle + 1 } else { high = middle }
        }
        return low < entries.count ? entries[low].ms + lengthMs : nil
    }

    // MARK: - Changes

    /// - Parameter ms: 0 or more; it is inserted before later entries.
    package mutating func add(_ units: Int64, atMs ms: Int64) {
        let units = min(units, Quota.maxExact - total)
        guard units > 0 else { return }
        if let last = entries.last, last.ms >= ms {
            let index = index(from: ms)
            if entries[index].ms != ms { entries.insert(Entry(ms: ms, total: totalBefore(index)), at: index) }
            for at in index..<entries.count { entries[at].total += units }
        } else {
            entries.append(Entry(ms: ms, total: (entries.last?.total ?? before) + units))
        }
        if entries.count > EngineBounds.maxLogEntries { entries.removeFirst() }
    }

    /// Takes back units charged at `ms`, from the first entry at that time or later, because entries may have been
    /// merged.
    ///
    /// - Returns: how many were found.
    @discardableResult
    package mutating func remove(_ units: Int64, atMs ms: Int64) -> Int64 {
        let index = index(from: ms)
        guard units > 0, index < entries.count else { return 0 }
        let removed = min(units, self.units(ofEntry: index))
        for at in index..<entries.count { entries[at].total -= removed }
        if self.units(ofEntry: index) == 0 { entries.remove(at: index) }
        return removed
    }

    /// Takes back units of the newest entries first.
    package mutating func removeNewest(_ units: Int64) {
        var left = units
        while left > 0, let last = entries.last { left -= remove(left, atMs: last.ms) }
    }

    /// Drops what no longer counts at `nowMs`.
    package mutating func trim(nowMs: Int64, lengthMs: Int64) {
        guard let first = entries.first, first.ms + lengthMs <= nowMs else { return }
        let live = index(from: nowMs - lengthMs + 1)
        let gone = totalBefore(live) - before
        entries.removeFirst(live)
        // Starts from 0 again, so that totals never overflow.
        before += gone
        for at in entries.indices { entries[at].total -= before }
        before = 0
    }

    /// Raises it so that at least `units` were charged at `ms` or later: older units move there, and the rest is new.
    /// So the usage at any time is the larger of the old usage and, before `ms + lengthMs`, `units`.
    package mutating func raise(to units: Int64, atMs ms: Int64) {
        let missing = min(units, Quota.maxExact) - self.units(from: ms)
        guard missing > 0 else { return }
        var older = missing
        while older > 0, let at = entries.lastIndex(where: { $0.ms < ms }) {
            let moved = min(older, self.units(ofEntry: at))
            older -= moved
            remove(moved, atMs: entries[at].ms)
        }
        add(missing, atMs: ms)
    }

    /// Moves charges that lie further ahead than a clock may step back to now.
    package mutating func turnBack(toMs nowMs: Int64) {
        guard newestMs > nowMs + EngineBounds.clockStepMs else { return }
        let ahead = units(from: nowMs + 1)
        let index = index(from: nowMs + 1)
        entries.removeSubrange(index...)
        add(ahead, atMs: nowMs)
    }

    /// Merges neighbours, at the later time, until it has at most this many entries.
    mutating func coarsen(to most: Int) {
        guard entries.count > most, let total = entries.last?.total else { return }
        let size = max(1, (total - before + Int64(most) - 1) / Int64(most))
        var kept: [Entry] = []
        for entry in entries {
            let group = (entry.total - before - 1) / size
            if let last = kept.last, (last.total - before - 1) / size == group { kept.removeLast() }
            kept.append(entry)
        }
        entries = kept
    }

    // MARK: - Reports of the store

    /// At most `Batch.maxLogSteps` steps that represent it: the first ones are exact, and the others free nothing
    /// sooner than it does.
    ///
    /// - Returns: also how many of the steps are exact.
    package func summary() -> (steps: [Step], exact: Int) {
        guard entries.count > Batch.maxLogSteps else { return (steps, entries.count) }
        let exact = Batch.exactLogSteps
        var summary = Array(steps.prefix(exact))
        var rest = UsageLog()
        for step in steps.dropFirst(exact) { rest.add(step.units, atMs: step.ms) }
        rest.coarsen(to: Batch.maxLogSteps - exact)
        summary += rest.steps
        return (summary, exact)
    }
}
