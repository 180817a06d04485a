import Foundation
import Support
import Testing

extension Integration {
    /// What deploy/ has for gateways without Envoy: nginx and HAProxy with Lua, each with its configuration there and real HTTP
    /// requests; Go and Node with what their pages show. `scripts/plugs` installs what they need; what is not there is skipped, and the run says so.
    @Suite struct Plugs {
        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Plugs").path

        /// Where `scripts/plugs` puts what is no package of the system.
        private static let installed =
            ProcessInfo.processInfo.environment["SLUICE_TEST_PLUGS"] ?? "\(ShellSession.repository)/.build/plugs"

        static let tries = [
            "proxies.py nginx", "proxies.py haproxy", "proxies.py haproxy-2.8", "callers.py redigo", "callers.py go-redis",
            "callers.py node",
        ]

        @Test(arguments: tries)
        func works(_ words: String) async throws {
            let own = "\(Self.installed)/venv/bin/python"
            let script = words.split(separator: " ").map(String.init)
            let run = try ChildProcess(
                FileManager.default.isExecutableFile(atPath: own) ? own : "python3",
                ["\(Self.folder)/\(script[0])"] + script.dropFirst(),
                environment: [
                    "SLUICE_TEST_SLUICED": try SidecarProcess.program(), "SLUICE_TEST_PLUGS": Self.installed,
                ])
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
