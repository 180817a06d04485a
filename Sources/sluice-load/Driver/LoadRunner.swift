import Histogram
internal import Glibc
import NIOCore
import NIOPosix

/// Why a run failed.
enum LoadFailure: Error, Sendable, Equatable, CustomStringConvertible {
    case cannotConnect(path: String, reason: String, target: LoadTarget)
    /// There was no decision.
    case noDecision(fault: String?)

    var description: String {
        switch self {
        case .cannotConnect(let path, let reason, .sluice):
            return "cannot connect to \(path): \(reason); start sluiced with --socket \(path), or name another --socket"
        case .cannotConnect(let path, let reason, let target):
            return "cannot connect to \(path): \(reason); start the \(target.noun) there, or name another --socket"
        case .noDecision(let fault):
            let fault = fault.map { "the first fault was: \($0)" } ?? "nothing was answered"
            return "no check was decided, \(fault); is it what --target says that listens there?"
        }
    }
}

/// Executes one run: connects, warms up, measures, drains, asks the oracle.
///
/// It ends after the duration, or early when its task is cancelled. In both cases it waits for outstanding answers
/// within the grace period, and returns a summary of what was measured.
struct LoadRunner: Sendable {
    private let settings: LoadSettings
    private let onSample: @Sendable (consuming LoadProgress.Sample) -> Void
    private let onNote: @Sendable (String) -> Void
    private let faults: FaultPlayer?
    private let redisSocket: String?
    private let startsEmpty: Bool
    private let meter: ProcessMeter

    /// - Parameters:
    ///   - meter: the processes whose processor time is reported beside the driver's own.
    ///   - cluster: the cluster under load, if the driver started it for this run; `faults` are injected into it.
    ///   - redisSocket: the Redis that the counters are read from at the end; nil for that of `cluster`, or else through
    ///     a sidecar.
    ///   - onSample: called once a second while checks are sent.
    ///   - onNote: called with one line about each action or finding during the run.
    init(
        _ settings: LoadSettings, cluster: LocalCluster? = nil, faults: FaultScript = FaultScript(),
        redisSocket: String? = nil, meter: ProcessMeter = ProcessMeter(),
        onSample: @escaping @Sendable (consuming LoadProgress.Sample) -> Void = { _ in },
        onNote: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.settings = settings
        self.meter = meter
        self.onSample = onSample
        self.onNote = onNote
        self.redisSocket = redisSocket ?? cluster?.redisSocket
        startsEmpty = cluster != nil
        self.faults = cluster.map { FaultPlayer(cluster: $0, script: faults) }
    }

