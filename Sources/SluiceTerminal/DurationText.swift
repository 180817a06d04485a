/// Measured or chosen durations, in tables and options: `850ms`, `12.3s`, `4m 5s`, `2h 3m`, `3d 4h`. How long somebody has to
/// wait is said by `WaitTime` of SluiceProtocol instead, which never says less than it is.
package enum DurationText {
    /// The two largest units that a duration has; below a minute tenths of a second, below a second milliseconds.
    package static func format(milliseconds: Int64) -> String {
        guard milliseconds >= 0 else { return "-" + format(milliseconds: -max(milliseconds, -Int64.max)) }
        if milliseconds < 1000 { return "\(milliseconds)ms" }
        if milliseconds < 60_000 {
            let tenths = milliseconds / 100
            return tenths % 10 == 0 ? "\(tenths / 10)s" : "\(tenths / 10).\(tenths % 10)s"
        }
        let seconds = milliseconds / 1000
        let parts: [(Int64, String)] = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"),
        ]
        return parts.drop { $0.0 == 0 }.prefix(2).filter { $0.0 > 0 }.map { "\($0.0)\($0.1)" }.joined(separator: " ")
    }

    package static func format(seconds: Int64) -> String {
        let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return format(milliseconds: overflow ? Int64.max : milliseconds)
    }

    package static func format(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return format(milliseconds: overflow ? Int64.max : milliseconds + attoseconds / 1_000_000_000_000_000)
    }

    /// What `parse` takes, for those who have to say it.
    package static let expected = "a whole number with a unit, ms, s, m or h, such as 10s"

    /// Reads a whole number with its unit: `500ms`, `10s`, `2m`, `1h`; nil if it is not one, or above 1000 hours.
    package static func parse(_ text: String) -> Duration? {
        let units: [(String, Int64)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }) else { return nil }
        let digits = text.dropLast(unit.count)
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int64(digits),
            number <= maxMilliseconds / factor
        else { return nil }
        return .milliseconds(number * factor)
    }

    private static let maxMilliseconds: Int64 = 1000 * 3_600_000
}
