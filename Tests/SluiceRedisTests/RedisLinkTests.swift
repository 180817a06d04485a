import SluiceEngine
import SluiceRedis
import Support
import Testing

@Suite struct RedisLinkTests {
    @Test func chargesOverARealServer() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url)
        guard case .connected(let server) = try await link.connect() else { throw SupportError("not connected") }
        #expect(server.hasPrefix("Redis ") && server.hasSuffix(", master"))
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 2))
        #expect(try await link.run(batch).results == [1, 1])
        batch.sequence = 2
        #expect(try await link.run(batch).results == [1, 2])
        batch.sequence = 3
        #expect(try await link.run(batch).results == [0, 2])
        #expect(try redis.command("GET", "a") == .string("2"))
    }
}
