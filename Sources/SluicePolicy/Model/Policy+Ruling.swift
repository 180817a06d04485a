extension Policy {
    /// The policy's ruling on a tool before anything is counted, in the order hidden, listed or default, action,
    /// limits.
    ///
    /// Names are compared as Swift compares strings, by canonical equivalence: writing a name's accents in another way
    /// does not evade its rule.
    package func ruling(forTool tool: String) -> Ruling {
        if let ruling = listedRulings[tool] { return ruling }
        if hides(tool) { return Self.hiddenRuling(tool) }
        switch defaultRuling {
        case .deny: return .deny(rule: "(default deny)", message: Self.notAllowed(tool))
        case .allow: return .count(rule: "(default allow)", limits: allToolsLimits)
        }
    }

    /// The rulings of all listed tools, made once so that a check only looks one up.
    static func listedRulings(
        hidden: Set<String>, allToolsLimits: [Limit], tools: [String: ToolRule]
    ) -> [String: Ruling] {
        let hidesEverything = hidden.contains(PolicyKeys.everyTool)
        var rulings: [String: Ruling] = [:]
        rulings.reserveCapacity(tools.count)
        for (tool, rule) in tools {
            let isHidden = hidesEverything || hidden.contains(tool)
            rulings[tool] = isHidden ? hiddenRuling(tool) : ruling(forTool: tool, by: rule, allToolsLimits)
        }
        return rulings
    }

    private static func ruling(forTool tool: String, by rule: ToolRule, _ allToolsLimits: [Limit]) -> Ruling {
        let path = "/tools/" + JSONPointer.escape(tool)
        switch rule.action {
        case .allow:
            return .count(rule: path, limits: rule.limits + allToolsLimits)
        case .deny:
            return .deny(rule: path + "/action", message: rule.reason ?? notAllowed(tool))
        case .requireApproval:
            return .approve(
                rule: path + "/action",
                message: rule.reason ?? "\(tool.onOneLine) needs a person's approval before it runs.",
                limits: rule.limits + allToolsLimits)
        }
    }

    private func hides(_ tool: String) -> Bool { hidden.contains(PolicyKeys.everyTool) || hidden.contains(tool) }

    private static func hiddenRuling(_ tool: String) -> Ruling { .deny(rule: "(hidden)", message: notAllowed(tool)) }

    static func notAllowed(_ tool: String) -> String {
        "\(tool.onOneLine) is not allowed by this grant's policy."
    }
}

extension Ruling {
    /// For a grant without a policy.
    package static let noPolicy = Ruling.deny(
        rule: "(no policy)", message: "This grant has no policy, so no tool is allowed.")
}
