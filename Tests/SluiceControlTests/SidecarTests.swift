import Foundation
import Support
import Testing

/// `sluicectl` against a real sidecar, in a process of its own.
@Suite struct SidecarTests {
    /// An hour, so that hardly ever a window rolls over between two calls of a test.
    private static let policy = """
        {"version": "1", "default": "deny",
         "tools": {"run": {"limits": [{"counter": "c", "window": "hour", "max": 10}]}}}
        """

    @Test func tenPassTheEleventhIsDenied() async throws {
        let sidecar = try await SidecarProcess(policy: Self.policy, replicas: 1)
        var codes: [Int32] = []
        for _ in 1...11 {
            codes.append(await ControlRun.of("check", "--socket", sidecar.socketPath, "alice", "run").exitCode)
        }
        #expect(codes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        #expect(await ControlRun.of("peek", "--socket", sidecar.socketPath, "bob", "run").exitCode == 0)
        #expect(await ControlRun.of("check", "--socket", sidecar.socketPath, "alice", "other").exitCode == 1)

        let counters = try await ControlRun.of("counters", "--socket", sidecar.socketPath, "--json").json()
        let rows = try #require(counters["counters"] as? [[String: Any]])
        #expect(counters["shared"] as? Bool == false)
        #expect(rows.map { $0["grant"] as? String } == ["alice", "bob"])
        #expect(rows.map { $0["remaining"] as? Int } == [0, 10])

        let status = try await ControlRun.of("status", "--socket", sidecar.socketPath, "--wait", "--json").json()
        #expect(status["checks"] as? Int == 13)
        #expect(status["ready"] as? Bool == true)
    }

    /// A Redis that cannot be used, as its operator sees it.
    @Test func aSidecarThatCountsAloneIsShown() async throws {
        let redis = try await RedisProcess(configuration: ["cluster-enabled yes"])
        let sidecar = try await SidecarProcess(policy: Self.policy, over: redis)
        let status = await ControlRun.of("status", "--socket", sidecar.socketPath)
        #expect(status.exitCode == 4)
        #expect(status.output.contains("\nreason    this is a node of a Redis Cluster, "), "\(status.output)")
        #expect(status.output.contains(": this replica counts alone, Redis is not used\n"))
        let wait = await ControlRun.of("status", "--socket", sidecar.socketPath, "--wait", "--timeout", "200ms")
        #expect(wait.exitCode == 2 && wait.errors.contains("this is a node of a Redis Cluster"))
    }

    /// A user with fewer rights counts all the same, and what is lost is shown.
    @Test func aUserWithFewRightsIsShown() async throws {
        let redis = try await RedisProcess(configuration: [
            "user sluice on nopass ~* &* +@all -script -publish -subscribe", "maxmemory-policy volatile-ttl",
        ])
        let sidecar = try await SidecarProcess(
            policy: Self.policy, redis: redis.url, store: redis, arguments: ["--redis-user", "sluice"])
        let status = await ControlRun.of("status", "--socket", sidecar.socketPath, "--wait")
        #expect(status.exitCode == 0)
        for words in ["SCRIPT LOAD is refused (", "may not run PUBLISH (", "(maxmemory-policy is volatile-ttl)"] {
            let lines = status.output.split(separator: "\n").filter { $0.contains(words) }
            #expect(lines.count == 1 && lines[0].hasPrefix("limited   "), "\(status.output)")
        }
        for words in ["SCRIPT LOAD is refused", "may not run PUBLISH", "maxmemory-policy is volatile-ttl"] {
            #expect(sidecar.log.split(separator: words).count == 2, "logged once: \(sidecar.log)")
        }
        try await waitUntil("the log has the failed subscription\n\(sidecar.log)") {
            sidecar.log.contains("redis notifications unavailable")
        }
        let later = await ControlRun.of("status", "--socket", sidecar.socketPath)
        #expect(later.output.contains("unavailable (Redis does not let this user subscribe: NOPERM"))
    }

    /// The Redis user that deploy/ recommends may do what a sidecar needs, and nothing else.
    @Test func theRecommendedRedisUserIsEnough() async throws {
        let folder = try TemporaryFolder()
        let acl = try String(contentsOfFile: Repository.path("deploy/redis/acl.txt"), encoding: .utf8)
        let path = try folder.write(acl.replacing("CHANGE-ME", with: "secret"), to: "acl.txt")
        let redis = try await RedisProcess(configuration: ["aclfile \(path)"])
        let sidecar = try await SidecarProcess(
            policy: Self.policy, redis: redis.url, arguments: ["--redis-user", "sluice"],
            environment: ["SLUICE_REDIS_PASSWORD": "secret"])

        let status = try await ControlRun.of("status", "--socket", sidecar.socketPath, "--wait", "--json").json()
        #expect(status["counting"] as? String == "shared")
        let server = (status["redis"] as? [String: Any])?["server"] as? String
        #expect(server?.hasPrefix("Redis ") == true, "INFO is allowed")
        for expected: Int32 in [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] {
            let check = await ControlRun.of("check", "--socket", sidecar.socketPath, "alice", "run", "--json")
            #expect(check.exitCode == expected)
            #expect(try check.json()["source"] as? String == "shared")
        }
        let counters = try await ControlRun.of("counters", "--socket", sidecar.socketPath, "--json").json()
        #expect(counters["shared"] as? Bool == true, "SCAN and MGET are allowed")
        #expect((counters["counters"] as? [[String: Any]])?.first?["shared_used"] as? Int == 10)
        try redis.command("SCRIPT", "FLUSH")
        let check = try await ControlRun.of("check", "--socket", sidecar.socketPath, "bob", "run", "--json").json()
        #expect(check["source"] as? String == "shared", "EVAL is allowed")
        // Nothing of the above was tried in vain.
        #expect(try redis.command("ACL", "LOG") == .array([]))

        let client = try redis.client()
        #expect(try client.command(["AUTH", "sluice", "secret"]) == .string("OK"))
        for words in [
            ["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["GET", "other"], ["SET", "other", "1"],
            ["SUBSCRIBE", "c"], ["PUBLISH", "c", "m"], ["ACL", "LIST"], ["CLIENT", "LIST"], ["SHUTDOWN"],
        ] {
            guard case .error(let reason) = try client.command(words) else {
                Issue.record("\(words) was allowed")
                continue
            }
            #expect(reason.hasPrefix("NOPERM"))
        }
    }
}

private enum Repository {
    /// A path in the repository.
    static func path(_ relative: String, file: String = #filePath) -> String {
        URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("../../\(relative)")
            .standardizedFileURL.path
    }
}
