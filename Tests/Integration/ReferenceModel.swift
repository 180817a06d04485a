import Support

/// What the reference says of counting, in a few lines: written from the README's words, not from the engine. Its windows
/// last a year and its bucket leaks nothing that shows, so that nothing depends on when a call comes.
struct ReferenceModel {
    struct Limit {
        enum Kind { case window, bucket, slots }

        let rule: String
        let kind: Kind
        let capacity: Int
        var bySession = false
        var isShadow = false
    }

    struct Call: Equatable {
        var grant: String
        var tool: String
        var cost = 1
        var session: String?
        var reserves = false
        var id: String?

        var words: [String] {
            [grant, tool, "COST", "\(cost)"] + (session.map { ["SESSION", $0] } ?? []) + (reserves ? ["RESERVE"] : [])
                + (id.map { ["ID", $0] } ?? [])
        }
    }

    struct Counter: Hashable {
        var rule: String
        var grant: String
        var session: String?
    }

    private struct Reservation {
        var call: Call
        /// What was charged, by counter.
        var charged: [Counter]
        var slots: [Counter]
        var isCostSettled = false
        var areSlotsFreed = false
    }

    private static let allTools = Limit(rule: "/all_tools/limits/all", kind: .window, capacity: 60)

    private static func limit(
        _ tool: String, _ counter: String, _ capacity: Int, _ kind: Limit.Kind = .window, bySession: Bool = false,
        isShadow: Bool = false
    ) -> Limit {
        Limit(
            rule: "/tools/\(tool)/limits/\(counter)", kind: kind, capacity: capacity, bySession: bySession,
            isShadow: isShadow)
    }

    /// In the order in which a trace has them: the tool's, then those over all tools.
    static let limits: [String: [Limit]] = [
        "plain": [limit("plain", "calls", 20), allTools],
        "chat": [limit("chat", "session", 5, bySession: true), limit("chat", "grant", 12), allTools],
        "smooth": [limit("smooth", "calls", 15), allTools],
        "exact": [limit("exact", "calls", 15), allTools],
        "burst": [limit("burst", "calls", 8, .bucket), allTools],
        "slots": [limit("slots", "at_once", 3, .slots), allTools],
        "tried": [limit("tried", "calls", 10), limit("tried", "lower", 4, isShadow: true), allTools],
    ]

    static let policy = """
        {"version": "1", "default": "deny",
         "all_tools": {"limits": [{"counter": "all", "window": \(Policies.longWindow), "max": 60}]},
         "tools": {
           "plain": {"limits": [{"counter": "calls", "window": \(Policies.longWindow), "max": 20}]},
           "chat": {"limits": [
             {"counter": "session", "window": \(Policies.longWindow), "max": 5, "scope": "session"},
             {"counter": "grant", "window": \(Policies.longWindow), "max": 12}]},
           "smooth": {"limits": [
             {"counter": "calls", "window": \(Policies.longWindow), "max": 15, "algorithm": "sliding_window"}]},
           "exact": {"limits": [
             {"counter": "calls", "window": \(Policies.longWindow), "max": 15, "algorithm": "sliding_log"}]},
           "burst": {"limits": [
             {"counter": "calls", "window": \(Policies.longWindow), "max": 100, "algorithm": "token_bucket", "burst": 8}]},
           "slots": {"limits": [{"counter": "at_once", "max": 3, "algorithm": "concurrency", "hold": "1h"}]},
           "tried": {"limits": [
             {"counter": "calls", "window": \(Policies.longWindow), "max": 10},
             {"counter": "lower", "window": \(Policies.longWindow), "max": 4, "mode": "shadow"}]}}}
        """

    private(set) var used: [Counter: Int] = [:]
    /// Calls that a shadow limit would have denied.
    private(set) var wouldDeny: [Counter: Int] = [:]
    private var slots: [Counter: Set<String>] = [:]
    private var reservations: [String: Reservation] = [:]
    /// What was admitted under an id, and how it was answered.
    private var answered: [String: (call: Call, reply: CheckReply)] = [:]

    static func counter(_ limit: Limit, _ call: Call) -> Counter {
        Counter(rule: limit.rule, grant: call.grant, session: limit.bySession ? call.session ?? "" : nil)
    }

    func use(_ limit: Limit, _ call: Call) -> Int {
        let counter = Self.counter(limit, call)
        return limit.kind == .slots ? slots[counter]?.count ?? 0 : used[counter] ?? 0
    }

    func left(_ limit: Limit, _ call: Call) -> Int { limit.capacity - use(limit, call) }

    func fits(_ limit: Limit, _ call: Call) -> Bool { left(limit, call) >= (limit.kind == .slots ? 1 : call.cost) }

