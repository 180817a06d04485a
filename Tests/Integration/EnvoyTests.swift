import Foundation
import Support
import Testing

extension Integration {
    /// The doors for gRPC with programs that nobody of this project wrote: Envoy in front of an MCP server and of an HTTP
    /// API, with the configurations of deploy/envoy, the MCP SDK's clients, and gRPC's own client. `scripts/envoy`
    /// installs them; what is not there is skipped, and the run says so.
    @Suite struct EnvoyDoors {
        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Envoy").path

        /// Where `scripts/envoy` puts them.
        private static let python =
            ProcessInfo.processInfo.environment["SLUICE_TEST_ENVOY"].map { "\($0)/bin/python" }
            ?? URL(fileURLWithPath: "\(folder)/../../../.build/envoy/venv/bin/python").standardized.path

        private static func policy() throws -> String {
            try String(contentsOfFile: "\(folder)/../../../deploy/envoy/policy.json", encoding: .utf8)
        }

        @Test(arguments: ["grpc_clients.py", "mcp_gate.py", "http_api.py"])
        func works(_ script: String) async throws {
            guard FileManager.default.isExecutableFile(atPath: Self.python) else {
                print("envoy: SKIPPED \(script): it is not installed, scripts/envoy installs it")
                try Test.cancel("Envoy and its clients are not installed")
            }
            let redis = try await RedisProcess()
            let folder = try TemporaryFolder()
            let sidecar = try await SidecarProcess(
                policy: Self.policy(), over: redis,
                arguments: ["--grpc-socket", folder.path("grpc.sock"), "--grpc-budget", "5s"])
            try await sidecar.waitUntilShared()
            let run = try ChildProcess(
                Self.python, ["\(Self.folder)/\(script)", folder.path("grpc.sock"), "\(sidecar.pid)", folder.path("")])
            let ending = try await run.wait(timeout: .seconds(100))
            #expect(ending == .exited(status: 0), "\(run.output)\(run.errors)")
            let lines = run.output.split(whereSeparator: \.isNewline)
            #expect(lines.count >= 8 && lines.allSatisfy { $0.hasPrefix("ok ") }, "\(run.output)")
            for line in lines { print("envoy: \(script): \(line)") }
            #expect(!sidecar.log.contains(" error "))
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
