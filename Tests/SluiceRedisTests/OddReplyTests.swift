import StoreModel
import Testing

@testable import SluiceEngine
@testable import SluiceRedis

/// Answers whose numbers are not what they should be, in every place: whatever they are, nothing traps.
@Suite struct OddReplyTests {
    static let oddNumbers: [Int64] = [
        0, 1, -1, 2, 1 << 31, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 62, -(1 << 62), .max, .min, .max - 1,
        253_402_300_800_000, 253_402_300_799_999,
    ]

    @Test(arguments: UInt64(1)...40) func nothingTraps(_ seed: UInt64) {
        var rig = OddStoreRig(seed: seed)
        var store = ModelStore(clockMs: OddStoreRig.startMs)
        var decoder = BatchReplyDecoder()
        var oddities = SeededRandom(seed: seed &+ 1_000)
        var understood = 0
        for turn in 0..<400 {
            let isCalm = turn % 100 > 80
            func answer(_ batch: Batch, _ now: ClockReading) -> OddStoreRig.Answer {
                store.clockMs = OddStoreRig.startMs + now.monotonicNs / 1_000_000 - 5_000
                guard case .success(let reply) = store.run(batch, replica: 7) else { preconditionFailure("refused") }
                var flat = FlatReply(reply, to: batch)
                if !isCalm && Int.random(in: 0..<3, using: &oddities) == 0 { flat.spoil(&oddities) }
                do throws(BatchReplyError) {
                    let decoded = try decoder.decode(
                        flat, of: BatchScript(for: batch), sequence: batch.sequence,
                        expecting: batch.entries.map { ExpectedEntry($0, of: batch) })
                    understood += 1
                    return .reply(.success(decoded))
                } catch {
                    return .nonsense(error.reason)
                }
            }
            let passMs: Int64 = [1, 5, 40, 700, 61_000][rig.roll(5)]
            let goesOn = rig.step(passMs: passMs, answer)
            #expect(goesOn, "it never stops sending")
            for _ in 0..<rig.roll(4) { rig.ask() }
            let goesOnAfter = rig.step(passMs: 0, answer)
            #expect(goesOnAfter, "it never stops sending")
        }
        // Once all is well, it counts in the store again.
        for _ in 0..<60 {
            store.clockMs += 400
            _ = rig.step(passMs: 400) { batch, _ in .reply(store.run(batch, replica: 7)) }
            rig.answered = [:]
            rig.notices = []
            rig.ask("fixed")
            _ = rig.step(passMs: 0) { batch, _ in .reply(store.run(batch, replica: 7)) }
        }
        #expect(
            rig.limiter.isShared && rig.answered[.local] == nil,
            "\(rig.limiter.storeState), \(rig.answered), \(rig.notices.suffix(3))")
        #expect(understood > 50, "the test decides nothing")
    }
}

extension FlatReply {
    /// As a script would answer.
    init(_ reply: BatchReply, to batch: Batch) {
        self.init()
        var words = reply.words.makeIterator()
        let isInPlace = BatchScript(for: batch) == .charge && reply.status == .ran
        append(.array)
        if isInPlace, reply.previousSequence == batch.sequence - 1 {
            append(.integer, value: reply.timeMs)
        } else {
            if isInPlace { append(.array, value: 3) }
            append(.integer, value: reply.status.rawValue)
            append(.integer, value: reply.timeMs)
            append(.integer, value: reply.status == .forgot ? reply.forgotSinceMs : reply.previousSequence)
        }
        var at = 0
        func next() -> Int64 {
            at += 1
            return reply.results[at - 1]
        }
        var places = 1
        for entry in reply.status == .ran ? batch.entries : [] {
            let expected = ExpectedEntry(entry, of: batch)
            places += expected.usageCount
            let outcome = next()
            switch outcome {
            case BatchReply.fault:
                append(.string, text: Array((words.next() ?? "").utf8))
                if isInPlace { for _ in 1..<expected.usageCount { append(.null) } }
            case BatchReply.windowIsOver where isInPlace:
                for _ in 0..<expected.usageCount { append(.null) }
            case BatchReply.windowIsOver, BatchReply.otherArguments:
                append(.integer, value: outcome)
            case BatchReply.replayed:
                append(.integer, value: outcome)
                append(.integer, value: next())
                append(.string, text: Array((words.next() ?? "").utf8))
                let count = next()
                append(.integer, value: count)
                for _ in 0..<count { append(.integer, value: next()) }
            default:
                if expected.isHeartbeat {
                    append(.integer, value: outcome)
                    appendReplicas(next)
                    continue
                }
                if expected.isOverrides {
                    append(.integer, value: outcome)
                    append(.integer, value: next())
                    append(.string, text: Array((words.next() ?? "").utf8))
                    continue
                }
                if !isInPlace {
                    append(.integer, value: outcome)
                } else if outcome < max(1, entry.count) {
                    append(.array, value: 2)
                    append(.integer, value: outcome)
                }
                for _ in 0..<expected.usageCount { append(.integer, value: next()) }
            }
        }
        for key in reply.lowered { append(.string, text: key) }
        items[0].value = Int64(isInPlace ? places : items.count - 1)
    }

    private mutating func appendReplicas(_ next: () -> Int64) {
        var text: [String] = []
        for _ in 0..<next() {
            text.append(ReservationID.hexadecimal(UInt64(bitPattern: next())))
            text.append("\(next())")
            text.append("\(next())")
        }
        append(.string, text: Array(text.joined(separator: " ").utf8))
        append(.integer, value: next())
    }

    /// Puts something odd in the place of some numbers; the shape stays.
    mutating func spoil(_ random: inout SeededRandom) {
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            let index = Int.random(in: 0..<items.count, using: &random)
            switch items[index].kind {
            case .integer:
                let odd = OddReplyTests.oddNumbers.randomElement(using: &random) ?? 0
                items[index].value = Bool.random(using: &random) ? odd : items[index].value &+ odd
            case .string:
                let odd = OddReplyTests.oddNumbers.randomElement(using: &random) ?? 0
                let texts = [
                    "", "x", "0000000000000009 \(odd)", "\(odd) \(odd)", "ffffffffffffffff 1e999", "0x10 17", "nan nan",
                ]
                let bytes = Array((texts.randomElement(using: &random) ?? "").utf8)
                items[index].value = Int64(text.count)
                items[index].length = UInt32(bytes.count)
                text += bytes
            case .status, .error, .null, .array: break
            }
        }
    }
}
