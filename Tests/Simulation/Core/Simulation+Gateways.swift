import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Gateways that use every kind of limit: they reserve, settle, repeat under an id, or die before they release.
extension Simulation {
    /// A settlement that a gateway intends to send.
    struct Settling {
        var grant: String
        var reservation: String
        var settlement: Batch.Settlement
        /// No other gateway has the reservation, which with an id is possible.
        var isOwn: Bool
        var tries = 3
    }

    struct OpenSettling {
        var settling: Settling
        var replica: Int
        var askedNs: Int64
    }

    mutating func askMixed(_ replica: Int) throws {
        var question = CheckQuestion(
            tool: random.one(of: scenario.tools), grant: random.one(of: ["g", "h"]),
            session: random.one(of: [nil, "a", "b"]), cost: random.one(of: scenario.costs), wantsTrace: true)
        if random.once(in: 2) { question.attributes["team"] = random.one(of: ["x", "y"]) }
        question.isPeek = Int64(random.next() % 100) < scenario.peekPercent
        let limits = limits(of: question.tool)
        question.reserves = !question.isPeek && (limits.contains { $0.isSlots } || random.once(in: 3))
        if !question.isPeek, random.once(in: 8) {
            let id = "\(random.next() % 20)"
            question.id = id
            question = asked[id] ?? question
            asked[id] = question
        }
        let identity = question.identity(replicas[replica].limiter.counted)
        let baseKeys = self.limits(of: question.tool).map {
            CounterKey.baseKey(in: "sluice", limit: $0, identity: identity.parts)
        }
        let reservation = question.reserves ? ReservationID(using: &random) : nil
        var extras: CheckOptions?
        if question.reserves || question.id != nil {
            extras = CheckOptions(
                reservation: reservation,
                id: question.id.map { Array($0.utf8) }, argumentsHash: question.id == nil ? 0 : question.argumentsHash)
        }
        lastTicket += 1
        checks += 1
        oracle.asks(
            lastTicket,
            SimulationOracle.Question(
                replica: replica, askedNs: nowNs, cost: question.cost, isPeek: question.isPeek, grant: question.grant,
                session: question.session, limits: self.limits(of: question.tool), heldNs: heldNs(replica),
                mixed: SimulationOracle.Mixed(
                    tool: question.tool, reserves: question.reserves, id: question.id,
                    reservation: reservation?.description,
                    group: SimulationLedger.Group(baseKeys: baseKeys, cost: question.cost))))
        if scenario.isLeased && !question.isPeek {
            askBlocks(replica, identity, self.limits(of: question.tool), cost: question.cost)
        }
        let evicted = replicas[replica].limiter.evictedCount
        let outcome = replicas[replica].limiter.check(
            identity, cost: question.cost, isPeek: question.isPeek, wantsTrace: true, extras: extras,
            ticket: Ticket(rawValue: lastTicket), now: moment(replica))
        switch outcome {
        case .answered(let decision): try answered(lastTicket, decision)
        case .waiting: oracle.waits(lastTicket)
        case .overloaded(let cause): try busy(lastTicket, cause, replica)
        case .mustReserve, .otherArguments: throw SimulationFailure(description: "\(outcome)")
        }
        noteEvictions(by: replica, since: evicted)
    }

    /// A gateway with a reservation: it mostly settles it, sometimes twice, and sometimes it dies.
    mutating func plan(_ decision: Decision, of question: SimulationOracle.Question) {
        guard let reservation = decision.reservation, !reservation.isEmpty, !random.once(in: 6) else { return }
        var settlements: [Batch.Settlement] = []
        switch random.next() % 5 {
        case 0: settlements = [.cancel]
        case 1: settlements = [.release, .commit(cost: question.cost)]
        case 2: settlements = [.commit(cost: question.cost - 1), .release]
        case 3: settlements = [.commit(cost: question.cost / 2), .cancel]
        default: settlements = [.release, .cancel]
        }
        if random.once(in: 3) { settlements += settlements }
        var atNs = nowNs
        // Any replica can settle what was counted in the store.
        let anywhere = decision.source == .shared && random.once(in: 2)
        let replica = anywhere ? Int(random.next() % UInt64(scenario.replicas)) : question.replica
        for settlement in settlements {
            atNs += Int64(random.next() % UInt64(random.one(of: [1_000_000, 100_000_000, 2_000_000_000])))
            let settling = Settling(
                grant: question.grant, reservation: reservation, settlement: settlement,
                isOwn: question.mixed?.id == nil)
            events.push(.settle(replica: replica, settling), atNs: atNs)
        }
    }

    mutating func settle(_ replica: Int, _ settling: Settling) throws {
        switch settling.settlement {
        case .cancel: oracle.cancels(settling.reservation)
        case .commit: oracle.committed.insert(settling.reservation)
        case .release: break
        }
        lastTicket += 1
        openSettlings[lastTicket] = OpenSettling(settling: settling, replica: replica, askedNs: nowNs)
        let outcome = replicas[replica].limiter.settle(
            grant: Array(settling.grant.utf8), reservation: settling.reservation.utf8, settling.settlement,
            ticket: Ticket(rawValue: lastTicket), now: moment(replica))
        switch outcome {
        case .answered(let done): try settled(lastTicket, done)
        case .waiting: break
        case .storeUnavailable: try settled(lastTicket, nil)
        case .overloaded, .notSettled: throw SimulationFailure(description: "\(outcome)")
        }
    }

