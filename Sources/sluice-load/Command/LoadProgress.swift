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

/// Numbers for people.
enum Format {
    /// With a comma every three digits.
    static func count(_ value: Int64) -> String {
        var text = ""
        for (index, digit) in String(value.magnitude).reversed().enumerated() {
            if index > 0 && index % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return (value < 0 ? "-" : "") + String(text.reversed())
    }

    /// Three significant digits or more, in the unit that fits.
    static func time(_ ns: UInt64) -> String {
        switch ns {
        case 0: "-"
        case ..<1_000_000: "\(decimal(Double(ns) / 1e3, places: ns < 100_000 ? 1 : 0)) us"
        case ..<1_000_000_000: "\(decimal(Double(ns) / 1e6, places: ns < 100_000_000 ? 2 : 1)) ms"
        default: "\(decimal(Double(ns) / 1e9, places: 2)) s"
        }
    }

    /// With so many digits after the point.
    static func decimal(_ value: Double, places: Int) -> String {
        let scale = (0..<places).reduce(Int64(1)) { product, _ in product * 10 }
        let scaled = Int64((value * Double(scale)).rounded())
        let whole = "\(scaled < 0 ? "-" : "")\(scaled.magnitude / UInt64(scale))"
        guard places > 0 else { return whole }
        let fraction = String(scaled.magnitude % UInt64(scale))
        return "\(whole).\(String(repeating: "0", count: places - fraction.count))\(fraction)"
    }

    /// A time by Redis's clock, as UTC to the millisecond.
    static func date(ms: Int64) -> String {
        // The conversion of days to a date is that of Howard Hinnant's "chrono-compatible low-level date algorithms",
        // for times after 1970.
        let (days, timeMs) = max(0, ms).quotientAndRemainder(dividingBy: 86_400_000)
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let seconds = timeMs / 1000
        let clock = "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
        let thousandths = timeMs % 1000
        let fraction = thousandths == 0 ? "" : ".\(String(1000 + thousandths).dropFirst())"
        return "\(year)-\(two(month))-\(two(day))T\(clock)\(fraction)Z"
    }
}
