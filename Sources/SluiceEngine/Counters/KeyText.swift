import SluicePolicy

/// How names, numbers, algorithms and windows are spelt in keys.
enum KeyText {
    // MARK: - Names

    /// Appends a name, percent-encoded where a byte would be ambiguous: the separators of keys, what is special in
    /// `redis-cli` or in a pattern for `SCAN`, `!` and a `~` for keys of another kind, and all but printable ASCII, so
    /// that a key is one readable word in every terminal and log.
    static func append(_ name: some Sequence<UInt8>, to key: inout [UInt8]) {
        for byte in name {
            if isPlain(byte) {
                key.append(byte)
            } else {
                key.append(UInt8(ascii: "%"))
                key.append(digit(byte >> 4, upper: true))
                key.append(digit(byte & 15, upper: true))
            }
        }
    }

    static func encoded(_ name: some Sequence<UInt8>) -> [UInt8] {
        var key: [UInt8] = []
        append(name, to: &key)
        return key
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "/"), UInt8(ascii: "@"),
            UInt8(ascii: "+"), UInt8(ascii: ","):
            true
        default: false
        }
    }

    /// The name that was encoded; nil if it is no valid text. More than one spelling may give a name.
    static func decoded(_ part: ArraySlice<UInt8>) -> String? {
        var bytes: [UInt8] = []
        var rest = part
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    // MARK: - Numbers

    private static func digit(_ value: UInt8, upper: Bool = false) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: upper ? "A" : "a") + (value - 10)
    }

    /// Appends a number in base 36, lower case. - Parameter number: 0 or more.
    static func append(base36 number: Int64, to bytes: inout [UInt8]) {
        precondition(number >= 0)
        var divisor: Int64 = 1
        while number / divisor >= 36 { divisor *= 36 }
        while divisor > 0 {
            bytes.append(digit(UInt8(truncatingIfNeeded: number / divisor % 36)))
            divisor /= 36
        }
    }

    /// - Returns: nil if it is none, or too large.
    static func number(base36 text: ArraySlice<UInt8>) -> Int64? {
        guard let first = text.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-") else { return nil }
        return Int64(String(decoding: text, as: UTF8.self), radix: 36)
    }

    // MARK: - Algorithms and windows

    /// `f60`, `sd@Europe/Berlin`, `c`: a letter, and the window.
    static func code(_ algorithm: Algorithm, _ window: Window) -> [UInt8] {
        var code = [algorithm.keyLetter]
        switch window.kind {
        case .seconds(let seconds): code += "\(seconds)".utf8
        case .calendar(let period, let zone):
            code.append(period.keyLetter)
            if !zone.isUTC {
                code.append(UInt8(ascii: "@"))
                append(zone.name.utf8, to: &code)
            }
        case .endless: break
        }
        return code
    }

    static func decodedCode(_ code: ArraySlice<UInt8>) -> (algorithm: Algorithm, window: Window)? {
        guard let letter = code.first, let algorithm = Algorithm.allCases.first(where: { $0.keyLetter == letter }),
            let window = decodedWindow(code.dropFirst()), algorithm.allows(window)
        else { return nil }
        return (algorithm, window)
    }

    private static func decodedWindow(_ code: ArraySlice<UInt8>) -> Window? {
        guard let first = code.first else { return .endless }
        if let period = Window.Period.allCases.first(where: { $0.keyLetter == first }) {
            guard code.count > 1 else { return .calendar(period) }
            guard code.dropFirst().first == UInt8(ascii: "@"),
                let zone = decoded(code.dropFirst(2)).flatMap({ Zone(name: $0) })
            else { return nil }
            return .calendar(period, in: zone)
        }
        guard let seconds = Int64(String(decoding: code, as: UTF8.self)),
            (1...PolicyBounds.maxWindowSeconds).contains(seconds)
        else { return nil }
        return .seconds(seconds)
    }

    // MARK: - Starts

    /// Appends the start of a window, in ms since the epoch, in base 36: how many windows of that length there were
    /// before it; for a calendar's, whose lengths differ, how many seconds.
    static func append(startMs: Int64, of window: Window, to key: inout [UInt8]) {
        append(base36: startMs / window.startUnitMs, to: &key)
    }

    static func decodedStartMs(_ text: ArraySlice<UInt8>, of window: Window) -> Int64? {
        guard let units = number(base36: text), (0...EngineBounds.latestMs / window.startUnitMs).contains(units) else {
            return nil
        }
        let startMs = units * window.startUnitMs
        return max(0, window.startMs(at: startMs)) == startMs ? startMs : nil
    }
}

extension Algorithm {
    fileprivate var keyLetter: UInt8 {
        switch self {
        case .fixedWindow: UInt8(ascii: "f")
        case .slidingWindow: UInt8(ascii: "s")
        case .slidingLog: UInt8(ascii: "l")
        case .tokenBucket: UInt8(ascii: "b")
        case .concurrency: UInt8(ascii: "c")
        }
    }
}

extension Window {
    /// What the starts of its windows are counted in, ms.
    var startUnitMs: Int64 {
        if case .seconds(let seconds) = kind { seconds * 1000 } else { 1000 }
    }
}

extension Window.Period {
    fileprivate var keyLetter: UInt8 {
        switch self {
        case .day: UInt8(ascii: "d")
        case .week: UInt8(ascii: "w")
        case .month: UInt8(ascii: "m")
        }
    }
}

/// Caches the spelling of the last window's start, which is mostly that of the next, too.
struct LastStart {
    /// The most digits.
    static let maxBytes = 13

    private var startMs: Int64 = -1
    private var unitMs: Int64 = 0
    private var digits: [UInt8] = []

    /// See `KeyText.append(startMs:of:to:)`. - Parameter startMs: 0 or more.
    @inline(__always)
    mutating func append(_ startMs: Int64, unitMs: Int64, to bytes: inout [UInt8]) {
        if startMs != self.startMs || unitMs != self.unitMs {
            self.startMs = startMs
            self.unitMs = unitMs
            digits.removeAll(keepingCapacity: true)
            KeyText.append(base36: startMs / unitMs, to: &digits)
        }
        bytes.append(contentsOf: digits)
    }
}
