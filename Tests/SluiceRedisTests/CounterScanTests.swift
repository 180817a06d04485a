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
        #expect(try await names(link.scan(query("p:")).get()) == ["p:1": 10, "p:2": -3])
        #expect(try await link.scan(query("none")).get() == [])
        #expect(try await link.scan(query("p:", limit: 0)).get() == [])
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
