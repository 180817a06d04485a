/// The limits of one container as far as they could be read.
struct LimitList {
    var limits: [Limit] = []
    /// How many limits the document has there, those with faults included.
    var written = 0
    /// The counters' names, those of limits with faults included.
    var counters: Set<String> = []
}

/// What a document says of limits.
extension PolicyReader {
    private static let windows: [(word: String, seconds: Int64)] = [
        ("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400),
    ]
    private static let maxRange: ClosedRange<Int64> = 0...PolicyBounds.maxLimit
    private static let windowRange: ClosedRange<Int64> = 1...PolicyBounds.maxWindowSeconds
    private static let maxWords = DocumentReader.wholeNumber(in: maxRange)
    private static let secondsWords = DocumentReader.wholeNumber(in: windowRange, unit: "seconds")
    private static let windowWords = windows.map(\.word.quoted).joined(separator: ", ") + " or " + secondsWords

    /// `limits` of a container whose path in a reply's `rule` is `path`.
    mutating func limits(_ node: DocumentNode, of container: Limit.Container, path: String) -> LimitList {
        var list = LimitList()
        guard let elements = document.array(node, expected: "an array of limits") else { return list }
        list.written = elements.count
        for element in elements {
            if let limit = limit(element, of: container, path: path, counters: &list.counters) {
                list.limits.append(limit)
            }
        }
        return list
    }

    private mutating func limit(
        _ node: DocumentNode, of container: Limit.Container, path: String, counters: inout Set<String>
    ) -> Limit? {
        guard
            var object = document.object(
                node, expected: "a limit: an object with \"counter\", \"window\" and \"max\"")
        else { return nil }
        let counter = document.required("counter", of: &object, expected: "a name")
            .flatMap { counterName($0, counters: &counters) }
        let window = document.required("window", of: &object, expected: Self.windowWords)
            .flatMap { self.window($0) }
        let max = document.required("max", of: &object, expected: Self.maxWords)
            .flatMap { document.wholeNumber($0, in: Self.maxRange) }
        let scope = object.take("scope").flatMap { self.scope($0) }
        let onDeny = object.take("on_deny").flatMap { message($0) }
        fixedFields(of: &object)
        document.finish(object, PolicyKeys.limit)

        guard let counter, let window, let max else { return nil }
        return Limit(
            container: container, counter: counter, window: window, max: max, scope: scope ?? .grant,
            rule: "\(path)/limits/\(JSONPointer.escape(counter))", onDeny: onDeny)
    }

    /// A counter's name; one name a container, since a reply's `rule` names a limit by it, and since two limits with
    /// the same window would be one counter.
    private mutating func counterName(_ node: DocumentNode, counters: inout Set<String>) -> String? {
        guard let name = name(node, of: "a counter") else { return nil }
        guard counters.insert(name).inserted else {
            document.unexpected(
                "a second counter \(name.quoted)", at: node, expected: "a name of its own for each counter here")
            return nil
        }
        return name
    }

    private mutating func window(_ node: DocumentNode) -> FixedWindow? {
        let words = Self.windows.map(\.word)
        let expected = Self.windowWords
        switch node.value.content {
        case .integer(let seconds) where Self.windowRange.contains(seconds):
            return FixedWindow(seconds: seconds)
        case .string(let text):
            if let known = Self.windows.first(where: { $0.word == text }) { return FixedWindow(seconds: known.seconds) }
            if PolicyKeys.laterWindows.contains(text) {
                document.notSupportedYet(text, at: node, why: "a window is \(expected)")
            } else if let seconds = Self.duration(text) {
                document.notSupportedYet(text, at: node, why: "write the window in seconds, \(seconds)")
            } else {
                document.unexpected(
                    text.quoted, at: node, expected: expected,
                    nearest: NearestName.find(text, among: words + PolicyKeys.laterWindows))
            }
        default:
            document.unexpected(node.value.summary, at: node, expected: expected)
        }
        return nil
    }

    /// The seconds of `90s`, `15m`, `6h` or `2d`, if they make a window.
    private static func duration(_ text: String) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = decimal(text.dropLast()) else { return nil }
        let (seconds, overflow) = number.multipliedReportingOverflow(by: unit)
        return !overflow && windowRange.contains(seconds) ? seconds : nil
    }

    /// Digits and nothing else: `Int64` alone would take a sign.
    private static func decimal(_ text: some StringProtocol) -> Int64? {
        text.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") } ? Int64(text) : nil
    }

    private mutating func scope(_ node: DocumentNode) -> Limit.Scope? {
        if case .string(let text) = node.value.content,
            PolicyKeys.laterScopes.contains(text) || text.hasPrefix(PolicyKeys.laterScopePrefix)
        {
            document.notSupportedYet(text, at: node, why: "a limit's scope is \"grant\" or \"session\"")
            return nil
        }
        return document.choice(node, [("grant", .grant), ("session", .session)])
    }

    // MARK: rate_limit

    /// `rate_limit` in both its forms: a limit for each session.
    mutating func rateLimit(_ node: DocumentNode, of container: Limit.Container, path: String) -> Limit? {
        let rate: (max: Int64, window: FixedWindow)?
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
    private mutating func rateObject(_ node: DocumentNode) -> (max: Int64, window: FixedWindow)? {
        guard var object = document.object(node, expected: "an object") else { return nil }
        let max = document.required("max", of: &object, expected: Self.maxWords)
            .flatMap { document.wholeNumber($0, in: Self.maxRange) }
        let seconds = document.required("window", of: &object, expected: Self.secondsWords)
            .flatMap { document.wholeNumber($0, in: Self.windowRange, unit: "seconds") }
        document.finish(object, PolicyKeys.rateLimitObject)
        guard let max, let seconds else { return nil }
        return (max, FixedWindow(seconds: seconds))
    }

    /// `10/minute` or `10/90s`.
    private mutating func rateText(_ text: String, _ node: DocumentNode) -> (max: Int64, window: FixedWindow)? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let max = parts.count == 2 ? Self.decimal(parts[0]) : nil
        var nearest: String?
        if let max, Self.maxRange.contains(max) {
            let unit = String(parts[1])
            if let known = Self.windows.first(where: { $0.word == unit }) {
                return (max, FixedWindow(seconds: known.seconds))
            }
            if unit.hasSuffix("s"), let seconds = Self.decimal(unit.dropLast()), Self.windowRange.contains(seconds) {
                return (max, FixedWindow(seconds: seconds))
            }
            nearest = NearestName.find(unit, among: Self.windows.map(\.word)).map { "\(max)/\($0)" }
        }
        let units = Self.windows.map { "\"N/\($0.word)\"" }.joined(separator: ", ")
        document.unexpected(
            text.quoted, at: node,
            expected: "\(units) or \"N/Ss\" with N up to \(PolicyBounds.maxLimit)"
                + " and S up to \(PolicyBounds.maxWindowSeconds) seconds",
            nearest: nearest)
        return nil
    }
}
