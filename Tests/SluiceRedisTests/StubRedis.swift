import NIOCore
import Support

/// A server that gives a test's answers, whatever it is asked.
enum StubRedis {
    /// What a well-behaved server answers to the handshake of a link without credentials.
    static let greeting =
        greeting(version: "9.9.9")

    static func greeting(version: String, mode: String = "standalone", refused: String = "*0\r\n") -> String {
        let server = "redis_version:\(version)\r\nredis_mode:\(mode)\r\n"
        return "+OK\r\n$40\r\n\(String(repeating: "a", count: 40))\r\n$40\r\n\(String(repeating: "b", count: 40))\r\n"
            + "-NOSCRIPT No matching script.\r\n\(refused)"
            + "$\(server.utf8.count)\r\n\(server)\r\n$0\r\n\r\n$13\r\nrole:master\r\n\r\n"
    }

    /// - Parameters:
    ///   - replies: the first goes out once the whole handshake has come, each of the others after one more read.
    ///   - closes: whether the connection is closed after the last of them.
    ///   - handshakeEnd: with what the handshake ends.
    ///   - handshakes: how many of the replies go out only once a whole handshake has come.
    static func start(
        _ replies: [String], closes: Bool = false, tcp: Bool = false, handshakeEnd: String = "replication\r\n",
        handshakes: Int = 1
    ) async throws -> StubServer {
        try await StubServer(tcp: tcp) {
            Handler(
                replies: replies[...], closes: closes, handshakeEnd: handshakeEnd, handshakes: handshakes)
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private var replies: ArraySlice<String>
        private let closes: Bool
        private let handshakeEnd: String
        private var received = ""
        private var handshakes: Int

        init(replies: ArraySlice<String>, closes: Bool, handshakeEnd: String, handshakes: Int) {
            self.replies = replies
            self.handshakeEnd = handshakeEnd
            self.handshakes = handshakes
            self.closes = closes
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += String(buffer: unwrapInboundIn(data))
            guard handshakes == 0 || received.hasSuffix(handshakeEnd) else { return }
            if handshakes > 0 { handshakes -= 1 }
            received = ""
            guard let reply = replies.popFirst() else { return }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: reply)), promise: nil)
            if closes, replies.isEmpty { context.close(promise: nil) }
        }
    }
}
