import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What must be so of every answer, whatever the limits are.
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
            try demand(look.rule == limit.rule && look.max == Terms(limit).capacity, "a trace of other limits")
        }
        if !decision.allowed {
            let binding = found.first { $0.0.rule == decision.rule }
            try demand(binding.map { $0.0.mode == .enforce && !$0.1.fits } ?? false, "refused without need")
        }
        if decision.allowed { noteAdmitted(question, mixed, decision) }
        switch decision.source {
        case .policy:
            let most = question.limits.filter { $0.mode == .enforce && (!$0.isSlots || $0.max == 0) }
                .map { Terms($0).capacity }.min()
            try demand(!decision.allowed && question.cost > most ?? .max, "a refusal for ever")
        case .local: break
        case .shared:
            guard decision.allowed, !question.isPeek else { return }
            for (limit, look) in found where limit.mode == .enforce {
                let unit = limit.isSlots ? 1 : question.cost
                try demand(look.used >= unit && look.used <= look.max, "more than fits")
            }
            if promises, let reservation = decision.reservation { promised.insert(reservation) }
            if let id = mixed.id {
                // Asked again it is the same call; after a cancel it is another, with a reservation of its own.
                let call = Call(
                    group: mixed.group, grant: question.grant, id: id, reservation: decision.reservation ?? "")
                guard admittedIDs.insert(call).inserted else { return }
            }
            admitted[mixed.group, default: 0] += 1
        case .cache: try demand(!decision.allowed && mixed.id == nil, "admitted from memory")
        case .lease:
            try demand(false, "an unknown source")
        }
    }

    /// As long as the windows that are open from the first to the last moment.
    static let longWindowMs: Int64 = 3_600_000

    /// What counts for certain, however it ends: no reservation, and not asked twice. Where time ran out, the store may have
    /// refused for want of room what was admitted here.
    private mutating func noteAdmitted(_ question: Question, _ mixed: Mixed, _ decision: Decision) {
        guard !question.isPeek, !mixed.reserves, mixed.id == nil, decision.source == .shared || !question.waits else {
            return
        }
        for (limit, stem) in zip(question.limits, mixed.group.stems)
        where limit.algorithm == .fixedWindow && limit.window.lengthMs == Self.longWindowMs && limit.mode == .enforce {
            atLeast[stem, default: 0] += question.cost
        }
    }

    /// - Returns: how many sums were compared.
    func judgeMixedSums(_ store: ModelStore) throws -> Int {
        let startMs = store.clockMs - store.clockMs % Self.longWindowMs
        var judged = 0
        for stem in atLeast.keys {
            let least = atLeast[stem] ?? 0
            judged += 1
            let stored = store.tally(of: stem + Array("\(startMs)".utf8))
            guard stored >= least else {
                let name = String(decoding: stem, as: UTF8.self)
                throw SimulationFailure(description: "\(least) admitted, \(stored) stored: \(name)")
            }
        }
        return judged
    }

    /// No more was told to be admitted than the store did admit, which the ledger holds to the limits; where nothing
    /// went wrong, as much. Where all is well again nothing is charged that was refused.
    func judgeMixed(_ ledger: SimulationLedger, nowMs: Int64, isGentle: Bool, isHealed: Bool) throws {
        for (group, count) in admitted {
            let stored = ledger.admitted[group] ?? 0
            if count > stored || (isGentle && count != stored) {
                let stems = group.stems.map { String(decoding: $0, as: UTF8.self) }
                throw SimulationFailure(description: "\(count) admitted, \(stored) stored: \(stems) \(group.cost)")
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
