import NIOCore
import SluiceEngine
import SluiceRedis
import Support
import Testing

/// A link that asks sentinels: stubs that answer as a test says.
@Suite struct SentinelLinkTests {
    private typealias Respond = @Sendable ([String]) -> StubServer.Action

    /// - Parameter location: `127.0.0.1:PORT` of the master that it names.
    private func sentinel(naming location: String, switching: String? = nil) async throws -> StubServer {
        let parts = location.split(separator: ":").map(String.init)
        let address = "*2\r\n$\(parts[0].count)\r\n\(parts[0])\r\n$\(parts[1].count)\r\n\(parts[1])\r\n"
        return try await sentinel { words in
            switch words.first {
            case "SENTINEL": .answer(address)
            case "SUBSCRIBE":
                .answer(
                    "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
                        + (switching.map {
                            "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$\($0.utf8.count)\r\n\($0)\r\n"
                        } ?? ""))
            default: .answer("+OK\r\n")
            }
        }
    }

    private func sentinel(_ respond: @escaping Respond) async throws -> StubServer {
        try await StubServer(tcp: true, respond: respond)
    }

    private func location(_ server: StubServer) -> String { String(server.url.dropFirst("redis://".count)) }

    private func link(_ sentinels: [StubServer], limit: Int64 = 60_000) async throws -> LinkHarness {
        var limits = RedisTimeLimits.patient
        limits.sentinel = .milliseconds(limit)
        let list = sentinels.map(location).joined(separator: ",")
        return try await LinkHarness.make("redis+sentinel://\(list)/mymaster", limits: limits)
    }

    @Test func theNextSentinelIsAskedWhereOneIsSilent() async throws {
        let master = try await StubRedis.start([StubRedis.greeting], tcp: true)
        let silent = try await sentinel { $0.first == "SENTINEL" ? .ignore : .answer("+OK\r\n") }
        let good = try await sentinel(naming: location(master))
        defer { withExtendedLifetime((silent, good)) {} }
        let link = try await link([silent, good], limit: 500)
        #expect(try await link.connect() == .connected(server: "Redis 9.9.9, master at \(location(master))"))
    }

    @Test(arguments: [
        ("*-1\r\n", "no sentinel knows the master \"mymaster\" (asked: "),
        ("-ERR unknown command 'SENTINEL'\r\n", "ERR unknown command 'SENTINEL'"),
        ("-IDONTKNOW I have not enough information\r\n", "IDONTKNOW"),
        ("*2\r\n$1\r\nh\r\n$1\r\n0\r\n", "is it a sentinel?"), ("*2\r\n$0\r\n\r\n$1\r\n1\r\n", "is it a sentinel?"),
        ("*1\r\n$1\r\nh\r\n", "is it a sentinel?"), (":1\r\n", "is it a sentinel?"),
    ])
    func otherAnswersAreReported(_ answer: String, _ reason: String) async throws {
        let odd = try await sentinel { $0.first == "SENTINEL" ? .answer(answer) : .answer("+OK\r\n") }
        guard case .closed(let found) = try await link([odd]).connect() else { throw SupportError("connected") }
        #expect(found.contains(reason) && found.contains(location(odd)), "\(found)")
        #expect(!found.contains("\n"))
        // A good one after it is enough.
        let master = try await StubRedis.start([StubRedis.greeting], tcp: true)
        let good = try await sentinel(naming: location(master))
        defer { withExtendedLifetime((odd, good)) {} }
        guard case .connected = try await link([odd, good]).connect() else { throw SupportError("not connected") }
    }

    @Test func aReplicaIsLeft() async throws {
        let replica = try await StubRedis.start(
            [StubRedis.greeting.replacing("$13\r\nrole:master", with: "$12\r\nrole:slave")], tcp: true)
        let sentinel = try await sentinel(naming: location(replica))
        defer { withExtendedLifetime(sentinel) {} }
        let link = try await link([sentinel])
        guard case .closed(let reason) = try await link.connect() else { throw SupportError("connected") }
        #expect(reason.contains("still name a replica as master") && reason.contains(location(replica)))
    }

    @Test func aSwitchIsFollowed() async throws {
        let master = try await StubRedis.start([StubRedis.greeting], tcp: true)
        let place = location(master).replacing(":", with: " ")
        // Other masters, and a message that names the same one, are of no interest.
        for other in ["other \(place) 10.0.0.9 1", "mymaster 10.0.0.9 1 \(place)", "mymaster", ""] {
            let sentinel = try await sentinel(naming: location(master), switching: other)
            defer { withExtendedLifetime(sentinel) {} }
            let link = try await link([sentinel])
            guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        }
        let sentinel = try await sentinel(
            naming: location(master), switching: "mymaster \(place) 10.0.0.9 7001")
        defer { withExtendedLifetime(sentinel) {} }
        let link = try await link([sentinel])
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        guard case .closed(let reason) = try await link.next() else { throw SupportError("not left") }
        #expect(reason.hasPrefix("the sentinels name another master: 10.0.0.9:7001"))
    }

    /// Redis answers them before it runs a script; another connection may get further.
    @Test(arguments: ["NOAUTH Authentication required.", "READONLY You can't write against a read only replica."])
    func aConnectionThatHelpsNoMoreIsLeft(_ error: String) async throws {
        let master = try await StubRedis.start([StubRedis.greeting, "-\(error)\r\n"], tcp: true)
        let sentinel = try await sentinel(naming: location(master))
        defer { withExtendedLifetime(sentinel) {} }
        let link = try await link([sentinel])
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "a", max: 9))
        guard case .failure(.rejected) = try await link.answer(to: batch) else { throw SupportError("not rejected") }
        guard case .closed(let reason) = try await link.next() else { throw SupportError("not left") }
        #expect(reason.hasPrefix(error))
    }
}
