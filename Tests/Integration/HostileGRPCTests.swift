import Foundation
import Support
import Testing

extension Integration {
    /// Peers of the door for gRPC that waste its time or memory: each is ended or held within bounds, and meanwhile another
    /// gateway gets all its answers from the other door.
    @Suite struct HostileGRPC {
        private static let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
        private static let attackers = 10

        private struct Stage {
            let redis: RedisProcess
            let folder: TemporaryFolder
            let sidecar: SidecarProcess
            private let traffic: Traffic
            private let idleBytes: Int

            init() async throws {
                redis = try await RedisProcess()
                folder = try TemporaryFolder()
                sidecar = try await SidecarProcess(
                    policy: ProtocolAbuse.policy, over: redis, budget: "10s",
                    arguments: ["--grpc-socket", folder.path("grpc.sock")])
                try await sidecar.waitUntilShared()
                idleBytes = try sidecar.figure("memory_connections_bytes")
                traffic = Traffic(to: [sidecar], grants: [Grants.next("bystander")], clients: 1)
            }

            func peer(beginning: [UInt8] = []) throws -> RedisClient {
                let client = try RedisClient(path: folder.path("grpc.sock"), answerLimit: 30, server: sidecar)
                try client.send(HTTP2Bytes.preface + HTTP2Bytes.acknowledgement + beginning)
                return client
            }

            /// The other gateway had all its answers, and nothing is held for the peers that have gone.
            func end() async throws {
                let tally = try #require(try await traffic.end().first)
                #expect(tally.errors.isEmpty)
                #expect(Set(tally.sources.keys) == ["shared"])
                try await waitUntil("nothing is held") {
                    try sidecar.figure("memory_connections_bytes") <= idleBytes
                }
                #expect(sidecar.process.isRunning)
                #expect(!sidecar.log.contains("error"))
            }
        }

        @Test(arguments: HTTP2Flood.allCases)
        func floodsEnd(_ flood: HTTP2Flood) async throws {
            let stage = try await Stage()
            let codes = try await onThreads(Self.attackers) { _ in
                let peer = try stage.peer(beginning: flood.beginning(Self.path))
                var bytes: [UInt8] = []
                for index in 0..<10_000 {
                    // The server reads no more while its answers are unread.
                    if index % 16 == 0 { bytes += peer.available() }
                    // The connection may be closed at any frame.
                    guard (try? peer.send(flood.frames(index, Self.path))) != nil else {
                        return HTTP2Bytes.goAwayCode(bytes + peer.untilGone())
                    }
                }
                guard flood.isRate else { return HTTP2Bytes.goAwayCode(bytes + peer.untilGone()) }
                // A machine that is busy reads more slowly than the bound.
                let last = HTTP2Bytes.number(0x7777_7777, bytes: 8)
                try? peer.send(HTTP2Bytes.frame(.ping, last))
                while let more = try? peer.some(), !more.isEmpty {
                    bytes += more
                    if HTTP2Bytes.frames(bytes).contains(where: { $0.payload == last }) { return flood.code }
                }
                return HTTP2Bytes.goAwayCode(bytes)
            }
            #expect(codes == Array(repeating: flood.code, count: Self.attackers))
            try await stage.end()
        }

