import SluiceEngine
import SluiceRedis
import Support
import Testing

@Suite struct CounterScanTests {
    private func query(_ prefix: String, limit: Int = 100_000) -> CounterQuery {
        CounterQuery(keyPrefix: Array(prefix.utf8), limit: limit)
    }

    private func names(_ counters: [StoredCounter]) -> [String: Int64] {
        counters.reduce(into: [:]) { $0[String(decoding: $1.key, as: UTF8.self)] = $1.used }
    }

    @Test func readsTheCountersUnderAPrefixOnly() async throws {
        let redis = try await RedisProcess()
        try redis.command(["MSET", "p:1", "10", "p:2", "-3", "p:3", "many", "q:1", "5", "xp:1", "6"])
        try redis.command("LPUSH", "p:list", "1")
        let link = try await LinkHarness.make(redis.url)
        // The link itself need not be connected.
        #expect(try await names(link.scan(query("p:")).get()) == ["p:1": 10])
        #expect(try await link.scan(query("none")).get() == [])
        #expect(try await link.scan(query("p:", limit: 0)).get() == [])
    }

    @Test func readsEveryKindOfCounter() async throws {
        let redis = try await RedisProcess()
        try redis.command(["MSET", "p:f", "10", "p:f:refused", "2", "p:b", "700 1800000000000", "p:odd", "1 2 3 4"])
        try redis.command(["MSET", "p:b2", "-7 1800000000000", "p:b3", "7  8", "q:b", "1 2"])
        for (key, score) in [("p:c", "inf"), ("p:c", "9000000000000"), ("p:c", "1000"), ("p:gone", "1000")] {
            try redis.command("ZADD", key, score, score)
        }
        try redis.command("HSET", "p:hash", "a", "b")
        let link = try await LinkHarness.connected(to: redis)
        // A record and a memo, as the script writes them.
        var batch = Batch(sequence: 1)
        let memo = Batch.Memo(argumentsHash: "0123456789abcdef", countersHash: "0123456789abcdef")
        batch.add([TestCharge(key: "q", max: 9)], reserve: "1", memo: (key: "p:id:tool:1", memo: memo))
        #expect(try await link.run(batch).results == [1, 1])
        try redis.command("RENAME", recordKey("1"), "p:reservation")
        let counters = try await link.scan(query("p:")).get().sorted { $0.key.lexicographicallyPrecedes($1.key) }
        #expect(
            counters == [
                StoredCounter(key: Array("p:b".utf8), used: 700, lastMs: 1_800_000_000_000),
                StoredCounter(key: Array("p:c".utf8), used: 2), StoredCounter(key: Array("p:f".utf8), used: 10),
                StoredCounter(key: Array("p:f:refused".utf8), used: 2),
            ])
    }

    @Test func readsManyPagesOfSlots() async throws {
        let redis = try await RedisProcess()
        let client = try redis.client()
        _ = try client.pipeline((0..<2_500).map { ["ZADD", "k:\($0)", "9000000000000", "m"] })
        let link = try await LinkHarness.make(redis.url)
        let all = try await link.scan(query("k:")).get()
        #expect(names(all).count == 2_500 && all.allSatisfy { $0.used == 1 })
        #expect(try await link.scan(query("k:", limit: 1_234)).get().count == 1_234)
    }

    @Test func takesAPrefixLiterally() async throws {
        let redis = try await RedisProcess()
        let odd = "a*b?[c-d]\\^{e}"
        try redis.command(["MSET", odd + ":1", "1", "aXb?[c-d]\\^{e}:1", "2", "a*bc", "3"])
        let link = try await LinkHarness.make(redis.url)
        #expect(try await names(link.scan(query(odd)).get()) == [odd + ":1": 1])
    }

    @Test func readsManyPagesOnceEachAndNoMoreThanTheLimit() async throws {
        let redis = try await RedisProcess()
        let words = (0..<5_000).flatMap { ["k:\($0)", "\($0)"] }
        try redis.command(["MSET"] + words)
        let link = try await LinkHarness.connected(to: redis)
        let all = try await link.scan(query("k:")).get()
        #expect(all.count == 5_000)
        #expect(names(all).count == 5_000 && names(all)["k:4321"] == 4_321)
        #expect(try await link.scan(query("k:", limit: 1_234)).get().count == 1_234)
    }

    @Test func failsWithoutAServerAndWhenItIsStopped() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url, limits: .brief)
        redis.stop()
        guard case .failure(.unknown(let reason)) = try await link.scan(query("p:")) else {
            throw SupportError("no failure")
        }
        #expect(reason.contains("50 ms"))
        try await redis.kill()
        let patient = try await LinkHarness.make(redis.url)
        guard case .failure(.unknown(let absence)) = try await patient.scan(query("p:")) else {
            throw SupportError("no failure")
        }
        #expect(absence.hasPrefix("cannot connect"))
    }

    @Test func onlySomeRunAtOnce() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url, limits: .brief)
        redis.stop()
        let results = try await link.scan(query(""), times: RedisBounds.maxScans + 1)
        let refusals = results.filter { if case .failure(.refused) = $0 { true } else { false } }
        #expect(refusals.count == 1)
    }
}
