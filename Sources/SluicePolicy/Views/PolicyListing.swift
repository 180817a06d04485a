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
    }

    /// Tools by name, then those that are only hidden, all others, and the limits over all tools if there are any.
    package let entries: [Entry]

    package init(_ policy: Policy) {
        let listed = policy.tools.keys.sorted()
        let hidden = policy.hidden.subtracting(policy.tools.keys).subtracting([PolicyKeys.everyTool]).sorted()
        entries =
            (listed + hidden).map { Self.entry(ofListed: $0, policy) } + [Self.others(policy)] + Self.allTools(policy)
    }

    /// The rules for calls of one tool: the tool's entry, and the limits over all tools.
    package init(_ policy: Policy, tool: String) {
        entries = [Self.entry(ofTool: tool, policy)] + Self.allTools(policy)
    }

    /// The entry of a name or pattern of the document.
    private static func entry(ofListed name: String, _ policy: Policy) -> Entry {
        let rule = policy.tools[name]
        let ruling = policy.ruling(forListed: name)
        return Entry(
            subject: .tool(name), action: action(of: name, ruling, policy), message: ruling.message,
            hasArgumentRules: rule?.hasArgumentRules ?? false, limits: rule?.limits ?? [],
            eachTool: rule?.eachTool ?? false)
    }

    /// The entry for calls of one tool, whatever lists it; of a pattern of the document its own.
    private static func entry(ofTool tool: String, _ policy: Policy) -> Entry {
        if policy.tools[tool] != nil || policy.hidden.contains(tool) { return entry(ofListed: tool, policy) }
        let ruling = policy.ruling(forTool: tool)
        let action = action(of: tool, ruling, policy)
        let listed = policy.rule(forTool: tool)
        return Entry(
            subject: listed.map { .matched(tool, by: $0.name) } ?? .unlisted(tool), action: action,
            message: ruling.message, hasArgumentRules: listed?.rule.hasArgumentRules ?? false,
            limits: listed?.rule.limits.counting(tool) ?? [])
    }

    private static func action(of tool: String, _ ruling: Ruling, _ policy: Policy) -> Action {
        if policy.hides(tool) { return .hidden }
        return switch ruling {
        case .count: .allow
        case .deny: .deny
        case .approve: .requireApproval
        }
    }

    private static func others(_ policy: Policy) -> Entry {
        let action: Action =
            switch policy.defaultRuling {
            case _ where policy.hidesEverything: .hidden
            case .allow: .allow
            case .deny: .deny
            }
        return Entry(
            subject: .anyOther, action: action, message: action == .allow ? nil : Policy.notAllowed("NAME"),
            hasArgumentRules: false, limits: [])
    }

    private static func allTools(_ policy: Policy) -> [Entry] {
        guard !policy.allToolsLimits.isEmpty else { return [] }
        return [
            Entry(
                subject: .allTools, action: nil, message: nil, hasArgumentRules: false, limits: policy.allToolsLimits)
        ]
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
        case .count: nil
        }
    }
}
