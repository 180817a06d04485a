import NIOCore
import SluiceEngine
import SluiceRedis
import Support
import Testing

/// Hearing of counters that were lowered, over a connection of its own.
@Suite struct ChangeSubscriptionTests {
    private static let channel = "sluice:2:changed"

    /// A link as the user `narrow`.
    private func narrow(_ redis: RedisProcess) async throws -> LinkHarness {
        try await LinkHarness.make(
            .init(
                address: RedisAddress(redis.url), credentials: RedisCredentials(user: "narrow", password: "pw"),
                replica: 7))
    }

    private func listening(to redis: RedisProcess) async throws -> LinkHarness {
        let link = try await LinkHarness.make(redis.url)
        #expect(try await link.listen(.open) == .listening(.opened))
        return link
    }

    @Test func whatIsPublishedIsHeard() async throws {
        let redis = try await RedisProcess()
        let link = try await listening(to: redis)
        #expect(try redis.command("PUBLISH", Self.channel, "sluice:2:{g}") == .integer(1))
        #expect(try redis.command("PUBLISH", "sluice:2:other", "x") == .integer(0))
        #expect(try redis.command("PUBLISH", Self.channel, "") == .integer(1))
        #expect(try redis.command("PUBLISH", Self.channel, "\r\n*1") == .integer(1))
        for text in ["sluice:2:{g}", "", "\r\n*1"] {
            #expect(try await link.next() == .listening(.changed(Array(text.utf8))))
        }
        // One that is no tag is passed over.
        try redis.command("PUBLISH", Self.channel, String(repeating: "x", count: RedisBounds.maxChangeBytes + 1))
        #expect(try await link.listen(.probe) == .listening(.alive))
    }

    @Test func itEndsWithoutAWordAndBeginsAgain() async throws {
        let redis = try await RedisProcess()
        let link = try await listening(to: redis)
        link.call { link in
            link.listen(.close)
            link.listen(.probe)
            link.listen(.open)
        }
        #expect(try await link.next() == .listening(.opened))
        // Opened while it is open, the one before ends.
        #expect(try await link.listen(.open) == .listening(.opened))
        try await waitUntil("the first has gone") {
            try redis.command("PUBSUB", "NUMSUB", Self.channel) == .array([.string(Self.channel), .integer(1)])
        }
    }

