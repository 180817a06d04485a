import NIOCore
import NIOEmbedded
import NIOHTTP2
import Support
import Testing

@testable import SluiceGRPC

/// A server's connection, whose peer writes bytes as it likes.
private final class RawPeer {
    final class Held: GRPCService {
        var nowNs: Int64 = 0
        var calls: [Int] = []
        var cancelled = 0
        var isClosed = false

        func opened() -> Bool { true }
        func arrived() {}
        var share: Int { 1_000_000 }
        func willWork(_ work: Int) {}
        func hasMore() {}
        func called(_ call: GRPCCall, message: ByteBuffer) { calls.append(call.stream) }
        func cancelled(stream: Int) { cancelled += 1 }
        func handled() {}
        func closed() { isClosed = true }
    }

    let service = Held()
    let handler: GRPCHandler
    let channel = EmbeddedChannel()
    private(set) var received: [UInt8] = []
    static let path = GRPCStreamsTests.path

    init() throws {
        handler = GRPCHandler(
            GRPCMethods([GRPCMethods.Method(Self.path, maxMessageBytes: 1_048_576)]), service: service)
        try handler.add(to: channel.pipeline.syncOperations)
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
        // The server's settings hold once they are acknowledged.
        send(HTTP2Bytes.preface + HTTP2Bytes.acknowledgement)
    }

    var isOpen: Bool { channel.isActive }

    /// In one read.
    func send(_ bytes: [UInt8]) {
        guard isOpen else { return }
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        collect()
    }

    func respond(_ stream: Int, _ message: [UInt8]) {
        handler.respond(stream: stream, GRPCStreams.framed(message))
        handler.flush()
        collect()
    }

    func sweep() {
        handler.sweep()
        collect()
    }

    private func collect() {
        channel.embeddedEventLoop.run()
        while case .byteBuffer(let bytes)? = try? channel.readOutbound(as: IOData.self) {
            received += bytes.readableBytesView
        }
    }

    /// What has come since the last time.
    func frames() -> [(kind: UInt8, stream: Int, payload: [UInt8])] {
        defer { received = [] }
        return HTTP2Bytes.frames(received)
    }

    func finish() { _ = try? channel.finish(acceptAlreadyClosed: true) }
}

/// Peers that waste the server's time or memory, on purpose or not.
@Suite struct HostileFramesTests {
    private static func most(_ flood: HTTP2Flood) -> Int {
        switch flood {
        case .rapidReset: GRPCBounds.maxResets
        case .ping, .settings, .priority: GRPCBounds.maxControlFrames
        case .continuation: GRPCBounds.maxContinuations
        case .emptyData, .emptyPaddedData: GRPCBounds.maxEmptyDataFrames
        case .streamErrors: GRPCBounds.maxStreamErrors
        case .tooManyStreams: GRPCBounds.maxStreams
        }
    }

