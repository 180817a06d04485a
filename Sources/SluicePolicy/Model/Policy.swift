/// A validated policy document, compiled for the engine: one `Ruling` per tool.
///
/// A value of this type is always valid: every number is within its bounds, and counters have unique names in their
/// container. `PolicyDocument.parse` is the only way to make one.
package struct Policy: Sendable, Equatable {
    package enum Default: String, Sendable, CaseIterable { case allow, deny }

    /// The action for tools that the document does not list.
    package let defaultRuling: Default
    /// Names and patterns that are denied as hidden; `*` hides every tool.
    package let hidden: Set<String>
    /// Limits over every call of the grant.
    package let allToolsLimits: [Limit]
    /// By name or pattern.
    package let tools: [String: ToolRule]
    /// The results of `ruling(forTool:)` for the tools listed by name; derived from the other properties.
    let listedRulings: [String: Ruling]
    /// The rules of patterns, and the hidden patterns; derived likewise.
    let patterns: PatternTable<ToolRule>
    let hiddenPatterns: PatternTable<Bool>

    package init(defaultRuling: Default, hidden: Set<String>, allToolsLimits: [Limit], tools: [String: ToolRule]) {
        self.defaultRuling = defaultRuling
        self.hidden = hidden
        self.allToolsLimits = allToolsLimits
        self.tools = tools
        patterns = PatternTable(tools)
        let hiddenPatterns = PatternTable(Dictionary(uniqueKeysWithValues: hidden.map { ($0, true) }))
        self.hiddenPatterns = hiddenPatterns
        let isHidden = { (tool: String) in
            hidden.contains(tool) || hiddenPatterns.first(matching: tool) != nil
        }
        listedRulings = Self.listedRulings(isHidden: isHidden, allToolsLimits: allToolsLimits, tools: tools)
    }

    /// The rule for a tool: that of its name, else of the pattern with most literal characters.
    package func rule(forTool tool: String) -> (name: String, rule: ToolRule)? {
        if !NamePattern.isPattern(tool), let rule = tools[tool] { return (tool, rule) }
        return patterns.first(matching: tool).map { ($0.pattern.text, $0.value) }
    }

    /// The limits of the document whose counters are in a container, as they apply to calls that it counts.
    package func limits(in container: Limit.Container) -> [Limit] {
        switch container {
        case .allTools: allToolsLimits
        case .tool(let tool):
            (rule(forTool: tool)?.rule.limits.counting(tool) ?? []).filter { $0.container == container }
        case .pattern(let text), .eachTool(let text): tools[text]?.limits ?? []
        }
    }

    /// Every limit of the document.
    package var allLimits: [Limit] { allToolsLimits + tools.values.flatMap(\.limits) }
}

/// The document's rules for one tool, or for those that a pattern matches.
package struct ToolRule: Sendable, Equatable {
    package enum Action: String, Sendable, CaseIterable {
        case allow, deny
        case requireApproval = "require_approval"
    }

    package let action: Action
    /// The agent's message when `action` forbids the call; `nil` for the default sentence.
    package let reason: String?
    /// The tool's own limits, `rate_limit` included, in the order of the document.
    package let limits: [Limit]
    /// Whether each tool that the pattern matches has counters of its own.
    package let eachTool: Bool
    /// Whether the document has rules on this tool's arguments, which the gateway evaluates before its check.
    package let hasArgumentRules: Bool

    package init(
        action: Action, reason: String?, limits: [Limit], eachTool: Bool = false, hasArgumentRules: Bool = false
    ) {
        self.action = action
        self.reason = reason
        self.limits = limits
        self.eachTool = eachTool
        self.hasArgumentRules = hasArgumentRules
    }
}

/// The policy's ruling on a tool before anything is counted.
package enum Ruling: Sendable, Equatable {
    /// Forbidden; nothing is charged. `rule` and `message` are those of the reply.
    case deny(rule: String, message: String)
    /// A person must approve. With approval it acts as `.count(limits)`.
    case approve(rule: String, message: String, limits: [Limit])
    /// Allowed, under all of these limits (the tool's first, then those over all tools); if there are none, `rule` is
    /// what allowed it.
    case count(rule: String, limits: [Limit])
}
