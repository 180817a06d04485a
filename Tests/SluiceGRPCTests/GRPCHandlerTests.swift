import NIOCore
import NIOEmbedded
import NIOHPACK
import NIOHTTP2
import SluiceGRPC
import Testing

/// A server's connection and a client's HTTP/2 handler, whose bytes go to each other.
private final class Pair {
    final class Echo: GRPCService {
        var nowNs: Int64 = 0
        var hasRoom = true
        var held: [Int] = []
        var answersAtOnce = true
        var cancelled: [Int] = []
        var isClosed = false
        weak var handler: GRPCHandler?

        func opened() -> Bool { hasRoom }
        func arrived() {}
        var share: Int { 1_000_000 }
        func willWork(_ work: Int) {}
        func hasMore() {}
        func handled() {}
        func closed() { isClosed = true }
        func cancelled(stream: Int) { cancelled.append(stream) }
        func called(_ call: GRPCCall, message: ByteBuffer) {
            guard answersAtOnce else { return held.append(call.stream) }
            handler?.respond(stream: call.stream, GRPCStreams.framed(Array(message.readableBytesView)))
        }
    }

    /// Collects what the client's handler reads.
    final class Collector: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame
        var words: [String] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let word = GRPCStreamsTests.Rig.word(unwrapInboundIn(data))
            if word != "other" { words.append(word) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {}
    }

    let service = Echo()
    let handler: GRPCHandler
    let server = EmbeddedChannel()
    let client = EmbeddedChannel()
    let collector = Collector()

    init(hasRoom: Bool = true) throws {
        service.hasRoom = hasRoom
        handler = GRPCHandler(
            GRPCMethods([
                GRPCMethods.Method(GRPCStreamsTests.path), GRPCMethods.Method("/t.T/Large", maxMessageBytes: 1_048_576),
            ]), service: service)
        service.handler = handler
        try handler.add(to: server.pipeline.syncOperations)
        try client.pipeline.syncOperations.addHandlers([NIOHTTP2Handler(mode: .client), collector])
        client.connect(to: try SocketAddress(unixDomainSocketPath: "/c"), promise: nil)
        server.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
        try exchange()
    }

    /// Moves bytes both ways until there are none.
    func exchange() throws {
        var isMoving = true
        while isMoving {
            isMoving = false
            while let bytes = try client.readOutbound(as: IOData.self) {
                isMoving = true
                if server.isActive { try server.writeInbound(bytes.buffer) }
            }
            while let bytes = try server.readOutbound(as: IOData.self) {
                isMoving = true
                if client.isActive { try client.writeInbound(bytes.buffer) }
            }
            server.embeddedEventLoop.run()
            client.embeddedEventLoop.run()
        }
    }

    func write(_ id: Int, _ payload: HTTP2Frame.FramePayload) {
        client.write(HTTP2Frame(streamID: HTTP2StreamID(id), payload: payload), promise: nil)
        client.flush()
    }

    func call(_ id: Int, path: String = GRPCStreamsTests.path, _ message: [UInt8], more: [(String, String)] = []) {
        let headers = HPACKHeaders(
            [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "s"),
                ("content-type", "application/grpc"), ("te", "trailers"),
            ] + more)
        write(id, .headers(.init(headers: headers, endStream: false)))
        write(id, .data(.init(data: .byteBuffer(GRPCStreams.framed(message)), endStream: true)))
    }

    func finish() {
        _ = try? server.finish(acceptAlreadyClosed: true)
        _ = try? client.finish(acceptAlreadyClosed: true)
    }
}

extension IOData {
    fileprivate var buffer: ByteBuffer {
        guard case .byteBuffer(let buffer) = self else { return ByteBuffer() }
        return buffer
    }
}

@Suite struct GRPCHandlerTests {
    @Test func aCallIsAnswered() throws {
        let pair = try Pair()
        defer { pair.finish() }
        pair.collector.words = []
        pair.call(1, [1, 2])
        try pair.exchange()
        #expect(pair.collector.words == ["headers 1 :status=200", "data 1 7", "headers 1 grpc-status=0 end"])
    }

