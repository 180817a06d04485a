import SluiceEngine
import Support
import Testing

@testable import SluiceRedis

@Suite struct ClusterTopologyTests {
    typealias HostPort = RedisAddress.HostPort

    private static let second: Int64 = 1_000_000_000

    private func node(_ port: Int) -> HostPort { HostPort(host: "n", port: port) }

    /// Masters that share the slots evenly, and other nodes.
    private func map(_ masters: Int..., replicas: [Int] = []) throws -> ClusterMap {
        func member(_ port: Int, _ role: String) -> String {
            "*14\r\n$2\r\nid\r\n$1\r\nx\r\n$4\r\nport\r\n:\(port)\r\n$2\r\nip\r\n$1\r\nn\r\n$8\r\nendpoint\r\n$1\r\nn\r\n"
                + "$4\r\nrole\r\n$\(role.count)\r\n\(role)\r\n$18\r\nreplication-offset\r\n:1\r\n"
                + "$6\r\nhealth\r\n$6\r\nonline\r\n"
        }
        let shards = masters.enumerated().map { index, port in
            let first = index * HashSlot.count / masters.count
            let last = (index + 1) * HashSlot.count / masters.count - 1
            let others = index == 0 ? replicas.map { member($0, "replica") } : []
            return "*4\r\n$5\r\nslots\r\n*2\r\n:\(first)\r\n:\(last)\r\n$5\r\nnodes\r\n*\(1 + others.count)\r\n"
                + (others + [member(port, "master")]).joined()
        }
        let reply = "*\(shards.count)\r\n\(shards.joined())"
        return try ClusterMap(shards: try parse(reply), asked: node(1), isTLS: false)
    }

    private func topology(_ seeds: Int...) -> ClusterTopology {
        ClusterTopology(seeds: seeds.map(node), slots: [0, 8_000, 16_383], seed: 1)
    }

    @Test func theAddressIsAskedFirstAndTheMastersAfterIt() throws {
        var topology = topology(1, 2)
        #expect(topology.tick(nowNs: 0) == node(1))
        // One question at a time.
        #expect(topology.tick(nowNs: 1) == nil && topology.nextTickNs == nil)
        #expect(topology.failed("gone", nowNs: 1) == .ask(node(2)))
        #expect(topology.answered(try map(10, 11), isServing: true, nowNs: 2) == .renewed)
        #expect((0..<3).map(topology.master(ofPartition:)) == [node(10), node(10), node(11)])
        let dueNs = try #require(topology.nextTickNs)
        #expect((7 * Self.second..<13 * Self.second).contains(dueNs - 2))
        #expect(topology.tick(nowNs: dueNs - 1) == nil)
        #expect([node(10), node(11)].contains(topology.tick(nowNs: dueNs)))
    }

