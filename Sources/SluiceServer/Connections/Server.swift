import Glibc
package import Logging
package import NIOCore
import NIOPosix
package import SluiceEngine
package import SluicePolicy
import SluiceProtocol

package struct ServerConfiguration: Sendable {
    package var socketPath: String
    /// Permission bits of the socket.
    package var socketMode: UInt32
    /// nil leaves the group as it is.
    package var socketGroupID: UInt32?
    /// Users besides root and the daemon's own that may use operators' commands.
    package var operatorUserIDs: Set<UInt32>
    package var limiter: LimiterConfiguration
    /// Memory for everything that clients make the sidecar hold, bytes.
    package var memoryBytes = ServerBounds.defaultMemoryBytes
    /// Whether `CL.THROTTLE` is answered.
    package var answersThrottle = false
    package var http = HTTPConfiguration()
    /// Where gateways call over gRPC.
    package var grpc = GRPCConfiguration()
    /// Where decisions are logged; nil: nowhere.
    package var decisionLog: DecisionLogConfiguration?
    /// The state that survives the process; nil: none.
    package var state: SavedState?
    package var facts: ServerFacts
    /// Listening sockets that a service manager made, by their paths as they are set here.
    package var handedOver: [String: Int32] = [:]
    /// Whether it takes the place of a sidecar that runs, once it can answer.
    package var takesOver = false
    /// Who wants to know how the sidecar is; nil: nobody.
    package var manager: ServiceManager?

    package init(
        socketPath: String, socketMode: UInt32, socketGroupID: UInt32?, operatorUserIDs: Set<UInt32>,
        limiter: LimiterConfiguration, state: SavedState? = nil, facts: ServerFacts
    ) {
        self.state = state
        self.socketPath = socketPath
        self.socketMode = socketMode
        self.socketGroupID = socketGroupID
        self.operatorUserIDs = operatorUserIDs
        self.limiter = limiter
        self.facts = facts
    }
}

/// The store could not be used in the time of a start, and was required.
package struct StoreUnavailable: Error, CustomStringConvertible {
    /// Without its password.
    package var address: String
    package var waited: TimeAmount
    /// In the store's own words.
    package var reason: String

    package var description: String {
        "--require-redis: counters cannot be shared in Redis at \(address) after \(waited.nanoseconds / 1_000_000_000) s: "
            + "\(reason)"
    }
}

