import Foundation
import Support
import Testing

/// Counters straight from Redis, without a sidecar.
@Suite struct RedisCountersTests {
    private static let policy =
        #"{"version": "1", "default": "deny", "tools": {"run": {"limits": [{"counter": "c", "window": "minute", "max": 6, "#
        + #""burst": 10, "scope": "grant", "algorithm": "token_bucket"}]}}}"#

    /// Buckets, which have no windows: the clock does not matter. It leaks, so its time is far ahead.
    private static func fill(_ redis: RedisProcess, prefix: String = "sluice") throws {
        for (grant, level) in [("alice", 600_000), ("bob", 120_000)] {
            let now = Int(Date().timeIntervalSince1970 * 1000) + 50_000
            try redis.command("SET", "\(prefix):2:{\(grant)}:run:c:b60", "\(level) \(now)", "EX", "900")
        }
    }

    private static func policyFile(_ folder: TemporaryFolder) throws -> String {
        try Self.policy.write(toFile: folder.path("policy.json"), atomically: true, encoding: .utf8)
        return folder.path("policy.json")
    }

    private static func usages(_ run: ControlRun) throws -> [[String]] {
        let counters = try run.json()["counters"] as? [[String: Any]] ?? []
        return counters.map { [$0["grant"] as? String ?? "", "\($0["shared_used"] ?? "")", "\($0["max"] ?? "")"] }
    }

    @Test func theyAreReadAndNothingIsWritten() async throws {
        let redis = try await RedisProcess()
        try Self.fill(redis)
        let folder = try TemporaryFolder()
        let words = ["counters", "--redis", redis.url, "--json"]
        let plain = await ControlRun.of(words)
        #expect(plain.exitCode == 0 && plain.errors == "")
        #expect(try Self.usages(plain) == [["alice", "10", "<null>"], ["bob", "2", "<null>"]])
        let policy = ["--policy", try Self.policyFile(folder)]
        #expect(try await Self.usages(ControlRun.of(words + policy)) == [["alice", "10", "10"], ["bob", "2", "10"]])
        let full = await ControlRun.of(words + policy + ["--at-limit"])
        #expect(try Self.usages(full) == [["alice", "10", "10"]])
        let sorted = await ControlRun.of(words + policy + ["--sort", "remaining", "--limit", "1"])
        #expect(try Self.usages(sorted) == [["alice", "10", "10"]] && sorted.json()["truncated"] as? Bool == true)
        #expect(
            try await Self.usages(ControlRun.of(["counters", "bob"] + words.dropFirst())) == [["bob", "2", "<null>"]])
        #expect(try await Self.usages(ControlRun.of(words + ["--key-prefix", "other"])).isEmpty)
        let table = await ControlRun.of("counters", "bob", "--redis", redis.url)
        #expect(table.output.hasSuffix("\n1 counter, read from Redis just now\n"))
        #expect(try redis.command("DBSIZE").integer == 2)
    }

    @Test(.enabled(if: Certificates.isOpenSSLThere, "openssl is needed to make certificates"))
    func overTLSWithAPassword() async throws {
        let certificates = try Certificates()
        try await certificates.makeAuthority("ca")
        try await certificates.make("server", by: "ca", for: "DNS:localhost,IP:127.0.0.1")
        let port = try LoopbackPort.free()[0]
        let redis = try await RedisProcess(
            configuration: [
                "tls-port \(port)", "tls-cert-file \(certificates.path("server.crt"))",
                "tls-key-file \(certificates.path("server.key"))", "tls-ca-cert-file \(certificates.path("ca.crt"))",
                "tls-auth-clients no", "requirepass secret",
            ], password: "secret")
        try Self.fill(redis)
        let folder = try TemporaryFolder()
        try "secret\n".write(toFile: folder.path("password"), atomically: true, encoding: .utf8)
        let words = [
            "counters", "--json", "--redis", "rediss://localhost:\(port)", "--redis-password-file",
            folder.path("password"),
        ]
        let run = await ControlRun.of(words + ["--redis-ca", certificates.path("ca.crt")])
        #expect(try Self.usages(run) == [["alice", "10", "<null>"], ["bob", "2", "<null>"]])
        let distrusted = await ControlRun.of(words)
        #expect(distrusted.exitCode == 2 && !distrusted.output.contains("secret"))
    }

    @Test func whatDoesNotGoTogetherIsWrongUsage() async throws {
        for (words, expected) in [
            (["--policy", "p.json"], "go with --redis"), (["--redis", "http://a"], "--redis: the scheme"),
            (["--redis", "redis+cluster://a:1"], "a cluster is read by its sidecars"),
            (["--redis", "redis://a", "--at-limit"], "add --policy"),
            (["--redis", "redis://a", "--cursor", "0.s1"], "--cursor does not go with --redis"),
            (["--redis", "redis://a", "--key-prefix", "{a}"], "--key-prefix: expected a word without braces"),
            (["alice", "--grant", "bob"], "the grant is given twice"),
        ] {
            let run = await ControlRun.of(["counters"] + words)
            #expect(run.exitCode == 64 && run.errors.contains(expected), "\(words): \(run.errors)")
        }
    }

    @Test func aRedisThatIsNotThereIsNamed() async throws {
        let folder = try TemporaryFolder()
        let run = await ControlRun.of("counters", "--redis", "unix://\(folder.path("none.sock"))")
        #expect(run.exitCode == 2)
        #expect(run.errors.hasSuffix("none.sock: cannot connect: No such file or directory\n"))
    }
}
