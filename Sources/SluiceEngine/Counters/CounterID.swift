/// The row of a counter in the plan table, valid while anything refers to the counter.
struct CounterID: Hashable, Sendable {
    private let number: Int32

    init(_ row: Int) { number = Int32(row) }

    /// No counter.
    static let none = CounterID(-1)

    /// Its place in the table.
    @inline(__always)
    var row: Int { Int(number) }
}
