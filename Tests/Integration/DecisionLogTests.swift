import Foundation
import SluiceProcesses
import Support
import Testing

extension Integration {
    /// What real sidecars log, read by the real `sluicectl`.
    @Suite struct DecisionLog {
        private static let policy = """
            {"version": "1", "default": "deny", "tools": {
              "run": {"limits": [{"counter": "r", "window": "month", "max": 40}]},
              "spend": {"limits": [{"counter": "s", "window": "month", "max": 500},
                                   {"counter": "c", "window": "month", "max": 60, "counts": "calls"}]}}}
            """

        private static let hashing = ["--decision-log-grants", "hash"]
        private static let key = ["SLUICE_DECISION_LOG_KEY": "0123456789abcdef0123456789abcdef"]

        /// The engine decides the same again: over two sidecars that share a Redis, every denial comes back, and no other; also
        /// where grants are hashed, as both have the same key.
        @Test(arguments: [[], hashing])
        func aReplayOfThePolicyInForceChangesNothing(options: [String]) async throws {
            let redis = try await RedisProcess()
            let logs = try TemporaryFolder()
            var sidecars: [SidecarProcess] = []
            for name in ["a", "b"] {
                sidecars.append(
                    try await SidecarProcess(
                        policy: Self.policy, over: redis,
                        arguments: ["--decision-log", logs.path(name), "--decision-log-sample", "1"] + options,
                        environment: options.isEmpty ? [:] : Self.key))
            }
            for sidecar in sidecars { try await sidecar.waitUntilShared() }
            let clients = try sidecars.map { try $0.client() }
            var random = SystemRandomNumberGenerator()
            var denied = 0
            for turn in 0..<400 {
                // The order of calls that two sidecars answer in one millisecond is not known from their logs.
                defer {
                    let answeredMs = Self.nowMs()
                    while Self.nowMs() == answeredMs {}
                }
                let client = clients[turn % 2]
                let grant = "g\(Int.random(in: 0..<4, using: &random))"
                switch Int.random(in: 0..<6, using: &random) {
                case 0, 1, 2: denied += try client.check(grant, "run").allowed ? 0 : 1
                case 3: denied += try client.check(grant, "none").allowed ? 0 : 1
                case 4: denied += try client.check(grant, "spend", "COST", "9").allowed ? 0 : 1
                default:
                    let answer = try client.check(grant, "spend", "COST", "20", "RESERVE")
                    guard answer.allowed, let id = answer.reservation else { continue }
                    _ = try client.command(["COMMIT", grant, id, "\(Int.random(in: 0...20, using: &random))"])
                }
            }
            #expect(denied > 0)
            for sidecar in sidecars { try await sidecar.process.terminate() }
            let replay = try ChildProcess(
                try #require(ChildProgram.builtBeside("sluicectl")),
                [
                    "policy", "replay", sidecars[0].folder.path("policy.json"), "--log", logs.path("a"), "--log",
                    logs.path("b"), "--json",
                ])
            let status = try await replay.wait(timeout: .seconds(60))
            #expect(status == .exited(status: 0), "\(replay.output)\(replay.errors)")
            let json = try #require(
                JSONSerialization.jsonObject(with: Data(replay.output.utf8)) as? [String: Any])
            #expect(json["calls"] as? Int == 400)
            #expect(json["denied_then"] as? Int == json["denied_now"] as? Int)
            #expect(json["newly_allowed"] as? Int == 0)
            #expect(json["warnings"] as? [String] == [])
        }

