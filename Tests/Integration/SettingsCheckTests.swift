import Foundation
import Support
import Testing

extension Integration {
    /// `sluiced --check`, and in which form faults at the start are written.
    @Suite struct SettingsCheck {
        private func check(
            _ arguments: [String], environment: [String: String] = [:]
        ) async throws -> (ending: ChildProcess.Ending, output: String, errors: [String]) {
            let process = try SidecarProcess.launch(["--check"] + arguments, environment: environment)
            let ending = try await process.wait()
            return (ending, process.output, process.errors.split(separator: "\n").map(String.init))
        }

        @Test func whatItWouldRunWithIsShownAndNothingIsMade() async throws {
            let place = try Place()
            let before = try FileManager.default.contentsOfDirectory(atPath: place.folder.path)
            let checked = try await check(
                place.arguments + [
                    "--redis", "redis://sluice:hunter2@127.0.0.1:1", "--state-dir", place.folder.path("state"),
                    "--decision-log", place.folder.path("d.jsonl"), "--http-socket", place.folder.path("h.sock"),
                ], environment: ["SLUICE_BUDEGT": "1ms", "SLUICE_BUDGET": "30ms", "SLUICE_REDIS_PASSWORD": "hunter2"])
            #expect(checked.ending == .exited(status: 0) && checked.errors == [])
            let rows = checked.output.split(separator: "\n").map { $0.split(separator: #/ {2,}/#).map(String.init) }
            for row in [
                ["setting", "value", "from"], ["socket", place.socketPath, "--socket"],
                ["budget", "30ms", "SLUICE_BUDGET"],
                ["redis", "redis://sluice:***@127.0.0.1:1", "--redis"],
                ["redis-password", "(secret)", "SLUICE_REDIS_PASSWORD"],
                ["policies", "1 document, for every grant"], ["counting", "shared in Redis, once it answers"],
                ["state", "a new folder, which would be made"],
                ["warning", "SLUICE_BUDEGT: is no setting, and has no effect; did you mean SLUICE_BUDGET?"],
                ["sluiced would start; all other settings have their defaults."],
            ] { #expect(rows.contains(row), "\(row)\n\(checked.output)") }
            #expect(!checked.output.contains("hunter2"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: place.folder.path) == before)
        }

        @Test func inJSONItIsOneObject() async throws {
            let place = try Place()
            let checked = try await check(place.arguments, environment: ["SLUICE_LOG_FORMAT": "json"])
            let object = try #require(
                try JSONSerialization.jsonObject(with: Data(checked.output.utf8)) as? [String: Any])
            let settings = try #require(object["settings"] as? [[String: String]])
            #expect(settings.first == ["name": "socket", "value": place.socketPath, "from": "--socket"])
            #expect((object["warnings"] as? [String])?.first?.hasPrefix("--redis: is not set") == true)
        }

        /// What is wrong is the same, in the same words, with the same exit code.
        @Test func itsFaultsAreThoseOfAStart() async throws {
            let place = try Place()
            let link = place.folder.path("link")
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: place.folder.path)
            let open = try place.makeFolder("open", mode: 0o777)
            let foreign = try place.makeFolder("state", mode: 0o700)
            try place.folder.write("not a journal at all, that is what it is", to: "state/journal")
            let notPEM = try place.folder.write("none", to: "ca.pem")
            let (redis, none) = (["--redis", "redis://127.0.0.1:1"], ["--redis", "none"])
            let socket = { (path: String) in ["--socket", path, "--policy", place.policy] }
            for arguments in [
                [], ["--socket", place.socketPath, "--policy", place.folder.path("missing.json")] + none,
                place.arguments + none + ["--budget", "1h"], place.arguments + none + ["--gateways", place.policy],
                place.arguments + none + ["--socket-group", "no-such-group"],
                place.arguments + ["--redis", "http://127.0.0.1"],
                place.arguments + ["--redis", "rediss://127.0.0.1", "--redis-ca", notPEM],
                place.arguments + redis + ["--state-dir", link], place.arguments + redis + ["--state-dir", open],
                place.arguments + redis + ["--state-dir", foreign],
                place.arguments + redis + ["--state-dir", place.folder.path("a/b")],
                place.arguments + none + ["--decision-log", "/nowhere/d.jsonl"],
                place.arguments + none + ["--decision-log", place.folder.path],
                socket(place.folder.path("none/s.sock")) + none, socket("\(open)/s.sock") + none,
                socket(place.policy) + none, socket("/tmp/" + String(repeating: "x", count: 100)) + none,
            ] {
                let (checked, started) = (try await check(arguments), try await SidecarProcess.outcome(arguments))
                #expect(checked.ending == .exited(status: started.status) && started.status == 78, "\(arguments)")
                #expect(!checked.errors.isEmpty && checked.errors == started.errors, "\(arguments)")
                #expect(checked.output == "")
            }
            let unknown = try await check(["--no-such-flag"])
            #expect(unknown.ending == .exited(status: 64))
        }

        /// Faults of several files come together.
        @Test func allFaultsComeAtOnce() async throws {
            let place = try Place()
            let checked = try await check([
                "--socket", "/nowhere/s.sock", "--policy", "missing.json", "--gateways", place.folder.path("g.json"),
                "--redis", "redis://", "--decision-log", "/nowhere/d.jsonl",
            ])
            #expect(checked.ending == .exited(status: 78))
            #expect(
                checked.errors.map { String($0.prefix { $0 != ":" }) } == [
                    "missing.json", place.folder.path("g.json"), "--redis", "/nowhere/s.sock", "--decision-log",
                ], "\(checked.errors)")
        }

