/// A waiting time in the unit that a person would use: seconds up to two minutes, minutes up to two hours, hours up to
/// two days, then days. Rounded up, so that the wait is never longer than stated; at least a second.
package struct WaitTime: Equatable, Sendable, CustomStringConvertible {
    package enum Unit: Sendable { case second, minute, hour, day }

    package let count: UInt64
    package let unit: Unit

    /// - Parameter milliseconds: below zero is zero.
    package init(milliseconds: Int64) {
        let seconds = max(1, UInt64(max(0, milliseconds)).advanced(by: 999) / 1000)
        let inUnits = { (secondsPerUnit: UInt64) in (seconds + secondsPerUnit - 1) / secondsPerUnit }
        (count, unit) =
            if seconds <= 120 {
                (seconds, .second)
            } else if inUnits(60) <= 120 {
                (inUnits(60), .minute)
            } else if inUnits(3600) <= 48 {
                (inUnits(3600), .hour)
            } else {
                (inUnits(86_400), .day)
            }
    }

    /// The unit, as it ends a sentence.
    var closing: StaticString {
        switch unit {
        case .second: count == 1 ? " second." : " seconds."
        case .minute: " minutes."
        case .hour: " hours."
        case .day: " days."
        }
    }

    /// `29 seconds`, `46 hours`
    package var description: String { "\(count)" + "\(closing)".dropLast() }
}
