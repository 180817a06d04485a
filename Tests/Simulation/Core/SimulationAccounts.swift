import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Gateways that look, charge and give back what calls cost, or reserve it and commit more when the window is over, for tools
/// of their own, so that nothing else is counted with them. Only some seeds have them, and they draw from a stream of their
/// own: all other seeds are as they were.
struct SimulationAccounts {
    enum Kind {
        case charge, refund
        /// A check that costs 0.
        case look
        /// Of the stream: settled later, to a higher cost.
        case reservation
    }

    struct Bill {
        var replica: Int
        var kind: Kind
        var cost: Int64
        var id: String?
        /// It was answered before: by which source, and at which replica.
        var repeats: (source: Decision.Source, replica: Int)?
        var askedNs: Int64
        /// The store may have been asked.
        var waits = false

        /// By how much it changes the usage.
        var change: Int64 {
            switch kind {
            case .charge, .reservation: cost
            case .refund: -cost
            case .look: 0
            }
        }
    }

    /// A reservation that is settled above its cost.
    struct Excess {
        var replica: Int
        var reservation: String
        var cost: Int64
        /// What it is more.
        var excess: Int64
        var isLocal: Bool
        /// Whether it may have been settled: an answer was lost.
        var isUncertain = false
        var tries = 4
    }

    /// What must be in the store in the end: all that was answered, but for what nobody can know.
    struct Sum {
        var least: Int64 = 0
        var most: Int64 = 0

        mutating func add(_ change: Int64, isCertain: Bool) {
            least += isCertain ? change : min(0, change)
            most += isCertain ? change : max(0, change)
        }
    }

    static let tool = "bill"
    static let spent = limit("spent", max: 50, per: SimulationOracle.longWindowMs / 1_000, of: tool)
    static let times = limit("times", max: 5, per: SimulationOracle.longWindowMs / 1_000, of: tool, counts: .calls)
    static let stream = "stream"
    /// Its windows pass quickly, and their counters outlive the run.
    static let streamed = limit("streamed", max: 1_000_000, per: 1, of: stream)

    var random: SeededRandom
    var open: [UInt64: Bill] = [:]
    var settling: [UInt64: Excess] = [:]
    /// By replica, what it has charged and not given back: it knows that so much may be given back.
    var own: [Int64]
    /// A bill that was answered locally while it waited may be missing: in a batch that another one overtook.
    var bills = Sum()
    /// All that was ever charged: what a data loss may bring back of what was given back.
    var everCharged: Int64 = 0
    var streams = Sum()
    /// Bills under an id that may be sent again, from any replica.
    var answered: [(bill: Bill, source: Decision.Source)] = []
    var lastID = 0
    /// Whether operators clear what is spent. Then nothing is given back: how much of that a clear leaves to give back is not
    /// known.
    let clears: Bool
    /// Clears without an answer.
    var clearing: Set<UInt64> = []
    /// Those that heard of changes when the last clear was answered, after which nothing is charged; nil: it was not.
    var hearers: [Int]?

    /// Before the end, charges cease, and then a clear comes last.
    static let lastChargeNs: Int64 = 500_000_000
    static let lastClearNs: Int64 = 300_000_000

    /// nil for most seeds.
    init?(seed: UInt64, _ scenario: SimulationScenario) {
        // Limits over all tools would count these, too; and what a small table has evicted nobody knows in an outage.
        guard seed % 8 == 7, scenario.policy.allToolsLimits.isEmpty, scenario.table == nil else { return nil }
        random = SeededRandom(seed: seed ^ 0xB111)
        clears = seed % 16 == 15
        own = [Int64](repeating: 0, count: scenario.replicas)
    }

    /// What a gateway does next at a replica.
    mutating func next(_ replica: Int, nowNs: Int64) -> Bill {
        let cost = Int64.random(in: 1...20, using: &random)
        let isLate = nowNs > SimulationScenario.healedNs
        if !answered.isEmpty, random.once(in: isLate ? 2 : 4) {
            let index = Int(random.next() % UInt64(answered.count))
            var (bill, source) = answered[index]
            bill.repeats = (source, bill.replica)
            (bill.replica, bill.askedNs, bill.waits) = (random.once(in: 3) ? bill.replica : replica, nowNs, false)
            return bill
        }
        if random.once(in: 6) { return Bill(replica: replica, kind: .look, cost: 0, askedNs: nowNs) }
        if random.once(in: 4) { return Bill(replica: replica, kind: .reservation, cost: cost, askedNs: nowNs) }
        let isRefund = random.once(in: 3) && own[replica] >= cost && !clears
        if isRefund { own[replica] -= cost }
        var id: String?
        if random.once(in: 2) {
            lastID += 1
            id = "bill\(lastID)"
        }
        return Bill(replica: replica, kind: isRefund ? .refund : .charge, cost: cost, id: id, askedNs: nowNs)
    }
}

extension SimulationScenario {
    /// Adds the tools that are charged afterwards.
    mutating func addAccounts() {
        var tools = policy.tools
        tools[SimulationAccounts.tool] = ToolRule(
            action: .allow, reason: nil, limits: [SimulationAccounts.spent, SimulationAccounts.times])
        tools[SimulationAccounts.stream] = ToolRule(
            action: .allow, reason: nil, limits: [SimulationAccounts.streamed])
        policy = Policy(
            defaultRuling: policy.defaultRuling, hidden: policy.hidden, allToolsLimits: policy.allToolsLimits,
            tools: tools)
    }
}
