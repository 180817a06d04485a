import Foundation
import NIOConcurrencyHelpers
import SluiceTerminal

/// How long and how often a benchmark measures.
struct BenchPlan: Sendable, Equatable {
    var rounds = 5
    var durationNs: Int64 = 1_000_000_000
    var warmUpNs: Int64 = 200_000_000
}

/// Runs one cell: starts the processes, loads each contender once to warm up and to judge, then all of them in turn,
/// round by round. At the end it compares the counters in Redis with the admissions.
///
/// The oracle needs a trace with each answer, which a gateway would not request. It runs in the driver, on the same
/// machine as what is measured. So it judges a separate round. In the measured rounds the counters are the proof: they
/// hold exactly what was admitted, and none is over its maximum.
struct BenchRunner {
    let cell: BenchCell
    let plan: BenchPlan
    private let cluster: LocalCluster
    private var result: BenchResult
    /// Called with a line about work that takes a while.
    private let onNote: (String) -> Void

    /// The sidecars' time limit for a check, ns. It is long, because a closed loop of thousands of checks would
    /// otherwise be answered from local counters, which is cheaper: the bench measures exactly counted checks only.
    private static let budgetNs: Int64 = 5_000_000_000
    /// From this number of grants on, checking each once takes long enough to be reported.
    private static let toldFill = 100_000

    init(_ cell: BenchCell, plan: BenchPlan, onNote: @escaping (String) -> Void) throws {
        precondition(cell.stage.redis != .none || cell.contenders.allSatisfy(\.target.isSidecar))
        self.cell = cell
        self.plan = plan
        self.onNote = onNote
        cluster = try LocalCluster(
            sidecars: cell.stage.sidecars, policy: Self.policy(cell.stage), budgetNs: Self.budgetNs,
            redis: cell.stage.redis, clusters: cell.stage.clusters)
        result = BenchResult(cell: cell)
    }

    /// The policy document of a cell's sidecars. Its windows are long, so that none ends during a round.
    static func policy(_ setting: BenchCell.Setting) -> String {
        LocalCluster.policy(
            tools: setting.algorithms.map { algorithm in
                (algorithm.tool, ["day", "week", "month"].prefix(setting.limits).map { limit(algorithm, $0, setting) })
            })
    }

    private static func limit(
        _ algorithm: BenchCell.Algorithm, _ window: String, _ setting: BenchCell.Setting
    ) -> JSONText {
        var fields: [(String, JSONText)] = [
            ("counter", .string("bench_\(algorithm == .fixedWindow ? window : algorithm.rawValue)")),
            ("window", .string(window)), ("scope", "grant"), ("algorithm", .string(algorithm.rawValue)),
        ]
        if algorithm == .tokenBucket {
            fields += [("max", 1), ("burst", .integer(setting.maximum))]
        } else {
            fields.append(("max", .integer(setting.maximum)))
        }
        if setting.isLeased { fields.append(("precision", "leased")) }
        return .object(fields)
    }

    /// - Parameter onNote: called with a line about work that takes a while.
    /// - Throws: `LoadFailure`, `LocalClusterFailure`, or `CancellationError`.
    static func run(
        _ cell: BenchCell, plan: BenchPlan, onNote: @escaping (String) -> Void = { _ in }
    ) async throws -> BenchResult {
        var runner = try BenchRunner(cell, plan: plan, onNote: onNote)
        do {
            try await runner.cluster.start()
            try await runner.carryOut()
        } catch {
            await runner.cluster.end()
            throw error
        }
        await runner.cluster.end()
        return runner.result
    }

    private mutating func carryOut() async throws {
        let dayAtStart = Self.day
        if cluster.redisPlace != nil { result.redisVersion = await StoreTotal.version(cluster.redisSocket) }
        if let memory = cell.memory {
            try await weigh(memory)
        } else {
            try await warmUp()
            for round in 0..<plan.rounds {
                for (index, contender) in cell.contenders.enumerated() {
                    let summary = try await run(contender, settings(of: contender, round: round))
                    result.rounds[index].append(BenchRound(summary, servers: serverCount(of: contender)))
                }
            }
        }
        let hasTurned = Self.day != dayAtStart
        let complaints = await cluster.complaints()
        for owner in BenchCell.Contender.Target.charging where result.counts.admitted[owner] != nil {
            let masters = owner == .sluice ? cluster.redisClusters.flatMap { $0.masters.map(\.socket) } : []
            var stored: BenchCounts.Stored?
            if cluster.redisPlace != nil {
                stored = try await read(owner, from: [cluster.redisSocket] + masters)
            }
            result.counts.compare(
                owner, with: stored, setting: cell.stage, complaints: complaints, hasTurned: hasTurned)
        }
    }

