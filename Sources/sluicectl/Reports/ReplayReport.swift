import SluiceDecisionLog
import SluiceTerminal

/// The output of `policy replay`.
struct ReplayReport {
    let outcome: ReplayOutcome
    let rules: [(rule: String, found: ReplayOutcome.Rule)]
    let tools: [(tool: String, found: ReplayOutcome.Tool)]

    /// Rows of each table for people; `--json` has all.
    private static let maxRows = 20

    init(_ outcome: ReplayOutcome) {
        self.outcome = outcome
        rules = outcome.rules.map { ($0.key, $0.value) }
            .sorted { ($1.found.calls, $0.rule) < ($0.found.calls, $1.rule) }
        tools = outcome.tools.map { ($0.key.text(0..<$0.key.count), $0.value) }
            .sorted {
                ($1.found.newlyDenied, $1.found.calls, $0.tool) < ($0.found.newlyDenied, $0.found.calls, $1.tool)
            }
    }

    var hasNewDenials: Bool { outcome.total.newlyDenied > 0 }

    func text(_ style: Style) -> String {
        guard outcome.calls > 0 else { return "(no calls in the log)\n" }
        var text = toolTable.render(style) + "\n"
        if !rules.isEmpty {
            text += style.apply(.strong, to: "What would be denied, and was allowed") + "\n"
            text += ruleTable.render(style) + "\n"
        }
        return text + style.apply(.faint, to: closing) + "\n"
    }

    private var toolTable: TextTable {
        var table = TextTable([
            .init("tool"), .init("calls", .right), .init("denied then", .right), .init("denied now", .right),
            .init("newly denied", .right), .init("newly allowed", .right),
        ])
        for (tool, found) in tools.prefix(Self.maxRows) {
            table.append([
                .init(tool), .init(found.calls), .init(found.deniedThen), .init(found.deniedNow),
                .init(found.newlyDenied, found.newlyDenied > 0 ? .bad : .plain),
                .init(found.newlyAllowed, found.newlyAllowed > 0 ? .good : .plain),
            ])
        }
        return table
    }

    private var ruleTable: TextTable {
        var table = TextTable([
            .init("rule"), .init("calls", .right), .init("grants", .right), .init("first"), .init("most"),
        ])
        for (rule, found) in rules.prefix(Self.maxRows) {
            let most = busiest(found, count: 1).first
            table.append([
                .init(rule), .init(found.calls, .bad), .init(found.grants.count),
                .init(DateText.format(milliseconds: found.firstMs, isSpaced: true)),
                .init(most.map { "\($0.grant) (\($0.calls))" } ?? "-"),
            ])
        }
        return table
    }

    /// `2,000 calls of 12 grants in 1h: denied then 20, denied now 45; 30 newly denied, 5 newly allowed`
    var closing: String {
        let total = outcome.total
        var text =
            "\(outcome.calls) calls of \(outcome.grantCount) grants in "
            + "\(DurationText.format(seconds: max(1, (outcome.lastMs - outcome.firstMs) / 1000))): denied then \(total.deniedThen), "
            + "denied now \(total.deniedNow); \(total.newlyDenied) newly denied, \(total.newlyAllowed) newly allowed"
        if outcome.undecided > 0 { text += "; \(outcome.undecided) could not be decided again" }
        let hidden = max(0, tools.count - Self.maxRows) + max(0, rules.count - Self.maxRows)
        if hidden > 0 { text += "; \(hidden) more rows with --json" }
        return text
    }

    /// The grants that a rule would deny most, at most so many.
    func busiest(_ found: ReplayOutcome.Rule, count: Int) -> [(grant: String, calls: Int64)] {
        var first: [(grant: Int, calls: Int64)] = []
        for (grant, calls) in found.grants {
            let place = first.firstIndex { ($0.calls, grant) < (calls, $0.grant) } ?? first.count
            guard place < count else { continue }
            first.insert((grant, calls), at: place)
            if first.count > count { first.removeLast() }
        }
        return first.map {
            let name = outcome.grantNames[$0.grant]
            return (name.text(0..<name.count), $0.calls)
        }
    }

    func json(warnings: [String]) -> JSONText {
        [
            "calls": .integer(outcome.calls),
            "grants": .integer(outcome.grantCount),
            "first": .text(outcome.firstMs < 0 ? nil : DateText.format(milliseconds: outcome.firstMs)),
            "last": .text(outcome.lastMs < 0 ? nil : DateText.format(milliseconds: outcome.lastMs)),
            "denied_then": .integer(outcome.total.deniedThen),
            "denied_now": .integer(outcome.total.deniedNow),
            "newly_denied": .integer(outcome.total.newlyDenied),
            "newly_allowed": .integer(outcome.total.newlyAllowed),
            "undecided": .integer(outcome.undecided),
            "busy_then": .integer(outcome.busyThen),
            "settlements": .integer(outcome.settlements),
            "tools": .array(
                tools.map { tool, found in
                    [
                        "tool": .string(tool), "calls": .integer(found.calls),
                        "denied_then": .integer(found.deniedThen),
                        "denied_now": .integer(found.deniedNow), "newly_denied": .integer(found.newlyDenied),
                        "newly_allowed": .integer(found.newlyAllowed),
                    ]
                }),
            "rules": .array(
                rules.map { rule, found in
                    [
                        "rule": .string(rule), "newly_denied": .integer(found.calls),
                        "grants": .integer(found.grants.count),
                        "first": .string(DateText.format(milliseconds: found.firstMs)),
                        "most": busiest(found, count: 1).first.map {
                            ["grant": .string($0.grant), "calls": .integer($0.calls)]
                        } ?? .null,
                    ]
                }),
            "warnings": .strings(warnings),
        ]
    }
}
