import SluiceClient
import SluiceProtocol
import SluiceTerminal

/// The output of `explain`.
struct ExplainReport {
    /// One limit that was evaluated, as `EXPLAIN` reports it. Numbers below zero are unknown.
    private struct Limit {
        var rule: String
        /// Its rate: `10 per minute`. Empty for a limit that the policy no longer has.
        var rate: String
        var scope: String
        /// The identity that it counts by and the check lacks, so that it counted for the grant; else empty.
        var missing: String
        var algorithm: String
        var window: String
        var isShadow: Bool
        var onOutage: String
        var passes: Bool
        var max: Int64
        var used: Int64
        var left: Int64
        /// The part of the usage that this replica admitted during an outage of Redis.
        var localUsed: Int64
        var retryAfterMs: Int64
        var resetMs: Int64
        var wouldDeny: Int64
        /// What the policy has instead of `max`, while an override holds; else -1. Below, when it ends, ms since the epoch.
        var policyMax: Int64
        var overrideUntilMs: Int64

        /// The line about its override; nil if none holds.
        var overrideNote: String? {
            guard overrideUntilMs >= 0 else { return nil }
            let policy = policyMax < 0 ? "" : "policy \(policyMax), "
            let end = OverrideReport.end(overrideUntilMs)
            return "\(TerminalText.visible(rule)): max \(max) (\(policy)override until \(end))"
        }

        init(_ reply: Reply) throws(SluiceError) {
            let fields = try ReplyFields(reply)
            rule = try fields.string("rule")
            rate = try fields.string("rate")
            scope = try fields.string("scope")
            missing = try fields.laterString("missing")
            algorithm = try fields.string("algorithm")
            window = try fields.string("window")
            isShadow = try fields.string("mode") == "shadow"
            onOutage = try fields.string("on_outage")
            passes = try fields.integer("passes") == 1
            max = try fields.integer("max")
            used = try fields.integer("used")
            left = try fields.integer("left")
            localUsed = try fields.integer("local_used")
            retryAfterMs = try fields.integer("retry_after_ms")
            resetMs = try fields.integer("reset_ms")
            wouldDeny = try fields.integer("would_deny")
            policyMax = try fields.laterInteger("policy_max")
            overrideUntilMs = try fields.laterInteger("override_until_ms")
        }
    }

    let isAllowed: Bool
    private let grant: String
    private let tool: String
    private let cost: Int64
    private let verdict: String
    private let rule: String
    private let source: String
    private let message: String
    private let policy: String
    private let retryAfterMs: Int64
    private let limits: [Limit]

