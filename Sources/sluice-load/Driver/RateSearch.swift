/// The search of the highest rate that keeps a p99. It doubles the rate until a step fails, then bisects, by ratio,
/// between the highest rate that kept it and the lowest that did not, until they are close. A failed step is repeated
/// once.
///
/// A value: the caller runs the steps: it asks for `nextRate` and records the result.
struct RateSearch: Sendable, Equatable {
    /// A period at one rate.
    struct Step: Sendable, Equatable {
        var ratePerSecond: Int
        var answeredPerSecond: Double
        var p99Ns: UInt64
        /// Checks without a decision.
        var failures: Int64 = 0
        /// p99 of how late the driver sent.
        var latenessNs: UInt64 = 0
    }

    /// Why a step failed.
    enum Fault: String, Sendable {
        /// The speed of the answers is unknown then.
        case driverLate = "the driver itself was late"
        case errors = "checks without an answer"
        case tooFewAnswers = "answers fell behind the rate"
        case tooSlow = "p99 too high"
    }

    let goalNs: Int64
    private(set) var steps: [Step] = []
    /// The highest rate that kept the goal, and the lowest that did not.
    private(set) var kept: Int?
    private(set) var failed: Int?
    /// nil when the search is over.
    private(set) var nextRate: Int?

    /// - Parameters:
    ///   - goalNs: the p99 that is to be kept.
    ///   - firstRate: at least 1.
    init(goalNs: Int64, firstRate: Int) {
        self.goalNs = goalNs
        nextRate = firstRate
    }

    func fault(of step: Step) -> Fault? {
        if step.failures > 0 { return .errors }
        let isBehind = step.answeredPerSecond + 1 < Double(step.ratePerSecond) * Self.answeredShare
        guard isBehind || step.p99Ns > UInt64(goalNs) else { return nil }
        // Latency counts from a check's intended time, so a late driver alone can make it too long.
        if Double(step.latenessNs) > Double(goalNs) * Self.latenessShare { return .driverLate }
        return isBehind ? .tooFewAnswers : .tooSlow
    }

    /// Whether the driver prevented the search from going higher.
    var isLimitedByDriver: Bool {
        steps.contains { $0.ratePerSecond == failed && fault(of: $0) == .driverLate }
    }

    /// Records the result of the step at `nextRate`.
    mutating func record(_ step: Step) {
        let isRepeated = steps.last?.ratePerSecond == step.ratePerSecond
        steps.append(step)
        if fault(of: step) != nil, !isRepeated, steps.count < LoadBounds.maxSearchSteps {
            // The machine may have been busy for a moment: only a second failure counts.
            nextRate = step.ratePerSecond
            return
        }
        if fault(of: step) == nil {
            kept = max(kept ?? 0, step.ratePerSecond)
        } else {
            failed = min(failed ?? .max, step.ratePerSecond)
        }
        nextRate = steps.count < LoadBounds.maxSearchSteps ? next() : nil
    }

    private func next() -> Int? {
        switch (kept, failed) {
        case (let kept?, nil): return kept < LoadBounds.maxRate ? min(kept * 2, LoadBounds.maxRate) : nil
        case (nil, let failed?): return failed > 1 ? max(1, failed / 4) : nil
        case (let kept?, let failed?):
            guard Double(failed) > Double(kept) * Self.closeRatio, failed - kept > 1 else { return nil }
            let middle = (Double(kept) * Double(failed)).squareRoot()
            return min(max(Int(middle), kept + 1), failed - 1)
        case (nil, nil): return nil
        }
    }

    /// A step of a few seconds cannot distinguish rates that differ by less than this.
    private static let closeRatio = 1.04
    private static let answeredShare = 0.97
    /// If the driver is late by more than this share of the goal, it has measured itself.
    private static let latenessShare = 0.5
}
