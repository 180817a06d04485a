import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What one seed determines: policy, callers, network, and faults with their times.
struct SimulationScenario {
    enum Course {
        /// Things go a little wrong, so that all replicas notice and none need have an outage.
        case gentle
        /// Things go wrong for some seconds, and then no more.
        case healing
        /// Things go wrong, and then the store is gone for good.
        case ending
    }

    enum Fault {
        /// The policies are read again, with other maxima.
        case reload(Policy)
        /// All replicas die, one after the other, and others take their places.
        case rollingRestart
        /// Another server takes over: it has what the store had some time ago, and a clock of its own.
        case failover(clockMs: Int64)
        /// Messages take up to this long.
        case slow(ns: Int64, replica: Int?)
        /// Connections break at random, and batches on one connection may overtake each other.
        case flaky(replica: Int?)
        /// All connections break, and none can be opened.
        case unreachable(replica: Int?)
        /// The store hangs, and processes later what arrived meanwhile.
        case hanging
        case refusing
        case flush
        /// The store keeps its counters and sometimes loses markers.
        case forgetful
        case clockStep(ms: Int64)
        /// Its clock runs ahead, for longer than the recovery takes, and then comes back.
        case clockAhead(ms: Int64)
        /// The wall clock of a replica's machine.
        case wallStep(ms: Int64, replica: Int)
        /// A replica dies, and another takes its place, or goes on from its state folder.
        case crash(replica: Int)
        /// A replica ends in order, and goes on from its state folder.
        case restart(replica: Int)
    }

    struct Episode {
        var fault: Fault
        var startNs: Int64
        var endNs: Int64
    }

    static let budgetMs: Int64 = 20
    /// Every answer must be there by then: the budget without its reserve, and a timer that is a little late.
    static let storeWaitNs: Int64 = 15_000_000 + 600_000
    /// All faults have ended by then.
    static let calmNs: Int64 = 2_000_000_000
    /// From here on everything must be in order: after a connection attempt that hangs, a pause, a probe, and two more
    /// seconds in which dead replicas may be awaited.
    static let healedNs: Int64 = calmNs + 6_700_000_000

    /// From here on every replica follows the store's clock again, however far it had run ahead: the clock was read
    /// before the recovery ended, and then must have stayed behind.
    static let followedNs: Int64 = healedNs + EngineBounds.storeFollowedAfterNs + 1_100_000_000

    var replicas: Int
    var course: Course
    /// One limit and a cost of 1: what must be admitted is known exactly.
    var isPlain: Bool
    /// Limits of every kind, and gateways that reserve and settle.
    var isMixed: Bool
    /// Replicas have a state folder.
    var keepsState: Bool
    var policy: Policy
    var tools: [String]
    var costs: [Int64]
    var peekPercent: Int
    var pauseNs: Int64
    var burst: Int
    var usualDelayNs: Int64
    var episodes: [Episode] = []
    var stepsClock: Bool
    var endNs: Int64
    /// As `LimiterConfiguration.maxIncrement`: in some runs small enough for write-backs to take several batches.
    var maxIncrement = EngineBounds.maxIncrement
    /// Limits of fixed windows are counted in blocks.
    var isLeased = false
    /// Tables have so few rows that some are evicted all the time, and this many parts for grants; nil: there is room
    /// for all.
    var table: (rows: Int, grantParts: Int)?

