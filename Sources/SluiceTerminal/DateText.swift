import FoundationEssentials

/// Times as UTC, like the windows.
package enum DateText {
    /// `2025-11-22T18:04:00Z`, or with a space instead of the T; to the second.
    /// - Parameter milliseconds: since 1970.
    package static func format(milliseconds: Int64, isSpaced: Bool = false) -> String {
        Date(timeIntervalSince1970: Double(milliseconds / 1000))
            .formatted(Date.ISO8601FormatStyle(dateTimeSeparator: isSpaced ? .space : .standard))
    }
}
