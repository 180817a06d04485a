/// How many checks an open loop should have sent by when: a constant rate, or one that is held and then changes
/// linearly to another.
struct RateSchedule: Sendable, Equatable {
    /// How long the first rate is held before it changes, ns.
    let holdNs: Int64
    let fromPerSecond: Int
    let toPerSecond: Int
    /// How long the change to the second rate takes, ns; the second rate is then held.
    let rampNs: Int64
    /// Checks of the first part, and of the first two.
    private let heldChecks: Double
    private let rampedChecks: Double

    /// - Parameter ratePerSecond: at least 1.
    init(ratePerSecond: Int) {
        self.init(holdNs: 0, fromPerSecond: ratePerSecond, toPerSecond: ratePerSecond, rampNs: 0)
    }

    /// - Parameters: rates are at least 1.
    init(holdNs: Int64, fromPerSecond: Int, toPerSecond: Int, rampNs: Int64) {
        precondition(fromPerSecond >= 1 && toPerSecond >= 1 && holdNs >= 0 && rampNs >= 0)
        self.holdNs = holdNs
        self.fromPerSecond = fromPerSecond
        self.toPerSecond = toPerSecond
        self.rampNs = rampNs
        heldChecks = Double(fromPerSecond) * Double(holdNs) / 1e9
        rampedChecks = heldChecks + (Double(fromPerSecond) + Double(toPerSecond)) / 2 * Double(rampNs) / 1e9
    }

    /// The intended rate at a time since the start.
    func rate(atNs ns: Int64) -> Double {
        guard ns > holdNs else { return Double(fromPerSecond) }
        guard ns < holdNs + rampNs else { return Double(toPerSecond) }
        return Double(fromPerSecond) + Double(toPerSecond - fromPerSecond) * Double(ns - holdNs) / Double(rampNs)
    }

    /// The intended time of check `number`, counted from 0, ns since the start.
    func intendedNs(ofCheck number: Int64) -> Int64 {
        guard fromPerSecond != toPerSecond else {
            // Exact, however long the run.
            let rate = Int64(fromPerSecond)
            let (seconds, rest) = number.quotientAndRemainder(dividingBy: rate)
            return seconds * 1_000_000_000 + rest * 1_000_000_000 / rate
        }
        let from = Double(fromPerSecond)
        let count = Double(number)
        if count < heldChecks { return Int64(count / from * 1e9) }
        if count >= rampedChecks {
            return holdNs + rampNs + Int64((count - rampedChecks) / Double(toPerSecond) * 1e9)
        }
        // count = from t + slope t^2 / 2, solved for t in the form that loses no digits if the slope is small.
        let slope = Double(toPerSecond - fromPerSecond) / (Double(rampNs) / 1e9)
        let ramped = count - heldChecks
        let seconds = 2 * ramped / (from + (from * from + 2 * slope * ramped).squareRoot())
        return holdNs + Int64(seconds * 1e9)
    }
}
