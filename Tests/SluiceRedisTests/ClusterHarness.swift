import Logging
import NIOCore
import NIOPosix
import SluiceEngine
import SluiceRedis
import Support

/// The links of a cluster's partitions on their event loop, and their delegates, for tests to drive from outside.
final class ClusterHarness: Sendable {
    let tags: PartitionTags
    private let eventLoop: any EventLoop
    private let confined: NIOLoopBound<Confined>
    private let events: [AsyncStream<LinkEvent>]

    private final class Confined {
        let links: [any CounterStore]
        let delegates: [Delegate]

        init(links: [any CounterStore], _ continuations: [AsyncStream<LinkEvent>.Continuation]) {
            self.links = links
            delegates = continuations.map { Delegate($0) }
            for (link, delegate) in zip(links, delegates) { link.delegate = delegate }
        }
    }

    private final class Delegate: CounterStoreDelegate {
        let continuation: AsyncStream<LinkEvent>.Continuation
        /// Whether a call to a link is under way: the delegate must not be called then.
        var isCalling = false
        var moves = 0

        init(_ continuation: AsyncStream<LinkEvent>.Continuation) { self.continuation = continuation }

        func linkConnected(server: String) { emit(.connected(server: server)) }
        func linkClosed(reason: String) { emit(.closed(reason: reason)) }
        func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
            emit(.answered(sequence: sequence, result))
        }

        func linkMoved() {
            precondition(!isCalling, "the delegate was called from inside a call to the link")
            moves += 1
        }

        func linkChangeFeed(_ event: ChangeFeedEvent) { emit(.listening(event)) }

        private func emit(_ event: LinkEvent) {
            precondition(!isCalling, "the delegate was called from inside a call to the link")
            continuation.yield(event)
        }
    }

    private init(
        _ partitions: Int, eventLoop: any EventLoop, confined: NIOLoopBound<Confined>, events: [AsyncStream<LinkEvent>]
    ) {
        tags = PartitionTags(count: partitions)
        self.eventLoop = eventLoop
        self.confined = confined
        self.events = events
    }

    deinit {
        let confined = confined
        eventLoop.execute {
            for link in confined.value.links {
                link.disconnect()
                link.listen(.close)
            }
        }
    }

    static func make(
        _ configuration: RedisLink.Configuration, partitions: Int, limits: RedisTimeLimits = .patient
    ) async throws -> ClusterHarness {
        var configuration = configuration
        configuration.limits = limits
        let settled = configuration
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let streams = (0..<partitions).map { _ in AsyncStream.makeStream(of: LinkEvent.self) }
        let continuations = streams.map(\.continuation)
        let confined = try await eventLoop.submit {
            let cluster = RedisCluster(
                settled, partitions: partitions, eventLoop: eventLoop,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            return NIOLoopBound(Confined(links: cluster.makeLinks(), continuations), eventLoop: eventLoop)
        }.get()
        return ClusterHarness(partitions, eventLoop: eventLoop, confined: confined, events: streams.map(\.stream))
    }

    static func make(
        _ url: String, partitions: Int, limits: RedisTimeLimits = .patient
    ) async throws -> ClusterHarness {
        try await make(.init(address: RedisAddress(url), replica: 7), partitions: partitions, limits: limits)
    }

    /// All partitions are connected.
    static func connected(to url: String, partitions: Int) async throws -> ClusterHarness {
        let harness = try await make(url, partitions: partitions)
        try await harness.connectAll()
        return harness
    }

    func connectAll() async throws {
        callAll { $0.forEach { $0.connect() } }
        for partition in tags.indices {
            let event = try await next(partition)
            guard case .connected = event else { throw SupportError("\(partition) is not connected: \(event)") }
        }
    }

    /// Calls the links in one turn of the event loop.
    func callAll(_ body: @escaping @Sendable ([any CounterStore]) -> Void) {
        eventLoop.execute {
            let confined = self.confined.value
            for delegate in confined.delegates { delegate.isCalling = true }
            body(confined.links)
            for delegate in confined.delegates { delegate.isCalling = false }
        }
    }

    func call(_ partition: Int, _ body: @escaping @Sendable (any CounterStore) -> Void) {
        callAll { body($0[partition]) }
    }

    /// Runs something with the links on their event loop; it may replace their delegates.
    func onEventLoop<Value: Sendable>(
        _ body: @escaping @Sendable ([any CounterStore], any EventLoop) throws -> Value
    ) async throws -> Value {
        let (confined, eventLoop) = (confined, eventLoop)
        return try await eventLoop.submit { try body(confined.value.links, eventLoop) }.get()
    }

    /// How often a partition's link went to another master, and where it is now.
    func place(_ partition: Int) async throws -> (moves: Int, name: String?) {
        let confined = confined
        return try await eventLoop.submit {
            (confined.value.delegates[partition].moves, confined.value.links[partition].serverPlace)
        }.get()
    }

    /// The next event for a partition's delegate.
    func next(_ partition: Int, line: Int = #line) async throws -> LinkEvent {
        try await next(partition, line: line) { _ in true }
    }

    /// The next event for a partition's delegate that is this one; those before it are skipped.
    func next(_ partition: Int, _ wanted: LinkEvent, line: Int = #line) async throws {
        _ = try await next(partition, line: line) { $0 == wanted }
    }

    private func next(
        _ partition: Int, line: Int, where isWanted: @escaping @Sendable (LinkEvent) -> Bool
    ) async throws -> LinkEvent {
        let events = events[partition]
        return try await within(.seconds(60), "the event of partition \(partition) that line \(line) waits for") {
            for await event in events where isWanted(event) { return event }
            throw SupportError("the link is gone")
        }
    }

    func connect(_ partition: Int) async throws -> LinkEvent {
        call(partition) { $0.connect() }
        return try await next(partition)
    }

    func answer(_ partition: Int, to batch: Batch) async throws -> Result<BatchReply, BatchFailure> {
        call(partition) { $0.send(batch) }
        return try await answer(partition, sequence: batch.sequence)
    }

    func answer(_ partition: Int, sequence: Int64) async throws -> Result<BatchReply, BatchFailure> {
        let event = try await next(partition)
        guard case .answered(sequence, let result) = event else {
            throw SupportError("no answer to batch \(sequence): \(event)")
        }
        return result
    }

    func scan(_ partition: Int, _ query: CounterQuery) async throws -> Result<StoredCounters, BatchFailure> {
        let promise = eventLoop.makePromise(of: Result<StoredCounters, BatchFailure>.self)
        call(partition) { $0.scan(query) { promise.succeed($0) } }
        return try await promise.futureResult.get()
    }

    func keys(_ partition: Int) -> KeySpace { KeySpace(prefix: "sluice", tag: tags[partition]) }

    func tag(_ partition: Int) -> String { String(decoding: tags[partition], as: UTF8.self) }

    /// A key of a partition.
    func key(_ partition: Int, _ name: String) -> String { "sluice:2:{\(tag(partition))}:\(name)" }

    func slot(_ partition: Int) -> Int { HashSlot.of(tag: tags[partition]) }

    /// One check of the partition's counter of this name.
    func batch(_ partition: Int, _ sequence: Int64, key names: String...) -> Batch {
        var batch = Batch(sequence: sequence)
        batch.add(cost: 1, count: 1, names.map { TestCharge(key: key(partition, $0), max: 1_000_000) })
        return batch
    }
}

extension PartitionTags {
    var indices: Range<Int> { 0..<count }
}
