import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// Batches whose answers never came: whatever became of each of them, everything is counted once.
@Suite struct ConfirmationTests {
    /// What the store does with a batch whose answer is then lost.
    enum Fate: CaseIterable { case runs, isRejected, neverArrives }

    private let ten = limit(max: 100)

    private func used(_ rig: LimiterRig) -> Int64 { rig.store.usage(of: key(ten)) }

    private func meet(_ fate: Fate, _ batch: Batch, _ rig: inout LimiterRig) {
        rig.store.rejection = fate == .isRejected ? "OOM" : nil
        if fate != .neverArrives { _ = rig.run(batch) }
        rig.store.rejection = nil
    }

    /// Two batches are in flight, and their connection breaks.
    @Test(arguments: Fate.allCases, Fate.allCases) func eachOfTwo(first: Fate, second: Fate) throws {
        var rig = LimiterRig(policy(ten))
        let one = rig.wait(cost: 4)
        let batch = try #require(rig.sent().first)
        let two = rig.wait(cost: 3)
        let next = try #require(rig.sent().first)
        meet(first, batch, &rig)
        meet(second, next, &rig)
        rig.close()
        #expect(rig.answers[one]?.source == .local && rig.answers[two]?.source == .local)
        rig.connect()
        rig.exchange()
        #expect(used(rig) == 7 && rig.limiter.journalCount == 0 && rig.limiter.ledger.unconfirmed.isEmpty)
    }

    /// The second of them also writes back, and the answers that would show what ran are lost, too. Processes change
    /// meanwhile, or stay.
    @Test(arguments: Fate.allCases, Fate.allCases) func oneWritesBack(first: Fate, second: Fate) throws {
        for restarts in [false, true] {
            let bad = limit("bad", max: 100, of: "u")
            var rig = LimiterRig(policy(ten, bad), keepsState: restarts)
            rig.store.set(key(bad), .foreign)
            _ = rig.wait("u", cost: 8)
            let faulty = try #require(rig.sent().first)
            _ = rig.wait(cost: 4)
            let batch = try #require(rig.sent().first)
            rig.answer(faulty, rig.run(faulty))
            rig.store.delete(key(bad))
            // What its fault had admitted here is written back ahead of a check.
            _ = rig.wait("u", cost: 3)
            let next = try #require(rig.sent().first)
            #expect(next.entries.map(\.cost) == [8, 3])
            if restarts { rig.record() }
            meet(first, batch, &rig)
            meet(second, next, &rig)
            for round in 0..<4 {
                rig.close()
                if restarts { rig.restart() }
                let probe = rig.probe()
                if round > 0 { _ = rig.run(probe) }
            }
            rig.close()
            if restarts { rig.restart() }
            rig.connect()
            rig.exchange()
            #expect(used(rig) == 4 && rig.store.usage(of: key(bad)) == 11, "\(restarts)")
            #expect(rig.limiter.journalCount == 0 && rig.limiter.ledger.unconfirmed.isEmpty)
        }
    }
}
