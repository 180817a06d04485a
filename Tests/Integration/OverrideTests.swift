import Foundation
import Support
import Testing

extension Integration {
    /// An operator overrides a grant's maximum through one of two sidecars.
    @Suite struct Overrides {
        private static let policy = Document.tools([
            "run": [Document.limit("calls", max: 10)],
            "smooth": [Document.limit("c", max: 10, #""algorithm": "sliding_window""#)],
            "exact": [Document.limit("c", max: 10, #""algorithm": "sliding_log""#)],
            "burst": [Document.limit("c", max: 10, #""algorithm": "token_bucket""#)],
        ])
        private static let tools = ["run", "smooth", "exact", "burst"]

        private static func rule(_ tool: String) -> String { "/tools/\(tool)/limits/\(tool == "run" ? "calls" : "c")" }

        private static func admitted(_ client: RedisClient, _ grant: String, _ tool: String, of asked: Int) throws
            -> Int
        {
            var admitted = 0
            for _ in 0..<asked where try client.check(grant, tool).allowed { admitted += 1 }
            return admitted
        }

        @Test(arguments: Desk.Store.allCases) func everyAlgorithmInAllSidecars(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let (grant, neighbour) = (Grants.next(), Grants.next())
            for tool in Self.tools {
                let answer = try desk.one.command("OVERRIDE", grant, Self.rule(tool), "20", "3600")
                #expect(answer["changed"]?.integer == 1, "\(tool): \(answer)")
                #expect(answer["overrides"]?.elements?.first?["policy_max"]?.integer == 10)
            }
            try await waitUntil("the other sidecar hears of it") {
                try desk.other.command("OVERRIDE", grant)["overrides"]?.elements?.count == 4
            }
            for tool in Self.tools {
                let first = try Self.admitted(desk.one, grant, tool, of: 12)
                let all = try first + Self.admitted(desk.other, grant, tool, of: 30)
                // A bucket leaks meanwhile.
                #expect(tool == "burst" ? (20...25).contains(all) : all == 20, "\(tool): \(all)")
                let neighbours = try Self.admitted(desk.one, neighbour, tool, of: 15)
                #expect(tool == "burst" ? (10...13).contains(neighbours) : neighbours == 10, "\(tool): \(neighbours)")
            }
            #expect(try desk.other.command("OVERRIDE", grant, "calls", "OFF")["changed"]?.integer == 1)
            #expect(try desk.other.command("OVERRIDE", grant, "calls", "OFF")["changed"]?.integer == 0)
            try await waitUntil("it ends") { try desk.one.check(grant, "run").limit == 10 }
        }

        @Test func itSurvivesSidecarsAndEndsByItself() async throws {
            let redis = try await RedisProcess()
            let one = try await SidecarProcess(policy: Self.policy, over: redis, budget: "5s")
            try await one.waitUntilShared()
            let grant = Grants.next()
            _ = try one.client().command("OVERRIDE", grant, "calls", "20", "3600")
            _ = try one.client().command("OVERRIDE", Grants.next(), "calls", "1", "1")
            _ = try await one.process.terminate()
            let other = try await SidecarProcess(policy: Self.policy, over: redis, budget: "5s")
            try await other.waitUntilShared()
            let client = try other.client()
            #expect(try client.check(grant, "run").limit == 20)
            let explained = try client.command("EXPLAIN", grant, "run")["limits"]?.elements?.first
            #expect(explained?["max"]?.integer == 20 && explained?["policy_max"]?.integer == 10)
            #expect(explained?["override_until_ms"]?.integer ?? 0 > 0)
            try await waitUntil("the other one ends") {
                try client.command("OVERRIDE")["overrides"]?.elements?.count == 1
            }
            #expect(try other.figure("overrides") == 1)
        }

        @Test func whileRedisIsAwayItGoesOnAndNoneIsSet() async throws {
            let pair = try await Pair(policy: Self.policy)
            let one = try pair.one.client()
            let grant = Grants.next()
            _ = try one.command("OVERRIDE", grant, "calls", "20", "3600")
            pair.redis.stop()
            try await waitUntil("redis is missed") { try one.check(grant, "run").source == "local" }
            #expect(try one.check(grant, "run").limit == 20)
            guard case .error(let text) = try one.command("OVERRIDE", grant, "calls", "30", "60") else {
                Issue.record("it was set")
                return
            }
            #expect(text.hasPrefix("BUSY nothing was changed: counting is not shared ("))
        }

        @Test func whatCannotBeOverriddenIsSaid() async throws {
            let policy = """
                {"version": "1", "default": "deny",
                 "all_tools": {"limits": [{"counter": "everyone", "window": "day", "max": 99, "scope": "global"}]},
                 "tools": {"a": {"limits": [{"counter": "c", "window": "day", "max": 9}]},
                   "b": {"limits": [{"counter": "c", "window": "day", "max": 9, "algorithm": "sliding_log"}]}}}
                """
            let desk = try await Desk(.none, policy: policy)
            func refusal(_ words: String...) throws -> String {
                guard case .error(let text) = try desk.one.command(["OVERRIDE"] + words) else { return "" }
                return text
            }
            #expect(try refusal("g", "everyone", "5", "60").contains("grants share the counter of"))
            #expect(try refusal("g", "c", "5", "60").contains("counter of 2 limits, send the path of one: /tools/a"))
            #expect(try refusal("g", "nothing", "5", "60").contains("is no limit of"))
            #expect(try refusal("g", "/tools/b/limits/c", "5000", "60").contains("from 0 to 1024"))
            #expect(try refusal("g", "/tools/b/limits/c", "5", "0").contains("send whole seconds from 1 to 604800"))
            #expect(try refusal("g", "/tools/b/limits/c").contains("changes nothing"))
            let planned = try desk.one.command("OVERRIDE", "g", "/tools/a/limits/c", "5", "60", "DRYRUN")
            #expect(planned["changed"]?.integer == 0 && planned["overrides"]?.elements?.count == 1)
            #expect(try desk.one.command("OVERRIDE")["overrides"]?.elements?.isEmpty == true)
        }

        @Test func whoDidItIsLogged() async throws {
            let desk = try await Desk(.redis, policy: Self.policy)
            let grant = Grants.next()
            _ = try desk.one.command("OVERRIDE", grant, "calls", "20", "60")
            let lines = desk.sidecars[0].log.split(separator: "\n")
            let text = String(lines.first { $0.contains("an operator overrode a maximum") } ?? "")
            let parts = [
                "grant=\(grant)", "max=20", "policy_max=10", "seconds=60", "uid=\(getuid())", "pid=\(getpid())",
            ]
            for part in parts {
                #expect(text.contains(part), "\(part): \(text)")
            }
        }
    }
}
