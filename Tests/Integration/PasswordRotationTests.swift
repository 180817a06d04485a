import Foundation
import Support
import Testing

extension Integration {
    /// Passwords and users that change while a sidecar runs.
    @Suite struct PasswordRotation {
        private static func user(_ password: String) -> [String] {
            ["ACL", "SETUSER", "sluice", "reset", "on", ">\(password)", "~*", "&*", "+@all"]
        }

        @Test func thePasswordFileIsReadAtEachConnect() async throws {
            let redis = try await RedisProcess(configuration: ["user sluice on >first ~* &* +@all"])
            let folder = try TemporaryFolder()
            let file = try folder.write("first\n", to: "password")
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, over: redis,
                arguments: ["--redis-user", "sluice", "--redis-password-file", file])
            try await sidecar.waitUntilShared()
            // The server first: until the file follows, it is said what is wrong.
            try redis.command(Self.user("second"))
            try redis.command("CLIENT", "KILL", "USER", "sluice")
            try await waitUntil("the log says why\n\(sidecar.log)") { sidecar.log.contains("WRONGPASS") }
            try folder.write("second\n", to: "password")
            try await sidecar.waitUntilShared()
            // The file first, as tools that rotate do: nothing is lost.
            try redis.command("ACL", "SETUSER", "sluice", ">third")
            try folder.write("third", to: "password")
            try redis.command("ACL", "SETUSER", "sluice", "<second")
            try redis.command("CLIENT", "KILL", "USER", "sluice")
            try await sidecar.waitUntilShared()
            #expect(try sidecar.client().check(Grants.next(), "opencode_run").source == "shared")
            // A file that is gone is named.
            try FileManager.default.removeItem(atPath: file)
            try redis.command("CLIENT", "KILL", "USER", "sluice")
            try await waitUntil("the log names the file\n\(sidecar.log)") {
                sidecar.log.contains("\(file): cannot be opened")
            }
            try folder.write("third", to: "password")
            try await sidecar.waitUntilShared()
            for password in ["first", "second", "third"] { #expect(!sidecar.log.contains(password)) }
        }

        /// A user who is made again is another one: Redis cuts the old one's connections.
        @Test func aUserThatIsReplacedIsConnectedAgain() async throws {
            let redis = try await RedisProcess(configuration: ["user sluice on >first ~* &* +@all"])
            let folder = try TemporaryFolder()
            let file = try folder.write("first", to: "password")
            let sidecar = try await SidecarProcess(
                policy: Policies.seed, over: redis,
                arguments: ["--redis-user", "sluice", "--redis-password-file", file])
            try await sidecar.waitUntilShared()
            try folder.write("second", to: "password")
            try redis.command("ACL", "DELUSER", "sluice")
            try redis.command(Self.user("second"))
            try await sidecar.waitUntilShared()
            try await sidecar.waitUntilSubscribed()
        }
    }
}