    @Test func aThousandCallsAtOnceAreAnswered() throws {
        let pair = try Pair()
        defer { pair.finish() }
        pair.service.answersAtOnce = false
        for index in 0..<GRPCBounds.maxStreams { pair.call(2 * index + 1, [1]) }
        try pair.exchange()
        #expect(pair.service.held.count == GRPCBounds.maxStreams)
        for stream in pair.service.held { pair.handler.respond(stream: stream, GRPCStreams.framed([7])) }
        pair.handler.flush()
        try pair.exchange()
        #expect(pair.collector.words.count { $0.hasSuffix("grpc-status=0 end") } == GRPCBounds.maxStreams)
        #expect(pair.handler.callCount == 0)
    }

    @Test func largeMessagesDoNotExhaustTheWindow() throws {
        let pair = try Pair()
        defer { pair.finish() }
        for index in 0..<8 {
            pair.call(2 * index + 1, path: "/t.T/Large", [UInt8](repeating: 1, count: 1_048_576))
            try pair.exchange()
        }
        // The client's windows are those of HTTP/2's default: the answers wait for them.
        #expect(pair.collector.words.count { $0.hasSuffix(":status=200") } == 8)
        #expect(pair.handler.heldBytes == 8 * (1_048_576 + 5))
    }

    @Test func pingsAreAnswered() throws {
        let pair = try Pair()
        defer { pair.finish() }
        pair.write(0, .ping(HTTP2PingData(withInteger: 4), ack: false))
        try pair.exchange()
        #expect(pair.collector.words.last == "pong")
    }

    @Test func tooManyPingsCloseTheConnection() throws {
        let pair = try Pair()
        defer { pair.finish() }
        for index in 0...UInt64(GRPCBounds.maxControlFrames) {
            pair.write(0, .ping(HTTP2PingData(withInteger: index), ack: false))
        }
        try pair.exchange()
        #expect(pair.collector.words.contains("goaway 0 11"))
        #expect(!pair.server.isActive)
        #expect(pair.service.isClosed)
    }

    @Test func headersThatAreTooLongCloseTheConnection() throws {
        let pair = try Pair()
        defer { pair.finish() }
        pair.call(1, [1], more: [("x", String(repeating: "y", count: GRPCBounds.maxHeaderListBytes))])
        try pair.exchange()
        #expect(pair.collector.words.contains { $0.hasPrefix("goaway") })
        #expect(!pair.server.isActive)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: s\r\n\r\n", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ])
    func whatIsNotHTTP2ClosesTheConnection(text: String) throws {
        let service = Pair.Echo()
        let handler = GRPCHandler(GRPCMethods([]), service: service)
        let server = EmbeddedChannel()
        defer { _ = try? server.finish(acceptAlreadyClosed: true) }
        try handler.add(to: server.pipeline.syncOperations)
        server.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
        _ = try? server.writeInbound(ByteBuffer(string: text))
        server.embeddedEventLoop.run()
        #expect(!server.isActive)
    }

    @Test func drainingClosesAfterTheLastAnswer() throws {
        let pair = try Pair()
        defer { pair.finish() }
        pair.service.answersAtOnce = false
        pair.call(1, [1])
        try pair.exchange()
        pair.collector.words = []
        pair.handler.drain()
        try pair.exchange()
        #expect(pair.collector.words == ["goaway max 0", "ping", "goaway 1 0"])
        #expect(pair.server.isActive)
        pair.handler.respond(stream: 1, GRPCStreams.framed([]))
        pair.handler.flush()
        try pair.exchange()
        #expect(pair.collector.words.last == "headers 1 grpc-status=0 end")
        #expect(!pair.server.isActive)
    }

    @Test func aConnectionWithoutRoomIsToldSo() throws {
        let pair = try Pair(hasRoom: false)
        defer { pair.finish() }
        #expect(pair.collector.words == ["goaway 0 11"])
        #expect(!pair.server.isActive)
    }
}
