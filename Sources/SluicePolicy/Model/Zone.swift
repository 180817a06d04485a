import Foundation

/// A time zone by its name in the IANA database, such as `Europe/Berlin`.
///
/// The database only supplies the offset at an instant; the calendar is our own. UTC needs no database. It is
/// Foundation's database, not the system's: all replicas of one release use the same windows, wherever they run. Two
/// zones with the same name are the same.
package struct Zone: Sendable {
    package static let utc = Zone(utcNamed: utcNames[0])
    private static let utcNames = ["UTC", "Etc/UTC"]
    /// A name in the database that means "not known" and that Foundation treats as UTC.
    private static let unknownName = "Etc/Unknown"

    package let name: String
    /// `nil` for UTC.
    private let zone: TimeZone?

    private init(utcNamed name: String) {
        self.name = name
        zone = nil
    }

    /// - Parameter name: `UTC`, or `AREA/CITY` as the database spells it. Abbreviations such as `CET` and `EST5EDT` and
    /// offsets such as `GMT+5` are not accepted: their meaning is ambiguous.
    /// - Returns: `nil` if there is no such zone.
    package init?(name: String) {
        if Self.utcNames.contains(name) {
            self = .utc
            return
        }
        guard name.utf8.count <= PolicyBounds.maxZoneNameBytes, name.utf8.contains(UInt8(ascii: "/")),
            name.utf8.allSatisfy(Self.isOfName), name != Self.unknownName, let zone = TimeZone(identifier: name)
        else { return nil }
        self.name = name
        self.zone = zone
    }

    /// The characters of names. Foundation's look-up stops at a zero byte, and would accept two names for one zone.
    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "_"), UInt8(ascii: "+"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    package var isUTC: Bool { zone == nil }

    /// The zone's name that was most likely meant: for a misspelt one, or a city alone.
    static func nearestName(to name: String) -> String? {
        let suffix = "/" + name.lowercased().replacing(" ", with: "_")
        return knownNames.first { $0.lowercased().hasSuffix(suffix) } ?? NearestName.find(name, among: knownNames)
    }

    private static let knownNames = utcNames + TimeZone.knownTimeZoneIdentifiers.filter { $0.contains("/") }.sorted()

    // MARK: Days

    /// Greatest accepted distance from UTC, in seconds. Today's zones are within 14 hours; the bound only limits the
    /// search around a midnight.
    private static let maxOffsetSeconds: Int64 = 18 * 3600
    /// No zone changes its offset twice within this time, so between two samples there is at most one change.
    private static let sampleSeconds: Int64 = 3 * 3600
    /// The end of the year 9999: the offset at that time is used for all later times.
    private static let lastRuledSecond: Int64 = 253_402_300_799

    /// How far local time is ahead of UTC, in seconds, at an instant in seconds since the epoch.
    func offsetSeconds(at second: Int64) -> Int64 {
        guard let zone else { return 0 }
        let instant = Date(timeIntervalSince1970: TimeInterval(min(second, Self.lastRuledSecond)))
        let offset = Int64(zone.secondsFromGMT(for: instant))
        return min(max(offset, -Self.maxOffsetSeconds), Self.maxOffsetSeconds)
    }

    /// The local day, counted from 1970-01-01, at an instant in seconds since the epoch.
    func localDay(at second: Int64) -> Int64 {
        floorDivide(second + offsetSeconds(at: second), PolicyBounds.secondsPerDay)
    }

    /// The first instant, in seconds since the epoch, at which the local time is that day's time, or a later one.
    ///
    /// Of midnight, that is the local midnight; where clocks skip midnight, the instant of the change; and for a skipped
    /// day, the start of the next one. Because it is the first instant, later days never start earlier, even where clocks
    /// go back over midnight and a date comes twice.
    ///
    /// - Parameter timeOfDay: seconds since midnight by the clock, 0 to 86,400.
    func firstSecond(ofDay day: Int64, at timeOfDay: Int64 = 0) -> Int64 {
        let midnight = day * PolicyBounds.secondsPerDay + timeOfDay
        if isUTC { return midnight }
        // With any accepted offset the day starts in this range; so go from one change of the offset to the next.
        var second = midnight - Self.maxOffsetSeconds
        let last = midnight + Self.maxOffsetSeconds
        while second < last {
            let offset = offsetSeconds(at: second)
            let end = endOfOffset(offset, from: second)
            let start = max(second, midnight - offset)
            if start < end { return start }
            second = end
        }
        return last
    }

    /// The end of the offset that holds at `second`, or one sample later if it does not change.
    private func endOfOffset(_ offset: Int64, from second: Int64) -> Int64 {
        var holds = second
        var ended = second + Self.sampleSeconds
        guard offsetSeconds(at: ended) != offset else { return ended }
        while ended - holds > 1 {
            let middle = holds + (ended - holds) / 2
            if offsetSeconds(at: middle) == offset { holds = middle } else { ended = middle }
        }
        return ended
    }
}

extension Zone: Hashable {
    package static func == (left: Zone, right: Zone) -> Bool { left.name == right.name }

    package func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
