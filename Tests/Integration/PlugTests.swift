import Foundation
import Support
import Testing

extension Integration {
    /// What deploy/ has for gateways without Envoy: nginx and HAProxy with Lua, each with its configuration there and real
    /// HTTP requests; Go and Node with what their pages show; Hummingbird with its middleware; and the example gateway with MCP
    /// clients. `scripts/plugs` installs what they need; what is not there is skipped, and the run says so.
    @Suite struct Plugs {
        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Plugs").path

        /// Where `scripts/plugs` puts what is no package of the system.
        private static let installed =
            ProcessInfo.processInfo.environment["SLUICE_TEST_PLUGS"] ?? "\(ShellSession.repository)/.build/plugs"

        static let tries = [
            "proxies.py nginx", "proxies.py haproxy", "proxies.py haproxy-2.8",
            "mcp_clients.py nginx", "mcp_clients.py haproxy", "mcp_clients.py gateway",
            "callers.py redigo", "callers.py go-redis", "callers.py node", "hummingbird.py",
        ]

        /// The MCP SDK and its clients are where `scripts/envoy` puts them.
        private static let envoy =
            ProcessInfo.processInfo.environment["SLUICE_TEST_ENVOY"] ?? "\(ShellSession.repository)/.build/envoy"

        private static func process(_ words: [String]) throws -> ChildProcess {
            let own = "\(words[0] == "mcp_clients.py" ? envoy : installed)/venv/bin/python"
            return try ChildProcess(
                FileManager.default.isExecutableFile(atPath: own) ? own : "python3",
                ["\(folder)/\(words[0])"] + words.dropFirst(),
                environment: ["SLUICE_TEST_SLUICED": try SidecarProcess.program(), "SLUICE_TEST_PLUGS": installed])
        }

        /// The table of deploy's page is the one that `scripts/plugs --faults` prints.
        @Test func faultsAreMeasured() async throws {
            let run = try Self.process(["faults.py", "--rounds", "1", "--plug", "Python"])
            // It ends with 1 where an answer took too long, as on a machine that is busy.
            _ = try await run.wait(timeout: .seconds(200))
            let lines = run.output.split(whereSeparator: \.isNewline)
            #expect(lines.count == 3 && lines.last?.hasPrefix("| Python |") == true, "\(run.output)\(run.errors)")
            #expect(lines.last?.hasSuffix("| none |") == true, "\(run.output)")
            let page = try String(contentsOfFile: "\(ShellSession.repository)/deploy/README.md", encoding: .utf8)
            #expect(page.contains("\(lines.first ?? "?")\n"))
        }

        @Test(arguments: tries)
        func works(_ words: String) async throws {
            let run = try Self.process(words.split(separator: " ").map(String.init))
            let ending = try await run.wait(timeout: .seconds(280))
            if ending == .exited(status: 77) {
                let reason = run.output.split(whereSeparator: \.isNewline).last.map(String.init) ?? "?"
                print("plugs: SKIPPED \(words): \(reason)")
                try Test.cancel("\(reason)")
            }
            let lines = run.output.split(whereSeparator: \.isNewline)
            let end = lines.suffix(20).joined(separator: "\n")
            #expect(ending == .exited(status: 0), "\(end)\n\(run.errors.suffix(4000))")
            #expect(lines.count >= 8 && lines.allSatisfy { $0.hasPrefix("ok ") }, "\(end)")
            print("plugs: \(words): ok, \(lines.count) steps")
        }
    }
}
