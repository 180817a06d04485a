/// When an open loop means to send each check, computed from the check's number, so that nothing drifts. What could not be
/// sent in time is sent later and keeps its intended time, which is what its latency counts from.
package struct Pacer: Sendable, Equatable {
    package let startNs: Int64
    /// Of all pacers together.
    package let schedule: RateSchedule
    /// This pacer sends the checks `first`, `first + stride`, ... of the run.
    private let stride: Int64
    private var next: Int64

    /// - Parameter share: which of `shares` pacers this is: their checks interleave evenly.
    package init(startNs: Int64, schedule: RateSchedule, share: Int = 0, of shares: Int = 1) {
        precondition(shares >= 1 && (0..<shares).contains(share))
        self.startNs = startNs
        self.schedule = schedule
        stride = Int64(shares)
        next = Int64(share)
    }

    /// The intended time of the check that is next.
    package var nextNs: Int64 { startNs + schedule.intendedNs(ofCheck: next) }

    /// Takes the next check if it is due; its intended time.
    package mutating func take(nowNs: Int64) -> Int64? {
        let dueNs = nextNs
        guard dueNs <= nowNs else { return nil }
        next += stride
        return dueNs
    }
}
