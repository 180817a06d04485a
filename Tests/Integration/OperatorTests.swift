import Foundation
import SluiceProcesses
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

        /// `EXPLAIN` shows what Redis holds, whichever replica charged or gave back.
        @Test func countersAreWhatRedisHolds() async throws {
            let pair = try await Pair(
                policy: Document.tools([
                    "fixed": [Document.limit("c", max: 9)],
                    "sliding": [Document.limit("c", max: 9, window: "2", #""algorithm": "sliding_window""#)],
                    "bucket": [Document.limit("c", max: 3, #""algorithm": "token_bucket", "burst": 9"#)],
                    "slots": [Document.slots("c", max: 4)],
                    "shadow": [Document.limit("c", max: 1, #""mode": "shadow""#)],
                ]))
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            let tools = ["fixed", "sliding", "bucket", "slots", "shadow"]
            var reservations: [String: [String]] = [:]
            for tool in tools {
                reservations[tool] = try [
                    one.reserve(grant, tool), other.reserve(grant, tool), other.reserve(grant, tool),
                ]
            }
            func explained(_ client: RedisClient, _ tool: String) throws -> RedisAnswer? {
                try client.command("EXPLAIN", grant, tool)["limits"]?.elements?.first
            }
            func counted(_ tool: String) throws -> RedisAnswer? {
                let answer = try one.command("COUNTERS", "GRANT", grant, "TOOL", tool)
                #expect(answer["shared"] == .integer(1))
                return answer["counters"]?.elements?.first
            }
            for tool in tools where tool != "sliding" {
                func compare() throws {
                    let counter = try counted(tool)
                    let limit = try #require(try explained(other, tool))
                    #expect(counter?["shared_used"]?.integer ?? 0 == limit["used"]?.integer, "\(tool)")
                    #expect(counter?["would_deny"] ?? .integer(0) == limit["would_deny"], "\(tool)")
                    // Time passes between the two.
                    let (counted, reset) = (counter?["reset_ms"]?.integer ?? 0, limit["reset_ms"]?.integer ?? 0)
                    #expect(abs(counted - reset) < 60_000, "\(tool): \(counted) \(reset)")
                }
                try compare()
                for reservation in reservations[tool] ?? [] {
                    _ = try other.settle("CANCEL", grant, reservation)
                    try compare()
                }
            }
            // What is left of the window before: the replica that is asked has not looked since.
            for _ in 1...6 { _ = try other.check(grant, "sliding") }
            try await waitUntil("the next window has begun") {
                try explained(other, "sliding")?["used"]?.integer ?? 0 < 9
            }
            let before = try #require(try explained(other, "sliding")?["used"]?.integer)
            let used = try counted("sliding")?["shared_used"]?.integer ?? 0
            let after = try #require(try explained(other, "sliding")?["used"]?.integer)
            #expect((after...before).contains(used), "\(before) \(used) \(after)")
        }

        /// However many counters there are, those of one tool or grant are found.
        @Test func theFewAmongTheManyAreFound() async throws {
            let pair = try await Pair(policy: Policies.broad)
            let (client, redis) = (try pair.one.client(), try pair.redis.client())
            let grant = Grants.next()
            _ = try client.check(grant, "chat")
            let key = try #require(redis.command("KEYS", "sluice:2:{\(grant)}:chat:*").elements?.first?.text)
            for first in stride(from: 0, to: 25_000, by: 5_000) {
                let words = (first..<first + 5_000).flatMap {
                    [key.replacing("{\(grant)}:chat:", with: "{many\($0)}:run:"), "1"]
                }
                _ = try redis.command(["MSET"] + words)
            }
            let tool = try client.command("COUNTERS", "TOOL", "chat")
            #expect(tool["truncated"] == .integer(0) && tool["counters"]?.elements?.count == 1)
            #expect(tool["counters"]?.elements?.first?["shared_used"] == .integer(1))
            let one = try client.command("COUNTERS", "GRANT", "many17000", "LIMIT", "3")
            #expect(one["truncated"] == .integer(0) && one["counters"]?.elements?.count == 1)
            let most = try client.command("COUNTERS", "LIMIT", "2000")
            #expect(most["truncated"] == .integer(1) && most["counters"]?.elements?.count == 2_000)

            // A hundred of them have nothing left.
            _ = try client.check(grant, "run")
            let run = try #require(redis.command("KEYS", "sluice:2:{\(grant)}:run:*").elements?.first?.text)
            _ = try redis.command(
                ["MSET"] + (0..<100).flatMap { [run.replacing("{\(grant)}", with: "{full\($0)}"), "10"] })
            // However long one answer takes, by cursor everything is found, once.
            func all(_ words: String...) throws -> [String] {
                var seen: [String] = []
                var cursor = ""
                repeat {
                    let page = try client.command(words + (cursor.isEmpty ? [] : ["CURSOR", cursor]))
                    seen +=
                        page["counters"]?.elements?.map { "\($0["grant"]?.text ?? "") \($0["tool"]?.text ?? "")" } ?? []
                    cursor = try #require(page["cursor"]?.text)
                } while !cursor.isEmpty
                return seen
            }
            let full = try all("COUNTERS", "ATLIMIT", "LIMIT", "70")
            #expect(full.count == 100 && Set(full).count == 100)
            let seen = try all("COUNTERS", "LIMIT", "9000")
            #expect(seen.count == 25_102 && Set(seen).count == 25_102)
            for order in ["used", "remaining"] {
                let sorted = try ChildProcess(
                    try #require(ChildProgram.builtBeside("sluicectl")),
                    ["counters", "--sort", order, "--limit", "101", "--json", "--socket", pair.one.socketPath])
                #expect(try await sorted.wait(timeout: .seconds(120)) == .exited(status: 0), "\(sorted.errors)")
                let used = sorted.output.matches(of: #/"shared_used":(\d+)/#).map { String($0.1) }
                #expect(used == [String](repeating: "10", count: 100) + ["1"], "\(order)")
            }
            let wrong = try client.command("COUNTERS", "CURSOR", "x")
            #expect("\(wrong)".contains("send one that COUNTERS has returned"))
        }

        /// `sluicectl tail` shows what comes in by every door while it runs, without a decision log.
        @Test func decisionsAreTailed() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.broad, redis: "none")
            let http = sidecar.folder.path("h.sock")
            let other = try await SidecarProcess(
                policy: Policies.broad, redis: "none", arguments: ["--http-socket", http])
            for (process, ask) in [
                (sidecar, { _ = try sidecar.client().check("g-1", "none") }),
                (
                    other,
                    {
                        let client = try ChildProcess(
                            "curl",
                            [
                                "-s", "--unix-socket", http, "-H", "content-type: application/json", "-d",
                                #"{"grant": "g-1", "tool": "none"}"#, "http://sluice/v1/check",
                            ])
                        _ = try await client.wait()
                    }
                ),
            ] as [(SidecarProcess, () async throws -> Void)] {
                let tail = try ChildProcess(
                    try #require(ChildProgram.builtBeside("sluicectl")),
                    [
                        "tail", "--denied", "--grant", "g-*", "--count", "1", "--json", "--socket", process.socketPath,
                    ])
                try await waitUntil("it listens") { try process.figure("tails") == 1 }
                try await ask()
                #expect(try await tail.wait() == .exited(status: 0), "\(tail.errors)")
                #expect(tail.output.contains(#""grant":"g-1","tool":"none","verdict":"deny""#))
                try await waitUntil("it has gone") { try process.figure("tails") == 0 }
            }
        }

        /// However `sluicectl top` ends, its terminal is as it was.
        @Test(arguments: [SIGTERM, SIGINT, SIGHUP])
        func theTerminalIsRestored(signal: Int32) async throws {
            let sidecar = try await SidecarProcess(policy: Policies.broad, redis: "none")
            let top = "\(try #require(ChildProgram.builtBeside("sluicectl"))) top --socket \(sidecar.socketPath)"
            let folder = try TemporaryFolder()
            let path = try folder.write(
                "export TERM=xterm; (echo pid $BASHPID; exec \(top)); echo code $?; stty -a\n", to: "session")
            let shell = try ChildProcess("script", ["--quiet", "--command", "bash \(path)", "/dev/null"])
            try await waitUntil("it shows its screen") { shell.output.contains("DENIED BY") }
            #expect(shell.output.contains("\u{1B}[?1049h"))
            let pid = try #require(shell.output.firstMatch(of: #/pid (\d+)/#).flatMap { Int32($0.1) })
            kill(pid, signal)
            _ = try await shell.wait(timeout: .seconds(60))
            let rest = try #require(shell.output.components(separatedBy: "\u{1B}[?1049l").last)
            #expect(rest.contains("code 0") && rest.contains(" icanon") && rest.contains(" echo "), "\(rest)")
        }

        /// Listeners come and go in the middle of a flood, and leave what they were sent unread.
        @Test func listenersGoWithoutReading() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.broad, redis: "none")
            let client = try sidecar.client()
            for _ in 1...20 {
                try withExtendedLifetime(try sidecar.client()) { listener in
                    #expect(try listener.command("TAIL") == .string("OK"))
                    _ = try client.pipeline((1...200).map { ["CHECK", "g\($0)", "none"] })
                }
                _ = try client.pipeline((1...200).map { ["CHECK", "g\($0)", "none"] })
            }
            try await waitUntil("all have gone") { try sidecar.figure("tails") == 0 }
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
                    "subscription_last_error:", "key_last_fault:",
                ]
                for field in privateFields { #expect(info.contains("\n\(field)") == isAllowed, "\(field)") }
                #expect(info.contains(sidecar.folder.path) == isAllowed)
                #expect(info.contains("policy_reloads:0"))
                #expect(try await ask("CLEAR", "nobody").contains("NOPERM") != isAllowed)
                #expect(try await ask("OVERRIDE").contains("NOPERM") != isAllowed)
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
