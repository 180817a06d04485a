@testable import SluiceEngine

/// How close windows came to the most that each case may admit: see the README's table of bounds.
///
/// Slots are not included: the ledger checks that the store never has more of them than there are.
struct SimulationBounds: Sendable {
    enum Row: String, CaseIterable, Sendable {
        case connected = "all connected: of the maximum"
        case open = "outage, the window was open: of the maximum + what was unseen"
        case later = "outage, a later window: of the maximum"
        case alone = "one replica alone: of its share of what it saw left"
        case returned = "back, the window began in the outage: of the maximum"
        case returnedOpen = "back, the window was open: of the maximum + what was unseen"
        case restarted = "restarted in an outage: of the maximum + what a crash lost"
        case forgot = "data loss: of the maximum, as shared"
    }

    struct Worst: Sendable {
        var windows: Int64 = 0
        /// The highest usage of any window, in thousandths of its bound.
        var thousandths: Int64 = 0
    }

    private(set) var rows: [Row: Worst] = [:]

    /// A window admitted this much, and may not admit more than `bound`.
    mutating func judge(_ row: Row, _ admitted: Int64, of bound: Int64, _ what: @autoclosure () -> String) throws {
        if admitted > bound {
            throw SimulationFailure(description: "\(row.rawValue): \(admitted) of \(bound) admitted: \(what())")
        }
        guard bound > 0 else { return }
        var worst = rows[row] ?? Worst()
        worst.windows += 1
        worst.thousandths = max(worst.thousandths, admitted.multipliedReportingOverflow(by: 1_000).partialValue / bound)
        rows[row] = worst
    }

    mutating func add(_ other: SimulationBounds) {
        for (row, worst) in other.rows {
            var sum = rows[row] ?? Worst()
            sum.windows += worst.windows
            sum.thousandths = max(sum.thousandths, worst.thousandths)
            rows[row] = sum
        }
    }

    var missing: [Row] { Row.allCases.filter { rows[$0] == nil } }
}
