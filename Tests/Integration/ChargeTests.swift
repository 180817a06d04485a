import Foundation
import Support
import Testing

extension Integration {
    /// Costs that are known only afterwards: tokens and calls together, over two sidecars.
    @Suite struct Charges {
        private static let policy = Document.tools([
            "chat": [
                Document.limit("calls", max: 3, #""counts": "calls""#),
                Document.limit("tokens", max: 1_000, #""unit": "tokens""#),
            ],
            "smooth": [Document.limit("c", max: 100, #""algorithm": "sliding_window""#)],
            "exact": [Document.limit("c", max: 100, #""algorithm": "sliding_log""#)],
            "burst": [Document.limit("c", max: 1, #""algorithm": "token_bucket", "burst": 100"#)],
            "calls": [Document.limit("c", max: 100, #""counts": "calls""#)],
            "free": [],
            "seconds": [Document.limit("c", max: 1_000_000, window: "2")],
        ])

        private static let algorithms = ["smooth", "exact", "burst"]

        /// The example of `deploy/policies`: calls a minute and tokens a day in one check.
        @Test(arguments: Desk.Store.allCases) func theExampleCountsTokensAndCalls(_ store: Desk.Store) async throws {
            let text = try String(
                contentsOfFile: "\(ShellSession.repository)/deploy/policies/tokens.json", encoding: .utf8)
            let desk = try await Desk(store, policy: text)
            let grant = Grants.next()
            // An estimate, the truth, and what came later.
            let reservation = try desk.one.reserve(grant, "chat", "COST", "60000")
            #expect(try desk.other.settle("COMMIT", grant, reservation, "70000"))
            let beyond = try CheckReply(desk.other.command("CHARGE", grant, "chat", "40000"))
            #expect(!beyond.allowed && beyond.limit == 100_000 && beyond.remaining == 0)
            #expect(beyond.message.hasPrefix("chat is limited to 100,000 tokens per day for this grant."))
            let look = try CheckReply(desk.one.command("CHECK", grant, "chat", "COST", "0"))
            #expect(!look.allowed && look.rule == "/tools/chat/limits/tokens")
            #expect(try CheckReply(desk.one.command("REFUND", grant, "chat", "20000")).remaining == 10_000)
            try await waitUntil("the refund is heard of") {
                try CheckReply(desk.other.command("CHECK", grant, "chat", "COST", "0")).allowed
            }
            #expect(try desk.other.used(grant, "chat").last == 90_000)
        }

        @Test(arguments: Desk.Store.allCases) func callsAndTokensAreCountedApart(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            for cost in ["300", "1", "200"] {
                #expect(try CheckReply(desk.one.command("CHECK", grant, "chat", "COST", cost)).allowed)
            }
            #expect(try CheckReply(desk.other.command("CHECK", grant, "chat")).rule == "/tools/chat/limits/calls")
            #expect(try CheckReply(desk.other.command("CHARGE", grant, "chat", "400")).allowed)
            #expect(try desk.one.used(grant, "chat") == [3, 901])
        }

        @Test(arguments: Desk.Store.allCases) func everyAlgorithm(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            for tool in Self.algorithms {
                #expect(try CheckReply(desk.one.command("CHARGE", grant, tool, "80")).allowed)
                let beyond = try CheckReply(desk.other.command("CHARGE", grant, tool, "40"))
                #expect(!beyond.allowed && beyond.retryAfterMs > 0 && beyond.source == desk.source, "\(tool)")
                #expect(try !desk.one.check(grant, tool).allowed, "\(tool)")
                #expect(try CheckReply(desk.other.command("REFUND", grant, tool, "50")).allowed)
                // A bucket may take itself for the one that leaked, which rounds up.
                #expect((70...71).contains(try desk.other.used(grant, tool)[0]), "\(tool)")
                #expect(try CheckReply(desk.one.command("REFUND", grant, tool, "1000000000000")).remaining == 100)
            }
            for tool in ["free", "calls"] {
                let reply = try CheckReply(desk.one.command("CHARGE", grant, tool, "5"))
                #expect(reply.allowed && reply.limit == -1 && reply.source == "policy")
            }
            let denied = try CheckReply(desk.one.command("CHARGE", grant, "unknown", "5"))
            #expect(!denied.allowed && denied.verdict == "deny")
        }

        /// Whichever sidecar it is sent to again.
        @Test func anIDCountsOnce() async throws {
            let desk = try await Desk(.redis, policy: Self.policy)
            let grant = Grants.next()
            for client in desk.both {
                let charged = try CheckReply(client.command("CHARGE", grant, "chat", "700", "ID", "a"))
                #expect(charged.allowed && charged.remaining == 300)
                let refunded = try CheckReply(client.command("REFUND", grant, "chat", "100", "ID", "b"))
                #expect(refunded.remaining == 400)
                guard case .error(let text) = try client.command("CHARGE", grant, "chat", "701", "ID", "a") else {
                    Issue.record("another charge under the same id")
                    continue
                }
                #expect(text.hasPrefix("BADARG "))
            }
            #expect(try desk.one.used(grant, "chat") == [0, 600])
        }

        @Test func anOutageLosesNothing() async throws {
            let stage = try await Outages.Stage(sidecars: 2, policy: Self.policy)
            let grant = Grants.next()
            _ = try stage.clients[0].command("CHARGE", grant, "chat", "500")
            _ = try stage.clients[1].check(grant, "chat")
            try await stage.begin(.refusing)
            for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
            let charged = try CheckReply(stage.clients[0].command("CHARGE", grant, "chat", "2000"))
            #expect(!charged.allowed && charged.source == "local")
            let refunded = try CheckReply(stage.clients[1].command("REFUND", grant, "chat", "300"))
            #expect(refunded.allowed && refunded.source == "local")
            try await stage.end(.refusing)
            for sidecar in stage.sidecars {
                try await sidecar.waitUntilShared()
                try await waitUntil("all is written back") { try sidecar.figure("unsettled_counters") == 0 }
            }
            #expect(try stage.clients[0].used(grant, "chat") == [1, 2_201])
        }

        /// Fifty threads: each call reserves an estimate and commits what it really cost, often when its window is over.
        @Test func estimatesAndTrueCostsAddUpAcrossWindows() async throws {
            let desk = try await Desk(.redis, policy: Self.policy)
            let redis = try #require(desk.redis)
            let grant = Grants.next()
            let stop = Date().addingTimeInterval(7)
            let sidecars = desk.sidecars
            let totals = try await onThreads(50) { index in
                try Self.streams(from: sidecars.map { try $0.client() }, index, grant: grant, until: stop)
            }
            #expect(totals.allSatisfy { $0.cost > 0 })
            let excess = totals.reduce(0) { $0 + $1.excess }
            // All windows of these seconds are still there: keys outlive their windows by a minute.
            let client = try redis.client()
            let keys = try client.command("KEYS", "*\(grant)*seconds*").elements ?? []
            var sum = 0
            for key in keys { sum += Int(try client.command("GET", key.text ?? "").text ?? "") ?? 0 }
            let expected = totals.reduce(0) { $0 + $1.cost }
            #expect(keys.count >= 4 && sum == expected, "\(keys.count) windows, \(sum) for \(expected)")
            #expect(excess > 1_000, "\(excess) were committed above reservations whose windows were over")
        }

        /// What one thread's calls cost, and how much of that came above reservations whose windows were over.
        private static func streams(
            from clients: [RedisClient], _ index: Int, grant: String, until stop: Date
        ) throws -> (cost: Int, excess: Int) {
            var random = SystemRandomNumberGenerator()
            var (charged, excess, count) = (0, 0, 0)
            while Date() < stop {
                let estimate = Int.random(in: 1...50, using: &random)
                let (one, other) = (clients[(index + count) % 2], clients[(index + count + 1) % 2])
                let reply = try one.check(grant, "seconds", "COST", "\(estimate)", "RESERVE", "TRACE")
                guard let reservation = reply.reservation, let startMs = reply.trace?.first?.windowStartMs else {
                    throw SupportError("not reserved: \(reply)")
                }
                // The call takes its time: the sum is the same, whichever window it ends in.
                usleep(UInt32.random(in: 0...600_000, using: &random))
                let cost = estimate + Int.random(in: 0...50, using: &random)
                let isOver = Int(Date().timeIntervalSince1970 * 1_000) >= startMs + 2_000
                guard try other.settle("COMMIT", grant, reservation, "\(cost)") else {
                    throw SupportError("not committed: \(reply)")
                }
                charged += cost
                excess += isOver ? cost - estimate : 0
                count += 1
            }
            return (charged, excess)
        }
    }
}
