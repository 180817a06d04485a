import SluiceEngine
import SluiceRedis
import Support
import Testing

/// The scripts keep the promises of a store.
@Suite struct RedisContractTests {
    /// Plain batches go to one script, and with the dress on to the other.
    @Test(arguments: [false, true]) func holds(isDressed: Bool) async throws {
        let redis = try await RedisProcess()
        let store = try RedisContractStore(
            link: await LinkHarness.connected(to: redis), client: redis.client())
        var contract = StoreContract(over: store, isDressed: isDressed)
        for one in StoreContract.cases {
            await #expect(throws: Never.self, "\(one.name)") { try await contract.run(one) }
        }
    }
}

private struct RedisContractStore: ContractStore {
    let link: LinkHarness
    let client: RedisClient

    func run(_ batch: Batch) async throws -> BatchReply { try await link.run(batch) }

    func text(of key: String) throws -> String? { try client.command("GET", key).text }

    func expiresAtMs(of key: String) throws -> Int64? {
        guard let answer = try client.command(expiryCommand(key)).integer, answer >= 0 else { return nil }
        return Int64(answer)
    }

    func set(_ key: String, _ text: String) throws { _ = try client.command("SET", key, text) }

    func setList(_ key: String) throws {
        try delete(key)
        _ = try client.command("LPUSH", key, "x")
    }

    func setSlot(_ key: String, expiresAtMs: Int64) throws {
        _ = try client.command("ZADD", key, "\(expiresAtMs)", "another")
    }

    func persist(_ key: String) throws { _ = try client.command("PERSIST", key) }
    func delete(_ key: String) throws { _ = try client.command("DEL", key) }

    func addToReplicas(_ key: String, _ member: String, _ score: String) throws {
        _ = try client.command("ZADD", key, score, member)
    }

    func setMarker(_ text: String?) throws {
        let key = String(decoding: KeySpace("sluice").marker(ofReplica: 7), as: UTF8.self)
        if let text { _ = try client.command("SET", key, text) } else { try setList(key) }
    }
}
