import NIOCore
import NIOEmbedded
import NIOHPACK
import NIOHTTP2
import SluiceEngine
import SluiceEnvoy
import SluiceGRPC
import Support
import SwiftProtobuf
import Testing

@testable import SluiceServer

/// A gateway's gRPC connection to a host whose store answers when the test says so.
private final class GatewayPeer {
    let rig: ServerRig
    let server: EmbeddedChannel
    let client: EmbeddedChannel
    let door: GRPCDoor
    private let collector = Collector()
    private var lastStream = -1

    /// What came back on each stream.
    struct Answer {
        var messages: [ByteBuffer] = []
        var status: String?
    }

    final class Collector: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame
        var answers: [Int: Answer] = [:]

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let frame = unwrapInboundIn(data)
            let id = Int(frame.streamID)
            switch frame.payload {
            case .headers(let headers):
                if let status = headers.headers.first(name: "grpc-status") {
                    answers[id, default: Answer()].status = status
                }
            case .data(let data):
                guard case .byteBuffer(var bytes) = data.data else { return }
                bytes.moveReaderIndex(forwardBy: 5)
                answers[id, default: Answer()].messages.append(bytes)
            default: break
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {}
    }

    init(_ rig: ServerRig, gateways: Gateways = Gateways()) throws {
        self.rig = rig
        door = GRPCDoor(
            GatewayService(
                host: rig.host, gateways: gateways, budgetNs: 10_000_000_000,
                largeMessages: LargeMessageReader(eventLoop: rig.eventLoop, isAside: false)))
        server = EmbeddedChannel(loop: rig.eventLoop)
        client = EmbeddedChannel(loop: rig.eventLoop)
        try door.add(to: server.pipeline.syncOperations)
        try client.pipeline.syncOperations.addHandlers([NIOHTTP2Handler(mode: .client), collector])
        client.connect(to: try SocketAddress(unixDomainSocketPath: "/c"), promise: nil)
        server.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
        try exchange()
    }

    func exchange() throws {
        var isMoving = true
        while isMoving {
            isMoving = false
            while case .byteBuffer(let bytes)? = try client.readOutbound(as: IOData.self) {
                isMoving = true
                if server.isActive { try server.writeInbound(bytes) }
            }
            rig.eventLoop.run()
            while case .byteBuffer(let bytes)? = try server.readOutbound(as: IOData.self) {
                isMoving = true
                if client.isActive { try client.writeInbound(bytes) }
            }
        }
    }

    /// - Returns: the stream.
    func call(_ method: GatewayService.Method, _ message: some Message) throws -> Int {
        try send(method, message)
        try exchange()
        return lastStream
    }

    private func send(_ method: GatewayService.Method, _ message: some Message) throws {
        lastStream += 2
        let headers = HPACKHeaders([
            (":method", "POST"), (":scheme", "http"), (":path", GatewayService.methods[method.rawValue].path),
            (":authority", "s"), ("content-type", "application/grpc"),
        ])
        let bytes: [UInt8] = try message.serializedBytes()
        write(lastStream, .headers(.init(headers: headers, endStream: false)))
        write(lastStream, .data(.init(data: .byteBuffer(GRPCStreams.framed(bytes)), endStream: true)))
    }

    /// So many calls arrive in one read, and the turn of the event loop does not end with it.
    func arrive(_ count: Int, _ method: GatewayService.Method, _ message: some Message) throws {
        for _ in 0..<count { try send(method, message) }
        var all = ByteBuffer()
        while case .byteBuffer(var bytes)? = try client.readOutbound(as: IOData.self) { all.writeBuffer(&bytes) }
        try server.writeInbound(all)
    }

    func write(_ id: Int, _ payload: HTTP2Frame.FramePayload) {
        client.write(HTTP2Frame(streamID: HTTP2StreamID(id), payload: payload), promise: nil)
        client.flush()
    }

    func answerAll() throws {
        rig.answerAll()
        try exchange()
    }

    func answer(_ stream: Int) -> Answer? { collector.answers[stream] }

    func codes(_ stream: Int) throws -> [Envoy_Service_Ratelimit_V3_RateLimitResponse.Code] {
        guard let bytes = answer(stream)?.messages.first else { return [] }
        let response = try Envoy_Service_Ratelimit_V3_RateLimitResponse(serializedBytes: Array(bytes.readableBytesView))
        return [response.overallCode] + response.statuses.map(\.code)
    }

    func remaining(_ stream: Int) throws -> [UInt32] {
        guard let bytes = answer(stream)?.messages.first else { return [] }
        let response = try Envoy_Service_Ratelimit_V3_RateLimitResponse(serializedBytes: Array(bytes.readableBytesView))
        return response.statuses.map(\.limitRemaining)
    }

