import Support
import Testing

extension Integration {
    /// A Redis in which others write to what is the sidecar's own: it goes on, and says so once.
    @Suite struct OddRedis {
        private static let policy = Policies.rate(1_000, per: Policies.longWindow)

        @Test(arguments: ["9223372036854775807", "-9223372036854775808", "junk", "1e999"])
        func garbageUnderItsOwnKeys(marker: String) async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Self.policy, over: redis)
            try await sidecar.waitUntilShared()
            let client = try sidecar.client()
            #expect(try client.check("g", "run").source == "shared")
            let store = try redis.client()
            let keys = try store.command("KEYS", "sluice:2:replica:*").elements ?? []
            let key = try #require(keys.first?.text)
            _ = try store.command("SET", key, marker)
            _ = try store.command("ZADD", "sluice:2:replicas", "+inf", "no replica")
            _ = try store.command("ZADD", "sluice:2:replicas", "1e300", "00000000000000aa")
            try await waitUntil("it logs both\n\(sidecar.log)") {
                sidecar.log.contains("sluice:2:replicas held 1 members")
                    && sidecar.log.contains("this replica's marker")
            }
            try await sidecar.waitUntilShared()
            #expect(try client.command("PING") == .string("PONG"))
            #expect(try client.check("g", "run").source == "shared")
            #expect(sidecar.log.split(separator: "sluice:2:replicas held").count == 2, "once")
            #expect(sidecar.log.split(separator: "this replica's marker").count == 2, "once")
            #expect(try store.command("ZSCORE", "sluice:2:replicas", "no replica") == .null)
        }
    }
}
