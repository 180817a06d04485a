import Foundation
import Support
import Testing

extension Integration {
    /// `--require-redis`: a sidecar that cannot share counters does not start.
    @Suite struct RequiredRedis {
        private func start(_ arguments: [String]) async throws -> (status: Int32, errors: [String], hasSocket: Bool) {
            let folder = try TemporaryFolder()
            let policy = try folder.write(Policies.seed, to: "policy.json")
            let socket = folder.path("s.sock")
            let outcome = try await SidecarProcess.outcome(
                ["--socket", socket, "--policy", policy, "--require-redis"] + arguments)
            return (outcome.status, outcome.errors, FileManager.default.fileExists(atPath: socket))
        }

        @Test func withoutOneItDoesNotStart() async throws {
            let folder = try TemporaryFolder()
            let url = "unix://\(folder.path("none.sock"))"
            let outcome = try await start(["--redis", url, "--state-dir", folder.path("state")])
            #expect(outcome.status == 69 && !outcome.hasSocket)
            #expect(
                outcome.errors.last
                    == "--require-redis: counters cannot be shared in Redis at \(url) after 5 s: cannot connect: No such "
                    + "file or directory", "\(outcome.errors)")
        }

        @Test func withOneThatCannotBeUsedItDoesNotStart() async throws {
            let redis = try await RedisProcess(configuration: ["cluster-enabled yes"])
            let outcome = try await start(["--redis", redis.url])
            #expect(outcome.status == 69 && !outcome.hasSocket)
            #expect(outcome.errors.last?.contains(" after 5 s: this is a node of a Redis Cluster, ") == true)
        }

        @Test func withNoneItIsAFaultOfTheSettings() async throws {
            for arguments in [[], ["--redis", "none"]] {
                let outcome = try await start(arguments)
                #expect(outcome.status == 78 && !outcome.hasSocket)
                #expect(outcome.errors.count == 1 && outcome.errors[0].hasPrefix("--require-redis: found true without"))
            }
        }

        /// Once started it goes on alone when Redis goes, as others do, and says that it is not ready.
        @Test func itIsReadyOnlyWhileCountingIsShared() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.seed, over: redis, arguments: ["--require-redis"])
            let client = try sidecar.client()
            #expect(try client.info("ready") == "1" && client.info("redis_unavailable_since_ms") == "0")
            #expect(sidecar.log.contains("counting=shared"))
            try await redis.kill()
            try await sidecar.waitUntilLocal()
            #expect(try client.info("ready") == "0" && sidecar.figure("redis_unavailable_since_ms") > 0)
            #expect(try client.check(Grants.next(), "opencode_run").source == "local")
            try await redis.restartEmpty()
            try await sidecar.waitUntilShared()
            #expect(try client.info("ready") == "1")
        }

        /// It waits for a Redis that comes up beside it.
        @Test func aSignalEndsAStartThatWaits() async throws {
            let folder = try TemporaryFolder()
            let policy = try folder.write(Policies.seed, to: "policy.json")
            let sidecar = try SidecarProcess.launch([
                "--socket", folder.path("s.sock"), "--policy", policy, "--require-redis", "--redis",
                "unix://\(folder.path("none.sock"))",
            ])
            try await waitUntil("it has tried\n\(sidecar.errors)") { sidecar.errors.contains("redis is unavailable") }
            #expect(try await sidecar.terminate() == .exited(status: 0))
        }
    }
}
