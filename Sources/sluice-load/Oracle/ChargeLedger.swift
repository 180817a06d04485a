/// Judged windows, kept for the comparison with the store's counters at the end of the run.
///
/// Memory is bounded: past `LoadBounds.maxComparedWindows` the oldest are dropped; their keys have most likely expired.
struct ChargeLedger: Sendable {
    struct Entry: Sendable {
        let subject: Int
        let rule: Int
        let startMs: Int64
        let charged: WindowCharges
        let localAdmitted: Int64
        /// Whether checks were answered locally, so that charges may be missing here or in the store.
        let sawLocal: Bool
        /// Whether others may have charged it before the run.
        let mayHoldOthers: Bool
        /// Whether every charge was seen.
        var isCertain: Bool
    }

    enum Finding: Equatable {
        case agrees
        case differs(expected: ClosedRange<Int64>)
        /// Local admissions are not in the usage, or more than was admitted is. That is between the
        /// sidecars and the store.
        case notSettled(expected: ClosedRange<Int64>)
        /// Too many answers are missing for a comparison.
        case unknown
    }

    private(set) var entries: [Entry] = []

    mutating func append(_ entry: Entry) {
        // Several at once, since each removal moves all that stay.
        if entries.count >= LoadBounds.maxComparedWindows { entries.removeFirst(LoadBounds.maxComparedWindows / 4) }
        entries.append(entry)
    }

    /// An answer for a judged window arrived late, or was lost.
    mutating func loseSight(ofSubject subject: Int, rule: Int, startMs: Int64) {
        let index = entries.lastIndex { $0.subject == subject && $0.rule == rule && $0.startMs == startMs }
        if let index { entries[index].isCertain = false }
    }

    /// - Parameters:
    ///   - isOpen: whether the window is still open, so that its settlements took place in it.
    ///   - settlementsKnown: whether each settlement for the identity is known to have been done.
    static func compare(_ entry: Entry, used: Int64, isOpen: Bool, settlementsKnown: Bool) -> Finding {
        let hasBase = !entry.mayHoldOthers || entry.charged.lowestBefore < .max
        guard entry.isCertain, hasBase else { return .unknown }
        let base = entry.mayHoldOthers ? entry.charged.lowestBefore : 0
        let own = entry.charged.expected(isSettled: isOpen && settlementsKnown)
        let expected = base + own.lowerBound...base + own.upperBound
        if entry.sawLocal {
            let settled = expected.lowerBound + entry.localAdmitted...expected.upperBound + entry.localAdmitted
            return settled.contains(used) ? .agrees : .notSettled(expected: settled)
        }
        return expected.contains(used) ? .agrees : .differs(expected: expected)
    }
}
