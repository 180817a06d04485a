import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A store whose clock runs ahead and comes back.
@Suite struct StoreClockTests {
    private static let hourMs: Int64 = 3_600_000
    private let ten = limit(max: 10, per: 2)
    private let drops = limit("drops", max: 10, per: 10, algorithm: .tokenBucket, burst: 5)

    /// Its clock runs ahead for a while, in which checks are made, and comes back.
    private func rig(_ limits: [Limit], keepsState: Bool = false, checks: Int = 12) -> LimiterRig {
        var rig = LimiterRig(policy(limits), keepsState: keepsState)
        #expect(rig.decide().allowed)
        rig.store.clockMs += Self.hourMs
        for _ in 0..<checks { _ = rig.decide() }
        rig.pass(ms: 500)
        for _ in 0..<checks { _ = rig.decide() }
        rig.store.clockMs -= Self.hourMs
        return rig
    }

    /// Seconds with heartbeats.
    private func live(_ rig: inout LimiterRig, seconds: Int64) {
        for _ in 0..<seconds * 10 {
            rig.pass(ms: 100)
            rig.tick()
            rig.exchange()
        }
    }

    @Test func itIsFollowedOnceItStayedBehind() {
        var rig = rig([ten])
        _ = rig.limiter.takeNotices()
        live(&rig, seconds: 1)
        #expect(rig.limiter.storeBehindMs > Self.hourMs - 2_000)
        #expect(rig.decide().verdict == .limit, "time stands still for the moment")
        live(&rig, seconds: 5)
        #expect(rig.limiter.storeBehindMs == 0 && rig.limiter.statistics.clockFollows == 1)
        #expect(rig.limiter.clock.highestStoreMs <= rig.store.clockMs)
        let notices = rig.limiter.takeNotices()
        #expect(notices.contains { if case .storeClockFollowed = $0 { true } else { false } }, "\(notices)")
        // Windows open and end as ever.
        for _ in 0..<5 {
            for place in 1...11 {
                let decision = rig.decide()
                #expect(decision.allowed == (place <= 10) && decision.source != .local, "\(decision)")
            }
            live(&rig, seconds: 2)
        }
    }

    /// A smaller step is waited out, and no window is opened again.
    @Test func asmallerStepIsWaitedFor() {
        var rig = LimiterRig(policy(limit(max: 10, per: 60)))
        rig.store.clockMs += 2_500
        #expect(rig.decide().allowed)
        rig.store.clockMs -= 2_500
        live(&rig, seconds: 10)
        #expect(rig.limiter.statistics.clockFollows == 0 && rig.limiter.storeBehindMs == 0)
    }

    /// One answer with the right time is enough to start over: a clock that changes back and forth is not followed.
    @Test func aClockThatComesAndGoesIsNotFollowed() {
        var clock = WindowClock(now: ClockReading(monotonicNs: 0, wallMs: 0))
        for second in 0..<20 as Range<Int64> {
            let now = ClockReading(monotonicNs: second * 1_000_000_000, wallMs: 0)
            let reported: Int64 = second % 3 == 0 ? 1_000_000 : 5_000
            #expect(clock.observeStore(timeMs: reported + second * 1_000, now: now) == nil)
        }
        #expect(clock.highestStoreMs == 1_018_000)
    }

