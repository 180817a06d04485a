import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// Single counters that the store loses: it evicts them, or another client deletes them.
@Suite struct LossTests {
    private static let ten = limit(max: 10)

    /// With a feed that has been open for a while.
    private static func rig(_ limit: Limit = ten) -> LimiterRig {
        var rig = LimiterRig.listening(policy(limit))
        rig.pass(ms: 200)
        return rig
    }

    private static func used(_ rig: LimiterRig) -> Int64 { rig.store.usage(of: key(ten)) }

    /// What is admitted before the answer to the probe is one more; then the window is full again.
    @Test func aLostCounterIsRestored() {
        var rig = Self.rig()
        for _ in 0..<10 { #expect(rig.decide().allowed) }
        rig.store.drop(key(Self.ten))
        rig.listening = []
        #expect(rig.decide().allowed)
        #expect(rig.listening == [.probe] && Self.used(rig) == 1 && rig.limiter.statistics.counterLosses == 0)
        rig.hear(.alive)
        #expect(Self.used(rig) == 11 && !rig.decide().allowed)
        #expect(rig.limiter.statistics.counterLosses == 1 && rig.limiter.takeNotices() == [.storeLostCounters])
        #expect(rig.limiter.statistics.dataLosses == 0 && rig.limiter.isShared && rig.limiter.losses.isEmpty)
        // Another one in the same minute is counted, and not logged again.
        rig.store.drop(key(Self.ten))
        rig.pass(ms: 1_100)
        _ = rig.decide()
        rig.hear(.alive)
        #expect(Self.used(rig) == 12)
        #expect(rig.limiter.statistics.counterLosses == 2 && rig.limiter.takeNotices() == [])
    }

    /// What was charged after the loss is not lost in the restore.
    @Test func whatCameAfterTheLossCounts() {
        var rig = Self.rig()
        _ = rig.decide(cost: 4)
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 1)
        _ = rig.decide(cost: 2)
        // Its answer comes after the judgement.
        let ticket = rig.wait()
        let last = rig.sent()[0]
        rig.limiter.linkChangeFeed(.alive, now: rig.now)
        rig.answer(last, rig.run(last))
        #expect(rig.answers[ticket]?.allowed == true)
        rig.exchange()
        #expect(Self.used(rig) == 8)
        #expect(rig.decide(cost: 2).allowed && !rig.decide().allowed)
    }

