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
/// connection that is closed stays closed; connect again. The last reference closes it.
public final class SluiceConnection: Sendable {
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

    /// Asks whether `grant` may call `tool`, and counts the call if it may.
    ///
    /// - Throws: `SluiceError.server` with `BADARG` if a name or an option is wrong, with `BUSY` if Sluice has too much
    ///   to do; `closed`, `timedOut` and `cancelled` leave it open whether the call was counted.
    public func check(
        grant: String, tool: String, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["CHECK", grant, tool] + options.arguments))
    }

    /// Asks whether that check would pass, and counts nothing.
    ///
    /// - Throws: as `check` does; `BADARG` if `options` ask for a reservation or have an id.
    public func peek(
        grant: String, tool: String, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["PEEK", grant, tool] + options.arguments))
    }

    /// Settles a reservation to the actual cost of the call, 0 to 10^12; a higher cost is charged even past the
    /// maximum.
    ///
    /// - Returns: whether it was done; false if the grant has no such reservation, or it was settled before. - Throws:
    /// `SluiceError.server` with `BUSY` while Redis is unavailable and the sidecar does not know the reservation: send
    /// it again then.
    public func commit(
        grant: String, reservation: String, cost: Int64
    ) async throws(SluiceError) -> Bool {
        try await send(["COMMIT", grant, reservation, String(cost)]).integer == 1
    }

    /// Gives back everything that a reservation charged, for a call that was never made. Otherwise like `commit`.
    public func cancel(grant: String, reservation: String) async throws(SluiceError) -> Bool {
        try await send(["CANCEL", grant, reservation]).integer == 1
    }

    /// Frees the slot of a call that has ended, and keeps its cost. Otherwise like `commit`.
    public func release(grant: String, reservation: String) async throws(SluiceError) -> Bool {
        try await send(["RELEASE", grant, reservation]).integer == 1
    }

    /// Charges what a call cost, 0 to 10^12, whatever the maximum says: for costs that are known only afterwards.
    ///
    /// - Parameter options: the server, session, attributes and id; other options are not sent.
    /// - Returns: as for a check; `allowed` says whether the cost fitted.
    /// - Throws: as `check` does.
    public func charge(
        grant: String, tool: String, cost: Int64, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["CHARGE", grant, tool, String(cost)] + options.callerArguments))
    }

    /// Gives back what calls were charged, 0 to 10^12, in open windows and never below 0. Otherwise like `charge`.
    public func refund(
        grant: String, tool: String, cost: Int64, options: CheckOptions = CheckOptions()
    ) async throws(SluiceError) -> Decision {
        try Decision(await send(["REFUND", grant, tool, String(cost)] + options.callerArguments))
    }

    /// Sends any command, its name first: `["INFO", "server"]`.
    ///
    /// - Throws: `SluiceError.server` if Sluice answers with an error, `badRequest` if there is no word to send.
    public func send(_ arguments: [String]) async throws(SluiceError) -> Reply {
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
