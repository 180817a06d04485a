import Support
import Testing

extension Integration {
    /// The denial cache of sidecars, and what ends its entries.
    @Suite struct Refusals {
        private static let tools = ["fixed", "sliding", "bucket", "shared"]
        private static let policy = Document.tools([
            "fixed": [Document.limit("c", max: 2)],
            "sliding": [Document.limit("c", max: 2, #""algorithm": "sliding_window""#)],
            "bucket": [Document.limit("c", max: 1, #""algorithm": "token_bucket", "burst": 2"#)],
            "shared": [Document.limit("c", max: 2, #""scope": "global""#)],
        ])

        private static func pair() async throws -> Pair {
            let pair = try await Pair(policy: policy)
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
            return pair
        }

        /// A cached denial on one replica ends as soon as another replica cancels a reservation: by the message, not by
        /// the second that it lives otherwise (which the test can distinguish only at its first try).
        @Test func aCancelElsewhereIsHeard() async throws {
            let pair = try await Self.pair()
            let (one, other) = (try pair.one.client(), try pair.other.client())
            for tool in Self.tools {
                let grant = Grants.next()
                let id = try other.reserve(grant, tool, "COST", "2")
                let shared = try one.check(grant, tool)
                #expect(!shared.allowed && shared.source == "shared")
                try await waitUntil("a denial is cached") { try one.check(grant, tool).source == "cache" }
                let before = try pair.one.figure("answers_cache_limit")
                let cached = try one.check(grant, tool, "TRACE")
                #expect(cached.rule == shared.rule && cached.limit == 2 && cached.remaining == 0)
                #expect(cached.retryAfterMs > 0 && cached.retryAfterMs <= shared.retryAfterMs)
                #expect(!cached.message.isEmpty)
                if cached.source == "cache" { #expect(try pair.one.figure("answers_cache_limit") == before + 1) }
                #expect(try other.settle("CANCEL", grant, id))
                try await waitUntil("what was cancelled is there again") { try one.peek(grant, tool).allowed }
                // On the replica that settled, this holds at once.
                #expect(try other.check(grant, tool).allowed)
                let again = try other.reserve(grant, tool)
                #expect(try !other.check(grant, tool).allowed)
                _ = try other.check(grant, tool)
                #expect(try other.settle("COMMIT", grant, again, "0"))
                #expect(try other.check(grant, tool).allowed)
                #expect(try other.settle("CANCEL", grant, again) == false)
            }
        }

        /// A client that waits for the reported time, by Redis' clock, is not denied again.
        @Test(arguments: ["fixed", "sliding", "bucket"])
        func waitingForRetryAfterIsEnough(tool: String) async throws {
            let pair = try await Pair(
                policy: Document.tools([
                    "fixed": [Document.limit("c", max: 2, window: "1")],
                    "sliding": [Document.limit("c", max: 2, window: "1", #""algorithm": "sliding_window""#)],
                    "bucket": [Document.limit("c", max: 9, window: "1", #""algorithm": "token_bucket", "burst": 2"#)],
                ]))
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
            let (one, redis) = (try pair.one.client(), try pair.redis.client())
            func redisUs() throws -> Int64 {
                let parts = try redis.command("TIME").elements ?? []
                guard let seconds = Int64(parts[0].text ?? ""), let us = Int64(parts[1].text ?? "") else {
                    throw SupportError("TIME: \(parts)")
                }
                return seconds * 1_000_000 + us
            }
            for _ in 1...5 {
                let grant = Grants.next()
                while try one.check(grant, tool).allowed {}
                let denied = try one.check(grant, tool)
                // A window may have just ended.
                if denied.allowed { continue }
                let untilUs = try redisUs() + Int64(denied.retryAfterMs) * 1_000
                // Others ask meanwhile, and with each answer the replica reads its clock again.
                while try redisUs() < untilUs { _ = try one.check(Grants.next(), tool) }
                let passed = try one.check(grant, tool)
                #expect(passed.allowed, "\(denied.source) said \(denied.retryAfterMs), then \(passed.source)")
            }
        }

        /// Many denials cost Redis no command, and none of them is admitted.
        @Test func denialsCostRedisNothing() async throws {
            let pair = try await Self.pair()
            let client = try pair.one.client()
            let grant = Grants.next()
            for _ in 1...2 { #expect(try client.check(grant, "fixed").allowed) }
            #expect(try !client.check(grant, "fixed").allowed)
            let batches = try pair.one.figure("batches")
            var cached = 0
            for _ in 1...20 {
                let replies = try client.pipeline(Array(repeating: ["CHECK", grant, "fixed"], count: 100))
                    .map(CheckReply.init)
                #expect(replies.allSatisfy { !$0.allowed })
                cached += replies.count { $0.source == "cache" }
            }
            #expect(cached > 1_000)
            #expect(try pair.one.figure("batches") - batches <= 2_000 - cached + 20)
        }

        /// A killed subscription is opened again. Meanwhile, and after a data loss, the denial cache is off.
        @Test func aKilledSubscriptionComesBack() async throws {
            let pair = try await Self.pair()
            let client = try pair.one.client()
            let grant = Grants.next()
            for _ in 1...2 { _ = try client.check(grant, "fixed") }
            #expect(try !client.check(grant, "fixed").allowed)
            #expect(try pair.redis.command("CLIENT", "KILL", "TYPE", "pubsub") == .integer(2))
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
            try await waitUntil("denials are cached again") {
                try client.check(grant, "fixed").source == "cache"
            }
            for sidecar in pair.both { #expect(try sidecar.figure("outages") == 0) }
            try await pair.redis.restartEmpty()
            try await waitUntil("the store is back") { try client.check(Grants.next(), "fixed").source == "shared" }
            // The sidecar restored the lost counters.
            #expect(try !client.check(grant, "fixed").allowed)
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
        }

        /// A user without the right to the channel counts normally; the denial cache is off.
        @Test func withoutTheChannelNothingIsRemembered() async throws {
            let redis = try await RedisProcess(configuration: [
                "user sluice on >secret ~* resetchannels +@all"
            ])
            let sidecar = try await SidecarProcess(
                policy: Self.policy, redis: redis.url, store: redis, arguments: ["--redis-user", "sluice"],
                environment: ["SLUICE_REDIS_PASSWORD": "secret"])
            try await sidecar.waitUntilShared()
            let client = try sidecar.client()
            try await waitUntil("it is said") { sidecar.log.contains("denial cache off") }
            #expect(try client.info("subscription") == "down")
            let grant = Grants.next()
            let id = try client.reserve(grant, "fixed", "COST", "2")
            for _ in 1...5 { #expect(try client.check(grant, "fixed").source == "shared") }
            #expect(try client.settle("CANCEL", grant, id))
            #expect(try client.check(grant, "fixed").allowed)
            #expect(try sidecar.figure("outages") == 0)
        }
    }
}
