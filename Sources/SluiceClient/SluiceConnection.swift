internal import NIOCore
internal import NIOPosix
internal import SluiceProtocol
internal import Synchronization

/// One connection to a Sluice sidecar.
///
/// ```swift
/// let sluice = try await SluiceConnection.connect(path: "/run/sluice/sluice.sock")
/// let decision = try await sluice.check(grant: "alice-laptop", tool: "opencode_run")
/// if !decision.allowed {
///     print(decision.message, "retry after \(decision.retryAfterMs) ms")
/// }
/// await sluice.close()
/// ```
///
/// Any number of tasks may use one connection at once: their requests are pipelined, and each gets its own reply. A
/// connection that is closed stays closed; `Sluice` opens another. The last reference closes it.
public final class SluiceConnection: SluiceCommands {
    private let channel: any Channel
    private let handler: NIOLoopBound<ReplyHandler>
    private let requestTimeout: TimeAmount

    private init(channel: any Channel, handler: NIOLoopBound<ReplyHandler>, requestTimeout: TimeAmount) {
        self.channel = channel
        self.handler = handler
        self.requestTimeout = requestTimeout
    }

    deinit {
        channel.close(promise: nil)
    }

    /// Connects to the Unix socket at `path`.
    ///
    /// - Parameters:
    ///   - timeout: how long to try; 5 seconds if not given.
    ///   - requestTimeout: how long each request waits for its reply; 5 seconds if not given.
    /// - Throws: `SluiceError.connect`.
    public static func connect(
        path: String, timeout: Duration? = nil, requestTimeout: Duration? = nil
    ) async throws(SluiceError) -> SluiceConnection {
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(timeout.map(TimeAmount.init) ?? .seconds(ClientBounds.connectSeconds))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ReplyHandler())
                }
            }
        do {
            let channel = try await bootstrap.connect(unixDomainSocketPath: path).get()
            let handler = try await channel.eventLoop.submit {
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: ReplyHandler.self), eventLoop: channel.eventLoop)
            }.get()
            return SluiceConnection(
                channel: channel, handler: handler,
                requestTimeout: requestTimeout.map(TimeAmount.init) ?? .seconds(ClientBounds.requestSeconds))
        } catch {
            throw .connect(path: path, reason: String(describing: error))
        }
    }

    /// Whether requests can still be sent.
    public var isOpen: Bool { channel.isActive }

    public func send(_ arguments: [String], isRepeatable: Bool) async throws(SluiceError) -> Reply {
        guard !arguments.isEmpty else { throw .badRequest("a request needs the name of a command") }
        let request = ByteBuffer(request: arguments)
        let ticket = Ticket()
        let (loop, handler, timeout) = (channel.eventLoop, handler, requestTimeout)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                loop.execute {
                    handler.value.send(request, ticket: ticket, timeout: timeout, continuation: continuation)
                }
            }
        } onCancel: {
            // If the request has not reached the loop yet, it finds the ticket cancelled.
            ticket.isCancelled.store(true, ordering: .releasing)
            loop.execute { handler.value.abandon(ticket, .cancelled) }
        }
        switch try result.get() {
        case .error(let code, let message): throw .server(code: code, message: message)
        case let value: return value
        }
    }

    /// Closes the connection; pending requests throw `SluiceError.closed`. Closing twice is allowed.
    public func close() async {
        try? await channel.close().get()
    }
}

extension ByteBuffer {
    /// A request with these words.
    init(request words: [String]) {
        self = ByteBufferAllocator().buffer(capacity: words.reduce(16) { $0 + $1.utf8.count + 16 })
        let writer = ReplyWriter(version: .resp2)
        writer.writeArrayHeader(words.count, to: &self)
        for word in words { writer.writeBulkString(word, to: &self) }
    }
}
