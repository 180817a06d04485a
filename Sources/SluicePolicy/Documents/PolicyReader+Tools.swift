/// Reads tools.
extension PolicyReader {
    /// `all_tools`: limits over every call of the grant.
    mutating func allTools(_ node: DocumentNode) -> LimitList {
        guard var object = document.object(node, expected: "an object with \"limits\"") else { return LimitList() }
        let container = here(.allTools)
        let list = object.take("limits").map { limits($0, of: container, path: container.path) } ?? LimitList()
        if list.written > PolicyBounds.maxLimitsPerCheck {
            document.unexpected(
                "\(list.written) limits", at: node,
                expected: "at most \(PolicyBounds.maxLimitsPerCheck) for one check")
        }
        document.finish(object, PolicyKeys.allTools)
        return list
    }

    /// The rule of one tool.
    /// - Parameter besides: the limits that apply to a check of this tool besides the tool's own.
    mutating func tool(_ name: String, _ node: DocumentNode, _ besides: LimitsBeside) -> ToolRule? {
        let isNamed = isToolName(name, at: node.keyPosition ?? node.value.position, node.pointer)
        guard var object = document.object(node, expected: "a tool's rule: an object, {} to allow it") else {
            return nil
        }
        let action = object.take("action").flatMap { choice($0, FeatureWord<ToolRule.Action>.all()) }
        let reason = toolMessage(&object)
        let eachTool = object.take(PolicyKeys.eachTool).map { self.eachTool($0, of: name) } ?? false
        let container = here(
            !NamePattern.isPattern(name) ? .tool(name) : eachTool ? .eachTool(name) : .pattern(name))
        let path = container.path
        let hours = self.hours(of: &object, action: action)
        let mode = object.take("mode").flatMap { choice($0, FeatureWord<Limit.Mode>.all()) } ?? .enforce
        let limitsNode = object.take("limits")
        var list = limitsNode.map { limits($0, of: container, path: path) } ?? LimitList()
        if let rateNode = object.take(PolicyKeys.rateLimit) {
            let isBeforeLimits = limitsNode.map { rateNode.value.position < $0.value.position } ?? true
            add(rateLimit(rateNode, of: container, path: path), at: rateNode, to: &list, inFront: isBeforeLimits)
        }
        checkLimitCount(list.written, of: name, besides, at: node)
        let hasArgumentRules = argumentRules(of: &object)
        document.finish(object, toolKeys)
        guard isNamed else { return nil }
        return ToolRule(
            action: action ?? .allow, reason: reason,
            limits: completed(
                list.limits, isShadow: mode == .shadow, reason: action ?? .allow == .allow ? reason : nil),
            eachTool: eachTool, hours: hours, mode: mode, hasArgumentRules: hasArgumentRules)
    }

    /// A tool's limits with what the tool, or the document, says of all of them.
    /// - Parameter reason: the tool's message, if only its limits deny it: it is theirs unless they have their own.
    private func completed(_ limits: [Limit], isShadow: Bool, reason: String?) -> [Limit] {
        limits.map { limit in
            var limit = limit
            if isShadow || mode == .shadow { limit.mode = .shadow }
            if limit.onDeny == nil { limit.onDeny = reason }
            return limit
        }
    }

    private mutating func checkLimitCount(
        _ count: Int, of name: String, _ besides: LimitsBeside, at node: DocumentNode
    ) {
        let (overAllTools, inGroups) = (besides.overAllTools, besides.inGroups(of: name))
        // What is too much without this tool is reported once instead of at every tool.
        guard count > 0, overAllTools + inGroups <= PolicyBounds.maxLimitsPerCheck,
            count + overAllTools + inGroups > PolicyBounds.maxLimitsPerCheck
        else { return }
        let others = [(inGroups, "in its groups"), (overAllTools, "over all tools")].filter { $0.0 > 0 }
            .map { " and \($0.0) \($0.1)" }
        document.unexpected(
            "\(count) limits\(others.joined())", at: node,
            expected: "at most \(PolicyBounds.maxLimitsPerCheck) for one check")
    }

    /// A container in the rules that are being read.
    func here(_ container: Limit.Container) -> Limit.Container { server.map { .server($0, container) } ?? container }

    /// `each_tool` of a pattern.
    private mutating func eachTool(_ node: DocumentNode, of name: String) -> Bool {
        guard case .bool(let eachTool) = node.value.content else {
            document.unexpected(node.value.summary, at: node, expected: "true or false")
            return false
        }
        guard NamePattern.isPattern(name) else {
            misplaced(
                node, key: PolicyKeys.eachTool, beside: "of one tool",
                expected: "it only with a pattern such as \"git_*\"")
            return false
        }
        return eachTool
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

    /// Whether a text is the name of a tool, or a pattern; notes why not.
    mutating func isToolName(_ name: String, at position: SourcePosition, _ pointer: JSONPointer) -> Bool {
        isName(name, of: "a tool", at: position, pointer) && isPatternOrExact(name, at: position, pointer)
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
