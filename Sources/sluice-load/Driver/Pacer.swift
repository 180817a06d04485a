/// When an open loop means to send each check, computed from the check's number, so that nothing drifts. What could not be
/// sent in time is sent later and keeps its intended time, which is what its latency counts from.
package struct Pacer: Sendable, Equatable {
    package let startNs: Int64
    /// When checks are meant to be sent, of all pacers together.
    package enum Timing: Sendable, Equatable {
        case schedule(RateSchedule)
        case replay(Trace)
    }

    private let timing: Timing
    /// This pacer sends the checks `first`, `first + stride`, ... of the run.
    private let stride: Int64
    /// The number of the check that is next.
    package private(set) var next: Int64
    /// The intended time of the check that is next; `Int64.max` if none is.
    package private(set) var nextNs = Int64.max

    /// - Parameter share: which of `shares` pacers this is: their checks interleave evenly.
    package init(startNs: Int64, schedule: RateSchedule, share: Int = 0, of shares: Int = 1) {
        self.init(startNs: startNs, timing: .schedule(schedule), share: share, of: shares)
    }

    package init(startNs: Int64, timing: Timing, share: Int = 0, of shares: Int = 1) {
        precondition(shares >= 1 && (0..<shares).contains(share))
        self.startNs = startNs
        self.timing = timing
        stride = Int64(shares)
        next = Int64(share)
        nextNs = intendedNs(ofCheck: next)
    }

    private func intendedNs(ofCheck number: Int64) -> Int64 {
        switch timing {
        case .schedule(let schedule): return startNs + schedule.intendedNs(ofCheck: number)
        case .replay(let trace):
            return number < trace.entries.count ? startNs + trace.entries[Int(number)].atNs : .max
        }
    }

    /// Takes the next check if it is due; its intended time.
    package mutating func take(nowNs: Int64) -> Int64? {
        let dueNs = nextNs
        guard dueNs <= nowNs else { return nil }
        next += stride
        nextNs = intendedNs(ofCheck: next)
        return dueNs
    }
}
