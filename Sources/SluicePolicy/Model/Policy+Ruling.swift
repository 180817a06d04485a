extension Policy {
    /// The policy's ruling on a tool before anything is counted, in the order hidden, listed or default, action, hours,
    /// limits. The rules of the check's server decide if the document has some, else its own.
    ///
    /// Names are compared as Swift compares strings, by canonical equivalence: writing a name's accents in another way
    /// does not evade its rule.
    package func ruling(forTool tool: String, server: String? = nil) -> Ruling {
        let rules = rules(forServer: server)
        guard rules.server == Self.everyServer, let server else { return rules.ownRuling(forTool: tool) }
        // Each server has counters of its own.
        return rules.ownRuling(forTool: tool).mapLimits { $0.counting(tool, server: server) }
    }

    /// The ruling without regard to `servers`.
    private func ownRuling(forTool tool: String) -> Ruling {
        if let ruling = listedRulings[tool] { return ruling }
        if let (pattern, rule) = patterns.first(matching: tool) {
            let own = rule.limits.counting(tool, server: Self.everyServer)
            return maker.ruling(forTool: tool, listedAs: pattern.text, by: rule, own: own)
        }
        return maker.ruling(forUnlisted: tool)
    }

    /// The ruling on what a name or a pattern of `tools` lists.
    package func ruling(forListed name: String) -> Ruling {
        guard let rule = tools[name] else { return maker.ruling(forUnlisted: name) }
        return maker.ruling(forTool: name, listedAs: name, by: rule, own: rule.limits)
    }

    /// Whether a tool, or all that a pattern matches, is hidden.
    /// - Parameter besidesEvery: whether it would be if not every tool were.
    func hides(_ tool: String, besidesEvery: Bool = false) -> Bool { maker.hides(tool, besidesEvery: besidesEvery) }

    /// What counts how often hidden and unlisted tools would be denied, if the document is in shadow mode.
    var sharedDenials: [Limit] { maker.sharedDenials }

    static func notAllowed(_ tool: String) -> String {
        "\(tool.onOneLine) is not allowed by this grant's policy."
    }

    private var maker: RulingMaker {
        RulingMaker(
            server: server, mode: mode, defaultRuling: defaultRuling, onDeny: onDeny, hidden: hidden,
            hiddenPatterns: hiddenPatterns, groups: sortedGroups, allToolsLimits: allToolsLimits)
    }
}

/// The parts of a policy from which it makes the ruling on a tool.
struct RulingMaker {
    let server: String?
    let mode: Limit.Mode
    let defaultRuling: Policy.Default
    let onDeny: String?
    let hidden: Set<String>
    let hiddenPatterns: PatternTable<Bool>
    let groups: [ToolGroup]
    let allToolsLimits: [Limit]

    /// - Parameters:
    ///   - name: the tool's name in the document, or the pattern that matches it.
    ///   - own: the rule's limits.
    func ruling(forTool tool: String, listedAs name: String, by rule: ToolRule, own: [Limit]) -> Ruling {
        let others = otherLimits(forTool: tool)
        if hides(tool) { return hiddenRuling(tool, others) }
        let container = own.first?.container ?? container(ofListed: name, tool: tool, eachTool: rule.eachTool)
        let path = inServer(.tool(name)).path
        let isShadow = mode == .shadow || rule.mode == .shadow
        func denied(_ ruling: Ruling, _ counter: String, passing limits: [Limit]) -> Ruling {
            guard isShadow else { return ruling }
            return .shadow(of: ruling, denial: denial(counter, in: container, ruling), limits: limits)
        }
        let acting: Ruling =
            switch rule.action {
            case .allow: .count(rule: path, limits: own + others)
            case .deny:
                denied(
                    .deny(rule: path + "/action", message: rule.reason ?? Policy.notAllowed(tool)),
                    PolicyKeys.actionDenials, passing: others)
            case .requireApproval:
                denied(
                    .approve(
                        rule: path + "/action",
                        message: rule.reason ?? "\(tool.onOneLine) needs a person's approval before it runs.",
                        limits: own + others),
                    PolicyKeys.actionDenials, passing: own + others)
            }
        guard let hours = rule.hours, rule.action != .deny else { return acting }
        let closed = Ruling.deny(
            rule: path + "/hours", message: rule.reason ?? "\(tool.onOneLine) may only be called \(hours.words).")
        return .within(
            hours, open: acting, closed: denied(closed, PolicyKeys.hoursDenials, passing: own + others))
    }

    /// For a tool that no name and no pattern lists.
    func ruling(forUnlisted tool: String) -> Ruling {
        let others = otherLimits(forTool: tool)
        if hides(tool) { return hiddenRuling(tool, others) }
        switch defaultRuling {
        case .deny:
            let ruling = Ruling.deny(rule: PolicyKeys.defaultDenials, message: onDeny ?? Policy.notAllowed(tool))
            return shadowed(ruling, PolicyKeys.defaultDenials, passing: others)
        case .allow: return .count(rule: "(default allow)", limits: others)
        }
    }

    private func hiddenRuling(_ tool: String, _ others: [Limit]) -> Ruling {
        shadowed(
            .deny(rule: PolicyKeys.hiddenDenials, message: Policy.notAllowed(tool)), PolicyKeys.hiddenDenials,
            passing: others)
    }

    /// See `Policy.sharedDenials`.
    var sharedDenials: [Limit] {
        guard mode == .shadow else { return [] }
        return [PolicyKeys.hiddenDenials, PolicyKeys.defaultDenials].map { name in
            denial(name, in: inServer(.allTools), .deny(rule: name, message: ""))
        }
    }

    private func shadowed(_ ruling: Ruling, _ counter: String, passing limits: [Limit]) -> Ruling {
        guard mode == .shadow else { return ruling }
        return .shadow(of: ruling, denial: denial(counter, in: inServer(.allTools), ruling), limits: limits)
    }

    /// A shadow limit that denies every call, and so counts those that a ruling would have denied, by the day.
    private func denial(_ counter: String, in container: Limit.Container, _ ruling: Ruling) -> Limit {
        let rule =
            switch ruling {
            case .deny(let rule, _), .approve(let rule, _, _), .count(let rule, _): rule
            case .shadow, .within: counter
            }
        return Limit(
            container: container, counter: counter, window: .seconds(PolicyBounds.secondsPerDay), max: 0,
            scope: .grant, rule: rule, onDeny: nil, mode: .shadow, counts: .calls)
    }

    /// The limits of the tool's groups, then those over all tools.
    private func otherLimits(forTool tool: String) -> [Limit] {
        groups.isEmpty
            ? allToolsLimits : groups.filter { $0.contains(tool) }.flatMap(\.limits) + allToolsLimits
    }

    private func container(ofListed name: String, tool: String, eachTool: Bool) -> Limit.Container {
        guard NamePattern.isPattern(name) else { return inServer(.tool(name)) }
        guard eachTool else { return inServer(.pattern(name)) }
        return inServer(tool == name ? .eachTool(name) : .tool(tool))
    }

    private func inServer(_ container: Limit.Container) -> Limit.Container {
        server.map { .server($0, container) } ?? container
    }

    func hides(_ tool: String, besidesEvery: Bool = false) -> Bool {
        if tool != PolicyKeys.everyTool, hidden.contains(tool) { return true }
        // The pattern of every tool is the last one.
        guard let pattern = hiddenPatterns.first(matching: tool)?.pattern else { return false }
        return !besidesEvery || pattern.text != PolicyKeys.everyTool
    }
}