    func finish() {
        _ = try? server.finish(acceptAlreadyClosed: true)
        _ = try? client.finish(acceptAlreadyClosed: true)
    }

    static func request(_ grants: String..., tool: String = "run", hits: UInt32 = 0)
        -> Envoy_Service_Ratelimit_V3_RateLimitRequest
    {
        var request = Envoy_Service_Ratelimit_V3_RateLimitRequest()
        request.domain = "d"
        request.hitsAddend = hits
        for grant in grants {
            var descriptor = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor()
            for (key, value) in [("grant", grant), ("tool", tool)] {
                var entry = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor.Entry()
                entry.key = key
                entry.value = value
                descriptor.entries.append(entry)
            }
            request.descriptors.append(descriptor)
        }
        return request
    }
}

@Suite struct GRPCDoorTests {
    /// However many calls and gateways there are, a caller beside them is answered in the turn in which it asks.
    @Test func callsHaveTheirShareOfATurn() throws {
        let look = HeldLook()
        let rig = try ServerRig(look: look)
        let gateways = try (0..<20).map { _ in try GatewayPeer(rig) }
        defer { gateways.forEach { $0.finish() } }
        rig.eventLoop.run()
        // What is more than a share waits until all sockets have been looked at.
        for gateway in gateways { try gateway.arrive(30, .shouldRateLimit, GatewayPeer.request("a")) }
        #expect(rig.host.limiter.waitingCount == 0)
        let small = try GatewayPeer(rig)
        defer { small.finish() }
        try small.arrive(3, .shouldRateLimit, GatewayPeer.request("a"))
        #expect(rig.host.limiter.waitingCount == 3)
        let good = try rig.connect()
        try good.arrive(RedisClient.frame(["CHECK", "good", "free"]))
        #expect(try good.received().contains("allow"))
        var before = 3
        while look.isRequested {
            rig.eventLoop.run()
            look.look()
            rig.eventLoop.run()
            let taken = rig.host.limiter.waitingCount - before
            #expect((1...40).contains(taken))
            before += taken
        }
        before -= 3
        #expect(before == 20 * 30)
        rig.answerAll()
        for gateway in gateways {
            try gateway.exchange()
            #expect((0..<30).allSatisfy { gateway.answer($0 * 2 + 1)?.status == "0" })
        }
    }

    @Test func whatWaitsForItsTurnWhenAGatewayLeavesIsDropped() throws {
        let look = HeldLook()
        let rig = try ServerRig(look: look)
        let gateway = try GatewayPeer(rig)
        try gateway.arrive(30, .shouldRateLimit, GatewayPeer.request("a"))
        #expect(gateway.door.heldBytes > ServerBounds.bytesPerGRPCConnection)
        let taken = rig.host.limiter.waitingCount
        gateway.finish()
        rig.eventLoop.run()
        look.look()
        rig.eventLoop.run()
        #expect(rig.host.limiter.waitingCount == taken && !look.isRequested)
        #expect(gateway.door.heldBytes == 0)
    }

