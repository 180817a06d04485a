import Support

/// What is counted, by the words of the reference: see `FleetReference`.
struct FleetCounts {
    typealias Call = FleetReference.Call
    typealias Counted = FleetReference.Counted
    typealias Counter = FleetReference.Counter

    private struct Reservation {
        var call: Call
        var charged: [Counted]
        var slots: [Counter]
        var isCostSettled = false
        var areSlotsFreed = false
    }

    let reference: FleetReference
    private var used: [Counter: Int] = [:]
    private(set) var wouldDeny: [Counter: Int] = [:]
    private var slots: [Counter: Set<String>] = [:]
    private var reservations: [String: Reservation] = [:]
    /// What was answered under an id.
    private var answered: [String: (call: Call, reply: CheckReply)] = [:]

    init(_ reference: FleetReference) { self.reference = reference }

    func use(_ counted: Counted) -> Int {
        counted.limit.isSlots ? slots[counted.counter]?.count ?? 0 : used[counted.counter] ?? 0
    }

    private func left(_ counted: Counted) -> Int { counted.limit.max - use(counted) }

    /// What a call takes of a limit; a look at its cost of 0 asks whether a unit is left.
    private static func units(_ counted: Counted, _ call: Call) -> Int {
        counted.limit.isSlots || counted.limit.countsCalls ? 1 : max(1, call.cost)
    }

    private func fits(_ counted: Counted, _ call: Call) -> Bool { left(counted) >= Self.units(counted, call) }

    func admits(_ limits: [Counted], _ call: Call) -> Bool {
        limits.allSatisfy { $0.isShadow || fits($0, call) }
    }

    /// Whether a check must say `RESERVE`.
    func mustReserve(_ call: Call) -> Bool {
        guard case .counted(_, let limits) = reference.ruling(call) else { return false }
        return limits.contains { $0.limit.isSlots && !$0.isShadow }
    }

    /// Whether a reservation that is not settled has charged some of these.
    func hasReservations(_ limits: [Counted]) -> Bool {
        let counters = Set(limits.map(\.counter))
        return reservations.values.contains { record in
            !record.isCostSettled && record.charged.contains { counters.contains($0.counter) }
        }
    }

    /// The limits that a charge or refund counts.
    static func accounted(_ limits: [Counted]) -> [Counted] {
        limits.filter { !$0.limit.countsCalls && !$0.limit.isSlots }
    }

    // MARK: - What an answer must be

    enum Expected {
        case decision
        /// As it was answered before, under the id.
        case replay(CheckReply)
        case badArgument
    }

    func expected(_ call: Call) -> Expected {
        // What no limit counts is decided first.
        guard case .counted(_, let limits) = reference.ruling(call), !limits.isEmpty,
            call.operation == .check || !Self.accounted(limits).isEmpty,
            let id = call.id, let before = answered["\(call.grant) \(call.tool) \(id)"]
        else { return .decision }
        return before.call == call ? .replay(before.reply) : .badArgument
    }

    /// What is wrong with an answer to a call that was not asked before; nil if nothing is. Called before `charge`.
    func fault(in reply: CheckReply, to call: Call, isPeek: Bool = false, nowMs: Int) -> String? {
        guard reply.message.isEmpty == reply.allowed else { return "message \(reply.message)" }
        switch reference.ruling(call) {
        case .denied(let verdict, let rule, let opensMs):
            guard !reply.allowed, reply.verdict == verdict, reply.rule == rule else {
                return "not \(verdict) by \(rule)"
            }
            guard reply.source == "policy", reply.limit == -1, reply.remaining == -1 else {
                return "figures of a denial"
            }
            guard let opensMs else { return reply.retryAfterMs == -1 ? nil : "a time to wait" }
            return abs(opensMs - nowMs - reply.retryAfterMs) < 10_000 ? nil : "opens in \(opensMs - nowMs)"
        case .counted(let rule, let limits):
            let limits = call.operation == .check || call.cost == 0 ? limits : Self.accounted(limits)
            let enforced = limits.filter { !$0.isShadow }
            let passes = call.operation == .refund || admits(limits, call)
            guard reply.allowed == passes else { return "allowed \(reply.allowed)" }
            guard reply.verdict == (passes ? "allow" : "limit") else { return "verdict \(reply.verdict)" }
            if enforced.isEmpty {
                return reply.rule == rule && reply.limit == -1 && reply.remaining == -1 ? nil : "rule \(reply.rule)"
            }
            guard let binding = enforced.first(where: { $0.rule == reply.rule }) else { return "rule \(reply.rule)" }
            guard reply.limit == binding.limit.max else { return "limit \(reply.limit)" }
            return faultOfFigures(reply, call, binding, enforced, passes: passes, isPeek: isPeek || call.cost == 0)
        }
    }

