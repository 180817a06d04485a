import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What must hold for every answer, whatever the limits are.
extension SimulationOracle {
    mutating func judge(
        _ question: Question, _ mixed: Mixed, _ decision: Decision, _ demand: (Bool, String) throws -> Void
    ) throws {
        try demand((decision.retryAfterMs == 0) == decision.allowed, "a time to wait")
        try demand(decision.message.isEmpty == decision.allowed, "a message")
        let promises = decision.reservation.map { !$0.isEmpty } ?? false
        try demand((decision.reservation != nil) == mixed.reserves, "a reservation")
        try demand(promises == (mixed.reserves && decision.allowed), "a promise")
        if !decision.allowed, mixed.id == nil, let reservation = mixed.reservation { refused.insert(reservation) }
        let looks = decision.trace ?? []
        let found = zip(question.limits, looks)
        if decision.verdict == .unavailable {
            try demand(decision.source == .local && looks.isEmpty, "unavailable")
            return try demand(question.limits.contains { $0.onOutage == .deny && $0.mode == .enforce }, "unavailable")
        }
        try demand(looks.count == question.limits.count, "not all limits in the trace")
        for (limit, look) in found {
            try demand(look.rule == limit.rule && look.max == Quota(limit).capacity, "a trace of other limits")
        }
        if !decision.allowed {
            let binding = found.first { $0.0.rule == decision.rule }
            try demand(binding.map { $0.0.mode == .enforce && !$0.1.fits } ?? false, "refused without need")
        }
        if decision.allowed { noteAdmitted(question, mixed, decision) }
        if let id = mixed.id { try judgeID(question, id, decision, demand) }
        switch decision.source {
        case .policy:
            let isTooMuch = question.limits.contains {
                $0.mode == .enforce && question.units($0) > Quota($0).capacity
            }
            try demand(!decision.allowed && isTooMuch, "a rejection for ever")
        case .local: break
        case .shared:
            guard decision.allowed, !question.isPeek else { return }
            for (limit, look) in found where limit.mode == .enforce {
                try demand(look.used >= question.units(limit) && look.used <= look.max, "more than fits")
            }
            if promises, let reservation = decision.reservation { promised.insert(reservation) }
            if let id = mixed.id {
                // A repeat is the same call; after a cancel it is another, with a reservation of its own.
                let call = Call(
                    group: mixed.group, grant: question.grant, id: id, reservation: decision.reservation ?? "")
                guard admittedIDs.insert(call).inserted else { return }
            }
            admitted[mixed.group, default: 0] += 1
        case .cache: try demand(!decision.allowed && mixed.id == nil, "admitted from memory")
        case .lease:
            let isLeased = question.limits.allSatisfy { $0.precision == .leased }
            try demand(decision.allowed && isLeased && mixed.id == nil && !mixed.reserves, "no block")
        }
    }

    /// A replica repeats what it admitted under an id; or what another one did, once others have written theirs.
    private mutating func judgeID(
        _ question: Question, _ id: String, _ decision: Decision, _ demand: (Bool, String) throws -> Void
    ) throws {
        let reservation = decision.reservation ?? ""
        // A client that cancelled it here asks for another call; after a data loss other replicas may send it to the
        // store.
        try demand(
            cancelledNs[question.replica][reservation].map { question.askedNs <= $0 || storeForgets } ?? true,
            "call \"\(reservation)\" was cancelled")
        // If several replicas admitted it separately, the store took one of them, and with that one's cancel dropped
        // the id.
        if let before = known[question.replica][id], !cancelledIDs.contains(id) {
            // A slot of a shadow limit is reserved without a request: then the answer does not show which call is
            // meant.
            let isTheSame =
                reservation.isEmpty
                ? decision == before || question.limits.contains(where: \.isSlots)
                : reservation != question.mixed?.reservation
                    && askedReservations[id]?.contains(reservation) ?? false
            try demand(decision.allowed && isTheSame, "another answer to a check with an id than \(before)")
        }
        guard decision.allowed, !cancelled.contains(reservation) else { return }
        known[question.replica][id] = decision
        answeredIDs[id, default: (question, [])].reservations.insert(reservation)
    }

