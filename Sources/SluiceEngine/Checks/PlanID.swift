/// The row of a plan in the plan table. When the plan is dropped, the row may get another identity's.
struct PlanID: Hashable, Sendable {
    private let number: Int32

    init(_ row: Int) { number = Int32(row) }

    /// No plan.
    static let none = PlanID(-1)

    /// Its place in the table.
    @inline(__always)
    var row: Int { Int(number) }
}
