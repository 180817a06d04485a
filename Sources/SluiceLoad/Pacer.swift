/// When an open loop means to send each check: check n at start + n / rate, computed from n, so that nothing drifts. What
/// could not be sent in time is sent later and keeps its intended time, which is what its latency counts from.
package struct Pacer: Sendable, Equatable {
    package let startNs: Int64
    /// Checks a second of all pacers together.
    package let ratePerSecond: Int
    /// This pacer sends the checks `first`, `first + stride`, ... of the run.
    private let stride: Int64
    private var next: Int64

    /// - Parameters:
    ///   - ratePerSecond: at least 1.
    ///   - share: which of `shares` pacers this is: their checks interleave evenly.
    package init(startNs: Int64, ratePerSecond: Int, share: Int = 0, of shares: Int = 1) {
        precondition(ratePerSecond >= 1 && shares >= 1 && (0..<shares).contains(share))
        self.startNs = startNs
        self.ratePerSecond = ratePerSecond
        stride = Int64(shares)
        next = Int64(share)
    }

    /// The intended time of the check that is next.
    package var nextNs: Int64 {
        let rate = Int64(ratePerSecond)
        let (seconds, rest) = next.quotientAndRemainder(dividingBy: rate)
        return startNs + seconds * 1_000_000_000 + rest * 1_000_000_000 / rate
    }

    /// Takes the next check if it is due; its intended time.
    package mutating func take(nowNs: Int64) -> Int64? {
        let dueNs = nextNs
        guard dueNs <= nowNs else { return nil }
        next += stride
        return dueNs
    }
}