    /// The call of a reservation may have been cancelled: its id is free again.
    mutating func cancels(_ reservation: String) {
        cancelled.insert(reservation)
        guard let id = askedReservations.first(where: { $0.value.contains(reservation) })?.key else { return }
        // If several replicas admitted it separately, the store knew only one of them.
        cancelledIDs.insert(id)
        answeredIDs[id] = nil
        for replica in known.indices { known[replica][id] = nil }
    }

    /// What any replica admitted under an id is in the store in the end.
    func judgeIDs(_ store: ModelStore) throws -> Int {
        for (id, answered) in answeredIDs where !cancelledIDs.contains(id) {
            let question = answered.question
            let key = KeySpace("sluice").idempotency(
                Array(id.utf8), grant: Array(question.grant.utf8),
                tool: Array((question.mixed?.tool ?? "").utf8))
            guard let idempotency = store.idempotency(of: key) else {
                throw SimulationFailure(description: "the store does not know of id \(id): \(answered)")
            }
            let isPromised = askedReservations[id]?.contains(idempotency.reservation) ?? false
            guard isPromised || answered.reservations.contains("") else {
                throw SimulationFailure(description: "the store knows id \(id) as \(idempotency), not as \(answered)")
            }
        }
        return answeredIDs.keys.count { !cancelledIDs.contains($0) }
    }

    /// The length of windows that are open during the whole run.
    static let longWindowMs: Int64 = 3_600_000

    /// What counts for certain, whatever happens: no reservation, and not asked twice. If time ran out, the store may
    /// have denied, for lack of room, what was admitted here.
    private mutating func noteAdmitted(_ question: Question, _ mixed: Mixed, _ decision: Decision) {
        guard !question.isPeek, !mixed.reserves, mixed.id == nil, decision.source == .shared || !question.waits
        else {
            return
        }
        for (limit, baseKey) in zip(question.limits, mixed.group.baseKeys)
        where limit.algorithm == .fixedWindow && limit.window.lengthMs == Self.longWindowMs && limit.mode == .enforce {
            atLeast[baseKey, default: 0] += question.units(limit)
        }
    }

    /// - Returns: how many sums were compared.
    func judgeMixedSums(_ store: ModelStore) throws -> Int {
        let startMs = store.clockMs - store.clockMs % Self.longWindowMs
        var judged = 0
        for baseKey in atLeast.keys {
            let least = atLeast[baseKey] ?? 0
            judged += 1
            let stored = store.usage(
                of: CounterKey.key(baseKey, window: .seconds(Self.longWindowMs / 1000), startMs: startMs))
            guard stored >= least else {
                let name = String(decoding: baseKey, as: UTF8.self)
                throw SimulationFailure(description: "\(least) admitted, \(stored) stored: \(name)")
            }
        }
        return judged
    }

    /// No more was reported as admitted than the store admitted, which the ledger compares with the limits; without
    /// faults, exactly as much. After all faults are over, nothing is charged that was denied.
    func judgeMixed(_ ledger: SimulationLedger, nowMs: Int64, isGentle: Bool, isHealed: Bool) throws {
        for (group, count) in admitted {
            let stored = ledger.admitted[group] ?? 0
            if count > stored || (isGentle && count != stored) {
                let baseKeys = group.baseKeys.map { String(decoding: $0, as: UTF8.self) }
                throw SimulationFailure(description: "\(count) admitted, \(stored) stored: \(baseKeys) \(group.cost)")
            }
        }
        if isHealed, let kept = refused.first(where: { !ledger.isGivenBack($0, nowMs: nowMs) }) {
            throw SimulationFailure(description: "reservation \(kept) was refused and is charged")
        }
        if let nobodys = promised.subtracting(ledger.reservations).first {
            throw SimulationFailure(description: "the store never admitted reservation \(nobodys)")
        }
    }
}
