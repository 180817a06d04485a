import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Local admissions are written back once; what the store lost is restored.
@Suite struct JournalTests {
    private let ten = limit(max: 10)

    private func used(_ rig: LimiterRig, _ limit: Limit, startMs: Int64 = LimiterRig.startMs) -> Int64 {
        rig.store.usage(of: key(limit, startMs: startMs))
    }

    // MARK: - Write-backs

    @Test func aCounterTurnsSharedInTheScriptThatSettlesIt() throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        rig.lose()
        for _ in 0..<3 { #expect(rig.decide().source == .local) }
        rig.connect()
        // The first check after the outage is decided with what was added.
        #expect(used(rig, ten) == 3 && rig.limiter.statistics.settled == 1)
        let denied = rig.decide(cost: 8)
        #expect(denied.source == .shared && !denied.allowed && denied.remaining == 7)
    }

    @Test func writeBacksComeAheadOfTheChecksOfTheirCounter() throws {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let ticket = rig.wait()
        let batch = try #require(rig.sent().first)
        #expect(batch.entries.map(\.cost) == [4, 1])
        rig.answer(batch, rig.run(batch))
        #expect(rig.answers[ticket]?.remaining == 5)
        rig.exchange()
        #expect(used(rig, ten) == 5 && rig.limiter.journalCount == 0)
    }

    /// The marker shows whether a batch of write-backs ran: it is added once either way.
    @Test(arguments: [true, false], [true, false]) func writtenBackOnce(ran: Bool, isSliding: Bool) throws {
        let one = limit(max: 10, algorithm: isSliding ? .slidingWindow : .fixedWindow)
        var rig = LimiterRig(policy(one))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        for _ in 0..<3 {
            let probe = rig.probe()
            rig.answer(probe, rig.run(probe))
            let settling = rig.sent()
            if ran { for batch in settling { _ = rig.run(batch) } }
            rig.lose()
        }
        rig.connect()
        #expect(used(rig, one) == 4)
        #expect(rig.decide(isPeek: true).remaining == 6 && rig.limiter.journalCount == 0)
    }

