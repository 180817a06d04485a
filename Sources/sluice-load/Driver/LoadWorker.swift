import Glibc
import NIOCore
import NIOPosix
import SluiceEngine
import SluiceProtocol

/// The connections of one event loop: keeps them busy, opens them again when they break, counts their answers.
///
/// Confined to its event loop.
final class LoadWorker {
    /// The place of one connection: it remains when the connection itself breaks and is opened again.
    struct Lane {
        let sidecar: Int
        var workload: Workload
        var connection: LoadConnection?
        var failures = 0
    }

    private enum Phase {
        /// Connections are opened, nothing is sent.
        case idle
        /// Checks are sent.
        case sending
        /// No more checks are sent; the last answers are awaited.
        case draining
        /// Nothing is counted any more.
        case over
    }

    let eventLoop: any EventLoop
    let frames: CheckFrames
    var target: LoadTarget { settings.target }
    let settings: LoadSettings
    let oracle: SharedOracle?
    /// Whether any checks request reservations.
    private let reserves: Bool
    /// Whether any charges are given back.
    private let refunds: Bool
    var lanes: [Lane]
    private var pacer: Pacer?
    /// The lane that an open loop's next check goes to.
    private var nextLane = 0
    /// Reservations from the last answers, to be settled; kept for its storage.
    private var reserved: [Settlement] = []
    /// Connections that an open loop has written to in this turn; kept for its storage.
    private var written: [LoadConnection] = []
    private var phase = Phase.idle
    private var statistics = LoadStatistics()
    private var recorded: [Trace.Entry] = []
    var random: SeededRandom
    private var drained: EventLoopPromise<Void>?

    /// - Parameters:
    ///   - index: which of the `settings.threadCount` workers this is: connections are distributed to them in turn.
    init(
        settings: LoadSettings, index: Int, chooser: Chooser, frames: CheckFrames, oracle: SharedOracle?,
        eventLoop: any EventLoop
    ) {
        self.settings = settings
        self.frames = frames
        self.oracle = oracle
        reserves = settings.kinds.contains(where: \.reserves)
        refunds = settings.refundShare > 0
        self.eventLoop = eventLoop
        random = SeededRandom(seed: settings.seed &+ UInt64(index))
        // The connections of all sockets in turn, so that an open loop alternates between sidecars.
        let kindWeights = settings.kinds.map(\.weight)
        lanes = stride(from: index, to: settings.connectionCount, by: settings.threadCount).map { number in
            Lane(
                sidecar: number % settings.socketPaths.count,
                workload: Workload(
                    chooser: chooser, kindWeights: kindWeights, sessionCount: settings.sessionCount,
                    seed: settings.seed, connection: number))
        }
    }

    // MARK: - Connecting

    /// Opens every connection; fails if one cannot be opened.
    func connect() -> EventLoopFuture<Void> {
        EventLoopFuture.andAllSucceed(lanes.indices.map { connect($0) }, on: eventLoop)
    }

    /// Fails with a `LoadFailure`. Retries while a listener's queue is full, as when many connect at once.
    private func connect(_ lane: Int) -> EventLoopFuture<Void> {
        let path = settings.socketPaths[lanes[lane].sidecar]
        return knock(lane, untilNs: Clock.nowNs() + LoadBounds.connectTimeoutNs)
            .flatMapErrorThrowing { [target] in
                throw LoadFailure.cannotConnect(path: path, reason: Self.reason($0), target: target)
            }
    }

    private func knock(_ lane: Int, untilNs: Int64) -> EventLoopFuture<Void> {
        attempt(lane).assumeIsolated()
            .flatMapError { [self] error -> EventLoopFuture<Void> in
                // The error of a Unix socket in that case; a TCP socket makes callers wait.
                guard (error as? IOError)?.errnoCode == EAGAIN, Clock.nowNs() < untilNs else {
                    return eventLoop.makeFailedFuture(error)
                }
                let nextTry = NIODeadline.now() + .nanoseconds(LoadBounds.fullQueuePauseNs)
                return eventLoop.assumeIsolated().flatScheduleTask(deadline: nextTry) { [self] in
                    knock(lane, untilNs: untilNs)
                }.futureResult
            }
            .nonisolated()
    }

