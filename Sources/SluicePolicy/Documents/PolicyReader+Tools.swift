/// Reads tools.
extension PolicyReader {
    /// `all_tools`: limits over every call of the grant.
    mutating func allTools(_ node: DocumentNode) -> LimitList {
        guard var object = document.object(node, expected: "an object with \"limits\"") else { return LimitList() }
        let list = object.take("limits").map { limits($0, of: .allTools, path: "/all_tools") } ?? LimitList()
        if list.written > PolicyBounds.maxLimitsPerCheck {
            document.unexpected(
                "\(list.written) limits", at: node,
                expected: "at most \(PolicyBounds.maxLimitsPerCheck) for one check")
        }
        document.finish(object, PolicyKeys.allTools)
        return list
    }

    /// The rule of one tool.
    /// - Parameter limitsOverAllTools: how many limits apply to a check of this tool besides the tool's own.
    mutating func tool(_ name: String, _ node: DocumentNode, limitsOverAllTools: Int) -> ToolRule? {
        let isNamed = isToolName(name, node)
        guard var object = document.object(node, expected: "a tool's rule: an object, {} to allow it") else {
            return nil
        }
        let action = object.take("action").flatMap { choice($0, FeatureWord<ToolRule.Action>.all()) }
        let reason = toolMessage(&object)
        let path = "/tools/" + JSONPointer.escape(name)
        let container = Limit.Container.tool(name)
        let limitsNode = object.take("limits")
        var list = limitsNode.map { limits($0, of: container, path: path) } ?? LimitList()
        if let rateNode = object.take(PolicyKeys.rateLimit) {
            let isBeforeLimits = limitsNode.map { rateNode.value.position < $0.value.position } ?? true
            add(rateLimit(rateNode, of: container, path: path), at: rateNode, to: &list, inFront: isBeforeLimits)
        }
        if list.written + limitsOverAllTools > PolicyBounds.maxLimitsPerCheck,
            // Otherwise `all_tools` alone has too many, and reports that once instead of at every tool.
            limitsOverAllTools <= PolicyBounds.maxLimitsPerCheck
        {
            let others = limitsOverAllTools == 0 ? "" : " and \(limitsOverAllTools) over all tools"
            document.unexpected(
                "\(list.written) limits\(others)", at: node,
                expected: "at most \(PolicyBounds.maxLimitsPerCheck) for one check")
        }
        let hasArgumentRules = argumentRules(of: &object)
        document.finish(object, toolKeys)
        guard isNamed else { return nil }
        return rule(action ?? .allow, reason, list.limits, hasArgumentRules: hasArgumentRules)
    }

    /// Only its limits deny an allowed tool, so its message becomes theirs unless they have their own; otherwise the
    /// message would never be used.
    private func rule(
        _ action: ToolRule.Action, _ reason: String?, _ limits: [Limit], hasArgumentRules: Bool
    ) -> ToolRule {
        var limits = limits
        if action == .allow, let reason {
            for index in limits.indices where limits[index].onDeny == nil { limits[index].onDeny = reason }
        }
        return ToolRule(action: action, reason: reason, limits: limits, hasArgumentRules: hasArgumentRules)
    }

    /// `require` and `deny_if`; their content is for the gateway.
    private mutating func argumentRules(of object: inout ObjectReader) -> Bool {
        var hasRules = false
        for key in PolicyKeys.argumentRules {
            guard let node = object.take(key) else { continue }
            hasRules = true
            guard features.contains(.argumentsCheckedByGateway) else {
                document.unexpected(
                    key.quoted, at: node.keyPosition ?? node.value.position, node.pointer,
                    expected: "no rules on arguments, which only the gateway sees: let it check them and say so with"
                        + " --arguments-checked-by-gateway, or take them out")
                continue
            }
            switch node.value.content {
            case .array, .object: break
            case .null, .bool, .integer, .otherNumber, .string:
                document.unexpected(node.value.summary, at: node, expected: "argument rules: an array or an object")
            }
        }
        return hasRules
    }

    private mutating func isToolName(_ name: String, _ node: DocumentNode) -> Bool {
        let position = node.keyPosition ?? node.value.position
        if name == PolicyKeys.everyTool {
            // As the name of a tool it would match nothing, and the author would not notice.
            document.unexpected(
                name.quoted, at: position, node.pointer,
                expected: "the name of one tool (\"default\" rules unlisted tools, \"all_tools\" limits all)")
            return false
        }
        return isName(name, of: "a tool", at: position, node.pointer)
            && isExact(name, of: "tool", at: position, node.pointer)
    }

    /// `reason` or `on_deny`: two names for the same key.
    private mutating func toolMessage(_ object: inout ObjectReader) -> String? {
        let nodes = [object.take("reason"), object.take("on_deny")].compactMap(\.self)
        let messages = nodes.map { message($0) }
        if nodes.count == 2 {
            let second = nodes[0].value.position < nodes[1].value.position ? nodes[1] : nodes[0]
            document.unexpected(
                "\"reason\" and \"on_deny\" in one rule", at: second.keyPosition ?? second.value.position,
                second.pointer, expected: "one of them: they mean the same")
        }
        return messages.first ?? nil
    }

    private mutating func add(
        _ limit: Limit?, at node: DocumentNode, to list: inout LimitList, inFront: Bool
    ) {
        list.written += 1
        if list.counters.contains(PolicyKeys.rateLimit) {
            document.unexpected(
                "\"rate_limit\" and a limit whose counter is called so", at: node.keyPosition ?? node.value.position,
                node.pointer, expected: "each counter once in a tool")
        }
        guard let limit else { return }
        list.limits.insert(limit, at: inFront ? 0 : list.limits.count)
    }
}
