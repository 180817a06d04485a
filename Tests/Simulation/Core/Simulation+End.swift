import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What must hold in the end.
extension Simulation {
    mutating func judge() throws {
        if let lost = openSettlings.first { throw SimulationFailure(description: "never answered: \(lost)") }
        if let lost = oracle.open.first { throw SimulationFailure(description: "never answered: \(lost)") }
        for (index, replica) in replicas.enumerated() {
            let statistics = replica.limiter.statistics
            guard replica.limiter.waitingCount == 0, statistics.total == oracle.answered[index], statistics.late == 0
            else {
                throw SimulationFailure(
                    description:
                        "\(replica.limiter.waitingCount) wait, \(oracle.answered[index]) answered: \(statistics)")
            }
            try judgePins(replica.limiter)
            coverage.note(statistics)
        }
        guard isReduced || checks >= 500 && scenario.episodes.count >= 2 else {
            throw SimulationFailure(description: "\(checks) checks and \(scenario.episodes.count) faults are no run")
        }
        try oracle.judgeShared()
        try judgeAccounts()
        try judgeDrops()
        if scenario.isMixed {
            try oracle.judgeMixed(
                ledger, nowMs: store.clockMs, isGentle: scenario.course == .gentle && !scenario.isLeased,
                isHealed: scenario.course != .ending && !scenario.restarts)
            try judgeMemory()
            // Unsent settlements are lost with a process.
            if scenario.course == .healing && !scenario.restarts {
                coverage.add(.judgedIDs, Int64(try oracle.judgeIDs(store)))
            }
        }
        if !scenario.stepsClock { try oracle.judgeLocal() }
        if !scenario.stepsClock && !scenario.isMixed {
            try oracle.judgeBounds(
                &bounds, replicas: Int64(scenario.replicas), hadStrangers: scenario.crashes && !scenario.keepsState,
                restored: scenario.onlyFlushes && !scenario.restarts && !isUnnoticed && drops == nil
                    && coverage.counts[.recoveryTimedOut] == nil)
        }
        // What a dead replica had admitted is unknown, and which of two processes came back.
        if !scenario.stepsClock && !scenario.isMixed && !scenario.restarts && !hadRestarts {
            try oracle.judgeReturns(&bounds)
        }
        switch scenario.course {
        case .gentle:
            try oracle.judgeGentle(
                store, isPlain: scenario.isPlain && overrides == nil, hasDrops: drops != nil,
                isLeased: scenario.isLeased)
            try judgeJournals()
            try judgeSums()
        case .healing:
            try judgeJournals()
            try judgeSums()
        case .ending:
            guard !scenario.stepsClock else { return }
            try oracle.judgeOutage(after: Self.startMs + SimulationScenario.calmNs / 1_000_000 + 500)
        }
    }

    /// The counters that a replica has to write back now: what is reserved may yet be given back.
    func unwritten(_ replica: Int) -> Set<[UInt8]> {
        let limiter = replicas[replica].limiter
        let nowMs = limiter.clock.nowMs(moment(replica))
        return Set(
            limiter.table.counters.lazy
                .filter { counter in
                    var counter = counter
                    return counter.references > 0
                        && !counter.writeBacks(nowMs: nowMs, epoch: limiter.reconciler.storeEpoch).isEmpty
                }
                .map(\.baseKey))
    }

    /// Whether everything was written back, and its outcome is known.
    private func judgeJournals() throws {
        // With a clock that stepped, it is unknown which windows are over.
        guard !scenario.stepsClock else { return }
        for (index, replica) in replicas.enumerated() {
            // Reservations may have ended just now: their rest waits for the next heartbeat.
            let before = scenario.course == .healing ? unwrittenAtEnd?[index] ?? [] : []
            let left = scenario.isMixed ? unwritten(index).intersection(before) : unwritten(index)
            let count = scenario.isMixed ? 0 : replica.limiter.journalCount
            let unknown = replica.limiter.ledger.unconfirmed.map(\.sequence)
            guard left.isEmpty, count == 0, unknown.isEmpty else {
                throw SimulationFailure(
                    description: "replica \(index) still has to settle \(count), and does not know what became of "
                        + "\(unknown): \(left.map { String(decoding: $0, as: UTF8.self) })")
            }
        }
    }

    /// Whether the store has, in windows that are still open, exactly what was admitted.
    private mutating func judgeSums() throws {
        // With a clock that stepped, it is unknown which window it was.
        guard !scenario.stepsClock else { return }
        // A restart may lose usage that was only seen, which then cannot be restored after a data loss. Replicas that
        // the others did not wait for had their restores lost in what was added since.
        let mayLack =
            (scenario.restarts && scenario.forgets) || isUnnoticed
            || coverage.counts[.recoveryTimedOut] != nil
        if scenario.isMixed {
            // If replicas died, their last admissions are unknown here; what was evicted is not restored.
            if !mayLack && !scenario.crashes && !(hasEvicted && scenario.forgets) {
                coverage.add(.summedMixed, Int64(try oracle.judgeMixedSums(store)))
            }
            return
        }
        let judged = try oracle.judgeSums(
            store, mayLack: mayLack, hasDrops: drops != nil, mayExceed: scenario.forgets,
            ranUnanswered: coverage.counts[.turnedOutToHaveRun] != nil || coverage.counts[.outOfOrder] != nil,
            stranded: stranded)
        coverage.add(.summed, Int64(judged))
    }

    /// Every pin belongs to an entry of some batch.
    private func judgePins(_ limiter: Limiter) throws {
        var pins: [PlanID: Int32] = [:]
        for batch in limiter.ledger.queue + limiter.ledger.inFlight + limiter.ledger.unconfirmed {
            for entry in batch.entries where entry.hasPlan { pins[entry.plan, default: 0] += 1 }
        }
        for (index, plan) in limiter.table.plans.enumerated() where plan.pins != pins[PlanID(index)] ?? 0 {
            throw SimulationFailure(
                description: "plan \(index) has \(plan.pins) pins instead of \(pins[PlanID(index)] ?? 0)")
        }
    }
}
