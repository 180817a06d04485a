package import NIOCore
import NIOPosix
package import SluiceProtocol
import Synchronization

/// A server that answers as a test says, on a Unix socket in a temporary folder or on TCP. It ends with its last
/// reference.
package final class StubServer: Sendable {
    /// What becomes of one request.
    package enum Action: Sendable {
        /// These bytes.
        case answer(String)
        /// These bytes, so many in a system call.
        case drip(String, pieceBytes: Int = 1)
        /// Nothing, now or ever.
        case ignore
        case close
    }

    package let path: String
    /// As `--redis` takes it.
    package let url: String
    private let folder: TemporaryFolder
    private let channel: any Channel
    private let count = Counted()

    private final class Counted: Sendable {
        let connections = Atomic(0)
    }

    /// - Parameters:
    ///   - path: where it listens; nil for a path in a folder of its own.
    ///   - handler: makes what handles a connection.
    package init(
        path: String? = nil, tcp: Bool = false, handler: @escaping @Sendable () -> any ChannelHandler
    ) async throws {
        folder = try TemporaryFolder()
        self.path = path ?? folder.path("stub.sock")
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { [count] channel in
                count.connections.add(1, ordering: .relaxed)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(handler())
                }
            }
        if tcp {
            channel = try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
            url = "redis://127.0.0.1:\(channel.localAddress?.port ?? 0)"
        } else {
            channel = try await bootstrap.bind(unixDomainSocketPath: self.path).get()
            url = "unix://\(self.path)"
        }
    }

    /// - Parameter respond: asked for each request, with its words.
    package convenience init(
        path: String? = nil, tcp: Bool = false, respond: @escaping @Sendable ([String]) -> Action
    ) async throws {
        try await self.init(path: path, tcp: tcp) { RequestHandler(respond) }
    }

    deinit { channel.close(promise: nil) }

    /// How many connections there were.
    package var connectionCount: Int { count.connections.load(ordering: .relaxed) }

    package func stop() async throws { try await channel.close() }

    /// Runs `body` against a server that lives as long.
    package static func with(
        _ respond: @escaping @Sendable ([String]) -> Action, _ body: (StubServer) async throws -> Void
    ) async throws {
        let server = try await StubServer(respond: respond)
        do {
            try await body(server)
        } catch {
            try await server.stop()
            throw error
        }
        try await server.stop()
    }

    /// A decision as Sluice writes it.
    package static func decision(_ fields: DecisionFields, _ version: RESPVersion = .resp2) -> String {
        var output = ByteBuffer()
        ReplyWriter(version: version).writeDecision(fields, to: &output)
        return String(buffer: output)
    }
}

private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let respond: @Sendable ([String]) -> StubServer.Action
    private var framer = RequestFramer()
    private var input = ByteBuffer()

    init(_ respond: @escaping @Sendable ([String]) -> StubServer.Action) { self.respond = respond }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        input.writeBuffer(&bytes)
        do {
            while try framer.next(in: &input) == .frame {
                switch respond(framer.arguments.map(input.string(ofArgument:))) {
                case .answer(let text): context.write(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
                case .drip(let text, let pieceBytes):
                    var output = ByteBuffer(string: text)
                    while let piece = output.readSlice(length: min(pieceBytes, output.readableBytes)),
                        piece.readableBytes > 0
                    {
                        context.writeAndFlush(wrapOutboundOut(piece), promise: nil)
                    }
                case .ignore: break
                case .close: return context.close(promise: nil)
                }
            }
        } catch {
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
