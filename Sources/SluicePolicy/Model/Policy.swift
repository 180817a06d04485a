/// A validated policy document, compiled for the engine: one `Ruling` per tool.
///
/// A value of this type is always valid: every number is within its bounds, and counters have unique names in their
/// container. `PolicyDocument.parse` is the only way to make one. The rules of one server are a policy, too.
package struct Policy: Sendable, Equatable {
    package enum Default: String, Sendable, CaseIterable { case allow, deny }

    /// In `servers`: every server that is not listed.
    package static let everyServer = "*"

    /// The action for tools that the document does not list.
    package let defaultRuling: Default
    /// The agent's message when the default denies; `nil` for the default sentence.
    package let onDeny: String?
    /// With `shadow` every call passes, and what would have been denied is counted.
    package let mode: Limit.Mode
    /// Names and patterns that are denied as hidden; `*` hides every tool.
    package let hidden: Set<String>
    /// Limits over every call of the grant.
    package let allToolsLimits: [Limit]
    /// By name or pattern.
    package let tools: [String: ToolRule]
    package let groups: [String: ToolGroup]
    /// The rules for the tools of one server, by its name or `everyServer`; they have no servers of their own.
    package let servers: [String: Policy]
    /// The server, if these are the rules of one.
    package let server: String?
    /// The results of `ruling(forTool:)` for the tools listed by name; derived from the other properties.
    let listedRulings: [String: Ruling]
    /// The rules of patterns, and the hidden patterns; derived likewise.
    let patterns: PatternTable<ToolRule>
    let hiddenPatterns: PatternTable<Bool>
    /// The groups by name; derived likewise.
    let sortedGroups: [ToolGroup]

    package init(
        defaultRuling: Default, hidden: Set<String>, allToolsLimits: [Limit], tools: [String: ToolRule],
        groups: [String: ToolGroup] = [:], servers: [String: Policy] = [:], onDeny: String? = nil,
        mode: Limit.Mode = .enforce, server: String? = nil
    ) {
        self.defaultRuling = defaultRuling
        self.onDeny = onDeny
        self.mode = mode
        self.hidden = hidden
        self.allToolsLimits = allToolsLimits
        self.tools = tools
        self.groups = groups
        self.servers = servers
        self.server = server
        patterns = PatternTable(tools)
        hiddenPatterns = PatternTable(Dictionary(uniqueKeysWithValues: hidden.map { ($0, true) }))
        sortedGroups = groups.sorted { $0.key < $1.key }.map(\.value)
        let maker = RulingMaker(
            server: server, mode: mode, defaultRuling: defaultRuling, onDeny: onDeny, hidden: hidden,
            hiddenPatterns: hiddenPatterns, groups: sortedGroups, allToolsLimits: allToolsLimits)
        var rulings: [String: Ruling] = [:]
        rulings.reserveCapacity(tools.count)
        for (tool, rule) in tools where !NamePattern.isPattern(tool) {
            rulings[tool] = maker.ruling(forTool: tool, listedAs: tool, by: rule, own: rule.limits)
        }
        listedRulings = rulings
    }

    /// The rule for a tool: that of its name, else of the pattern with most literal characters.
    package func rule(forTool tool: String) -> (name: String, rule: ToolRule)? {
        if !NamePattern.isPattern(tool), let rule = tools[tool] { return (tool, rule) }
        return patterns.first(matching: tool).map { ($0.pattern.text, $0.value) }
    }

    /// The rules for the tools of a server; these if it has none of its own.
    package func rules(forServer server: String?) -> Policy {
        guard let server, !servers.isEmpty else { return self }
        return (server == Self.everyServer ? nil : servers[server]) ?? servers[Self.everyServer] ?? self
    }

    /// The limits of the document whose counters are in a container, as they apply to calls that it counts; with those that
    /// count what shadow rules would deny.
    package func limits(in container: Limit.Container) -> [Limit] {
        var (server, inner): (String?, Limit.Container) = (nil, container)
        if case .server(let name, let place) = container { (server, inner) = (name, place) }
        let rules = rules(forServer: server)
        if server != nil, rules.server == nil { return [] }
        var limits: [Limit]
        var tool = ""
        switch inner {
        case .allTools: limits = rules.allToolsLimits + rules.sharedDenials
        case .group(let name): limits = rules.groups[name]?.limits ?? []
        case .pattern(let text), .eachTool(let text):
            limits = (rules.tools[text]?.limits ?? []) + rules.ruling(forListed: text).denials
        case .tool(let name):
            limits = (rules.rule(forTool: name)?.rule.limits ?? []) + rules.ruling(forTool: name).denials
            tool = name
        case .server: limits = []
        }
        limits = limits.counting(tool, server: server ?? "")
        return limits.filter { $0.container == container }
    }

    /// Every limit of the document.
    package var allLimits: [Limit] { ownLimits + servers.values.flatMap(\.ownLimits) }

    /// Those outside `servers`.
    var ownLimits: [Limit] {
        allToolsLimits + tools.values.flatMap(\.limits) + sortedGroups.flatMap(\.limits)
    }
}

