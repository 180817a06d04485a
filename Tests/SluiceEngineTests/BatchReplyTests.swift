import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct BatchReplyTests {
    private static func reply(_ results: [Int64], _ words: [String] = []) -> BatchReply {
        var reply = BatchReply()
        reply.results = results
        reply.words = words
        return reply
    }

    /// Every outcome is read with its numbers and words, and the next one begins where it ends.
    @Test(
        arguments: [
            (.charge(usageCount: 2), [3, 7, 9], [], .charged(admitted: 3, usage: [7, 9])),
            (.charge(usageCount: 1), [0, 5], [], .charged(admitted: 0, usage: [5])),
            (.charge(usageCount: 2), [BatchReply.windowIsOver], [], .windowIsOver),
            (.charge(usageCount: 2), [BatchReply.fault], ["ERR"], .fault("ERR")),
            (.charge(usageCount: 1), [BatchReply.otherArguments], [], .otherArguments),
            (
                .charge(usageCount: 2), [BatchReply.replayed, 60_000, 2, 7, 9], ["id"],
                .replayed(atMs: 60_000, isLocal: false, usage: [7, 9], reservation: "id")
            ),
            (
                .charge(usageCount: 2), [BatchReply.replayed, -60_000, 0], [""],
                .replayed(atMs: 60_000, isLocal: true, usage: [], reservation: "")
            ),
            (.settlement, [1], [], .settled(true)), (.settlement, [0], [], .settled(false)),
            (.settlement, [BatchReply.tooMuch], [], .tooMuch),
            (.settlement, [BatchReply.passedOver], ["ERR"], .passedOver("ERR")),
            (.settlement, [BatchReply.fault], ["ERR"], .fault("ERR")),
            (
                .heartbeat, [1, 2, 11, 60_000, 0, -1, 61_000, 60_500, 4], [],
                .heartbeat(replicas: [11, 60_000, 0, -1, 61_000, 60_500], unnamed: 4)
            ),
            (.heartbeat, [1, 0, 0], [], .heartbeat(replicas: [], unnamed: 0)),
            (.heartbeat, [BatchReply.fault], ["ERR"], .fault("ERR")),
        ] as [(BatchReply.Question, [Int64], [String], BatchReply.Outcome)])
    func outcomes(
        question: BatchReply.Question, results: [Int64], words: [String], outcome: BatchReply.Outcome
    ) {
        var cursor = BatchReply.Cursor(Self.reply(results + [1], words))
        #expect(cursor.next(question) == outcome)
        #expect(!cursor.isAtEnd && cursor.next(.settlement) == .settled(true) && cursor.isAtEnd)
    }

    /// The model's reply to a batch of every kind of entry is read to its end.
    @Test func aReplyOfTheModel() throws {
        var batch = Batch()
        batch.sequence = 1
        batch.minTimeMs = LimiterRig.startMs
        let quota = Quota.fixedWindow(max: 2, window: LimiterRig.startMs..<LimiterRig.startMs + 60_000)
        batch.charges.append(Batch.Charge(quota: quota, verifiesTimeToLive: false))
        batch.operations.append(.settle(.release))
        batch.operations.append(.heartbeat(lifeMs: 10_000))
        batch.entries.append(Batch.Entry(cost: 1, count: 3, firstCharge: 0, chargeCount: 1))
        batch.entries.append(Batch.Entry(cost: 0, count: 0, firstCharge: 1, chargeCount: 0, operation: 0))
        batch.entries.append(Batch.Entry(cost: 0, count: 0, firstCharge: 1, chargeCount: 0, operation: 1))
        for key in ["p:2:{g}:c", "p:2:{g}:!r:r", "p:2:replicas", "p:2:written-back"] {
            batch.appendKey(Array(key.utf8))
        }
        var store = ModelStore(clockMs: LimiterRig.startMs)
        var cursor = BatchReply.Cursor(try store.run(batch, replica: 11).get())
        #expect(cursor.next(.charge(usageCount: 1)) == .charged(admitted: 2, usage: [2]))
        #expect(cursor.next(.settlement) == .settled(false))
        guard case .heartbeat(let replicas, 0) = cursor.next(.heartbeat) else {
            Issue.record("no heartbeat")
            return
        }
        #expect(replicas.first == 11 && replicas.count == 3 && cursor.isAtEnd)
    }
}
