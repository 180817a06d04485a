/// Reads counters page after page, as many as are wanted. A value-type state machine that holds at most as many rows as it
/// reports, and those of a page.
struct CountersReading {
    /// Which rows are wanted of all that match, and in which order.
    enum Order: String, CaseIterable, Sendable {
        case used, remaining, grant
    }

    enum Next: Equatable {
        /// Send `words`.
        case ask
        /// The sidecar made no progress, because Redis does not answer, or others read counters: ask again in a moment.
        case askLater
        case done
    }

    private let filter: [String]
    private let order: Order?
    private let limit: Int
    private var cursor: String
    private var rows: [CounterRow] = []
    private var isTruncated = false
    private var origin: CountersReport.Origin?
    private var stalls = 0

    /// So often the sidecar may make no progress.
    private static let maxStalls = 5

    /// - Parameter cursor: where an earlier report ended; empty: from the beginning.
    init(
        grant: String? = nil, tool: String? = nil, isAtLimit: Bool = false, order: Order? = nil, limit: Int,
        cursor: String = ""
    ) {
        var filter: [String] = []
        if let grant { filter += ["GRANT", grant] }
        if let tool { filter += ["TOOL", tool] }
        if isAtLimit { filter.append("ATLIMIT") }
        if let order { filter += ["SORT", order.rawValue.uppercased()] }
        self.filter = filter
        self.order = order
        self.limit = limit
        self.cursor = cursor
    }

    /// The next question.
    var words: [String] {
        // In an order every page may have the first ones.
        let count = order == nil ? limit - rows.count : limit
        return ["COUNTERS", "LIMIT", String(count)] + filter + (cursor.isEmpty ? [] : ["CURSOR", cursor])
    }

    /// Takes the answer.
    mutating func take(_ page: CountersReport) -> Next {
        let isStalled = !page.cursor.isEmpty && page.cursor == cursor
        stalls = isStalled ? stalls + 1 : 0
        // What is not from Redis is said, even if other pages are.
        if origin == nil || page.origin != .redis { origin = page.origin }
        let isFirst = rows.isEmpty
        rows += page.rows
        cursor = page.cursor
        // One page has its order.
        if !isFirst { rows.sort { CounterRow.precedes($0, $1, by: order ?? .grant) } }
        if order != nil {
            isTruncated = isTruncated || page.isTruncated && page.cursor.isEmpty || rows.count > limit
            rows.removeLast(max(0, rows.count - limit))
        } else {
            isTruncated = page.isTruncated
        }
        if cursor.isEmpty || order == nil && rows.count >= limit { return .done }
        guard isStalled else { return .ask }
        return stalls < Self.maxStalls ? .askLater : .done
    }

    /// What was read so far.
    var report: CountersReport {
        CountersReport(
            rows: rows, isTruncated: isTruncated || !cursor.isEmpty, origin: origin ?? .alone,
            // In an order the rest could belong anywhere.
            cursor: order == nil ? cursor : "", isComplete: order == nil || cursor.isEmpty)
    }
}

extension CounterRow {
    static func precedes(_ one: CounterRow, _ other: CounterRow, by order: CountersReading.Order) -> Bool {
        let (number, otherNumber) = (one.rank(order), other.rank(order))
        return number == otherNumber ? one.names.lexicographicallyPrecedes(other.names) : number < otherNumber
    }

    /// Those with less come first; what is not known comes last.
    private func rank(_ order: CountersReading.Order) -> Int64 {
        switch order {
        case .used: -used
        case .remaining: remaining < 0 ? .max : remaining
        case .grant: 0
        }
    }

    private var names: [String] { [grant, server, tool, group, counter, subject, algorithm, window] }
}