        /// The settings of a sidecar that runs are not in its own way.
        @Test func aRunningSidecarIsLeftAlone() async throws {
            let redis = try await RedisProcess()
            let state = try TemporaryFolder()
            let arguments = ["--state-dir", state.path("state")]
            let sidecar = try await SidecarProcess(policy: Policies.seed, over: redis, arguments: arguments)
            let checked = try await check(
                ["--socket", sidecar.socketPath, "--policy", sidecar.folder.path("policy.json"), "--redis", redis.url]
                    + arguments)
            #expect(checked.ending == .exited(status: 0), "\(checked.errors)")
            #expect(checked.output.contains("a file of "))
            #expect(try sidecar.client().command("PING").text == "PONG")
        }

        private func isFault(_ line: String, _ fault: String) throws -> Bool {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return object?["message"] as? String == "cannot start" && object?["level"] as? String == "critical"
                && object?["time_ms"] is Int && (object?["fault"] as? String)?.hasPrefix(fault) == true
        }

        /// Every line is an object where the log is to be JSON: collectors drop or garble others.
        @Test func faultsAtTheStartAreInTheLogsFormat() async throws {
            let place = try Place()
            let json = ["--log-format", "json"]
            let config = try place.folder.write(#"{"log-format": "json"}"#, to: "config.json")
            let running = try SidecarProcess.launch(place.arguments)
            try await SidecarProcess.waitUntilReady(running)
            for (arguments, environment, fault, status) in [
                (json, [:], "--socket: missing", Int32(78)),
                (["--log-format=json"], [:], "--socket: missing", 78),
                ([], ["SLUICE_LOG_FORMAT": "json"], "--socket: missing", 78),
                (["--no-such-flag"] + json, [:], "Unknown option '--no-such-flag'", 64),
                (["--socket", place.socketPath, "--policy", "missing.json"] + json, [:], "missing.json: ", 78),
                (
                    ["--socket", place.socketPath, "--policy", "missing.json", "--config", config], [:],
                    "missing.json: ", 78
                ),
            ] {
                let outcome = try await SidecarProcess.outcome(arguments, environment: environment)
                #expect(outcome.status == status, "\(arguments)")
                #expect(try isFault(outcome.errors[0], fault), "\(outcome.errors)")
            }
            let second = try await SidecarProcess.outcome(place.arguments + json)
            #expect(try second.status == 69 && isFault(second.errors.last ?? "", place.socketPath))
            // The command line goes over the environment, and text is as ever.
            let text = try await SidecarProcess.outcome(
                ["--log-format", "text"], environment: ["SLUICE_LOG_FORMAT": "json"])
            #expect(text.errors.first?.hasPrefix("--socket: missing") == true)
        }
    }
}
