import Foundation
import Support
import Testing

extension Integration {
    /// Redis clients that nobody of this project wrote. `scripts/stock-clients` installs them; one that is not there is
    /// skipped, and the run says so.
    @Suite struct StockClients {
        /// A script of the folder `StockClients`, and what runs it: the first of these that is there.
        struct Script: Sendable, CustomTestStringConvertible {
            var file: String
            var interpreters: [String]

            var testDescription: String { file }

            init(_ file: String, _ interpreters: String...) {
                self.file = file
                self.interpreters = interpreters
            }
        }

        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("StockClients").path

        /// Where `scripts/stock-clients` puts what is no package of the system.
        private static let installed =
            ProcessInfo.processInfo.environment["SLUICE_TEST_CLIENTS"]
            ?? URL(fileURLWithPath: "\(folder)/../../../.build/stock-clients").standardized.path

        static let scripts = [
            Script("redis_cli.sh", "bash"), Script("inline.sh", "bash"), Script("redis_benchmark.sh", "bash"),
            Script("redis_py.py", "\(installed)/venv/bin/python", "python3"), Script("redis_rb.rb", "ruby"),
            Script("phpredis.php", "php"), Script("redis_perl.pl", "perl"), Script("redis_lua.lua", "lua5.1", "lua5.3"),
            Script("node_redis.js", "node"), Script("redigo.sh", "bash"),
        ]

        static let policy = """
            {"version": "1", "default": "deny", "tools": {
              "run": {"limits": [{"counter": "runs", "window": \(Policies.longWindow), "max": 10}]},
              "big": {"limits": [{"counter": "bigs", "window": \(Policies.longWindow), "max": 1000000000000}]}
            }}
            """

        @Test(arguments: scripts)
        func works(_ script: Script) async throws {
            guard let interpreter = script.interpreters.first(where: Self.isThere) else {
                return try skip(script, "there is no \(script.interpreters.joined(separator: " nor "))")
            }
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Self.policy, over: redis)
            try await sidecar.waitUntilShared()
            let client = try ChildProcess(
                interpreter, ["\(Self.folder)/\(script.file)", sidecar.socketPath, Grants.next("stock")],
                environment: ["NODE_PATH": "/usr/share/nodejs", "SLUICE_TEST_CLIENTS": Self.installed])
            let ending = try await client.wait(timeout: .seconds(150))
            if ending == .exited(status: 77) { return try skip(script, "its client is not installed") }
            #expect(ending == .exited(status: 0), "\(client.output)\(client.errors)")
            let lines = client.output.split(whereSeparator: \.isNewline)
            #expect(!lines.isEmpty && lines.allSatisfy { $0.hasPrefix("ok ") })
            for line in lines { print("stock client: \(line)") }
            for figure in ["late", "timed_out", "outages"] { #expect(try sidecar.figure(figure) == 0) }
            #expect(!sidecar.log.contains(" error "))
        }

        private func skip(_ script: Script, _ reason: String) throws {
            print("stock client: SKIPPED \(script.file): \(reason), scripts/stock-clients installs it")
            try Test.cancel("\(reason)")
        }

        private static func isThere(_ program: String) -> Bool {
            if program.hasPrefix("/") { return FileManager.default.isExecutableFile(atPath: program) }
            let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
            return path.split(separator: ":").contains {
                FileManager.default.isExecutableFile(atPath: "\($0)/\(program)")
            }
        }
    }
}
