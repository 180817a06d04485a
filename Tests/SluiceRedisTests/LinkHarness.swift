import Logging
import NIOCore
import NIOPosix
import SluiceEngine
import SluiceRedis
import Support

/// An event that a link reported to its delegate.
enum LinkEvent: Sendable, Equatable {
    case connected(server: String)
    case closed(reason: String)
    case answered(sequence: Int64, Result<BatchReply, BatchFailure>)
    case listening(ChangeFeedEvent)
}

/// A link on its event loop, and its delegate, for tests to drive from outside.
final class LinkHarness: Sendable {
    private let eventLoop: any EventLoop
    private let confined: NIOLoopBound<Confined>
    private let events: AsyncStream<LinkEvent>

    private final class Confined: CounterStoreDelegate {
        let link: RedisLink
        let continuation: AsyncStream<LinkEvent>.Continuation
        /// Whether a call to the link is under way: the delegate must not be called then.
        var isCalling = false

        init(link: RedisLink, continuation: AsyncStream<LinkEvent>.Continuation) {
            self.link = link
            self.continuation = continuation
            link.delegate = self
        }

        func linkConnected(server: String) { emit(.connected(server: server)) }
        func linkClosed(reason: String) { emit(.closed(reason: reason)) }
        func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
            emit(.answered(sequence: sequence, result))
        }

        func linkChangeFeed(_ event: ChangeFeedEvent) { emit(.listening(event)) }

        private func emit(_ event: LinkEvent) {
            precondition(!isCalling, "the delegate was called from inside a call to the link")
            continuation.yield(event)
        }

        func call(_ body: (RedisLink) -> Void) {
            isCalling = true
            body(link)
            isCalling = false
        }
    }

    private init(eventLoop: any EventLoop, confined: NIOLoopBound<Confined>, events: AsyncStream<LinkEvent>) {
        self.eventLoop = eventLoop
        self.confined = confined
        self.events = events
    }

    deinit {
        let confined = confined
        eventLoop.execute {
            confined.value.link.disconnect()
            confined.value.link.listen(.close)
        }
    }

    /// - Parameter limits: those of the tests are long, for machines that are busy with other things.
    static func make(
        _ configuration: RedisLink.Configuration, limits: RedisTimeLimits = .patient, logger: Logger? = nil
    ) async throws -> LinkHarness {
        var configuration = configuration
        configuration.limits = limits
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let (events, continuation) = AsyncStream.makeStream(of: LinkEvent.self)
        let logger = logger ?? Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let settled = configuration
        let confined = try await eventLoop.submit {
            let link = RedisLink(settled, eventLoop: eventLoop, logger: logger)
            return NIOLoopBound(Confined(link: link, continuation: continuation), eventLoop: eventLoop)
        }.get()
        return LinkHarness(eventLoop: eventLoop, confined: confined, events: events)
    }

    static func make(
        _ url: String, replica: UInt64 = 7, limits: RedisTimeLimits = .patient
    ) async throws -> LinkHarness {
        try await make(.init(address: RedisAddress(url), replica: replica), limits: limits)
    }

    /// A link that is connected to this server.
    static func connected(to redis: RedisProcess, replica: UInt64 = 7) async throws -> LinkHarness {
        let harness = try await make(redis.url, replica: replica)
        guard case .connected = try await harness.connect() else { throw SupportError("not connected") }
        return harness
    }

    func call(_ body: @escaping @Sendable (RedisLink) -> Void) {
        eventLoop.execute { self.confined.value.call(body) }
    }

    /// The next event for the delegate.
    func next() async throws -> LinkEvent {
        let events = events
        return try await within(.seconds(60), "the link calls its delegate") {
            for await event in events { return event }
            throw SupportError("the link is gone")
        }
    }

    /// Connects, and waits for how that ends.
    func connect() async throws -> LinkEvent {
        call { $0.connect() }
        return try await next()
    }

    /// Begins or ends to listen, or probes, and waits for how that ends.
    func listen(_ command: ChangeFeedCommand) async throws -> LinkEvent {
        call { $0.listen(command) }
        return try await next()
    }

    /// Sends a batch, and waits for its answer.
    func answer(to batch: Batch) async throws -> Result<BatchReply, BatchFailure> {
        call { $0.send(batch) }
        guard case .answered(batch.sequence, let result) = try await next() else {
            throw SupportError("no answer to batch \(batch.sequence)")
        }
        return result
    }

    /// Sends a batch that the script must answer.
    func run(_ batch: Batch) async throws -> BatchReply { try await answer(to: batch).get() }

    func limitations() async throws -> [String] {
        let confined = confined
        return try await eventLoop.submit { confined.value.link.limitations }.get()
    }

    func scan(_ query: CounterQuery) async throws -> Result<StoredCounters, BatchFailure> {
        try await scan(query, times: 1)[0]
    }

    /// Several scans that begin at once.
    func scan(_ query: CounterQuery, times: Int) async throws -> [Result<StoredCounters, BatchFailure>] {
        let promises = (0..<times).map { _ in
            eventLoop.makePromise(of: Result<StoredCounters, BatchFailure>.self)
        }
        call { link in
            for promise in promises { link.scan(query) { promise.succeed($0) } }
        }
        return try await EventLoopFuture.whenAllSucceed(promises.map(\.futureResult), on: eventLoop).get()
    }
}

extension RedisTimeLimits {
    static var patient: RedisTimeLimits {
        var limits = RedisTimeLimits()
        limits.connect = .seconds(60)
        limits.handshake = .seconds(60)
        limits.scan = .seconds(60)
        limits.cluster = .seconds(5)
        return limits
    }

    /// For tests of the limits themselves.
    static var brief: RedisTimeLimits {
        var limits = RedisTimeLimits.patient
        limits.handshake = .milliseconds(50)
        limits.scan = .milliseconds(50)
        return limits
    }
}
