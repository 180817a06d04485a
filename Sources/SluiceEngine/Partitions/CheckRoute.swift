import SluicePolicy

/// Which partitions have the counters of a check.
struct CheckRoute: Equatable {
    /// That of the grant. It decides, even if it has none of the counters.
    var home: Int
    /// The others, in order.
    var others: [Int]
    /// The rules of all limits, in the policy's order.
    var order: [String]
    /// Those that count calls in progress.
    var slots: Set<String>
    /// Whether such a limit can deny checks, so that the check must reserve.
    var mustReserve: Bool
}

/// The routes of identities seen lately, under the present policies.
struct CheckRoutes {
    private let map: PartitionMap
    private let rulebook: Rulebook
    /// Whether any limit is counted across grants: without one, every check has its home alone.
    let mayCross: Bool
    /// nil: its home has all of its counters.
    private var routes: [ByteString: CheckRoute?] = [:]

    /// An estimate of the bytes held.
    var bytes: Int { routes.count * (HeldBytes.perRow(of: [ByteString: CheckRoute?].self) + 4 * HeldBytes.perArray) }

    init(_ rulebook: Rulebook, map: PartitionMap) {
        self.map = map
        self.rulebook = rulebook
        mayCross =
            map.count > 1
            && rulebook.policies.policies.contains { policy in
                policy.allLimits.contains(where: Self.isShared)
            }
    }

    private static func isShared(_ limit: Limit) -> Bool { limit.scope == .global || limit.acrossGrants }

    /// Most things that the limits of one policy count by across grants: each may be in another partition.
    static func subjectCount(_ policy: Policy) -> Int {
        let limits = policy.allLimits.filter(isShared)
        return Set(limits.map { "\($0.scope)" }).count
    }

    /// The route of an identity with counters in other partitions than its home; nil if it has none.
    mutating func find(_ identity: borrowing Identity, home: Int, nowMs: Int64) -> CheckRoute? {
        guard identity.throttleKey == nil else { return nil }
        if let route = routes[identity.key] { return route }
        let ruling = rulebook.ruling(identity.parts, nowMs: nowMs)
        // Outside its hours a tool has no limits.
        if ruling.isTimed { return route(identity.parts, ruling.limits, home: home) }
        if routes.count >= EngineBounds.maxRoutes { routes.removeAll(keepingCapacity: true) }
        let route = route(identity.parts, ruling.limits, home: home)
        routes[identity.key] = .some(route)
        return route
    }

    private func route(_ parts: Identity.Parts, _ limits: [Limit], home: Int) -> CheckRoute? {
        let others = Set(limits.map { map.partition(of: $0, for: parts) }).subtracting([home]).sorted()
        guard !others.isEmpty else { return nil }
        return CheckRoute(
            home: home, others: others, order: limits.map(\.rule),
            slots: Set(limits.filter { $0.algorithm == .concurrency }.map(\.rule)),
            mustReserve: limits.contains { $0.algorithm == .concurrency && $0.mode == .enforce })
    }
}
