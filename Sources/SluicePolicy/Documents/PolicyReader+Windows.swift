/// Reads windows and other durations.
extension PolicyReader {
    private static let fixedWindows = [
        FeatureWord("second", 1), FeatureWord("minute", 60), FeatureWord("hour", 3600 as Int64),
    ]
    private static let periods = FeatureWord<Window.Period>.all { $0 == .day ? [] : .calendarWindows }
    private static let windowRange: ClosedRange<Int64> = 1...PolicyBounds.maxWindowSeconds
    private static let secondsWords = DocumentReader.wholeNumber(in: windowRange, unit: "seconds")
    private static let timeWords = #"such as "90s", "15m", "6h" or "2d""#
    private static let zoneWords = #"the name of a time zone such as "Europe/Berlin", or "UTC""#

    /// The valid values of a window with these features.
    static func windowWords(_ features: PolicyFeatures) -> String {
        let words = fixedWindows.map(\.word) + periods.filter { features.isSuperset(of: $0.needs) }.map(\.word)
        return words.map(\.quoted).joined(separator: ", ") + ", a time \(timeWords) or \(secondsWords)"
    }

    /// `window` and `timezone`.
    /// - Parameter isRequired: whether a missing window is a fault.
    mutating func window(of object: inout ObjectReader, isRequired: Bool) -> Window? {
        let zoneNode = object.take("timezone")
        let zone = zoneNode.map { self.zone($0) } ?? .utc
        let node = isRequired ? document.required("window", of: &object, expected: windowWords) : object.take("window")
        guard let node else { return nil }
        if case .string(let text) = node.value.content, Self.periods.contains(where: { $0.word == text }) {
            let windowWords = windowWords
            let period = choice(node, Self.periods, why: "a window is \(windowWords)")
            guard let period, let zone else { return nil }
            return .calendar(period, in: zone)
        }
        guard let seconds = windowSeconds(node) else { return nil }
        if let zoneNode, let zone, !zone.isUTC {
            misplaced(
                zoneNode, key: "timezone", beside: "with the window \(node.value.summary)",
                expected: "it only with \(Self.quoted(Window.Period.allCases.map(\.rawValue)))")
        }
        return .seconds(seconds)
    }

    /// A window that does not follow the calendar.
    private mutating func windowSeconds(_ node: DocumentNode) -> Int64? {
        switch node.value.content {
        case .integer(let seconds) where Self.windowRange.contains(seconds):
            return seconds
        case .string(let text):
            if let known = Self.fixedWindows.first(where: { $0.word == text }) { return known.meaning }
            if let seconds = Self.seconds(ofTime: text), Self.windowRange.contains(seconds) { return seconds }
            let words = Self.fixedWindows.map(\.word) + Self.periods.map(\.word)
            document.unexpected(
                text.quoted, at: node, expected: windowWords,
                nearest: Self.simpleTime(text) ?? NearestName.find(text, among: words))
        default:
            document.unexpected(node.value.summary, at: node, expected: windowWords)
        }
        return nil
    }

