import NIOCore
import Support
import Testing

@testable import SluiceEngine
@testable import SluiceRedis

/// A real Redis in which anything may lie under every key that the scripts read, and an engine in virtual time.
@Suite struct OddRedisTests {
    private static let numbers = OddReplyTests.oddNumbers.map { "\($0)" }
    private static let texts =
        numbers
        + [
            "", " ", "junk", "1.5", "1e999", "-1e999", "nan", "inf", "0x10", "  12", "12 ", "-0", "007", "5 7", "7 5",
            "9223372036854775808", "1 2 3", "1 9007199254740993", "9007199254740993 1 1", "\u{0}",
            "99999999999999999999",
        ]
    private static let scores = [
        "0", "-1", "1.5", "1e999", "-inf", "1e300", "9007199254740993", "1700000000000", "4000000000000",
    ]
    private static let members = [
        "", "x", "two words", "0x00000000000009", "FFFFFFFFFFFFFFFF", "00000000000000aa", "000000000000000b\n",
        String(repeating: "c", count: 32),
    ]
    /// What looks like a record, or like a memo.
    private static let packed = [
        "{1, 2, {}, ''}", "{9007199254740992, 9007199254740992, {{0, 'sluice:2:{g}:x', 9007199254740992}}, ''}",
        "{1, 0, {{2, 'sluice:2:{g}:y', 9007199254740992, 9007199254740992, 9007199254740992, 0}}, ''}",
        "{-1, -5, {{3, 'z'}}, 'sluice:2:{g}:id'}", "{1, 1e300, {}, ''}", "{0/0, 1, {}, ''}", "{1, 2, {{7, 'k'}}, ''}",
        "{1, 2, {{0}}, ''}", "{'a', 'b', 5, '', 1, 2, 3}", "{'0000000000000005', 'c', -9007199254740992, ''}",
        "{'0000000000000005', 'c', 9007199254740993, '', -1}", "{{{}}}", "1e300",
    ]

    @Test(arguments: UInt64(1)...12) func nothingTrapsAndNothingSpins(_ seed: UInt64) async throws {
        let redis = try await RedisProcess()
        var store = try DirectStore(redis)
        var rig = OddStoreRig(seed: seed)
        var garbage = SeededRandom(seed: seed &+ 77)
        let turns = 300
        for _ in 0..<turns {
            if garbage.next() % 2 == 0 { try spoil(store.client, &garbage) }
            let passMs: Int64 = [1, 20, 100, 1_000][rig.roll(4)]
            let goesOn = try rig.step(passMs: passMs) { batch, _ in try store.run(batch) }
            #expect(goesOn, "it never stops sending")
            for _ in 0..<rig.roll(4) { rig.ask() }
            let goesOnAfter = try rig.step(passMs: 0) { batch, _ in try store.run(batch) }
            #expect(goesOnAfter, "it never stops sending")
        }
        #expect(store.failures == [], "what lies under one key is no reason to fail a whole batch")
        #expect(rig.batches < turns * 12, "\(rig.batches)")
        let seconds = Int(rig.now.monotonicNs / 1_000_000_000)
        #expect(rig.notices.count < 40 + 4 * seconds, "\(rig.notices.count) in \(seconds) s")
        // What counts is mended, and what lies in the place of the marker and the list of replicas stays.
        let keys = try store.client.command("KEYS", "*").elements ?? []
        for key in keys.compactMap(\.text) where key.contains("{") { _ = try store.client.command("DEL", key) }
        for _ in 0..<60 { _ = try rig.step(passMs: 100) { batch, _ in try store.run(batch) } }
        rig.answered = [:]
        rig.ask("fixed")
        _ = try rig.step(passMs: 0) { batch, _ in try store.run(batch) }
        #expect(rig.limiter.isShared && rig.answered[.local] == nil, "\(rig.limiter.storeState), \(rig.answered)")
    }

    private func spoil(_ client: RedisClient, _ random: inout SeededRandom) throws {
        let marker = String(decoding: DirectStore.markerKey, as: UTF8.self)
        var keys = (try client.command("KEYS", "*").elements ?? []).compactMap(\.text).sorted()
        // As often as all others together.
        keys += [String](repeating: marker, count: keys.count / 2 + 1)
        keys += [String](repeating: "sluice:2:replicas", count: keys.count / 3 + 1)
        guard let key = keys.randomElement(using: &random) else { return }
        func one(_ list: [String]) -> String { list.randomElement(using: &random) ?? "" }
        if key == "sluice:2:replicas", Int.random(in: 0..<5, using: &random) > 0 {
            _ = try client.command("ZADD", key, one(Self.scores), one(Self.members))
            return
        }
        if Int.random(in: 0..<2, using: &random) == 0 { _ = try client.command("DEL", key) }
        switch Int.random(in: 0..<8, using: &random) {
        case 0: _ = try client.command("LPUSH", key, "x")
        case 1: _ = try client.command("ZADD", key, one(Self.scores), one(Self.members))
        case 2:
            let script = "return redis.call('SET', KEYS[1], cmsgpack.pack(\(one(Self.packed))))"
            _ = try client.command("EVAL", script, "1", key)
        default: _ = try client.command("SET", key, one(Self.texts))
        }
    }
}

/// Runs batches as the link does, but waits for each answer.
private struct DirectStore {
    static let markerKey = KeySpace("sluice").marker(ofReplica: 7)

    let client: RedisClient
    /// What scripts failed with as a whole.
    var failures: [String] = []
    private var encoder: BatchEncoder
    private var decoder = BatchReplyDecoder()

    init(_ redis: RedisProcess) throws {
        client = try redis.client()
        var hashes = BatchScriptHashes()
        for script in BatchScript.allCases {
            let source = String(decoding: script.source, as: UTF8.self)
            guard let hash = try client.command("SCRIPT", "LOAD", source).text else { throw SupportError("no hash") }
            hashes[script] = Array(hash.utf8)
        }
        encoder = BatchEncoder(scriptHashes: hashes, markerKey: Self.markerKey)
    }

    mutating func run(_ batch: Batch) throws -> OddStoreRig.Answer {
        let script = BatchScript(for: batch)
        var call = ByteBuffer()
        _ = encoder.encode(batch, for: script, into: &call)
        try client.send(Array(call.readableBytesView))
        var flat = FlatReply()
        flat.append(try client.answer())
        if let error = flat.error {
            failures.append(error.message)
            return .reply(.failure(error.failure))
        }
        do throws(BatchReplyError) {
            let entries = batch.entries.map { ExpectedEntry($0, of: batch) }
            return .reply(
                .success(try decoder.decode(flat, of: script, sequence: batch.sequence, expecting: entries)))
        } catch {
            failures.append(error.reason)
            return .nonsense(error.reason)
        }
    }
}

extension FlatReply {
    fileprivate mutating func append(_ answer: RedisAnswer) {
        switch answer {
        case .integer(let value): append(.integer, value: Int64(value))
        case .string(let text): append(.string, text: Array(text.utf8))
        case .error(let text): append(.error, text: Array(text.utf8))
        case .null: append(.null, value: 0)
        case .array(let elements), .map(let elements):
            append(.array, value: Int64(elements.count))
            for element in elements { append(element) }
        }
    }
}
