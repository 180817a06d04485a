import StoreModel
import SluiceEngine
import SluiceRedis
import Support
import Testing

/// The scripts against the model: the same batches, the same answers, the same keys.
@Suite struct DifferentialTests {
    private static let batches = 250
    private static let batchesPerComparison = 25

    @Test(arguments: UInt64(1)...24)
    func theScriptsDoWhatTheModelDoes(_ seed: UInt64) async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.connected(to: redis)
        let client = try redis.client()
        guard case .array(let time) = try client.command("TIME"), let seconds = time[0].text.flatMap({ Int64($0) })
        else { throw SupportError("no TIME") }
        var model = ModelStore(clockMs: seconds * 1_000)
        // A day ahead: `now` is the floor for both, and no key expires while the test runs.
        var random = RandomBatches(seed: seed, startMs: (seconds + 86_400) * 1_000)
        for number in 1...Self.batches {
            if random.roll(8) == 0 { try spoil(&random, &model, client) }
            let batch = random.next()
            let real = try await link.run(batch)
            let expected = try model.run(batch, replica: 7).get()
            #expect(real.status == expected.status && real.previousSequence == expected.previousSequence)
            #expect(plain(real.words) == plain(expected.words), "batch \(number)")
            try #require(real.results == expected.results, "batch \(number): \(batch)")
            if number % Self.batchesPerComparison == 0 { try compare(random, model, client, number) }
        }
    }

    /// Of a fault only that it is one: its words are the store's own.
    private func plain(_ words: [String]) -> [String] {
        words.map { $0.hasPrefix("ERR ") || $0.hasPrefix("WRONGTYPE ") ? "fault" : $0 }
    }

    /// What others may do to a key.
    private func spoil(_ random: inout RandomBatches, _ model: inout ModelStore, _ client: RedisClient) throws {
        guard let key = random.anyKey() else { return }
        let bytes = Array(key.utf8)
        _ = try client.command("DEL", key)
        model.delete(bytes)
        let texts = [
            "many", "1.5", "", "17", "9007199254740000", "99999999999999999", "3 4 5", "400 \(random.nowMs - 20)",
            "70000 \(random.nowMs + 300)",
        ]
        switch random.roll(16) {
        case 0...10: break
        case 11:
            _ = try client.command("LPUSH", key, "x")
            model.set(bytes, .foreign)
        default:
            let text = texts[random.roll(texts.count)]
            _ = try client.command("SET", key, text)
            model.set(bytes, text: text)
        }
    }

    private func compare(
        _ random: RandomBatches, _ model: ModelStore, _ client: RedisClient, _ number: Int
    ) throws {
        let keys = random.keys.sorted()
        let answers = try client.pipeline(
            keys.flatMap {
                [["TYPE", $0], ["GET", $0], ["ZRANGE", $0, "0", "-1", "WITHSCORES"], expiryCommand($0)]
            })
        for (index, key) in keys.enumerated() {
            let found = answers[index * 4..<index * 4 + 4].map(\.self)
            let bytes = Array(key.utf8)
            switch model.value(of: bytes) {
            case nil:
                // A plain check that was denied leaves a usage of 0.
                #expect(found[0].text == "none" || found[1].text == "0", "\(key) after batch \(number)")
                continue
            case .integer(let usage): #expect(found[1].text == "\(usage)", "\(key) after batch \(number)")
            case .bucket(let level, let lastMs, let credited):
                let text = credited > 0 ? "\(level) \(lastMs) \(credited)" : "\(level) \(lastMs)"
                #expect(found[1].text == text, "\(key) after batch \(number)")
            case .log: #expect(found[0].text == "string", "\(key) after batch \(number)")
            case .slots(let slots):
                let pairs = found[2].elements ?? []
                var stored: [String: Int64] = [:]
                for at in stride(from: 0, to: pairs.count, by: 2) {
                    stored[pairs[at].text ?? ""] = pairs[at + 1].text.flatMap { Int64($0) }
                }
                #expect(stored == slots, "\(key) after batch \(number)")
            case .foreign: #expect(found[0].text == "list")
            case .text(let text): #expect(found[1].text == text)
            case .record, .idempotency: Issue.record("\(key) is no counter")
            }
            let expiry = model.expiresAtMs(of: bytes) ?? -1
            // What no policy can bring about is not exact there.
            guard expiry < Quota.maxExact else { continue }
            #expect(found[3].integer.map { Int64($0) } == expiry, "\(key) after batch \(number)")
        }
        let records = random.recordKeys.sorted()
        for (key, answer) in zip(records, try client.pipeline(records.map { ["EXISTS", $0] })) {
            #expect((answer == .integer(1)) == (model.record(of: Array(key.utf8)) != nil), "\(key)")
        }
    }
}
