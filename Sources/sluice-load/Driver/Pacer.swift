/// The intended time of each check of an open loop, computed from the check's number, so that nothing drifts. A check
/// that is sent late keeps its intended time, and its latency counts from there.
struct Pacer: Sendable, Equatable {
    let startNs: Int64
    /// The intended times of the checks, of all pacers together.
    enum Timing: Sendable, Equatable {
        case schedule(RateSchedule)
        case replay(Trace)
    }

    private let timing: Timing
    /// This pacer sends the checks `first`, `first + stride`, ... of the run.
    private let stride: Int64
    /// The number of the next check.
    private(set) var next: Int64
    /// The intended time of the next check; `Int64.max` if there is none.
    private(set) var nextNs = Int64.max

    /// - Parameter share: which of `shares` pacers this is: their checks interleave evenly.
    init(startNs: Int64, schedule: RateSchedule, share: Int = 0, of shares: Int = 1) {
        self.init(startNs: startNs, timing: .schedule(schedule), share: share, of: shares)
    }

    init(startNs: Int64, timing: Timing, share: Int = 0, of shares: Int = 1) {
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

    /// Takes the next check if it is due; returns its intended time.
    mutating func take(nowNs: Int64) -> Int64? {
        let dueNs = nextNs
        guard dueNs <= nowNs else { return nil }
        next += stride
        nextNs = intendedNs(ofCheck: next)
        return dueNs
    }
}
