import StoreModel
import Foundation
import Logging
import NIOCore
import NIOEmbedded
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import Support

@testable import SluiceServer

/// A store in memory behind the link: it answers when the test says so.
final class HeldLink: CounterStore {
    weak var delegate: (any CounterStoreDelegate)?
    private(set) var sent: [Batch] = []
    let limitations = ["a\nb"]
    var serverPlace: String?
    private var store = ModelStore(clockMs: SystemClock.now().wallMs)
    private var wantsConnection = false

    func connect() { wantsConnection = true }
    func disconnect() { sent = [] }
    func send(_ batch: Batch) { sent.append(batch) }
    func listen(_ command: ChangeFeedCommand) {}

    func scan(_ query: CounterQuery, completion: @escaping (Result<StoredCounters, BatchFailure>) -> Void) {
        scans.append { completion(.success(StoredCounters(counters: [], timeMs: SystemClock.now().wallMs))) }
    }

    /// Questions for counters that wait for their answer.
    var scans: [() -> Void] = []

    /// Answers everything that was sent, and what is sent because of that.
    func answerAll() {
        if wantsConnection {
            wantsConnection = false
            delegate?.linkConnected(server: "model")
        }
        while !sent.isEmpty {
            let batch = sent.removeFirst()
            delegate?.linkAnswered(sequence: batch.sequence, store.run(batch, replica: 1))
        }
    }
}

/// The loop looks at its sockets when the test says so.
final class HeldLook: SocketLook {
    var whenLooked: (() -> Void)?
    private(set) var isRequested = false

    func open() {}
    func close() {}
    func request() { isRequested = true }

    /// One turn of the loop, but for its tasks.
    func look() {
        isRequested = false
        whenLooked?()
    }
}

/// A host, its connections and a store, on one event loop that stands still: nothing happens but what a test does.
final class ServerRig {
    let eventLoop = EmbeddedEventLoop()
    let link = HeldLink()
    let host: LimiterHost
    let operators: OperatorCommands

    static let policy = """
        {"version": "1", "default": "deny", "tools": {
          "run": {"limits": [{"counter": "runs", "window": 31622400, "max": 1000000}]},
          "free": {}
        }}
        """

    /// With counting shared.
    ///
    /// - Parameter look: nil: the loop looks at its sockets as soon as it is asked to.
    init(
        maxConnections: Int = 100, memoryBytes: Int = ServerBounds.defaultMemoryBytes, budgetMs: Int64 = 10_000,
        look: HeldLook? = nil
    ) throws {
        let now = SystemClock.now()
        let configuration = LimiterConfiguration(
            keys: "t", budgetMs: budgetMs, replicas: ReplicaView(own: 1, assumed: 1), usesStore: true, seed: 1)
        let policy = try PolicyDocument.parse(Array(Self.policy.utf8), file: "policy.json")
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        host = LimiterHost(
            limiter: PartitionedLimiter(configuration: configuration, policies: PolicySet(single: policy), now: now),
            links: [link],
            maxConnections: maxConnections, memoryBytes: memoryBytes, look: look, eventLoop: eventLoop, logger: logger)
        operators = OperatorCommands(host: host, facts: Self.facts(now), operatorUserIDs: [])
        host.start()
        link.answerAll()
        precondition(host.limiter.isShared)
    }

    static func facts(_ now: ClockReading) -> ServerFacts {
        ServerFacts(
            version: "1.2.3", policyDescription: "policy.json", storeAddress: "unix:///r.sock", replicaID: "1f",
            startedAt: now)
    }

    func makeHandler() -> ConnectionHandler {
        ConnectionHandler(
            host: host, operators: operators,
            session: ConnectionSession(id: host.nextConnectionID(), serverVersion: "1.2.3"))
    }

    /// A connection that is open.
    /// - Parameters:
    ///   - outermost: a handler between this one and the socket.
    ///   - asOperator: whether the peer may use operators' commands.
    func connect(outermost: (any ChannelHandler)? = nil, asOperator: Bool = false) throws -> Peer {
        let handler = makeHandler()
        let reads = ReadCounter()
        let channel = EmbeddedChannel(loop: eventLoop)
        if let outermost { try channel.pipeline.syncOperations.addHandler(outermost) }
        try channel.pipeline.syncOperations.addHandlers([reads, handler])
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/p"), promise: nil)
        if asOperator { handler.operatorPeer = PeerCredentials() }
        return Peer(channel: channel, handler: handler, reads: reads)
    }

    /// The store answers everything, also what comes to it because of its answers.
    func answerAll() {
        repeat {
            eventLoop.run()
            link.answerAll()
            eventLoop.run()
        } while !link.sent.isEmpty
    }
}

/// Counts how often the handler wants to read.
final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var count = 0

    func read(context: ChannelHandlerContext) {
        count += 1
        context.read()
    }
}

/// The client's end of a connection.
struct Peer {
    let channel: EmbeddedChannel
    let handler: ConnectionHandler
    let reads: ReadCounter

    var isOpen: Bool { channel.isActive }

    /// Bytes arrive, in one read.
    func send(_ bytes: [UInt8]) throws {
        try arrive(bytes)
        channel.embeddedEventLoop.run()
    }

    /// The same, and the turn of the event loop does not end with it.
    func arrive(_ bytes: [UInt8]) throws { try channel.writeInbound(ByteBuffer(bytes: bytes)) }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ words: [String]) throws { try send(RedisClient.frame(words)) }

    /// The client closes its sending side.
    func closeWriting() {
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        channel.embeddedEventLoop.run()
    }

    /// Everything that was sent to it since the last call, in pieces as they were written.
    func pieces() throws -> [ByteBuffer] {
        var pieces: [ByteBuffer] = []
        while let piece = try channel.readOutbound(as: ByteBuffer.self) { pieces.append(piece) }
        return pieces
    }

    func received() throws -> String { try pieces().map { String(buffer: $0) }.joined() }

    /// The `remaining` of each decision that was received.
    func remaining() throws -> [Int] { try Self.remaining(in: received()) }

    static func remaining(in text: String) -> [Int] {
        text.components(separatedBy: "*9\r\n").dropFirst().compactMap {
            Int($0.components(separatedBy: "\r\n")[2].dropFirst())
        }
    }
}

/// The time so many seconds from now.
func later(_ seconds: Int64) -> ClockReading {
    var moment = SystemClock.now()
    moment.monotonicNs += seconds * 1_000_000_000
    return moment
}