    private func attempt(_ lane: Int) -> EventLoopFuture<Void> {
        let worker = NIOLoopBound(self, eventLoop: eventLoop)
        let path = settings.socketPaths[lanes[lane].sidecar]
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(.nanoseconds(LoadBounds.connectTimeoutNs))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(LoadConnection(lane: lane, worker: worker.value))
                }
            }
        let address = SocketPlace(path)
        return address.connect(bootstrap)
            .flatMapThrowing { channel in
                let connection = try channel.pipeline.syncOperations.handler(type: LoadConnection.self)
                guard connection.isOpen else { throw ChannelError.alreadyClosed }
                worker.value.opened(connection)
            }
    }

    private static func reason(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
        return "\(error)"
    }

    private func opened(_ connection: LoadConnection) {
        guard phase == .idle || phase == .sending else { return connection.close() }
        lanes[connection.lane].connection = connection
        connection.pipeline.greet()
        connection.flush()
        refill(connection, nowNs: Clock.nowNs())
    }

    /// A connection broke; `lost` are its unanswered checks.
    func closed(_ connection: LoadConnection, lost: some Collection<RequestPipeline.Outstanding>) {
        let lane = connection.lane
        guard lanes[lane].connection === connection else { return }
        lanes[lane].connection = nil
        guard phase != .over else { return }
        statistics.brokenConnections += 1
        statistics.count(.lost, Int64(lost.count))
        loseSight(of: lost)
        oracle?.withOracle { $0.lostConnection(toSidecar: lanes[lane].sidecar) }
        connectAgain(lane)
        reportDrained()
    }

    /// Waits for min(first * 2^failures, max), reduced by up to half at random, so that connections that broke together
    /// do not return together.
    private func connectAgain(_ lane: Int) {
        guard phase == .idle || phase == .sending else { return }
        let ceiling = min(LoadBounds.firstBackoffNs << Int64(min(lanes[lane].failures, 16)), LoadBounds.maxBackoffNs)
        lanes[lane].failures += 1
        let pause = TimeAmount.nanoseconds(Int64.random(in: ceiling / 2...ceiling, using: &random))
        eventLoop.assumeIsolated().scheduleTask(in: pause) { [self] in
            guard phase == .idle || phase == .sending else { return }
            connect(lane).assumeIsolated().whenFailure { [self] error in
                statistics.brokenConnections += 1
                statistics.note(fault: "\(error)")
                connectAgain(lane)
            }
        }
    }

    // MARK: - Sending

    /// Begins to send.
    /// - Parameter pacer: for an open loop; nil for a closed one.
    func start(pacer: Pacer?) {
        phase = .sending
        self.pacer = pacer
        let nowNs = Clock.nowNs()
        for lane in lanes.indices {
            if let connection = lanes[lane].connection { refill(connection, nowNs: nowNs) }
        }
        if pacer != nil { keepSending() }
        if settings.burst != nil { awaitBoundary() }
        sweep()
    }

    /// Continues at another rate from now.
    func change(pacer: Pacer) { self.pacer = pacer }

    /// Keeps a closed loop's pipeline full.
    private func refill(_ connection: LoadConnection, nowNs: Int64) {
        guard phase == .sending, pacer == nil else { return }
        let outstandingCount = connection.pipeline.outstanding.count
        connection.pipeline.fill(to: settings.pipeline, from: &lanes[connection.lane].workload, nowNs: nowNs)
        if settings.isRecorded {
            for check in connection.pipeline.outstanding.dropFirst(outstandingCount) {
                record(check.target, intendedNs: nowNs)
            }
        }
        connection.flush()
    }

    /// Sends the checks of an open loop that are due.
    /// - Returns: whether a connection can take more.
    @discardableResult
    private func sendDue() -> Bool {
        guard phase == .sending, pacer != nil else { return true }
        let nowNs = Clock.nowNs()
        guard pacer!.nextNs <= nowNs else { return true }
        defer {
            for connection in written { connection.flush() }
            written.removeAll(keepingCapacity: true)
        }
        for _ in 0..<LoadBounds.maxSendsPerTurn {
            guard let lane = laneWithRoom() else { return false }
            let number = pacer!.next
            guard let intendedNs = pacer!.take(nowNs: nowNs) else { return true }
            nextLane = (lane + 1) % lanes.count
            let target = settings.replay?.entries[Int(number)].target ?? lanes[lane].workload.next()
            guard let connection = lanes[lane].connection else {
                statistics.count(.unsent)
                continue
            }
            send(target, on: connection, intendedNs: intendedNs, nowNs: nowNs)
            written.append(connection)
            statistics.recordLateness(nowNs - intendedNs)
        }
        return true
    }

    /// Sends the checks that are due, and schedules itself for the next. Any other event of the loop also sends what is
    /// due.
    private func keepSending() {
        guard phase == .sending, pacer != nil else { return }
        let shortestNs = sendDue() ? Self.shortestWaitNs : Self.waitForRoomNs
        let waitNs = min(max(shortestNs, pacer!.nextNs - Clock.nowNs()), Self.longestWaitNs)
        // A callback costs less than a task: it needs no promise.
        _ = try? eventLoop.assumeIsolated().scheduleCallback(in: .nanoseconds(waitNs), handler: self)
    }

    private func send(_ target: CheckTarget, on connection: LoadConnection, intendedNs: Int64, nowNs: Int64) {
        connection.pipeline.send(target, intendedNs: intendedNs, nowNs: nowNs)
        record(target, intendedNs: intendedNs)
    }

    private func record(_ target: CheckTarget, intendedNs: Int64) {
        guard settings.isRecorded else { return }
        guard recorded.count < LoadBounds.maxTraceChecks / settings.threadCount else {
            statistics.note(fault: "more checks than a trace has room for: the rest is not recorded")
            return
        }
        recorded.append(Trace.Entry(atNs: intendedNs, target: target))
    }

    /// Longest wait of an open loop, ns: after the last check of a trace nothing is due any more.
    private static let longestWaitNs: Int64 = 1_000_000_000
    /// Shortest timer of an open loop, ns: at high rates a timer for every check would cost more than the check. On a
    /// virtual machine arming one and being woken by it can take 30 us of the processor.
    private static let shortestWaitNs: Int64 = 200_000
    /// How long it waits when no connection can take more, ns.
    private static let waitForRoomNs: Int64 = 500_000

    /// The next lane in turn, skipping connections that can take no more; nil if none can. A lane that is down keeps
    /// its turn, so that the others do not get more than their part.
    private func laneWithRoom() -> Int? {
        for offset in lanes.indices {
            let lane = (nextLane + offset) % lanes.count
            if (lanes[lane].connection?.pipeline.outstanding.count ?? 0) < LoadBounds.maxPipeline { return lane }
        }
        return nil
    }

    // MARK: - Bursts

    /// Waits for the next boundary of the windows that bursts are aligned to.
    private func awaitBoundary() {
        guard let burst = settings.burst, phase == .sending else { return }
        let waitNs = burst.periodNs - Clock.wallNs() % burst.periodNs
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(waitNs)) { [self] in
            guard phase == .sending else { return }
            send(burst)
            awaitBoundary()
        }
    }

    /// Sends this worker's part of a burst, at once.
    private func send(_ burst: LoadSettings.Burst) {
        let nowNs = Clock.nowNs()
        // Connections are distributed evenly, and so is the burst.
        let whole = burst.count * lanes.count
        let count =
            whole / settings.connectionCount
            + (random.next() % UInt64(settings.connectionCount)
                < UInt64(whole % settings.connectionCount) ? 1 : 0)
        for _ in 0..<count {
            guard let lane = laneWithRoom(), let connection = lanes[lane].connection else {
                statistics.count(.unsent)
                continue
            }
            nextLane = (lane + 1) % lanes.count
            send(lanes[lane].workload.next(), on: connection, intendedNs: nowNs, nowNs: nowNs)
        }
        for lane in lanes { lane.connection?.flush() }
    }

    // MARK: - Answers

    /// Handles the answers of one read.
    func received(_ answered: borrowing [RequestPipeline.Answered], lane: Int, nowNs: Int64) {
        guard answered.count > 0 else { return }
        lanes[lane].failures = 0
        Self.count(answered, in: &statistics, settings, nowNs: nowNs)
        if reserves {
            for index in answered.indices {
                if let settlement = settlement(of: answered[index]) { reserved.append(settlement) }
            }
        }
        oracle?.withOracle { report(&$0, answered, sidecar: lanes[lane].sidecar, nowNs: nowNs) }
        settleReserved(lane: lane)
        if refunds { refund(answered, lane: lane) }
    }

    private func report(
        _ oracle: inout Oracle, _ answered: borrowing [RequestPipeline.Answered], sidecar: Int, nowNs: Int64
    ) {
        for index in answered.indices {
            guard let check = answered[index].check else { continue }
            let subject = settings.subject(of: check.target)
            switch answered[index].answer {
            case .decision(let isAllowed, let source, let trace, _):
                let kind = Int(check.target.kind)
                let answer = Oracle.Answer(
                    subject: subject, sidecar: sidecar, kind: kind, isAllowed: isAllowed, source: source,
                    cost: settings.kinds[kind].cost, sentNs: check.sentNs, receivedNs: nowNs)
                if let refund = check.refund {
                    oracle.refunded(refund, answer)
                } else if settings.kinds[kind].charges {
                    oracle.charged(answer)
                } else {
                    oracle.observe(answer, trace: trace)
                }
            case .settled(_, let isDone): oracle.settled(subject: subject, isDone: isDone)
            case .error(let sentence):
                if !Self.isBusy(sentence) { oracle.lostSight(ofSubject: subject) }
            case .garbage:
                oracle.lostSight(ofSubject: subject)
            }
        }
    }

    // MARK: - Reservations

    /// Settles the new reservations of this lane after the configured holding time.
    private func settleReserved(lane: Int) {
        guard !reserved.isEmpty else { return }
        guard settings.reservations.holdNs > 0 else {
            settle(reserved, lane: lane)
            reserved.removeAll(keepingCapacity: true)
            return
        }
        let held = reserved
        reserved.removeAll()
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(settings.reservations.holdNs)) { [self] in
            guard phase == .sending else { return }
            settle(held, lane: lane)
            lanes[lane].connection?.flush()
        }
    }

    private func settle(_ settlements: [Settlement], lane: Int) {
        guard let connection = lanes[lane].connection else { return }
        let nowNs = Clock.nowNs()
        oracle?.withOracle { oracle in
            for settlement in settlements {
                guard let trace = settlement.trace else { continue }
                let answer = Oracle.Answer(
                    subject: settings.subject(of: settlement.target), sidecar: lanes[lane].sidecar,
                    kind: Int(settlement.target.kind), isAllowed: true,
                    source: settlement.source, cost: settlement.cost, sentNs: nowNs, receivedNs: nowNs)
                oracle.settle(answer, to: settlement.committedCost ?? 0, trace: trace)
            }
        }
        for settlement in settlements { connection.pipeline.settle(settlement, nowNs: nowNs) }
    }

    private static func count(
        _ answered: borrowing [RequestPipeline.Answered], in statistics: inout LoadStatistics, _ settings: LoadSettings,
        nowNs: Int64
    ) {
        for index in answered.indices {
            switch (answered[index].answer, answered[index].check) {
            case (.decision(let isAllowed, let source, _, _), let check):
                let latencyNs = nowNs - (check?.intendedNs ?? nowNs)
                statistics.count(source, isAllowed: isAllowed, latencyNs: latencyNs)
                statistics.judge(
                    latencyNs: latencyNs, sinceSentNs: nowNs - (check?.sentNs ?? nowNs), budgetNs: settings.budgetNs,
                    isOpenLoop: settings.isOpenLoop)
            case (.settled(let kind, let isDone), let settlement):
                statistics.count(kind, isDone: isDone, latencyNs: nowNs - (settlement?.sentNs ?? nowNs))
            case (.error(let sentence), let check):
                statistics.note(fault: sentence)
                // An error that answers no check is reported as the end of the connection.
                if check != nil { statistics.count(isBusy(sentence) ? .busy : .refused) }
            case (.garbage(let expectation), _):
                statistics.note(fault: "an answer that is not Sluice's: \(expectation)")
                statistics.count(.malformed)
            }
        }
    }

    /// Whether the check was rejected before anything was decided or charged.
    private static func isBusy(_ sentence: String) -> Bool { sentence.hasPrefix("\(ErrorCode.busy.rawValue) ") }

    func readCompleted(_ connection: LoadConnection) {
        if pacer == nil { refill(connection, nowNs: Clock.nowNs()) } else { sendDue() }
        // In an open loop, settlements wait for this flush.
        connection.flush()
        reportDrained()
    }

    private func loseSight(of checks: some Sequence<RequestPipeline.Outstanding>) {
        oracle?.withOracle { oracle in
            for check in checks { oracle.lostSight(ofSubject: settings.subject(of: check.target)) }
        }
    }

    /// Reports checks that have been waiting for long to the oracle, repeatedly while they do.
    private func sweep() {
        guard oracle != nil, phase == .sending || phase == .draining else { return }
        let staleNs = Clock.nowNs() - LoadBounds.staleAfterNs
        for lane in lanes {
            guard let connection = lane.connection else { continue }
            loseSight(of: connection.pipeline.outstanding(sentBefore: staleNs))
        }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(LoadBounds.sweepIntervalNs)) { [self] in sweep() }
    }

    // MARK: - Ending

    /// Returns the recorded checks, with times of the driver's clock.
    func takeRecorded() -> [Trace.Entry] {
        defer { recorded = [] }
        return recorded
    }

    /// Returns the statistics since the last time.
    func takeStatistics() -> LoadStatistics {
        defer { statistics = LoadStatistics() }
        return statistics
    }

    /// Sends no more, and completes when the last answer has arrived or the grace period is over.
    func drain() -> EventLoopFuture<Void> {
        phase = .draining
        let promise = eventLoop.makePromise(of: Void.self)
        drained = promise
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(LoadBounds.graceNs)) { [self] in completeDrain() }
        reportDrained()
        return promise.futureResult
    }

    private func reportDrained() {
        guard phase == .draining, lanes.allSatisfy({ ($0.connection?.pipeline.outstanding.count ?? 0) == 0 }) else {
            return
        }
        completeDrain()
    }

    private func completeDrain() {
        drained?.succeed()
        drained = nil
    }

    /// Closes everything; outstanding checks count as unanswered.
    func end() {
        for lane in lanes {
            guard let connection = lane.connection else { continue }
            statistics.count(.unanswered, Int64(connection.pipeline.outstanding.count))
            loseSight(of: connection.pipeline.outstanding(sentBefore: .max))
        }
        phase = .over
        for lane in lanes.indices {
            lanes[lane].connection?.close()
            lanes[lane].connection = nil
        }
    }
}

extension LoadWorker: NIOScheduledCallbackHandler {
    func handleScheduledCallback(eventLoop: some EventLoop) { keepSending() }
}
