package import Logging
package import NIOCore
package import SluiceEngine

/// The link to one Redis server: a connection on one event loop, the scripts, and batches one after the other.
///
/// It decides nothing: the engine says when to connect, to give up and to send. Every call must come on the event loop.
/// Calls to the delegate come on it too, but never from inside a call to the link. Before the link is released,
/// disconnect it and end its change subscription.
package final class RedisLink: CounterStore {
    package struct Configuration: Sendable {
        package var address: RedisAddress
        /// As whom, and with which files.
        package var access: RedisAccess
        /// The same for the sentinels, if the address names some.
        package var sentinelAccess = RedisAccess(credentials: nil)
        /// This replica's unique number: part of its marker's key and of the connection's name.
        package var replica: UInt64
        /// What the marker's key and the counters' keys begin with.
        package var keyPrefix: String
        package var limits = RedisTimeLimits()

        package init(
            address: RedisAddress, credentials: RedisCredentials? = nil, replica: UInt64, keyPrefix: String = "sluice"
        ) {
            self.address = address
            access = RedisAccess(credentials: credentials ?? address.credentials)
            self.replica = replica
            self.keyPrefix = keyPrefix
        }

        package init(
            address: RedisAddress, access: RedisAccess, sentinelAccess: RedisAccess = RedisAccess(credentials: nil),
            replica: UInt64, keyPrefix: String = "sluice"
        ) {
            self.address = address
            self.access = access
            self.sentinelAccess = sentinelAccess
            self.replica = replica
            self.keyPrefix = keyPrefix
        }
    }

    private enum State {
        /// No connection, none wanted. Becomes `connecting`.
        case idle
        /// Becomes `connected`, or `idle` with `linkClosed` or through `disconnect`.
        case connecting(RedisConnection)
        /// Becomes `idle` with `linkClosed` or through `disconnect`.
        case connected(RedisConnection)
    }

    package weak var delegate: (any CounterStoreDelegate)?

    private let configuration: Configuration
    private let eventLoop: any EventLoop
    private let logger: Logger
    private var state = State.idle
    /// Open while connected: it needs the script hashes that the server returns.
    private var exchange = BatchExchange()
    /// Of the batches in flight, in the order in which replies will arrive.
    private var awaited = CircularBuffer<Int>(initialCapacity: RedisBounds.maxBatchesInFlight)
    private var scans: [ObjectIdentifier: CounterScan] = [:]
    /// Set while it is opening or open.
    private var subscription: ChangeSubscription?
    /// nil if the address is that of a server.
    private let sentinels: Sentinels?
    /// Set while connected to a master that sentinels named.
    private var watch: SentinelWatch?
    /// Whether the log already says that Redis cannot be reached: logged once, not at every attempt.
    private var isLoggedAsUnavailable = false
    /// What the server that was last connected does not let Sluice do. Each is logged when it is first found.
    private var found: [RedisLimitation] = []
    package var limitations: [String] { found.map(\.description) }
    package private(set) var announcesChanges = true

    /// - Parameters:
    ///   - configuration: where to connect, and as whom.
    ///   - eventLoop: the one that owns the engine.
    /// - logger: gets one line for each change of state, never a secret.
    package init(_ configuration: Configuration, eventLoop: any EventLoop, logger: Logger) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        sentinels = Sentinels(configuration, eventLoop: eventLoop)
        var logger = logger
        logger[metadataKey: "redis"] = "\(configuration.address)"
        self.logger = logger
    }

    package func connect() {
        eventLoop.preconditionInEventLoop()
        guard case .idle = state else { return }
        state = .connecting(
            RedisConnection(
                to: target, handshake: handshake(isForCharging: true), limits: configuration.limits,
                eventLoop: eventLoop, owner: self))
    }

    package func disconnect() {
        eventLoop.preconditionInEventLoop()
        switch state {
        case .idle: return
        case .connecting(let connection), .connected(let connection): connection.close()
        }
        reset()
    }

    package func send(_ batch: Batch) {
        eventLoop.preconditionInEventLoop()
        guard case .connected(let connection) = state, exchange.isOpen else {
            return reject(batch.sequence, "not connected to Redis")
        }
        guard !exchange.isFull else {
            return connection.fail("\(RedisBounds.maxBatchesInFlight) batches are without an answer")
        }
        send(exchange.add(batch), over: connection)
    }

    private func send(_ slot: Int, over connection: RedisConnection) {
        awaited.append(slot)
        connection.write(exchange.call(slot))
    }

    package func scan(_ query: CounterQuery, completion: @escaping (Result<StoredCounters, BatchFailure>) -> Void) {
        eventLoop.preconditionInEventLoop()
        guard scans.count < RedisBounds.maxScans else {
            return eventLoop.assumeIsolated().execute {
                completion(.failure(.rejected("\(RedisBounds.maxScans) scans are running already: try again")))
            }
        }
        let scan = CounterScan(
            query, target: target, handshake: handshake(isForCharging: false),
            limits: configuration.limits, eventLoop: eventLoop)
        scans[ObjectIdentifier(scan)] = scan
        scan.start { [weak self] result in
            self?.scans[ObjectIdentifier(scan)] = nil
            completion(result)
        }
    }

    package func listen(_ command: ChangeFeedCommand) {
        eventLoop.preconditionInEventLoop()
        switch command {
        case .open:
            subscription?.close()
            subscription = ChangeSubscription(
                channel: KeySpace(prefix: configuration.keyPrefix).changeChannel, target: target,
                handshake: handshake(isForCharging: false), limits: configuration.limits, eventLoop: eventLoop
            ) { [weak self] event in
                if case .closed = event { self?.subscription = nil }
                self?.delegate?.linkChangeFeed(event)
            }
        case .probe:
            subscription?.probe()
        case .close:
            subscription?.close()
            subscription = nil
        }
    }

    private var target: RedisTarget {
        RedisTarget(address: configuration.address, access: configuration.access, sentinels: sentinels)
    }

    private func handshake(isForCharging: Bool) -> RedisTarget.MakeHandshake {
        { [configuration] credentials in
            RedisHandshake(
                address: configuration.address, credentials: credentials,
                clientName: "sluice-\(String(configuration.replica, radix: 16))", keyPrefix: configuration.keyPrefix,
                isForCharging: isForCharging)
        }
    }

    private func reset() {
        exchange.close()
        awaited.removeAll(keepingCapacity: true)
        watch?.stop()
        watch = nil
        // The next master may be another one.
        if sentinels != nil { subscription?.leave("the connection to the master has ended") }
        state = .idle
    }

    /// Answers a batch that cannot be sent. There is no connection, so no earlier batch awaits its answer.
    private func reject(_ sequence: Int64, _ reason: String) {
        eventLoop.assumeIsolated().execute {
            self.delegate?.linkAnswered(sequence: sequence, .failure(.rejected(reason)))
        }
    }
}

