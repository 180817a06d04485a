import SluicePolicy

/// Where an operator's reading of counters goes on: in a partition, in the store or in this replica's table.
package struct CounterCursor: Sendable, Equatable, CustomStringConvertible {
    package enum Place: Sendable, Equatable {
        case store(StorePlace)
        /// The index of the next counter.
        case table(Int)
    }

    package var partition: Int
    package var place: Place

    package init(partition: Int, place: Place) {
        self.partition = partition
        self.place = place
    }

    /// A word, which `init` reads.
    package var description: String {
        switch place {
        case .store(let place):
            "\(partition).s\(place.page)" + (place.after.map { "." + String($0, radix: 16) } ?? "")
        case .table(let index): "\(partition).t\(index)"
        }
    }

    /// nil if it is not such a word.
    package init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let partition = Int(parts[0]), partition >= 0 else { return nil }
        let number = parts[1].dropFirst()
        switch (parts[1].first, parts.count) {
        case ("t", 2):
            guard let index = Int(number), index >= 0 else { return nil }
            self.init(partition: partition, place: .table(index))
        case ("s", _):
            let after = parts.count == 3 ? UInt64(parts[2], radix: 16) : nil
            guard let page = UInt64(number), parts.count == 2 || after != nil else { return nil }
            self.init(partition: partition, place: .store(StorePlace(page: page, after: after)))
        default: return nil
        }
    }
}

/// Builds an operator's report of the counters, some at a time, because checks wait meanwhile.
///
/// If the store reported its counters, those are reported and nothing else; otherwise they are as this replica last saw
/// them, with its local admissions. Never more than twice as many are kept as are wanted.
package struct CounterInspection: Sendable {
    private struct Row: Sendable {
        var report: CounterReport
        /// Where the reading goes on behind it.
        var cursor: CounterCursor
        var order: CounterRank
    }

    private let query: CounterQuery
    /// The most counters to report.
    private let limit: Int
    private let partition: Int
    private let stored: StoredCounters?
    /// The next position among the store's counters, or in the table.
    private var next: Int
    private var keys: Set<CounterKey> = []
    private var rows: [Row] = []
    /// Whether some were found and not kept.
    package private(set) var hasDropped = false
    /// What is known of other partitions.
    private var othersAreCutOff = false
    private var othersAreShared = true

    /// - Parameters:
    ///   - stored: the store's counters just now; nil if it could not be asked.
    ///   - limit: the most counters to report; nil: as many as the query's.
    ///   - start: of the table the first position to look at.
    package init(
        _ query: CounterQuery, stored: StoredCounters?, limit: Int? = nil, partition: Int = 0, from start: Int = 0
    ) {
        self.query = query
        self.limit = limit ?? query.limit
        self.partition = partition
        self.stored = stored
        next = stored == nil ? start : 0
    }

    package var count: Int { rows.count }

    /// Whether counters are missing from the report, or may be.
    package var isCutOff: Bool {
        isFull || hasDropped || stored.map { !$0.isWhole } ?? false || othersAreCutOff
    }

    /// Whether as many were found as were asked for, and it does not matter which.
    package var isFull: Bool { query.order == nil && rows.count >= limit }

    /// Whether the store reported its counters.
    package var isShared: Bool { stored != nil && othersAreShared }

    /// Adds what was found elsewhere.
    package mutating func add(_ other: CounterInspection) {
        for row in other.rows where !isFull { add(row) }
        othersAreCutOff =
            othersAreCutOff || other.hasDropped || other.stored.map { !$0.isWhole } ?? false || other.othersAreCutOff
        othersAreShared = othersAreShared && other.isShared
    }

    /// Examines some more counters; true when there are no more.
    ///
    /// - Parameters:
    ///   - most: how many counters to examine.
    ///   - weight: how many of those a reported counter counts as.
    package mutating func look(
        at limiter: borrowing Limiter, atMost most: Int, weight: Int = 1, now: ClockReading
    ) -> Bool {
        var left = most
        let count = stored?.counters.count ?? limiter.table.counters.count
        let nowMs = limiter.nowMs(now)
        while left > 0, next < count, !isFull {
            let report: CounterReport?
            let place: CounterCursor.Place
            if let stored {
                report = limiter.report(stored.counters[next], timeMs: stored.timeMs)
                place = .store(stored.counters[next].place)
            } else {
                report = limiter.report(CounterID(next), of: query, nowMs: nowMs)
                place = .table(next + 1)
            }
            if let report, !query.isAtLimit || report.remaining == 0 {
                add(
                    Row(
                        report: report, cursor: CounterCursor(partition: partition, place: place),
                        order: CounterRank(report, query.order)))
            }
            next += 1
            left -= report == nil ? 1 : weight
        }
        return next >= count || isFull
    }

    private mutating func add(_ row: Row) {
        guard keys.insert(row.report.key).inserted else { return }
        rows.append(row)
        // Keeping them sorted would cost more: half of them goes at once.
        if query.order != nil, rows.count >= 2 * limit + 64 { keepFirst() }
    }

    private mutating func keepFirst() {
        guard query.order != nil, rows.count > limit else { return }
        hasDropped = true
        rows.sort { $0.order < $1.order }
        rows.removeLast(rows.count - limit)
        keys = Set(rows.map(\.report.key))
    }

    /// Where the reading goes on behind the first of those that were found; nil if there are no more of them.
    package func cursor(behind count: Int) -> CounterCursor? {
        query.order == nil && count > 0 && rows.count > count ? rows[count - 1].cursor : nil
    }

    /// By grant, tool, counter, subject, limits over all tools first; or as the query orders them.
    ///
    /// - Parameter count: how many; the first that were found, or the first in the query's order.
    package consuming func sorted(first count: Int = .max) -> [CounterReport] {
        if query.order == nil {
            if rows.count > count { rows.removeLast(rows.count - count) }
            return rows.sorted { $0.order < $1.order }.map(\.report)
        }
        return rows.sorted { $0.order < $1.order }.prefix(count).map(\.report)
    }
}

/// The order of one counter among others.
struct CounterRank: Sendable {
    /// Those with less come first.
    private let number: Int64
    private let names: [String]

    init(_ report: CounterReport, _ order: CounterOrder?) {
        number =
            switch order {
            case .used: -(max(0, report.sharedUsed) + report.localUsed)
            // What is not known comes last.
            case .remaining: report.remaining < 0 ? .max : report.remaining
            case .grant, nil: 0
            }
        let key = report.key
        names = [
            key.grant ?? "", key.container.server ?? "", key.tool ?? "", key.group ?? "", key.counter,
            key.subject.words, key.algorithm.name, key.window.name,
        ]
    }

    static func < (one: CounterRank, other: CounterRank) -> Bool {
        one.number == other.number ? one.names.lexicographicallyPrecedes(other.names) : one.number < other.number
    }
}
