import Support
import Testing

extension Integration {
    /// Shadow limits, and what limits do during an outage.
    @Suite struct Modes {
        private static let shadow = #""mode": "shadow""#

        private static let tried = Document.tools([
            "beside": [Document.limit("tried", max: 2, shadow), Document.limit("real", max: 5)],
            "alone": [Document.limit("tried", max: 3, shadow)],
            "none": [Document.limit("tried", max: 0, shadow)],
            "sliding": [Document.limit("tried", max: 2, #""algorithm": "sliding_window", \#(shadow)"#)],
            "bucket": [Document.limit("tried", max: 1, #""algorithm": "token_bucket", "burst": 2, \#(shadow)"#)],
            "slots": [Document.slots("tried", max: 2, hold: "3600", shadow)],
        ])

        /// They never block and never bind, and count what they would have denied, for all replicas together.
        @Test(arguments: Desk.Store.allCases)
        func shadowsOnlyCount(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.tried)
            let grant = Grants.next()
            for call in 1...8 {
                let reply = try desk.both[call % 2].check(grant, "beside")
                #expect(reply.allowed == (call <= 5) && reply.limit == 5)
                #expect(reply.rule == "/tools/beside/limits/real" && reply.remaining == max(0, 5 - call))
            }
            for tool in ["alone", "none", "sliding", "bucket", "slots"] {
                for call in 1...8 {
                    let reply = try desk.both[call % 2].check(grant, tool)
                    #expect(reply.allowed && reply.limit == -1 && reply.remaining == -1 && reply.retryAfterMs == 0)
                    #expect(reply.rule == "/tools/\(tool)" && reply.source == desk.source && reply.reservation == nil)
                }
            }
            #expect(try desk.one.check(grant, "alone", "COST", "1000").allowed)
            for client in desk.both {
                let usages = try Self.usages(client, grant)
                // Of the five that passed, it had room for two.
                #expect(usages["beside tried"] == [2, 3])
                #expect(usages["beside real"] == [5, 0])
                #expect(usages["alone tried"] == [3, 6])
                #expect(usages["none tried"]?.last == 8)
                #expect(usages["sliding tried"] == [2, 6] && usages["bucket tried"] == [2, 6])
                #expect(usages["slots tried"] == [2, 6])
            }
        }

        /// A grant's figures in `COUNTERS`: used, and would be denied.
        private static func usages(_ client: RedisClient, _ grant: String) throws -> [String: [Int]] {
            var usages: [String: [Int]] = [:]
            for counter in try client.command("COUNTERS", "GRANT", grant)["counters"]?.elements ?? [] {
                let name = "\(counter["tool"]?.text ?? "") \(counter["counter"]?.text ?? "")"
                let isShadow = counter["mode"] == .string("shadow")
                if isShadow != name.hasSuffix(" tried") { throw SupportError("\(counter)") }
                let used = max(0, counter["shared_used"]?.integer ?? 0) + (counter["local_used"]?.integer ?? 0)
                usages[name] = [used, counter["would_deny"]?.integer ?? -1]
            }
            return usages
        }

        private static func limit(_ counter: String, onOutage: String) -> String {
            Document.limit(counter, max: 10, #""on_outage": "\#(onOutage)""#)
        }

        /// The first three alone, and the strictest of several wins.
        private static let choosing = Document.tools([
            "local": [limit("c", onOutage: "local")], "allow": [limit("c", onOutage: "allow")],
            "deny": [limit("c", onOutage: "deny")],
            "allow or deny": [limit("c", onOutage: "allow"), limit("d", onOutage: "deny")],
            "allow or local": [limit("c", onOutage: "allow"), limit("d", onOutage: "local")],
            "slots": [Document.slots("c", max: 1, hold: "3600", #""on_outage": "deny""#)],
            "tried": [Document.limit("c", max: 1, #""mode": "shadow", "on_outage": "deny""#)],
        ])

        enum Away: String, CaseIterable, Sendable { case killed, stopped }

        @Test(arguments: Away.allCases)
        func eachLimitChoosesWhatAnOutageMeans(_ away: Away) async throws {
            let pair = try await Pair(policy: Self.choosing, budget: "300ms")
            let clients = try pair.both.map { try $0.client() }
            let grant = Grants.next()
            #expect(try clients[0].check(grant, "deny").remaining == 9)
            switch away {
            case .killed: try await pair.redis.kill()
            // Nobody knows of it yet: the first checks wait for their budget.
            case .stopped: pair.redis.stop()
            }
            for (sidecar, client) in zip(pair.both, clients) {
                if away == .stopped { try expectUnavailable(client, grant, "deny") }
                try await sidecar.waitUntilLocal()
                try expectUnavailable(client, grant, "deny")
                try expectUnavailable(client, grant, "allow or deny")
                try expectUnavailable(client, grant, "slots", "RESERVE")
                #expect(try client.peek(grant, "deny").verdict == "unavailable")
                // What can never pass is said at once, whatever Redis does.
                #expect(try client.check(grant, "deny", "COST", "11").retryAfterMs == -1)
                for _ in 1...25 {
                    let reply = try client.check(grant, "allow")
                    #expect(reply.allowed && reply.source == "local" && reply.remaining >= 0)
                }
                let shares = try (1...12).map { _ in try client.check(grant, "allow or local") }
                #expect(shares.count(where: \.allowed) == 5)
                #expect(shares.last?.rule == "/tools/allow or local/limits/d")
                #expect(try (1...12).count { _ in try client.check(grant, "local").allowed } == 5)
                #expect(try client.check(grant, "tried").allowed)
            }
            switch away {
            case .killed: try await pair.redis.restartEmpty()
            case .stopped: pair.redis.continue()
            }
            for (sidecar, client) in zip(pair.both, clients) {
                try await sidecar.waitUntilShared()
                let fresh = Grants.next()
                for tool in ["local", "allow", "deny", "allow or deny"] {
                    let reply = try client.check(fresh, tool)
                    #expect(reply.source == "shared" && reply.remaining == 9)
                }
            }
        }

        private func expectUnavailable(_ client: RedisClient, _ words: String...) throws {
            let reply = try CheckReply(client.command(["CHECK"] + words))
            #expect(!reply.allowed && reply.verdict == "unavailable" && reply.source == "local")
            #expect((1...5_000).contains(reply.retryAfterMs) && reply.remaining == 0)
            #expect(reply.rule.hasPrefix("/tools/\(words[1])/limits/") && reply.message.contains("Try again in "))
            #expect(reply.reservation == (words.last == "RESERVE" ? "" : nil))
        }
    }
}