    @Test func itBreaksAlone() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        #expect(try await link.listen(.open) == .listening(.opened))
        try redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        guard case .listening(.closed) = try await link.next() else { throw SupportError("not closed") }
        var batch = Batch(sequence: 1, acknowledged: 0)
        batch.add(TestCharge(key: "a", max: 9))
        #expect(try await link.run(batch).results == [1, 1])
        #expect(try await link.listen(.open) == .listening(.opened))
        try await redis.kill()
        // Both connections end, in whatever order.
        var ends: [LinkEvent] = []
        while ends.count < 2 { ends.append(try await link.next()) }
        #expect(ends.count { if case .listening(.closed) = $0 { true } else { false } } == 1)
        guard case .listening(.closed) = try await link.listen(.open) else { throw SupportError("opened") }
    }

    @Test(arguments: [
        ["+@all", "-subscribe", "&*"], ["+@all", "resetchannels"], ["+@all", "&sluice:1:*"],
    ])
    func aUserWithoutTheRightsIsReported(_ rights: [String]) async throws {
        let redis = try await RedisProcess()
        try redis.command(["ACL", "SETUSER", "narrow", "on", ">pw", "~*", "resetchannels"] + rights)
        let link = try await narrow(redis)
        guard case .listening(.closed(let reason)) = try await link.listen(.open) else {
            throw SupportError("opened")
        }
        #expect(reason.contains("NOPERM") && reason.contains("subscribe"))
    }

    /// A server without room says so in answer to the first command, which the connection could do without.
    @Test func aFullServerIsNamed() async throws {
        let redis = try await RedisProcess(configuration: ["maxclients 1"])
        let link = try await LinkHarness.make(redis.url)
        try await waitUntil("the only place is the link's") {
            if case .connected = try await link.connect() { true } else { false }
        }
        guard case .listening(.closed(let reason)) = try await link.listen(.open) else { throw SupportError("opened") }
        #expect(reason.contains("max number of clients reached"), "\(reason)")
    }

    @Test func aUserWhoMayNotProbeIsReported() async throws {
        let redis = try await RedisProcess()
        try redis.command("ACL", "SETUSER", "narrow", "on", ">pw", "&*", "+subscribe", "+client|setname")
        let link = try await narrow(redis)
        #expect(try await link.listen(.open) == .listening(.opened))
        guard case .listening(.closed) = try await link.listen(.probe) else { throw SupportError("alive") }
    }

    @Test(arguments: [":1\r\n", "+OK\r\n", "*0\r\n", "*1\r\n$1\r\na\r\n", "*3\r\n:1\r\n:1\r\n:1\r\n", "nonsense\r\n"])
    func nonsenseEndsIt(_ answer: String) async throws {
        let server = try await StubRedis.start(["+OK\r\n", answer], handshakeEnd: "sluice-7\r\n")
        let link = try await LinkHarness.make(server.url)
        guard case .listening(.closed) = try await link.listen(.open) else { throw SupportError("opened") }
    }

    // MARK: - What scripts publish

    /// A reservation of cost 5 over a window, a sliding one, a bucket and slots, in two tags; and its end.
    /// The answers report the same as what is published.
    private func heard(_ settlements: [Batch.Settlement], ofFixedWindows: Bool = false) async throws -> [LinkEvent] {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        #expect(try await link.listen(.open) == .listening(.opened))
        let all = [
            TestCharge(key: "sluice:2:{g}:a", max: 9), .sliding("sluice:2:{g}:b", before: "sluice:2:{g}:0", max: 9),
            .bucket("sluice:2:{global=}:c", max: 9, burst: 9, lengthMs: 60_000),
            .slots("sluice:2:{g}:d", max: 9, holdMs: 60_000),
        ]
        let charges = ofFixedWindows ? Array(all.prefix(1)) : all
        let record = "sluice:2:{g}:!r:\(reservationID("1"))"
        var batch = Batch(sequence: 1, acknowledged: 0)
        batch.entries = [.init(cost: 5, count: 1, firstCharge: 0, chargeCount: charges.count, operation: 0)]
        batch.charges = charges.map(\.charge)
        batch.operations = [.check(isReserved: true, idempotency: nil)]
        for charge in charges { charge.keys.forEach { batch.appendKey($0.utf8) } }
        batch.appendKey(record.utf8)
        #expect(try await link.run(batch).results.first == 1)
        var events: [LinkEvent] = []
        var reported: [LinkEvent] = []
        for (index, settlement) in settlements.enumerated() {
            var end = Batch(sequence: Int64(index) + 2, acknowledged: 0)
            end.entries = [.init(cost: 0, count: 0, firstCharge: 0, chargeCount: 0, operation: 0)]
            end.operations = [.settle(settlement)]
            end.appendKey(record.utf8)
            let settling = end
            link.call { $0.send(settling) }
            while true {
                let event = try await link.next()
                if case .answered(_, let answer) = event {
                    reported += try answer.get().lowered.map { .listening(.changed($0)) }
                    break
                }
                events.append(event)
            }
        }
        try redis.command("PUBLISH", Self.channel, "the end")
        while events.last != .listening(.changed(Array("the end".utf8))) { events.append(try await link.next()) }
        #expect(events.dropLast() == reported[...])
        return events.dropLast()
    }

    @Test(
        arguments: [
            ([.cancel], ["g", "global="]), ([.commit(cost: 4)], ["g", "global="]), ([.commit(cost: 5)], []),
            ([.commit(cost: 6)], ["g", "global="]), ([.release], []), ([.commit(cost: 0), .cancel], ["g", "global="]),
            ([.cancel, .cancel], ["g", "global="]),
        ] as [([Batch.Settlement], [String])])
    func aScriptPublishesWhatItLowered(_ settlements: [Batch.Settlement], _ tags: [String]) async throws {
        let heard = try await heard(settlements)
        #expect(heard == tags.map { .listening(.changed(Array("sluice:2:{\($0)}".utf8))) })
    }

    /// A fixed window has room again when it ends, however full it is.
    @Test func raisingAFixedWindowIsNotPublished() async throws {
        #expect(try await heard([.commit(cost: 6)], ofFixedWindows: true).isEmpty)
        #expect(try await heard([.commit(cost: 4)], ofFixedWindows: true).count == 1)
    }
}
