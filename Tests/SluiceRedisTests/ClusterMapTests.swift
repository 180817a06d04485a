import NIOCore
import SluiceEngine
import Testing

@testable import SluiceRedis

func parse(_ reply: String) throws -> RedisReply? {
    var reader = ReplyReader()
    try reader.feed(ByteBuffer(string: reply))
    return try reader.next()?.tree()
}

/// As Redis writes it: numbers as integers, `nil` as null, all else as strings.
private func resp(_ value: Any?) -> String {
    switch value {
    case let list as [Any?]: "*\(list.count)\r\n" + list.map(resp).joined()
    case let number as Int: ":\(number)\r\n"
    case let text as String: "$\(text.utf8.count)\r\n\(text)\r\n"
    default: "$-1\r\n"
    }
}

@Suite struct ClusterMapTests {
    typealias HostPort = RedisAddress.HostPort

    private let asked = HostPort(host: "asked", port: 7_000)

    private func member(
        _ port: Any?, endpoint: Any? = "10.0.0.1", ip: String = "10.0.0.9", role: String = "master",
        health: String = "online", tls: Int? = nil
    ) -> [Any?] {
        let ports: [Any?] = ["port", port] + (tls.map { ["tls-port", $0] } ?? [])
        return ["id", "f00"] + ports
            + ["ip", ip, "endpoint", endpoint, "role", role, "replication-offset", 7, "health", health]
    }

    private func shards(_ shards: [Any?], isTLS: Bool = false) throws -> ClusterMap {
        try ClusterMap(shards: parse(resp(shards)), asked: asked, isTLS: isTLS)
    }

    private func slots(_ rows: [Any?]) throws -> ClusterMap { try ClusterMap(slots: parse(resp(rows)), asked: asked) }

    private func shard(_ bounds: [Any?], _ members: [Any?]...) -> [Any?] { ["slots", bounds, "nodes", members] }

    @Test func readsShards() throws {
        let map = try shards([
            shard([0, 5, 7, 7], member(1, role: "replica"), member(2)), shard([], member(3)),
            shard([6, 6, 8, 16_383], member(4)),
        ])
        #expect(map.master(ofSlot: 5)?.port == 2 && map.master(ofSlot: 6)?.port == 4)
        #expect(map.master(ofSlot: 7)?.port == 2 && map.master(ofSlot: 16_383)?.port == 4)
        #expect(map.nodes.map(\.port) == [2, 4, 1])
        #expect(map.nodes[0].host == "10.0.0.1")
    }

    @Test func readsSlots() throws {
        let map = try slots([
            [0, 5, ["h", 2, "id", []], ["h", 1, "id"]], [6, 6, ["h", 4, "id"]], [7, 8, ["h", 2, "id"]],
        ])
        #expect(map.master(ofSlot: 5)?.port == 2 && map.master(ofSlot: 6)?.port == 4)
        #expect(map.master(ofSlot: 8)?.port == 2 && map.master(ofSlot: 9) == nil)
        #expect(map.nodes.map(\.port) == [2, 4, 1])
    }

    @Test func theHostOfANodeMayBeUnknown() throws {
        #expect(try shards([shard([0, 1], member(5, endpoint: nil))]).nodes == [HostPort(host: "asked", port: 5)])
        #expect(try shards([shard([0, 1], member(5, endpoint: ""))]).nodes == [HostPort(host: "asked", port: 5)])
        #expect(try shards([shard([0, 1], member(5, endpoint: "?"))]).nodes == [HostPort(host: "10.0.0.9", port: 5)])
        #expect(try slots([[0, 1, [nil, 5]]]).nodes == [HostPort(host: "asked", port: 5)])
        #expect(try slots([[0, 1, ["", 5]]]).nodes == [HostPort(host: "asked", port: 5)])
        #expect(try slots([[0, 1, ["?", 5]]]).nodes == [])
    }

