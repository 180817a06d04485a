/// Calls that take a slot of a `concurrency` limit: gateways must send `RESERVE` with their checks.
package struct ReservingCalls: Sendable, Equatable {
    /// Whether it is every call of any tool.
    package let isEveryTool: Bool
    /// Otherwise the tools.
    package let tools: Set<String>
    /// Those of servers with rules of their own, in words.
    fileprivate let ofServers: Set<String>

    fileprivate init(isEveryTool: Bool, tools: Set<String>, ofServers: Set<String> = []) {
        self.isEveryTool = isEveryTool
        self.tools = isEveryTool ? [] : tools
        self.ofServers = ofServers
    }

    package var isEmpty: Bool { !isEveryTool && tools.isEmpty && ofServers.isEmpty }

    /// - Parameter tool: a name or a pattern of the document.
    package func contains(_ tool: String) -> Bool { isEveryTool || tools.contains(tool) }

    /// The names for tables, on one line each.
    package var titles: [String] {
        (isEveryTool ? [PolicyListing.Subject.allTools.title] : tools.sorted().map(\.onOneLine))
            + ofServers.sorted()
    }

    /// What gateways must do, in a sentence; `nil` if nothing.
    package var sentence: String? {
        if isEmpty { return nil }
        let isEveryCheck = isEveryTool && ofServers.isEmpty
        let checks = isEveryCheck ? "every check" : "checks of \(titles.joined(separatedBy: "and"))"
        return "\(checks) must say RESERVE, else \(isEveryCheck ? "it is" : "they are") BADARG"
    }

    /// Those of one tool; for `nil` all of them.
    package func of(_ tool: String?) -> ReservingCalls {
        guard let tool, !isEveryTool else { return self }
        return ReservingCalls(
            isEveryTool: false, tools: tools.filter { $0 == tool || NamePattern($0)?.matches(tool) ?? false },
            ofServers: ofServers)
    }

    /// Those that are not in the other set.
    package func subtracting(_ others: ReservingCalls) -> ReservingCalls {
        let ofServers = ofServers.subtracting(others.ofServers)
        if others.isEveryTool { return ReservingCalls(isEveryTool: false, tools: [], ofServers: ofServers) }
        return ReservingCalls(
            isEveryTool: isEveryTool, tools: tools.subtracting(others.tools), ofServers: ofServers)
    }
}

extension Policy {
    package var mustReserve: ReservingCalls {
        let own = ownMustReserve
        let ofServers = servers.flatMap { name, rules in
            rules.ownMustReserve.titles.map { "\($0) of the server \(name.onOneLine)" }
        }
        return ReservingCalls(isEveryTool: own.isEveryTool, tools: own.tools, ofServers: Set(ofServers))
    }

    /// Those of the document's own rules.
    private var ownMustReserve: ReservingCalls {
        let inGroups = sortedGroups.filter { $0.limits.contains(where: \.mustReserve) }.flatMap(\.tools)
        let tools = Set(tools.keys).union(inGroups).filter {
            ruling(forListed: $0).limits.contains(where: \.mustReserve)
        }
        return ReservingCalls(isEveryTool: allToolsLimits.contains(where: \.mustReserve), tools: tools)
    }

    package var limitCount: Int { allLimits.count }
}

extension PolicySet {
    /// Those of any grant.
    package var mustReserve: ReservingCalls {
        let all = policies.map(\.mustReserve)
        return ReservingCalls(
            isEveryTool: all.contains(where: \.isEveryTool), tools: all.reduce(into: []) { $0.formUnion($1.tools) },
            ofServers: all.reduce(into: []) { $0.formUnion($1.ofServers) })
    }
}

extension Limit {
    /// A shadow limit takes no slot.
    fileprivate var mustReserve: Bool { holdSeconds != nil && mode == .enforce }
}
