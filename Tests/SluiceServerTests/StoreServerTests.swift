import Logging
import NIOEmbedded
import SluiceEngine
import SluicePolicy
import Testing

@testable import SluiceServer

/// A host with four partitions of a cluster, whose links answer when the test says so.
@Suite struct StoreServerTests {
    private let eventLoop = EmbeddedEventLoop()
    private let links = (0..<4).map { _ in HeldLink() }
    private let host: LimiterHost
    private let startedAt = SystemClock.now()

    init() throws {
        let policy = try PolicyDocument.parse(Array(ServerRig.policy.utf8), file: "policy.json")
        var configuration = LimiterConfiguration(
            keys: "t", budgetMs: 10_000, replicas: ReplicaView(own: 1, assumed: 1), usesStore: true, seed: 1)
        configuration.partitionTags = PartitionTags(count: 4)
        host = LimiterHost(
            limiter: PartitionedLimiter(
                configuration: configuration, policies: PolicySet(single: policy), now: startedAt),
            links: links, eventLoop: eventLoop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        host.start()
    }

    private func info() -> String {
        InfoReport(host: host, facts: ServerRig.facts(startedAt), now: SystemClock.now(), isForOperators: true)
            .text(sections: ["redis"])
    }

    @Test func eachMasterIsReported() {
        #expect(host.storeServers.isEmpty)
        #expect(info().contains("redis_masters:0\r\nredis_masters_away:0\r\n"))
        for (link, place) in zip(links, ["b:1", "a:1", "b:1", nil]) { link.serverPlace = place }
        for link in links.dropLast() { link.answerAll() }
        #expect(host.storeServers.map(\.place) == ["a:1", "b:1", nil])
        #expect(host.storeServers.map(\.partitionCount) == [1, 2, 1])
        #expect(host.storeServers.map(\.isShared) == [true, true, false] && host.counting == "partly local")
        host.linkClosed(2, reason: "reset, by\npeer")
        #expect(host.storeServers.map(\.sharedCount) == [1, 1, 0])
        let text = info()
        #expect(text.contains("counting:partly local\r\n"))
        #expect(text.contains("redis_masters:2\r\nredis_masters_away:1\r\n"))
        #expect(text.contains("redis_master_1:address=a:1,partitions=1,partitions_shared=1,state=closed,"))
        let line =
            text.split(separator: "\r\n").first { $0.hasPrefix("redis_master_2:address=b:1,partitions=2,") } ?? ""
        #expect(line.contains(",partitions_shared=1,state=open,") && line.hasSuffix(",last_error=reset, by\\u000apeer"))
        #expect(!line.contains("unavailable_since_ms=0,"))
        #expect(text.contains("redis_master_3:address=,partitions=1,partitions_shared=0,state=connecting,"))
        host.stop()
    }
}
