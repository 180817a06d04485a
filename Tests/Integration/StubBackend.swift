import Foundation
import NIOCore
import Support

/// What a proxy protects: an HTTP server that answers every request in the same way, and counts them.
final class StubBackend: Sendable {
    static let answer = "the tool ran\n"

    let port: Int
    private let server: StubServer
    private let counter: Counter

    /// How many requests have arrived.
    var count: Int { counter.value }

    init() async throws {
        let counter = Counter()
        self.counter = counter
        server = try await StubServer(tcp: true) { Handler(counter) }
        port = Int(server.url.split(separator: ":").last ?? "") ?? 0
    }

    private final class Counter: @unchecked Sendable {
        private let lock = NSLock()
        private var count = 0

        var value: Int { lock.withLock { count } }
        func add() { lock.withLock { count += 1 } }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let counter: Counter
        private var text = ""

        init(_ counter: Counter) { self.counter = counter }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            text += String(buffer: unwrapInboundIn(data))
            // None of them has a body.
            while let end = text.range(of: "\r\n\r\n") {
                text.removeSubrange(..<end.upperBound)
                counter.add()
                let head = "HTTP/1.1 200 OK\r\ncontent-length: \(StubBackend.answer.utf8.count)\r\n\r\n"
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: head + StubBackend.answer)), promise: nil)
            }
        }
    }
}