    /// - Parameter done: nil if the store became unavailable, and the outcome is unknown.
    mutating func settled(_ ticket: UInt64, _ done: Bool?) throws {
        if accounts?.settling[ticket] != nil { return try committed(ticket, done) }
        guard let open = openSettlings.removeValue(forKey: ticket) else {
            throw SimulationFailure(description: "settling \(ticket) is answered without being open")
        }
        guard nowNs - open.askedNs <= SimulationScenario.storeWaitNs else {
            throw SimulationFailure(description: "too late: \(open)")
        }
        if done == true && open.settling.isOwn {
            let name = "\(open.settling.reservation) \(open.settling.settlement)"
            guard settledForGood.insert(name).inserted else {
                throw SimulationFailure(description: "settled twice: \(name)")
            }
        }
        // A cancel after a commit only frees slots.
        if done == true, open.settling.settlement == .cancel, !oracle.committed.contains(open.settling.reservation) {
            oracle.cancelledNs[open.replica][open.settling.reservation] = nowNs
        }
        guard done == nil, open.settling.tries > 0 else { return }
        var again = open.settling
        again.tries -= 1
        events.push(.settle(replica: open.replica, again), atNs: nowNs + 200_000_000)
    }

    /// Nothing is kept of expired reservations.
    func judgeMemory() throws {
        for (index, replica) in replicas.enumerated() {
            var limiter = replica.limiter
            var now = moment(index)
            // Longer than the longest window, what a settlement may be late, and what the fullest bucket takes to leak.
            for _ in 0..<5 {
                now.monotonicNs += 10_000_000_000_000
                now.wallMs += 10_000_000
                limiter.tick(now: now)
                var records: [StateRecord] = []
                while limiter.hasChanges { limiter.takeRecords(into: &records, now: now) }
            }
            guard limiter.reservations.local.count == 0, limiter.reservations.answers.count == 0,
                scenario.course == .ending || !limiter.reservations.answers.hasUnsent,
                limiter.reservations.unsentSettlements.count <= lastTicket,
                !limiter.ledger.unconfirmed.isEmpty || !limiter.ledger.inFlight.isEmpty || limiter.counterCount == 0
            else {
                throw SimulationFailure(
                    description: "replica \(index) keeps \(limiter.reservations.local.count) reservations, "
                        + "\(limiter.reservations.answers.count) idempotency, \(limiter.counterCount) counters")
            }
            guard scenario.course == .ending || limiter.reservations.unsentSettlements.isEmpty else {
                throw SimulationFailure(
                    description: "replica \(index) still has unsent \(limiter.reservations.unsentSettlements)")
            }
        }
    }
}

extension Policy {
    func limits(of tool: String) -> [Limit] { (tools[tool]?.limits ?? []) + allToolsLimits }
}

extension SimulationScenario {
    func limits(of tool: String) -> [Limit] { policy.limits(of: tool) }

    /// Limits of every kind, with windows short enough for many of them to pass in one run.
    static func mixedPolicy(_ tools: [String], _ random: inout SeededRandom) -> Policy {
        func one(_ counter: String, _ tool: String?) -> Limit {
            var max: Int64 = random.one(of: [0, 1, 2, 3, 5, 10, 40])
            var seconds: Int64 = random.one(of: [1, 2, 4])
            let algorithms: [Algorithm] = [.fixedWindow, .slidingWindow, .slidingLog, .tokenBucket, .concurrency]
            let algorithm = algorithms[Int(random.next() % 5)]
            var (burst, holdMs): (Int64?, Int64?)
            if algorithm == .tokenBucket { burst = max == 0 ? 0 : random.one(of: [1, max, 2 * max]) }
            if algorithm == .concurrency { holdMs = random.one(of: [1_000, 2_000, 60_000]) }
            // Some windows are still open at the end, so that their usage can be judged.
            if algorithm == .fixedWindow && random.once(in: 2) {
                max = random.one(of: [200, 100_000])
                seconds = SimulationOracle.longWindowMs / 1_000
            }
            let scope: Limit.Scope = random.one(of: [.grant, .grant, .session, .global, .attribute("team")])
            return limit(
                counter, max: max, per: seconds, of: tool, scope: scope, algorithm: algorithm, burst: burst,
                holdMs: holdMs, acrossGrants: ![.grant, .global].contains(scope) && random.once(in: 2),
                onOutage: random.one(of: [.local, .local, .allow, .deny]),
                mode: random.once(in: 4) ? .shadow : .enforce)
        }
        let all = random.once(in: 3) ? [one("all", nil)] : []
        return StoreModel.policy(
            tools.flatMap { tool in (1...random.one(of: [1, 2, 3])).map { one("c\($0)", tool) } }, allTools: all)
    }
}