    func admits(_ call: Call) -> Bool {
        Self.limits[call.tool, default: []].allSatisfy { $0.isShadow || fits($0, call) }
    }

    // MARK: - What an answer must be

    enum Expected {
        case decision
        /// As it was answered before, under the id.
        case replay(CheckReply)
        case badArgument
    }

    func expected(_ call: Call) -> Expected {
        guard let id = call.id, let before = answered["\(call.grant) \(call.tool) \(id)"] else { return .decision }
        return before.call == call ? .replay(before.reply) : .badArgument
    }

    /// What is wrong with an answer to a call that was not asked before; nil if nothing is. Called before `charge`.
    func fault(in reply: CheckReply, to call: Call, isPeek: Bool) -> String? {
        let limits = Self.limits[call.tool, default: []]
        let passes = admits(call)
        guard reply.allowed == passes else { return "allowed \(reply.allowed)" }
        guard reply.verdict == (passes ? "allow" : "limit") else { return "verdict \(reply.verdict)" }
        guard let binding = limits.first(where: { $0.rule == reply.rule && !$0.isShadow }) else {
            return "rule \(reply.rule)"
        }
        func after(_ limit: Limit) -> Int {
            max(0, left(limit, call) - (passes && !isPeek ? (limit.kind == .slots ? 1 : call.cost) : 0))
        }
        guard reply.limit == binding.capacity else { return "limit \(reply.limit)" }
        // What was denied from memory may have been taken by others since, for a second.
        guard reply.remaining == after(binding) || (reply.source == "cache" && reply.remaining > after(binding)) else {
            return "remaining \(reply.remaining) for \(after(binding))"
        }
        guard !passes else {
            let isLeast = limits.allSatisfy { other in
                other.isShadow || after(binding) * other.capacity <= after(other) * binding.capacity
            }
            return !isLeast ? "another limit has less left" : reply.retryAfterMs == 0 ? nil : "a time to wait"
        }
        guard !fits(binding, call) else { return "a limit that has room denies" }
        let neverPasses = limits.contains { !$0.isShadow && $0.kind != .slots && call.cost > $0.capacity }
        if neverPasses { return reply.retryAfterMs == -1 ? nil : "retry \(reply.retryAfterMs) for never" }
        // A slot may be free at any moment, all else lasts for much longer here.
        let isSlot = limits.allSatisfy { $0.isShadow || $0.kind == .slots || fits($0, call) }
        return (1...1_000).contains(reply.retryAfterMs) == isSlot && reply.retryAfterMs > 0
            ? nil : "retry \(reply.retryAfterMs)"
    }

    // MARK: - What happens

    /// An admitted call.
    mutating func charge(_ call: Call, _ reply: CheckReply) {
        var charged: [Counter] = []
        var taken: [Counter] = []
        for limit in Self.limits[call.tool, default: []] {
            let counter = Self.counter(limit, call)
            if limit.isShadow && !fits(limit, call) {
                wouldDeny[counter, default: 0] += 1
            } else if limit.kind == .slots {
                slots[counter, default: []].insert(reply.reservation ?? "")
                taken.append(counter)
            } else {
                used[counter, default: 0] += call.cost
                charged.append(counter)
            }
        }
        if let reservation = reply.reservation, !reservation.isEmpty {
            reservations[reservation] = Reservation(call: call, charged: charged, slots: taken)
        }
        if let id = call.id { answered["\(call.grant) \(call.tool) \(id)"] = (call, reply) }
    }

    enum Settlement { case commit(Int), cancel, release }

    /// - Returns: what the settlement must be answered.
    mutating func settle(_ reservation: String, grant: String, _ settlement: Settlement) -> Int {
        guard var record = reservations[reservation], record.call.grant == grant else { return 0 }
        let (settlesCost, freesSlots): (Bool, Bool) =
            switch settlement {
            case .commit: (!record.isCostSettled, false)
            case .cancel: (!record.isCostSettled, !record.areSlotsFreed && !record.slots.isEmpty)
            case .release: (false, !record.areSlotsFreed && !record.slots.isEmpty)
            }
        if settlesCost {
            var cost = 0
            if case .commit(let committed) = settlement { cost = committed }
            for counter in record.charged { used[counter, default: 0] += cost - record.call.cost }
            record.isCostSettled = true
            if case .cancel = settlement, let id = record.call.id {
                answered["\(record.call.grant) \(record.call.tool) \(id)"] = nil
            }
        }
        if freesSlots {
            for counter in record.slots { slots[counter]?.remove(reservation) }
            record.areSlotsFreed = true
        }
        reservations[reservation] = record
        return settlesCost || freesSlots ? 1 : 0
    }
}
