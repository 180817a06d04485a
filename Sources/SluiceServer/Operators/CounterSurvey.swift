import SluiceEngine

/// What an operator gets of the counters.
struct CounterListing: Sendable {
    var reports: [CounterReport] = []
    /// Whether they were just read from the store.
    var isShared = true
    /// Whether there are more, or may be.
    var isCutOff = false
    /// Where to go on; nil: everything was looked at.
    var cursor: CounterCursor?
}

/// The reading of counters for an operator: one partition after the other, each in pieces, for a bounded time.
struct CounterSurvey: Sendable {
    /// Which counters are wanted.
    struct Question: Sendable {
        var grant: String?
        var tool: String?
        var isAtLimit = false
        var order: CounterOrder?
        /// The most counters.
        var limit: Int
        /// nil: from the beginning.
        var cursor: CounterCursor?
    }

    private let question: Question
    private var partitions: ArraySlice<Int>
    /// Where the first of them goes on; nil: at its beginning.
    private var place: CounterCursor.Place?
    private let untilNs: Int64
    private var isBegun = false
    /// What was found so far, as one inspection; nil before the first.
    private var merged: CounterInspection?

    /// - Parameters:
    ///   - partitions: all that may have such counters, in their order.
    ///   - untilNs: no piece is begun later, except the first.
    init(_ question: Question, partitions: [Int], untilNs: Int64) {
        self.question = question
        self.untilNs = untilNs
        self.partitions = partitions[...]
        if let cursor = question.cursor {
            self.partitions = partitions.drop { $0 != cursor.partition }
            place = cursor.place
        }
    }

    /// The partition to read next, and where it goes on; nil if enough was found or looked at.
    func next(nowNs: Int64) -> (partition: Int, place: CounterCursor.Place?)? {
        guard merged?.isFull != true, !isBegun || nowNs < untilNs else { return nil }
        return partitions.first.map { ($0, place) }
    }

    /// One more than wanted shows whether there are more. Where not all that match are wanted, the store is read in pieces.
    func query(_ limiter: borrowing Limiter, _ place: CounterCursor.Place?) -> CounterQuery {
        let selects = question.isAtLimit || question.order != nil
        var query = limiter.counterQuery(
            grant: question.grant, tool: question.tool,
            limit: selects ? ServerBounds.countersPerPiece : min(wanted, ServerBounds.countersPerPiece))
        query.isAtLimit = question.isAtLimit
        query.order = question.order
        if case .store(let place)? = place { query.place = place }
        return query
    }

    /// The inspection of a piece. - Parameter stored: nil: of this replica's table.
    func inspection(_ query: CounterQuery, stored: StoredCounters?, partition: Int) -> CounterInspection {
        var start = 0
        if case .table(let index)? = place { start = index }
        return CounterInspection(
            query, stored: stored, limit: question.order == nil ? wanted : question.limit, partition: partition,
            from: start)
    }

    var count: Int { merged?.count ?? 0 }

    private var wanted: Int { question.limit + 1 - (merged?.count ?? 0) }

    /// A piece was inspected. - Parameter next: where its partition goes on; nil: it is at its end.
    mutating func add(_ inspection: CounterInspection, next: StorePlace?) {
        isBegun = true
        if merged == nil { merged = inspection } else { merged?.add(inspection) }
        place = next.map { .store($0) }
        if next == nil { partitions = partitions.dropFirst() }
    }

    /// Everything that was found, once `next` is nil, or nothing more can be read.
    func listing() -> CounterListing {
        let rest = partitions.first.map { CounterCursor(partition: $0, place: place ?? .store(.beginning)) }
        guard let merged else { return CounterListing(isShared: false, isCutOff: rest != nil, cursor: rest) }
        let cursor = merged.cursor(behind: question.limit) ?? rest
        return CounterListing(
            reports: merged.sorted(first: question.limit), isShared: merged.isShared,
            isCutOff: cursor != nil || merged.hasDropped || merged.count > question.limit, cursor: cursor)
    }
}
