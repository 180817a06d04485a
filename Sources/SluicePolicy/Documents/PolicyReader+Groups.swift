/// How many limits apply to a check of a tool besides the tool's own, including those with faults.
struct LimitsBeside {
    var overAllTools = 0
    var groups: [(group: ToolGroup, written: Int)] = []

    /// - Parameter name: of a tool, or a pattern: then the most that a tool that it matches may have.
    func inGroups(of name: String) -> Int {
        groups.reduce(0) { $0 + ($1.group.canMeet(name) ? $1.written : 0) }
    }
}

/// Reads groups of tools, and servers.
extension PolicyReader {
    /// `groups`: budgets over several tools.
    mutating func groups(_ node: DocumentNode, _ besides: inout LimitsBeside) -> [String: ToolGroup] {
        guard var list = document.object(node, expected: "an object with a group of tools for each name") else {
            return [:]
        }
        let entries = list.takeAll()
        checkCount(entries.count, "groups", atMost: PolicyBounds.maxGroups, at: node)
        var groups: [String: ToolGroup] = [:]
        for (name, node) in entries {
            let position = node.keyPosition ?? node.value.position
            let isNamed =
                isName(name, of: "a group", at: position, node.pointer)
                && isExact(name, of: "group", at: position, node.pointer)
            guard let (group, written) = group(name, node) else { continue }
            besides.groups.append((group, written))
            if isNamed { groups[name] = group }
        }
        let patterns = besides.groups.reduce(0) { $0 + $1.group.tools.count(where: NamePattern.isPattern) }
        checkCount(patterns, "patterns", atMost: PolicyBounds.maxPatterns, at: node)
        checkSharedTools(besides, at: node)
        return groups
    }

    private mutating func group(_ name: String, _ node: DocumentNode) -> (group: ToolGroup, written: Int)? {
        guard var object = document.object(node, expected: "a group: an object with \"tools\" and \"limits\"") else {
            return nil
        }
        let tools = document.required("tools", of: &object, expected: "an array of tools' names")
            .map { groupTools($0) }
        let container = here(.group(name))
        let list = document.required("limits", of: &object, expected: "an array of limits")
            .map { limits($0, of: container, path: container.path) }
        document.finish(object, PolicyKeys.group)
        guard let tools, let list else { return nil }
        return (ToolGroup(tools: tools, limits: list.limits), list.written)
    }

    private mutating func groupTools(_ node: DocumentNode) -> Set<String> {
        let expected = "an array of tools' names and patterns"
        guard let elements = document.array(node, expected: expected) else { return [] }
        if elements.isEmpty { document.unexpected(node.value.summary, at: node, expected: expected) }
        checkCount(elements.count, "names", atMost: PolicyBounds.maxGroupTools, at: node)
        return toolNames(elements)
    }

    /// The valid ones of tools' names and patterns; the others are faults.
    mutating func toolNames(_ elements: [DocumentNode]) -> Set<String> {
        var names: Set<String> = []
        for element in elements {
            guard let name = name(element, of: "a tool"),
                isPatternOrExact(name, at: element.value.position, element.pointer)
            else { continue }
            names.insert(name)
        }
        return names
    }

    /// A tool may be in several groups, whose limits must not be too many with those over all tools.
    private mutating func checkSharedTools(_ besides: LimitsBeside, at node: DocumentNode) {
        guard besides.overAllTools <= PolicyBounds.maxLimitsPerCheck else { return }
        for tool in besides.groups.flatMap({ $0.group.tools.sorted() }) {
            let count = besides.inGroups(of: tool)
            guard count + besides.overAllTools > PolicyBounds.maxLimitsPerCheck else { continue }
            let others = besides.overAllTools == 0 ? "" : " and \(besides.overAllTools) over all tools"
            document.unexpected(
                "\(count) limits in the groups of \(tool.quoted)\(others)", at: node,
                expected: "at most \(PolicyBounds.maxLimitsPerCheck) for one check")
            return
        }
    }

    private mutating func checkCount(_ count: Int, _ what: String, atMost most: Int, at node: DocumentNode) {
        guard count > most else { return }
        document.unexpected("\(count) \(what)", at: node, expected: "at most \(most) \(what) here")
    }

    // MARK: Servers

    /// `servers`: rules for the tools of one server.
    /// - Parameter defaultRuling: that of the document, which a server without one has, too.
    mutating func servers(_ node: DocumentNode, defaultRuling: Policy.Default?) -> [String: Policy] {
        guard var list = document.object(node, expected: "an object with rules for each server") else { return [:] }
        let entries = list.takeAll()
        checkCount(entries.count, "servers", atMost: PolicyBounds.maxServers, at: node)
        var servers: [String: Policy] = [:]
        for (name, node) in entries {
            let position = node.keyPosition ?? node.value.position
            let isNamed =
                isName(name, of: "a server", at: position, node.pointer)
                && (name == Policy.everyServer || isExact(name, of: "server", at: position, node.pointer))
            guard
                var object = document.object(
                    node, expected: "a server's rules: an object such as {\"default\": \"allow\"}")
            else { continue }
            let ownDefault = object.take("default").map { choice($0, FeatureWord<Policy.Default>.all()) }
            server = name
            let rules = rules(&object, defaultRuling: ownDefault ?? defaultRuling)
            server = nil
            document.finish(object, PolicyKeys.server)
            if isNamed { servers[name] = rules }
        }
        return servers
    }
}
