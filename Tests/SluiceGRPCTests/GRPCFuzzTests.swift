import NIOCore
import NIOEmbedded
import NIOHPACK
import NIOHTTP2
import SluiceGRPC
import Testing

/// Numbers that a seed determines.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}

@Suite struct GRPCFuzzTests {
    /// Frames in any order, with any content: nothing traps, and the books balance.
    @Test(arguments: 0..<200)
    func framesInAnyOrder(seed: UInt64) {
        var random = Numbers(state: seed)
        var rig = GRPCStreamsTests.Rig()
        for _ in 0..<300 {
            rig.nowNs += Int64.random(in: 0..<1_000_000_000, using: &random)
            let id = Int.random(in: 0..<12, using: &random)
            let isEnd = Bool.random(using: &random)
            switch Int.random(in: 0..<9, using: &random) {
            case 0, 1: _ = rig.headers(2 * id + 1, end: isEnd)
            case 2, 3, 4:
                let bytes = (0..<Int.random(in: 0..<20, using: &random)).map { _ in
                    UInt8.random(in: 0..<4, using: &random)
                }
                _ = rig.data(2 * id + 1, bytes, end: isEnd)
            case 5: _ = rig.receive(2 * id + 1, .rstStream(.cancel))
            case 6: _ = rig.respond(2 * id + 1, [1])
            case 7: _ = rig.words { $0.fail(stream: 2 * id + 1, GRPCStatus(.ok, ""), nowNs: $1, &$2) }
            default:
                if isEnd { _ = rig.sweep() } else { _ = rig.words { $0.send(stream: 2 * id + 1, ByteBuffer(), &$2) } }
            }
            #expect(rig.streams.heldBytes >= 0)
        }
        for id in 0..<12 { _ = rig.receive(2 * id + 1, .rstStream(.cancel)) }
        #expect(rig.streams.count == 0)
        #expect(rig.streams.heldBytes == 0)
    }

    private final class Silent: GRPCService {
        var nowNs: Int64 = 0
        func opened() -> Bool { true }
        func arrived() {}
        var share: Int { 1_000_000 }
        func willWork(_ work: Int) {}
        func hasMore() {}
        func called(_ call: GRPCCall, message: ByteBuffer) {}
        func cancelled(stream: Int) {}
        func handled() {}
        func closed() {}
    }

    /// Bytes that look like HTTP/2 frames: the connection closes or goes on, and nothing traps.
    @Test(arguments: 0..<200)
    func bytesThatAreNearlyFrames(seed: UInt64) throws {
        var random = Numbers(state: seed)
        let channel = EmbeddedChannel()
        defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
        try GRPCHandler(GRPCMethods([]), service: Silent()).add(to: channel.pipeline.syncOperations)
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/s"), promise: nil)
        var bytes = ByteBuffer(string: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        bytes.writeBytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        for _ in 0..<40 {
            let length = Int.random(in: 0..<24, using: &random)
            bytes.writeBytes([0, 0, UInt8(length), UInt8.random(in: 0..<11, using: &random)])
            bytes.writeInteger(UInt8.random(in: 0...255, using: &random))
            bytes.writeInteger(UInt32.random(in: 0..<8, using: &random))
            bytes.writeBytes((0..<length).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
        _ = try? channel.writeInbound(bytes)
        channel.embeddedEventLoop.run()
        while try channel.readOutbound(as: IOData.self) != nil {}
    }
}
