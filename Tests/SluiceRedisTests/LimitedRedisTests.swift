import Foundation
import SluiceEngine
import Support
import Testing

@testable import SluiceRedis

/// Servers and users that forbid things: what works all the same, what is lost, and what rules out that anything counts.
@Suite struct LimitedRedisTests {
    /// What is forbidden.
    struct Forbidden: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Lines of redis.conf.
        var configuration: [String] = []
        /// Rights that a user is given and denied after all others; nil: the default user.
        var rights: String?
        /// What the limitations, or the reason of a refusal, hold, with any of each list: versions word it differently.
        var words: [[String]]

        static func renamed(_ command: String, _ words: String...) -> Forbidden {
            Forbidden(
                testDescription: "\(command) renamed", configuration: ["rename-command \(command) \"\""],
                words: words.map { [$0] } + [["unknown command '\(command)'", "unknown command `\(command)`"]])
        }

        static func denied(_ rights: String, _ words: [String]...) -> Forbidden {
            Forbidden(testDescription: rights, rights: rights, words: words)
        }
    }

    private static let inScript = [
        "can't run this command", "no permissions to run", "can't publish", "access a channel",
    ]

    private static let usable = [
        Forbidden.renamed("SCRIPT", "SCRIPT LOAD is refused"),
        .renamed("EVALSHA", "every batch brings its script along"),
        .renamed("EVAL", "scripts that Redis loses cost a connection"),
        .renamed("CLIENT", "CLIENT SETNAME is refused"),
        .renamed("INFO", "whether Redis may evict counters is unknown, since INFO is refused"),
        .denied("-script", ["SCRIPT LOAD is refused"], ["permissions to run the 'script"]),
        .denied("-evalsha", ["every batch brings its script along"], ["permissions to run the 'evalsha'"]),
        .denied("-eval", ["scripts that Redis loses cost a connection"], ["permissions to run the 'eval'"]),
        .denied("-publish", ["scripts may not run PUBLISH"], inScript),
        .denied("resetchannels", ["scripts may not run PUBLISH"], inScript),
        .denied("-zadd -zrem", ["scripts may not run ZADD, ZREM"], inScript),
        .denied("-client", ["CLIENT SETNAME is refused"], ["permissions to run the 'client"]),
        .denied("-info", ["INFO is refused"], ["permissions to run the 'info' command"]),
        Forbidden(
            testDescription: "volatile-lru", configuration: ["maxmemory 100mb", "maxmemory-policy volatile-lru"],
            words: [["set maxmemory-policy to noeviction (maxmemory-policy is volatile-lru)"]]),
        Forbidden(testDescription: "nothing", words: []),
        Forbidden(testDescription: "CONFIG renamed", configuration: ["rename-command CONFIG \"\""], words: []),
        .denied("-config -keys -flushall"),
    ]

    private static let unusable = [
        Forbidden(
            testDescription: "a node of a cluster", configuration: ["cluster-enabled yes"],
            words: [["this is a node of a Redis Cluster"]]),
        .denied("-script -eval", ["refuses both ways to run scripts"], ["'script"], ["'eval'"]),
        .denied("-evalsha -eval", ["refuses both ways to run scripts"], ["'evalsha'"], ["'eval'"]),
        .denied("-set", ["Redis does not let scripts of this user run SET: "], inScript),
        .denied("-incrby -time", ["Redis does not let scripts of this user run TIME, INCRBY: "], inScript),
        .denied(
            "resetkeys ~other:*", ["Redis does not let this user use its keys: NOPERM"],
            ["access one of the keys", "access a key"]),
    ]

    private func link(_ forbidden: Forbidden) async throws -> (RedisProcess, LinkHarness) {
        let redis = try await RedisProcess(configuration: forbidden.configuration)
        var credentials: RedisCredentials?
        if let rights = forbidden.rights {
            let words = rights.split(separator: " ").map(String.init)
            try redis.command(["ACL", "SETUSER", "some", "on", ">pw", "~*", "&*", "+@all"] + words)
            credentials = RedisCredentials(user: "some", password: "pw")
        }
        let link = try await LinkHarness.make(
            .init(address: try RedisAddress(redis.url), credentials: credentials, replica: 7))
        return (redis, link)
    }

    private func holds(_ text: String, _ words: [[String]]) -> Bool {
        words.allSatisfy { any in any.contains { text.contains($0) } }
    }

    @Test(arguments: usable) func countsAndSaysWhatIsLost(_ forbidden: Forbidden) async throws {
        let (redis, link) = try await link(forbidden)
        let event = try await link.connect()
        guard case .connected(let server) = event else { throw SupportError("\(event)") }
        #expect(!server.contains("unknown") && server.hasSuffix(", master"), "\(server)")
        let limitations = try await link.limitations()
        #expect(limitations.isEmpty == forbidden.words.isEmpty, "\(limitations)")
        #expect(limitations.count <= 1 && holds(limitations.joined(), forbidden.words), "\(limitations)")
        #expect(try redis.command("KEYS", "*") == .array([]), "the check of commands leaves nothing")
        // Plain ones and others: each has a script of its own. Twice, since the first may bring it along.
        for sequence in stride(from: Int64(1), through: 7, by: 2) {
            var batch = Batch(sequence: sequence, acknowledged: sequence - 1)
            batch.add(TestCharge(key: "a", max: 100))
            #expect(try await link.run(batch).status == .ran)
            batch = Batch(sequence: sequence + 1, acknowledged: sequence)
            batch.add(cost: 1, [TestCharge(key: "a", max: 100, isShadow: true)])
            #expect(try await link.run(batch).status == .ran)
        }
        #expect(try redis.command("GET", "a") == .string("8"))
    }

    @Test(arguments: unusable) func saysWhyItCannotCount(_ forbidden: Forbidden) async throws {
        let (redis, link) = try await link(forbidden)
        guard case .closed(let reason) = try await link.connect() else { throw SupportError("connected") }
        withExtendedLifetime(redis) {}
        #expect(holds(reason, forbidden.words), "\(reason)")
        #expect(!reason.contains("\n") && !reason.contains("args beginning"))
    }

    /// Scripts that may not be loaded are brought along once; those that may not be called by hash, each time.
    @Test(arguments: [("-script", 2), ("-evalsha", 8)])
    func scriptsAreBroughtAlong(_ rights: String, times: Int) async throws {
        let (redis, link) = try await link(.denied(rights))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        try redis.command("CONFIG", "RESETSTAT")
        for sequence in Int64(1)...8 {
            var batch = Batch(sequence: sequence, acknowledged: sequence - 1)
            if sequence % 2 == 0 {
                batch.add(TestCharge(key: "a", max: 100))
            } else {
                batch.add(cost: 1, [TestCharge(key: "a", max: 100, isShadow: true)])
            }
            #expect(try await link.run(batch).status == .ran)
        }
        #expect(try redis.command("INFO", "commandstats").text?.contains("cmdstat_eval:calls=\(times),") == true)
    }

    /// A user who may not bring scripts along opens a connection again when Redis has lost them, and loads them then.
    @Test func lostScriptsAreLoadedByTheNextConnection() async throws {
        let (redis, link) = try await link(.denied("-eval"))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        try redis.command("SCRIPT", "FLUSH")
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 9))
        let lost = batch
        link.call { $0.send(lost) }
        guard case .closed(let reason) = try await link.next() else { throw SupportError("not closed") }
        #expect(reason.hasPrefix("NOPERM"))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        batch.sequence = 2
        #expect(try await link.run(batch).results == [1, 1])
    }

    /// A right that goes later, and that a script meets while it decides, is found by the next connection.
    @Test func aRightThatGoesIsFoundOut() async throws {
        let (redis, link) = try await link(.denied("+@all"))
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        try redis.command("ACL", "SETUSER", "some", "-incrby")
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 9))
        #expect(try await link.run(batch).results == [-2])
        guard case .closed(let reason) = try await link.next() else { throw SupportError("not closed") }
        #expect(reason.hasPrefix("Redis refuses what it allowed before: ") && holds(reason, [Self.inScript]))
        guard case .closed(let again) = try await link.connect() else { throw SupportError("connected") }
        #expect(again.hasPrefix("Redis does not let scripts of this user run INCRBY: "))
        try redis.command("ACL", "SETUSER", "some", "+incrby")
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
    }

    /// What the scripts call is what is tried when a connection opens, and what deploy/ allows.
    @Test func everyCommandOfTheScriptsIsTried() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
        let folder = root.appendingPathComponent("Sources/SluiceRedis/Scripts")
        let files = try FileManager.default.subpathsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".lua") }
        let scripts = try files.map {
            try String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8)
        }.joined()
        let called = Set(scripts.matches(of: /(?:call|try)\('([A-Z]+)'/).map { String($0.1) })
        #expect(called.contains("INCRBY") && called == Set(CommandCheck.uses.keys))
        let tried = CommandCheck.script.matches(of: /attempt\('([A-Z]+)'/).map { String($0.1) }
        #expect(Set(tried) == called && tried.count == called.count)
        let acl = try String(contentsOf: root.appendingPathComponent("deploy/redis/acl.txt"), encoding: .utf8)
        for command in called { #expect(acl.contains(" +\(command.lowercased())"), "\(command)") }
    }

    // MARK: - Servers that are not the right ones

    @Test(arguments: [
        ("5.0.14", "standalone", "this is Redis 5.0.14, and Sluice needs 6.2 or newer"),
        ("6.0.20", "standalone", "this is Redis 6.0.20, and Sluice needs 6.2 or newer"),
        ("7.0.15", "cluster", "this is a node of a Redis Cluster, where each node holds a part of the keys"),
        ("7.0.15", "sentinel", "this is a Redis Sentinel, which holds no keys"),
    ])
    func whatItIsIsNamed(version: String, mode: String, words: String) async throws {
        let server = try await StubRedis.start([StubRedis.greeting(version: version, mode: mode)])
        let link = try await LinkHarness.make(server.url)
        guard case .closed(let reason) = try await link.connect() else { throw SupportError("connected") }
        #expect(reason.hasPrefix(words), "\(reason)")
    }

    @Test(arguments: ["6.2.0", "6.10.1", "10.0.0", "255.255.255", "7"])
    func newerOnesAreTaken(version: String) async throws {
        let server = try await StubRedis.start([StubRedis.greeting(version: version)])
        let link = try await LinkHarness.make(server.url)
        #expect(try await link.connect() == .connected(server: "Redis \(version), master"))
    }

    /// A server that knows passwords only answers the ACL form with its arity.
    @Test(arguments: ["ERR wrong number of arguments for 'auth' command"])
    func aServerWithoutUsersGetsThePasswordAlone(_ refusal: String) async throws {
        let rest = "-NOAUTH Authentication required.\r\n"
        let server = try await StubRedis.start(
            ["-\(refusal)\r\n" + String(repeating: rest, count: 8), "+OK\r\n" + StubRedis.greeting], handshakes: 2)
        let link = try await LinkHarness.make(
            .init(
                address: try RedisAddress(server.url), credentials: RedisCredentials(user: "u", password: "pw"),
                replica: 7))
        #expect(try await link.connect() == .connected(server: "Redis 9.9.9, master"))
        let limitations = try await link.limitations()
        #expect(limitations == ["this server knows no users: the password was sent without the user (\(refusal))"])
    }

    /// Without a password there is nothing to send, and a user alone is one whom any password lets in.
    @Test func anEmptyPasswordIsNone() async throws {
        let redis = try await RedisProcess(configuration: ["user open on nopass ~* &* +@all"])
        for user in [nil, "", "default", "open"] {
            let credentials = RedisCredentials.given(user: user, password: "")
            #expect((credentials == nil) == (user != "open"))
            let link = try await LinkHarness.make(
                .init(address: try RedisAddress(redis.url), credentials: credentials, replica: 7))
            guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        }
        #expect(RedisCredentials.given(user: "", password: "pw") == RedisCredentials(password: "pw"))
    }

    /// A proxy that closes on what it does not know gives no reason: the command is named.
    @Test func aProxyThatClosesIsSuspected() async throws {
        let server = try await StubRedis.start([""], closes: true)
        let link = try await LinkHarness.make(server.url)
        guard case .closed(let reason) = try await link.connect() else { throw SupportError("connected") }
        #expect(reason.hasPrefix("Redis closed the connection at CLIENT SETNAME") && reason.contains("a proxy"))
    }

    /// The same behind a real one, where Debian's twemproxy is there.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/sbin/nutcracker"), "no nutcracker"))
    func twemproxyIsRefusedWithAReason() async throws {
        let redis = try await RedisProcess()
        let folder = try TemporaryFolder()
        let path = folder.path("proxy.sock")
        let file = try folder.write(
            """
            pool:
              listen: \(path)
              hash: fnv1a_64
              distribution: ketama
              redis: true
              servers:
               - \(redis.socketPath):1 redis
            """, to: "nutcracker.yml")
        // Its statistics have a port that cannot be left out, so they get an address that nobody else has.
        let address = "127.77.\(getpid() >> 8 & 0xff).\(getpid() & 0xff)"
        let proxy = try ChildProcess("/usr/sbin/nutcracker", ["-c", file, "-a", address])
        try await waitUntil("nutcracker listens\n\(proxy.errors)") { FileManager.default.fileExists(atPath: path) }
        let link = try await LinkHarness.make("unix://\(path)")
        guard case .closed(let reason) = try await link.connect() else { throw SupportError("connected") }
        #expect(reason.hasPrefix("Redis closed the connection at CLIENT SETNAME"), "\(reason)")
    }
}
