extension Limit {
    /// The rate of this limit: `10 per minute`, `10 in any 60 seconds`, `5 at once`.
    package var rate: String { "\(max) \(manner)" }

    /// The time that `max` refers to, in words that follow the number.
    private var manner: String {
        switch algorithm {
        case .fixedWindow, .tokenBucket: "per \(window.words)"
        case .slidingWindow, .slidingLog: "in any \(window.slidingWords)"
        case .concurrency: "at once"
        }
    }

    /// In a document's own message: how long to wait.
    private static let waitPlaceholder = "{retry_after}"

    /// The UTF-8 bytes of a message that how long to wait replaces; `nil` if it has no place for that.
    package static func waitRange(in message: String) -> Range<Int>? {
        guard let range = message.firstRange(of: waitPlaceholder) else { return nil }
        let begin = message.utf8.distance(from: message.utf8.startIndex, to: range.lowerBound)
        return begin..<(begin + waitPlaceholder.utf8.count)
    }

    /// One sentence for the agent when this limit denies: the document's own, if it has one.
    package var denialMessage: String {
        if let onDeny { return onDeny }
        switch container.withoutServer {
        case .tool(let name), .eachTool(let name):
            let tool = name.onOneLine
            if max == 0 { return "\(tool) is blocked by this policy." }
            return "\(tool) is limited to \(calls) \(sharers)."
        case .pattern(let text):
            let tools = "All tools that \(text.onOneLine) matches"
            if max == 0 { return "\(tools) are blocked by this policy." }
            return "\(tools) are together limited to \(calls) \(sharers)."
        case .group(let name):
            let tools = "The tools of the group \(name.onOneLine)"
            if max == 0 { return "\(tools) are blocked by this policy." }
            return "\(tools) are together limited to \(calls) \(sharers)."
        case .allTools, .server:
            let tools = container.server.map { "tools of the server \($0.onOneLine)" } ?? "tools"
            if max == 0 {
                return container.server == nil
                    ? "Every tool is blocked by this policy." : "All \(tools) are blocked by this policy."
            }
            let everything = acrossGrants ? "all \(tools) and grants" : "all \(tools)"
            return "\(subject) limited to \(calls) over \(everything)."
        }
    }

    /// `10 calls per minute`, `3 calls at once`
    private var calls: String {
        let calls = "\(amount) \(manner)"
        guard let burst, burst != max else { return calls }
        // With a burst of 1 the next call passes as soon as its share of the window has passed.
        return burst == 1 ? "\(calls) (evenly spaced)" : "\(calls) (in bursts of up to \(burst))"
    }

    /// `10 calls`, `100,000 tokens`
    private var amount: String {
        guard let unit else { return max == 1 ? "1 call" : "\(max) calls" }
        let isOne = max == 1 && unit.hasSuffix("s")
        return "\(max.inGroups) \(isOne ? unit.dropLast() : unit[...])"
    }

    /// Whose calls share the limit, at the end of a sentence on one tool.
    private var sharers: String {
        let grants = acrossGrants ? " over all grants" : ""
        return switch scope {
        case .grant: "for this grant"
        case .session: "per session\(grants)"
        case .server: "per server\(grants)"
        case .global: "for all grants together"
        case .attribute(let name): "per \(name.onOneLine)\(grants)"
        }
    }

    /// Whose calls share the limit, at the beginning of a sentence on all tools.
    private var subject: String {
        switch scope {
        case .grant: "This grant is"
        case .session: "Each session is"
        case .server: "Each server is"
        case .global: "All grants together are"
        case .attribute(let name): "Each \(name.onOneLine) is"
        }
    }
}

extension Int64 {
    /// Its digits in groups of three: `100,000`.
    fileprivate var inGroups: String {
        let digits = Array(String(self))
        return digits.indices.reduce(into: "") { text, index in
            if index > 0 && (digits.count - index).isMultiple(of: 3) { text.append(",") }
            text.append(digits[index])
        }
    }
}

extension Window {
    /// The window in words after "per": `minute`, `90 seconds`, `day (Europe/Berlin)`.
    package var words: String {
        switch kind {
        case .seconds(let seconds): Self.words(ofSeconds: seconds, one: "")
        case .calendar(let period, let zone): zone.isUTC ? period.rawValue : "\(period.rawValue) (\(zone.name))"
        case .endless: "all time"
        }
    }

    /// The window in words after "any", so that it does not sound like one aligned to the clock: `60 seconds`, `24
    /// hours`, `7 days`.
    var slidingWords: String {
        switch kind {
        case .calendar(.week, let zone) where zone.isUTC: "7 days"
        case .seconds(60): "60 seconds"
        case .seconds(3600): "60 minutes"
        case .seconds(PolicyBounds.secondsPerDay): "24 hours"
        case .seconds, .calendar, .endless: words
        }
    }

    private static let units: [(name: String, seconds: Int64)] = [
        ("day", PolicyBounds.secondsPerDay), ("hour", 3600), ("minute", 60), ("second", 1),
    ]

    /// A duration in the largest unit that measures it exactly: `90 seconds`, `2 hours`.
    /// - Parameter one: the text before a unit if its number is one.
    static func words(ofSeconds seconds: Int64, one: String = "1 ") -> String {
        for unit in units where seconds % unit.seconds == 0 {
            let count = seconds / unit.seconds
            return count == 1 ? one + unit.name : "\(count) \(unit.name)s"
        }
        preconditionFailure("every whole number of seconds is measured by seconds")
    }
}