    init(_ reply: Reply, grant: String, tool: String) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        self.grant = grant
        self.tool = tool
        isAllowed = try fields.integer("allowed") == 1
        cost = try fields.integer("cost")
        verdict = try fields.string("verdict")
        rule = try fields.string("rule")
        source = try fields.string("source")
        message = try fields.string("message")
        policy = try fields.string("policy")
        retryAfterMs = try fields.integer("retry_after_ms")
        var limits: [Limit] = []
        for element in try fields.array("limits") { limits.append(try Limit(element)) }
        self.limits = limits
    }

    // MARK: - For people

    func text(_ style: Style) -> String {
        let head = TextTable(facts: facts).render(style)
        if limits.isEmpty { return head }
        let notes = limits.compactMap(\.overrideNote).map { style.apply(.caution, to: $0) + "\n" }.joined()
        return head + "\n" + table.render(style) + (notes.isEmpty ? "" : "\n" + notes)
    }

    private var facts: [(name: String, value: TextTable.Cell)] {
        let price = cost == 1 ? "" : " at cost \(cost)"
        let outcome = isAllowed ? "it would be allowed" : "it would be denied (\(verdict))"
        var facts: [(name: String, value: TextTable.Cell)] = [
            ("check", .init("\(grant) calls \(tool)\(price)")), ("verdict", .init(outcome, isAllowed ? .good : .bad)),
            ("because of", .init(rule)),
        ]
        if !message.isEmpty { facts.append(("message", .init(message))) }
        if !isAllowed {
            facts.append(("retry after", .init(retryAfterMs < 0 ? "never" : Self.wait(retryAfterMs))))
        }
        if !policy.isEmpty { facts.append(("policy", .init(policy + ".json"))) }
        facts.append(("decided by", .init(decider)))
        return facts
    }

    private var decider: String {
        switch source {
        case "shared": "Redis, for all replicas"
        case "local": "this replica alone"
        case "policy": "the policy: no counter was needed"
        default: source
        }
    }

    private var table: TextTable {
        let hasLocal = limits.contains { $0.localUsed > 0 }
        var columns: [TextTable.Column] = [
            .init("limit"), .init("admits"), .init("counted by"), .init("used", .right), .init("max", .right),
            .init("left", .right), .init("resets in", .right), .init("this check"),
        ]
        if hasLocal { columns.insert(.init("of it local", .right), at: 4) }
        var table = TextTable(columns)
        for limit in limits {
            var cells: [TextTable.Cell] = [
                .init(limit.rule), .init(limit.rate.isEmpty ? "-" : limit.rate),
                Self.scope(of: limit), .init(limit.used), .init(limit.max),
                .init(Swift.max(0, limit.left)), .init(limit.resetMs < 0 ? "-" : Self.wait(limit.resetMs)),
                Self.outcome(of: limit),
            ]
            if hasLocal { cells.insert(.init(limit.localUsed, limit.localUsed > 0 ? .caution : .plain), at: 4) }
            table.append(cells)
        }
        return table
    }

    private static func scope(of limit: Limit) -> TextTable.Cell {
        if limit.scope.isEmpty { return "-" }
        return limit.missing.isEmpty
            ? .init(limit.scope) : .init("grant (the check names no \(limit.missing))", .caution)
    }

    private static func outcome(of limit: Limit) -> TextTable.Cell {
        if limit.isShadow {
            let words = limit.passes ? "would pass" : "would not pass"
            return .init(
                "\(words) (shadow; \(limit.wouldDeny) in this window would not)", limit.passes ? .plain : .caution)
        }
        if limit.passes { return .init("passes", .good) }
        let wait = limit.retryAfterMs < 0 ? "never will" : "in \(wait(limit.retryAfterMs))"
        return .init("does not pass (\(wait))", .bad)
    }

    private static func wait(_ ms: Int64) -> String { "\(WaitTime(milliseconds: ms))" }

    // MARK: - For programs

    var json: JSONText {
        [
            "allowed": .boolean(isAllowed), "cost": .integer(cost), "verdict": .string(verdict),
            "rule": .string(rule), "source": .string(source), "message": .string(message),
            "policy": policy.isEmpty ? .null : .string(policy), "retry_after_ms": .known(retryAfterMs),
            "limits": .array(limits.map(Self.json)),
        ]
    }

    private static func json(_ limit: Limit) -> JSONText {
        [
            "rule": .string(limit.rule), "passes": .boolean(limit.passes),
            "mode": .string(limit.isShadow ? "shadow" : "enforce"), "algorithm": .string(limit.algorithm),
            "window": .string(limit.window), "scope": .string(limit.scope),
            "missing": limit.missing.isEmpty ? .null : .string(limit.missing),
            "on_outage": .string(limit.onOutage), "max": .integer(limit.max), "used": .integer(limit.used),
            "left": .integer(limit.left), "local_used": .integer(limit.localUsed),
            "retry_after_ms": .known(limit.retryAfterMs), "reset_ms": .known(limit.resetMs),
            "would_deny": .integer(limit.wouldDeny), "policy_max": .known(limit.policyMax),
            "override_until_ms": .known(limit.overrideUntilMs),
        ]
    }
}
