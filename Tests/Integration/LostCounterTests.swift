import Foundation
import Support
import Testing

extension Integration {
    /// A Redis that loses single counters: it evicts them, or another client deletes them.
    @Suite struct LostCounters {
        private static let policy = Document.tools(["run": [Document.limit("calls", max: 10)]])
        private static let grants = (0..<20).map { "lost-\($0)" }

        /// Fills every grant's window through both sidecars.
        private static func fill(_ pair: Pair) throws -> [RedisClient] {
            let clients = try pair.both.map { try $0.client() }
            for grant in grants {
                for call in 0..<10 { #expect(try clients[call % 2].check(grant, "run").allowed) }
                // Each has seen it full.
                for client in clients { #expect(try !client.check(grant, "run").allowed) }
            }
            return clients
        }

        /// The windows by key; a replica's marker, whose random name may begin with an f, is none of them.
        private static func counters(_ redis: RedisProcess) throws -> [String: Int] {
            let keys = try redis.command("KEYS", "sluice:2:{*:f*").elements?.compactMap(\.text) ?? []
            return try keys.reduce(into: [:]) { $0[$1] = try redis.command("GET", $1).text.flatMap { Int($0) } }
        }

        private func pair(_ configuration: [String] = []) async throws -> Pair {
            let pair = try await Pair(policy: Self.policy, configuration: configuration)
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
            // What was reported when the feed was new is not judged.
            for sidecar in pair.both {
                let now = try sidecar.figure("uptime_ms")
                try await waitUntil("the feed is not new") { try sidecar.figure("uptime_ms") > now + 150 }
            }
            return pair
        }

        /// After that each window admits one call more, which shows that the counter is gone, and is full again.
        private func askAgain(_ pair: Pair, _ clients: [RedisClient]) async throws {
            for grant in Self.grants {
                // For a second the denial cache answers.
                try await waitUntil("\(grant) is admitted again") { try clients[0].check(grant, "run").allowed }
                try await waitUntil("\(grant)'s counter is restored\n\(pair.one.log)") {
                    try clients[1].peek(grant, "run").remaining == 0
                }
                for call in 0..<10 { #expect(try !clients[call % 2].check(grant, "run").allowed) }
            }
        }

        @Test func whatAnotherClientDeletesIsRestored() async throws {
            let pair = try await pair()
            let clients = try Self.fill(pair)
            let keys = try Self.counters(pair.redis)
            #expect(keys.count == 20 && keys.values.allSatisfy { $0 == 10 })
            try pair.redis.command(["UNLINK"] + keys.keys)
            try await askAgain(pair, clients)
            let restored = try Self.counters(pair.redis)
            #expect(restored.count == 20 && restored.values.allSatisfy { $0 == 11 }, "\(restored)")
            #expect(try pair.one.figure("counter_losses") == 20 && pair.one.figure("memory_losses") == 0)
            let lines = pair.one.log.split(separator: "\n").filter { $0.contains("redis lost single counters") }
            #expect(lines.count == 1 && !pair.one.log.contains("lost-0"))
        }

        /// A real eviction: every counter has a time to live, so that a policy which spares other keys takes just them.
        @Test func whatRedisEvictsIsRestored() async throws {
            let pair = try await pair(["maxmemory-policy volatile-lru", "maxmemory-samples 64"])
            let clients = try Self.fill(pair)
            let redis = try pair.redis.client()
            let used = Int(try pair.redis.info("used_memory") ?? "") ?? 0
            _ = try redis.command("CONFIG", "SET", "maxmemory", "\(used + 2_000_000)")
            let junk = String(repeating: "x", count: 50_000)
            var count = 0
            while try !Self.counters(pair.redis).isEmpty, count < 2_000 {
                _ = try redis.command("SET", "junk-\(count)", junk, "EX", "3000")
                count += 1
            }
            #expect(try Self.counters(pair.redis).isEmpty)
            _ = try redis.command("CONFIG", "SET", "maxmemory", "0")
            // If the replicas' markers went, too, that is a data loss, and all is restored ahead of the next check.
            var admitted = 0
            for grant in Self.grants {
                try await waitUntil("\(grant) is asked of Redis again\n\(pair.one.log)") {
                    let reply = try clients[0].check(grant, "run")
                    if reply.allowed { admitted += 1 }
                    return reply.source == "shared"
                }
                try await waitUntil("\(grant)'s counter is restored") {
                    try clients[1].peek(grant, "run").remaining == 0
                }
                for call in 0..<10 { #expect(try !clients[call % 2].check(grant, "run").allowed) }
            }
            #expect(admitted <= 20)
            #expect(try Self.counters(pair.redis).values.allSatisfy { $0 == 10 || $0 == 11 })
        }

        /// What is given back elsewhere is no loss: it stays given back.
        @Test func whatIsGivenBackStaysGivenBack() async throws {
            let pair = try await pair()
            let (one, other) = (try pair.one.client(), try pair.other.client())
            for _ in 0..<30 {
                let grant = Grants.next()
                for _ in 0..<6 { #expect(try one.check(grant, "run").allowed) }
                let given = try other.command("REFUND", grant, "run", "4").elements
                #expect(given?.first?.integer == 1)
                #expect(try one.check(grant, "run").remaining == 7)
            }
            let counters = try Self.counters(pair.redis)
            #expect(counters.count == 30 && counters.values.allSatisfy { $0 == 3 }, "\(counters)")
            #expect(try pair.one.figure("counter_losses") == 0 && pair.other.figure("counter_losses") == 0)
        }
    }
}
