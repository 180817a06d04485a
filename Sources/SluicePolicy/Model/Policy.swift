/// A validated policy document, compiled for the engine: one `Ruling` per tool.
///
/// A value of this type is always valid: every number is within its bounds, and counters have unique names in their
/// container. `PolicyDocument.parse` is the only way to make one.
package struct Policy: Sendable, Equatable {
    package enum Default: String, Sendable, CaseIterable { case allow, deny }

    /// The action for tools that the document does not list.
    package let defaultRuling: Default
    /// Names that are denied as hidden; `*` hides every tool.
    package let hidden: Set<String>
    /// Limits over every call of the grant.
    package let allToolsLimits: [Limit]
    package let tools: [String: ToolRule]
    /// The results of `ruling(forTool:)` for the listed tools; derived from the other properties.
    let listedRulings: [String: Ruling]

    package init(defaultRuling: Default, hidden: Set<String>, allToolsLimits: [Limit], tools: [String: ToolRule]) {
        self.defaultRuling = defaultRuling
        self.hidden = hidden
        self.allToolsLimits = allToolsLimits
        self.tools = tools
        listedRulings = Self.listedRulings(hidden: hidden, allToolsLimits: allToolsLimits, tools: tools)
    }
}

/// The document's rules for one tool.
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
    /// Whether the document has rules on this tool's arguments, which the gateway evaluates before its check.
    package let hasArgumentRules: Bool

    package init(action: Action, reason: String?, limits: [Limit], hasArgumentRules: Bool = false) {
        self.action = action
        self.reason = reason
        self.limits = limits
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
