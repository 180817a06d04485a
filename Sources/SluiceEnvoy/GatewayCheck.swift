package import SluiceEngine
import SluiceProtocol

/// One question to the limiter, made of a gateway's request. Every name is one that the socket protocol could carry.
package struct GatewayCheck: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// Charges if there is room.
        case check
        /// Charges nothing: would a check of 1 pass?
        case look
        /// Charges, whatever the maximum says.
        case charge
        /// Gives back, never below 0, in open windows.
        case refund
    }

    package enum Subject: Sendable, Equatable {
        case call(Call)
        /// A limit that the request brings along, with its window in seconds.
        case ownLimit(key: String, max: Int64, windowSeconds: Int64)
    }

    package struct Call: Sendable, Equatable {
        package var grant: String
        package var tool: String
        package var server: String?
        package var session: String?
        /// Names are distinct.
        package var attributes: [Attribute] = []
    }

    package struct Attribute: Sendable, Equatable {
        package var name: String
        package var value: String
    }

    package var subject: Subject
    package var kind = Kind.check
    /// 1 to `ProtocolBounds.maxCost`; 1 with `look`.
    package var cost: Int64 = 1

    /// Whether a text can be a name: 1 to 256 bytes, without NUL.
    static func isName(_ text: String) -> Bool {
        let count = text.utf8.count
        return count > 0 && count <= ProtocolBounds.maxNameBytes && !text.utf8.contains(0)
    }
}

/// What the limiter said.
package enum GatewayAnswer: Sendable {
    case decision(Decision)
    /// Nothing was decided. The sentence says what to do.
    case busy(String)
}

extension Decision {
    /// The message with how long to wait, if it has a place for that.
    package var messageWithWait: String {
        guard messageHasWait, let range = messageWaitRange else { return message }
        let begin = message.utf8.index(message.utf8.startIndex, offsetBy: range.lowerBound)
        let end = message.utf8.index(begin, offsetBy: range.count)
        return "\(message[..<begin])\(WaitTime(milliseconds: retryAfterMs))\(message[end...])"
    }

    /// The message for the agent as the socket sends it: with how long to wait at its place, or at the end.
    package var sentence: String {
        guard messageHasWait, messageWaitRange == nil else { return messageWithWait }
        let wait = "Try again in \(WaitTime(milliseconds: retryAfterMs))."
        return message.isEmpty ? wait : "\(message) \(wait)"
    }

    /// A denial that no limit and no policy made.
    static func denial(_ verdict: Verdict = .deny, rule: String, message: String, retryAfterMs: Int64 = -1) -> Decision
    {
        var decision = Decision(verdict: verdict, source: .policy, rule: rule, message: message)
        decision.retryAfterMs = retryAfterMs
        return decision
    }

    /// The answer to an agent while too many checks wait.
    static func busy(_ advice: String) -> Decision {
        denial(
            .unavailable, rule: "(busy)", message: "This call cannot be checked right now: \(advice).",
            retryAfterMs: 1_000)
    }
}
