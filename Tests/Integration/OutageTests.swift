import Foundation
import Support
import Testing

extension Integration {
    /// Redis fails in every possible way: each check is answered in time, without an error, and counting is shared
    /// again afterwards.
    @Suite struct Outages {
        /// What every grant may do in one window. Two replicas share it, half each.
        static let max = 1_000
        static let policy = Policies.rate(max, per: Policies.longWindow)
        /// Short enough that waiting for Redis shows, and long enough for a machine that does something else as well.
        static let budget = "100ms"
        /// Far more checks than a share, so that it is spent.
        static let flood = 800

        /// Failures that last until they are repaired.
        enum Lasting: String, CaseIterable, Sendable, CustomTestStringConvertible {
            case killed, stopped, readOnly, masterDown, outOfMemory, passwordChanged
            case refusing, silent, garbage, cutReplies, loading, busy, nothingButOK

            var testDescription: String { rawValue }
        }

        @Test(arguments: Lasting.allCases)
        func isBridgedByLocalShares(_ fault: Lasting) async throws {
            let stage = try await Stage()
            let known = Grants.next("known")
            let new = Grants.next("new")
            // Both know how much of this grant's window is used: 200 of 1,000.
            #expect(try stage.clients[0].check(known, "run", "COST", "100").source == "shared")
            #expect(try stage.clients[1].check(known, "run", "COST", "100").remaining == Self.max - 200)
            #expect(try stage.clients[0].peek(known, "run").remaining == Self.max - 200)
            let traffic = Traffic(to: stage.sidecars, grants: (1...5).map { Grants.next("traffic\($0)") })

            try await stage.begin(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
            for client in stage.clients {
                try expectShare(400, of: known, client)
                try expectShare(500, of: new, client)
            }
            try await stage.end(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
            let after = Grants.next("after")
            for client in stage.clients { #expect(try client.check(after, "run").source == "shared") }
            try expectHealthy(try await traffic.end(), stage)
        }

        /// Spends a grant's share: so many are admitted, all by this replica alone.
        private func expectShare(_ share: Int, of grant: String, _ client: RedisClient) throws {
            let words = Array(repeating: ["CHECK", grant, "run"], count: Self.flood)
            let replies = try client.pipeline(words).map(CheckReply.init)
            #expect(replies.allSatisfy { $0.source == "local" })
            #expect(replies.count(where: \.allowed) == share)
            #expect(try client.check(grant, "run").verdict == "limit")
        }

        /// Failures that last a moment, or less.
        enum Passing: String, CaseIterable, Sendable, CustomTestStringConvertible {
            case clientsKilled, scriptsFlushed, flushed, asleep, reloading, restartedEmpty, connectionsCut, cutMidReply

            /// Whether Redis then still holds its data.
            var keepsCounts: Bool { self != .flushed && self != .restartedEmpty }

            var testDescription: String { rawValue }
        }

        @Test(arguments: Passing.allCases)
        func passesUnnoticed(_ fault: Passing) async throws {
            let stage = try await Stage()
            let grants = (1...50).map { Grants.next("traffic\($0)") }
            let traffic = Traffic(to: stage.sidecars, grants: grants)
            for _ in 1...2 {
                try await stage.pass(fault)
                for sidecar in stage.sidecars {
                    try await sidecar.waitUntilShared()
                    try await waitUntil("it answers from Redis") {
                        try sidecar.client().check(Grants.next("after"), "run").source == "shared"
                    }
                }
            }
            let tallies = try await traffic.end()
            try expectHealthy(tallies, stage)
            guard fault.keepsCounts else { return }
            for grant in grants {
                // What was admitted for all is in Redis, and what one replica admitted alone may be.
                let shared = tallies.reduce(0) { $0 + ($1.admitted["shared"]?[grant] ?? 0) }
                let tally = try stage.tally(of: grant)
                #expect(shared <= tally && tally <= Self.max)
            }
        }

        /// A sidecar that starts without Redis serves, and finds Redis when it comes.
        @Test func redisIsNotThereAtTheStart() async throws {
            let redis = try await RedisProcess()
            try await redis.kill()
            let sidecar = try await SidecarProcess(policy: Self.policy, over: redis, budget: Self.budget)
            #expect(sidecar.log.contains("counting=local"))
            let client = try sidecar.client()
            try expectShare(500, of: Grants.next(), client)
            try await redis.restartEmpty()
            try await sidecar.waitUntilShared()
            #expect(try client.check(Grants.next(), "run").source == "shared")
            #expect(try sidecar.figure("late") == 0)
        }

        /// What stands where one counter should is that counter's trouble alone.
        @Test func aKeyThatIsNoCounterConcernsItselfAlone() async throws {
            let stage = try await Stage()
            let (spoilt, fine) = (Grants.next("spoilt"), Grants.next("fine"))
            #expect(try stage.clients[0].check(spoilt, "run").source == "shared")
            guard let keys = try stage.redis.command("KEYS", "*{\(spoilt)}*").elements, let key = keys.first?.text
            else {
                throw SupportError("no key")
            }
            try stage.redis.command("DEL", key)
            try stage.redis.command("LPUSH", key, "no", "counter")
            for client in stage.clients {
                // In one batch, in both orders.
                for grants in [[spoilt, fine], [fine, spoilt]] {
                    let replies = try client.pipeline(grants.map { ["CHECK", $0, "run"] }).map(CheckReply.init)
                    #expect(replies.map(\.source) == grants.map { $0 == spoilt ? "local" : "shared" })
                    #expect(replies.allSatisfy { $0.allowed })
                }
                let many = Array(repeating: ["CHECK", spoilt, "run"], count: 1_100)
                let replies = try client.pipeline(many).map(CheckReply.init)
                #expect(replies.count(where: \.allowed) <= Self.max / 2)
            }
            for sidecar in stage.sidecars {
                #expect(try sidecar.figure("outages") == 0)
                #expect(try sidecar.figure("key_faults") > 0)
            }
            try stage.redis.command("DEL", key)
            #expect(try stage.clients[0].check(spoilt, "run").source == "shared")
            #expect(try stage.clients[1].check(fine, "run").remaining == Self.max - 5)
        }

        /// No error, nothing late, and never more than the maximum from what counts for all or from one replica alone.
        private func expectHealthy(_ tallies: [Traffic.Tally], _ stage: Stage) throws {
            for (sidecar, tally) in zip(stage.sidecars, tallies) {
                #expect(tally.answers > 0)
                #expect(tally.errors.isEmpty)
                #expect(Set(tally.sources.keys).isSubset(of: ["shared", "local", "cache"]))
                let most = tally.admitted["local", default: [:]].values.max() ?? 0
                #expect(most <= Self.max)
                #expect(sidecar.process.isRunning)
                try stage.expectInTime(sidecar)
                #expect(try sidecar.figure("overloaded") == 0)
            }
        }
    }
}
