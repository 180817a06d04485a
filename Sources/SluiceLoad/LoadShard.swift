import Glibc
import NIOCore
import NIOPosix
import SluiceEngine
import SluiceProtocol

/// The connections of one event loop: keeps them busy, opens them again when they break, tallies their answers.
///
/// Confined to its event loop.
final class LoadShard {
    /// The place of one connection: what stays when the connection itself breaks and is opened again.
    private struct Lane {
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
        /// Nothing counts any more.
        case over
    }

    let eventLoop: any EventLoop
    let frames: CheckFrames
    private let settings: LoadSettings
    private let oracle: SharedOracle?
    private var lanes: [Lane]
    private var pacer: Pacer?
    /// The lane that an open loop's next check goes to.
    private var nextLane = 0
    private var phase = Phase.idle
    private var tally = Tally()
    private var events: [SharedOracle.Event] = []
    private var random: SeededRandom
    private var drained: EventLoopPromise<Void>?

    /// - Parameters:
    ///   - index: which of `settings.threadCount` shards this is: connections are dealt to them in turn.
    init(
        settings: LoadSettings, index: Int, chooser: GrantChooser, frames: CheckFrames, oracle: SharedOracle?,
        eventLoop: any EventLoop
    ) {
        self.settings = settings
        self.frames = frames
        self.oracle = oracle
        self.eventLoop = eventLoop
        random = SeededRandom(seed: settings.seed &+ UInt64(index))
        // The connections of all sockets in turn, so that an open loop alternates between sidecars.
        lanes = stride(from: index, to: settings.connectionCount, by: settings.threadCount).map { number in
            Lane(
                sidecar: number % settings.socketPaths.count,
                workload: Workload(
                    chooser: chooser, sessionCount: settings.sessionCount, seed: settings.seed, connection: number))
        }
    }

    // MARK: - Connecting

    /// Opens every connection; fails if one cannot be opened.
    func connect() -> EventLoopFuture<Void> {
        EventLoopFuture.andAllSucceed(lanes.indices.map { connect($0) }, on: eventLoop)
    }