    /// - Throws: `LoadFailure`, or `CancellationError` if it was cancelled before the first check.
    func run() async throws -> Summary {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: settings.threadCount)
        do {
            let summary = try await run(on: group)
            try await group.shutdownGracefully()
            return summary
        } catch {
            try await group.shutdownGracefully()
            throw error
        }
    }

    private func run(on group: MultiThreadedEventLoopGroup) async throws -> Summary {
        let oracle = settings.usesOracle ? SharedOracle(makeOracle()) : nil
        let workers = try await makeWorkers(on: group, oracle: oracle)
        for worker in workers { try await worker.eventLoop.flatSubmit { worker.value.connect() }.get() }
        try Task.checkCancellation()
        var run = Run(workers: workers, settings: settings, meter: meter, onSample: onSample)
        try await run.start()
        var isInterrupted = try await run.proceed(forNs: settings.warmUpNs, isWarmUp: true) == false
        var search = settings.search
        if !isInterrupted, search != nil { isInterrupted = try await run.find(&search!, onNote) == false }
        run.beginMeasuring()
        let measuredFromNs = Clock.nowNs()
        let startWallMs = Clock.wallNs() / 1_000_000
        let player = Task { [isInterrupted] in
            isInterrupted ? [] : await faults?.play(fromNs: measuredFromNs, onNote: onNote) ?? []
        }
        defer { player.cancel() }
        if !isInterrupted {
            isInterrupted = try await run.proceed(forNs: settings.durationNs, isWarmUp: false) == false
        }
        player.cancel()
        var summary = run.measured()
        summary.timeline.startWallMs = startWallMs
        summary.timeline.marks = await player.value
        try await run.drain(into: &summary)
        summary.search = search
        summary.isInterrupted = isInterrupted
        if let oracle {
            let reader = CounterReader(settings, redisSocket: redisSocket)
            // In a separate task: Ctrl-C ends the sending, not the reading.
            let reading = await Task { await reader.read() }.value
            summary.oracle = oracle.finish(reading)
        }
        guard run.hasDecided else { throw LoadFailure.noDecision(fault: summary.statistics.firstFault) }
        return summary
    }

    private func makeOracle() -> Oracle {
        Oracle(
            subjects: settings.subjectCount, sidecars: settings.socketPaths.count, replicas: settings.replicaCount,
            budgetNs: settings.budgetNs, limits: settings.limits, kinds: settings.kinds,
            countedLimits: settings.countedLimits, wallOffsetNs: Clock.wallNs() - Clock.nowNs(),
            startsEmpty: startsEmpty)
    }

    private func makeWorkers(on group: MultiThreadedEventLoopGroup, oracle: SharedOracle?) async throws
        -> [NIOLoopBound<
            LoadWorker
        >]
    {
        let chooser =
            settings.namedGrants.map { Chooser(weights: $0.weights) }
            ?? (settings.isInOrder
                ? Chooser(inOrderOf: settings.grantCount, visitors: settings.connectionCount)
                : Chooser(count: settings.grantCount, exponent: settings.skew))
        let frames = CheckFrames(settings)
        var workers: [NIOLoopBound<LoadWorker>] = []
        for index in 0..<settings.threadCount {
            let eventLoop = group.next()
            let worker = eventLoop.submit {
                NIOLoopBound(
                    LoadWorker(
                        settings: settings, index: index, chooser: chooser, frames: frames, oracle: oracle,
                        eventLoop: eventLoop),
                    eventLoop: eventLoop)
            }
            workers.append(try await worker.get())
        }
        return workers
    }
}

/// One run in progress.
private struct Run {
    let workers: [NIOLoopBound<LoadWorker>]
    private(set) var settings: LoadSettings
    let onSample: @Sendable (consuming LoadProgress.Sample) -> Void
    private var timeline = Timeline()
    /// Whether there was any decision, warm-up included.
    var hasDecided = false
    private var total = LoadStatistics()
    private var startNs: Int64 = 0
    private var measuredFromNs: Int64 = 0
    private var processorFromNs: Int64 = 0
    /// The clocks of the sending threads, and their processor time when the measuring began, ns.
    private var threadClocks: [clockid_t] = []
    private var threadsFromNs: [Int64] = []
    private let meter: ProcessMeter
    private var processesFromNs: [Int64] = []
    private var lastSampleNs: Int64 = 0

    init(
        workers: [NIOLoopBound<LoadWorker>], settings: LoadSettings, meter: ProcessMeter,
        onSample: @escaping @Sendable (consuming LoadProgress.Sample) -> Void
    ) {
        self.workers = workers
        self.settings = settings
        self.meter = meter
        self.onSample = onSample
    }

    mutating func start() async throws {
        startNs = Clock.nowNs()
        lastSampleNs = startNs
        for (index, worker) in workers.enumerated() {
            let timing = settings.replay.map { Pacer.Timing.replay($0) } ?? settings.schedule.map { .schedule($0) }
            let pacer = timing.map { Pacer(startNs: startNs, timing: $0, share: index, of: workers.count) }
            let clock = worker.eventLoop.submit {
                worker.value.start(pacer: pacer)
                return Clock.ofThisThread()
            }
            threadClocks.append(try await clock.get())
        }
    }

    /// Continues at another rate from now.
    private mutating func change(ratePerSecond: Int) async throws {
        let nowNs = Clock.nowNs()
        settings.ratePerSecond = ratePerSecond
        for (index, worker) in workers.enumerated() {
            let pacer = Pacer(
                startNs: nowNs, schedule: RateSchedule(ratePerSecond: ratePerSecond), share: index, of: workers.count)
            try await worker.eventLoop.submit { worker.value.change(pacer: pacer) }.get()
        }
    }

