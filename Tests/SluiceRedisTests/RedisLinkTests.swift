import Foundation
import Logging
import SluiceEngine
import SluiceRedis
import Support
import Testing

/// The life of a link: connecting, answers in order, and how it ends.
@Suite struct RedisLinkTests {
    private func batch(_ sequence: Int64, key: String = "a", acknowledged: Int64 = 0) -> Batch {
        var batch = Batch(sequence: sequence, acknowledged: acknowledged)
        batch.add(TestCharge(key: key, max: 1_000))
        return batch
    }

    @Test func chargesOverARealServer() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url)
        guard case .connected(let server) = try await link.connect() else { throw SupportError("not connected") }
        #expect(server.prefixMatch(of: /(Redis|Valkey) \d/) != nil && server.hasSuffix(", master"))
        #expect(try await link.run(batch(1)).results == [1, 1])
        #expect(try redis.command("GET", "a") == .string("1"))
        guard case .string(let clients) = try redis.command("CLIENT", "LIST") else { throw SupportError("no list") }
        #expect(clients.contains("name=sluice-7 "))
    }

    @Test func connectsOverTCP() async throws {
        let server = try await StubRedis.start([StubRedis.greeting], tcp: true)
        let link = try await LinkHarness.make(server.url)
        #expect(try await link.connect() == .connected(server: "Redis 9.9.9, master"))
    }

    @Test func answersComeInTheOrderOfSending() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        let batches = (1...10).map { batch(Int64($0), acknowledged: 0) }
        link.call { link in batches.forEach(link.send) }
        for sequence in 1...Int64(10) {
            guard case .answered(sequence, .success(let reply)) = try await link.next() else {
                throw SupportError("batch \(sequence) is not next")
            }
            #expect(reply.results == [1, sequence] && reply.previousSequence == sequence - 1)
        }
    }

    @Test func aLostScriptIsBroughtAlongUnnoticed() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        try redis.command("SCRIPT", "FLUSH")
        // Several that find no script: they are all sent again, in order.
        let batches = (1...4).map { batch(Int64($0), acknowledged: 0) }
        link.call { link in batches.forEach(link.send) }
        for sequence in 1...Int64(4) {
            guard case .answered(sequence, .success(let reply)) = try await link.next() else {
                throw SupportError("batch \(sequence) is not next")
            }
            #expect(reply.status == .ran && reply.results == [1, sequence])
        }
        // From here on the hash is known again.
        try redis.command("CONFIG", "RESETSTAT")
        #expect(try await link.run(batch(5)).results == [1, 5])
        #expect(try redis.command("INFO", "commandstats").text?.contains("cmdstat_eval:") == false)
    }

    @Test func aBatchThatRanAheadOfOneSentAgainWaitsForIt() async throws {
        // The second batch finds the script, because another replica loaded it in between.
        let ran = "*2\r\n*3\r\n:1\r\n:1700000000000\r\n:0\r\n:1\r\n"
        let outOfOrder = "*3\r\n:-1\r\n:1700000000000\r\n:2\r\n"
        let server = try await StubRedis.start([
            StubRedis.greeting, "-NOSCRIPT No matching script.\r\n\(ran)", outOfOrder,
        ])
        let link = try await LinkHarness.make(server.url)
        _ = try await link.connect()
        let batches = [batch(1), batch(2)]
        link.call { link in batches.forEach(link.send) }
        guard case .answered(1, .success(let first)) = try await link.next(),
            case .answered(2, .success(let second)) = try await link.next()
        else { throw SupportError("not in order") }
        #expect(first.status == .outOfOrder && second.status == .ran)
    }

    @Test func aKilledServerClosesTheLinkAndItConnectsAgain() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        #expect(try await link.run(batch(1)).status == .ran)
        try await redis.kill()
        guard case .closed(let reason) = try await link.next() else { throw SupportError("not closed") }
        #expect(reason.contains("closed") || reason.contains("broke"))
        guard case .closed(let again) = try await link.connect() else { throw SupportError("connected") }
        #expect(again.hasPrefix("cannot connect: "))
        // Nothing can be sent, and it says so.
        guard case .failure(.rejected) = try await link.answer(to: batch(2)) else { throw SupportError("sent") }
        try await redis.restartEmpty()
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        #expect(try await link.run(batch(2, acknowledged: 1)).status == .forgot)
    }

    @Test func disconnectSilencesWhatWasInFlight() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        redis.stop()
        let lost = batch(1)
        link.call { link in
            link.send(lost)
            link.disconnect()
            link.connect()
        }
        redis.continue()
        // Not a word of the first connection.
        guard case .connected = try await link.next() else { throw SupportError("not silent") }
        // The batch ran all the same, and the next one learns it.
        try await waitUntil("the lost batch has run") {
            try redis.command("GET", "sluice:2:replica:0000000000000007") == .string("1")
        }
        let reply = try await link.run(batch(2))
        #expect(reply.previousSequence == 1 && reply.results == [1, 2])
    }

    @Test func aStoppedServerDoesNotFinishTheHandshake() async throws {
        let redis = try await RedisProcess()
        redis.stop()
        let hasty = try await LinkHarness.make(redis.url, limits: .brief)
        #expect(try await hasty.connect() == .closed(reason: "Redis did not answer within 50 ms"))
        // Given up before that, it says nothing: the only event is that of the second attempt.
        let link = try await LinkHarness.make(redis.url)
        link.call { link in
            link.connect()
            link.disconnect()
        }
        redis.continue()
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
    }

    @Test func tooManyUnansweredBatchesCloseTheLink() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        redis.stop()
        let batches = (1...RedisBounds.maxBatchesInFlight + 1).map { batch(Int64($0)) }
        link.call { link in batches.forEach(link.send) }
        #expect(try await link.next() == .closed(reason: "16 batches are without an answer"))
    }

    @Test(arguments: [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "did not speak its protocol"),
        ("\u{16}\u{3}\u{1}", "did not speak its protocol"),
        ("*-5\r\n", "did not speak its protocol"),
        ("+OK\r\n+OK\r\n", "other than a hash"),
        ("+OK\r\n$3\r\nabc\r\n", "other than a hash"),
        ("+OK\r\n$40\r\n\(String(repeating: "a", count: 40))\r\n$3\r\nabc\r\n", "other than a hash"),
        ("*1\r\n:1\r\n", "answered with an array"),
        ("$2\r\nno\r\n", "other than OK"),
        ("-DENIED Redis is running in protected mode\r\n", "protected mode"),
        ("-ERR max number of clients reached\r\n", "max number of clients"),
        ("", "closed the connection"),
    ])
    func aHandshakeWithNonsenseFails(_ answer: String, _ reason: String) async throws {
        let server = try await StubRedis.start([answer], closes: true)
        let link = try await LinkHarness.make(server.url)
        guard case .closed(let shown) = try await link.connect() else { throw SupportError("connected") }
        #expect(shown.contains(reason), "\(shown)")
    }

    @Test(arguments: [
        "nonsense\r\n", ":1\r\n", "+OK\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n", "*2\r\n:1\r\n:1700000000000\r\n",
        "*3\r\n:1\r\n:1700000000000\r\n:0\r\n", "*5\r\n:1\r\n:1700000000000\r\n:0\r\n:2\r\n:1\r\n",
        "*6\r\n:1\r\n:1700000000000\r\n:0\r\n:1\r\n:1\r\n:1\r\n",
        "*5\r\n:1\r\n:1700000000000\r\n:0\r\n:1\r\n$1\r\n1\r\n",
    ])
    func anAnswerWithNonsenseClosesTheLink(_ answer: String) async throws {
        let server = try await StubRedis.start([StubRedis.greeting, answer])
        let link = try await LinkHarness.make(server.url)
        _ = try await link.connect()
        let batch = batch(1)
        link.call { $0.send(batch) }
        guard case .closed = try await link.next() else { throw SupportError("not closed") }
    }

    @Test func anAnswerThatNobodyAskedForClosesTheLink() async throws {
        let server = try await StubRedis.start([StubRedis.greeting + "+OK\r\n"])
        let link = try await LinkHarness.make(server.url)
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        #expect(try await link.next() == .closed(reason: "Redis answered without being asked"))
    }

    @Test func itLogsAChangeOfStateOnceAndNoSecret() async throws {
        let redis = try await RedisProcess(
            configuration: [
                "requirepass s3cret", "maxmemory 100mb", "maxmemory-policy allkeys-lru",
            ], password: "s3cret")
        let log = LogRecorder()
        let address = try RedisAddress("unix://\(redis.socketPath)")
        let link = try await LinkHarness.make(
            .init(address: address, credentials: RedisCredentials(password: "s3cret"), replica: 7), logger: log.logger)
        guard case .connected = try await link.connect() else { throw SupportError("not connected") }
        try await redis.kill()
        _ = try await link.next()
        for _ in 0..<3 { _ = try await link.connect() }
        #expect(
            log.messages == [
                "connected to Redis",
                "Redis may evict counters, and then limits are not kept: set maxmemory-policy to noeviction",
                "no connection to Redis",
            ])
        #expect(!log.everything.contains("s3cret"))
    }
}

/// Keeps what was logged at `debug` and above.
private final class LogRecorder: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [(message: String, all: String)] = []

    var messages: [String] { lock.withLock { lines.map(\.message) } }
    var everything: String { lock.withLock { lines.map(\.all).joined(separator: "\n") } }

    var logger: Logger {
        Logger(label: "test") { _ in Handler(recorder: self) }
    }

    private struct Handler: LogHandler {
        var recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = "\(event.message) \(metadata.merging(event.metadata ?? [:]) { $1 })"
            recorder.lock.withLock { recorder.lines.append(("\(event.message)", all)) }
        }
    }
}
