import SluiceEngine
import Support
import Testing

@testable import SluiceRedis

/// What Redis packs, `COUNTERS` reads.
@Suite struct MessagePackReaderTests {
    private static let numbers: [Int64] = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 31, 1 << 32, 1 << 53]

    @Test(arguments: [0, 1, 7, 8, 15, 16, 200, 2_048])
    func readsWhatTheScriptsPack(count: Int) throws {
        let numbers = (0..<count).map { Self.numbers[$0 % Self.numbers.count] }
        var writer = MessagePackWriter()
        writer.writeArray(count: count)
        for number in numbers { writer.write(number) }
        #expect(MessagePackReader.numbers(writer.bytes, atMost: 2_048) == numbers)
        if count > 0 { #expect(MessagePackReader.numbers(writer.bytes, atMost: count - 1) == nil) }
        #expect(MessagePackReader.numbers(writer.bytes + [0], atMost: 2_048) == nil)
        for length in 0..<min(40, writer.bytes.count) {
            #expect(MessagePackReader.numbers(writer.bytes.prefix(length), atMost: 2_048) == nil)
        }
    }

    /// As an interpreter writes it, not as this program does.
    @Test func readsALogFromRedis() async throws {
        let redis = try await RedisProcess()
        let key = "p:2:{g}:t:c:l60"
        let now = try #require((try redis.command("TIME").elements ?? []).first?.text.flatMap { Int64($0) }) * 1_000
        try redis.command([
            "EVAL", "redis.call('SET', KEYS[1], cmsgpack.pack({tonumber(ARGV[1]), 3, 1000, 300, 20, 70000}))", "1", key,
            "\(now - 30_000)",
        ])
        let link = try await LinkHarness.make(redis.url)
        let found = try await link.scan(CounterQuery(in: "p", limit: 10)).get()
        #expect(
            found.counters.map(\.log.steps) == [
                [
                    UsageLog.Step(ms: now - 30_000, units: 3), UsageLog.Step(ms: now - 29_000, units: 300),
                    UsageLog.Step(ms: now - 28_980, units: 70_000),
                ]
            ])
        for spoilt in ["17", "many", ""] {
            try redis.command("SET", key, spoilt)
            #expect(try await link.scan(CounterQuery(in: "p", limit: 10)).get().counters.isEmpty)
        }
    }
}
