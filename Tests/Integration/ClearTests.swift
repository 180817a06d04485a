import Foundation
import Support
import Testing

extension Integration {
    /// An operator clears a grant's counters through one of two sidecars.
    @Suite struct Clears {
        private static let policy = Document.tools([
            "run": [Document.limit("calls", max: 10)],
            "smooth": [Document.limit("c", max: 10, #""algorithm": "sliding_window""#)],
            "exact": [Document.limit("c", max: 10, #""algorithm": "sliding_log""#)],
            "burst": [Document.limit("c", max: 1, #""algorithm": "token_bucket", "burst": 10"#)],
        ])
        private static let tools = ["run", "smooth", "exact", "burst"]

        private static func held(_ answer: RedisAnswer) -> [String: Int] {
            var held: [String: Int] = [:]
            for counter in answer["cleared"]?.elements ?? [] {
                held[counter["tool"]?.text ?? "", default: 0] += counter["held"]?.integer ?? -1
            }
            return held
        }

        @Test(arguments: Desk.Store.allCases) func everyAlgorithmInAllSidecars(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let (grant, neighbour) = (Grants.next(), Grants.next())
            #expect(try desk.other.check(neighbour, "run").allowed)
            for tool in Self.tools {
                for _ in 0..<10 { #expect(try desk.other.check(grant, tool).allowed, "\(tool)") }
                #expect(try !desk.other.check(grant, tool).allowed, "\(tool)")
            }
            let planned = Self.held(try desk.one.command("CLEAR", grant, "DRYRUN"))
            #expect(planned.count == 4 && planned["run"] == 10)
            #expect(try !desk.one.check(grant, "run").allowed)
            #expect(Self.held(try desk.one.command("CLEAR", grant, "run")) == ["run": 10])
            let rest = Self.held(try desk.one.command("CLEAR", grant))
            #expect(rest.count == 3 && rest["smooth"] == 10 && rest["exact"] == 10)
            for tool in Self.tools {
                try await waitUntil("\(tool): the other sidecar hears of it") {
                    try desk.other.check(grant, tool).allowed
                }
                // A bucket leaks meanwhile.
                for _ in 0..<9 { #expect(try desk.one.check(grant, tool).allowed, "\(tool)") }
                #expect(try tool == "burst" || !desk.one.check(grant, tool).allowed, "\(tool)")
            }
            #expect(try desk.one.used(neighbour, "run") == [1])
        }

        /// A sidecar that had seen the usage restores what there is since.
        @Test func whatWasClearedIsNotRestored() async throws {
            let pair = try await Pair(policy: Self.policy)
            for sidecar in pair.both { try await sidecar.waitUntilSubscribed() }
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            for _ in 0..<10 { #expect(try other.check(grant, "run").allowed) }
            #expect(Self.held(try one.command("CLEAR", grant)) == ["run": 10])
            try await waitUntil("it hears of it") { try other.check(grant, "run").allowed }
            try pair.redis.command(["FLUSHALL"])
            try await waitUntil("the data loss is over") {
                try other.check(grant, "run").source == "shared" && pair.other.figure("memory_losses") == 1
            }
            #expect(try one.peek(grant, "run").remaining < 9)
            #expect(try pair.other.figure("counter_losses") == 0)
        }

        @Test func whileRedisIsAwayNothingIsCleared() async throws {
            let pair = try await Pair(policy: Self.policy)
            let one = try pair.one.client()
            let grant = Grants.next()
            #expect(try one.check(grant, "run").allowed)
            pair.redis.stop()
            try await waitUntil("redis is missed") { try one.check(grant, "run").source == "local" }
            guard case .error(let text) = try one.command("CLEAR", grant) else {
                Issue.record("it was cleared")
                return
            }
            #expect(text.hasPrefix("BUSY nothing was cleared: counting is not shared ("))
        }

        /// What is left is named, and the log says who did it.
        @Test func whatIsLeftIsNamedAndWhoClearedIsLogged() async throws {
            let policy = """
                {"version": "1", "default": "deny",
                 "all_tools": {"limits": [
                   {"counter": "day", "window": "day", "max": 99, "scope": "grant"},
                   {"counter": "everyone", "window": "day", "max": 99, "scope": "global"}]},
                 "tools": {"git_*": {"limits": [{"counter": "git", "window": "hour", "max": 5, "scope": "session"}]},
                   "slow": {"limits": [{"counter": "slots", "max": 2, "scope": "grant", "algorithm": "concurrency", "hold": 60}]}}}
                """
            let desk = try await Desk(.redis, policy: policy)
            let grant = Grants.next()
            #expect(try CheckReply(desk.one.command("CHECK", grant, "git_push", "SESSION", "a")).allowed)
            _ = try desk.one.reserve(grant, "slow")
            func kept(_ answer: RedisAnswer) -> [String: String] {
                var kept: [String: String] = [:]
                for limit in answer["kept"]?.elements ?? [] {
                    kept[limit["counter"]?.text ?? ""] = limit["reason"]?.text
                }
                return kept
            }
            let git = try desk.one.command("CLEAR", grant, "git_push")
            #expect(Self.held(git) == ["git_*": 1] && kept(git) == ["day": "other tools", "everyone": "shared"])
            let all = try desk.one.command("CLEAR", grant)
            #expect(Self.held(all) == ["": 2] && kept(all) == ["everyone": "shared", "slots": "slots"])
            #expect(try desk.one.used(grant, "slow") == [1, 0, 2])
            let lines = desk.sidecars[0].log.split(separator: "\n").filter {
                $0.contains("an operator cleared counters")
            }
            #expect(lines.count == 2 && lines[0].contains("grant=\(grant)") && lines[0].contains("tool=git_push"))
            #expect(lines[0].contains("git session=a: 1") && lines[0].contains("uid=\(getuid())"))
            #expect(lines[0].contains("pid=\(getpid())"))
        }
    }
}