    private func faultOfFigures(
        _ reply: CheckReply, _ call: Call, _ binding: Counted, _ enforced: [Counted], passes: Bool, isPeek: Bool
    ) -> String? {
        func after(_ counted: Counted) -> Int {
            let taken: Int =
                switch call.operation {
                case .check: passes && !isPeek ? Self.units(counted, call) : 0
                case .charge: call.cost
                case .refund: -min(call.cost, use(counted))
                }
            return min(counted.limit.max, max(0, left(counted) - taken))
        }
        // What was denied from memory may have been taken by others since, for a second.
        guard reply.remaining == after(binding) || (reply.source == "cache" && reply.remaining > after(binding)) else {
            return "remaining \(reply.remaining) for \(after(binding))"
        }
        guard !passes else {
            let isLeast = enforced.allSatisfy {
                after(binding) * $0.limit.max <= after($0) * binding.limit.max
            }
            return !isLeast ? "another limit has less left" : reply.retryAfterMs == 0 ? nil : "a time to wait"
        }
        guard !fits(binding, call) else { return "a limit that has room denies" }
        // Of a charge it is the time until a check of 1 could pass.
        func neverFits(_ counted: Counted) -> Bool {
            let units = call.operation == .check ? Self.units(counted, call) : 1
            return !counted.limit.isSlots && units > counted.limit.max
        }
        let isNever = enforced.contains { !fits($0, call) && neverFits($0) }
        if isNever {
            guard neverFits(binding) else { return "another limit never has room" }
            return reply.retryAfterMs == -1 ? nil : "retry \(reply.retryAfterMs) for never"
        }
        // A slot may be free at any moment, all else lasts for much longer here.
        let isSlot = enforced.allSatisfy { $0.limit.isSlots || fits($0, call) }
        return (1...1_000).contains(reply.retryAfterMs) == isSlot && reply.retryAfterMs > 0
            ? nil : "retry \(reply.retryAfterMs)"
    }

    // MARK: - What happens

    /// An admitted check, a charge or a refund.
    /// - Parameter isAway: during an outage, in which what shadow rules would deny is in each sidecar's own figures alone.
    mutating func count(_ call: Call, _ reply: CheckReply, isAway: Bool) {
        guard case .counted(_, let limits) = reference.ruling(call), call.cost > 0 else { return }
        var kept = Reservation(call: call, charged: [], slots: [])
        for counted in call.operation == .check ? limits : Self.accounted(limits) {
            switch call.operation {
            case .refund: used[counted.counter] = max(0, use(counted) - call.cost)
            case .charge: used[counted.counter, default: 0] += call.cost
            case .check where counted.isShadow && !fits(counted, call):
                if !isAway { wouldDeny[counted.counter, default: 0] += 1 }
            case .check where counted.limit.isSlots:
                slots[counted.counter, default: []].insert(reply.reservation ?? "")
                kept.slots.append(counted.counter)
            case .check:
                used[counted.counter, default: 0] += Self.units(counted, call)
                kept.charged.append(counted)
            }
        }
        // A call that no limit counts has nothing to settle.
        if let reservation = reply.reservation, !reservation.isEmpty, !limits.isEmpty {
            reservations[reservation] = kept
        }
        let isCounted = !(call.operation == .check ? limits : Self.accounted(limits)).isEmpty
        if let id = call.id, isCounted { answered["\(call.grant) \(call.tool) \(id)"] = (call, reply) }
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
            for counted in record.charged {
                let change: Int
                switch settlement {
                case .commit(let cost): change = counted.limit.countsCalls ? 0 : cost - record.call.cost
                case .cancel, .release: change = counted.limit.countsCalls ? -1 : -record.call.cost
                }
                used[counted.counter] = max(0, use(counted) + change)
            }
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