    /// Fails with a `LoadFailure`.
    private func connect(_ lane: Int) -> EventLoopFuture<Void> {
        let shard = NIOLoopBound(self, eventLoop: eventLoop)
        let path = settings.socketPaths[lanes[lane].sidecar]
        return ClientBootstrap(group: eventLoop)
            .connectTimeout(.nanoseconds(LoadBounds.connectTimeoutNs))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(LoadConnection(lane: lane, shard: shard.value))
                }
            }
            .connect(unixDomainSocketPath: path)
            .flatMapThrowing { channel in
                let connection = try channel.pipeline.syncOperations.handler(type: LoadConnection.self)
                guard connection.isOpen else { throw ChannelError.alreadyClosed }
                shard.value.opened(connection)
            }
            .flatMapErrorThrowing { throw LoadFailure.cannotConnect(path: path, reason: Self.reason($0)) }
    }

    private static func reason(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
        return "\(error)"
    }

    private func opened(_ connection: LoadConnection) {
        guard phase == .idle || phase == .sending else { return connection.close() }
        lanes[connection.lane].connection = connection
        refill(connection, nowNs: Clock.nowNs())
    }

    /// A connection broke, with these checks unanswered.
    func closed(_ connection: LoadConnection, lost: some Collection<LoadConnection.Outstanding>) {
        let lane = connection.lane
        guard lanes[lane].connection === connection else { return }
        lanes[lane].connection = nil
        guard phase != .over else { return }
        tally.brokenConnections += 1
        tally.count(.lost, Int64(lost.count))
        for check in lost { loseSight(of: check.target) }
        if oracle != nil { events.append(.lostConnection(sidecar: lanes[lane].sidecar)) }
        flushEvents()
        connectAgain(lane)
        reportDrained()
    }

    /// After min(first * 2^failures, max), between half of it and all: connections that broke together do not come back
    /// together.
    private func connectAgain(_ lane: Int) {
        guard phase == .idle || phase == .sending else { return }
        let ceiling = min(LoadBounds.firstBackoffNs << Int64(min(lanes[lane].failures, 16)), LoadBounds.maxBackoffNs)
        lanes[lane].failures += 1
        let pause = TimeAmount.nanoseconds(Int64.random(in: ceiling / 2...ceiling, using: &random))
        eventLoop.assumeIsolated().scheduleTask(in: pause) { [self] in
            guard phase == .idle || phase == .sending else { return }
            connect(lane).assumeIsolated().whenFailure { [self] error in
                tally.brokenConnections += 1
                tally.note(fault: "\(error)")
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
        if pacer != nil { sendDue() }
        sweep()
    }

    /// A closed loop keeps its pipeline full.
    private func refill(_ connection: LoadConnection, nowNs: Int64) {
        guard phase == .sending, pacer == nil else { return }
        while connection.outstandingCount < settings.pipeline {
            connection.add(lanes[connection.lane].workload.next(), intendedNs: nowNs, nowNs: nowNs)
        }
        connection.flush()
    }

    /// An open loop sends what is due, and comes back when the next is.
    private func sendDue() {
        guard phase == .sending, pacer != nil else { return }
        let nowNs = Clock.nowNs()
        var sends = 0
        var hasRoom = true
        while sends < LoadBounds.maxSendsPerTurn {
            guard let lane = laneWithRoom() else {
                hasRoom = false
                break
            }
            guard let intendedNs = pacer!.take(nowNs: nowNs) else { break }
            sends += 1
            nextLane = (lane + 1) % lanes.count
            let target = lanes[lane].workload.next()
            guard let connection = lanes[lane].connection else {
                tally.count(.unsent)
                continue
            }
            connection.add(target, intendedNs: intendedNs, nowNs: nowNs)
            tally.recordLateness(nowNs - intendedNs)
        }
        for lane in lanes { lane.connection?.flush() }
        let shortestNs = hasRoom ? Self.shortestWaitNs : Self.waitForRoomNs
        let waitNs = max(shortestNs, pacer!.nextNs - Clock.nowNs())
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(waitNs)) { [self] in sendDue() }
    }

    /// How long an open loop waits at least before it looks again, ns: at high rates a timer for every check would cost
    /// more than the check.
    private static let shortestWaitNs: Int64 = 20_000
    /// How long it waits when no connection can take more, ns.
    private static let waitForRoomNs: Int64 = 500_000

    /// The next lane in turn, passing over connections that can take no more; nil if none can. A lane that is down keeps
    /// its turn, so that the others do not get more than their part.
    private func laneWithRoom() -> Int? {
        for offset in lanes.indices {
            let lane = (nextLane + offset) % lanes.count
            if (lanes[lane].connection?.outstandingCount ?? 0) < LoadBounds.maxPipeline { return lane }
        }
        return nil
    }

    // MARK: - Answers

    func received(
        _ decision: DecisionReply, of check: LoadConnection.Outstanding, lane: Int, nowNs: Int64
    ) {
        lanes[lane].failures = 0
        let latencyNs = nowNs - check.intendedNs
        tally.count(decision.source, isAllowed: decision.allowed, latencyNs: latencyNs)
        if latencyNs > settings.budgetNs { tally.overBudget += 1 }
        guard oracle != nil else { return }
        let answer = Oracle.Answer(
            subject: settings.subject(of: check.target), sidecar: lanes[lane].sidecar, isAllowed: decision.allowed,
            source: decision.source, cost: settings.cost, sentNs: check.sentNs, receivedNs: nowNs)
        events.append(.answer(answer, trace: decision.trace))
    }

    /// - Parameter check: nil if the error answers none.
    func received(error sentence: String, of check: LoadConnection.Outstanding?) {
        tally.note(fault: sentence)
        guard let check else { return }
        if sentence.hasPrefix("\(ErrorCode.busy.rawValue) ") {
            tally.count(.busy)
        } else {
            tally.count(.refused)
            loseSight(of: check.target)
        }
    }

    func receivedGarbage(_ fault: String) {
        tally.count(.malformed)
        tally.note(fault: "not an answer of Sluice: \(fault)")
    }

    func readCompleted(_ connection: LoadConnection) {
        flushEvents()
        refill(connection, nowNs: Clock.nowNs())
        reportDrained()
    }

    private func loseSight(of target: CheckTarget) {
        if oracle != nil { events.append(.lostSight(subject: settings.subject(of: target))) }
    }

    private func flushEvents() { oracle?.take(&events) }

    /// Tells the oracle of checks that have been waiting for long, again and again while they do.
    private func sweep() {
        guard oracle != nil, phase == .sending || phase == .draining else { return }
        let staleNs = Clock.nowNs() - LoadBounds.staleAfterNs
        for lane in lanes {
            guard let connection = lane.connection else { continue }
            for check in connection.outstanding(sentBefore: staleNs) { loseSight(of: check.target) }
        }
        flushEvents()
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(LoadBounds.sweepIntervalNs)) { [self] in sweep() }
    }

    // MARK: - Ending

    /// Hands over what was tallied since the last time.
    func takeTally() -> Tally {
        defer { tally = Tally() }
        return tally
    }

    /// Sends no more, and completes when the last answer is there or the grace is over.
    func drain() -> EventLoopFuture<Void> {
        phase = .draining
        let promise = eventLoop.makePromise(of: Void.self)
        drained = promise
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(LoadBounds.graceNs)) { [self] in completeDrain() }
        reportDrained()
        return promise.futureResult
    }

    private func reportDrained() {
        guard phase == .draining, lanes.allSatisfy({ ($0.connection?.outstandingCount ?? 0) == 0 }) else { return }
        completeDrain()
    }

    private func completeDrain() {
        drained?.succeed()
        drained = nil
    }

    /// Closes everything; what is still outstanding counts as unanswered.
    func end() {
        for lane in lanes {
            guard let connection = lane.connection else { continue }
            for check in connection.outstanding(sentBefore: .max) {
                tally.count(.unanswered)
                loseSight(of: check.target)
            }
        }
        flushEvents()
        phase = .over
        for lane in lanes.indices {
            lanes[lane].connection?.close()
            lanes[lane].connection = nil
        }
    }
}
