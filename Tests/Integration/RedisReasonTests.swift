import Foundation
import Support
import Testing

extension Integration {
    /// Redis can be reached and answers with errors: operators see the reason, in Redis' own words.
    @Suite struct RedisReasons {
        private struct Odd: Sendable, CustomTestStringConvertible {
            let testDescription: String
            let configuration: [String]
            /// What Redis says, with any of these (its versions word it differently).
            let words: [String]
        }

        private static let user = "user sluice on >secret resetchannels &*"
        private static let odd = [
            Odd(
                testDescription: "no right to run scripts", configuration: ["\(user) ~* +@all -evalsha -eval"],
                words: ["has no permissions to run the 'evalsha' command"]),
            Odd(
                testDescription: "no right to these keys", configuration: ["\(user) ~other:* +@all"],
                words: ["No permissions to access a key", "permissions to access one of the keys"]),
            Odd(
                testDescription: "no right to SET inside the script", configuration: ["\(user) ~* +@all -set"],
                words: ["can't run this command", "user executing the script"]),
            Odd(
                testDescription: "EVALSHA and EVAL renamed",
                configuration: ["\(user) ~* +@all", "rename-command EVALSHA \"\"", "rename-command EVAL \"\""],
                words: ["unknown command 'EVALSHA'", "unknown command `EVALSHA`"]),
            Odd(
                testDescription: "SCRIPT and EVAL renamed",
                configuration: ["\(user) ~* +@all", "rename-command SCRIPT \"\"", "rename-command EVAL \"\""],
                words: ["unknown command 'SCRIPT'", "unknown command `SCRIPT`"]),
            Odd(
                testDescription: "no right to INCRBY inside the script", configuration: ["\(user) ~* +@all -incrby"],
                words: ["does not let scripts of this user run INCRBY: "]),
            Odd(
                testDescription: "a node of a cluster",
                configuration: ["\(user) ~* +@all", "cluster-enabled yes"],
                words: ["this is a node of a Redis Cluster"]),
            Odd(
                testDescription: "a replica", configuration: ["\(user) ~* +@all", "replicaof 127.0.0.1 1"],
                words: ["READONLY"]),
            Odd(
                testDescription: "no memory", configuration: ["\(user) ~* +@all", "maxmemory 1"],
                words: ["OOM command not allowed"]),
            Odd(
                testDescription: "too few replicas", configuration: ["\(user) ~* +@all", "min-replicas-to-write 1"],
                words: ["NOREPLICAS"]),
        ]

        @Test(arguments: odd)
        private func theReasonIsReported(_ odd: Odd) async throws {
            let redis = try await RedisProcess(configuration: odd.configuration)
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: redis.url, store: redis, arguments: ["--redis-user", "sluice"],
                environment: ["SLUICE_REDIS_PASSWORD": "secret"])
            let holdsWords = { (text: String) in odd.words.contains { text.contains($0) } }
            try await waitUntil("the log says why\n\(sidecar.log)") { holdsWords(sidecar.log) }
            let client = try sidecar.client()
            #expect(try holdsWords(client.info("redis_last_error") ?? ""))
            #expect(try client.info("ready") == "0")
            #expect(try sidecar.figure("redis_unavailable_since_ms") > 1_700_000_000_000)
            #expect(try client.check(Grants.next(), "opencode_run").source == "local")
            // Tried again and again, it is said once.
            let attempts = try redis.info("total_commands_processed").flatMap { Int($0) } ?? 0
            try await waitUntil("it was tried some more") {
                try (redis.info("total_commands_processed").flatMap { Int($0) } ?? 0) > attempts + 20
            }
            #expect(sidecar.log.split(whereSeparator: \.isNewline).count { holdsWords(String($0)) } == 1)
            #expect(!sidecar.log.contains("secret") && !sidecar.log.contains("args beginning"))
        }

        /// Also if it worked before: the reason is why it does not work now, not only that the connection closed.
        @Test func aPasswordThatChangedIsReported() async throws {
            let redis = try await RedisProcess(configuration: ["\(Self.user) ~* +@all"])
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, redis: redis.url, store: redis, arguments: ["--redis-user", "sluice"],
                environment: ["SLUICE_REDIS_PASSWORD": "secret"])
            try await sidecar.waitUntilShared()
            try redis.command("ACL", "SETUSER", "sluice", "resetpass", ">another")
            try redis.command("CLIENT", "KILL", "USER", "sluice")
            try await waitUntil("the log says why\n\(sidecar.log)") { sidecar.log.contains("WRONGPASS") }
            #expect(try sidecar.client().info("redis_last_error")?.contains("WRONGPASS") == true)
            try redis.command("ACL", "SETUSER", "sluice", ">secret")
            try await sidecar.waitUntilShared()
        }

        /// Redis has no password, and one was given: all that Redis says of it, but never the password.
        @Test func aPasswordThatNobodyAskedForIsReported() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, over: redis, environment: ["SLUICE_REDIS_PASSWORD": "hunter2"])
            try await waitUntil("the log says why\n\(sidecar.log)") {
                sidecar.log.contains("without any password configured for the default user")
            }
            #expect(!sidecar.log.contains("hunter2"))
        }
    }
}
