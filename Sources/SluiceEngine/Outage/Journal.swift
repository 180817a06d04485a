import DequeModule

/// Counters that hold something which the store is to be told: each once, in the order in which they came to.
///
/// It names places of the plan table's counters, and each of these knows that it is named: so it is never longer than
/// that table, and a counter that is named is not forgotten.
struct Journal {
    private var counters: Deque<Int32> = []
    /// How many of the last of them were found to have nothing that can be written back, in a row.
    private var settledCount = 0

    var count: Int { counters.count }

    /// Whether none has anything that can be written back. A counter may stay because of what is not known yet: an open
    /// reservation, or an unconfirmed batch.
    var isWrittenBack: Bool { settledCount >= counters.count }

    mutating func append(_ counter: Int) { counters.append(Int32(counter)) }

    /// - Parameter isSettled: nothing of it can be written back.
    mutating func putBack(_ counter: Int, isSettled: Bool) {
        counters.append(Int32(counter))
        settledCount = isSettled ? settledCount + 1 : 0
    }

    /// Some counter may have got something to write back.
    mutating func markUnsettled() { settledCount = 0 }

    mutating func popFirst() -> Int? { counters.popFirst().map { Int($0) } }
}