    @Test func withoutAnAnswerEveryReasonIsGiven() throws {
        var topology = topology(1, 2)
        _ = topology.tick(nowNs: 0)
        _ = topology.failed("no answer", nowNs: 1)
        #expect(
            topology.failed("NOPERM", nowNs: 2)
                == .failed("no node of the cluster answers: n:1: no answer; n:2: NOPERM"))
        #expect(!topology.isKnown)
    }

    @Test func manyReasonsAreCounted() throws {
        var topology = ClusterTopology(seeds: (1...12).map(node), slots: [0], seed: 1)
        _ = topology.tick(nowNs: 0)
        var step = ClusterTopology.Step.renewed
        for _ in 1...12 { step = topology.failed("gone", nowNs: 1) }
        guard case .failed(let reason) = step else { throw SupportError("not failed") }
        #expect(reason.contains("n:8: gone; and 4 others") && !reason.contains("n:9:"))
    }

    @Test func theAddressIsAskedAgainOnceKnownNodesDoNotAnswer() throws {
        var topology = topology(1, 2)
        _ = topology.tick(nowNs: 0)
        _ = topology.answered(try map(10, 11, 12, 13, 14, 15), isServing: true, nowNs: 0)
        let first = topology.tick(nowNs: 60 * Self.second)
        var asked = [try #require(first)]
        while case .ask(let next) = topology.failed("no answer", nowNs: 61 * Self.second) { asked.append(next) }
        #expect(asked.count == RedisBounds.clusterNodesAsked + 2)
        #expect(asked.suffix(2) == [node(1), node(2)] && Set(asked).count == asked.count)
        // The masters stay what they were.
        #expect(topology.master(ofPartition: 2) == node(15))
    }

    /// The next question goes to the next node, and to one that was lost last of all.
    @Test func nodesTakeTurnsAndLostOnesComeLast() throws {
        var topology = topology(1)
        _ = topology.tick(nowNs: 0)
        var nowNs: Int64 = 0
        var asked: [HostPort] = []
        for _ in 0..<6 {
            _ = topology.answered(try map(10, replicas: [11, 12]), isServing: true, nowNs: nowNs)
            nowNs += 60 * Self.second
            let next = topology.tick(nowNs: nowNs)
            asked.append(try #require(next))
        }
        #expect(Set(asked) == [node(10), node(11), node(12)] && asked[..<3] == asked[3...])
        _ = topology.answered(try map(10, replicas: [11, 12]), isServing: true, nowNs: nowNs)
        topology.lost(node(11))
        // However often others have answered meanwhile, until it has been reached.
        for _ in 0..<6 {
            nowNs += 60 * Self.second
            #expect(topology.tick(nowNs: nowNs) != node(11))
            _ = topology.answered(try map(10, replicas: [11, 12]), isServing: true, nowNs: nowNs)
        }
        nowNs += 60 * Self.second
        _ = topology.tick(nowNs: nowNs)
        #expect(topology.failed("", nowNs: nowNs) != .ask(node(11)))
        #expect(topology.failed("", nowNs: nowNs) == .ask(node(11)))
        _ = topology.answered(try map(10, replicas: [11, 12]), isServing: true, nowNs: nowNs)
        asked = []
        for _ in 0..<3 {
            for other in [10, 12] { topology.reached(node(other)) }
            nowNs += 60 * Self.second
            let next = topology.tick(nowNs: nowNs)
            asked.append(try #require(next))
            _ = topology.answered(try map(10, replicas: [11, 12]), isServing: true, nowNs: nowNs)
        }
        #expect(asked.contains(node(11)))
    }

    @Test func aHintIsFollowedSoonAndManyAreNotFollowedMoreOften() throws {
        var topology = topology(1)
        _ = topology.tick(nowNs: 0)
        _ = topology.answered(try map(10), isServing: true, nowNs: 0)
        var nowNs: Int64 = 0
        var pauses: [Int64] = []
        for _ in 0..<12 {
            let beganNs = nowNs
            for _ in 0..<64 { topology.hint() }
            nowNs = max(nowNs, try #require(topology.nextTickNs))
            #expect(topology.tick(nowNs: nowNs) != nil)
            pauses.append(nowNs - beganNs)
            _ = topology.answered(try map(10), isServing: true, nowNs: nowNs)
        }
        #expect(pauses[0] <= EngineBounds.firstBackoffNs)
        #expect(pauses.suffix(4).allSatisfy { (Self.second / 2...Self.second).contains($0) }, "\(pauses)")
        // Quiet for a while: the next hint is followed soon again.
        nowNs = try #require(topology.nextTickNs)
        _ = topology.tick(nowNs: nowNs)
        _ = topology.answered(try map(10), isServing: true, nowNs: nowNs)
        topology.hint()
        #expect(try #require(topology.nextTickNs) - nowNs <= EngineBounds.firstBackoffNs)
    }

    @Test func whatChangesMeanwhileIsAskedAgain() throws {
        var topology = topology(1)
        _ = topology.tick(nowNs: 0)
        topology.hint()
        _ = topology.answered(try map(10), isServing: true, nowNs: 5)
        #expect(try #require(topology.nextTickNs) <= 5 + EngineBounds.firstBackoffNs)
    }

    @Test func aMovedPartitionIsKnownAtOnce() throws {
        var topology = topology(1)
        _ = topology.tick(nowNs: 0)
        _ = topology.answered(try map(10), isServing: true, nowNs: 0)
        topology.moved(1, to: node(20))
        #expect((0..<3).map(topology.master(ofPartition:)) == [node(10), node(20), node(10)])
        #expect(try #require(topology.nextTickNs) <= EngineBounds.firstBackoffNs)
        topology.moved(1, to: nil)
        #expect(topology.master(ofPartition: 1) == node(20))
    }

    /// A node that is cut off from the others knows the masters from before.
    @Test func aNodeThatServesNothingIsBelievedLast() throws {
        var topology = topology(1, 2, 3)
        _ = topology.tick(nowNs: 0)
        #expect(topology.answered(try map(10), isServing: false, nowNs: 0) == .ask(node(2)))
        #expect(topology.answered(try map(11), isServing: true, nowNs: 0) == .renewed)
        #expect(topology.master(ofPartition: 0) == node(11))

        topology = self.topology(1, 2)
        _ = topology.tick(nowNs: 0)
        _ = topology.answered(try map(10), isServing: false, nowNs: 0)
        #expect(topology.failed("", nowNs: 0) == .renewed)
        #expect(topology.master(ofPartition: 0) == node(10))
    }

    @Test func aSlotWithoutAMasterHasNone() throws {
        var topology = topology(1)
        _ = topology.tick(nowNs: 0)
        let half = "*1\r\n*3\r\n:0\r\n:99\r\n*2\r\n$1\r\nn\r\n:5\r\n"
        _ = topology.answered(
            try ClusterMap(slots: try parse(half), asked: node(1)), isServing: true, nowNs: 0)
        #expect(topology.master(ofPartition: 0) == node(5) && topology.master(ofPartition: 1) == nil)
        #expect(topology.isKnown)
    }
}
