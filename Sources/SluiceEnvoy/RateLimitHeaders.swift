import SluiceEngine
import SluicePolicy

extension Gateways.RateLimitHeaders {
    /// The headers that say what is left of the binding limit, and when to try again. They never hold a grant.
    func headers(for decision: Decision) -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = []
        if let limit = decision.bindingLimit {
            let windowSeconds = limit.window.shownSeconds
            let resetSeconds = decision.resetMs < 0 ? nil : Self.seconds(decision.resetMs)
            if self == .rateLimit || self == .both {
                let name = Self.quoted(limit.counter)
                headers.append(
                    ("RateLimit-Policy", "\(name);q=\(decision.limit)" + (windowSeconds.map { ";w=\($0)" } ?? "")))
                headers.append(
                    ("RateLimit", "\(name);r=\(decision.remaining)" + (resetSeconds.map { ";t=\($0)" } ?? "")))
            }
            if self == .xRateLimit || self == .both {
                let policy = windowSeconds.map { ", \(decision.limit);w=\($0)" } ?? ""
                headers.append(("X-RateLimit-Limit", "\(decision.limit)\(policy)"))
                headers.append(("X-RateLimit-Remaining", "\(decision.remaining)"))
                if let resetSeconds { headers.append(("X-RateLimit-Reset", "\(resetSeconds)")) }
            }
        }
        if let seconds = Self.retryAfter(decision) { headers.append(("Retry-After", seconds)) }
        return headers
    }

    /// In whole seconds, rounded up; nil for an admission, and if it never can pass.
    static func retryAfter(_ decision: Decision) -> String? {
        decision.allowed || decision.retryAfterMs < 0 ? nil : String(max(1, seconds(decision.retryAfterMs)))
    }

    private static func seconds(_ ms: Int64) -> Int64 { ms / 1000 + (ms % 1000 > 0 ? 1 : 0) }

    /// A structured field's string: printable ASCII, quoted.
    private static func quoted(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            return "\"\(text)\""
        }
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                quoted += "\\"
                quoted.unicodeScalars.append(scalar)
            case _ where scalar.value >= 0x20 && scalar.value < 0x7F: quoted.unicodeScalars.append(scalar)
            default: quoted += "?"
            }
        }
        return quoted + "\""
    }
}

extension Window {
    /// Its length for people and programs that cannot know a calendar: a month counts as 30 days. nil if it has none.
    var shownSeconds: Int64? {
        switch kind {
        case .seconds(let seconds): seconds
        case .calendar(.day, _): PolicyBounds.secondsPerDay
        case .calendar(.week, _): 7 * PolicyBounds.secondsPerDay
        case .calendar(.month, _): 30 * PolicyBounds.secondsPerDay
        case .endless: nil
        }
    }
}
