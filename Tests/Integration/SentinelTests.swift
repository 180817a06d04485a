import Foundation
import Support
import Testing

extension Integration {
    /// Redis behind sentinels: one master with a replica, watched by three.
    @Suite struct Sentinel {
        @Test func aFailoverIsFollowed() async throws {
            let stage = try await SentinelStage()
            let sidecar = try await stage.sidecar()
            try await sidecar.waitUntilShared()
            #expect(sidecar.log.contains("127.0.0.1:\(stage.ports[0])"), "\(sidecar.log)")
            let client = try sidecar.client()
            let grant = Grants.next()
            var admitted = 0
            for _ in 0..<4 where try client.check(grant, "tool").verdict == "allow" { admitted += 1 }
            #expect(admitted == 4)
            try await stage.waitUntilReplicated()
            try await stage.servers[0].end()
            try await waitUntil("it counts at the other server\n\(sidecar.log)", timeout: .seconds(90)) {
                // Calls go on all the time, and the hour's window stays within what its table of bounds says for one
                // replica: its maximum.
                if try client.check(grant, "tool").verdict == "allow" { admitted += 1 }
                return sidecar.log.contains("127.0.0.1:\(stage.ports[1])")
            }
            try await sidecar.waitUntilShared()
            try await sidecar.waitUntilSubscribed()
            for _ in 0..<20 where try client.check(grant, "tool").verdict == "allow" { admitted += 1 }
            #expect(admitted == 10)
            #expect(try client.check(Grants.next(), "tool").source == "shared")
        }

        /// The old master lives on as a replica: connections to it are left at once.
        @Test func aSwitchOfAMasterThatLivesIsFollowed() async throws {
            let stage = try await SentinelStage()
            let sidecar = try await stage.sidecar()
            try await sidecar.waitUntilShared()
            try await stage.failover()
            try await waitUntil("it counts at the other server\n\(sidecar.log)", timeout: .seconds(60)) {
                sidecar.log.contains("127.0.0.1:\(stage.ports[1])")
            }
            try await sidecar.waitUntilShared()
        }

        /// A master that hangs keeps its connections: only the sentinels know that it was replaced.
        @Test func aMasterThatHangsIsLeft() async throws {
            let stage = try await SentinelStage()
            let sidecar = try await stage.sidecar()
            try await sidecar.waitUntilShared()
            let client = try sidecar.client()
            let grant = Grants.next()
            #expect(try client.check(grant, "tool").verdict == "allow")
            try await stage.waitUntilReplicated()
            stage.servers[0].signal(SIGSTOP)
            try await waitUntil("it counts at the other server\n\(sidecar.log)", timeout: .seconds(90)) {
                sidecar.log.contains("127.0.0.1:\(stage.ports[1])")
            }
            try await sidecar.waitUntilShared()
            // Back again, it is a replica.
            stage.servers[0].signal(SIGCONT)
            var admitted = 1
            for _ in 0..<20 where try client.check(grant, "tool").verdict == "allow" { admitted += 1 }
            #expect(admitted == 10)
            #expect(try client.check(Grants.next(), "tool").source == "shared")
        }

        @Test func sentinelsThatAreGoneAreSkipped() async throws {
            let stage = try await SentinelStage()
            try await stage.sentinels[0].end()
            let sidecar = try await stage.sidecar()
            try await sidecar.waitUntilShared()
            // Without any, a connection that works is kept, and one that is lost is missed with one line.
            for sentinel in stage.sentinels { try await sentinel.end() }
            #expect(try sidecar.client().check(Grants.next(), "tool").source == "shared")
            _ = try stage.redisCLI(stage.ports[0], "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            try await waitUntil("the log says why\n\(sidecar.log)") { sidecar.log.contains("no sentinel answers: ") }
            let reason = try sidecar.client().info("redis_last_error") ?? ""
            for port in stage.sentinelPorts { #expect(reason.contains("127.0.0.1:\(port): ")) }
        }

        @Test func aWrongNameIsReported() async throws {
            let stage = try await SentinelStage()
            let sidecar = try await stage.sidecar(master: "nobody")
            try await waitUntil("the log says why\n\(sidecar.log)") {
                sidecar.log.contains("no sentinel knows the master \"nobody\"")
            }
            #expect(try sidecar.client().check(Grants.next(), "tool").source == "local")
        }

        /// All speak TLS and nothing else: the sentinels, the servers, and they among themselves.
        @Test(.enabled(if: Certificates.isOpenSSLThere, "openssl is needed to make certificates"))
        func sentinelsAndServersSpeakTLS() async throws {
            let certificates = try Certificates()
            for name in ["ca", "other"] { try await certificates.makeAuthority(name) }
            try await certificates.make("node", by: "ca", for: "DNS:localhost,IP:127.0.0.1")
            let stage = try await SentinelStage(certificates: certificates)
            let stranger = try await stage.sidecar(arguments: ["--redis-ca", certificates.path("other.crt")])
            let sidecar = try await stage.sidecar(arguments: ["--redis-ca", certificates.path("ca.crt")])
            try await sidecar.waitUntilShared()
            try await sidecar.waitUntilSubscribed()
            let client = try sidecar.client()
            let grant = Grants.next()
            #expect(try client.check(grant, "tool").source == "shared")
            #expect(try client.command("COUNTERS", "GRANT", grant)["counters"]?.elements?.count == 1)
            try await waitUntil("the log says why\n\(stranger.log)") { stranger.log.contains("not issued by a valid") }
            #expect(try stranger.client().check(grant, "tool").source == "local")
            try await stage.waitUntilReplicated()
            try await stage.servers[0].end()
            try await waitUntil("it counts at the other server\n\(sidecar.log)", timeout: .seconds(90)) {
                sidecar.log.contains("127.0.0.1:\(stage.ports[1])")
            }
            try await sidecar.waitUntilShared()
            var admitted = 1
            for _ in 0..<20 where try client.check(grant, "tool").verdict == "allow" { admitted += 1 }
            #expect(admitted == 10)
        }

        @Test func sentinelsHaveAPasswordOfTheirOwn() async throws {
            let stage = try await SentinelStage(password: "open")
            let folder = try TemporaryFolder()
            let file = try folder.write("wrong\n", to: "password")
            let sidecar = try await stage.sidecar(arguments: ["--redis-sentinel-password-file", file])
            try await waitUntil("the log says why\n\(sidecar.log)") { sidecar.log.contains("WRONGPASS") }
            try folder.write("open\n", to: "password")
            try await sidecar.waitUntilShared()
            #expect(!sidecar.log.contains(" open"))
        }
    }
}

/// Two servers, the second a replica of the first, and three sentinels, on ports of loopback.
struct SentinelStage {
    let folder: TemporaryFolder
    let ports: [Int]
    let sentinelPorts: [Int]
    let servers: [ChildProcess]
    let sentinels: [ChildProcess]
    private let password: String?
    private let certificates: Certificates?