    init(random: inout SeededRandom) {
        replicas = random.one(of: [3, 3, 3, 4, 5])
        course = random.one(of: [.gentle, .healing, .healing, .healing, .healing, .healing, .ending])
        tools = Bool.random(using: &random) ? ["t"] : ["t", "u"]
        isPlain = Int.random(in: 0..<4, using: &random) == 0
        isMixed = !isPlain && random.once(in: 2)
        keepsState = random.once(in: 2)
        policy =
            isPlain
            ? plainPolicy(&random)
            : isMixed
                ? Self.mixedPolicy(tools, &random)
                : randomPolicy(tools, isRoomy: keepsState && random.once(in: 2), &random)
        costs = isPlain ? [1] : [[1], [1, 1, 1, 2], [1, 2, 3, 7], [5, 8]].randomElement(using: &random) ?? [1]
        if isPlain { tools = ["t"] }
        peekPercent = isPlain ? 0 : [0, 0, 10, 50].randomElement(using: &random) ?? 0
        burst = [1, 1, 3, 10].randomElement(using: &random) ?? 1
        let pauseMs: Int64 = [4, 20, 40, 60, 60, 100].randomElement(using: &random) ?? 20
        pauseNs = pauseMs * 1_000_000 * (1 + Int64(burst)) / 2
        // They take longer to simulate.
        if isMixed { pauseNs *= 2 }
        usualDelayNs = [100_000, 1_000_000, 3_000_000].randomElement(using: &random) ?? 100_000
        stepsClock = Int.random(in: 0..<4, using: &random) == 0
        // With a clock that steps, it is unknown which slots have expired.
        if isMixed { stepsClock = false }
        endNs = Self.healedNs + 1_000_000_000
        if stepsClock && course == .healing { endNs += Self.followedNs - Self.healedNs }
        if course == .gentle { endNs = 3_000_000_000 }
        // Enough for a run that means something, and few enough for many runs.
        let mostNs = (endNs - (course == .healing ? Self.healedNs - Self.calmNs : 0)) * Int64(replicas * (1 + burst))
        pauseNs = min(max(pauseNs, mostNs / 2 / 950), mostNs / 2 / 700)
        addEpisodes(&random)
        // For a token bucket it bounds a level, which is some thousand times a cost.
        if random.once(in: 3) { maxIncrement = isMixed ? 20_000 : random.one(of: [5, 20]) }
        if random.once(in: 4) { table = (random.one(of: [2, 3, 4]), random.one(of: [1, 1, 2])) }
    }

    func has(_ matches: (Fault) -> Bool) -> Bool { episodes.contains { matches($0.fault) } }

    /// Unsent settlements of a replica are lost with it.
    var crashes: Bool {
        has {
            switch $0 {
            case .crash: true
            case .rollingRestart: !keepsState
            default: false
            }
        }
    }

    /// What a replica had seen may be lost with it.
    var restarts: Bool {
        crashes || has { if case .rollingRestart = $0 { true } else { false } }
    }

    /// Whether the store loses anything that it had.
    var forgets: Bool {
        has {
            switch $0 {
            case .flush, .forgetful, .failover: true
            default: false
            }
        }
    }

    /// Every data loss loses everything.
    var onlyFlushes: Bool {
        !has {
            switch $0 {
            case .forgetful, .failover: true
            default: false
            }
        }
    }

    private mutating func addEpisodes(_ random: inout SeededRandom) {
        if course == .gentle {
            for _ in 0..<2 {
                let startNs = Int64(random.next() % UInt64(endNs / 2))
                episodes.append(
                    Episode(
                        fault: .slow(ns: 1_000_000 * (1 + Int64(random.next() % 3)), replica: nil), startNs: startNs,
                        endNs: startNs + 1_000_000_000))
            }
            return
        }
        for _ in 0..<Int.random(in: 2...8, using: &random) {
            let startNs = Int64.random(in: 0..<Self.calmNs, using: &random)
            let longest: Int64 = [20_000_000, 200_000_000, 2_000_000_000].randomElement(using: &random) ?? 20_000_000
            let endNs = min(Self.calmNs, startNs + Int64.random(in: 1_000_000...longest, using: &random))
            episodes.append(Episode(fault: fault(&random), startNs: startNs, endNs: endNs))
        }
        // Local admissions are most at risk from a process that dies during their write-back.
        if keepsState && course == .healing && random.once(in: 2) {
            let startNs = Int64.random(in: 0..<Self.calmNs, using: &random)
            episodes.append(
                Episode(
                    fault: .crash(replica: Int.random(in: 0..<replicas, using: &random)), startNs: startNs,
                    endNs: startNs))
        }
        if course == .ending {
            episodes.append(
                Episode(fault: .unreachable(replica: nil), startNs: Self.calmNs, endNs: Int64.max))
        }
    }

