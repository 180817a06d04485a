/// The hours of the week in which a tool may be called, by the clocks of a time zone.
package struct Hours: Sendable, Hashable {
    /// 0 for Monday to 6 for Sunday.
    package let days: Set<Int>
    /// Minutes since midnight, 0 to 1439.
    package let fromMinute: Int64
    /// Minutes since midnight, 1 to 1440; if not after `fromMinute`, those of the next day.
    package let toMinute: Int64
    package let zone: Zone

    /// A stretch of time, in ms since the epoch, in which calls are allowed throughout, or denied.
    package struct Stretch: Sendable, Hashable {
        package let isOpen: Bool
        package let ms: Range<Int64>
    }

    static let dayNames = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    private static let daysPerWeek: Int64 = 7
    /// 1970-01-01 was a Thursday.
    private static let firstWeekday: Int64 = 3
    private static let secondsPerMinute: Int64 = 60

    package init(days: Set<Int>, fromMinute: Int64, toMinute: Int64, zone: Zone) {
        self.days = days
        self.fromMinute = fromMinute
        self.toMinute = toMinute
        self.zone = zone
    }

    /// The stretch that holds an instant. Where clocks skip a time, the skipped one is the instant of the change; where a
    /// time comes twice, the first counts.
    ///
    /// It queries the database of time zones some dozens of times: keep the result while it lasts.
    /// - Parameter nowMs: ms since the epoch, 0 to 2^53; later instants count as 2^53.
    package func stretch(atMs nowMs: Int64) -> Stretch {
        let nowMs = min(max(0, nowMs), PolicyBounds.maxExact)
        let today = zone.localDay(at: floorDivide(nowMs, 1000))
        // The hours of one day before and of one after a whole week are enough to find the nearest ones.
        var closedSince: Int64 = 0
        for day in (today - Self.daysPerWeek - 1)...(today + Self.daysPerWeek + 1) where isOpen(onDay: day) {
            let open = openMs(onDay: day)
            if open.isEmpty || open.upperBound <= nowMs {
                closedSince = max(closedSince, open.upperBound)
            } else if open.lowerBound <= nowMs {
                return Stretch(isOpen: true, ms: open)
            } else {
                return Stretch(isOpen: false, ms: min(closedSince, nowMs)..<open.lowerBound)
            }
        }
        // Only at the end of time.
        return Stretch(isOpen: false, ms: min(closedSince, nowMs)..<Int64.max)
    }

    private func isOpen(onDay day: Int64) -> Bool {
        days.contains(Int(floorModulo(day + Self.firstWeekday, Self.daysPerWeek)))
    }

    private func openMs(onDay day: Int64) -> Range<Int64> {
        let from = zone.firstSecond(ofDay: day, at: fromMinute * Self.secondsPerMinute)
        let isOvernight = toMinute <= fromMinute
        let to = zone.firstSecond(ofDay: isOvernight ? day + 1 : day, at: toMinute * Self.secondsPerMinute)
        return from * 1000..<max(from, to) * 1000
    }
}

// MARK: - Words

extension Hours {
    /// `mon-fri 09:00-18:00 (Europe/Berlin)`
    package var words: String { "\(daysText) \(Self.text(fromMinute))-\(Self.text(toMinute)) (\(zone.name))" }

    package var fromText: String { Self.text(fromMinute) }
    package var toText: String { Self.text(toMinute) }

    private static func text(_ minute: Int64) -> String {
        let digits = { (number: Int64) in (number < 10 ? "0" : "") + String(number) }
        return "\(digits(minute / 60)):\(digits(minute % 60))"
    }

    /// As in documents: `mon-fri`, `mon,wed-fri`.
    package var daysText: String {
        var parts: [String] = []
        var day = 0
        while day < Self.dayNames.count {
            guard days.contains(day) else {
                day += 1
                continue
            }
            var last = day
            while days.contains(last + 1) { last += 1 }
            parts.append(Self.dayNames[day] + (last > day ? "-" + Self.dayNames[last] : ""))
            day = last + 1
        }
        return parts.joined(separator: ",")
    }

    /// - Returns: `nil` for other text than days (`mon`) and spans of days (`fri-mon`), separated by commas.
    static func days(_ text: String) -> Set<Int>? {
        var days: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
                .map { end in dayNames.firstIndex { $0 == end } }
            guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1] else { return nil }
            let count = (last - first + dayNames.count) % dayNames.count
            for step in 0...count { days.insert((first + step) % dayNames.count) }
        }
        return days
    }

    /// The minute of `HH:MM`, up to `24:00`; `nil` for other text.
    static func minute(_ text: String) -> Int64? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { 0x30...0x39 ~= $0 } }),
            let hour = Int64(parts[0]), let minute = Int64(parts[1]), minute < 60, hour * 60 + minute <= 24 * 60
        else { return nil }
        return hour * 60 + minute
    }
}