        /// A body of a megabyte in frames of a hundred bytes, hundreds of messages at once, and answers that no window lets through.
        @Test func slowAndSmallPiecesAreHeldWithinBounds() async throws {
            let stage = try await Stage()
            let path = "/envoy.service.auth.v3.Authorization/Check"
            let answered = try await onThreads(4) { index in
                let peer: RedisClient
                switch index {
                case 0:
                    peer = try stage.peer(beginning: HTTP2Bytes.request(1, path: path))
                    try peer.send(HTTP2Bytes.frame(.data, stream: 1, [0] + HTTP2Bytes.number(1_000_000, bytes: 4)))
                    let piece = HTTP2Bytes.frame(.data, stream: 1, [UInt8](repeating: 0xFF, count: 100))
                    for _ in 0..<100 { try peer.send(Array(repeatElement(piece, count: 100).joined())) }
                    try peer.send(HTTP2Bytes.frame(.data, flags: HTTP2Bytes.endStream, stream: 1))
                    // The message is none: 3 is INVALID_ARGUMENT.
                    return try Self.isAnswered(peer, stream: 1)
                case 1:
                    // More bytes that have not ended than a connection may hold.
                    peer = try stage.peer()
                    for number in 0..<300 {
                        let stream = 2 * number + 1
                        try peer.send(
                            HTTP2Bytes.request(stream, path: path)
                                + HTTP2Bytes.frame(.data, stream: stream, [0] + HTTP2Bytes.number(900_000, bytes: 4)))
                    }
                    for _ in 0..<4 {
                        for number in 0..<300 {
                            let bytes = [UInt8](repeating: 0, count: 16_384)
                            try peer.send(HTTP2Bytes.frame(.data, stream: 2 * number + 1, bytes))
                        }
                    }
                    return try stage.sidecar.figure("memory_connections_bytes") < 40_000_000
                case 2:
                    // Large bodies whose caller leaves while they are read.
                    peer = try stage.peer()
                    let text = "{\"method\":\"x\",\"params\":[" + String(repeating: "0,", count: 400_000) + "0]}"
                    let http = Self.field(2, Array("POST".utf8)) + Self.field(12, Array(text.utf8))
                    let message = Self.field(1, Self.field(4, Self.field(2, http)))
                    let bytes = [0] + HTTP2Bytes.number(message.count, bytes: 4) + message
                    for stream in stride(from: 1, to: 20, by: 2) {
                        try peer.send(HTTP2Bytes.request(stream, path: path))
                        for begin in stride(from: 0, to: bytes.count, by: 16_384) {
                            let end = min(bytes.count, begin + 16_384)
                            let flags = end == bytes.count ? HTTP2Bytes.endStream : 0
                            try peer.send(
                                HTTP2Bytes.frame(.data, flags: flags, stream: stream, Array(bytes[begin..<end])))
                        }
                        let cancel = HTTP2Bytes.frame(.reset, stream: stream, HTTP2Bytes.number(8, bytes: 4))
                        if stream < 19 { try peer.send(cancel) }
                    }
                    return try Self.isAnswered(peer, stream: 19)
                default:
                    peer = try stage.peer(beginning: HTTP2Bytes.setting(4, 0))
                    for number in 0..<1_000 {
                        let stream = 2 * number + 1
                        try peer.send(
                            HTTP2Bytes.request(stream, path: Self.path) + HTTP2Bytes.message(stream, []))
                    }
                    try peer.send(HTTP2Bytes.frame(.ping, HTTP2Bytes.number(1, bytes: 8)))
                    return try Self.isAnswered(peer, stream: 0)
                }
            }
            #expect(answered == [true, true, true, true])
            try await stage.end()
        }

        /// A field of a protobuf message.
        private static func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
            var length: [UInt8] = []
            var rest = bytes.count
            while rest > 0x7F {
                length.append(UInt8(rest & 0x7F) | 0x80)
                rest >>= 7
            }
            return [number << 3 | 2] + length + [UInt8(rest)] + bytes
        }

        /// Whether anything but a window's update or a setting comes on a stream.
        private static func isAnswered(_ peer: RedisClient, stream: Int) throws -> Bool {
            let kinds: [UInt8] = [HTTP2Bytes.Kind.headers.rawValue, HTTP2Bytes.Kind.ping.rawValue]
            var bytes: [UInt8] = []
            for _ in 0..<1_000 {
                let more = try peer.some()
                guard !more.isEmpty else { return false }
                bytes += more
                if HTTP2Bytes.frames(bytes).contains(where: { $0.stream == stream && kinds.contains($0.kind) }) {
                    return true
                }
            }
            return false
        }

        @Test func bytesThatAreNoHTTP2CloseTheConnection() async throws {
            let stage = try await Stage()
            for text in [
                "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
            ] {
                let peer = try RedisClient(path: stage.folder.path("grpc.sock"), server: stage.sidecar)
                try peer.send(text + String(repeating: " ", count: 100))
                _ = peer.untilGone()
            }
            try await stage.end()
        }
    }
}
