import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Random histories of lost answers, connections and processes: whatever happens, the store has in the end what was
/// admitted. A seed replays one.
@Suite struct StateHistoryTests {
    @Test(arguments: 1...400) func theStoreEndsUpWithWhatWasAdmitted(seed: UInt64) {
        var history = History(seed: seed)
        for _ in 0..<60 { history.step() }
        history.finish()
        for (grant, admitted) in history.admitted {
            let usage = history.rig.store.usage(of: key(history.limit, grant: grant))
            #expect(usage == admitted, "seed \(seed), \(grant)")
        }
    }

    private struct History {
        let limit = StoreModel.limit(max: 1_000_000)
        var rig: LimiterRig
        var random: SeededRandom
        var admitted: [String: Int64] = [:]
        /// Batches without an answer; and those in broken connections, which may arrive late.
        var sent: [Batch] = []
        var stray: [Batch] = []
        /// Whether anything was admitted here since records were last taken.
        var isUnrecorded = false

        init(seed: UInt64) {
            random = SeededRandom(seed: seed)
            rig = LimiterRig(policy(limit), keepsState: true)
        }

        mutating func step() {
            switch Int.random(in: 0..<12, using: &random) {
            case 0...2: check()
            case 3...5: time()
            case 6...8: answer()
            case 9: breakConnection()
            case 10: end()
            default: arriveLate()
            }
        }

        /// Only without the store: a check whose answer is lost may be counted without any client knowing.
        private mutating func check() {
            guard !rig.limiter.isShared else { return }
            let grant = "g\(Int.random(in: 0..<4, using: &random))"
            let cost = Int64.random(in: 1...5, using: &random)
            guard rig.decide(grant: grant, cost: cost).allowed else { return }
            admitted[grant, default: 0] += cost
            isUnrecorded = true
        }

        private mutating func time() {
            rig.pass(ms: Int64.random(in: 1...60, using: &random))
            rig.tick()
            send()
        }

        /// As the shell does: nothing is sent before its records are written.
        private mutating func send() {
            for command in rig.commands() {
                switch command {
                case .connect where Bool.random(using: &random): rig.limiter.linkConnected(now: rig.now)
                case .connect: rig.close()
                case .disconnect: sent = []
                case .send(let batch):
                    while rig.limiter.mustRecord { rig.recordSome(atMost: Int.random(in: 0...2, using: &random)) }
                    sent.append(batch)
                case .listening: break
                }
            }
        }

        private mutating func record() {
            rig.record()
            isUnrecorded = false
        }

        private mutating func answer() {
            guard !sent.isEmpty else { return }
            let batch = sent.removeFirst()
            switch Int.random(in: 0..<5, using: &random) {
            case 0: rig.answer(batch, .failure(.rejected("OOM")))
            case 1:
                _ = rig.run(batch)
                rig.answer(batch, .failure(.unknown("garbage")))
            default: rig.answer(batch, rig.run(batch))
            }
            send()
        }

        /// A batch in flight ran, or arrives later, or never does.
        private mutating func lose() {
            for batch in sent {
                switch Int.random(in: 0..<3, using: &random) {
                case 0: _ = rig.run(batch)
                case 1: stray.append(batch)
                default: break
                }
            }
            sent = []
        }

        private mutating func breakConnection() {
            lose()
            rig.close()
        }

        private mutating func end() {
            // Admissions of the last moment may be lost: here they are not, so that the sums are known.
            if isUnrecorded { record() }
            for _ in 0..<Int.random(in: 0...2, using: &random) { rig.recordSome(atMost: 1) }
            lose()
            rig.restart(recording: false)
        }

        private mutating func arriveLate() {
            guard let index = stray.indices.randomElement(using: &random) else { return }
            _ = rig.run(stray.remove(at: index))
        }

        mutating func finish() {
            lose()
            rig.close()
            rig.connect()
            for batch in stray { _ = rig.run(batch) }
            rig.exchange()
        }
    }
}