    @Test func whatAWindowCountedIsDroppedWithIt() {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed && rig.limiter.journalCount == 1)
        rig.pass(ms: 60_000)
        rig.tick()
        #expect(rig.limiter.journalCount == 0)
        rig.connect()
        #expect(used(rig, ten) == 0 && used(rig, ten, startMs: LimiterRig.startMs + 60_000) == 0)
    }

    /// A sliding window counts in the next one, too.
    @Test func theWindowBeforeIsSettledWhileItCounts() {
        let sliding = limit(max: 10, algorithm: .slidingWindow)
        var rig = LimiterRig(policy(sliding))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.pass(ms: 60_000)
        #expect(rig.decide(cost: 3).allowed)
        rig.connect()
        #expect(used(rig, sliding) == 4 && used(rig, sliding, startMs: LimiterRig.startMs + 60_000) == 3)
    }

    @Test func aBucketIsSettledAsItsLevel() {
        let bucket = limit(max: 60, algorithm: .tokenBucket, burst: 20)
        var rig = LimiterRig(policy(bucket))
        rig.lose()
        #expect(rig.decide(cost: 10).allowed)
        rig.pass(ms: 2_000)
        rig.connect()
        let left = rig.decide(isPeek: true).remaining
        // Ten, less what has leaked in some two seconds at one a second.
        #expect((12...13).contains(left))
        for _ in 0..<3 {
            rig.lose()
            rig.connect()
        }
        #expect(rig.decide(isPeek: true).remaining >= left)
    }

    /// One batch adds at most `maxIncrement` to a counter, and a check of the counter is decided by the batch that
    /// adds the first part: others wait until the last part is added.
    @Test func othersWaitForTheLastPart() throws {
        let bucket = limit(max: 300, per: 31_536_000, algorithm: .tokenBucket, burst: 300)
        var rig = LimiterRig(policy(bucket), replicas: 2)
        rig.lose()
        while rig.decide().allowed {}
        let amount: Int64 = 150 * 31_536_000_000
        try #require(amount > 4 * EngineBounds.maxIncrement)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        var parts = 0
        for _ in 0..<20 {
            _ = rig.ask()
            for batch in rig.sent() {
                for operation in batch.operations {
                    guard case .heartbeat(_, let writtenBackMs) = operation, writtenBackMs > 0 else { continue }
                    #expect(parts == 5, "a heartbeat says that all is written back after \(parts) parts")
                }
                parts += batch.entries.count { $0.cost > 1 }
                rig.answer(batch, rig.run(batch))
                #expect(parts == 5 || !rig.limiter.hasWrittenBack, "after \(parts) parts")
            }
            rig.pass(ms: 60)
            rig.tick()
        }
        #expect(parts == 5 && rig.limiter.hasWrittenBack)
    }

    /// A reload drops the limit meanwhile: what was admitted under it is written back, and then nothing is kept.
    @Test func aReloadDoesNotLoseIt() {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.limiter.replacePolicies(PolicySet(single: policy(limit("other", max: 5))))
        #expect(rig.decide().allowed)
        rig.connect()
        #expect(used(rig, ten) == 4 && rig.limiter.journalCount == 0)
    }

    // MARK: - Replicas

    @Test func sharesFollowTheSignsOfLife() {
        var rig = LimiterRig(policy(ten), replicas: 1)
        for replica in [UInt64(11), 12, 13] { rig.beat(replica, 1) }
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.limiter.membership.view.count == 4)
        rig.lose()
        var admitted = 0
        while rig.decide().allowed { admitted += 1 }
        #expect((2...3).contains(admitted), "a quarter of ten")
        // The list does not change during an outage; replicas that are gone are dropped some time after it.
        rig.pass(ms: 120_000)
        rig.connect()
        #expect(rig.limiter.membership.view.count == 4)
        for _ in 0..<31 {
            rig.pass(ms: 1_000)
            rig.tick()
            rig.exchange()
        }
        #expect(rig.limiter.membership.view.count == 1)
    }

    // MARK: - Data loss

    @Test func whatItLostIsRestored() {
        let sliding = limit("s", max: 20, of: "u", algorithm: .slidingWindow)
        var rig = LimiterRig(policy(ten, sliding))
        #expect(rig.decide(cost: 7).allowed && rig.decide("u", cost: 9).allowed)
        rig.store.flush()
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(used(rig, ten) == 7 && rig.limiter.statistics.dataLosses == 1)
        #expect(rig.decide().remaining == 2 && rig.decide("u").remaining == 10)
    }

    /// However many there are, none is skipped between two batches.
    @Test func allThatWasLostIsRestored() {
        var rig = LimiterRig(policy(ten))
        let grants = (1...2 * EngineBounds.maxWriteBacksPerBatch + 40).map { "g\($0)" }
        for grant in grants { #expect(rig.decide(grant: grant, cost: 3).allowed) }
        rig.store.flush()
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        for grant in grants { #expect(rig.store.usage(of: key(ten, grant: grant)) == 3, "\(grant)") }
    }

    /// A list that the store cannot keep is reported once, and counting goes on.
    @Test func aFaultyListOfReplicas() {
        var rig = LimiterRig(policy(ten))
        rig.store.areHeartbeatsFaulty = true
        for _ in 0..<3 {
            rig.pass(ms: 1_000)
            rig.tick()
            rig.exchange()
        }
        #expect(rig.limiter.takeNotices().count == 1 && rig.decide().source == .shared)
        rig.store.areHeartbeatsFaulty = false
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        rig.store.areHeartbeatsFaulty = true
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.limiter.takeNotices().count == 1)
    }

    /// If other replicas are live, checks are answered locally until all of them have restored; for two seconds at
    /// most.
    @Test(arguments: [true, false]) func theOthersAreAwaited(theyCome: Bool) throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        rig.beat(99, 1)
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.decide(cost: 4).source == .shared)
        rig.store.flush()
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(!rig.limiter.isShared && rig.decide().source == .local)
        if theyCome {
            rig.beat(99, 2)
            rig.pass(ms: 60)
        } else {
            rig.pass(ms: 1_900)
            rig.tick()
            rig.exchange()
            #expect(!rig.limiter.isShared)
            rig.pass(ms: 100)
        }
        rig.tick()
        rig.exchange()
        #expect(rig.limiter.isShared)
        #expect(rig.decide().remaining == 4, "four that were restored, one that was admitted here, and this one")
    }
}
