import Foundation
import NIOCore
import SluiceEngine
import SluiceRedis
import Support
import Testing

/// Partitions over a real Redis Cluster.
@Suite(.serialized) struct RedisClusterTests {
    private static let partitions = 6

    private func connected(_ cluster: RedisClusterProcesses) async throws -> ClusterHarness {
        try await ClusterHarness.connected(to: cluster.url, partitions: Self.partitions)
    }

    /// The master of a partition's slot, once all nodes agree on it.
    private func node(
        _ cluster: RedisClusterProcesses, of partition: Int, _ harness: ClusterHarness
    ) async throws -> Int {
        var found: Int?
        try await waitUntil("the nodes agree on a master") {
            found = try cluster.master(ofSlot: harness.slot(partition))
            return found != nil
        }
        return found!
    }

    @Test func batchesOfPartitionsRunOnTheirMasters() async throws {
        let cluster = try await RedisClusterProcesses()
        let harness = try await connected(cluster)
        for partition in 0..<Self.partitions {
            #expect(
                try cluster.nodes[0].command("CLUSTER", "KEYSLOT", harness.key(partition, "a"))
                    == .integer(harness.slot(partition)))
            let answer = try await harness.answer(partition, to: harness.batch(partition, 1, key: "a", "b"))
            #expect(try answer.get().results == [1, 1, 1])
            let node = try await node(cluster, of: partition, harness)
            #expect(node == partition / 2)
            #expect(try cluster.nodes[node].command("GET", harness.key(partition, "b")) == .string("1"))
        }
        try await sharing(cluster, harness)
        try await deciding(harness)
        try await scanning(harness)
        for node in cluster.nodes {
            #expect(try node.command("INFO", "commandstats").text?.contains("cmdstat_scan:") == false)
        }
        try await listening(cluster, harness)
        try await losingScripts(cluster, harness)
        try await silence(cluster, harness)
    }

    /// One connection to each master for all partitions, and one system call for what is sent at once.
    private func sharing(_ cluster: RedisClusterProcesses, _ harness: ClusterHarness) async throws {
        let node = cluster.nodes[0]
        guard case .string(let clients) = try node.command("CLIENT", "LIST") else { throw SupportError("no list") }
        // Questions about the map have connections of their own.
        #expect(clients.matches(of: #/name=sluice-7 .* cmd=evalsha /#).count == 1)
        // Of 32 partitions it has some ten.
        let many = try await ClusterHarness.make(
            .init(address: RedisAddress(cluster.url), replica: 8, keyPrefix: "other"), partitions: 32)
        try await many.connectAll()
        let client = try node.client()
        func reads() throws -> Int {
            let text = try client.command("INFO", "stats").text ?? ""
            return Int(text.firstMatch(of: /total_reads_processed:(\d+)/)!.1)!
        }
        let before = try reads()
        let own = try reads() - before
        let start = try reads()
        let batches = (0..<32).map { many.batch($0, 1, key: "reads") }
        many.callAll { links in
            for (link, batch) in zip(links, batches) { link.send(batch) }
        }
        for partition in 0..<32 { _ = try await many.answer(partition, sequence: 1).get() }
        // A question about the map may come in between.
        #expect(try reads() - start - own <= 6)
    }

    /// The other script, which reads several keys of a counter.
    private func deciding(_ harness: ClusterHarness) async throws {
        for partition in 0..<Self.partitions {
            func key(_ name: String) -> String { harness.key(partition, name) }
            var batch = Batch(sequence: 16)
            batch.add(
                TestCharge.sliding(key("now"), before: key("before"), max: 9),
                TestCharge(key: key("shadow"), max: 9).shadow)
            let reply = try await harness.answer(partition, to: batch).get()
            #expect(reply.status == .ran && reply.results.first == 1, "\(reply)")
        }
    }

    private func scanning(_ harness: ClusterHarness) async throws {
        for partition in 0..<Self.partitions {
            var batch = Batch(sequence: 17)
            let name = harness.key(partition, "alice:search:calls:f31622400:\(Self.windowStart)")
            batch.add(TestCharge(key: name, max: 9))
            _ = try await harness.answer(partition, to: batch).get()
        }
        // All at once: some of them wait for others.
        let found = try await withThrowingTaskGroup(of: (Int, [StoredCounter]).self) { group in
            for partition in 0..<Self.partitions {
                group.addTask {
                    let query = CounterQuery(
                        in: KeySpace(prefix: "sluice", tag: Array(harness.tag(partition).utf8)), limit: 10)
                    return (partition, try await harness.scan(partition, query).get().counters)
                }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        for partition in 0..<Self.partitions {
            #expect(found[partition]?.map(\.key.grant) == ["alice"])
        }
    }

    private static var windowStart: String { String(Int64(Date.now.timeIntervalSince1970) / 31_622_400, radix: 36) }

    /// One subscription, and what is published at any node reaches the partition that it is about.
    private func listening(_ cluster: RedisClusterProcesses, _ harness: ClusterHarness) async throws {
        harness.callAll { $0.forEach { $0.listen(.open) } }
        for partition in 0..<Self.partitions { #expect(try await harness.next(partition) == .listening(.opened)) }
        harness.callAll { $0.forEach { $0.listen(.probe) } }
        for partition in 0..<Self.partitions { #expect(try await harness.next(partition) == .listening(.alive)) }
        try await waitUntilNodesPassOnMessages(cluster, harness)
        for partition in 0..<Self.partitions {
            let message = "sluice:2:{\(harness.tag(partition))}"
            let node = cluster.nodes[partition % 3]
            try node.command("PUBLISH", "sluice:2:changed", message)
            #expect(try await harness.next(partition) == .listening(.changed(Array(message.utf8))))
        }
        // What names no partition is for all.
        try cluster.nodes[0].command("PUBLISH", "sluice:2:changed", "sluice:2:{nobody}")
        for partition in 0..<Self.partitions {
            #expect(try await harness.next(partition) == .listening(.changed(Array("sluice:2:{nobody}".utf8))))
        }
        harness.call(0) { $0.listen(.close) }
        var subscribed = 0
        for node in cluster.nodes {
            subscribed += try node.command("CLIENT", "LIST").text?.matches(of: #/name=sluice-7 .* sub=1 /#).count ?? 0
            try node.command("CLIENT", "KILL", "TYPE", "pubsub")
        }
        #expect(subscribed == 1)
        for partition in 1..<Self.partitions {
            guard case .listening(.closed) = try await harness.next(partition) else { throw SupportError("not closed") }
        }
        harness.call(1) { $0.listen(.open) }
        #expect(try await harness.next(1) == .listening(.opened))
        harness.call(1) { $0.listen(.close) }
    }

    /// Valkey 8 drops messages from a node of a new cluster until it has had a PING over the same link. So one is published
    /// until it is heard, and another behind it, so that none is left over.
    private func waitUntilNodesPassOnMessages(
        _ cluster: RedisClusterProcesses, _ harness: ClusterHarness
    ) async throws {
        func event(_ message: String) -> LinkEvent { .listening(.changed(Array(message.utf8))) }
        for (index, node) in cluster.nodes.enumerated() {
            let (repeated, last) = ("sluice:2:{repeated \(index)}", "sluice:2:{last \(index)}")
            let publisher = Task {
                while !Task.isCancelled {
                    try node.command("PUBLISH", "sluice:2:changed", repeated)
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            defer { publisher.cancel() }
            try await harness.next(0, event(repeated))
            publisher.cancel()
            _ = await publisher.result
            try node.command("PUBLISH", "sluice:2:changed", last)
            for partition in 0..<Self.partitions { try await harness.next(partition, event(last)) }
        }
    }

    private func losingScripts(_ cluster: RedisClusterProcesses, _ harness: ClusterHarness) async throws {
        for node in cluster.nodes { try node.command("SCRIPT", "FLUSH") }
        for partition in 0..<Self.partitions {
            let answer = try await harness.answer(partition, to: harness.batch(partition, 18, key: "new"))
            #expect(try answer.get().results == [1, 1])
        }
    }

    /// A partition that gives up gets a connection of its own, and the other keeps the old one with its answer.
    private func silence(_ cluster: RedisClusterProcesses, _ harness: ClusterHarness) async throws {
        cluster.nodes[0].stop()
        let batches = (0..<2).map { harness.batch($0, 19, key: "all") }
        harness.callAll { links in
            for partition in 0..<2 { links[partition].send(batches[partition]) }
            links[0].disconnect()
            links[0].connect()
        }
        // Those of other masters are not disturbed.
        #expect(try await harness.answer(2, to: harness.batch(2, 19, key: "all")).get().status == .ran)
        cluster.nodes[0].continue()
        #expect(try await harness.answer(1, sequence: 19).get().results == [1, 1])
        guard case .connected = try await harness.next(0) else { throw SupportError("not connected") }
        // The batch that was given up ran, and nobody heard its answer.
        let reply = try await harness.answer(0, to: harness.batch(0, 20, key: "all")).get()
        #expect(reply.previousSequence == 19 && reply.results == [1, 2])
        #expect(try await harness.answer(1, to: harness.batch(1, 20, key: "all")).get().results == [1, 2])
    }

    @Test func aFailoverIsFollowed() async throws {
        let cluster = try await RedisClusterProcesses(replicas: 1, nodeTimeoutMs: 2_000)
        let harness = try await connected(cluster)
        for partition in 0..<Self.partitions {
            _ = try await harness.answer(partition, to: harness.batch(partition, 1, key: "a")).get()
        }
        let lost = try await node(cluster, of: 0, harness)
        try await cluster.waitUntilReplicated(from: lost, key: harness.key(0, "last"))
        try await cluster.nodes[lost].kill()
        var disturbed: [Int] = []
        for partition in 0..<Self.partitions where partition / 2 == 0 {
            guard case .closed = try await harness.next(partition) else { throw SupportError("not closed") }
            disturbed.append(partition)
        }
        #expect(disturbed == [0, 1])
        // The cluster as a whole serves nothing for a moment, if a node has to find out first: others are asked again.
        for partition in disturbed {
            try await waitUntil("it is connected to the new master", timeout: .seconds(60)) {
                guard case .connected(let server) = try await harness.connect(partition) else { return false }
                #expect(!server.contains(":\(cluster.ports[lost])"))
                return true
            }
            try await cluster.waitUntilServing(but: lost)
            var batch = harness.batch(partition, 2, key: "a")
            batch.acknowledgedSequence = 1
            let reply = try await harness.answer(partition, to: batch).get()
            #expect(reply.status == .ran && reply.previousSequence == 1 && reply.results == [1, 2])
        }
        for partition in 2..<Self.partitions {
            #expect(
                try await harness.answer(partition, to: harness.batch(partition, 2, key: "a")).get().results == [1, 2])
        }
        for partition in 2...3 {
            try await cluster.waitUntilReplicated(
                from: node(cluster, of: partition, harness), key: harness.key(partition, "last"))
        }
        try await hang(cluster, harness)
    }

    /// A master that hangs keeps its connections, and takes new ones: only the others know that it was replaced.
    private func hang(_ cluster: RedisClusterProcesses, _ harness: ClusterHarness) async throws {
        let hung = try await node(cluster, of: 2, harness)
        cluster.nodes[hung].stop()
        defer { cluster.nodes[hung].continue() }
        for partition in 2...3 {
            let batch = harness.batch(partition, 3, key: "b")
            harness.call(partition) { link in
                link.send(batch)
                link.disconnect()
                link.connect()
            }
        }
        for partition in 2...3 {
            guard case .connected(let server) = try await harness.next(partition) else {
                throw SupportError("not connected")
            }
            #expect(!server.contains(":\(cluster.ports[hung])"))
            let reply = try await harness.answer(partition, to: harness.batch(partition, 4, key: "b")).get()
            #expect(reply.previousSequence == 2 && reply.results == [1, 1])
        }
    }

    /// A replica takes over from its master, and then every partition moves to another one, while batches are sent all the
    /// time.
    @Test func slotsMoveUnderLoadAndNothingIsLostOrTwice() async throws {
        let cluster = try await RedisClusterProcesses(replicas: 1)
        let harness = try await connected(cluster)
        let drivers = try await harness.onEventLoop { links, eventLoop in
            let drivers = links.enumerated().map { partition, link in
                PartitionDriver(link, on: eventLoop) { harness.key(partition, $0) }
            }
            for driver in drivers { driver.start(isConnected: true) }
            return NIOLoopBound(drivers, eventLoop: eventLoop)
        }
        func outcomes() async throws -> [PartitionDriver.Outcome] {
            try await harness.onEventLoop { _, _ in drivers.value.map(\.outcome) }
        }
        func goOn(by count: Int) async throws {
            let before = try await outcomes().map(\.answered)
            try await waitUntil("every partition goes on") {
                try await zip(outcomes(), before).allSatisfy { $0.answered >= $1 + count }
            }
        }
        try await goOn(by: 100)
        let first = try await node(cluster, of: 0, harness)
        try await cluster.switchOver(from: first)
        try await goOn(by: 10)
        for partition in 0..<Self.partitions {
            let source = try await node(cluster, of: partition, harness)
            let target = try await node(cluster, of: (partition + 2) % Self.partitions, harness)
            try await cluster.move(slot: harness.slot(partition), from: source, to: target) { stage in
                // The first of them slowly, so that batches meet every state of a slot.
                guard partition == 0 else { return }
                let error = stage == .begun ? "TRYAGAIN" : "ASK"
                try await waitUntil("a node answers \(error)") { try cluster.hasAnswered(error) }
            }
            try await goOn(by: 10)
            #expect(try await node(cluster, of: partition, harness) == target && target != source)
        }
        _ = try await harness.onEventLoop { _, _ in drivers.value.forEach { $0.stop() } }
        try await waitUntil("every outcome is known") { try await outcomes().allSatisfy(\.isDone) }
        for (partition, outcome) in try await outcomes().enumerated() {
            let node = try await node(cluster, of: partition, harness)
            #expect(
                try cluster.nodes[node].command("GET", harness.key(partition, "all")) == .string("\(outcome.charged)"),
                "\(partition): \(outcome)")
            #expect(outcome.forgotten == 0 && outcome.givenUp > 0, "\(partition): \(outcome)")
        }
        #expect(try cluster.hasAnswered("MOVED"))
    }

    @Test func aClusterWithAPassword() async throws {
        let cluster = try await RedisClusterProcesses(masters: 1, password: "s3cret")
        let harness = try await ClusterHarness.make(
            cluster.url.replacing("://", with: "://:s3cret@"), partitions: 2)
        try await harness.connectAll()
        #expect(try await harness.answer(1, to: harness.batch(1, 1, key: "a")).get().status == .ran)
        let stranger = try await ClusterHarness.make(cluster.url, partitions: 1)
        guard case .closed(let reason) = try await stranger.connect(0) else { throw SupportError("connected") }
        #expect(reason.hasPrefix("no node of the cluster answers: ") && reason.contains("NOAUTH"))
    }

    /// The rights of the example are enough, and nothing is missing with them.
    @Test func aClusterWithAnACLUser() async throws {
        let cluster = try await RedisClusterProcesses(masters: 1)
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let acl = try String(contentsOf: root.appendingPathComponent("deploy/redis/acl.txt"), encoding: .utf8)
        let words = acl.replacing("CHANGE-ME", with: "s3cret").split(whereSeparator: \.isWhitespace).map(String.init)
        #expect(try cluster.nodes[0].command(["ACL", "SETUSER"] + words.dropFirst()) == .string("OK"))
        let operators = try cluster.nodes[0].client()
        _ = try operators.command("ACL", "SETUSER", "default", "off")
        let harness = try await ClusterHarness.connected(
            to: cluster.url.replacing("://", with: "://sluice:s3cret@"), partitions: 2)
        #expect(try await harness.answer(1, to: harness.batch(1, 1, key: "a")).get().status == .ran)
        harness.call(1) { $0.listen(.open) }
        #expect(try await harness.next(1) == .listening(.opened))
        #expect(try await harness.scan(1, CounterQuery(in: harness.keys(1), limit: 1)).get().isWhole)
        #expect(try operators.command("INFO", "commandstats").text?.contains("cmdstat_scan:") == false)
        #expect(try await harness.onEventLoop { links, _ in links.flatMap(\.limitations) } == [])
        // Without the right to ask for a slot's keys, all keys are scanned. (Redis 6.2 takes rights to whole commands only.)
        #expect(try operators.command("ACL", "SETUSER", "sluice", "-cluster") == .string("OK"))
        #expect(try await harness.scan(1, CounterQuery(in: harness.keys(1), limit: 1)).get().isWhole)
        #expect(try operators.command("INFO", "commandstats").text?.contains("cmdstat_scan:") == true)
    }

    /// Servers other than the installed one may come without TLS.
    @Test(
        .enabled(if: Certificates.isOpenSSLThere, "there is no program openssl"),
        .enabled(if: ProcessInfo.processInfo.environment["SLUICE_REDIS_SERVER"] == nil))
    func aClusterOverTLS() async throws {
        let certificates = try Certificates()
        try await certificates.makeAuthority("ca")
        try await certificates.make("node", by: "ca", for: "IP:127.0.0.1")
        let cluster = try await RedisClusterProcesses(masters: 1, certificates: certificates)
        let address = try RedisAddress(cluster.tlsURL)
        let access = RedisAccess(
            credentials: nil, tls: RedisTLS(authorities: certificates.path("ca.crt")),
            readFile: { path in Array(try Data(contentsOf: URL(fileURLWithPath: path))) })
        let harness = try await ClusterHarness.make(
            .init(address: address, access: access, replica: 7), partitions: 2)
        try await harness.connectAll()
        #expect(try await harness.answer(1, to: harness.batch(1, 1, key: "a")).get().status == .ran)
    }
}