    /// Searches the highest rate that keeps the goal, and continues at it.
    /// - Returns: false if the task was cancelled.
    mutating func find(_ search: inout RateSearch, _ onNote: (String) -> Void) async throws -> Bool {
        while let rate = search.nextRate {
            try await change(ratePerSecond: rate)
            guard try await proceed(forNs: LoadBounds.settleNs, isWarmUp: true) else { return false }
            beginMeasuring()
            guard try await proceed(forNs: LoadBounds.searchStepNs, isWarmUp: true) else { return false }
            let elapsedNs = Clock.nowNs() - measuredFromNs
            let step = RateSearch.Step(
                ratePerSecond: rate, answeredPerSecond: Double(total.decisionCount) * 1e9 / Double(elapsedNs),
                p99Ns: total.latency.valueAtPercentile(99), failures: total.failureCount,
                latenessNs: total.lateness.valueAtPercentile(99))
            search.record(step)
            onNote(search.line(for: step))
        }
        try await change(ratePerSecond: search.kept ?? search.steps.last?.ratePerSecond ?? 1)
        return try await proceed(forNs: LoadBounds.settleNs, isWarmUp: true)
    }

    /// Runs for a while, with a sample once a second.
    /// - Returns: whether it ran to the end; false if the task was cancelled.
    mutating func proceed(forNs durationNs: Int64, isWarmUp: Bool) async throws -> Bool {
        let endNs = Clock.nowNs() + durationNs
        while true {
            let leftNs = endNs - Clock.nowNs()
            guard leftNs > 0 else { return true }
            let tickNs = max(0, min(leftNs, lastSampleNs + 1_000_000_000 - Clock.nowNs()))
            let isCancelled = (try? await Task.sleep(for: .nanoseconds(tickNs))) == nil
            try await sample(isWarmUp: isWarmUp)
            if isCancelled { return false }
            if let enough = settings.enoughDecisions, total.decisionCount >= enough { return true }
        }
    }

    /// Collects the statistics since the last time, and reports them.
    private mutating func sample(isWarmUp: Bool) async throws {
        var statistics = LoadStatistics()
        for worker in workers {
            statistics.add(try await worker.eventLoop.submit { worker.value.takeStatistics() }.get())
        }
        let nowNs = Clock.nowNs()
        total.add(statistics)
        if statistics.decisionCount > 0 { hasDecided = true }
        timeline.append(
            Timeline.Point(
                startNs: lastSampleNs - startNs, intervalNs: nowNs - lastSampleNs,
                intendedRate: settings.schedule?.rate(atNs: (lastSampleNs + nowNs) / 2 - startNs),
                statistics: statistics))
        onSample(
            LoadProgress.Sample(
                elapsedNs: nowNs - startNs, intervalNs: nowNs - lastSampleNs, isWarmUp: isWarmUp, statistics: statistics
            ))
        lastSampleNs = nowNs
    }

    /// The warm-up is over: statistics so far do not count.
    mutating func beginMeasuring() {
        let fault = total.firstFault
        total = LoadStatistics()
        total.firstFault = fault
        measuredFromNs = Clock.nowNs()
        processorFromNs = Clock.processorNs()
        threadsFromNs = threadClocks.map(Clock.ns)
        processesFromNs = meter.processorNs()
    }

    /// The sending is over: the rate and the processor time refer to this moment.
    func measured() -> Summary {
        var summary = Summary(
            settings: settings, elapsedNs: max(1, Clock.nowNs() - measuredFromNs),
            processorNs: Clock.processorNs() - processorFromNs, decidedWhileSending: total.decisionCount,
            statistics: total)
        summary.busiestThreadNs = zip(threadClocks, threadsFromNs).map { Clock.ns($0) - $1 }.max() ?? 0
        summary.processesNs = zip(meter.processorNs(), processesFromNs).map(-)
        summary.timeline = timeline.counted(fromNs: measuredFromNs - startNs)
        return summary
    }

    /// Waits for the last answers; they count as well.
    mutating func drain(into summary: inout Summary) async throws {
        let drains = workers.map { worker in worker.eventLoop.flatSubmit { worker.value.drain() } }
        for drain in drains { try await drain.get() }
        for worker in workers {
            let last = try await worker.eventLoop.submit {
                worker.value.end()
                return worker.value.takeStatistics()
            }.get()
            if last.decisionCount > 0 { hasDecided = true }
            summary.statistics.add(last)
            let recorded = try await worker.eventLoop.submit { worker.value.takeRecorded() }.get()
            summary.recorded += recorded.map {
                Trace.Entry(atNs: max(0, $0.atNs - startNs), target: $0.target)
            }
        }
    }
}
