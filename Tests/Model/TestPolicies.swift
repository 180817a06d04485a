package import SluicePolicy

package func limit(
    _ counter: String = "c", max: Int64, per seconds: Int64 = 60, of tool: String? = "t",
    scope: Limit.Scope = .grant, onDeny: String? = nil, algorithm: Algorithm = .fixedWindow, burst: Int64? = nil,
    holdMs: Int64? = nil, window: Window? = nil, acrossGrants: Bool = false, onOutage: Limit.OnOutage = .local,
    mode: Limit.Mode = .enforce, counts: Limit.Counts = .cost,
    precision: Limit.Precision = .exact
) -> Limit {
    let cut = algorithm == .concurrency ? Window.endless : window ?? .seconds(seconds)
    return Limit(
        container: tool.map { .tool($0) } ?? .allTools, counter: counter, window: cut, max: max, scope: scope,
        rule: tool.map { "/tools/\($0)/limits/\(counter)" } ?? "/all_tools/limits/\(counter)", onDeny: onDeny,
        algorithm: algorithm, burst: burst, holdMs: holdMs, acrossGrants: acrossGrants, onOutage: onOutage, mode: mode,
        counts: counts, precision: precision)
}

/// A policy whose tools are those that the limits name.
package func policy(_ limits: Limit..., allTools: [Limit] = [], tools: [String: ToolRule] = [:]) -> Policy {
    policy(limits, allTools: allTools, tools: tools)
}

package func policy(_ limits: [Limit], allTools: [Limit] = [], tools: [String: ToolRule] = [:]) -> Policy {
    var rules = tools
    for limit in limits {
        guard case .tool(let tool) = limit.container else { continue }
        rules[tool] = ToolRule(action: .allow, reason: nil, limits: (rules[tool]?.limits ?? []) + [limit])
    }
    return Policy(defaultRuling: .deny, hidden: [], allToolsLimits: allTools, tools: rules)
}

extension Limit {
    package var isSlots: Bool { algorithm == .concurrency }
}
