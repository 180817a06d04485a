/// How time is divided into the windows of a limit: every instant lies in exactly one, and the next begins where one
/// ends.
///
/// Two windows with the same `name` are the same: it is part of a counter's identity.
package struct Window: Sendable, Hashable {
    package enum Period: String, Sendable, Hashable, CaseIterable { case day, week, month }

    package enum Kind: Sendable, Hashable {
        /// Windows of that many whole seconds, 1 to `PolicyBounds.maxWindowSeconds`, aligned to the Unix epoch (so that
        /// minutes, hours and days are those of UTC).
        case seconds(Int64)
        /// Windows of a zone's calendar: a day from midnight, a week from Monday, a month from its first day. A day of
        /// UTC is never written in this form: it is 86,400 seconds.
        indirect case calendar(Period, Zone)
        /// One window that holds all time: for a limit that counts calls in progress.
        case endless
    }

    package let kind: Kind

    private init(_ kind: Kind) { self.kind = kind }

    /// - Parameter count: 1 to `PolicyBounds.maxWindowSeconds`.
    package static func seconds(_ count: Int64) -> Window {
        precondition(count >= 1 && count <= PolicyBounds.maxWindowSeconds)
        return Window(.seconds(count))
    }

    package static func calendar(_ period: Period, in zone: Zone = .utc) -> Window {
        period == .day && zone.isUTC ? .seconds(PolicyBounds.secondsPerDay) : Window(.calendar(period, zone))
    }

    package static let endless = Window(.endless)

    // MARK: Bounds

    /// The window that holds an instant, half-open, in ms since the epoch.
    ///
    /// With a calendar in a zone this queries a database some dozens of times and takes microseconds: keep the result
    /// while the window is open. The first windows of a calendar may begin before the epoch. - Parameter nowMs: 0 to
    /// 2^53; later instants count as 2^53.
    package func bounds(atMs nowMs: Int64) -> (startMs: Int64, endMs: Int64) {
        switch kind {
        case .seconds(let seconds):
            let startMs = nowMs - nowMs % (seconds * 1000)
            return (startMs, startMs + seconds * 1000)
        case .calendar(let period, let zone):
            return Self.bounds(of: period, in: zone, atMs: nowMs)
        case .endless:
            return (0, .max)
        }
    }

    /// The start of the window that holds `nowMs`; both in ms since the epoch.
    package func startMs(at nowMs: Int64) -> Int64 {
        if case .seconds(let seconds) = kind { return nowMs - nowMs % (seconds * 1000) }
        return bounds(atMs: nowMs).startMs
    }

    private static func bounds(
        of period: Period, in zone: Zone, atMs nowMs: Int64
    ) -> (startMs: Int64, endMs: Int64) {
        let second = floorDivide(min(nowMs, PolicyBounds.maxExact), 1000)
        var index = period.index(ofDay: zone.localDay(at: second))
        var start = zone.firstSecond(ofDay: period.firstDay(at: index))
        var end = zone.firstSecond(ofDay: period.firstDay(at: index + 1))
        // Where clocks went back over midnight, the date had already been a later one: its window has begun and
        // continues.
        while end <= second {
            index += 1
            start = end
            end = zone.firstSecond(ofDay: period.firstDay(at: index + 1))
        }
        return (start * 1000, end * 1000)
    }

    // MARK: Lengths

    /// The length of every window in ms, if all have the same length.
    package var fixedLengthMs: Int64? {
        switch kind {
        case .seconds(let seconds): seconds * 1000
        case .calendar(.week, let zone) where zone.isUTC: longestLengthMs
        case .calendar, .endless: nil
        }
    }

    /// An upper bound of a window's length, in ms. One day is added for clocks that go back for summer time.
    package var longestLengthMs: Int64 {
        let dayMs = PolicyBounds.secondsPerDay * 1000
        return switch kind {
        case .seconds(let seconds): seconds * 1000
        case .calendar(let period, let zone): (period.longestDays + (zone.isUTC ? 0 : 1)) * dayMs
        case .endless: .max
        }
    }
}

extension Window.Period {
    /// 1970-01-05 is a Monday.
    private static let firstMonday: Int64 = 4

    /// The number of the period that holds a day since the epoch.
    fileprivate func index(ofDay day: Int64) -> Int64 {
        switch self {
        case .day: day
        case .week: floorDivide(day - Self.firstMonday, 7)
        case .month: CivilDate.month(ofDay: day)
        }
    }

    /// The first day of the period of that number.
    fileprivate func firstDay(at index: Int64) -> Int64 {
        switch self {
        case .day: index
        case .week: index * 7 + Self.firstMonday
        case .month: CivilDate.firstDay(ofMonth: index)
        }
    }

    fileprivate var longestDays: Int64 {
        switch self {
        case .day: 1
        case .week: 7
        case .month: 31
        }
    }
}

// MARK: - Names

extension Window {
    private static let endlessName = "endless"
    private static let secondsSuffix: Character = "s"
    private static let zoneMark: Character = "@"

    /// The window's name in a counter's key: `60s`, `week`, `day@Europe/Berlin`, `endless`.
    package var name: String {
        switch kind {
        case .seconds(let seconds): "\(seconds)\(Self.secondsSuffix)"
        case .calendar(let period, let zone):
            zone.isUTC ? period.rawValue : "\(period.rawValue)\(Self.zoneMark)\(zone.name)"
        case .endless: Self.endlessName
        }
    }

    /// Parses a name. - Returns: `nil` for text that `name` never produces.
    package init?(name: String) {
        let parts = name.split(separator: Self.zoneMark, maxSplits: 1, omittingEmptySubsequences: false)
        if name == Self.endlessName {
            self = .endless
        } else if let period = Period(rawValue: String(parts[0])) {
            guard let zone = parts.count == 2 ? Zone(name: String(parts[1])) : .utc else { return nil }
            self = .calendar(period, in: zone)
        } else if name.last == Self.secondsSuffix, let count = Int64(name.dropLast()),
            (1...PolicyBounds.maxWindowSeconds).contains(count)
        {
            self = .seconds(count)
        } else {
            return nil
        }
        guard self.name == name else { return nil }
    }
}

// MARK: - Fixed lengths only

/// For callers that count windows of a fixed length only.
package typealias FixedWindow = Window

extension Window {
    package init(seconds: Int64) { self = .seconds(seconds) }

    /// The length in whole seconds. Only for windows of a fixed length; see `fixedLengthMs`.
    package var seconds: Int64 { lengthMs / 1000 }

    /// The length in ms. Only for windows of a fixed length; see `fixedLengthMs`.
    package var lengthMs: Int64 {
        guard let fixedLengthMs else { preconditionFailure("the window \(name) has no fixed length") }
        return fixedLengthMs
    }
}
