import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Blocks that replicas charge ahead of time. Only some seeds have them, and draw from a stream of their own: all other
/// seeds are as they were.
struct SimulationLeases {
    private struct Asked {
        var atNs: Int64
        var units: Int64
    }

    /// By replica and counter.
    private var asked: [Int: [[UInt8]: [Asked]]] = [:]
    /// What processes that died had charged and not spent.
    var lost: Int64 = 0

    /// A block follows what checks took in 268 ms before it was asked for. It is there at the latest when the connection
    /// would be given up, and goes back 1.6 s after that.
    private static let reachNs: Int64 = 268_435_456 + EngineBounds.stallLimitNs + 1_600_000_000 + 100_000_000
    /// In this time after the last check, every block is back in the store.
    static let graceNs: Int64 = 4_500_000_000

    mutating func ask(_ replica: Int, _ baseKey: [UInt8], _ units: Int64, nowNs: Int64) {
        asked[replica, default: [:]][baseKey, default: []].append(Asked(atNs: nowNs, units: units))
        asked[replica]?[baseKey]?.removeAll { $0.atNs < nowNs - Self.reachNs }
    }

    /// The most that may be in a block.
    func most(_ replica: Int, _ baseKey: [UInt8], nowNs: Int64) -> Int64 {
        2 * (asked[replica]?[baseKey] ?? []).reduce(0) { $0 + ($1.atNs >= nowNs - Self.reachNs ? $1.units : 0) }
    }
}

extension SimulationScenario {
    /// In some seeds limits of fixed windows are leased, and there are enough checks for blocks.
    mutating func lease(seed: UInt64) {
        guard seed % 8 == 1 else { return }
        var random = SeededRandom(seed: seed ^ 0x1EA5E)
        isLeased = true
        let limits = policy.allToolsLimits + tools.flatMap { policy.tools[$0]?.limits ?? [] }
        let rules = Set(
            limits.filter { $0.algorithm == .fixedWindow && $0.mode == .enforce && !random.once(in: 4) }.map(\.rule))
        let more: Int64 = random.one(of: [1, 10, 40])
        func leasing(_ limit: Limit) -> Limit {
            guard rules.contains(limit.rule) else { return limit }
            return limit.with(max: limit.max < 1_000 ? limit.max * more : limit.max, precision: .leased)
        }
        policy = policy.replacing(leasing)
        for index in episodes.indices {
            if case .reload(let policy) = episodes[index].fault {
                episodes[index].fault = .reload(policy.replacing(leasing))
            }
        }
        guard burst < 10 else { return }
        pauseNs = pauseNs * 11 / Int64(1 + burst) / 2
        burst = 10
    }
}

extension Simulation {
    /// A check is about to be asked.
    mutating func askBlocks(_ replica: Int, _ identity: borrowing Identity, _ limits: [Limit], cost: Int64) {
        for limit in limits where limit.precision == .leased {
            let baseKey = CounterKey.baseKey(in: "sluice", limit: limit, identity: identity.parts)
            leases.ask(replica, baseKey, limit.units(ofCost: cost), nowNs: nowNs)
        }
    }

    /// No block is larger than what checks took lately explains.
    func judgeBlocks(of replica: Int) throws {
        for counter in replicas[replica].limiter.table.counters where counter.references > 0 && counter.block > 0 {
            let most = leases.most(replica, counter.baseKey, nowNs: nowNs)
            guard counter.block <= most else {
                let name = String(decoding: counter.baseKey, as: UTF8.self)
                throw SimulationFailure(
                    description: "stranded: replica \(replica) has a block of \(counter.block) of \(most): \(name)")
            }
        }
    }

    /// What a replica may admit beside its share, because it had charged it before.
    mutating func noteCredits(_ question: SimulationOracle.Question, _ decision: Decision) {
        guard question.mixed == nil else { return }
        let limiter = replicas[question.replica].limiter
        let credits = question.limits.map { limit in
            let identity = Identity.Parts(
                grant: Array(question.grant.utf8), tool: "t", approved: false,
                session: limit.scope == .session ? question.session.map { Array($0.utf8) } : nil)
            let baseKey = CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
            return limiter.table.counter(named: ByteString(bytes: baseKey)).map { limiter.table[$0].windowCredit } ?? 0
        }
        coverage.add(.creditedBlock, credits.reduce(0, +))
        oracle.credits(question, decision.trace ?? [], credits)
    }

    /// A process ends: what it had charged and not spent is lost, and, without a state folder, what it had not given back
    /// yet.
    mutating func loseBlocks(of replica: Int, keepsCredits: Bool) {
        let limiter = replicas[replica].limiter
        let asked = (limiter.ledger.inFlight + limiter.ledger.unconfirmed).flatMap(\.leases).reduce(0) {
            $0 + $1.amount
        }
        let blocks = limiter.table.counters.filter { $0.references > 0 }.reduce(Int64(0)) {
            WindowUsage.sum($0, $1.block + (keepsCredits ? 0 : $1.windowCredit))
        }
        coverage.add(.strandedBlock, blocks)
        leases.lost = WindowUsage.sum(leases.lost, asked + blocks + limiter.statistics.lostLeaseUnits)
    }

    /// What of blocks stays charged until its window ends.
    var stranded: Int64 {
        replicas.reduce(leases.lost) { WindowUsage.sum($0, $1.limiter.statistics.lostLeaseUnits) }
    }
}
