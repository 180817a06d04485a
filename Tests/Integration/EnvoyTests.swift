import Foundation
import Support
import Testing

extension Integration {
    /// The doors for gRPC with programs that nobody of this project wrote: Envoy in front of an MCP server and of an HTTP
    /// API, with the configurations of deploy/envoy, the MCP SDK's clients, and gRPC's own client. `scripts/envoy`
    /// installs them, and an older Envoy; what is not there is skipped, and the run says so.
    @Suite struct EnvoyDoors {
        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Envoy").path

        /// Where `scripts/envoy` puts them.
        private static let place =
            ProcessInfo.processInfo.environment["SLUICE_TEST_ENVOY"]
            ?? URL(fileURLWithPath: "\(folder)/../../../.build/envoy").standardized.path
        private static let python = "\(place)/venv/bin/python"
        /// Envoy of the oldest version that is tried; the newest is in the environment of Python.
        private static let olderEnvoy = "\(place)/older/envoy/_bin/envoy"

        private static func example(_ name: String) throws -> String {
            try String(contentsOfFile: "\(folder)/../../../deploy/\(name)", encoding: .utf8)
        }

        /// A script, and what it is run with.
        enum Script: String, CaseIterable {
            case clients = "grpc_clients.py"
            case agentgateway = "agentgateway.py"
            case ratelimitCases = "ratelimit_cases.py"
            case gate = "mcp_gate.py with Envoy 1.40"
            case olderGate = "mcp_gate.py with Envoy 1.36"
            case api = "http_api.py with Envoy 1.40"
            case olderAPI = "http_api.py with Envoy 1.36"
            case tokens = "llm_tokens.py with Envoy 1.40"

            var file: String { rawValue.split(separator: " ").first.map(String.init) ?? "" }
            var isOlder: Bool { self == .olderGate || self == .olderAPI }
            /// For the gate.
            var configuration: String { isOlder ? "mcp-gate-body.yaml" : "mcp-gate.yaml" }
        }

        @Test(arguments: Script.allCases)
        func works(_ script: Script) async throws {
            let needed = [Self.python] + (script.isOlder ? [Self.olderEnvoy] : [])
            if let missing = needed.first(where: { !FileManager.default.isExecutableFile(atPath: $0) }) {
                print("envoy: SKIPPED \(script.rawValue): there is no \(missing), scripts/envoy installs it")
                try Test.cancel("Envoy or its clients are not installed")
            }
            let redis = try await RedisProcess()
            let folder = try TemporaryFolder()
            let sidecar = try await Self.sidecar(script, redis, folder)
            try await sidecar.waitUntilShared()
            let run = try ChildProcess(
                Self.python,
                [
                    "\(Self.folder)/\(script.file)", folder.path("grpc.sock"), "\(sidecar.pid)", folder.path(""),
                    "\(redis.pid)", script.configuration,
                ], environment: script.isOlder ? ["SLUICE_TEST_ENVOY_PROGRAM": Self.olderEnvoy] : [:])
            let ending = try await run.wait(timeout: .seconds(100))
            #expect(ending == .exited(status: 0), "\(run.output)\(run.errors)")
            let lines = run.output.split(whereSeparator: \.isNewline)
            #expect(lines.count >= 8 && lines.allSatisfy { $0.hasPrefix("ok ") }, "\(run.output)")
            for line in lines { print("envoy: \(script.rawValue): \(line)") }
            #expect(!sidecar.log.contains(" error "))
        }