    /// The counters, once the blocks of leases that nobody used are back in them: some seconds at most.
    private func read(_ owner: BenchCell.Contender.Target, from sockets: [String]) async throws -> BenchCounts.Stored {
        var stored = try await StoreTotal.read(owner, from: sockets)
        guard cell.stage.isLeased, owner == .sluice else { return stored }
        let charges = (result.counts.admitted[owner]?.allowed ?? 0) * Int64(cell.stage.limits)
        for _ in 0..<50 where stored.sum > charges {
            try await Task.sleep(for: .milliseconds(100))
            stored = try await StoreTotal.read(owner, from: sockets)
        }
        return stored
    }

    /// Days since 1970.
    private static var day: Int64 { Clock.wallNs() / 86_400_000_000_000 }

    // MARK: - Rounds

    /// Fills, loads every contender once, those with sidecars judged by the oracle, and finds the rate of an open loop.
    private mutating func warmUp() async throws {
        for contender in cell.contenders {
            if contender.isFilled { try await fill(contender, grants: contender.load.grants) }
            var settings = settings(of: contender, round: plan.rounds)
            settings.warmUpNs = 0
            // The sums prove what is counted in a cluster: one sidecar cannot list all of its counters.
            settings.usesOracle = contender.target == .sluice && contender.cluster == nil
            if settings.usesOracle { settings.grantCount = min(settings.grantCount, LoadBounds.maxJudgedGrants) }
            let summary = try await run(contender, settings)
            if let report = summary.oracle { result.counts.judge(report) { summary.describe($0) } }
        }
        guard let rate = cell.rate, let peak = cell.contenders.first(where: { $0.name == rate.peakOf }) else { return }
        onNote("finding the peak of \(peak.name)")
        var peaks: [Double] = []
        for round in 0..<plan.rounds {
            peaks.append(try await run(peak, settings(of: peak, round: round)).checksPerSecond)
        }
        result.ratePerSecond = Spread(peaks).map { max(1, Int($0.median * rate.share)) }
    }

    private func settings(of contender: BenchCell.Contender, round: Int) -> LoadSettings {
        let sockets =
            contender.cluster.map { [cluster.redisClusters[$0].sidecarSocket] }
            ?? (contender.target.isSidecar ? cluster.sidecarSockets : [cluster.redisPlace ?? ""])
        var settings = LoadSettings(socketPaths: sockets)
        settings.target = contender.target.loadTarget
        settings.connectionsPerSocket = max(1, contender.load.connections / sockets.count)
        settings.pipeline = contender.load.pipeline
        settings.grantCount = contender.load.grants
        settings.skew = contender.load.skew
        settings.kinds = cell.stage.kinds
        settings.reservations = LoadSettings.Reservations(share: 1, cancelShare: 0, committedCost: 1)
        settings.warmUpNs = plan.warmUpNs
        settings.durationNs = plan.durationNs
        settings.ratePerSecond = result.ratePerSecond
        // The same checks for all contenders, different ones in each round.
        settings.seed = UInt64(round + 1)
        settings.usesOracle = false
        settings.budgetNs = Self.budgetNs
        settings.baselineMax = cell.stage.maximum
        settings.baselineWindowMs = 86_400_000
        return settings
    }

    private func serverCount(of contender: BenchCell.Contender) -> Int {
        contender.cluster.map { cell.stage.clusters[$0].masters } ?? (cluster.redisPlace == nil ? 0 : 1)
    }