    @Test func aCheckIsAnsweredWhenTheStoreHasAnswered() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        let stream = try peer.call(.shouldRateLimit, GatewayPeer.request("a"))
        #expect(peer.answer(stream) == nil)
        try peer.answerAll()
        #expect(peer.answer(stream)?.status == "0")
        #expect(try peer.codes(stream) == [.ok, .ok])
        #expect(try peer.remaining(stream) == [999_999])
    }

    @Test func whatThePolicyDecidesAloneIsAnsweredAtOnce() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        #expect(try peer.codes(peer.call(.shouldRateLimit, GatewayPeer.request("a", tool: "free"))) == [.ok, .ok])
        #expect(
            try peer.codes(peer.call(.shouldRateLimit, GatewayPeer.request("a", tool: "none")))
                == [.overLimit, .overLimit])
    }

    @Test func severalDescriptorsAreKeptOrGivenBackTogether() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        let full = try peer.call(.shouldRateLimit, GatewayPeer.request("full", hits: 1_000_000))
        try peer.answerAll()
        #expect(try peer.codes(full) == [.ok, .ok])
        let denied = try peer.call(.shouldRateLimit, GatewayPeer.request("a", "full", hits: 5))
        try peer.answerAll()
        #expect(try peer.codes(denied) == [.overLimit, .ok, .overLimit])
        #expect(try peer.remaining(denied) == [1_000_000, 0])
        let kept = try peer.call(.shouldRateLimit, GatewayPeer.request("a", "b", hits: 5))
        try peer.answerAll()
        #expect(try peer.codes(kept) == [.ok, .ok, .ok])
        #expect(try peer.remaining(kept) == [999_995, 999_995])
        let look = try peer.call(.checkRateLimit, GatewayPeer.request("a", "b", "full"))
        try peer.answerAll()
        #expect(try peer.codes(look) == [.overLimit, .ok, .ok, .overLimit])
    }

    @Test func aCallerThatLeavesKeepsNothingReserved() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        let stream = try peer.call(.shouldRateLimit, GatewayPeer.request("a", "b", hits: 5))
        peer.write(stream, .rstStream(.cancel))
        try peer.exchange()
        try peer.answerAll()
        #expect(peer.answer(stream) == nil)
        let next = try peer.call(.shouldRateLimit, GatewayPeer.request("a"))
        try peer.answerAll()
        #expect(try peer.remaining(next) == [999_999])
    }

    @Test func aConnectionThatClosesDoesNotMixUpAnswers() throws {
        let rig = try ServerRig()
        let first = try GatewayPeer(rig)
        _ = try first.call(.shouldRateLimit, GatewayPeer.request("a"))
        first.finish()
        let second = try GatewayPeer(rig)
        defer { second.finish() }
        let stream = try second.call(.shouldRateLimit, GatewayPeer.request("a"))
        try second.answerAll()
        #expect(try second.remaining(stream) == [999_998])
    }

    @Test func connectionsOfBothKindsShareOneBound() throws {
        let rig = try ServerRig(maxConnections: 1)
        let peer = try GatewayPeer(rig)
        defer { peer.finish() }
        #expect(try !rig.connect().isOpen)
        let other = try GatewayPeer(rig)
        defer { other.finish() }
        #expect(!other.server.isActive)
        #expect(peer.server.isActive)
    }

    @Test func drainingAnswersWhatIsInFlightAndEndsWatches() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        let stream = try peer.call(.shouldRateLimit, GatewayPeer.request("a"))
        let watch = try peer.call(.watchHealth, Grpc_Health_V1_HealthCheckRequest())
        #expect(peer.answer(watch)?.messages.count == 1)
        var isDrained = false
        peer.rig.host.drain { isDrained = true }
        try peer.exchange()
        #expect(peer.answer(watch)?.messages.count == 2)
        #expect(peer.answer(watch)?.status == "0")
        #expect(!isDrained)
        try peer.answerAll()
        #expect(peer.answer(stream)?.status == "0")
        #expect(isDrained)
        #expect(!peer.server.isActive)
    }

    /// The limits of policies do both: see the clients of the integration tests.
    @Test func aLimitOfTheRequestsOwnIsNotChargedPastItsMaximum() throws {
        let peer = try GatewayPeer(ServerRig())
        defer { peer.finish() }
        var request = GatewayPeer.request("a")
        request.descriptors[0].limit.requestsPerUnit = 3
        request.descriptors[0].limit.unit = .minute
        #expect(try peer.answer(peer.call(.reportRateLimit, request))?.status == "12")
        request.descriptors[0].isNegativeHits = true
        #expect(try peer.answer(peer.call(.shouldRateLimit, request))?.status == "12")
    }

    @Test func aLargeMessageIsAnsweredAndNotHeld() throws {
        let rig = try ServerRig()
        let peer = try GatewayPeer(rig)
        defer { peer.finish() }
        let before = rig.host.memory.connectionBytes
        var request = Envoy_Service_Auth_V3_CheckRequest()
        request.attributes.request.http.method = "POST"
        request.attributes.contextExtensions = ["grant": "a"]
        let padding = String(repeating: "x", count: 200_000)
        request.attributes.request.http.body =
            #"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"none","pad":"\#(padding)"}}"#
        let stream = try peer.call(.authorize, request)
        let bytes = try #require(peer.answer(stream)?.messages.first)
        let response = try Envoy_Service_Auth_V3_CheckResponse(serializedBytes: Array(bytes.readableBytesView))
        #expect(response.deniedResponse.body.contains("sluice/verdict"))
        #expect(rig.host.memory.connectionBytes == before)
    }

    @Test func largeMessagesBeyondTheBoundAreNotRead() {
        let reader = LargeMessageReader(eventLoop: EmbeddedEventLoop(), isAside: false)
        var results = 0
        for excess in 0...1 {
            let count = ServerBounds.maxLargeMessageBytes + excess
            let isTaken = reader.read(byteCount: count) {
                1
            } completion: { _ in
                results += 1
            }
            #expect(isTaken == (excess == 0))
        }
        #expect(results == 1)
    }

    @Test func theMemoryOfAConnectionIsRecorded() throws {
        let rig = try ServerRig()
        let before = rig.host.memory.connectionBytes
        let peer = try GatewayPeer(rig)
        #expect(rig.host.memory.connectionBytes - before == ServerBounds.bytesPerGRPCConnection)
        peer.finish()
        #expect(rig.host.memory.connectionBytes == before)
    }
}
