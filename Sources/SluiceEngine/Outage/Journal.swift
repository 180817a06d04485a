import DequeModule

/// The counters with something to write back, each once, in the order in which they were added.
///
/// Each counter knows that it is listed. So it is never longer
/// than that table, and a listed counter is not dropped.
struct Journal {
    private var counters: Deque<CounterID> = []
    /// How many of the last ones in a row had nothing that can be written back.
    private var quietCount = 0

    var count: Int { counters.count }

    /// Whether no counter has anything that can be written back. A counter may stay because its outcome is open: a
    /// reservation, or an unconfirmed batch.
    var isWrittenBack: Bool { quietCount >= counters.count }

    mutating func append(_ counter: CounterID) { counters.append(counter) }

    /// - Parameter hasNothingNew: it has nothing that can be written back.
    mutating func putBack(_ counter: CounterID, hasNothingNew: Bool) {
        counters.append(counter)
        quietCount = hasNothingNew ? quietCount + 1 : 0
    }

    /// A counter may have something new to write back.
    mutating func noteNew() { quietCount = 0 }

    mutating func popFirst() -> CounterID? { counters.popFirst() }
}
