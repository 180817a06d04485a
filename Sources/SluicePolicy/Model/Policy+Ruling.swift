extension Policy {
    /// The policy's ruling on a tool before anything is counted, in the order hidden, listed or default, action,
    /// limits.
    ///
    /// Names are compared as Swift compares strings, by canonical equivalence: writing a name's accents in another way
    /// does not evade its rule.
    package func ruling(forTool tool: String) -> Ruling {
        if let ruling = listedRulings[tool] { return ruling }
        if hides(tool) { return Self.hiddenRuling(tool) }
        if let (pattern, rule) = patterns.first(matching: tool) {
            let limits = rule.limits.counting(tool) + allToolsLimits
            return Self.ruling(forTool: tool, listedAs: pattern.text, by: rule, limits: limits)
        }
        switch defaultRuling {
        case .deny: return .deny(rule: "(default deny)", message: Self.notAllowed(tool))
        case .allow: return .count(rule: "(default allow)", limits: allToolsLimits)
        }
    }

    /// The ruling on what a name or a pattern of `tools` lists.
    package func ruling(forListed name: String) -> Ruling {
        if hides(name) { return Self.hiddenRuling(name) }
        guard let rule = tools[name] else { return ruling(forTool: name) }
        return Self.ruling(forTool: name, listedAs: name, by: rule, limits: rule.limits + allToolsLimits)
    }

    /// The rulings of all tools listed by name, made once so that a check only looks one up.
    static func listedRulings(
        isHidden: (String) -> Bool, allToolsLimits: [Limit], tools: [String: ToolRule]
    ) -> [String: Ruling] {
        var rulings: [String: Ruling] = [:]
        rulings.reserveCapacity(tools.count)
        for (tool, rule) in tools where !NamePattern.isPattern(tool) {
            rulings[tool] =
                isHidden(tool)
                ? hiddenRuling(tool)
                : ruling(forTool: tool, listedAs: tool, by: rule, limits: rule.limits + allToolsLimits)
        }
        return rulings
    }

    /// - Parameters:
    ///   - name: the tool's name in the document, or the pattern that matches it.
    ///   - limits: all that count its calls.
    private static func ruling(
        forTool tool: String, listedAs name: String, by rule: ToolRule, limits: [Limit]
    ) -> Ruling {
        let path = "/tools/" + JSONPointer.escape(name)
        switch rule.action {
        case .allow:
            return .count(rule: path, limits: limits)
        case .deny:
            return .deny(rule: path + "/action", message: rule.reason ?? notAllowed(tool))
        case .requireApproval:
            return .approve(
                rule: path + "/action",
                message: rule.reason ?? "\(tool.onOneLine) needs a person's approval before it runs.",
                limits: limits)
        }
    }

    /// Whether a tool, or all that a pattern matches, is hidden.
    /// - Parameter besidesEvery: whether it would be if not every tool were.
    func hides(_ tool: String, besidesEvery: Bool = false) -> Bool {
        if tool != PolicyKeys.everyTool, hidden.contains(tool) { return true }
        // The pattern of every tool is the last one.
        guard let pattern = hiddenPatterns.first(matching: tool)?.pattern else { return false }
        return !besidesEvery || pattern.text != PolicyKeys.everyTool
    }

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
