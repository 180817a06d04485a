import Foundation
import Support
import Testing

extension Integration {
    /// An operator's settings, and the messages about invalid ones.
    @Suite struct Setting {
        @Test func everyFaultOfAPolicyIsListed() async throws {
            let place = try Place(policy: Policies.twentyFaults)
            let errors = try await SidecarProcess.startErrors(place.arguments)
            for tool in 1...20 {
                let start = "\(place.policy):\(tool + 1):\(tool > 9 ? 12 : 11): /tools/tool\(tool)/actoin: "
                #expect(errors.contains { $0.hasPrefix(start) && $0.hasSuffix("did you mean \"action\"?") })
            }
            #expect(!FileManager.default.fileExists(atPath: place.socketPath))
        }

        /// Also when the document is read again.
        @Test func argumentRulesNeedAGatewayThatChecksThem() async throws {
            let rules = { (key: String) in
                #"{"version": "1", "default": "deny", "tools": {"edit": {"\#(key)": [{"path": "/file"}]}}}"#
            }
            let place = try Place(policy: rules("require"))
            let refused = try await SidecarProcess.startErrors(place.arguments)
            #expect(refused.count == 1)
            #expect(refused.first?.contains("say so with --arguments-checked-by-gateway") == true)

            let sidecar = try await SidecarProcess(
                policy: rules("require"), replicas: 1, arguments: ["--arguments-checked-by-gateway"])
            let client = try sidecar.client()
            #expect(try client.check(Grants.next(), "edit").verdict == "allow")
            _ = try sidecar.folder.write(rules("deny_if"), to: "policy.json")
            try await waitUntil("the file is read again\n\(sidecar.log)") { try sidecar.figure("policy_reloads") == 1 }
        }

        @Test func missingSettingsAreNamedTogether() async throws {
            let errors = try await SidecarProcess.startErrors([])
            #expect(errors.count == 2)
            #expect(errors.first?.hasPrefix("--socket: missing, expected ") == true)
            #expect(errors.first?.hasSuffix("(or SLUICE_SOCKET)") == true)
            #expect(errors.last?.hasPrefix("--policy: missing, expected ") == true)
        }

        @Test(arguments: [
            "localhost", "http://localhost", "redis://", "redis://h:99999", "rediss://h:0", "redis+sentinel://h",
            "unix://relative",
        ])
        func aBadAddressOfRedisIsRefused(url: String) async throws {
            let place = try Place()
            let errors = try await SidecarProcess.startErrors(place.arguments + ["--redis", url])
            #expect(errors.count == 1 && errors[0].hasPrefix("--redis: "))
        }

        /// Whichever part of the address was taken for another.
        @Test(arguments: [
            "redis://u:hunter2@host:notaport/x", "redis://u:hunter2", "redis://:hunter2:6379", "u:hunter2@host://x",
            "redis://h/0?password=hunter2", "redis://h/hunter2", "unix:///s?db=1&password=hunter2",
            "unix:///s%zz:hunter2", "redis://h ter:hunter2",
        ])
        func aPasswordInABadAddressIsNotShown(url: String) async throws {
            let place = try Place()
            let errors = try await SidecarProcess.startErrors(place.arguments + ["--redis", url])
            #expect(!errors.joined().contains("hunter2"))
        }

        /// Nor where the settings that hold it are wrong.
        @Test func aPasswordInAWrongFileIsNotShown() async throws {
            let folder = try TemporaryFolder()
            for text in [
                #"{"redis-password": hunter2}"#, #"{"redis-password": 770.5}"#, #"{"redis-password": ["hunter2"]}"#,
                #"{"redis": {"password": "hunter2"}}"#, #"{"redis-pasword": "hunter2"}"#,
                #"{"redis-password": "hunter2}"#,
                #"{"redis": 770.5}"#, #"{"redis-password" hunter2}"#, "{redis-password: hunter2}",
                #"{"redis-password": 0770.5}"#,
                #"{"redis-password": "" hunter2}"#,
            ] {
                let file = try folder.write(text, to: "sluice.json")
                let errors = try await SidecarProcess.startErrors(["--config", file])
                #expect(!errors.joined().contains("hunter2") && !errors.joined().contains("770.5"))
            }
            let flag = try await SidecarProcess.outcome(["--redis-password", "hunter2"])
            #expect(flag.status == 64 && !flag.errors.joined().contains("hunter2"))
        }

