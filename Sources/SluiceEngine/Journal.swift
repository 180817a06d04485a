import DequeModule

/// Counters that hold something which the store is to be told: each once, in the order in which they came to.
///
/// It names places of the plan table's counters, and each of these knows that it is named: so it is never longer than
/// that table, and a counter that is named is not forgotten.
struct Journal {
    private var counters: Deque<Int32> = []

    var count: Int { counters.count }

    mutating func append(_ counter: Int) { counters.append(Int32(counter)) }

    mutating func popFirst() -> Int? { counters.popFirst().map { Int($0) } }
}
