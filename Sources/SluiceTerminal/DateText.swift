import FoundationEssentials

/// Times as UTC, like the windows.
package enum DateText {
    /// `2025-11-22T18:04:00Z`, or with a space instead of the T; to the second.
    /// - Parameter milliseconds: since 1970.
    package static func format(milliseconds: Int64, isSpaced: Bool = false) -> String {
        Date(timeIntervalSince1970: Double(milliseconds / 1000))
            .formatted(Date.ISO8601FormatStyle(dateTimeSeparator: isSpaced ? .space : .standard))
    }

    /// `18:04:05.678`. - Parameter milliseconds: since 1970, at least 0.
    package static func timeOfDay(milliseconds: Int64) -> String {
        let parts: [(Int64, Int)] = [
            (milliseconds / 3_600_000 % 24, 2), (milliseconds / 60_000 % 60, 2), (milliseconds / 1000 % 60, 2),
            (milliseconds % 1000, 3),
        ]
        let texts = parts.map { number, digits in
            String(repeating: "0", count: max(0, digits - "\(number)".count)) + "\(number)"
        }
        return texts[..<3].joined(separator: ":") + "." + texts[3]
    }

    /// Now, ms since 1970.
    package static func nowMs() -> Int64 { Int64(Date.now.timeIntervalSince1970 * 1000) }
}
