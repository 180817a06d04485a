/// A policy as a person reads it.
package struct PolicySummary: Sendable {
    private let policy: Policy
    private let file: String

    /// - Parameter file: the document's name as the summary repeats it.
    package init(_ policy: Policy, file: String) {
        self.policy = policy
        self.file = file
    }

    /// A table with a row for each limit and each tool without one, and then `line`. Ends with a line feed.
    ///
    /// Tools are sorted by name; each row repeats its tool, so that the rows of one can be searched for.
    package func render() -> String {
        let rows = [["tool", "action", "counter", "limit", "scope"]] + toolRows + hiddenRows + otherRows
        var widths = Array(repeating: 0, count: rows[0].count)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        let table = rows.map { row in
            let cells = zip(row, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count) }
            let line = cells.joined(separator: "  ")
            return line[...(line.lastIndex { $0 != " " } ?? line.startIndex)] + "\n"
        }
        return table.joined() + "\n" + line + "\n"
    }

    /// `policy.json: ok, 1 tool, 1 limit, default deny`
    package var line: String {
        let limits = policy.allToolsLimits.count + policy.tools.values.reduce(0) { $0 + $1.limits.count }
        var facts = ["ok", Self.count(policy.tools.count, "tool"), Self.count(limits, "limit")]
        facts.append(policy.defaultRuling == .deny ? "default deny" : "default allow")
        if hidesEverything {
            facts.append("every tool hidden")
        } else if !policy.hidden.isEmpty {
            facts.append("\(policy.hidden.count) hidden")
        }
        return "\(file.onOneLine): " + facts.joined(separator: ", ")
    }

    private var hidesEverything: Bool { policy.hidden.contains(PolicyKeys.everyTool) }

    private var toolRows: [[String]] {
        policy.tools.sorted { $0.key < $1.key }.flatMap { tool, rule in
            let isHidden = hidesEverything || policy.hidden.contains(tool)
            let action =
                switch rule.action {
                case _ where isHidden: "hidden"
                case .allow: "allow"
                case .deny: "deny"
                case .requireApproval: "require_approval"
                }
            return Self.rows(tool.onOneLine, action, rule.limits)
        }
    }

    /// Hidden names that the document does not list.
    private var hiddenRows: [[String]] {
        let names = policy.hidden.subtracting(policy.tools.keys).subtracting([PolicyKeys.everyTool])
        return names.sorted().flatMap { Self.rows($0.onOneLine, "hidden", []) }
    }

    private var otherRows: [[String]] {
        let action =
            switch policy.defaultRuling {
            case _ where hidesEverything: "hidden"
            case .allow: "allow"
            case .deny: "deny"
            }
        let overAll = policy.allToolsLimits.isEmpty ? [] : Self.rows("(all tools)", "-", policy.allToolsLimits)
        return Self.rows("(any other)", action, []) + overAll
    }

    private static func rows(_ tool: String, _ action: String, _ limits: [Limit]) -> [[String]] {
        if limits.isEmpty { return [[tool, action, "-", "-", "-"]] }
        return limits.map { limit in
            let scope =
                switch limit.scope {
                case .grant: "grant"
                case .session: "session"
                }
            return [tool, action, limit.counter.onOneLine, limit.rate, scope]
        }
    }

    private static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
}
