import Foundation
import Support
import Testing

/// `sluicectl` against a real sidecar, in a process of its own.
@Suite struct SidecarTests {
    @Test func tenPassTheEleventhIsDenied() async throws {
        let sidecar = try await Sidecar(redis: nil)
        var codes: [Int32] = []
        // An hour, so that no window rolls over between two of them but once in a thousand runs.
        for _ in 1...11 {
            codes.append(await ControlRun.of("check", "--socket", sidecar.path, "alice", "run").exitCode)
        }
        #expect(codes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        #expect(await ControlRun.of("peek", "--socket", sidecar.path, "bob", "run").exitCode == 0)
        #expect(await ControlRun.of("check", "--socket", sidecar.path, "alice", "other").exitCode == 1)

        let counters = try await ControlRun.of("counters", "--socket", sidecar.path, "--json").json()
        let rows = try #require(counters["counters"] as? [[String: Any]])
        #expect(counters["shared"] as? Bool == false)
        #expect(rows.map { $0["grant"] as? String } == ["alice"])
        #expect(rows.first?["remaining"] as? Int == 0)

        let status = try await ControlRun.of("status", "--socket", sidecar.path, "--wait", "--json").json()
        #expect(status["checks"] as? Int == 13)
        #expect(status["ready"] as? Bool == true)
    }

    /// The Redis user that deploy/ recommends may do what a sidecar needs, and nothing else.
    @Test func theRecommendedRedisUserIsEnough() async throws {
        let folder = try TemporaryFolder()
        let acl = try String(contentsOfFile: Repository.path("deploy/redis/acl.txt"), encoding: .utf8)
        let path = try folder.write(acl.replacing("CHANGE-ME", with: "secret"), to: "acl.txt")
        let redis = try await RedisProcess(configuration: ["aclfile \(path)"])
        let sidecar = try await Sidecar(redis: redis.url, user: "sluice", password: "secret")

        let status = try await ControlRun.of("status", "--socket", sidecar.path, "--wait", "--json").json()
        #expect(status["counting"] as? String == "shared")
        let server = (status["redis"] as? [String: Any])?["server"] as? String
        #expect(server?.hasPrefix("Redis ") == true, "INFO is allowed")
        for expected: Int32 in [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] {
            let check = await ControlRun.of("check", "--socket", sidecar.path, "alice", "run", "--json")
            #expect(check.exitCode == expected)
            #expect(try check.json()["source"] as? String == "shared")
        }
        let counters = try await ControlRun.of("counters", "--socket", sidecar.path, "--json").json()
        #expect(counters["shared"] as? Bool == true, "SCAN and MGET are allowed")
        #expect((counters["counters"] as? [[String: Any]])?.first?["shared_used"] as? Int == 10)
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

/// A process of sluiced.
private final class Sidecar: Sendable {
    private let folder: TemporaryFolder
    private let process: ChildProcess
    let path: String

    /// Starts it, and waits until it answers.
    init(redis: String?, user: String? = nil, password: String? = nil) async throws {
        folder = try TemporaryFolder()
        path = folder.path("sluice.sock")
        let policy = try folder.write(
            #"{"version": "1", "default": "deny", "tools": {"run": {"limits": [{"counter": "c", "window": "hour", "max": 10}]}}}"#,
            to: "policy.json")
        var arguments = ["--socket", path, "--policy", policy, "--redis", redis ?? "none"]
        if let user { arguments += ["--redis-user", user] }
        process = try ChildProcess(
            Repository.program("sluiced"), arguments,
            environment: password.map { ["SLUICE_REDIS_PASSWORD": $0] } ?? [:])
        let (path, process) = (path, process)
        try await waitUntil("sluiced listens", timeout: .seconds(20)) {
            guard process.isRunning else { throw SupportError("sluiced did not start:\n\(process.errors)") }
            return FileManager.default.fileExists(atPath: path)
        }
    }
}

private enum Repository {
    /// A path in the repository.
    static func path(_ relative: String, file: String = #filePath) -> String {
        URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("../../\(relative)")
            .standardizedFileURL.path
    }

    /// A program of this package, which lies beside the tests.
    static func program(_ name: String) -> String {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent(name).path
    }
}
