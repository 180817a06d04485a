import Foundation
import Support
import Testing

extension Integration {
    /// Commands for people: who may use them, and what they show.
    @Suite struct Operators {
        @Test func countersShowWhatIsUsed() async throws {
            let pair = try await Pair(policy: Policies.broad)
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            for _ in 1...3 { _ = try one.check(grant, "run") }
            _ = try other.check(grant, "both", "SESSION", "s one")
            _ = try other.check(Grants.next(), "run")

            let answer = try other.command("COUNTERS", "GRANT", grant)
            #expect(answer["shared"] == .integer(1) && answer["truncated"] == .integer(0))
            let counters = try #require(answer["counters"]?.elements)
            #expect(counters.map { $0["tool"]?.text } == ["both", "both", "run"])
            let run = try #require(counters.last)
            #expect(run["grant"] == .string(grant) && run["counter"] == .string("runs"))
            #expect(run["shared_used"] == .integer(3) && run["max"] == .integer(10))
            #expect(run["remaining"] == .integer(7) && run["rule"] == .string("/tools/run/limits/runs"))
            #expect(run["window"] == .string("\(Policies.longWindow)s") && run["algorithm"] == .string("fixed_window"))
            #expect(counters.contains { $0["subject"] == .string("session=s one") })
        }

        @Test func countersSayWhenThereAreMore() async throws {
            let redis = try await RedisProcess()
            let shared = try await SidecarProcess(policy: Policies.broad, over: redis)
            try await shared.waitUntilShared()
            let client = try shared.client()
            for index in 1...12 {
                _ = try client.check("\(Grants.next())-\(index)", "run")
                _ = try client.check("\(Grants.next())-\(index)", "chat")
            }
            let cut = try client.command("COUNTERS", "LIMIT", "5")
            #expect(cut["truncated"] == .integer(1) && cut["counters"]?.elements?.count == 5)
            let all = try client.command("COUNTERS", "LIMIT", "24")
            #expect(all["truncated"] == .integer(0) && all["counters"]?.elements?.count == 24)
            let tool = try client.command("COUNTERS", "TOOL", "chat", "LIMIT", "12")
            #expect(tool["truncated"] == .integer(0) && tool["counters"]?.elements?.count == 12)
        }

        @Test func countersAreShownWhileRedisIsAway() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.broad, over: redis, budget: "200ms")
            try await sidecar.waitUntilShared()
            let client = try sidecar.client()
            let grant = Grants.next()
            _ = try client.check(grant, "run", "COST", "4")
            try await redis.kill()
            try await sidecar.waitUntilLocal()
            #expect(try client.check(grant, "run").source == "local")
            let answer = try client.command("COUNTERS")
            #expect(answer["shared"] == .integer(0))
            let counter = try #require(answer["counters"]?.elements?.first)
            #expect(counter["shared_used"] == .integer(4) && counter["local_used"] == .integer(1))
            #expect(counter["local_share"] == .integer(3) && counter["remaining"] == .integer(2))
        }

        /// While `COUNTERS` waits for Redis, what comes behind it waits for its turn, and nothing else does.
        @Test func answersKeepTheirOrderAroundCounters() async throws {
            let pair = try await Pair(policy: Policies.broad)
            let client = try pair.one.client()
            let answers = try client.pipeline([
                ["PING"], ["COUNTERS"], ["CHECK", Grants.next(), "run"], ["COUNTERS"], ["PING", "end"],
            ])
            #expect(answers[0] == .string("PONG") && answers[4] == .string("end"))
            #expect(answers[1]["counters"] != nil && answers[3]["counters"] != nil)
            #expect(try CheckReply(answers[2]).allowed)
        }

        @Test(.enabled(if: getuid() == 0, "only root may run a client as somebody else"))
        func othersMayCheckAndNotLook() async throws {
            let nobody = 65_534
            for (arguments, isAllowed) in [([], false), (["--operators", "12345,\(nobody)"], true)] {
                let sidecar = try await SidecarProcess(
                    policy: Policies.seed, redis: "none", arguments: ["--socket-mode", "0666"] + arguments)
                chmod(sidecar.folder.path, 0o755)
                func ask(_ words: String...) async throws -> String {
                    let client = try ChildProcess(
                        "setpriv",
                        ["--reuid", "\(nobody)", "--regid", "\(nobody)", "--clear-groups", "redis-cli", "-s"]
                            + [sidecar.socketPath] + words)
                    _ = try await client.wait()
                    return client.output + client.errors
                }
                #expect(try await ask("CHECK", Grants.next(), "opencode_run").contains("allow"))
                let info = try await ask("INFO")
                #expect(info.contains("sluice_version") && info.contains("counting:local"))
                // What is in the policy, and where things lie, is the operators' to know.
                let privateFields = [
                    "policy:", "policy_last_refusal:", "redis_address:", "redis_last_error:", "state_dir:",
                ]
                for field in privateFields { #expect(info.contains("\n\(field)") == isAllowed, "\(field)") }
                #expect(info.contains(sidecar.folder.path) == isAllowed)
                #expect(info.contains("policy_reloads:0"))
                let counters = try await ask("COUNTERS")
                if isAllowed {
                    #expect(counters.contains("truncated"))
                } else {
                    #expect(counters.hasPrefix("NOPERM this command is for operators"))
                }
                #expect(try sidecar.client().command("COUNTERS")["counters"] != nil)
            }
        }
    }
}
