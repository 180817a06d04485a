import SluiceEngine
import SluiceRedis
import Support
import Testing

/// Partitions over nodes that answer what a test says: redirections, and how a link ends.
@Suite struct ClusterLinkTests {
    private static let lower = 0...8_191
    private static let upper = 8_192...16_383

    private func moved(_ harness: ClusterHarness, _ partition: Int, to place: String) -> String {
        "-MOVED \(harness.slot(partition)) \(place)\r\n"
    }

    private func ask(_ harness: ClusterHarness, _ partition: Int, to place: String) -> String {
        "-ASK \(harness.slot(partition)) \(place)\r\n"
    }

    private func isRejected(_ result: Result<BatchReply, BatchFailure>, _ reason: String) -> Bool {
        if case .failure(.rejected(let words)) = result { words.hasPrefix(reason) } else { false }
    }

    @Test(arguments: [true, false])
    func batchesGoToTheMastersOfTheirSlots(withShards: Bool) async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        if !withShards { stub.forgetShards() }
        let harness = try await ClusterHarness.make(stub.url, partitions: 2)
        for partition in 0..<2 {
            #expect(try await harness.connect(partition) == .connected(server: "Redis 7.0.15, master"))
            #expect(try await harness.onEventLoop { links, _ in links[partition].serverPlace } == stub.place(partition))
            let batch = harness.batch(partition, 1, key: "a")
            #expect(try await harness.answer(partition, to: batch).get().results == [1, 1])
            #expect(stub.received(partition) == ["2 \(harness.key(partition, "a"))"])
        }
    }

    /// A node that does not know under which name others reach it names none.
    @Test func aNodeWithoutANameIsWhereItWasAsked() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        stub.announce(host: "")
        _ = try await ClusterHarness.connected(to: stub.url, partitions: 2)
    }

    @Test func aMovedPartitionIsFollowed() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        stub.answers(0, moved(harness, 0, to: stub.place(1)), moved(harness, 0, to: stub.place(1)))
        let batches = (1...2).map { harness.batch(0, $0, key: "a\($0)") }
        harness.call(0) { link in batches.forEach(link.send) }
        for sequence in 1...Int64(2) {
            #expect(try await harness.answer(0, sequence: sequence).get().status == .ran)
        }
        #expect(try await harness.place(0) == (1, stub.place(1)))
        #expect(try await harness.place(1).moves == 0)
        // The next one goes there at once.
        #expect(try await harness.answer(0, to: harness.batch(0, 3, key: "a3")).get().status == .ran)
        #expect(stub.received(0).count == 2)
        #expect(stub.received(1) == (1...3).map { "2 \(harness.key(0, "a\($0)"))" })
    }

    /// To a node with which no partition has been connected yet.
    @Test func aBatchWaitsForTheConnectionToItsNewMaster() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.make(stub.url, partitions: 2)
        guard case .connected = try await harness.connect(0) else { throw SupportError("not connected") }
        stub.answers(0, moved(harness, 0, to: stub.place(1)), moved(harness, 0, to: stub.place(1)))
        let batches = (1...2).map { harness.batch(0, $0, key: "a\($0)") }
        harness.call(0) { link in batches.forEach(link.send) }
        for sequence in 1...Int64(2) {
            #expect(try await harness.answer(0, sequence: sequence).get().status == .ran)
        }
        #expect(stub.received(1) == (1...2).map { "2 \(harness.key(0, "a\($0)"))" })
    }

    @Test func oneBatchAloneIsSentOnWhereANodeSaysSo() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        stub.answers(0, ask(harness, 0, to: stub.place(1)))
        #expect(try await harness.answer(0, to: harness.batch(0, 1, key: "a")).get().status == .ran)
        #expect(stub.received(1) == ["ASKING", "2 \(harness.key(0, "a"))"])
        #expect(try await harness.answer(0, to: harness.batch(0, 2, key: "b")).get().status == .ran)
        #expect(stub.received(0).count == 2 && stub.received(1).count == 2)
    }

    /// A script that the other node does not have is brought along, and asked for again.
    @Test func aScriptIsBroughtAlongBehindAskingToo() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        stub.answers(0, ask(harness, 0, to: stub.place(1)))
        stub.answers(1, "-NOSCRIPT No matching script.\r\n")
        harness.call(0) { $0.send(harness.batch(0, 1, key: "a")) }
        // The stub answers an empty list to `EVAL`, which is no answer to a batch.
        guard case .closed(let reason) = try await harness.next(0) else { throw SupportError("not closed") }
        #expect(reason.contains("made no sense") && reason.contains(stub.place(1)))
        #expect(stub.received(1) == ["ASKING", "2 \(harness.key(0, "a"))", "ASKING"])
        // The other partition had that connection too.
        guard case .closed = try await harness.next(1) else { throw SupportError("not closed") }
    }

    /// The second is sent behind the first, and is answered after it, though it runs before: the script sees to it that it
    /// charges nothing then.
    @Test func answersKeepTheirOrderWhileKeysAreDivided() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        let answer = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
        stub.answers(0, answer)
        let batches = (1...2).map { harness.batch(0, $0, key: "a\($0)") }
        harness.call(0) { link in batches.forEach(link.send) }
        for sequence in 1...Int64(2) {
            #expect(try await harness.answer(0, sequence: sequence).get().status == .ran)
        }
        #expect(stub.received(0) == [1, 2, 1].map { "2 \(harness.key(0, "a\($0)"))" })
    }

    @Test func aBatchIsSentOnSoOftenAndNotMore() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        for _ in 0..<20 {
            stub.answers(0, moved(harness, 0, to: stub.place(1)))
            stub.answers(1, moved(harness, 0, to: stub.place(0)))
        }
        #expect(isRejected(try await harness.answer(0, to: harness.batch(0, 1, key: "a")), "MOVED"))
        #expect(stub.received(0).count + stub.received(1).count == RedisBounds.maxRedirections + 1)
    }

    @Test func aRedirectionOfAnotherSlotIsNotFollowed() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        stub.answers(
            0, moved(harness, 1, to: stub.place(1)), ask(harness, 1, to: stub.place(1)), "-MOVED nonsense\r\n")
        for (sequence, words) in [(1, "MOVED"), (2, "ASK")] as [(Int64, String)] {
            #expect(isRejected(try await harness.answer(0, to: harness.batch(0, sequence, key: "a")), words))
        }
        #expect(isRejected(try await harness.answer(0, to: harness.batch(0, 3, key: "a")), "MOVED nonsense"))
        #expect(stub.received(1).isEmpty)
    }

    /// The node may be cut off from the others: the next connection goes where the others say.
    @Test(arguments: ["CLUSTERDOWN The cluster is down", "READONLY You can't write against a read only replica."])
    func aNodeThatServesNothingIsLeft(_ error: String) async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        stub.assign(0...16_383, to: 1)
        stub.answers(0, "-\(error)\r\n")
        #expect(isRejected(try await harness.answer(0, to: harness.batch(0, 1, key: "a")), error))
        #expect(try await harness.next(0) == .closed(reason: error))
        var sequence: Int64 = 1
        try await waitUntil("its batches go to the other node") {
            guard case .connected = try await harness.connect(0) else { return false }
            sequence += 1
            #expect(try await harness.answer(0, to: harness.batch(0, sequence, key: "b")).get().status == .ran)
            return stub.received(1).contains("2 \(harness.key(0, "b"))") || disconnected(harness)
        }
        // The other partition has not noticed.
        #expect(try await harness.answer(1, to: harness.batch(1, 1, key: "c")).get().status == .ran)
    }

    private func disconnected(_ harness: ClusterHarness) -> Bool {
        harness.call(0) { $0.disconnect() }
        return false
    }

    @Test func anAnswerThatMakesNoSenseClosesAllThatShareTheConnection() async throws {
        let stub = try await StubCluster(0...16_383)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 3)
        stub.answers(0, ":1\r\n")
        harness.call(1) { $0.send(harness.batch(1, 1, key: "a")) }
        for partition in 0..<3 {
            guard case .closed(let reason) = try await harness.next(partition) else { throw SupportError("not closed") }
            #expect(reason.hasPrefix("Redis' answer made no sense") && reason.hasSuffix(" (\(stub.place(0)))"))
        }
        try await harness.connectAll()
    }

    @Test func tooManyUnansweredBatchesCloseOnePartition() async throws {
        let stub = try await StubCluster(0...16_383)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        let batches = (1...RedisBounds.maxBatchesInFlight + 1).map { harness.batch(0, Int64($0), key: "a") }
        harness.call(0) { link in batches.forEach(link.send) }
        #expect(try await harness.next(0) == .closed(reason: "16 batches are without an answer"))
        #expect(try await harness.answer(1, to: harness.batch(1, 1, key: "c")).get().status == .ran)
        guard case .connected = try await harness.connect(0) else { throw SupportError("not connected") }
        #expect(try await harness.answer(0, to: harness.batch(0, 99, key: "a")).get().status == .ran)
    }

    /// It lives on, and hears no more of what the others publish.
    @Test func aSubscriptionDoesNotStayAtANodeThatHasLeft() async throws {
        let stub = try await StubCluster(Self.lower, Self.upper)
        let harness = try await ClusterHarness.connected(to: stub.url, partitions: 2)
        harness.callAll { $0.forEach { $0.listen(.open) } }
        for partition in 0..<2 { #expect(try await harness.next(partition) == .listening(.opened)) }
        let old = stub.received(0) == ["SUBSCRIBE"] ? 0 : 1
        stub.assign(0...16_383, to: 1 - old)
        stub.answers(old, moved(harness, old, to: stub.place(1 - old)))
        #expect(try await harness.answer(old, to: harness.batch(old, 1, key: "a")).get().status == .ran)
        for partition in 0..<2 {
            #expect(
                try await harness.next(partition)
                    == .listening(.closed(reason: "\(stub.place(old)) is no node of the cluster any more")))
        }
        harness.call(1) { $0.listen(.open) }
        #expect(try await harness.next(1) == .listening(.opened))
        #expect(stub.received(1 - old).last == "SUBSCRIBE")
    }

    // MARK: - Clusters that are not there

    @Test func whyNoNodeAnswersIsSaid() async throws {
        let ports = try LoopbackPort.free(2)
        let harness = try await ClusterHarness.make(
            "redis+cluster://127.0.0.1:\(ports[0]),127.0.0.1:\(ports[1])", partitions: 2)
        for partition in 0..<2 {
            guard case .closed(let reason) = try await harness.connect(partition) else {
                throw SupportError("connected")
            }
            #expect(
                reason == "no node of the cluster answers: 127.0.0.1:\(ports[0]): cannot connect: Connection refused; "
                    + "127.0.0.1:\(ports[1]): cannot connect: Connection refused")
        }
        guard case .failure(.rejected) = try await harness.answer(0, to: harness.batch(0, 1, key: "a")) else {
            throw SupportError("sent")
        }
    }

    @Test func aServerThatIsNoNodeIsNamed() async throws {
        let port = try LoopbackPort.free()[0]
        let redis = try await RedisProcess(configuration: ["port \(port)", "bind 127.0.0.1"])
        defer { withExtendedLifetime(redis) {} }
        let harness = try await ClusterHarness.make("redis+cluster://127.0.0.1:\(port)", partitions: 1)
        guard case .closed(let reason) = try await harness.connect(0) else { throw SupportError("connected") }
        #expect(reason.contains("this is no node of a Redis Cluster (cluster-enabled is no): use redis://"))
    }

    @Test func aSlotThatNoMasterHasIsNamed() async throws {
        let stub = try await StubCluster(Self.lower)
        let harness = try await ClusterHarness.make(stub.url, partitions: 2)
        guard case .closed(let reason) = try await harness.connect(1) else { throw SupportError("connected") }
        #expect(reason == "no master of the cluster has the slot \(harness.slot(1))")
        guard case .connected = try await harness.connect(0) else { throw SupportError("not connected") }
        // It is found as soon as one has it.
        stub.assign(0...16_383, to: 0)
        try await waitUntil("it is connected") {
            if case .connected = try await harness.connect(1) { true } else { false }
        }
    }

    @Test func connectingCanBeGivenUp() async throws {
        let stub = try await StubCluster(0...16_383)
        let harness = try await ClusterHarness.make(stub.url, partitions: 1)
        harness.call(0) { link in
            link.connect()
            link.disconnect()
            link.connect()
        }
        guard case .connected = try await harness.next(0) else { throw SupportError("not connected") }
        #expect(try await harness.answer(0, to: harness.batch(0, 1, key: "a")).get().status == .ran)
    }
}