    /// Of two batches in flight the first is refused, arrives once more behind the second, and is answered before it: its
    /// time is the later one, and the clock has not stepped back.
    @Test(arguments: [true, false]) func anAnswerThatWasOvertakenIsNoStep(isFirstHeartbeat: Bool) throws {
        var rig = LimiterRig(policy(ten))
        if isFirstHeartbeat {
            rig.pass(ms: 1_000)
            rig.tick()
        } else {
            _ = rig.wait()
        }
        let first = try #require(rig.sent().first)
        #expect(first.chargesNothing == isFirstHeartbeat)
        _ = rig.wait()
        let second = try #require(rig.sent().first)
        let overtaking = rig.run(second)
        rig.store.clockMs += 3
        let overtaken = rig.run(first)
        #expect(try overtaking.get().status == (isFirstHeartbeat ? .ran : .outOfOrder))
        #expect(try overtaken.get().status == (isFirstHeartbeat ? .outOfOrder : .ran))
        rig.answer(first, overtaken)
        rig.answer(second, overtaking)
        #expect(rig.limiter.storeBehindMs == 0)
        _ = rig.wait()
        #expect(rig.sent().allSatisfy { !$0.isStoreBehind })
    }

    /// A bucket that was charged by the fast clock neither stands still until that time, nor leaks anything twice.
    @Test func aBucketLeaksOn() {
        var rig = rig([drops])
        var admitted = 0
        for _ in 0..<60 {
            live(&rig, seconds: 1)
            for _ in 0..<3 where rig.decide().allowed { admitted += 1 }
        }
        // 60 s at one a second, less the three for which it stood still; and not the bucket's 5 as well.
        #expect((55...60).contains(admitted), "\(admitted)")
    }

    /// While some replicas have followed it and others have not, a bucket leaks by the store's own time alone.
    @Test func aBucketLeaksOnceForReplicasOfTwoMinds() throws {
        var fast = rig([drops], checks: 1)
        var slow = LimiterRig(policy(drops), replica: 8)
        func share(_ from: inout LimiterRig, _ to: inout LimiterRig) {
            to.store = from.store
            to.now = from.now
        }
        fast.pass(ms: 1_100)
        fast.tick()
        fast.exchange()
        share(&fast, &slow)
        slow.exchange()
        fast.store = slow.store
        #expect(fast.limiter.storeBehindMs > 0)
        var admitted = 0
        for _ in 0..<20 {
            if fast.decide().allowed { admitted += 1 }
            share(&fast, &slow)
            if slow.decide().allowed { admitted += 1 }
            fast.store = slow.store
        }
        #expect(admitted <= 5, "\(admitted)")
    }

    /// The minimum that was given up is not used again by the next process.
    @Test func aRestartDoesNotGoBackToIt() {
        var rig = rig([ten], keepsState: true)
        live(&rig, seconds: 5)
        rig.restart()
        #expect(rig.limiter.clock.highestStoreMs <= rig.store.clockMs && rig.restoration.droppedStoreMs == 0)
    }

    /// A process that ended before it could follow leaves a minimum that is ignored if it is far ahead of the machine.
    @Test(arguments: [true, false]) func aRestartWhileItIsBehind(isFar: Bool) {
        var rig = LimiterRig(policy(ten), keepsState: true)
        let stepMs = isFar ? Self.hourMs : EngineBounds.maxRestoredAheadMs - 5_000
        rig.store.clockMs += stepMs
        for _ in 0..<12 { _ = rig.decide() }
        rig.limiter.recorder.recordReplica()
        rig.store.clockMs -= stepMs
        rig.restart()
        #expect((rig.restoration.droppedStoreMs > 0) == isFar)
        #expect((rig.limiter.clock.highestStoreMs == 0) == isFar)
        rig.connect()
        live(&rig, seconds: isFar ? 0 : 5)
        #expect(rig.decide().source == .shared)
        #expect(rig.limiter.clock.highestStoreMs <= rig.store.clockMs)
    }

    /// With local shares: after the clock was followed and the store is then lost, windows and buckets count on.
    @Test func localCountersGoBackWithIt() {
        var rig = rig([ten, drops], checks: 3)
        live(&rig, seconds: 5)
        rig.lose()
        var admitted = 0
        for _ in 0..<60 {
            rig.pass(ms: 1_000)
            for _ in 0..<3 where rig.decide().allowed { admitted += 1 }
        }
        #expect((55...66).contains(admitted), "\(admitted)")
    }
}
