import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

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
        /// Waits for the sentinels' answer, for files and for the socket. Becomes `handshaking` or `closed`.
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
    private let target: RedisTarget
    /// Where it goes: known from the start, or from the sentinels.
    private(set) var endpoint: RedisAddress.Endpoint?
    private var tlsHandler: NIOSSLClientHandler?
    private var hasReceived = false

    /// Begins to open a connection; `close` aborts at any time.
    init(
        to target: RedisTarget, handshake: @escaping RedisTarget.MakeHandshake, limits: RedisTimeLimits,
        eventLoop: any EventLoop, owner: any RedisConnectionOwner
    ) {
        self.target = target
        self.eventLoop = eventLoop
        self.limits = limits
        self.owner = owner
        // Some failures are known at once, and must not reach the owner from inside this call.
        eventLoop.assumeIsolated().execute { self.find(handshake) }
    }

    /// Sends the output of `writeCommand` or of an encoder. Only while ready.
    func write(_ buffer: ByteBuffer) {
        guard case .ready = state, let channel else { return }
        channel.writeAndFlush(buffer, promise: nil)
    }

    /// The same, but it leaves with `flush`.
    func enqueue(_ buffer: ByteBuffer) {
        guard case .ready = state, let channel else { return }
        channel.write(buffer, promise: nil)
    }

    /// Sends everything that was enqueued, in one system call if it can.
    func flush() { channel?.flush() }

    /// Closes it without notifying the owner.
    func close() {
        owner = nil
        end()
    }

    /// Closes it and passes the reason to the owner.
    func fail(_ reason: String) {
        if case .closed = state { return }
        let reason = reason + place
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

    // MARK: - Opening

    private func find(_ handshake: @escaping RedisTarget.MakeHandshake) {
        guard case .opening = state else { return }
        guard let sentinels = target.sentinels else {
            return prepare(target.address.endpoint, handshake)
        }
        sentinels.find { result in
            switch result {
            case .success(let endpoint): self.prepare(endpoint, handshake)
            case .failure(let failure): self.fail("\(failure)")
            }
        }
    }

    private func prepare(_ endpoint: RedisAddress.Endpoint, _ handshake: @escaping RedisTarget.MakeHandshake) {
        guard case .opening = state else { return }
        self.endpoint = endpoint
        target.access.read(on: eventLoop).assumeIsolated().whenComplete { result in
            switch result {
            case .success(let contents):
                self.open(endpoint, contents.context, handshake(contents.credentials))
            case .failure(let error): self.fail("\(error)")
            }
        }
    }

    private func open(_ endpoint: RedisAddress.Endpoint, _ context: NIOSSLContext?, _ handshake: RedisHandshake) {
        guard case .opening = state else { return }
        let bootstrap = ClientBootstrap(group: eventLoop).connectTimeout(limits.connect)
        let opening: EventLoopFuture<any Channel>
        switch endpoint {
        case .unix(let path): opening = bootstrap.connect(unixDomainSocketPath: path)
        case .tcp(let host, let port):
            if let context, let tls = target.access.tls {
                do throws(RedisAccessError) {
                    tlsHandler = try tls.handler(context, host: host)
                } catch {
                    return fail("\(error)")
                }
            }
            opening = bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).connect(host: host, port: port)
        case .master: return fail("the sentinels named a master instead of its address")
        case .cluster: return fail("a connection goes to one node, not to a cluster")
        }
        opening.assumeIsolated().whenComplete { self.opened($0, handshake) }
    }

    private func opened(_ result: Result<any Channel, any Error>, _ handshake: RedisHandshake) {
        switch (result, state) {
        case (.success(let channel), .opening):
            self.channel = channel
            do {
                if let tlsHandler { try channel.pipeline.syncOperations.addHandler(tlsHandler) }
                try channel.pipeline.syncOperations.addHandler(self)
            } catch {
                return fail("the connection closed while it was opened")
            }
            guard channel.isActive else { return fail("the connection closed while it was opened") }
            let limit = eventLoop.assumeIsolated().scheduleTask(in: limits.handshake) {
                self.fail("Redis did not answer within \(self.limits.handshake.inMilliseconds)\(self.silenceHint)")
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
        hasReceived = true
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
        fail((earlyLoss ?? "Redis closed the connection") + lossHint)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let reason = tlsFault(error) { return fail(reason) }
        fail((earlyLoss ?? "the connection broke: \(Self.words(for: error))") + lossHint)
    }

    // MARK: - Words

    /// Why the connection broke before it was of use, by the answers so far; nil after that.
    private var earlyLoss: String? {
        if case .handshaking(let handshake, _) = state { return handshake.lossReason }
        return setback.map { "Redis closed the connection: \($0)" }
    }

    /// What TLS says of this error; nil if it is another's.
    private func tlsFault(_ error: any Error) -> String? {
        guard let tls = target.access.tls, case .tcp(let host, _) = endpoint else { return nil }
        return TLSFault(tls: tls, host: host, certificate: tlsHandler?.peerCertificate, now: time(nil))
            .words(for: error)
    }

    /// What may be wrong if a server closes before it has answered anything.
    private var lossHint: String {
        guard case .tcp = endpoint, !hasReceived else { return "" }
        guard let tls = target.access.tls else {
            return "; if it speaks TLS on this port, use rediss://"
        }
        return tls.certificate == nil
            ? "; if it asks for a client certificate, set --redis-certificate and --redis-key" : ""
    }

    /// The same if it is silent: the first bytes of TLS look to Redis like the beginning of a command.
    private var silenceHint: String {
        target.access.tls != nil && !hasReceived
            ? ": if it does not speak TLS on this port, use redis:// or the port of its tls-port" : ""
    }

    /// Which server a fault is about, where the address does not say it.
    private var place: String {
        guard target.sentinels != nil || target.isOneOfSeveral, let endpoint else { return "" }
        return " (\(endpoint))"
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
