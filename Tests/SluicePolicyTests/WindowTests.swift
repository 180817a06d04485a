import Foundation
import SluicePolicy
import Testing

@Suite struct WindowTests {
    // MARK: Names

    @Test(
        arguments: [
            (.seconds(60), "60s"), (.seconds(86_400), "86400s"), (.calendar(.day), "86400s"),
            (.calendar(.week), "week"), (.calendar(.month), "month"), (.endless, "endless"),
            (.calendar(.day, in: Zone(name: "Europe/Berlin")!), "day@Europe/Berlin"),
            (.calendar(.week, in: Zone(name: "Asia/Kolkata")!), "week@Asia/Kolkata"),
            (.calendar(.month, in: Zone(name: "America/Argentina/Ushuaia")!), "month@America/Argentina/Ushuaia"),
            (.calendar(.month, in: Zone(name: "Etc/UTC")!), "month"),
        ] as [(Window, String)])
    func nameAndBack(window: Window, name: String) {
        #expect(window.name == name)
        #expect(Window(name: name) == window)
    }

    @Test(
        arguments: [
            "", "s", "0s", "-1s", "+1s", "01s", "60", "60m", "31622401s", "day", "day@UTC", "week@", "week@UTC",
            "week@Etc/UTC", "week@Nowhere/Atall", "year", "week@Europe/Berlin@Europe/Berlin", "99999999999999999999s",
        ])
    func whatIsNoName(text: String) { #expect(Window(name: text) == nil) }

    @Test func aDayOfUTCIsItsSeconds() {
        #expect(Window.calendar(.day) == .seconds(86_400))
        #expect(Window.calendar(.day, in: Zone(name: "UTC")!).hashValue == Window.seconds(86_400).hashValue)
        #expect(Window.calendar(.week) != .seconds(7 * 86_400))
        #expect(Window.calendar(.day, in: Zone(name: "Africa/Abidjan")!) != .seconds(86_400))
    }

    @Test(
        arguments: [
            "Berlin", "CET", "EST5EDT", "GMT+5", "GMT", "PST", "", "/", "Europe/", "europe/berlin", "Etc/Unknown",
            "../../etc/passwd", "posix/Europe/Berlin", "Europe/Berlin\u{0}", " Europe/Berlin",
            String(repeating: "a/", count: 1_000),
        ])
    func whatIsNoZone(name: String) { #expect(Zone(name: name) == nil) }

    // MARK: Lengths

    @Test func lengths() {
        let berlin = Zone(name: "Europe/Berlin")!
        let dayMs: Int64 = 86_400_000
        #expect(Window.seconds(90).fixedLengthMs == 90_000)
        #expect(Window.seconds(90).longestLengthMs == 90_000)
        #expect(Window.calendar(.week).fixedLengthMs == 7 * dayMs)
        #expect(Window.calendar(.month).fixedLengthMs == nil)
        #expect(Window.calendar(.month).longestLengthMs == 31 * dayMs)
        #expect(Window.calendar(.day, in: berlin).fixedLengthMs == nil)
        #expect(Window.calendar(.week, in: berlin).longestLengthMs == 8 * dayMs)
        #expect(Window.endless.fixedLengthMs == nil)
        #expect(Window.endless.bounds(atMs: 5) == (0, .max))
    }

    // MARK: Literal windows

    @Test(
        arguments: [
            ("60s", "2026-03-01T12:34:56Z", "2026-03-01T12:34:00Z", "2026-03-01T12:35:00Z"),
            ("86400s", "2026-03-01T12:34:56Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("week", "2026-03-01T23:59:59Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("week", "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"),
            ("week", "1970-01-01T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"),
            ("month", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("month", "2023-12-31T12:00:00Z", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
            ("month", "2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
            ("month", "2000-02-29T12:00:00Z", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z"),
            // Clocks go forward: 23 hours; back: 25.
            ("day@Europe/Berlin", "2025-03-30T12:00:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z"),
            ("day@Europe/Berlin", "2025-10-26T12:00:00Z", "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z"),
            ("week@Europe/Berlin", "2025-10-26T22:59:59Z", "2025-10-19T22:00:00Z", "2025-10-26T23:00:00Z"),
            ("month@Europe/Berlin", "2025-10-31T22:59:59Z", "2025-09-30T22:00:00Z", "2025-10-31T23:00:00Z"),
            ("day@America/New_York", "2024-03-10T12:00:00Z", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z"),
            ("day@America/New_York", "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z"),
            // By half an hour.
            ("day@Australia/Lord_Howe", "2024-04-07T00:00:00Z", "2024-04-06T13:00:00Z", "2024-04-07T13:30:00Z"),
            ("day@Asia/Kathmandu", "2024-06-01T00:00:00Z", "2024-05-31T18:15:00Z", "2024-06-01T18:15:00Z"),
            // By two hours.
            ("day@Antarctica/Troll", "2024-03-31T12:00:00Z", "2024-03-31T00:00:00Z", "2024-03-31T22:00:00Z"),
            // Midnight does not exist: the day starts at 01:00.
            ("day@America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
            ("day@Asia/Beirut", "2024-03-31T12:00:00Z", "2024-03-30T22:00:00Z", "2024-03-31T21:00:00Z"),
            ("day@Africa/Cairo", "2024-04-26T12:00:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z"),
            // 23:00 to 24:00 comes twice.
            ("day@America/Sao_Paulo", "2018-02-18T02:30:00Z", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z"),
            ("day@Africa/Cairo", "2024-10-31T21:30:00Z", "2024-10-30T21:00:00Z", "2024-10-31T22:00:00Z"),
            // 00:00 came, a minute later it was 23:01 again: the day that had begun goes on.
            ("day@America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"),
            ("day@America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z"),
            // 2011-12-30 was left out.
            ("day@Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
            ("day@Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
            ("week@Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z"),
            ("day@Pacific/Kwajalein", "1993-08-21T13:00:00Z", "1993-08-21T12:00:00Z", "1993-08-22T12:00:00Z"),
        ] as [(String, String, String, String)])
    func bounds(name: String, instant: String, start: String, end: String) throws {
        let window = try #require(Window(name: name))
        let bounds = window.bounds(atMs: try milliseconds(instant))
        #expect(bounds.startMs == (try milliseconds(start)))
        #expect(bounds.endMs == (try milliseconds(end)))
        #expect(window.startMs(at: try milliseconds(instant)) == bounds.startMs)
    }

    @Test func timeBeyondAllClocks() {
        for window in [Window.calendar(.month), .calendar(.day, in: Zone(name: "Europe/Berlin")!)] {
            let last = window.bounds(atMs: 1 << 53)
            #expect(last.startMs <= 1 << 53 && last.endMs > 1 << 53)
            #expect(window.bounds(atMs: .max) == last)
        }
    }

    private func milliseconds(_ text: String) throws -> Int64 {
        Int64(try Date.ISO8601FormatStyle().parse(text).timeIntervalSince1970) * 1000
    }
}

/// What holds for windows whatever the zone and the instant, from 1970 to 2100.
@Suite struct WindowPropertyTests {
    private static let zones = [
        "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/St_Johns",
        "America/Sao_Paulo", "America/Santiago", "America/Havana", "America/Nuuk", "Africa/Cairo",
        "Africa/Casablanca", "Africa/Monrovia", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu",
        "Asia/Tehran", "Asia/Pyongyang", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Pacific/Kwajalein",
        "Pacific/Kiritimati",
    ]
    private static let end2100Ms: Int64 = 4_133_980_800_000

    @Test(arguments: zones, Window.Period.allCases)
    func everyInstantLiesInOneWindow(zoneName: String, period: Window.Period) throws {
        let zone = try #require(Zone(name: zoneName))
        let window = Window.calendar(period, in: zone)
        var random = SeededRandom(seed: 1)
        for _ in 0..<150 {
            let nowMs = Int64.random(in: 0..<Self.end2100Ms, using: &random)
            let bounds = window.bounds(atMs: nowMs)
            #expect(bounds.startMs <= nowMs && nowMs < bounds.endMs, "\(window.name) at \(nowMs)")
            #expect(bounds.endMs - bounds.startMs <= window.longestLengthMs, "\(window.name) at \(nowMs)")
            // Every instant of a window has the same bounds; the next begins where it ends.
            let other = Int64.random(in: max(0, bounds.startMs)..<bounds.endMs, using: &random)
            for inside in [max(0, bounds.startMs), other, bounds.endMs - 1] {
                #expect(window.bounds(atMs: inside) == bounds, "\(window.name) at \(nowMs), \(inside)")
            }
            #expect(window.bounds(atMs: bounds.endMs).startMs == bounds.endMs, "\(window.name) at \(nowMs)")
            if bounds.startMs > 0 {
                #expect(window.bounds(atMs: bounds.startMs - 1).endMs == bounds.startMs, "\(window.name) at \(nowMs)")
            }
        }
    }

    /// From window to window over every change of clocks there is, nothing is left out or comes twice.
    @Test(
        arguments: [
            "Europe/Dublin", "America/St_Johns", "America/Sao_Paulo", "America/Nuuk", "Africa/Cairo",
            "Africa/Casablanca", "Africa/Monrovia", "Asia/Beirut", "Asia/Gaza", "Australia/Lord_Howe", "Pacific/Apia",
            "Pacific/Kwajalein",
        ])
    func daysFollowEachOther(zoneName: String) throws {
        let zone = try #require(Zone(name: zoneName))
        let calendar = try #require(TimeZone(identifier: zoneName))
        let window = Window.calendar(.day, in: zone)
        var bounds = window.bounds(atMs: 86_400_000)
        while bounds.endMs < 2_000_000_000_000 {
            let next = window.bounds(atMs: bounds.endMs)
            try #require(next.startMs == bounds.endMs)
            try #require(next.endMs > next.startMs)
            try #require(localDay(next.startMs, calendar) > localDay(bounds.startMs, calendar))
            try #require(localDay(next.startMs - 1, calendar) < localDay(next.startMs, calendar))
            bounds = next
        }
    }

    /// Foundation's calendar is a reliable oracle in UTC.
    @Test func monthsAndWeeksOfUTCAreFoundations() throws {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(identifier: "GMT"))
        var random = SeededRandom(seed: 2)
        let periods: [(Window, Calendar.Component)] = [(.calendar(.month), .month), (.calendar(.week), .weekOfYear)]
        for (window, component) in periods {
            for _ in 0..<500 {
                let nowMs = Int64.random(in: 0..<Self.end2100Ms, using: &random)
                let interval = try #require(
                    calendar.dateInterval(of: component, for: Date(timeIntervalSince1970: Double(nowMs / 1000))))
                let bounds = window.bounds(atMs: nowMs)
                #expect(bounds.startMs == Int64(interval.start.timeIntervalSince1970) * 1000, "\(nowMs)")
                #expect(bounds.endMs == Int64(interval.end.timeIntervalSince1970) * 1000, "\(nowMs)")
            }
        }
    }

    private func localDay(_ nowMs: Int64, _ zone: TimeZone) -> Int64 {
        let second = (Double(nowMs) / 1000).rounded(.down)
        let offset = zone.secondsFromGMT(for: Date(timeIntervalSince1970: second))
        return Int64(((second + Double(offset)) / 86_400).rounded(.down))
    }
}