        /// With the policy and the gateways file that a script needs.
        private static func sidecar(
            _ script: Script, _ redis: RedisProcess, _ folder: TemporaryFolder
        ) async throws -> SidecarProcess {
            var arguments = ["--grpc-socket", folder.path("grpc.sock"), "--grpc-budget", "5s"]
            let policy: String
            switch script {
            case .clients, .api, .olderAPI: policy = try example("envoy/policy.json")
            case .gate, .olderGate:
                // And a limit of each session.
                let limit = Document.limit("notes", max: 2, #""scope": "session""#)
                let tools = try example("envoy/policy.json").components(separatedBy: #""tools": {"#)
                try #require(tools.count == 2)
                policy = tools.joined(separator: #""tools": {"note": {"limits": [\#(limit)]},"#)
            case .tokens:
                policy = try example("envoy/llm-policy.json")
                arguments += ["--gateways", try folder.write(example("envoy/llm-gateways.json"), to: "gateways.json")]
            case .agentgateway:
                policy = try example("agentgateway/policy.json")
                let gateways = try example("agentgateway/gateways.json")
                arguments += ["--gateways", try folder.write(gateways, to: "gateways.json")]
            case .ratelimitCases:
                let file = "\(Self.folder)/ratelimit_cases.json"
                let cases = try RateLimitCases(try String(contentsOfFile: file, encoding: .utf8))
                try cases.write(to: folder)
                policy = ""
                arguments += ["--gateways", folder.path("gateways.json"), "--policies", folder.path("policies")]
            }
            return try await SidecarProcess(policy: policy, over: redis, arguments: arguments)
        }

        /// What the sidecars in other gateways' pods are started with.
        @Test(arguments: ["istio/mcp-gate.yaml", "envoy-gateway/mcp-gate.yaml"])
        func flagsInPodsAreThere(_ file: String) async throws {
            let help = try ChildProcess(try SidecarProcess.program(), ["--help"])
            #expect(try await help.wait() == .exited(status: 0))
            let flags = try Self.example(file).split(whereSeparator: \.isNewline).compactMap { line in
                line.split(separator: "- --").dropFirst().first?.split(separator: "=").first.map { "--\($0)" }
            }
            #expect(flags.contains("--policy") && flags.count >= 6)
            #expect(flags.filter { !help.output.contains("\($0) ") } == [])
        }

        @Test func anAddressThatOthersReachNeedsAWord() async throws {
            let place = try Place()
            let errors = try await SidecarProcess.startErrors(place.arguments + ["--grpc-listen", "0.0.0.0:0"])
            #expect(
                errors == [
                    "--grpc-listen: found \"0.0.0.0:0\", which other machines may reach, expected an address of loopback"
                        + " such as 127.0.0.1:0, or --allow-remote"
                ])
            let word = try await SidecarProcess.startErrors(place.arguments + ["--grpc-listen", "nowhere"])
            #expect(
                word == ["--grpc-listen: found \"nowhere\", expected a host and a port such as 127.0.0.1:8081, or none"]
            )
        }

        @Test func faultsOfTheGatewaysFileComeAllAtOnce() async throws {
            let place = try Place()
            let file = try place.folder.write(#"{"version": 1, "denial": "no"}"#, to: "gateways.json")
            let errors = try await SidecarProcess.startErrors(place.arguments + ["--gateways", file])
            #expect(errors.count == 2)
            #expect(errors.allSatisfy { $0.hasPrefix("\(file):1:") })
        }

        @Test func theGatewaysFileIsReloaded() async throws {
            let place = try Place()
            let file = try place.folder.write(#"{"version": "1"}"#, to: "gateways.json")
            let sidecar = try await SidecarProcess(
                policy: Policies.seed,
                arguments: ["--gateways", file, "--grpc-socket", place.folder.path("grpc.sock")])
            #expect(sidecar.log.contains("grpc=\(place.folder.path("grpc.sock"))"))
            try place.folder.write(#"{"version": "1", "denial": "no"}"#, to: "gateways.json")
            try await waitUntil("the fault is in the log", timeout: .seconds(20)) {
                sidecar.log.contains("gateways rejected, the last good ones stay")
            }
            #expect(try sidecar.figure("gateways_refusals") == 1)
            try place.folder.write(#"{"version": "1", "denial": "error"}"#, to: "gateways.json")
            try await waitUntil("the change is in the log", timeout: .seconds(20)) {
                sidecar.log.contains("gateways reloaded")
            }
        }

        @Test func theSocketForGRPCIsRemovedAtTheEnd() async throws {
            let place = try Place()
            let path = place.folder.path("grpc.sock")
            let process = try SidecarProcess.launch(place.arguments + ["--grpc-socket", path])
            try await SidecarProcess.waitUntilReady(process)
            #expect(FileManager.default.fileExists(atPath: path))
            process.signal(SIGTERM)
            #expect(try await process.wait() == .exited(status: 0))
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }
}