    /// The seconds of `90s`, `15m`, `6h` or `2d`.
    static func seconds(ofTime text: String) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": PolicyBounds.secondsPerDay]
        guard let unit = text.last.flatMap({ units[$0] }), let number = decimal(text.dropLast()) else { return nil }
        let (seconds, overflow) = number.multipliedReportingOverflow(by: unit)
        return overflow ? nil : seconds
    }

    /// `90m` for a time such as `1h30m` or `1m 30s`; `nil` for other text, and for what is no window.
    private static func simpleTime(_ text: String) -> String? {
        var seconds: Int64 = 0
        var number = ""
        for character in text.lowercased() where character != " " {
            if character.isASCII, character.isNumber {
                number.append(character)
                continue
            }
            guard let part = Self.seconds(ofTime: number + String(character)) else { return nil }
            let (sum, overflow) = seconds.addingReportingOverflow(part)
            guard !number.isEmpty, !overflow else { return nil }
            seconds = sum
            number = ""
        }
        guard number.isEmpty, windowRange.contains(seconds) else { return nil }
        let unit = [("d", PolicyBounds.secondsPerDay), ("h", 3600), ("m", 60), ("s", 1)]
            .first { seconds % $0.1 == 0 }
        return unit.map { "\(seconds / $0.1)\($0.0)" }
    }

    /// Digits only: `Int64` would also accept a sign.
    private static func decimal(_ text: some StringProtocol) -> Int64? {
        text.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") } ? Int64(text) : nil
    }

    // MARK: Time zones

    mutating func zone(_ node: DocumentNode) -> Zone? {
        guard features.contains(.calendarWindows) else { return onlyUTC(node) }
        guard let name = document.string(node, expected: Self.zoneWords) else { return nil }
        if let zone = zones[name] ?? Zone(name: name) {
            zones[name] = zone
            return zone
        }
        let nearest = suggestion { Zone.nearestName(to: name) }
        document.unexpected(name.quoted, at: node, expected: Self.zoneWords, nearest: nearest)
        return nil
    }

    /// `timezone` where it may only state the default behaviour.
    private mutating func onlyUTC(_ node: DocumentNode) -> Zone? {
        guard let name = document.string(node, expected: Zone.utc.name.quoted) else { return nil }
        if name == Zone.utc.name { return .utc }
        document.notSupportedYet("timezone", at: node, why: "windows are aligned to UTC")
        return nil
    }

    // MARK: rate_limit

    /// `rate_limit` in both its forms: a limit for each session.
    mutating func rateLimit(_ node: DocumentNode, of container: Limit.Container, path: String) -> Limit? {
        let rate: (max: Int64, window: Window)?
        switch node.value.content {
        case .object: rate = rateObject(node)
        case .string(let text): rate = rateText(text, node)
        default:
            document.unexpected(
                node.value.summary, at: node, expected: "such as {\"max\": 10, \"window\": 60} or \"10/minute\"")
            rate = nil
        }
        guard let rate else { return nil }
        return Limit(
            container: container, counter: PolicyKeys.rateLimit, window: rate.window, max: rate.max, scope: .session,
            rule: "\(path)/\(PolicyKeys.rateLimit)", onDeny: nil)
    }

    /// `{"max": 10, "window": 60}`, the window in seconds.
    private mutating func rateObject(_ node: DocumentNode) -> (max: Int64, window: Window)? {
        guard var object = document.object(node, expected: "an object") else { return nil }
        let max = document.required("max", of: &object, expected: Self.maxWords)
            .flatMap { document.wholeNumber($0, in: Self.maxRange) }
        let seconds = document.required("window", of: &object, expected: Self.secondsWords)
            .flatMap { document.wholeNumber($0, in: Self.windowRange, unit: "seconds") }
        document.finish(object, PolicyKeys.rateLimitObject)
        guard let max, let seconds else { return nil }
        return (max, .seconds(seconds))
    }

    /// `10/minute` or `10/90s`.
    private mutating func rateText(_ text: String, _ node: DocumentNode) -> (max: Int64, window: Window)? {
        let units = Self.fixedWindows + [FeatureWord(Window.Period.day.rawValue, PolicyBounds.secondsPerDay)]
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let max = parts.count == 2 ? Self.decimal(parts[0]) : nil
        var nearest: String?
        if let max, Self.maxRange.contains(max) {
            let unit = String(parts[1])
            if let seconds = units.first(where: { $0.word == unit })?.meaning ?? Self.seconds(ofTime: unit),
                Self.windowRange.contains(seconds)
            {
                return (max, .seconds(seconds))
            }
            nearest = NearestName.find(unit, among: units.map(\.word)).map { "\(max)/\($0)" }
        }
        document.unexpected(
            text.quoted, at: node,
            expected: units.map { "\"N/\($0.word)\"" }.joined(separator: ", ")
                + " or \"N/T\" with N up to \(PolicyBounds.maxLimit) and T \(Self.timeWords)",
            nearest: nearest)
        return nil
    }
}
