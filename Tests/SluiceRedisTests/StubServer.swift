import NIOCore
import NIOPosix
import Support

/// A server that gives a test's answers, whatever it is asked.
final class StubServer: Sendable {
    /// What a well-behaved server answers to the handshake of a link without credentials.
    static let greeting =
        "+OK\r\n$40\r\n\(String(repeating: "a", count: 40))\r\n$40\r\n\(String(repeating: "b", count: 40))\r\n"
        + "$21\r\nredis_version:9.9.9\r\n\r\n$0\r\n\r\n$13\r\nrole:master\r\n\r\n"

    let url: String
    private let channel: any Channel
    private let folder: TemporaryFolder?

    private init(url: String, channel: any Channel, folder: TemporaryFolder?) {
        self.url = url
        self.channel = channel
        self.folder = folder
    }

    deinit { channel.close(promise: nil) }

    /// - Parameters:
    ///   - replies: the first goes out once the whole handshake has come, each of the others after one more read.
    ///   - closes: whether the connection is closed after the last of them.
    ///   - handshakeEnd: with what the handshake ends.
    static func start(
        _ replies: [String], closes: Bool = false, tcp: Bool = false, handshakeEnd: String = "replication\r\n"
    ) async throws -> StubServer {
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Handler(replies: replies, closes: closes, handshakeEnd: handshakeEnd))
                }
            }
        if tcp {
            let channel = try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
            return StubServer(
                url: "redis://127.0.0.1:\(channel.localAddress?.port ?? 0)", channel: channel, folder: nil)
        }
        let folder = try TemporaryFolder()
        let channel = try await bootstrap.bind(unixDomainSocketPath: folder.path("stub.sock")).get()
        return StubServer(url: "unix://\(folder.path("stub.sock"))", channel: channel, folder: folder)
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private var replies: ArraySlice<String>
        private let closes: Bool
        private let handshakeEnd: String
        private var received = ""
        private var isGreeted = false

        init(replies: [String], closes: Bool, handshakeEnd: String) {
            self.replies = replies[...]
            self.handshakeEnd = handshakeEnd
            self.closes = closes
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += String(buffer: unwrapInboundIn(data))
            guard isGreeted || received.hasSuffix(handshakeEnd) else { return }
            isGreeted = true
            guard let reply = replies.popFirst() else { return }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: reply)), promise: nil)
            if closes, replies.isEmpty { context.close(promise: nil) }
        }
    }
}