    private func fault(_ random: inout SeededRandom) -> Fault {
        let one = Int.random(in: 0..<replicas, using: &random)
        let some: Int? = Bool.random(using: &random) ? one : nil
        switch Int.random(in: 0..<17, using: &random) {
        case 14:
            if course == .healing && random.once(in: 2) { return .rollingRestart }
            return .unreachable(replica: one)
        case 15: return isMixed ? .slow(ns: 30_000_000, replica: nil) : .reload(reloaded(&random))
        // No ledger knows what an older copy has of a reservation.
        case 16: return isMixed ? .flush : .failover(clockMs: stepsClock ? Int64(random.next() % 8_000) - 5_000 : 0)
        case 0, 1: return .slow(ns: Int64.random(in: 1_000_000...60_000_000, using: &random), replica: some)
        case 2, 3: return .flaky(replica: some)
        case 4, 5: return .unreachable(replica: some)
        case 6, 7: return .hanging
        case 8: return .refusing
        case 9: return .flush
        case 10, 11: return .forgetful
        case 12:
            if course == .healing && Bool.random(using: &random) { return .crash(replica: one) }
            return .wallStep(ms: Int64.random(in: -5_000...5_000, using: &random), replica: one)
        default:
            guard stepsClock else { return .hanging }
            if random.once(in: 2) { return .clockAhead(ms: Int64.random(in: 16_000...40_000, using: &random)) }
            return .clockStep(ms: Int64.random(in: -6_000...3_000, using: &random))
        }
    }
}

extension SimulationScenario {
    /// The same limits with other maxima.
    private func reloaded(_ random: inout SeededRandom) -> Policy {
        policy.replacing { limit in
            limit.with(max: random.one(of: [limit.max, limit.max / 2, limit.max + 1, 2 * limit.max]))
        }
    }

    /// In some seeds limits count calls, whatever these cost. They draw from a stream of their own: all other seeds are
    /// as they were.
    mutating func countCalls(seed: UInt64) {
        guard seed % 8 == 5, !isPlain else { return }
        var random = SeededRandom(seed: seed ^ 0xCA11)
        if costs == [1] { costs = [1, 2, 3, 7] }
        let limits = policy.allToolsLimits + tools.flatMap { policy.tools[$0]?.limits ?? [] }
        let rules = Set(limits.filter { !$0.isSlots && !random.once(in: 3) }.map(\.rule))
        func counting(_ limit: Limit) -> Limit {
            rules.contains(limit.rule) ? limit.with(counts: .calls) : limit
        }
        policy = policy.replacing(counting)
        for index in episodes.indices {
            if case .reload(let policy) = episodes[index].fault {
                episodes[index].fault = .reload(policy.replacing(counting))
            }
        }
    }
}

extension Policy {
    /// The same tools with other limits.
    func replacing(_ change: (Limit) -> Limit) -> Policy {
        // In order: the change may draw random numbers.
        let limits = tools.keys.sorted().flatMap { (tools[$0]?.limits ?? []).map(change) }
        return StoreModel.policy(limits, allTools: allToolsLimits.map(change))
    }
}

extension Limit {
    /// What a check of this cost takes of it.
    func units(ofCost cost: Int64) -> Int64 { isSlots || counts == .calls ? 1 : cost }

    func with(max: Int64? = nil, counts: Counts? = nil, precision: Precision? = nil) -> Limit {
        Limit(
            container: container, counter: counter, window: window, max: max ?? self.max, scope: scope, rule: rule,
            onDeny: onDeny, algorithm: algorithm, burst: burst, holdMs: holdMs, acrossGrants: acrossGrants,
            onOutage: onOutage, mode: mode, counts: counts ?? self.counts, precision: precision ?? self.precision)
    }
}

private func plainPolicy(_ random: inout SeededRandom) -> Policy {
    policy([
        limit(
            max: random.one(of: [1, 5, 20, 60, 1_000_000]), per: random.one(of: [1, 2, 3, 3_600]))
    ])
}

/// - Parameter isRoomy: more of what a process leaves to the next one still counts at the end, and can be compared.
private func randomPolicy(_ tools: [String], isRoomy: Bool, _ random: inout SeededRandom) -> Policy {
    func one(_ counter: String, _ tool: String?) -> Limit {
        limit(
            counter,
            max: random.one(
                of: isRoomy ? [2, 10, 40, 200, 1_000_000_000_000] : [0, 1, 2, 5, 10, 40, 200, 1_000_000_000_000]),
            per: random.one(of: isRoomy ? [2, 3_600, 3_600] : [1, 2, 3, 4, 3_600]), of: tool,
            scope: random.once(in: 2) ? .session : .grant)
    }
    let all = Int.random(in: 0..<3, using: &random) == 0 ? [one("all", nil)] : []
    let limits = tools.flatMap { tool in
        (1...Int.random(in: 1...2, using: &random)).map { one("c\($0)", tool) }
    }
    return policy(limits, allTools: all)
}