    /// The sidecars that a contender uses, and the servers behind them.
    private func processes(of contender: BenchCell.Contender) async throws -> [pid_t] {
        if let number = contender.cluster {
            let plan = cluster.redisClusters[number]
            let processes = await cluster.processIDs(of: plan)
            guard processes.count == 1 + plan.masters.count else {
                throw LocalClusterFailure("a process of cluster \(number) is gone")
            }
            return processes
        }
        var processes: [pid_t] = []
        for sidecar in 1...cell.stage.sidecars {
            guard let process = await cluster.processID(of: .sidecar(sidecar)) else {
                throw LocalClusterFailure("sidecar \(sidecar) is gone")
            }
            processes.append(process)
        }
        if let redis = await cluster.processID(of: .redis) { processes.append(redis) }
        return processes
    }

    private mutating func run(_ contender: BenchCell.Contender, _ settings: LoadSettings) async throws -> Summary {
        let processes = try await processes(of: contender)
        let owner = contender.target
        let warmUps = NIOLockedValueBox(BenchCounts())
        // A sidecar lists fewer counters than a cell has.
        let redisSocket = cluster.redisPlace != nil && contender.cluster == nil ? cluster.redisSocket : nil
        let runner = LoadRunner(settings, redisSocket: redisSocket, meter: ProcessMeter(processes)) { sample in
            guard sample.isWarmUp else { return }
            let statistics = sample.statistics
            warmUps.withLockedValue { $0.add(statistics, owner: owner) }
        }
        let summary = try await runner.run()
        try Task.checkCancellation()
        result.counts.add(warmUps.withLockedValue { $0 })
        result.counts.add(summary.statistics, owner: owner)
        return summary
    }

    // MARK: - Filling

    /// Checks each of so many grants once, and some again.
    private mutating func fill(_ contender: BenchCell.Contender, grants: Int) async throws {
        if grants >= Self.toldFill {
            onNote("checking each of \(Format.count(Int64(grants))) grants once (\(contender.name))")
        }
        var settings = settings(of: contender, round: 0)
        settings.grantCount = grants
        settings.isInOrder = true
        // Connections differ in speed: a tenth more, so that the slowest has been through as well.
        settings.enoughDecisions = Int64(grants + grants / 10)
        settings.warmUpNs = 0
        settings.durationNs = LoadBounds.maxFillNs
        let summary = try await run(contender, settings)
        guard summary.statistics.decisionCount >= grants else {
            throw LocalClusterFailure(
                "\(contender.name) had checked \(Format.count(summary.statistics.decisionCount)) of "
                    + "\(Format.count(Int64(grants))) grants once when \(LoadBounds.maxFillNs / 1_000_000_000) s were over"
            )
        }
    }

    // MARK: - Memory

    private mutating func weigh(_ memory: BenchCell.Memory) async throws {
        guard let process = await cluster.processID(of: .sidecar(1)) else { return }
        let meter = ProcessMeter([process])
        func resident() -> Double { Double((meter.residentBytes().first ?? nil) ?? 0) }
        let idle = resident()
        let contender = BenchCell.Contender("sluice", .sluice, BenchCell.Load(connections: 4))
        try await fill(contender, grants: memory.from)
        let before = resident()
        try await fill(contender, grants: memory.to)
        let grown = resident() - before
        // The length of the greater part's names.
        let nameBytes = CheckFrames.grantName(LoadSettings(socketPaths: []).grantPrefix, memory.to - 1).utf8.count
        result.extra = [
            BenchResult.Measured(
                cell: cell.name, name: "resident memory at rest", value: Spread([idle / 1_048_576]), unit: .mebibytes,
                bar: .atMost(16)),
            BenchResult.Measured(
                cell: cell.name, name: "the same, for each further local counter (its name has \(nameBytes))",
                value: Spread([grown / Double(memory.to - memory.from)]), unit: .bytes,
                bar: .atMost(250)),
        ]
    }
}

extension BenchCell.Contender.Target {
    var isSidecar: Bool {
        switch self {
        case .sluice, .pingSluice: true
        case .direct, .pingRedis: false
        }
    }

    fileprivate var loadTarget: LoadTarget {
        switch self {
        case .direct: .redis
        case .sluice: .sluice
        case .pingSluice, .pingRedis: .ping
        }
    }
}
