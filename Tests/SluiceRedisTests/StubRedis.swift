import NIOCore
import Support

/// A server that gives a test's answers, whatever it is asked.
enum StubRedis {
    /// What a well-behaved server answers to the handshake of a link without credentials.
    static let greeting =
        "+OK\r\n$40\r\n\(String(repeating: "a", count: 40))\r\n$40\r\n\(String(repeating: "b", count: 40))\r\n"
        + "$21\r\nredis_version:9.9.9\r\n\r\n$0\r\n\r\n$13\r\nrole:master\r\n\r\n"

    /// - Parameters:
    ///   - replies: the first goes out once the whole handshake has come, each of the others after one more read.
    ///   - closes: whether the connection is closed after the last of them.
    ///   - handshakeEnd: with what the handshake ends.
    static func start(
        _ replies: [String], closes: Bool = false, tcp: Bool = false, handshakeEnd: String = "replication\r\n"
    ) async throws -> StubServer {
        try await StubServer(tcp: tcp) { Handler(replies: replies[...], closes: closes, handshakeEnd: handshakeEnd) }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private var replies: ArraySlice<String>
        private let closes: Bool
        private let handshakeEnd: String
        private var received = ""
        private var isGreeted = false

        init(replies: ArraySlice<String>, closes: Bool, handshakeEnd: String) {
            self.replies = replies
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
