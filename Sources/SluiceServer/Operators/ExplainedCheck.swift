import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceEnvoy
import SluiceProtocol

/// A check that an operator wants explained, with the policies that decide it.
struct ExplainedCheck {
    var grant: String
    var tool: String
    var server: String?
    var namesSession: Bool
    /// The names of those that it has.
    var attributes: [String]
    var cost: Int64
    var policies: PolicySet
    /// Those of the grant that hold.
    var overrides: [Override] = []

    /// Writes a map of the decision, without the fields that only a gateway needs, and of `limits`: a map for each
    /// limit that was evaluated. Numbers are -1 where there is no value.
    func write(_ decision: Decision, _ writer: ReplyWriter, to output: inout ByteBuffer) {
        let limits = policies.ruling(forGrant: grant, tool: tool, server: server).limits
        let texts = [
            ("verdict", ReplyVerdict(decision.verdict).rawValue), ("rule", decision.rule),
            ("source", ReplySource(decision.source).rawValue), ("message", decision.messageWithWait),
            ("policy", policyName),
        ]
        let numbers = [
            ("allowed", decision.allowed ? 1 : 0), ("retry_after_ms", decision.retryAfterMs),
            ("reset_ms", decision.resetMs), ("limit", decision.limit), ("remaining", decision.remaining),
            ("cost", cost),
        ]
        writer.writeMapHeader(texts.count + numbers.count + 1, to: &output)
        writer.write(texts, numbers, to: &output)
        writer.writeBulkString("limits", to: &output)
        let looks = decision.trace ?? []
        writer.writeArrayHeader(looks.count, to: &output)
        for look in looks { write(look, of: limits, writer, to: &output) }
    }

    private func write(
        _ look: Decision.LimitTrace, of limits: [Limit], _ writer: ReplyWriter, to output: inout ByteBuffer
    ) {
        let limit = limits.first { $0.rule == look.rule }
        let override = overrides.first { $0.rule == look.rule }
        let texts = [
            ("rule", look.rule), ("rate", limit?.rate ?? ""), ("scope", limit?.scope.name ?? ""),
            ("algorithm", limit?.algorithm.name ?? ""), ("window", limit?.window.name ?? ""),
            ("mode", look.isShadow ? Limit.Mode.shadow.rawValue : Limit.Mode.enforce.rawValue),
            ("on_outage", limit?.onOutage.rawValue ?? ""), ("missing", limit.flatMap { missing($0) } ?? ""),
        ]
        let numbers: [(String, Int64)] = [
            ("passes", look.fits ? 1 : 0), ("max", look.max), ("used", look.used), ("left", look.left),
            ("local_used", look.localUsed), ("retry_after_ms", look.waitMs), ("reset_ms", look.resetMs),
            ("window_start_ms", look.windowStartMs), ("would_deny", look.denials),
            ("policy_max", override == nil ? -1 : limit.map { $0.burst ?? $0.max } ?? -1),
            ("override_until_ms", override?.untilMs ?? -1),
        ]
        writer.writeMapHeader(texts.count + numbers.count, to: &output)
        writer.write(texts, numbers, to: &output)
    }

    /// The identity that a limit counts by and the check lacks, so that it counted for the grant alone; else nil.
    private func missing(_ limit: Limit) -> String? {
        switch limit.scope {
        case .grant, .global: nil
        case .session: namesSession ? nil : "session"
        case .server: server == nil ? "server" : nil
        case .attribute(let name): attributes.contains(name) ? nil : limit.scope.name
        }
    }

    /// The document's name; empty if all grants share one, or if this grant has none.
    private var policyName: String {
        policies.documentName(forGrant: grant) ?? ""
    }
}

extension ReplyWriter {
    /// The members of a map.
    func write(_ texts: [(String, String)], _ numbers: [(String, Int64)], to output: inout ByteBuffer) {
        for (name, text) in texts {
            writeBulkString(name, to: &output)
            writeBulkString(text, to: &output)
        }
        for (name, number) in numbers {
            writeBulkString(name, to: &output)
            writeInteger(number, to: &output)
        }
    }
}