/// A connection that the link has closed no longer calls, so the caller is always the current one.
extension RedisLink: RedisConnectionOwner {
    func connectionReady(_ server: RedisServer) {
        guard case .connecting(let connection) = state else { return }
        if let sentinels, let endpoint = connection.endpoint {
            guard !server.isReplica else {
                return connection.fail("the sentinels still name a replica as master: they are asked again")
            }
            watch = SentinelWatch(sentinels, connectedTo: endpoint, eventLoop: eventLoop) { connection.fail($0) }
        }
        exchange.use(
            server, markerKey: KeySpace(prefix: configuration.keyPrefix).marker(ofReplica: configuration.replica))
        state = .connected(connection)
        isLoggedAsUnavailable = false
        // The engine logs the effects of a connection and of its loss; the link would only repeat them.
        logger.debug("connected to Redis", metadata: ["server": "\(server)"])
        let limitations = server.limitations
        for limitation in limitations where !found.contains(limitation) {
            logger.warning("\(limitation.loss)", metadata: ["reason": "\(limitation.reason)"])
        }
        found = limitations
        announcesChanges = server.announcesChanges
        let place = sentinels == nil ? "" : connection.endpoint.map { " at \($0)" } ?? ""
        delegate?.linkConnected(server: server.description + place)
    }

    func connectionClosed(_ reason: String) {
        reset()
        if !isLoggedAsUnavailable {
            isLoggedAsUnavailable = true
            logger.debug("no connection to Redis", metadata: ["reason": "\(reason)"])
        }
        delegate?.linkClosed(reason: reason)
    }

    func connectionReceived(_ reply: FlatReply) {
        guard case .connected(let connection) = state else { return }
        guard let slot = awaited.popFirst() else {
            return connection.fail("Redis answered without being asked")
        }
        /// Why this connection is of no further use, though it is open.
        var isOver: String?
        switch exchange.receive(reply, for: slot, bySentinels: sentinels != nil) {
        case .answered: break
        case .sendAgain: return send(slot, over: connection)
        case .fail(let reason): return connection.fail(reason)
        case .leave(let reason): isOver = reason
        }
        // The delegate may send, or disconnect, from inside this call.
        while case .connected(let current) = state, current === connection, let answer = exchange.takeAnswered() {
            delegate?.linkAnswered(sequence: answer.sequence, answer.result)
        }
        if let isOver { connection.fail(isOver) }
    }
}
