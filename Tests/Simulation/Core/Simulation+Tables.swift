@testable import SluiceEngine

/// Tables with so few rows that some are evicted all the time.
extension Simulation {
    /// Whether some replica evicted what the store knew.
    var hasEvicted: Bool { coverage.counts[.evicted] != nil }

    /// A check was not decided. While the store counts, and nothing is in flight or to be written back, there always
    /// is a row that may be evicted.
    mutating func busy(_ ticket: UInt64, _ cause: Busy, _ replica: Int) throws {
        let limiter = replicas[replica].limiter
        let isCalm =
            limiter.isShared && limiter.reconciler.recovery == nil && limiter.waitingCount == 0
            && limiter.ledger.inFlight.isEmpty
            && limiter.ledger.queue.isEmpty && limiter.ledger.unconfirmed.isEmpty && limiter.journalCount == 0
            && !limiter.reconciler.hasRestores
            && limiter.unrecordedCount == 0 && limiter.reservations.local.count == 0
        guard scenario.table != nil, !isCalm, [.grant, .table].contains(cause) else {
            throw SimulationFailure(description: "ticket \(ticket) is answered BUSY: \(cause)")
        }
        coverage.add(.busy)
        oracle.drops(ticket)
    }

    /// What a replica evicted while the store counted is treated as never reported to it. In an outage it evicts
    /// nothing that counts: that is not noted here, so an admission beyond its share is found.
    mutating func noteEvictions(by replica: Int, since before: Int64) {
        let limiter = replicas[replica].limiter
        guard limiter.evictedCount > before else { return }
        coverage.add(.evicted, limiter.evictedCount - before)
        guard limiter.link.breaker.isClosed, limiter.reconciler.recovery == nil, !scenario.isMixed else { return }
        let table = limiter.table
        // A lease keeps its counter for a while, which no plan refers to.
        let used = Set(
            scenario.isLeased
                ? table.plans.filter { !$0.isFree && !$0.isReplaced }.flatMap { plan in
                    (0..<plan.counters.count).map { plan.counters[$0] }
                } : [])
        oracle.evicts(replica, nowMs: limiter.clock.nowMs(moment(replica))) {
            guard let counter = table.counter(named: ByteString(bytes: $0)) else { return false }
            return !scenario.isLeased || used.contains(counter)
        }
    }
}
