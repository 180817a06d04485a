/// Calls that take a slot of a `concurrency` limit: gateways must send `RESERVE` with their checks.
package struct ReservingCalls: Sendable, Equatable {
    /// Whether it is every call of any tool.
    package let isEveryTool: Bool
    /// Otherwise the tools.
    package let tools: Set<String>

    fileprivate init(isEveryTool: Bool, tools: Set<String>) {
        self.isEveryTool = isEveryTool
        self.tools = isEveryTool ? [] : tools
    }

    package var isEmpty: Bool { !isEveryTool && tools.isEmpty }

    /// - Parameter tool: a name or a pattern of the document.
    package func contains(_ tool: String) -> Bool { isEveryTool || tools.contains(tool) }

    /// The names for tables, on one line each.
    package var titles: [String] {
        isEveryTool ? [PolicyListing.Subject.allTools.title] : tools.sorted().map(\.onOneLine)
    }

    /// What gateways must do, in a sentence; `nil` if nothing.
    package var sentence: String? {
        if isEmpty { return nil }
        let checks = isEveryTool ? "every check" : "checks of \(titles.joined(separatedBy: "and"))"
        return "\(checks) must say RESERVE, else \(isEveryTool ? "it is" : "they are") BADARG"
    }

    /// Those of one tool; for `nil` all of them.
    package func of(_ tool: String?) -> ReservingCalls {
        guard let tool, !isEveryTool else { return self }
        return ReservingCalls(
            isEveryTool: false, tools: tools.filter { $0 == tool || NamePattern($0)?.matches(tool) ?? false })
    }

    /// Those that are not in the other set.
    package func subtracting(_ others: ReservingCalls) -> ReservingCalls {
        if others.isEveryTool { return ReservingCalls(isEveryTool: false, tools: []) }
        return ReservingCalls(isEveryTool: isEveryTool, tools: tools.subtracting(others.tools))
    }
}

extension Policy {
    package var mustReserve: ReservingCalls {
        ReservingCalls(
            isEveryTool: allToolsLimits.contains(where: \.mustReserve),
            tools: Set(
                tools.keys.compactMap { tool in
                    switch ruling(forListed: tool) {
                    case .count(_, let limits), .approve(_, _, let limits):
                        limits.contains(where: \.mustReserve) ? tool : nil
                    case .deny: nil
                    }
                }))
    }

    package var limitCount: Int { allLimits.count }
}

extension PolicySet {
    /// Those of any grant.
    package var mustReserve: ReservingCalls {
        let all = policies.map(\.mustReserve)
        return ReservingCalls(
            isEveryTool: all.contains(where: \.isEveryTool), tools: all.reduce(into: []) { $0.formUnion($1.tools) })
    }
}

extension Limit {
    /// A shadow limit takes no slot.
    fileprivate var mustReserve: Bool { holdSeconds != nil && mode == .enforce }
}