        /// No name is in the file, and grants are told apart as before.
        @Test func whatMayNameAPersonIsHashed() async throws {
            let logs = try TemporaryFolder()
            let path = logs.path("d.jsonl")
            let sidecar = try await SidecarProcess(
                policy: Self.policy, replicas: 1,
                arguments: ["--decision-log", path, "--decision-log-sample", "1"] + Self.hashing, environment: Self.key)
            let client = try sidecar.client()
            for _ in 1...2 {
                _ = try client.check(
                    "alice@example", "run", "SERVER", "build", "SESSION", "alice-1", "ATTR", "mail", "alice@example",
                    "ID",
                    "alice-7")
            }
            _ = try client.check("bob@example", "none")
            _ = try await sidecar.process.terminate()
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(!text.contains("alice") && !text.contains("bob") && !text.contains("example"), "\(text)")
            let lines = try Self.lines(path).map {
                try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
            }
            #expect(lines[0]["grants"] as? String == "hash")
            // HMAC-SHA-256 of the grant by the key, as `openssl dgst -hmac` has it.
            let alice = "e75f5166867beea599ff73446f91d88d"
            #expect(lines.dropFirst().map { $0["grant"] as? String == alice } == [true, true, false])
            #expect(lines[1]["attributes"] as? [String: String] == ["mail": alice])
            #expect(lines[1]["server"] as? String == "build" && lines[1]["tool"] as? String == "run")
            #expect((lines[1]["session"] as? String)?.count == 32 && (lines[1]["id"] as? String)?.count == 32)
        }

        /// A signal opens the file again; and a full disk stops nothing.
        @Test func aSignalOpensTheFileAgain() async throws {
            let logs = try TemporaryFolder()
            let path = logs.path("d.jsonl")
            let sidecar = try await SidecarProcess(
                policy: Self.policy, replicas: 1, arguments: ["--decision-log", path])
            let client = try sidecar.client()
            _ = try client.check("g", "none")
            try await waitUntil("the line is written") { try Self.lines(path).count == 2 }
            try FileManager.default.moveItem(atPath: path, toPath: logs.path("old"))
            kill(sidecar.pid, SIGHUP)
            try await waitUntil("the file is made again") { FileManager.default.fileExists(atPath: path) }
            _ = try client.check("g", "other")
            try await waitUntil("the line is written") { try Self.lines(path).last?.contains("\"other\"") == true }
            #expect(try Self.lines(logs.path("old")).count == 2)
            #expect(try client.info("decision_log_lines") == "2")
        }

        /// A full disk, or a file that may not grow, ends nothing, and the next file says how much is missing.
        @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/prlimit"), "there is no prlimit"))
        func whatCannotBeWrittenIsCountedAndReported() async throws {
            let logs = try TemporaryFolder()
            let path = logs.path("d.jsonl")
            let sidecar = try await SidecarProcess(
                policy: Self.policy, replicas: 1, arguments: ["--decision-log", path],
                wrapper: ["/usr/bin/prlimit", "--fsize=2000"])
            let client = try sidecar.client()
            for _ in 0..<3 {
                let before = try sidecar.figure("decision_log_dropped")
                for _ in 0..<20 { #expect(try client.check("g", "none").verdict == "deny") }
                try await waitUntil("lines are dropped") { try sidecar.figure("decision_log_dropped") > before }
            }
            let full = try Self.lines(path).filter { $0.hasSuffix("}") && $0.contains("none") }.count
            try FileManager.default.moveItem(atPath: path, toPath: logs.path("old"))
            kill(sidecar.pid, SIGHUP)
            try await waitUntil("the file is made again") { FileManager.default.fileExists(atPath: path) }
            _ = try client.check("g", "other")
            try await waitUntil("the line is written") { try Self.lines(path).last?.contains("\"other\"") == true }
            let dropped = try sidecar.figure("decision_log_dropped")
            #expect(dropped == 60 - full)
            let lines = try Self.lines(path)
            #expect(lines.contains("{\"dropped\":\(dropped)}"), "\(lines)")
            #expect(sidecar.log.contains("the decision log cannot be written"))
        }

        private static func nowMs() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

        private static func lines(_ path: String) throws -> [Substring] {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        }

        @Test func aFileThatCannotBeOpenedEndsTheStart() async throws {
            let place = try Place()
            #expect(
                try await SidecarProcess.startErrors(
                    place.arguments + ["--redis", "none", "--decision-log", "/nowhere/d.jsonl"]) == [
                        "--decision-log: /nowhere/d.jsonl: cannot be opened: No such file or directory"
                    ])
        }
    }
}
