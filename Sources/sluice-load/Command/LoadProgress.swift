import Histogram

/// The progress report of a run: on a terminal one line, overwritten once a second; elsewhere a separate line every
/// five seconds.
struct LoadProgress: Sendable {
    /// The events since the last sample.
    struct Sample: Sendable {
        /// Since the run began, warm-up included.
        var elapsedNs: Int64
        var intervalNs: Int64
        var isWarmUp: Bool
        var statistics: LoadStatistics
    }

    private let isTerminal: Bool
    /// The events that were not reported yet, and since when.
    private var unreported = LoadStatistics()
    private var unreportedNs: Int64 = 0
    private var lastLineNs: Int64 = 0
    private var allowed: Int64 = 0
    private var denied: Int64 = 0
    private var failed: Int64 = 0

    private static let plainIntervalNs: Int64 = 5_000_000_000

    init(isTerminal: Bool) { self.isTerminal = isTerminal }

    /// The text for standard error; nil for none.
    mutating func take(_ sample: consuming Sample) -> String? {
        let decided = sample.statistics.decided
        allowed += decided.allowed
        denied += decided.denied
        failed += sample.statistics.failureCount
        unreported.add(sample.statistics)
        unreportedNs += sample.intervalNs
        // Up to a twentieth of a second early is in time: ticks are not exact.
        guard isTerminal || sample.elapsedNs - lastLineNs >= Self.plainIntervalNs - 50_000_000 else { return nil }
        let line = line(elapsedNs: sample.elapsedNs, isWarmUp: sample.isWarmUp)
        unreported = LoadStatistics()
        unreportedNs = 0
        lastLineNs = sample.elapsedNs
        return isTerminal ? "\r\(line)\u{1b}[K" : "\(line)\n"
    }

    /// What clears the line before the summary.
    var ending: String { isTerminal ? "\r\u{1b}[K" : "" }

    private func line(elapsedNs: Int64, isWarmUp: Bool) -> String {
        let rate = unreportedNs > 0 ? Double(unreported.decisionCount) * 1e9 / Double(unreportedNs) : 0
        var parts = [
            "\(Format.count((elapsedNs + 500_000_000) / 1_000_000_000)) s",
            "\(Format.count(Int64(rate))) checks/s",
            "p50 \(Format.time(unreported.latency.valueAtPercentile(50)))",
            "p99 \(Format.time(unreported.latency.valueAtPercentile(99)))",
            "allowed \(Format.count(allowed))",
            "denied \(Format.count(denied))",
            "errors \(Format.count(failed))",
        ]
        if isWarmUp { parts.append("warming up") }
        return parts.joined(separator: "  ")
    }
}
