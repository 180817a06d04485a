import SluicePolicy
import Testing

/// When a tool's hours begin and end, also on days when clocks change.
@Suite struct HoursTests {
    private static func hours(_ text: String) throws -> Hours {
        try #require(try parse(document(tool: #"{"hours":{\#(text)}}"#), features: .all).tools["x"]?.hours)
    }

    /// Seconds since the epoch of a time of UTC, for tests' tables.
    private static func utc(_ year: Int64, _ month: Int64, _ day: Int64, _ hour: Int64, _ minute: Int64 = 0) -> Int64 {
        // Days from civil, by months' lengths.
        let isLeap = { (year: Int64) in year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
        var days: Int64 = 0
        for past in 1970..<year { days += isLeap(past) ? 366 : 365 }
        let lengths: [Int64] = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        for past in 0..<Int(month - 1) { days += lengths[past] }
        return ((days + day - 1) * 24 + hour) * 3600 + minute * 60
    }

    private static func expect(
        _ hours: Hours, at second: Int64, isOpen: Bool, until: Int64, _ location: SourceLocation = #_sourceLocation
    ) {
        let stretch = hours.stretch(atMs: second * 1000)
        #expect(
            stretch.isOpen == isOpen && stretch.ms.upperBound == until * 1000
                && stretch.ms.contains(second * 1000), "\(stretch)", sourceLocation: location)
    }

    @Test func ofAnOffice() throws {
        let office = try Self.hours(#""days":"mon-fri","from":"09:00","to":"18:00","timezone":"Europe/Berlin""#)
        #expect(office.words == "mon-fri 09:00-18:00 (Europe/Berlin)")
        // Monday, 2026-11-30, at 08:59:59 and 09:00 in Berlin, an hour ahead of UTC.
        let opens = Self.utc(2026, 11, 30, 8)
        let closes = Self.utc(2026, 11, 30, 17)
        Self.expect(office, at: opens - 1, isOpen: false, until: opens)
        Self.expect(office, at: opens, isOpen: true, until: closes)
        Self.expect(office, at: closes - 1, isOpen: true, until: closes)
        Self.expect(office, at: closes, isOpen: false, until: Self.utc(2026, 12, 1, 8))
        // From Friday evening to Monday.
        Self.expect(office, at: Self.utc(2026, 12, 4, 17), isOpen: false, until: Self.utc(2026, 12, 7, 8))
    }

    /// In 2026 clocks go forward in Berlin on 29 March, from 02:00 to 03:00, and back on 25 October, from 03:00 to
    /// 02:00.
    @Test func whereClocksChange() throws {
        let night = try Self.hours(#""from":"02:30","to":"04:00","timezone":"Europe/Berlin""#)
        // 02:30 does not come: it opens at the change.
        let change = Self.utc(2026, 3, 29, 1)
        Self.expect(night, at: change - 1, isOpen: false, until: change)
        Self.expect(night, at: change, isOpen: true, until: Self.utc(2026, 3, 29, 2))
        // 02:30 comes twice: it opens at the first.
        let first = Self.utc(2026, 10, 25, 0, 30)
        Self.expect(night, at: first - 1, isOpen: false, until: first)
        Self.expect(night, at: first, isOpen: true, until: Self.utc(2026, 10, 25, 3))
        // Hours that begin and end within what is skipped do not come.
        let skipped = try Self.hours(#""from":"02:15","to":"02:45","timezone":"Europe/Berlin""#)
        Self.expect(skipped, at: change - 60, isOpen: false, until: Self.utc(2026, 3, 30, 0, 15))
        // The day before and after have the offsets of their own.
        let office = try Self.hours(#""from":"09:00","to":"18:00","timezone":"Europe/Berlin""#)
        Self.expect(office, at: Self.utc(2026, 3, 28, 18), isOpen: false, until: Self.utc(2026, 3, 29, 7))
        Self.expect(office, at: Self.utc(2026, 10, 24, 17), isOpen: false, until: Self.utc(2026, 10, 25, 8))
    }

    @Test func overMidnight() throws {
        let night = try Self.hours(#""days":"fri","from":"22:00","to":"06:00""#)
        // Friday, 2026-12-04.
        let opens = Self.utc(2026, 12, 4, 22)
        let closes = Self.utc(2026, 12, 5, 6)
        Self.expect(night, at: Self.utc(2026, 12, 4, 3), isOpen: false, until: opens)
        Self.expect(night, at: Self.utc(2026, 12, 5, 3), isOpen: true, until: closes)
        Self.expect(night, at: closes, isOpen: false, until: Self.utc(2026, 12, 11, 22))
    }

    @Test func allDay() throws {
        let day = try Self.hours(#""days":"sat-sun","from":"00:00","to":"24:00""#)
        #expect(day.words == "sat-sun 00:00-24:00 (UTC)")
        let saturday = Self.utc(2026, 12, 5, 0)
        Self.expect(day, at: saturday - 1, isOpen: false, until: saturday)
        Self.expect(day, at: saturday, isOpen: true, until: saturday + 86_400)
        Self.expect(day, at: saturday + 86_400, isOpen: true, until: saturday + 2 * 86_400)
        #expect(try Self.hours(#""days":"fri-mon,wed","from":"09:00","to":"10:00""#).daysText == "mon,wed,fri-sun")
    }

    @Test func extremeTimes() throws {
        let office = try Self.hours(#""days":"mon","from":"09:00","to":"18:00","timezone":"Pacific/Auckland""#)
        for ms in [0, 1, 253_402_300_799_999, PolicyBounds.maxExact] as [Int64] {
            let stretch = office.stretch(atMs: ms)
            #expect(stretch.ms.contains(ms), "\(stretch)")
        }
    }

    @Test func aRulingDependsOnThem() throws {
        let policy = try parse(
            document(tool: #"{"rate_limit":"1/day","hours":{"from":"09:00","to":"18:00"}}"#), features: .all)
        guard case .within(_, .count("/tools/x", let limits), let closed) = policy.ruling(forTool: "x") else {
            Issue.record("\(policy.ruling(forTool: "x"))")
            return
        }
        #expect(limits.count == 1)
        #expect(
            closed
                == .deny(rule: "/tools/x/hours", message: "x may only be called mon-sun 09:00-18:00 (UTC)."))
        #expect(
            PolicySummary(policy, file: "p").render().hasPrefix(
                """
                tool         action  hours                      counter     limit      scope
                x            allow   mon-sun 09:00-18:00 (UTC)  rate_limit  1 per day  session

                """))
    }
}
