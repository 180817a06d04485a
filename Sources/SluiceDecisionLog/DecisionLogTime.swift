import SluicePolicy

/// Times of the decision log, such as `2026-11-30T18:04:05.678Z`: RFC 3339, UTC, to the millisecond.
package struct DecisionLogTime: Sendable {
    private var secondMs = Int64.min
    private var text: [UInt8] = []

    package init() {}

    /// Appends a time. Lines come in the order of time, so most have the second of the one before.
    /// - Parameter ms: since 1970, at least 0.
    package mutating func append(ms: Int64, to line: inout [UInt8]) {
        let rest = ms % 1000
        if ms - rest != secondMs {
            secondMs = ms - rest
            text = Self.format(second: secondMs / 1000)
        }
        line += text
        Self.append(rest, digits: 3, to: &line)
        line.append(UInt8(ascii: "Z"))
    }

    /// Up to the point before the milliseconds.
    private static func format(second: Int64) -> [UInt8] {
        let (day, time) = (second / 86_400, second % 86_400)
        let month = CivilDate.month(ofDay: day)
        var text: [UInt8] = []
        let parts: [(number: Int64, digits: Int, end: Character)] = [
            (month / 12, 4, "-"), (month % 12 + 1, 2, "-"), (day - CivilDate.firstDay(ofMonth: month) + 1, 2, "T"),
            (time / 3600, 2, ":"), (time / 60 % 60, 2, ":"), (time % 60, 2, "."),
        ]
        for part in parts {
            append(part.number, digits: part.digits, to: &text)
            text += String(part.end).utf8
        }
        return text
    }

    private static func append(_ number: Int64, digits: Int, to text: inout [UInt8]) {
        var divisor: Int64 = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            text.append(UInt8(ascii: "0") + UInt8(number / divisor % 10))
            divisor /= 10
        }
    }

    /// Reads such a time; the milliseconds may be missing. nil if it is none, or before 1970.
    static func ms(_ bytes: [UInt8], _ range: Range<Int>) -> Int64? {
        guard range.count == 24 || range.count == 20, bytes[range.upperBound - 1] == UInt8(ascii: "Z") else {
            return nil
        }
        func number(_ offset: Int, _ digits: Int) -> Int64? {
            var value: Int64 = 0
            for index in range.lowerBound + offset..<range.lowerBound + offset + digits {
                let digit = bytes[index] &- UInt8(ascii: "0")
                guard digit <= 9 else { return nil }
                value = value * 10 + Int64(digit)
            }
            return value
        }
        guard let year = number(0, 4), let month = number(5, 2), let day = number(8, 2), let hour = number(11, 2),
            let minute = number(14, 2), let second = number(17, 2),
            let ms = range.count == 24 ? number(20, 3) : 0,
            year >= 1970, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        let days = CivilDate.firstDay(ofMonth: year * 12 + month - 1) + day - 1
        return (days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + ms
    }
}
