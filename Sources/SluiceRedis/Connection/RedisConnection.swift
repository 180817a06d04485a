import Glibc
internal import NIOCore
internal import NIOPosix

/// The user of a connection. Every call comes on the event loop and never from inside a call to the connection.
protocol RedisConnectionOwner: AnyObject {
    /// The handshake has completed.
    func connectionReady(_ server: RedisServer)
    func connectionReceived(_ reply: FlatReply)
    /// The connection did not open, or broke. The last call.
    func connectionClosed(_ reason: String)
}

/// One connection to Redis: opens it, does the handshake, and passes on replies. Used once, on one event loop.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private enum State {
        /// Waits for the socket. Becomes `handshaking` or `closed`.
        case opening
        /// Waits for the answers to the handshake, for at most `RedisTimeLimits.handshake`. Becomes `ready` or
        /// `closed`.
        case handshaking(RedisHandshake, limit: Scheduled<Void>)
        /// Passes on replies. Becomes `closed`.
        case ready
        /// The owner has been notified, is about to be, or has closed the connection itself.
        case closed
    }

    private let eventLoop: any EventLoop
    private let limits: RedisTimeLimits
    private weak var owner: (any RedisConnectionOwner)?
    private var state = State.opening
    private var channel: (any Channel)?
    private var reader = ReplyReader()
    /// What the handshake did without, until a reply shows that the connection works all the same: a server that has
    /// no room for another client says so in answer to the first command, and closes.
    private var setback: String?

    /// Begins to open a connection; `close` aborts at any time.
    init(
        to address: RedisAddress, handshake: RedisHandshake, limits: RedisTimeLimits, eventLoop: any EventLoop,
        owner: any RedisConnectionOwner
    ) {
        self.eventLoop = eventLoop
        self.limits = limits
        self.owner = owner
        // Some failures are known at once, and must not reach the owner from inside this call.
        eventLoop.assumeIsolated().execute { self.open(address, handshake) }
    }

    /// Sends the output of `writeCommand` or of an encoder. Only while ready.
    func write(_ buffer: ByteBuffer) {
        guard case .ready = state, let channel else { return }
        channel.writeAndFlush(buffer, promise: nil)
    }

    /// Closes it without notifying the owner.
    func close() {
        owner = nil
        end()
    }

    /// Closes it and passes the reason to the owner.
    func fail(_ reason: String) {
        if case .closed = state { return }
        end()
        eventLoop.assumeIsolated().execute {
            self.owner?.connectionClosed(reason)
            self.owner = nil
        }
    }

    private func end() {
        if case .handshaking(_, let limit) = state { limit.cancel() }
        state = .closed
        channel?.close(promise: nil)
        channel = nil
    }

    private func open(_ address: RedisAddress, _ handshake: RedisHandshake) {
        guard case .opening = state else { return }
        let bootstrap = ClientBootstrap(group: eventLoop).connectTimeout(limits.connect)
        let opening: EventLoopFuture<any Channel> =
            switch address.endpoint {
            case .unix(let path): bootstrap.connect(unixDomainSocketPath: path)
            case .tcp(let host, let port):
                bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).connect(host: host, port: port)
            }
        opening.assumeIsolated().whenComplete { self.opened($0, handshake) }
    }

    private func opened(_ result: Result<any Channel, any Error>, _ handshake: RedisHandshake) {
        switch (result, state) {
        case (.success(let channel), .opening):
            self.channel = channel
            do {
                try channel.pipeline.syncOperations.addHandler(self)
            } catch {
                return fail("the connection closed while it was opened")
            }
            guard channel.isActive else { return fail("the connection closed while it was opened") }
            let limit = eventLoop.assumeIsolated().scheduleTask(in: limits.handshake) {
                self.fail("Redis did not answer within \(self.limits.handshake.inMilliseconds)")
            }
            state = .handshaking(handshake, limit: limit)
            ask(handshake, over: channel)
        case (.success(let channel), _):
            channel.close(promise: nil)
        case (.failure(let error), _):
            fail("cannot connect: \(Self.words(for: error))")
        }
    }

    /// Sends a round of the handshake.
    private func ask(_ handshake: RedisHandshake, over channel: any Channel) {
        var commands = channel.allocator.buffer(capacity: 8_192)
        handshake.writeCommands(into: &commands)
        channel.writeAndFlush(commands, promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do throws(ReplyProtocolError) {
            try reader.feed(unwrapInboundIn(data))
            while true {
                // The receiver of the last reply may have closed the connection.
                if case .closed = state { return }
                guard let reply = try reader.next() else { return }
                receive(reply)
            }
        } catch {
            fail("Redis did not speak its protocol: \(error.reason)")
        }
    }

    private func receive(_ reply: FlatReply) {
        switch state {
        case .ready:
            setback = nil
            owner?.connectionReceived(reply)
        case .handshaking(var handshake, let limit):
            switch handshake.receive(reply) {
            case .wait: state = .handshaking(handshake, limit: limit)
            case .ask:
                state = .handshaking(handshake, limit: limit)
                if let channel { ask(handshake, over: channel) }
            case .fail(let reason): fail(reason)
            case .ready(let server):
                limit.cancel()
                state = .ready
                setback = handshake.lastingSetback
                owner?.connectionReady(server)
            }
        case .opening, .closed: break
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(earlyLoss ?? "Redis closed the connection")
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(earlyLoss ?? "the connection broke: \(Self.words(for: error))")
    }

    /// Why the connection broke before it was of use, as far as the answers tell; nil after that.
    private var earlyLoss: String? {
        if case .handshaking(let handshake, _) = state { return handshake.lossReason }
        return setback.map { "Redis closed the connection: \($0)" }
    }

    /// One line for an error that NIO throws.
    private static func words(for error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            let reason = error.connectionErrors.first.map { words(for: $0.error) }
            return reason ?? "the name \(error.host) was not found"
        case let error as IOError: return String(cString: strerror(error.errnoCode))
        case ChannelError.connectTimeout(let limit): return "no answer within \(limit.inMilliseconds)"
        default: return "\(error)"
        }
    }
}