    @Test(arguments: HTTP2Flood.allCases)
    func aFloodEndsTheConnection(_ flood: HTTP2Flood) throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(flood.beginning(RawPeer.path))
        #expect(peer.isOpen)
        var count = 0
        while peer.isOpen && count < 20_000 {
            peer.send(flood.frames(count, RawPeer.path))
            count += 1
        }
        #expect(!peer.isOpen)
        #expect(HTTP2Bytes.goAwayCode(peer.received) == flood.code)
        // Bounds hold for a second each; a run that is slow may see more than one.
        #expect(count > Self.most(flood) / 2 && count <= 10 * (Self.most(flood) + 1), "\(count)")
        #expect(peer.service.isClosed)
        #expect(peer.service.calls.isEmpty)
    }

    /// A header without compression.
    private static func header(_ name: String, _ value: String) -> [UInt8] {
        [0, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)] + Array(value.utf8)
    }

    private static let request = [
        (":method", "POST"), (":scheme", "http"), (":path", RawPeer.path), ("content-type", "application/grpc"),
    ]

    @Test(arguments: [
        [("X-Upper", "a")], [("a b", "c")], [("a:b", "c")], [("x\u{7F}", "c")], [("é", "c")],
        [(":path", "/again")], [(":authority", "late")], [("connection", "close")], [("transfer-encoding", "chunked")],
        [("keep-alive", "1")], [("upgrade", "h2c")], [("proxy-connection", "close")], [("te", "gzip")],
    ])
    func malformedHeadersEndTheConnection(_ more: [(String, String)]) throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        let block = (Self.request + more).flatMap { Self.header($0.0, $0.1) }
        peer.send(HTTP2Bytes.frame(.headers, flags: HTTP2Bytes.endHeaders, stream: 1, block))
        #expect(!peer.isOpen && HTTP2Bytes.goAwayCode(peer.received) == 1)
        #expect(peer.service.isClosed && peer.service.calls.isEmpty)
    }

    @Test(arguments: [[":path", ":path"], [":status"], [":unknown"], [":"]])
    func malformedPseudoHeadersEndTheConnection(_ names: [String]) throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        let block = (names.map { ($0, "/x") } + Self.request).flatMap { Self.header($0.0, $0.1) }
        peer.send(HTTP2Bytes.frame(.headers, flags: HTTP2Bytes.endHeaders, stream: 1, block))
        #expect(!peer.isOpen && HTTP2Bytes.goAwayCode(peer.received) == 1)
    }

    @Test func whatIsWellFormedIsTaken() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        let block = (Self.request + [("te", "trailers"), ("x-a_b.c~", ""), ("te", "trailers")])
            .flatMap { Self.header($0.0, $0.1) }
        peer.send(
            HTTP2Bytes.frame(.headers, flags: HTTP2Bytes.endHeaders, stream: 1, block) + HTTP2Bytes.message(1, [7]))
        #expect(peer.isOpen && peer.service.calls == [1])
    }

    @Test func aFloodInOneReadIsLeftAtTheBound() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send((0..<5_000).flatMap { HTTP2Flood.ping.frames($0, "") })
        #expect(HTTP2Bytes.goAwayCode(peer.received) == 11)
        #expect(!peer.isOpen)
        #expect(peer.received.count < 20 * GRPCBounds.maxControlFrames)
    }

    @Test func tenThousandStreamsThatAskForNothingEnd() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        for index in 0..<GRPCBounds.maxStreams { peer.send(HTTP2Flood.tooManyStreams.frames(index, RawPeer.path)) }
        #expect(peer.isOpen)
        #expect(peer.handler.callCount == GRPCBounds.maxStreams)
        peer.service.nowNs = GRPCBounds.requestLimitNs
        peer.sweep()
        #expect(peer.frames().count { $0.kind == HTTP2Bytes.Kind.reset.rawValue } == GRPCBounds.maxStreams)
        #expect(peer.handler.callCount == 0)
        // Its next thousand are served, and so on.
        for index in 0..<GRPCBounds.maxStreams {
            peer.send(HTTP2Flood.tooManyStreams.frames(5_000 + index, RawPeer.path))
        }
        #expect(peer.isOpen)
        #expect(peer.handler.callCount == GRPCBounds.maxStreams)
        for index in 0..<8_000 { peer.send(HTTP2Flood.tooManyStreams.frames(9_000 + index, RawPeer.path)) }
        #expect(!peer.isOpen)
    }

    @Test func aConnectionWindowThatOverflowsEndsTheConnection() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.windowUpdate(0, by: 0x7FFF_FFFF))
        #expect(HTTP2Bytes.goAwayCode(peer.received) == 3)
        #expect(!peer.isOpen)
    }

    /// Asks `count` times, and answers with `bytes` bytes each.
    private func ask(_ peer: RawPeer, count: Int, bytes: Int) {
        for stream in stride(from: 1, to: 2 * count, by: 2) {
            peer.send(HTTP2Bytes.request(stream, path: RawPeer.path) + HTTP2Bytes.message(stream, []))
            peer.respond(stream, [UInt8](repeating: 1, count: bytes))
        }
    }

    @Test func answersThatNoWindowLetsThroughAreHeldForATime() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.setting(4, 0))
        ask(peer, count: 100, bytes: 95)
        #expect(peer.frames().allSatisfy { $0.kind != HTTP2Bytes.Kind.data.rawValue })
        #expect(peer.handler.callCount == 100)
        #expect(peer.handler.heldBytes == 100 * 100)
        peer.service.nowNs = GRPCBounds.answerLimitNs - 1
        peer.sweep()
        #expect(peer.handler.callCount == 100)
        peer.service.nowNs += 1
        peer.sweep()
        let resets = peer.frames()
        #expect(resets.count == 100 && resets.allSatisfy { $0.payload == [0, 0, 0, 11] })
        #expect(peer.handler.callCount == 0)
        #expect(peer.handler.heldBytes == 0)
        #expect(peer.isOpen)
    }

    @Test func aWindowOfOneByteGetsAByteForEachUpdate() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.setting(4, 1))
        ask(peer, count: 1, bytes: 45)
        var pieces = peer.frames().filter { $0.kind == HTTP2Bytes.Kind.data.rawValue }
        #expect(pieces.map(\.payload.count) == [1])
        while peer.handler.callCount > 0 && pieces.count < 100 {
            peer.send(HTTP2Bytes.windowUpdate(1, by: 1))
            let frames = peer.frames()
            #expect(frames.count <= 2)
            pieces += frames.filter { $0.kind == HTTP2Bytes.Kind.data.rawValue }
        }
        #expect(pieces.flatMap(\.payload) == [0, 0, 0, 0, 45] + [UInt8](repeating: 1, count: 45))
        #expect(pieces.count == 50)
        #expect(peer.handler.heldBytes == 0)
    }

    /// A peer may allow a table of compressed headers of any size: what callers' words make different is not put there.
    @Test func messagesOfErrorsFillNoTable() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.setting(1, 0x7FFF_FFFF))
        let path = "/no.such.Service/" + String(repeating: "Method", count: 10)
        let lengths = try stride(from: 1, to: 7, by: 2).map { stream in
            peer.send(HTTP2Bytes.request(stream, path: path) + HTTP2Bytes.message(stream, []))
            let answer = peer.frames().first { $0.stream == stream && $0.kind == HTTP2Bytes.Kind.headers.rawValue }
            return try #require(answer).payload.count
        }
        #expect(lengths[1] == lengths[2] && lengths[2] > 20, "\(lengths)")
        #expect(peer.isOpen)
    }

    @Test func manyUpdatesOfWindowsSendNothing() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.setting(4, 0))
        ask(peer, count: 1, bytes: 10)
        _ = peer.frames()
        for _ in 0..<10_000 { peer.send(HTTP2Bytes.windowUpdate(0, by: 1)) }
        #expect(peer.received.isEmpty)
        #expect(peer.isOpen)
    }

    @Test func aDrainDoesNotForgetAnswersThatWindowsHoldBack() throws {
        let peer = try RawPeer()
        defer { peer.finish() }
        peer.send(HTTP2Bytes.setting(4, 0))
        ask(peer, count: 1, bytes: 10)
        peer.handler.drain()
        peer.service.nowNs = GRPCBounds.goAwayLimitNs
        peer.sweep()
        #expect(peer.isOpen)
        peer.send(HTTP2Bytes.windowUpdate(1, by: 100))
        #expect(peer.frames().contains { $0.kind == HTTP2Bytes.Kind.data.rawValue && $0.payload.count == 15 })
        #expect(!peer.isOpen)
    }

    /// A copy of all that came before for each frame would be a second of work for a message of a megabyte.
    @Test func aMessageInSmallPiecesIsCopiedAsItGrows() {
        var rig = GRPCStreamsTests.Rig()
        _ = rig.headers(1, path: "/t.T/Large")
        _ = rig.data(1, [0] + HTTP2Bytes.number(100_000, bytes: 4))
        var places: Set<UInt> = []
        for _ in 0..<10_000 {
            _ = rig.data(1, [UInt8](repeating: 7, count: 10))
            if let place = rig.streams.place(of: 1) { places.insert(place) }
        }
        #expect(places.count < 30)
        #expect(rig.data(1, [], end: true) == ["call 1 1"])
        #expect(rig.messages == [[UInt8](repeating: 7, count: 100_000)])
        #expect(rig.streams.heldBytes == 0)
    }

    @Test func aPieceDoesNotKeepAllThatWasRead() {
        var rig = GRPCStreamsTests.Rig()
        _ = rig.headers(1, path: "/t.T/Large")
        let read = ByteBuffer(bytes: [0] + [UInt8](repeating: 0, count: 8_191))
        let piece = read.getSlice(at: 0, length: 1) ?? ByteBuffer()
        _ = rig.receive(1, .data(.init(data: .byteBuffer(piece))))
        #expect(rig.streams.place(of: 1) != piece.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) })
    }
}

extension GRPCStreams {
    /// Where the bytes of a request are kept.
    fileprivate func place(of stream: Int) -> UInt? {
        guard case .receiving(let request)? = streams[stream] else { return nil }
        return request.bytes.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) }
    }
}