/// The document's rules for one tool, or for those that a pattern matches.
package struct ToolRule: Sendable, Equatable {
    package enum Action: String, Sendable, CaseIterable {
        case allow, deny
        case requireApproval = "require_approval"
    }

    package let action: Action
    /// The agent's message when `action` forbids the call, or it comes outside `hours`; `nil` for the default sentence.
    package let reason: String?
    /// The tool's own limits, `rate_limit` included, in the order of the document.
    package let limits: [Limit]
    /// Whether each tool that the pattern matches has counters of its own.
    package let eachTool: Bool
    /// When the tool may be called; `nil` for always.
    package let hours: Hours?
    /// With `shadow` the tool's own rules deny nothing, and what they would have denied is counted.
    package let mode: Limit.Mode
    /// Whether the document has rules on this tool's arguments, which the gateway evaluates before its check.
    package let hasArgumentRules: Bool

    package init(
        action: Action, reason: String?, limits: [Limit], eachTool: Bool = false, hours: Hours? = nil,
        mode: Limit.Mode = .enforce, hasArgumentRules: Bool = false
    ) {
        self.action = action
        self.reason = reason
        self.limits = limits
        self.eachTool = eachTool
        self.hours = hours
        self.mode = mode
        self.hasArgumentRules = hasArgumentRules
    }
}

/// A budget over several tools together.
package struct ToolGroup: Sendable, Equatable {
    /// Names and patterns.
    package let tools: Set<String>
    package let limits: [Limit]
    /// Derived.
    private let patterns: PatternTable<Bool>

    package init(tools: Set<String>, limits: [Limit]) {
        self.tools = tools
        self.limits = limits
        patterns = PatternTable(Dictionary(uniqueKeysWithValues: tools.map { ($0, true) }))
    }

    /// Whether it counts the calls of a tool.
    package func contains(_ tool: String) -> Bool {
        (!NamePattern.isPattern(tool) && tools.contains(tool)) || patterns.first(matching: tool) != nil
    }

    /// Whether it counts the calls of a tool, or of some tool that a pattern matches.
    func canMeet(_ name: String) -> Bool {
        guard let pattern = NamePattern(name) else { return contains(name) }
        return patterns.entries.contains { $0.pattern.canMeet(pattern) }
            || tools.contains { !NamePattern.isPattern($0) && pattern.matches($0) }
    }
}

extension Policy {
    /// The same rules with other maxima, by the paths of limits.
    func with(maxima: [String: Int64]) -> Policy {
        Policy(
            defaultRuling: defaultRuling, hidden: hidden, allToolsLimits: allToolsLimits.with(maxima: maxima),
            tools: tools.mapValues { rule in
                ToolRule(
                    action: rule.action, reason: rule.reason, limits: rule.limits.with(maxima: maxima),
                    eachTool: rule.eachTool, hours: rule.hours, mode: rule.mode,
                    hasArgumentRules: rule.hasArgumentRules)
            },
            groups: groups.mapValues { ToolGroup(tools: $0.tools, limits: $0.limits.with(maxima: maxima)) },
            servers: servers.mapValues { $0.with(maxima: maxima) }, onDeny: onDeny, mode: mode, server: server)
    }

    /// The same rules with those of servers.
    func with(servers: [String: Policy]) -> Policy {
        Policy(
            defaultRuling: defaultRuling, hidden: hidden, allToolsLimits: allToolsLimits, tools: tools, groups: groups,
            servers: servers, onDeny: onDeny, mode: mode, server: server)
    }
}
