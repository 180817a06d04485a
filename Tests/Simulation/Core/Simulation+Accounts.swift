import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What becomes of charges, refunds, looks and commits above their reservations: see `SimulationAccounts`.
extension Simulation {
    mutating func account(_ replica: Int) throws {
        guard var accounts, nowNs <= scenario.endNs - (accounts.clears ? SimulationAccounts.lastChargeNs : 0) else {
            return
        }
        if accounts.clears, accounts.random.once(in: 12) {
            self.accounts = accounts
            try clear(replica)
            return events.push(.account(replica: replica), atNs: nowNs + 10_000_000)
        }
        let bill = accounts.next(replica, nowNs: nowNs)
        let pauseNs = Int64.random(in: 1...80_000_000, using: &accounts.random)
        let reservation = bill.kind == .reservation ? ReservationID(using: &accounts.random) : nil
        self.accounts = accounts
        var question = CheckQuestion(
            tool: bill.kind == .reservation ? SimulationAccounts.stream : SimulationAccounts.tool, grant: "g",
            cost: bill.cost, reserves: reservation != nil, id: bill.id)
        switch bill.kind {
        case .charge: question.action = .charge
        case .refund: question.action = .refund
        case .look, .reservation: break
        }
        try ask(bill, question, reservation)
        events.push(.account(replica: replica), atNs: nowNs + pauseNs)
    }

    private mutating func ask(
        _ bill: SimulationAccounts.Bill, _ question: CheckQuestion, _ reservation: ReservationID?
    ) throws {
        lastTicket += 1
        let ticket = lastTicket
        accounts?.open[ticket] = bill
        let extras = CheckOptions(
            reservation: reservation, id: bill.id.map { Array($0.utf8) },
            argumentsHash: bill.id == nil ? 0 : question.argumentsHash, action: question.action)
        let outcome = replicas[bill.replica].limiter.check(
            question.identity(replicas[bill.replica].limiter.counted), cost: bill.cost, isPeek: false,
            wantsTrace: false, extras: bill.kind == .look ? nil : extras, ticket: Ticket(rawValue: ticket),
            now: moment(bill.replica))
        switch outcome {
        case .answered(let decision): try answered(ticket, decision)
        case .waiting: accounts?.open[ticket]?.waits = true
        case .overloaded, .mustReserve, .otherArguments: throw SimulationFailure(description: "\(outcome)")
        }
        try pump(bill.replica)
    }

    mutating func accounted(_ bill: SimulationAccounts.Bill, _ decision: Decision) throws {
        oracle.answersBill(bill.replica)
        // The policy no longer has the tool.
        if decision.source == .policy { return }
        if bill.kind == .reservation { return reserved(bill, decision) }
        let isSpent = decision.limit == SimulationAccounts.spent.max
        switch bill.kind {
        case .look:
            // Something is left, or the limit without anything is named.
            guard !isSpent || decision.allowed == (decision.remaining > 0) else {
                throw SimulationFailure(description: "a look is answered \(decision)")
            }
            return coverage.add(.looked)
        case .charge, .refund, .reservation:
            guard isSpent, decision.allowed || bill.kind == .charge else {
                throw SimulationFailure(description: "\(bill) is answered \(decision)")
            }
        }
        if let before = bill.repeats { return repeated(bill, before, decision) }
        if bill.kind == .charge { accounts?.own[bill.replica] += bill.cost }
        accounts?.everCharged += max(0, bill.change)
        accounts?.bills.add(bill.change, isCertain: !bill.waits || decision.source != .local)
        if bill.id != nil { accounts?.answered.append((bill, decision.source)) }
        if !decision.allowed { coverage.add(.chargedBeyond) }
        if decision.source == .local { coverage.add(bill.kind == .refund ? .refundedLocally : .chargedLocally) }
    }

    /// The answer to a bill under an id that was answered before changes nothing: at the replica that answered it, at any that
    /// reaches the store if the store had it, and everywhere once all is well.
    private mutating func repeated(
        _ bill: SimulationAccounts.Bill, _ before: (source: Decision.Source, replica: Int), _ decision: Decision
    ) {
        let isSame = bill.replica == before.replica
        let isKnown = before.source == .shared && decision.source == .shared
        if isSame || isKnown || bill.askedNs > SimulationScenario.healedNs {
            if !isSame { coverage.add(bill.askedNs > SimulationScenario.healedNs ? .repeatedLate : .repeatedElsewhere) }
            return
        }
        accounts?.everCharged += max(0, bill.change)
        accounts?.bills.add(bill.change, isCertain: false)
    }

    // MARK: - Commits above reservations

    private mutating func reserved(_ bill: SimulationAccounts.Bill, _ decision: Decision) {
        guard decision.allowed, let reservation = decision.reservation, !reservation.isEmpty, var accounts else {
            return
        }
        // What was admitted locally is written back only while its window is open.
        accounts.streams.add(bill.cost, isCertain: decision.source == .shared)
        let isLocal = decision.source == .local
        let pauseNs = Int64.random(in: 1...2_500_000_000, using: &accounts.random)
        let replica =
            isLocal || accounts.random.once(in: 2)
            ? bill.replica : Int(accounts.random.next() % UInt64(scenario.replicas))
        let excess = SimulationAccounts.Excess(
            replica: replica, reservation: reservation, cost: bill.cost,
            excess: Int64.random(in: 1...30, using: &accounts.random), isLocal: isLocal)
        self.accounts = accounts
        events.push(.commit(excess), atNs: nowNs + pauseNs)
    }