    /// A notification that comes before the answer to the probe explains it.
    @Test func aRefundIsNoLoss() {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 2)
        rig.hear(.changed(Array("sluice:2:{g}".utf8)))
        rig.hear(.alive)
        #expect(Self.used(rig) == 2 && rig.limiter.statistics.counterLosses == 0)
        // From here on it is known, and can be lost.
        rig.pass(ms: 200)
        _ = rig.decide(cost: 1)
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 1)
        rig.hear(.alive)
        #expect(Self.used(rig) == 4 && rig.limiter.statistics.counterLosses == 1)
    }

    /// So does one that came between the reports.
    @Test func anEarlierNotificationExplainsIt() {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        rig.pass(ms: 5)
        rig.hear(.changed(Array("sluice:2:{g}".utf8)))
        rig.store.drop(key(Self.ten))
        rig.pass(ms: 500)
        _ = rig.decide(cost: 2)
        rig.hear(.alive)
        #expect(Self.used(rig) == 2 && rig.limiter.statistics.counterLosses == 0)
    }

    /// This replica's own refunds and cancels need no notification.
    @Test func whatThisReplicaGivesBackIsNoLoss() throws {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        _ = rig.decide(.init(cost: 5, action: .refund))
        _ = rig.decide(cost: 1)
        rig.hear(.alive)
        #expect(Self.used(rig) == 5 && rig.limiter.statistics.counterLosses == 0)
        let id = try #require(rig.reserve().reservation)
        #expect(rig.settle(id, .cancel) == true)
        _ = rig.decide(cost: 1)
        rig.hear(.alive)
        #expect(Self.used(rig) == 6 && rig.limiter.statistics.counterLosses == 0)
    }

    /// The answer to a probe that was sent before the loss was seen says nothing.
    @Test func anEarlierProbeDecidesNothing() {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        rig.pass(ms: 1_100)
        rig.listening = []
        rig.tick()
        rig.exchange()
        #expect(rig.listening == [.probe])
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 2)
        rig.hear(.alive)
        #expect(Self.used(rig) == 2 && rig.limiter.statistics.counterLosses == 0)
        #expect(rig.listening == [.probe, .probe])
        rig.hear(.alive)
        #expect(Self.used(rig) == 11 && rig.limiter.statistics.counterLosses == 1)
    }

    /// Without notifications nothing is judged: the store is believed.
    @Test(arguments: [true, false]) func withoutTheFeedTheStoreIsBelieved(isDownBefore: Bool) {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        if isDownBefore { rig.hear(.closed(reason: "reset")) }
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 2)
        if !isDownBefore { rig.hear(.closed(reason: "reset")) }
        rig.listen()
        rig.hear(.alive)
        #expect(Self.used(rig) == 2 && rig.limiter.statistics.counterLosses == 0)
        _ = rig.decide(cost: 1)
        #expect(Self.used(rig) == 3 && rig.limiter.losses.isEmpty)
    }

    /// A store whose scripts may not publish notifies of nothing.
    @Test func aStoreThatMayNotPublishIsBelieved() {
        var rig = Self.rig()
        rig.limiter.linkConnected(announcesChanges: false, now: rig.now)
        _ = rig.decide(cost: 9)
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 2)
        rig.hear(.alive)
        #expect(Self.used(rig) == 2 && rig.limiter.statistics.counterLosses == 0)
    }

    /// Both keys of a sliding window are restored.
    @Test(arguments: [0, 60_000]) func slidingWindowsAreRestored(laterMs: Int64) {
        let sliding = limit(max: 10, algorithm: .slidingWindow)
        var rig = Self.rig(sliding)
        _ = rig.decide(cost: 8)
        rig.pass(ms: laterMs)
        let old = key(sliding)
        #expect(rig.store.usage(of: old) == 8)
        rig.store.drop(old)
        _ = rig.decide(cost: 1)
        rig.hear(.alive)
        #expect(rig.store.usage(of: old) == (laterMs == 0 ? 9 : 8))
        #expect(rig.limiter.statistics.counterLosses == 1)
    }

    /// What is only believed to have run is no report.
    @Test func whatWasNotReportedIsNotLost() {
        var rig = Self.rig()
        _ = rig.decide(cost: 3)
        let ticket = rig.wait(cost: 2)
        let unanswered = rig.sent()[0]
        _ = rig.run(unanswered)
        rig.pass(ms: 16)
        rig.tick()
        #expect(rig.answers[ticket]?.source == .local)
        rig.close()
        rig.connect()
        rig.listen()
        rig.store.drop(key(Self.ten))
        rig.pass(ms: 200)
        _ = rig.decide()
        rig.hear(.alive)
        #expect(rig.limiter.statistics.counterLosses == 0 && rig.limiter.losses.isEmpty)
    }

    /// In a cluster a notification may come from another server: it has some time.
    @Test func inAClusterItIsWaitedLonger() {
        var rig = PartitionRig(policy(Self.ten))
        // It opens the feed, which is no longer new then.
        for _ in 0..<2 { rig.pass(ms: 200) }
        _ = rig.decide(CheckQuestion(grant: "a", cost: 9))
        let home = rig.home("a")
        rig.stores[home].drop(rig.key(Self.ten, grant: "a"))
        _ = rig.decide(CheckQuestion(grant: "a", cost: 2))
        rig.pass(ms: 90)
        #expect(rig.used(Self.ten, grant: "a") == 2)
        rig.pass(ms: 40)
        #expect(rig.used(Self.ten, grant: "a") == 11)
        #expect(rig.replicas[0].statistics.counterLosses == 1)
    }

    /// Checks of a window that is over when the answer to the probe comes are of no use.
    @Test func aWindowThatIsOverIsNotRestored() {
        var rig = Self.rig()
        _ = rig.decide(cost: 9)
        rig.pass(ms: 59_700)
        rig.store.drop(key(Self.ten))
        _ = rig.decide(cost: 2)
        rig.pass(ms: 200)
        _ = rig.decide(cost: 3)
        rig.hear(.alive)
        #expect(rig.store.usage(of: key(Self.ten, startMs: LimiterRig.startMs + 60_000)) == 3)
        #expect(rig.limiter.statistics.counterLosses == 0 && rig.limiter.losses.isEmpty)
    }
}