        /// What others may read is no secret.
        @Test func aPasswordThatOthersCanReadIsWarnedAbout() async throws {
            let redis = try await RedisProcess(configuration: ["requirepass hunter2"], password: "hunter2")
            let folder = try TemporaryFolder()
            let password = try folder.write("hunter2\n", to: "password")
            let config = try folder.write(#"{"redis-password": "hunter2"}"#, to: "sluice.json")
            let url = redis.url
            let openURL = try folder.write(#"{"redis": "redis://:hunter2@127.0.0.1:1"}"#, to: "url.json")
            let cases: [(arguments: [String], environment: [String: String], warning: String?)] = [
                (["--redis", url, "--redis-password-file", password], [:], "\(password): "),
                (["--redis", url, "--config", config], [:], "\(config):1:20: /redis-password: "),
                (["--config", openURL], [:], "\(openURL):1:11: /redis: "),
                (["--redis", "redis://:hunter2@127.0.0.1:1"], [:], "--redis: "),
                (["--redis", url], ["SLUICE_REDIS_PASSWORD": "hunter2"], nil),
                ([], ["SLUICE_REDIS": "redis://:hunter2@127.0.0.1:1"], nil),
            ]
            for mode in [mode_t(0o644), 0o640] {
                for path in [password, config, openURL] { chmod(path, mode) }
                for (arguments, environment, warning) in cases {
                    let sidecar = try await SidecarProcess(
                        policy: Policies.seed, store: redis, arguments: arguments, environment: environment)
                    let warnings = sidecar.log.split(whereSeparator: \.isNewline).filter { $0.contains("can read it") }
                    let isExpected = warning.map { mode == 0o644 || $0.hasPrefix("--redis") } ?? false
                    #expect(warnings.count == (isExpected ? 1 : 0), "\(arguments) \(sidecar.log)")
                    if isExpected, let warning { #expect(warnings.first?.contains(warning) == true) }
                    #expect(!sidecar.log.contains("hunter2"))
                }
            }
        }

        /// A variable that a template left empty is none.
        @Test func anEmptyPasswordIsNone() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, over: redis,
                environment: ["SLUICE_REDIS_PASSWORD": "", "SLUICE_REDIS_USER": "", "SLUICE_CONFIG": ""])
            try await sidecar.waitUntilShared()
            for name in ["SLUICE_REDIS_PASSWORD", "SLUICE_REDIS_USER", "SLUICE_CONFIG"] {
                let lines = sidecar.log.split(whereSeparator: \.isNewline).filter { $0.contains(name) }
                #expect(lines.count == 1 && lines[0].contains("empty"), "\(name)\n\(sidecar.log)")
            }
        }

        @Test func flagsGoOverTheEnvironmentAndThatOverTheFile() async throws {
            let folder = try TemporaryFolder()
            let file = try folder.write(
                #"{"budget": "111ms", "replicas": 3, "key-prefix": "filed"}"#, to: "sluice.json")
            let cases: [(flags: [String], environment: [String: String], budget: Int)] = [
                (["--config", file], [:], 111),
                (["--config", file], ["SLUICE_BUDGET": "222ms"], 222),
                (["--config", file, "--budget", "333ms"], ["SLUICE_BUDGET": "222ms"], 333),
                ([], ["SLUICE_CONFIG": file], 111),
            ]
            let policy = try folder.write(Policies.seed, to: "policy.json")
            for (index, each) in cases.enumerated() {
                let path = folder.path("s\(index).sock")
                let process = try SidecarProcess.launch(
                    each.flags + ["--policy", policy],
                    environment: each.environment.merging(["SLUICE_SOCKET": path]) { $1 })
                try await SidecarProcess.waitUntilReady(process)
                let client = try RedisClient(path: path)
                #expect(try client.info("budget_ms") == "\(each.budget)")
                #expect(try client.info("replicas") == "3")
            }
        }

        @Test func everyFaultOfTheConfigurationIsListed() async throws {
            let folder = try TemporaryFolder()
            let file = try folder.write(
                """
                {
                  "sokcet": "/tmp/s.sock",
                  "replicas": 0,
                  "budget": true
                }
                """, to: "sluice.json")
            let errors = try await SidecarProcess.startErrors(["--config", file, "--log-level", "loud"])
            let starts = [
                "\(file):4:13: /budget: found true, expected a string or a whole number",
                "\(file):2:3: /sokcet: found ",
                "--socket: missing", "--policy: missing",
                "\(file):3:15: /replicas: found \"0\", expected a whole number from 1 to 1000",
                "--log-level: found \"loud\", expected ",
            ]
            for start in starts { #expect(errors.contains { $0.hasPrefix(start) }, "\(start)") }
            #expect(errors.contains { $0.contains("/sokcet") && $0.hasSuffix("did you mean \"socket\"?") })
            #expect(errors.count == starts.count)
        }

        @Test func filesThatCannotBeReadAreNamed() async throws {
            let folder = try TemporaryFolder()
            let policy = try folder.write(Policies.seed, to: "policy.json")
            let none = folder.path("none")
            let socket = ["--socket", folder.path("s.sock")]
            for arguments in [
                socket + ["--policy", none], socket + ["--policy", policy, "--config", none],
                socket + ["--policy", policy, "--redis-password-file", none],
            ] {
                let errors = try await SidecarProcess.startErrors(arguments)
                #expect(errors == ["\(none): cannot be opened: No such file or directory"])
            }
        }

        /// The password opens Redis, whichever way it comes, and is never written anywhere.
        @Test func thePasswordComesFromAFileOrTheEnvironment() async throws {
            let password = "correct horse battery"
            let redis = try await RedisProcess(configuration: ["requirepass \"\(password)\""], password: password)
            let folder = try TemporaryFolder()
            let file = try folder.write(password + "\n", to: "password")
            for (arguments, environment) in [
                (["--redis-password-file", file], [:]), ([], ["SLUICE_REDIS_PASSWORD": password]),
            ] {
                let sidecar = try await SidecarProcess(
                    policy: Policies.seed, over: redis, arguments: arguments + ["--log-level", "trace"],
                    environment: environment)
                try await sidecar.waitUntilShared()
                #expect(try sidecar.client().check(Grants.next(), "opencode_run").source == "shared")
                #expect(!sidecar.log.contains("correct horse"))
                #expect(try sidecar.client().command("INFO").text?.contains("correct horse") == false)
            }
            let wrong = try await SidecarProcess(
                policy: Policies.seed, over: redis, environment: ["SLUICE_REDIS_PASSWORD": "incorrect mule"])
            try await waitUntil("it says why") { wrong.log.contains("did not accept the credentials") }
            #expect(!wrong.log.contains("incorrect mule"))
            #expect(try wrong.client().check(Grants.next(), "opencode_run").source == "local")
        }

        @Test func wrongUsageHasItsOwnExitCode() async throws {
            _ = try await SidecarProcess.startErrors(["--no-such-flag"], status: 64)
            let version = try SidecarProcess.launch(["--version"])
            #expect(try await version.wait() == .exited(status: 0))
            #expect(version.output.hasPrefix("0."))
        }
    }
}
