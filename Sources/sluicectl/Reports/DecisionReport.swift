import SluiceClient
import SluiceProtocol
import SluiceTerminal

/// The output of `check` and `peek` for a decision.
struct DecisionReport {
    let decision: Decision

    /// The rule that decided, and a table of the limits that were evaluated.
    func text(_ style: Style) -> String {
        let facts = TextTable(facts: facts).render(style)
        return decision.trace.isEmpty ? facts : facts + "\n" + limits.render(style)
    }

    var json: JSONText {
        [
            "allowed": .boolean(decision.allowed),
            "limit": .known(decision.limit),
            "remaining": .known(decision.remaining),
            "retry_after_ms": .known(decision.retryAfterMs),
            "reset_ms": .known(decision.resetMs),
            "verdict": .string(decision.verdict.rawValue),
            "rule": .string(decision.rule),
            "source": .string(decision.source.rawValue),
            "message": .string(decision.message),
            "reservation": decision.reservation.map { .string($0) },
            "trace": .array(
                decision.trace.map { limit in
                    [
                        "rule": .string(limit.rule),
                        "window_start_ms": .known(limit.windowStartMs),
                        "used": .known(limit.used),
                        "max": .known(limit.max),
                    ]
                }),
        ]
    }

    private var facts: [(name: String, value: TextTable.Cell)] {
        var facts: [(name: String, value: TextTable.Cell)] = [("verdict", .init(verdict, tone))]
        if !decision.message.isEmpty { facts.append(("message", .init(decision.message))) }
        if !decision.allowed {
            let wait = decision.retryAfterMs
            facts.append(("retry after", .init(wait < 0 ? "never" : "\(WaitTime(milliseconds: wait))")))
        }
        if decision.limit >= 0 { facts.append(("remaining", "\(decision.remaining) of \(decision.limit)")) }
        if decision.resetMs >= 0 {
            facts.append(("resets in", "\(WaitTime(milliseconds: decision.resetMs))"))
        }
        if let reservation = decision.reservation { facts.append(("reservation", .init(reservation))) }
        facts.append(("rule", .init(decision.rule)))
        facts.append(("source", .init(source)))
        return facts
    }

    private var limits: TextTable {
        var table = TextTable([.init("limit"), .init("used", .right), .init("max", .right), .init("window since")])
        for limit in decision.trace {
            let isFull = limit.used >= limit.max
            table.append([
                .init(limit.rule), .init(limit.used < 0 ? "-" : "\(limit.used)", isFull ? .bad : .plain),
                .init(limit.max),
                .init(
                    limit.windowStartMs <= 0 ? "-" : DateText.format(milliseconds: limit.windowStartMs, isSpaced: true)),
            ])
        }
        return table
    }

    private var verdict: String {
        switch decision.verdict {
        case .allow: "allow"
        case .limit: "limit (over a limit)"
        case .deny: "deny (the policy forbids it)"
        case .approve: "approve (a person must approve it)"
        case .unavailable: "unavailable (Redis does not answer)"
        }
    }

    private var tone: Style.Tone {
        switch decision.verdict {
        case .allow: .good
        case .limit, .deny, .unavailable: .bad
        case .approve: .caution
        }
    }

    private var source: String {
        switch decision.source {
        case .shared: "shared (counted in Redis for all replicas)"
        case .local: "local (counted by this replica alone)"
        case .lease: "lease (from a block charged before)"
        case .cache: "cache (a recent denial)"
        case .policy: "policy (no counter was needed)"
        }
    }
}