    @Test func thePortIsThatForTLS() throws {
        #expect(try shards([shard([0, 1], member(5, tls: 6))], isTLS: true).nodes.map(\.port) == [6])
        #expect(try shards([shard([0, 1], member(5, tls: 6))]).nodes.map(\.port) == [5])
        // It is named only with `tls-cluster yes`.
        #expect(throws: ClusterMap.Fault.self) { try shards([shard([0, 1], member(5))], isTLS: true) }
    }

    @Test func theMasterThatIsOnlineCounts() throws {
        let map = try shards([shard([0, 1], member(5, health: "fail"), member(6))])
        #expect(map.master(ofSlot: 0)?.port == 6)
        #expect(try shards([shard([0, 1], member(5, health: "fail"))]).master(ofSlot: 0)?.port == 5)
    }

    @Test(arguments: [
        ":1\r\n", "$-1\r\n", "*1\r\n:1\r\n", "*1\r\n*0\r\n", "*1\r\n*2\r\n$5\r\nslots\r\n*0\r\n",
    ])
    func nonsenseIsRefused(_ reply: String) throws {
        let tree = try parse(reply)
        #expect(throws: ClusterMap.Fault.self) { try ClusterMap(shards: tree, asked: asked, isTLS: false) }
        #expect(throws: ClusterMap.Fault.self) { try ClusterMap(slots: tree, asked: asked) }
    }

    @Test func boundsAreKept() throws {
        for bounds in [[0], [-1, 3], [3, 2], [0, 16_384], [0, Int.max]] as [[Any?]] {
            #expect(throws: ClusterMap.Fault.self) { try shards([shard(bounds, member(1))]) }
        }
        for bounds in [[-1, 3], [3, 2], [0, 16_384]] as [[Any?]] {
            #expect(throws: ClusterMap.Fault.self) { try slots([bounds + [["h", 1]]]) }
        }
        for port in [0, 65_536, -1, Int.max, "1", nil] as [Any?] {
            #expect(try shards([shard([0, 1], member(port))]).nodes == [])
        }
        for host in [String(repeating: "a", count: 254), "a b", "a\nb", "é"] {
            #expect(try shards([shard([0, 1], member(1, endpoint: host))]).nodes == [])
        }
        let many = (0...RedisBounds.maxClusterNodes).map { [0, 0, ["h", $0 + 1]] as [Any?] }
        #expect(throws: ClusterMap.Fault.self) { try slots(many) }
        #expect(try slots(Array(many.dropLast())).nodes.count == RedisBounds.maxClusterNodes)
        let members = (0...RedisBounds.maxClusterNodes).map { member($0 + 1, role: "replica") }
        #expect(throws: ClusterMap.Fault.self) {
            try shards([["slots", [0, 1], "nodes", members + [member(1)]] as [Any?]])
        }
    }

    private static let redirections: [(String, ClusterRedirection?)] = [
        ("MOVED 3999 127.0.0.1:6381", .moved(slot: 3_999, to: HostPort(host: "127.0.0.1", port: 6_381))),
        ("ASK 0 ::1:6381", .ask(slot: 0, to: HostPort(host: "::1", port: 6_381))),
        ("MOVED 3999 :6381", .moved(slot: 3_999, to: HostPort(host: "asked", port: 6_381))),
        ("MOVED 3999 ?:6381", .moved(slot: 3_999, to: nil)), ("MOVED 3999 h:0", .moved(slot: 3_999, to: nil)),
        ("MOVED 16384 h:1", .unavailable), ("MOVED x h:1", .unavailable), ("MOVED", .unavailable),
        ("MOVED 1 h", .unavailable), ("TRYAGAIN Multiple keys request during rehashing of slot", .tryAgain),
        ("CLUSTERDOWN Hash slot not served", .unavailable),
        ("READONLY You can't write against a read only replica.", .unavailable), ("NOSCRIPT x", nil), ("ERR x", nil),
        ("OOM x", nil), ("LOADING x", nil),
    ]

    @Test(arguments: redirections)
    func redirectionsAreRead(_ error: String, _ redirection: ClusterRedirection?) {
        #expect(ClusterRedirection(RedisError(error), asked: asked) == redirection)
    }
}