/// One sidecar: a limiter, its link to the store and the socket that gateways call, all on one event loop.
package final class Server: Sendable {
    package typealias MakeLinks = @Sendable (any EventLoop) -> [any CounterStore]

    let configuration: ServerConfiguration
    let eventLoop: any EventLoop
    let host: NIOLoopBound<LimiterHost>
    private let operators: NIOLoopBound<OperatorCommands>
    /// nil if it listens nowhere.
    let http: NIOLoopBound<HTTPDoor?>
    let httpListeners: NIOLoopBoundBox<DoorListeners>
    let listener: NIOLoopBoundBox<(any Channel)?>
    let socketFile: NIOLoopBoundBox<SocketFile?>
    let socketWatch: NIOLoopBoundBox<SocketWatch>
    let gatewayService: NIOLoopBound<GatewayService>
    let grpc: NIOLoopBoundBox<DoorListeners>
    let managerStatus: NIOLoopBoundBox<ManagerStatus>
    let logger: Logger

    /// - Parameter makeLinks: makes the links to the store, one for each partition; called once, on the event loop. None:
    ///   no store.
    package static func make(
        _ configuration: ServerConfiguration, policies: PolicySet, eventLoop: any EventLoop, logger: Logger,
        makeLinks: @escaping MakeLinks
    ) async throws -> Server {
        try await eventLoop.submit {
            Server(configuration, policies: policies, eventLoop: eventLoop, logger: logger, links: makeLinks(eventLoop))
        }.get()
    }

    private init(
        _ configuration: ServerConfiguration, policies: PolicySet, eventLoop: any EventLoop, logger: Logger,
        links: [any CounterStore]
    ) {
        var kept = configuration
        // The records are no longer needed.
        kept.state = nil
        self.configuration = kept
        self.eventLoop = eventLoop
        self.logger = logger
        var limiterConfiguration = configuration.limiter
        limiterConfiguration.keepsState = configuration.state != nil
        limiterConfiguration.maxTableBytes = MemoryBudget.tableLimitBytes(of: configuration.memoryBytes)
        var limiter = PartitionedLimiter(
            configuration: limiterConfiguration, policies: policies, now: SystemClock.now())
        let stateWriter = configuration.state.map {
            Self.restore(&limiter, from: $0.contents, folder: $0.file.folder, logger: logger)
            return StateWriter($0.file, eventLoop: eventLoop, logger: logger)
        }
        let reserved = configuration.http.isOn ? ServerBounds.maxHTTPConnections : 0
        let maxConnections = max(1, OpenFileLimit.raise() - reserved)
        if maxConnections < ServerBounds.maxConnections - reserved {
            logger.warning(
                "the limit on open files leaves room for few connections: raise it (ulimit -n, LimitNOFILE)",
                metadata: ["max_connections": "\(maxConnections)"])
        }
        let host = LimiterHost(
            limiter: limiter, links: links, stateWriter: stateWriter, maxConnections: maxConnections,
            memoryBytes: configuration.memoryBytes, answersThrottle: configuration.answersThrottle,
            eventLoop: eventLoop, logger: logger)
        host.decisionLog = configuration.decisionLog.map {
            DecisionLog(
                $0,
                writer: LineWriter(
                    $0.file, identities: $0.identityKey?.identities, eventLoop: eventLoop, logger: logger))
        }
        self.host = NIOLoopBound(host, eventLoop: eventLoop)
        let operators = OperatorCommands(
            host: host, facts: configuration.facts, operatorUserIDs: configuration.operatorUserIDs)
        self.operators = NIOLoopBound(operators, eventLoop: eventLoop)
        let door =
            configuration.http.isOn ? HTTPDoor(host: host, operators: operators, facts: configuration.facts) : nil
        http = NIOLoopBound(door, eventLoop: eventLoop)
        httpListeners = NIOLoopBoundBox(DoorListeners(), eventLoop: eventLoop)
        listener = NIOLoopBoundBox(nil, eventLoop: eventLoop)
        socketFile = NIOLoopBoundBox(nil, eventLoop: eventLoop)
        socketWatch = NIOLoopBoundBox(SocketWatch(), eventLoop: eventLoop)
        gatewayService = NIOLoopBound(
            GatewayService(
                host: host, gateways: configuration.grpc.gateways, budgetNs: configuration.grpc.budgetMs * 1_000_000,
                largeMessages: LargeMessageReader(eventLoop: eventLoop, isAside: true)),
            eventLoop: eventLoop)
        grpc = NIOLoopBoundBox(DoorListeners(), eventLoop: eventLoop)
        managerStatus = NIOLoopBoundBox(ManagerStatus(), eventLoop: eventLoop)
        followStatus(policies)
    }

    private static func restore(
        _ limiter: inout PartitionedLimiter, from contents: StateFile.Contents, folder: String, logger: Logger
    ) {
        if contents.droppedBytes > 0 {
            logger.warning(
                contents.isSetAside
                    ? "the state cannot be read: it was set aside, and this is a new replica"
                    : "the end of the state cannot be read: it was dropped",
                metadata: ["folder": "\(folder)", "bytes": "\(contents.droppedBytes)"])
        }
        let restoration = limiter.restore(contents.records, now: SystemClock.now())
        guard !contents.records.isEmpty else { return }
        if !restoration.otherKeys.isEmpty {
            logger.warning(
                "the state is of other keys in redis, or of an earlier layout of them: it was dropped",
                metadata: [
                    "folder": "\(folder)", "keys": "\(restoration.otherKeys)",
                    "expected": "\(limiter.configuration.keys.name)",
                ])
        }
        if restoration.implausible > 0 {
            logger.warning(
                "records in the state have numbers that cannot be: they were passed over",
                metadata: ["folder": "\(folder)", "records": "\(restoration.implausible)"])
        }
        if restoration.droppedStoreMs > 0 {
            logger.warning(
                "redis' time in the state is far ahead of this machine's clock: it was dropped",
                metadata: ["folder": "\(folder)", "redis_ms": "\(restoration.droppedStoreMs)"])
        }
        logger.info(
            "goes on from its state",
            metadata: [
                "counters": "\(restoration.counters)", "unsettled": "\(restoration.unsettled)",
                "dropped": "\(restoration.dropped)",
            ])
    }

    /// Connects to the store, and starts to listen when counting is shared or after `storeWait`: a replica that can
    /// share counts should not begin with local ones. After its task was cancelled, only `stop` may be called.
    /// - Parameter requiresStore: whether it throws `StoreUnavailable` rather than listen without sharing.
    package func start(storeWait: TimeAmount, requiresStore: Bool = false) async throws {
        // One that is taken over goes on until this one can answer.
        if !configuration.takesOver { try await listenHTTP() }
        if configuration.limiter.usesStore {
            try await reachStore(within: storeWait)
            if requiresStore, let reason = try await unsharedReason() {
                throw StoreUnavailable(
                    address: configuration.facts.storeAddress, waited: storeWait, reason: reason)
            }
        } else {
            try await eventLoop.submit { [host] in host.value.start() }.get()
        }
        if configuration.takesOver { try await listenHTTP() }
        try await listen()
        do {
            try await listenForGRPC()
        } catch {
            try await eventLoop.submit { [self] in stopListening() }.get()
            throw error
        }
        try await eventLoop.submit { [http] in http.value?.readiness = .ready }.get()
    }

    /// Lets those in whose connections wait to be accepted, once no more can come: for a moment at most. The queue of a socket
    /// that was handed over outlives this process instead.
    private func acceptWaiting() async throws {
        let mayWait = try await eventLoop.submit { [socketFile] in
            socketFile.value?.remove()
            return socketFile.value?.isOwn ?? false
        }.get()
        guard mayWait else { return }
        for _ in 0..<ServerBounds.acceptLooks {
            guard try await eventLoop.submit({ [listener] in Self.hasWaiting(listener.value) }).get() else { return }
            try await Task.sleep(for: .nanoseconds(ServerBounds.acceptPauseNs))
        }
    }

    private static func hasWaiting(_ listener: (any Channel)?) -> Bool {
        let waits = try? listener?.pipeline.syncOperations.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in
            var status = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            return poll(&status, 1, 0) == 1
        }
        return waits ?? false
    }

    /// Accepts no more connections. On the event loop.
    private func stopListening() {
        listener.value?.close(promise: nil)
        socketFile.value?.remove()
        stopListeningForGRPC()
    }

    private func reachStore(within limit: TimeAmount) async throws {
        let reached = eventLoop.makePromise(of: Void.self)
        // The first of several events counts; a promise completes once.
        let waiting = NIOLoopBoundBox.makeBoxSendingValue(Optional(reached), eventLoop: eventLoop)
        try await eventLoop.submit { [host, eventLoop] in
            let complete = { Self.complete(waiting) }
            host.value.onShared(complete)
            _ = eventLoop.assumeIsolated().scheduleTask(in: limit, complete)
            host.value.start()
        }.get()
        try await withTaskCancellationHandler {
            try await reached.futureResult.get()
        } onCancel: {
            eventLoop.execute { Self.complete(waiting) }
        }
        try Task.checkCancellation()
    }

    private static func complete(_ waiting: NIOLoopBoundBox<EventLoopPromise<Void>?>) {
        waiting.value?.succeed()
        waiting.value = nil
    }

    private func listen() async throws {
        let (file, bound) = try await makeSocketUnlocked(configuration.socketPath) { [self] in makeBootstrap() }
        try await eventLoop.submit { [self] in
            listener.value = bound
            socketFile.value = file
            host.value.sweepConnections()
            watchSocket()
        }.get()
    }

    /// Must not be called on the event loop: it waits for the loop.
    func makeSocket() throws -> (SocketFile, any Channel) {
        try makeSocket(configuration.socketPath, takesOver: false) { makeBootstrap() }
    }

    private func makeBootstrap() -> ServerBootstrap {
        ServerBootstrap(group: eventLoop)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 1024, initial: 4096, maximum: ServerBounds.maxReadBytes)
            )
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .writeBufferWaterMark,
                value: .init(low: ProtocolBounds.maxUnreadOutputBytes / 2, high: ProtocolBounds.maxUnreadOutputBytes)
            )
            .childChannelInitializer { [host, operators, facts = configuration.facts] channel in
                channel.eventLoop.makeCompletedFuture {
                    let host = host.value
                    let session = ConnectionSession(id: host.nextConnectionID(), serverVersion: facts.version)
                    try channel.pipeline.syncOperations.addHandler(
                        ConnectionHandler(host: host, operators: operators.value, session: session))
                }
            }
    }

    /// Stops accepting, answers what is in flight, removes the socket, and writes the state that must survive the
    /// process. Connections still open at the drain's limit are closed.
    package func stop() async throws {
        // A socket that is being created again must not be left behind.
        try await eventLoop.flatSubmit { [self] in endSocketWatch() }.get()
        try await acceptWaiting()
        let drained = eventLoop.makePromise(of: Void.self)
        try await eventLoop.submit { [self] in
            beginHTTPDrain()
            stopListening()
            host.value.drain { drained.succeed() }
        }.get()
        try await drained.futureResult.get()
        let givenBack = eventLoop.makePromise(of: Void.self)
        try await eventLoop.submit { [host] in host.value.giveBackLeases { givenBack.succeed() } }.get()
        try await givenBack.futureResult.get()
        let closed = eventLoop.makePromise(of: Void.self)
        try await eventLoop.submit { [host, eventLoop, gatewayService] in
            host.value.stop()
            gatewayService.value.largeMessages.stop()
            // A disk that does not answer must not delay the end of the process.
            let box = NIOLoopBoundBox(Optional(closed), eventLoop: eventLoop)
            let complete = {
                box.value?.succeed()
                box.value = nil
            }
            host.value.closeState { [host] in host.value.closeDecisionLog(complete) }
            eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.stateCloseLimitNs), complete)
        }.get()
        try await endHTTPDrain()
        try await closed.futureResult.get()
    }
}

extension Server {
    /// Whether checks are counted in the store now.
    package func isShared() async throws -> Bool {
        try await eventLoop.submit { [host] in host.value.limiter.isShared }.get()
    }

    /// Why checks are not counted in the store now; nil if they are.
    private func unsharedReason() async throws -> String? {
        try await eventLoop.submit { [host] in
            let limiter = host.value.limiter
            guard !limiter.isShared else { return nil }
            return limiter.storeError.isEmpty ? "no answer yet" : limiter.storeError.onOneLine
        }.get()
    }

    /// Replaces the policies between two checks.
    package func replacePolicies(_ policies: PolicySet) async throws {
        try await eventLoop.submit { [self] in
            host.value.replacePolicies(policies)
            followStatus(policies)
        }.get()
    }

    /// Opens the file of the decision log again, which may have been moved away.
    package func reopenDecisionLog() async throws {
        try await eventLoop.submit { [host] in host.value.decisionLog?.reopen() }.get()
    }

    /// Records for `INFO` that newer policies were rejected.
    package func rejectPolicies(reason: String) async throws {
        try await eventLoop.submit { [host] in host.value.rejectPolicies(reason: reason) }.get()
    }
}
