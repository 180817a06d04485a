/// A policy tool by tool, to be shown as a table or to a program.
package struct PolicyListing: Sendable {
    package enum Subject: Sendable, Hashable {
        /// A tool, or a pattern, that the document lists or hides.
        case tool(String)
        /// A tool that only a pattern lists.
        case matched(String, by: String)
        /// A tool that it does not mention.
        case unlisted(String)
        /// Every tool that it does not mention.
        case anyOther
        /// The tools of a group together.
        case group(String)
        /// All calls of the grant together.
        case allTools
    }

    package enum Action: String, Sendable {
        case allow
        case deny
        case requireApproval = "require_approval"
        case hidden
    }

    package struct Entry: Sendable {
        package let subject: Subject
        /// `nil` over all tools, where there are limits only.
        package let action: Action?
        /// The agent's message when the action forbids the call; `nil` if it does not.
        package let message: String?
        /// Whether the gateway must check arguments.
        package let hasArgumentRules: Bool
        /// The subject's own, in the order of the document.
        package let limits: [Limit]
        /// Whether each tool that the pattern matches has counters of its own.
        package var eachTool = false
        package var hours: Hours?
        /// Whether its action forbids nothing, and what it would forbid is counted.
        package var isShadow = false
        /// The server, if the entry is of one server's rules.
        package fileprivate(set) var server: String?
    }

    /// Tools by name, then those that are only hidden, all others, the groups, and the limits over all tools if there
    /// are any.
    package let entries: [Entry]
    /// The same for each server with rules of its own, by name.
    package let servers: [(name: String, listing: PolicyListing)]

    /// Those of the document and then of its servers.
    package var allEntries: [Entry] { entries + servers.flatMap(\.listing.entries) }

    package init(_ policy: Policy) {
        let listed = policy.tools.keys.sorted()
        let hidden = policy.hidden.subtracting(policy.tools.keys).subtracting([PolicyKeys.everyTool]).sorted()
        let tools = (listed + hidden).map { Self.entry(ofListed: $0, policy) }
        self.init(policy, tools + [Self.others(policy)] + Self.groups(policy) { _ in true }) { PolicyListing($0) }
    }

    /// The rules for calls of one tool: the tool's entry, its groups, and the limits over all tools.
    package init(_ policy: Policy, tool: String) {
        let groups = Self.groups(policy) { $0.canMeet(tool) }
        self.init(policy, [Self.entry(ofTool: tool, policy)] + groups) { PolicyListing($0, tool: tool) }
    }

    private init(_ policy: Policy, _ entries: [Entry], ofServer: (Policy) -> PolicyListing) {
        self.entries = (entries + Self.allTools(policy)).map { entry in
            var entry = entry
            entry.server = policy.server
            return entry
        }
        servers = policy.servers.sorted { $0.key < $1.key }.map { (name: $0.key, listing: ofServer($0.value)) }
    }

    /// The entry of a name or pattern of the document.
    private static func entry(ofListed name: String, _ policy: Policy) -> Entry {
        let rule = policy.tools[name]
        return entry(.tool(name), name, policy.ruling(forListed: name), rule, limits: rule?.limits ?? [], policy)
    }

    /// The entry for calls of one tool, whatever lists it; of a pattern of the document its own.
    private static func entry(ofTool tool: String, _ policy: Policy) -> Entry {
        if policy.tools[tool] != nil || policy.hidden.contains(tool) { return entry(ofListed: tool, policy) }
        let listed = policy.rule(forTool: tool)
        let limits = listed?.rule.limits.counting(tool, server: policy.server ?? "") ?? []
        return entry(
            listed.map { .matched(tool, by: $0.name) } ?? .unlisted(tool), tool,
            policy.rules(forServer: nil).ruling(forTool: tool), listed?.rule, limits: limits, policy)
    }

    private static func entry(
        _ subject: Subject, _ tool: String, _ ruling: Ruling, _ rule: ToolRule?, limits: [Limit], _ policy: Policy
    ) -> Entry {
        Entry(
            subject: subject, action: action(of: tool, ruling, policy), message: ruling.message,
            hasArgumentRules: rule?.hasArgumentRules ?? false, limits: limits, eachTool: rule?.eachTool ?? false,
            hours: rule?.hours, isShadow: policy.mode == .shadow || rule?.mode == .shadow)
    }

    private static func action(of tool: String, _ ruling: Ruling, _ policy: Policy) -> Action {
        if policy.hides(tool) { return .hidden }
        return action(by: ruling)
    }

    private static func action(by ruling: Ruling) -> Action {
        switch ruling {
        case .count: .allow
        case .deny: .deny
        case .approve: .requireApproval
        case .shadow(let ruling, _, _), .within(_, let ruling, _): action(by: ruling)
        }
    }

    private static func others(_ policy: Policy) -> Entry {
        let action: Action =
            switch policy.defaultRuling {
            case _ where policy.hidesEverything: .hidden
            case .allow: .allow
            case .deny: .deny
            }
        let message = action == .deny ? policy.onDeny : nil
        return Entry(
            subject: .anyOther, action: action,
            message: action == .allow ? nil : message ?? Policy.notAllowed("NAME"), hasArgumentRules: false, limits: [],
            isShadow: policy.mode == .shadow)
    }

    private static func groups(_ policy: Policy, where isShown: (ToolGroup) -> Bool) -> [Entry] {
        policy.groups.sorted { $0.key < $1.key }.filter { isShown($0.value) }.map { name, group in
            Entry(subject: .group(name), action: nil, message: nil, hasArgumentRules: false, limits: group.limits)
        }
    }

    private static func allTools(_ policy: Policy) -> [Entry] {
        guard !policy.allToolsLimits.isEmpty else { return [] }
        return [
            Entry(
                subject: .allTools, action: nil, message: nil, hasArgumentRules: false, limits: policy.allToolsLimits)
        ]
    }
}

extension PolicyListing.Entry {
    /// The name for tables, on one line, with the server if it has one.
    package var title: String { (server.map { "\($0.onOneLine): " } ?? "") + subject.title }

    /// The action for tables: `deny`, `deny (shadow)`.
    package var actionWords: String? {
        action.map { $0.rawValue + (isShadow && $0 != .allow ? " (shadow)" : "") }
    }
}

extension PolicyListing.Subject {
    /// The name for tables, on one line.
    package var title: String {
        switch self {
        case .tool(let name): name.onOneLine
        case .matched(let name, let pattern): "\(name.onOneLine) (\(pattern.onOneLine))"
        case .unlisted(let name): "\(name.onOneLine) (not listed)"
        case .anyOther: "(any other)"
        case .group(let name): "(group \(name.onOneLine))"
        case .allTools: "(all tools)"
        }
    }
}

extension Policy {
    var hidesEverything: Bool { hidden.contains(PolicyKeys.everyTool) }
}

extension Ruling {
    /// The agent's message before anything is counted; `nil` if nothing forbids the call.
    fileprivate var message: String? {
        switch self {
        case .deny(_, let message), .approve(_, let message, _): message
        case .count, .shadow: nil
        case .within(_, let open, _): open.message
        }
    }
}
