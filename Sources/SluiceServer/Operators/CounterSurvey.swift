import SluiceEngine

/// The reading of counters for an operator, one partition after the other.
struct CounterSurvey {
    private let grant: String?
    private let tool: String?
    private let limit: Int
    private var waiting: ArraySlice<Int>
    /// What the partitions read so far have, as one inspection; nil before the first.
    private var merged: CounterInspection?

    init(partitions: [Int], grant: String?, tool: String?, limit: Int) {
        self.grant = grant
        self.tool = tool
        self.limit = limit
        waiting = partitions[...]
    }

    /// The partition to read next; nil if all are read, or enough was found.
    mutating func next() -> Int? { merged?.isFull == true ? nil : waiting.popFirst() }

    /// One more than wanted shows whether there are more.
    func query(_ limiter: borrowing Limiter) -> CounterQuery {
        limiter.counterQuery(grant: grant, tool: tool, limit: limit + 1 - (merged?.count ?? 0))
    }

    mutating func add(_ inspection: CounterInspection) {
        guard var found = merged else {
            merged = inspection
            return
        }
        found.add(inspection)
        merged = found
    }

    /// Everything that was found, once `next` is nil.
    var found: CounterInspection {
        guard let merged else { preconditionFailure("there is a partition") }
        return merged
    }
}
