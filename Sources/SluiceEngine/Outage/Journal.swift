import DequeModule

/// The counters with something to write back, each once, in the order in which they were added.
///
/// It holds indices into the plan table's counters, and each counter knows that it is listed. So it is never longer
/// than that table, and a listed counter is not dropped.
struct Journal {
    private var counters: Deque<Int32> = []
    /// How many of the last ones in a row had nothing that can be written back.
    private var quietCount = 0

    var count: Int { counters.count }

    /// Whether no counter has anything that can be written back. A counter may stay because its outcome is open: a
    /// reservation, or an unconfirmed batch.
    var isWrittenBack: Bool { quietCount >= counters.count }

    mutating func append(_ counter: Int) { counters.append(Int32(counter)) }

    /// - Parameter hasNothingNew: it has nothing that can be written back.
    mutating func putBack(_ counter: Int, hasNothingNew: Bool) {
        counters.append(Int32(counter))
        quietCount = hasNothingNew ? quietCount + 1 : 0
    }

    /// A counter may have something new to write back.
    mutating func noteNew() { quietCount = 0 }

    mutating func popFirst() -> Int? { counters.popFirst().map { Int($0) } }
}