    /// - Parameter certificates: with `node` and `ca`; then there is nothing but TLS.
    init(password: String? = nil, certificates: Certificates? = nil) async throws {
        self.password = password
        self.certificates = certificates
        let tls =
            certificates.map {
                [
                    "tls-cert-file \($0.path("node.crt"))", "tls-key-file \($0.path("node.key"))",
                    "tls-ca-cert-file \($0.path("ca.crt"))", "tls-auth-clients no", "tls-replication yes",
                ]
            } ?? []
        func door(_ port: Int) -> [String] {
            certificates == nil ? ["port \(port)"] : ["port 0", "tls-port \(port)"] + tls
        }
        let folder = try TemporaryFolder()
        let all = try LoopbackPort.free(5)
        let (ports, sentinelPorts) = (Array(all[..<2]), Array(all[2...]))
        (self.folder, self.ports, self.sentinelPorts) = (folder, ports, sentinelPorts)
        servers = try ports.enumerated().map { index, port in
            let lines =
                door(port) + [
                    "bind 127.0.0.1", "save \"\"", "dir \(folder.path)", "dbfilename \(port).rdb",
                    "repl-diskless-sync-delay 0",
                ] + (index == 0 ? [] : ["replicaof 127.0.0.1 \(ports[0])"])
            let file = try folder.write(lines.joined(separator: "\n") + "\n", to: "server-\(port).conf")
            return try ChildProcess("redis-server", [file])
        }
        let first = ports[0]
        let authority = certificates?.path("ca.crt")
        let cli: @Sendable (Int, String?, [String]) throws -> String = {
            try Self.redisCLI($0, $1, authority: authority, $2)
        }
        try await waitUntil("the replica is in step", timeout: .seconds(60)) {
            try cli(first, nil, ["INFO", "replication"]).contains("state=online")
        }
        sentinels = try sentinelPorts.map { port in
            let lines =
                door(port) + [
                    "bind 127.0.0.1", "dir \(folder.path)",
                    "sentinel monitor mymaster 127.0.0.1 \(ports[0]) 2",
                    "sentinel down-after-milliseconds mymaster 1000",
                    "sentinel failover-timeout mymaster 10000",
                ] + (password.map { ["requirepass \($0)", "sentinel sentinel-pass \($0)"] } ?? [])
            let file = try folder.write(lines.joined(separator: "\n") + "\n", to: "sentinel-\(port).conf")
            return try ChildProcess("redis-server", [file, "--sentinel"])
        }
        try await waitUntil("the sentinels know each other and the replica", timeout: .seconds(60)) {
            try sentinelPorts.allSatisfy {
                let state = try cli($0, password, ["INFO", "sentinel"])
                return state.contains("status=ok") && state.contains("slaves=1,sentinels=3")
            }
        }
    }

    func sidecar(master: String = "mymaster", arguments: [String] = []) async throws -> SidecarProcess {
        let list = sentinelPorts.map { "127.0.0.1:\($0)" }.joined(separator: ",")
        let policy = """
            {"version": "1", "default": "deny", "tools": {"tool": {"limits": [
            {"counter": "calls", "window": "day", "max": 10, "scope": "grant"}]}}}
            """
        let scheme = certificates == nil ? "redis" : "rediss"
        return try await SidecarProcess(
            policy: policy, redis: "\(scheme)+sentinel://\(list)/\(master)", store: folder, replicas: 1, budget: "1s",
            arguments: arguments)
    }

    /// Waits until the replica has all that the master has.
    func waitUntilReplicated() async throws {
        let master = ports[0]
        try await waitUntil("the replica has it all") {
            try redisCLI(master, "WAIT", "1", "1000").hasPrefix("1")
        }
    }

    /// Lets the sentinels make the replica the master, though the master lives.
    func failover() async throws {
        try await waitUntil("a sentinel begins a failover") {
            try redisCLI(sentinelPorts[0], "SENTINEL", "FAILOVER", "mymaster").contains("OK")
        }
    }

    func redisCLI(_ port: Int, _ words: String...) throws -> String {
        try Self.redisCLI(port, password, authority: certificates?.path("ca.crt"), words)
    }

    /// - Returns: its output; empty if it could not connect.
    private static func redisCLI(
        _ port: Int, _ password: String?, authority: String?, _ words: [String]
    ) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["redis-cli", "-p", "\(port)"] + (authority.map { ["--tls", "--cacert", $0] } ?? [])
            + (password.map { ["--no-auth-warning", "-a", $0] } ?? []) + words
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self)
    }
}