    mutating func commit(_ excess: SimulationAccounts.Excess) throws {
        guard nowNs <= scenario.endNs else { return }
        lastTicket += 1
        accounts?.settling[lastTicket] = excess
        let before = locallyStreamed(excess.replica)
        let outcome = replicas[excess.replica].limiter.settle(
            grant: Array("g".utf8), reservation: excess.reservation.utf8,
            .commit(cost: excess.cost + excess.excess), ticket: Ticket(rawValue: lastTicket),
            now: moment(excess.replica))
        switch outcome {
        case .answered(let done):
            try committed(lastTicket, done)
            // Whichever window it was reserved in, the open one has more now.
            guard done, let before, let after = locallyStreamed(excess.replica), before.startMs == after.startMs
            else { break }
            guard after.used >= before.used + excess.excess else {
                throw SimulationFailure(description: "\(excess) leaves \(after), before \(before)")
            }
            coverage.add(.committedLocally)
        case .waiting: break
        case .storeUnavailable: try committed(lastTicket, nil)
        case .overloaded, .notSettled: throw SimulationFailure(description: "\(outcome)")
        }
        try pump(excess.replica)
    }

    /// What a replica counts of the stream without the store; nil while it has the store.
    private mutating func locallyStreamed(_ replica: Int) -> (startMs: Int64, used: Int64)? {
        guard !replicas[replica].limiter.link.isClosed else { return nil }
        lastTicket += 1
        let question = CheckQuestion(tool: SimulationAccounts.stream, grant: "g")
        let outcome = replicas[replica].limiter.check(
            question.identity(replicas[replica].limiter.counted), cost: 1, isPeek: true, wantsTrace: true,
            ticket: Ticket(rawValue: lastTicket), now: moment(replica))
        guard case .answered(let decision) = outcome else { return nil }
        oracle.answersBill(replica)
        guard let look = decision.trace?.first, decision.source == .local else { return nil }
        return (look.windowStartMs, look.used)
    }

    /// - Parameter done: nil if the store became unavailable, and the outcome is unknown.
    mutating func committed(_ ticket: UInt64, _ done: Bool?) throws {
        guard var excess = accounts?.settling.removeValue(forKey: ticket) else { return }
        if done == true && !excess.isUncertain {
            accounts?.streams.add(excess.excess, isCertain: !excess.isLocal)
            if !excess.isLocal { coverage.add(.committedAbove) }
            return
        }
        if done != nil || excess.tries == 0 {
            accounts?.streams.add(excess.excess, isCertain: false)
            return
        }
        excess.isUncertain = true
        excess.tries -= 1
        events.push(.commit(excess), atNs: nowNs + 300_000_000)
    }

    // MARK: - The end

    /// In the end the store has what was charged less what was given back, however often it was away, and no calls; and in
    /// the windows of the stream, together, all that was committed.
    mutating func judgeAccounts() throws {
        let isReloaded = scenario.has { if case .reload = $0 { true } else { false } }
        guard let accounts, scenario.course == .healing, !scenario.restarts, !hadRestarts, !scenario.stepsClock,
            !isReloaded
        else { return }
        // What is still on its way may be counted, or not.
        var (bills, streams) = (accounts.bills, accounts.streams)
        for bill in accounts.open.values {
            if bill.kind == .reservation {
                streams.add(bill.change, isCertain: false)
            } else {
                bills.add(bill.change, isCertain: false)
            }
        }
        for excess in accounts.settling.values { streams.add(excess.excess, isCertain: false) }
        let longMs = SimulationOracle.longWindowMs
        let spent = stored(SimulationAccounts.spent, startMs: store.clockMs - store.clockMs % longMs)
        let times = stored(SimulationAccounts.times, startMs: store.clockMs - store.clockMs % longMs)
        guard !scenario.forgets else {
            if accounts.clears { return try judgeCleared(spent) }
            guard scenario.onlyFlushes, scenario.episodes.count > 0 else { return }
            // What one replica has given back another may restore, for it saw it charged.
            guard spent >= bills.least, times == 0 else {
                throw SimulationFailure(description: "\(spent) stored, at least \(bills.least) were to be")
            }
            return coverage.add(.summedAfterLoss)
        }
        bills.add(-clearedUnits, isCertain: true)
        try judgeCleared(spent)
        guard (bills.least...bills.most).contains(spent), times == 0 else {
            throw SimulationFailure(
                description:
                    "\(spent) and \(times) stored, \(bills.least) to \(bills.most) were charged and not given back")
        }
        coverage.add(.summedAccounts)
        let firstMs = Self.startMs / 1_000 * 1_000 - 60_000
        let sum = stride(from: firstMs, through: store.clockMs, by: 1_000).reduce(Int64(0)) {
            $0 + stored(SimulationAccounts.streamed, startMs: $1)
        }
        guard (streams.least...streams.most).contains(sum) else {
            throw SimulationFailure(
                description: "\(sum) stored of the stream, \(streams.least) to \(streams.most) were committed")
        }
    }

    private func stored(_ limit: Limit, startMs: Int64) -> Int64 {
        store.usage(of: CounterKey.key(Self.baseKey(limit), window: limit.window, startMs: startMs))
    }

    static func baseKey(_ limit: Limit) -> [UInt8] {
        let identity = Identity.Parts(
            grant: Array("g".utf8),
            tool: limit.container == .tool(SimulationAccounts.stream)
                ? SimulationAccounts.stream : SimulationAccounts.tool, approved: false, session: nil)
        return CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
    }
}
