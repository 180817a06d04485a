import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Gateways that charge and give back what calls cost, for a tool of its own, so that nothing else is counted with it.
/// Only some seeds have them, and they draw from a stream of their own: all other seeds are as they were.
struct SimulationAccounts {
    struct Bill {
        var replica: Int
        var cost: Int64
        var isRefund: Bool
        /// The store may have been asked.
        var waits = false
    }

    static let tool = "bill"
    static let spent = limit("spent", max: 50, per: SimulationOracle.longWindowMs / 1_000, of: tool)
    static let limits = [
        spent, limit("times", max: 5, per: SimulationOracle.longWindowMs / 1_000, of: tool, counts: .calls),
    ]

    var random: SeededRandom
    var open: [UInt64: Bill] = [:]
    /// By replica, what it has charged and not given back: it knows that so much may be given back.
    var own: [Int64]
    /// What must be in the store in the end. A bill that was answered locally while it waited may be missing: in a
    /// batch that another one overtook.
    var least: Int64 = 0
    var most: Int64 = 0

    /// nil for most seeds.
    init?(seed: UInt64, _ scenario: SimulationScenario) {
        // Limits over all tools would count these, too; and what a small table has evicted nobody knows in an outage.
        guard seed % 8 == 7, scenario.policy.allToolsLimits.isEmpty, scenario.table == nil else { return nil }
        random = SeededRandom(seed: seed ^ 0xB111)
        own = [Int64](repeating: 0, count: scenario.replicas)
    }
}

extension SimulationScenario {
    /// Adds the tool that is charged afterwards.
    mutating func addAccounts() {
        var tools = policy.tools
        tools[SimulationAccounts.tool] = ToolRule(action: .allow, reason: nil, limits: SimulationAccounts.limits)
        policy = Policy(
            defaultRuling: policy.defaultRuling, hidden: policy.hidden, allToolsLimits: policy.allToolsLimits,
            tools: tools)
    }
}

extension Simulation {
    mutating func account(_ replica: Int) throws {
        guard var accounts, nowNs <= scenario.endNs else { return }
        let cost = Int64.random(in: 1...20, using: &accounts.random)
        let isRefund = accounts.random.once(in: 3) && accounts.own[replica] >= cost
        let pauseNs = Int64.random(in: 1...80_000_000, using: &accounts.random)
        if isRefund { accounts.own[replica] -= cost }
        lastTicket += 1
        let ticket = lastTicket
        accounts.open[ticket] = SimulationAccounts.Bill(replica: replica, cost: cost, isRefund: isRefund)
        self.accounts = accounts
        let question = CheckQuestion(
            tool: SimulationAccounts.tool, grant: "g", cost: cost, action: isRefund ? .refund : .charge)
        let outcome = replicas[replica].limiter.check(
            question.identity(replicas[replica].limiter.counted), cost: cost, isPeek: false, wantsTrace: false,
            extras: CheckOptions(reservation: nil, id: nil, argumentsHash: 0, action: question.action),
            ticket: Ticket(rawValue: ticket), now: moment(replica))
        switch outcome {
        case .answered(let decision): try answered(ticket, decision)
        case .waiting: self.accounts?.open[ticket]?.waits = true
        case .overloaded, .mustReserve, .otherArguments: throw SimulationFailure(description: "\(outcome)")
        }
        try pump(replica)
        events.push(.account(replica: replica), atNs: nowNs + pauseNs)
    }

    mutating func accounted(_ bill: SimulationAccounts.Bill, _ decision: Decision) throws {
        oracle.answersBill(bill.replica)
        // The policy no longer has the tool.
        if decision.source == .policy { return }
        guard decision.limit == SimulationAccounts.spent.max, decision.allowed || !bill.isRefund else {
            throw SimulationFailure(description: "\(bill) is answered \(decision)")
        }
        if !bill.isRefund { accounts?.own[bill.replica] += bill.cost }
        let change = bill.isRefund ? -bill.cost : bill.cost
        let isUncertain = bill.waits && decision.source == .local
        accounts?.least += isUncertain ? min(0, change) : change
        accounts?.most += isUncertain ? max(0, change) : change
        if !decision.allowed { coverage.add(.chargedBeyond) }
        if decision.source == .local { coverage.add(bill.isRefund ? .refundedLocally : .chargedLocally) }
    }

    /// In the end the store has what was charged less what was given back, however often it was away, and no calls.
    mutating func judgeAccounts() throws {
        let isReloaded = scenario.has { if case .reload = $0 { true } else { false } }
        guard let accounts, scenario.course == .healing, !scenario.forgets, !scenario.restarts, !hadRestarts,
            !scenario.stepsClock, !isReloaded
        else { return }
        let identity = Identity.Parts(
            grant: Array("g".utf8), tool: SimulationAccounts.tool, approved: false, session: nil)
        let startMs = store.clockMs - store.clockMs % SimulationOracle.longWindowMs
        let used = SimulationAccounts.limits.map { limit in
            store.usage(
                of: CounterKey.key(
                    CounterKey.baseKey(in: "sluice", limit: limit, identity: identity), window: limit.window,
                    startMs: startMs))
        }
        guard used[0] >= accounts.least, used[0] <= accounts.most, used[1] == 0 else {
            throw SimulationFailure(
                description: "\(used) stored, \(accounts.least) to \(accounts.most) were charged and not given back")
        }
        coverage.add(.summedAccounts)
    }
}
