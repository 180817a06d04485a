package import SluicePolicy

/// Checks and settlements in several partitions.
extension PartitionedLimiter {
    /// Why policies cannot be counted in several partitions; nil if they can.
    package static func fault(of policies: PolicySet) -> String? {
        let most = policies.policies.map(CheckRoutes.subjectCount).max() ?? 0
        guard most > ReservationID.maxPartitions else { return nil }
        return "a policy has limits across grants in \(most) scopes, and in a Redis Cluster at most "
            + "\(ReservationID.maxPartitions) are possible (global, session, server and each attribute are one)"
    }

    // MARK: - Checks

    /// Looks up the homes of checks that arrived together, and their plans there.
    mutating func findRouted(_ run: inout IdentityBatch, now: ClockReading) {
        run.findHomes(map)
        for index in 0..<run.count { inPlace(run.home(index)) { run.findCandidate(index, in: $0.table) } }
        for index in 0..<run.count {
            inPlace(run.home(index)) { run.findPlan(index, in: &$0.table, nowMs: $0.clock.nowMs(now)) }
        }
    }

    /// Decides a check of a run, which `findRouted` has just looked up.
    mutating func checkRouted(
        _ run: borrowing IdentityBatch, _ index: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool,
        extras: CheckOptions?, ticket: Ticket, now: ClockReading
    ) -> Limiter.CheckOutcome {
        guard extras == nil, !routes.mayCross else {
            return checkRouted(
                run[index], cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        return change(run.home(index)) {
            $0.check(
                run, index, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: nil, ticket: ticket, now: now)
        }
    }

    mutating func checkRouted(
        _ identity: borrowing Identity, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?,
        ticket: Ticket, now: ClockReading
    ) -> Limiter.CheckOutcome {
        let home = map.partition(of: identity)
        if routes.mayCross,
            let route = routes.find(identity, home: home, nowMs: self[home].clock.nowMs(now))
        {
            return checkAcross(
                copy identity, route, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras,
                ticket: ticket,
                now: now)
        }
        var options = extras
        options?.reservation = extras?.reservation?.naming([home])
        return change(home) {
            $0.check(
                identity, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: options, ticket: ticket, now: now)
        }
    }

    private mutating func checkAcross(
        _ identity: Identity, _ route: CheckRoute, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?,
        ticket: Ticket, now: ClockReading
    ) -> Limiter.CheckOutcome {
        if route.mustReserve, !isPeek, extras?.reservation == nil { return .mustReserve }
        guard !crossChecks.isFull, route.others.count <= ReservationID.maxPartitions else {
            correction.count(Busy.waiting)
            return .overloaded(.waiting)
        }
        var options = extras
        if !isPeek {
            options = options ?? CheckOptions(reservation: nil, id: nil, argumentsHash: 0)
            options?.reservation = (extras?.reservation ?? ReservationID(using: &random)).naming(route.others)
        }
        let row = crossChecks.insert(
            CrossPartitionCheck(
                ticket: ticket, identity: identity, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace,
                options: options, wantsReservation: extras?.reservation != nil, route: route,
                askedNs: now.monotonicNs - now.waitedNs))
        switch advance(row, now: now) {
        case nil: return .waiting
        case .decision(let decision): return .answered(decision)
        case .busy(let cause): return .overloaded(cause)
        case .otherArguments: return .otherArguments
        }
    }

    /// Takes the next step of a check: asks the partitions that it needs next.
    /// - Returns: its answer; nil if it waits for one of a partition.
    private mutating func advance(_ row: Int, now: ClockReading) -> CrossPartitionCheck.Answer? {
        while true {
            switch crossChecks[row].next() {
            case .wait: return nil
            case .ask(let partition, let part, let isPeek, let isHome):
                ask(partition, row, part: part, isPeek: isPeek, isHome: isHome, now: now)
            case .finish(let answer, let settlements):
                let check = crossChecks[row]
                crossChecks.remove(row)
                if let id = check.options?.reservation {
                    let grant = Identity.owner(ofKey: check.identity.key.bytes)
                    for (partition, settlement) in settlements {
                        change(partition) {
                            $0.settleUnasked(
                                grant: grant, id, settlement, isOurs: !check.wantsReservation, now: now)
                        }
                    }
                }
                switch answer {
                case .decision(let decision): correction.countCombined(decision)
                case .busy, .otherArguments: break
                }
                return answer
            }
        }
    }

    private mutating func ask(
        _ partition: Int, _ row: Int, part: Int, isPeek: Bool, isHome: Bool, now: ClockReading
    ) {
        let check = crossChecks[row]
        var asked = now
        asked.waitedNs = now.monotonicNs - check.askedNs
        // The home is asked after the others, within the same budget.
        if !isHome && !isPeek { asked.waitedNs += configuration.budgetMs * 1_000_000 / EngineBounds.homeBudgetParts }
        var options = isPeek ? nil : check.options
        if isHome && !check.wantsReservation {
            options = options?.id == nil ? nil : options
            options?.reservation = nil
        }
        let outcome = change(partition) {
            $0.check(
                check.identity, cost: check.cost, isPeek: isPeek, wantsTrace: check.wantsTrace, extras: options,
                ticket: Ticket(row: row, part: part, isSettlement: false), now: asked)
        }
        switch outcome {
        case .waiting: break
        case .answered(let decision): answered(row, part: part, .decision(decision))
        case .overloaded(let cause): answered(row, part: part, .busy(cause))
        case .otherArguments: answered(row, part: part, .otherArguments)
        case .mustReserve: preconditionFailure("the route says so before")
        }
    }

    private mutating func answered(_ row: Int, part: Int, _ answer: CrossPartitionCheck.Answer) {
        if case .decision(let decision) = answer { correction.uncount(decision) }
        crossChecks[row].answered(part: part, answer)
    }

    // MARK: - Settlements

    mutating func settleRouted(
        grant: [UInt8], _ id: ReservationID, _ settlement: Batch.Settlement, ticket: Ticket, now: ClockReading
    ) -> Limiter.SettleOutcome {
        let home = map.partition(ofOwner: grant)
        let others = id.partitions.filter { $0 != home && $0 < map.count }
        let text = Array(id.description.utf8)
        if others.isEmpty {
            return change(home) {
                $0.settle(grant: grant, reservation: text, settlement, ticket: ticket, now: now)
            }
        }
        guard !crossSettlements.isFull else { return .overloaded }
        let row = crossSettlements.insert(CrossPartitionSettlement(ticket: ticket, partCount: others.count + 1))
        for (part, partition) in ([home] + others).enumerated() {
            let outcome = change(partition) {
                $0.settle(
                    grant: grant, reservation: text, settlement,
                    ticket: Ticket(row: row, part: part, isSettlement: true),
                    now: now)
            }
            if case .waiting = outcome { continue }
            crossSettlements[row].answered(outcome)
        }
        let outcome = crossSettlements[row].outcome
        if case .waiting = outcome { return .waiting }
        crossSettlements.remove(row)
        return outcome
    }

    // MARK: - Answers of partitions

    mutating func finishPart(_ completion: Limiter.Completion, now: ClockReading) {
        let (row, part) = (completion.ticket.row, completion.ticket.part)
        if completion.ticket.isOfSettlement { return finishSettlement(completion.answer, row, now: now) }
        switch completion.answer {
        case .decision(let decision): answered(row, part: part, .decision(decision))
        case .overloaded(let cause): answered(row, part: part, .busy(cause))
        case .otherArguments: answered(row, part: part, .otherArguments)
        case .settled, .notSettled, .storeUnavailable, .cleared, .overridden:
            preconditionFailure("a check is not settled")
        }
        let ticket = crossChecks[row].ticket
        switch advance(row, now: now) {
        case nil: break
        case .decision(let decision): finished.append(.init(ticket: ticket, answer: .decision(decision)))
        case .busy(let cause): finished.append(.init(ticket: ticket, answer: .overloaded(cause)))
        case .otherArguments: finished.append(.init(ticket: ticket, answer: .otherArguments))
        }
    }

    private mutating func finishSettlement(_ answer: Limiter.Completion.Answer, _ row: Int, now: ClockReading) {
        switch answer {
        case .settled(let done): crossSettlements[row].answered(.answered(done))
        case .notSettled(let fault): crossSettlements[row].answered(.notSettled(fault))
        case .storeUnavailable: crossSettlements[row].answered(.storeUnavailable)
        case .overloaded: crossSettlements[row].answered(.overloaded)
        case .decision, .otherArguments, .cleared, .overridden: preconditionFailure("a settlement is no check")
        }
        let ticket = crossSettlements[row].ticket
        let answer: Limiter.Completion.Answer
        switch crossSettlements[row].outcome {
        case .waiting: return
        case .answered(let done): answer = .settled(done)
        case .notSettled(let fault): answer = .notSettled(fault)
        case .storeUnavailable: answer = .storeUnavailable
        case .overloaded: answer = .overloaded(.waiting)
        }
        crossSettlements.remove(row)
        finished.append(.init(ticket: ticket, answer: answer))
    }
}
