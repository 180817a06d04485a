import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A sliding log as a gateway sees it: exact, at its full rate, with the store and without it.
@Suite struct SlidingLogTests {
    private static func limit(_ max: Int64, per seconds: Int64 = 1, _ algorithm: Algorithm = .slidingLog) -> Limit {
        StoreModel.limit(max: max, per: seconds, algorithm: algorithm)
    }

    private static func baseKey(_ limit: Limit) -> [UInt8] {
        let identity = Identity.Parts(grant: Array("g".utf8), tool: "t", approved: false)
        return CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
    }

    private static func log(_ rig: LimiterRig, _ limit: Limit) -> [UsageLog.Step] {
        if case .log(let log)? = rig.store.value(of: baseKey(limit)) { log.steps } else { [] }
    }

    /// The times of admission under a steady demand, ms after the start.
    private func admissions(_ rig: inout LimiterRig, everyMs: Int64, forMs: Int64) -> [Int64] {
        var admitted: [Int64] = []
        for ms in stride(from: 0, to: forMs, by: Int64.Stride(everyMs)) {
            if rig.decide().allowed { admitted.append(ms) }
            rig.pass(ms: everyMs)
        }
        return admitted
    }

    private func mostWithin(_ lengthMs: Int64, _ times: [Int64]) -> Int {
        times.indices.map { last in times[...last].count { $0 + lengthMs > times[last] } }.max() ?? 0
    }

    // MARK: - All of the rate, and no more

    @Test(arguments: [1, 2, 3, 5, 10, 20] as [Int64], [true, false])
    func steadyDemandGetsAllOfItsRate(max: Int64, usesStore: Bool) {
        var rig = LimiterRig(policy(Self.limit(max)), usesStore: usesStore)
        let admitted = admissions(&rig, everyMs: 7, forMs: 20_000)
        // A call comes every 7 ms: at most that much is lost for each that waits.
        let least = 20_000 * max / (1_000 + 7 * max)
        #expect(Int64(admitted.count) >= least && Int64(admitted.count) <= 20 * max + max)
        #expect(mostWithin(1_000, admitted) == Int(max))
    }

    /// The reference's statement about two windows.
    @Test(arguments: [(1, 50), (2, 50), (3, 67), (10, 90), (20, 95)] as [(Int64, Int64)])
    func twoWindowsGiveLessOfASmallMaximum(max: Int64, percent: Int64) {
        var rig = LimiterRig(policy(Self.limit(max, .slidingWindow)), usesStore: false)
        let admitted = Int64(admissions(&rig, everyMs: 5, forMs: 50_000).count)
        #expect(abs(2 * admitted - percent * max) <= 2 * max, "\(admitted) of \(50 * max)")
    }

    /// Ten at a window's end and none before: two windows let nine more pass within less than a window, the log none.
    @Test(arguments: [(.slidingWindow, 19), (.slidingLog, 10), (.fixedWindow, 20)] as [(Algorithm, Int)])
    func aWindowsEnd(algorithm: Algorithm, most: Int) {
        var rig = LimiterRig(policy(Self.limit(10, per: 2, algorithm)))
        rig.pass(ms: 1_999)
        var admitted = (0..<12).count { _ in rig.decide().allowed }
        for _ in 0..<1_950 {
            rig.pass(ms: 1)
            if rig.decide().allowed { admitted += 1 }
        }
        #expect(admitted == most)
    }

    /// A caller that waits the reported time passes, and not a millisecond sooner; also for cached denials.
    @Test func theTimeToWaitIsExact() {
        var rig = LimiterRig(policy(Self.limit(6, per: 60)))
        for _ in 0..<6 {
            #expect(rig.decide().allowed)
            rig.pass(ms: 1_000)
        }
        for (cost, waitMs) in [(1, 54_000), (3, 56_000), (6, 59_000)] as [(Int64, Int64)] {
            let decision = rig.decide(cost: cost)
            #expect(!decision.allowed && decision.retryAfterMs == waitMs && decision.resetMs == 59_000)
        }
        #expect(rig.decide(cost: 7).retryAfterMs == -1)
        rig.pass(ms: 53_999)
        #expect(!rig.decide().allowed)
        rig.pass(ms: 1)
        #expect(rig.decide().allowed && !rig.decide().allowed)
    }

    /// Of a long log the cache answers only what is known to the millisecond.
    @Test func memoryNeverSaysALongerWait() {
        var rig = LimiterRig(policy(Self.limit(100, per: 60)))
        rig.limiter.linkChangeFeed(.opened, now: rig.now)
        for _ in 0..<100 {
            #expect(rig.decide().allowed)
            rig.pass(ms: 10)
        }
        for cost in [1, 4, 5, 50, 100] as [Int64] {
            for _ in 0..<2 {
                let decision = rig.decide(cost: cost)
                #expect(!decision.allowed && decision.retryAfterMs == 59_000 + (cost - 1) * 10, "\(cost): \(decision)")
            }
        }
    }

    @Test func aMaximumThatChangesKeepsTheLog() {
        var rig = LimiterRig(policy(Self.limit(5, per: 60)))
        for _ in 0..<5 { #expect(rig.decide().allowed) }
        rig.limiter.replacePolicies(PolicySet(single: policy(Self.limit(7, per: 60))))
        #expect(rig.decide().remaining == 1)
        rig.limiter.replacePolicies(PolicySet(single: policy(Self.limit(3, per: 60))))
        #expect(!rig.decide().allowed)
    }

    // MARK: - Outages

    /// What was admitted without the store is written to it once, each call with the time of its admission.
    @Test func whatWasAdmittedAloneIsWrittenBackWithItsTimes() {
        let limit = Self.limit(10, per: 60)
        var rig = LimiterRig(policy(limit))
        #expect(rig.decide().source == .shared)
        rig.lose()
        var times: [Int64] = []
        for _ in 0..<5 {
            rig.pass(ms: 2_000)
            times.append(rig.limiter.clock.nowMs(rig.now))
            #expect(rig.decide().source == .local)
        }
        rig.connect()
        rig.exchange()
        #expect(Self.log(rig, limit).map(\.ms) == [LimiterRig.startMs] + times)
        #expect(rig.limiter.journalCount == 0)
        // It counts for a minute from then, not from when it was written.
        let peek = rig.decide(LimiterRig.Question(isPeek: true))
        #expect(peek.source == .shared && peek.remaining == 4)
        rig.pass(ms: (times.last ?? 0) + 60_000 - rig.store.clockMs)
        #expect(rig.decide(LimiterRig.Question(isPeek: true)).remaining == 10)
    }

    /// Many are written back in few steps, which free nothing sooner.
    @Test func manyAreWrittenBackInFewSteps() {
        let limit = Self.limit(500, per: 60)
        var rig = LimiterRig(policy(limit))
        _ = rig.decide()
        rig.lose()
        for _ in 0..<400 {
            rig.pass(ms: 10)
            #expect(rig.decide().allowed)
        }
        rig.connect()
        rig.exchange()
        let steps = Self.log(rig, limit)
        #expect(steps.count <= 1 + EngineBounds.maxLogStepsWrittenBack && steps.reduce(0) { $0 + $1.units } == 401)
        #expect(rig.limiter.journalCount == 0 && rig.decide().remaining == 98)
    }

    /// Two replicas without the store: together no more than the maximum in any stretch, and nearly all of it.
    @Test func sharesAddUpInAnyStretch() {
        let limit = Self.limit(10)
        var times: [Int64] = []
        for replica in 1...2 as ClosedRange<UInt64> {
            var rig = LimiterRig(policy(limit), replicas: 2, connected: false, replica: replica)
            times += admissions(&rig, everyMs: 3, forMs: 10_000)
        }
        #expect(mostWithin(1_000, times.sorted()) == 10 && times.count >= 95)
    }

    /// A store that lost its data is raised to what was seen, at its times.
    @Test func isRestoredAfterADataLoss() {
        let limit = Self.limit(10, per: 60)
        var rig = LimiterRig(policy(limit))
        var times: [Int64] = []
        for _ in 0..<6 {
            times.append(rig.store.clockMs)
            #expect(rig.decide().allowed)
            rig.pass(ms: 1_000)
        }
        rig.store.flush()
        #expect(rig.decide().remaining == 3)
        rig.exchange()
        #expect(Self.log(rig, limit).map(\.ms).prefix(6).elementsEqual(times))
    }

    // MARK: - Memory

    @Test func whatItTakesIsCountedAndBounded() {
        var rig = LimiterRig(policy(Self.limit(1_024, per: 60)), usesStore: false)
        _ = rig.decide()
        let before = rig.limiter.heldBytes
        for _ in 0..<1_023 {
            rig.pass(ms: 1)
            #expect(rig.decide().allowed)
        }
        let more = rig.limiter.heldBytes - before
        #expect(more >= 2 * 1_000 * 16 && more <= 2 * 2 * 1_024 * 16 + 4_096, "\(more)")
        rig.pass(ms: 60_000)
        for _ in 0..<1_500 {
            rig.pass(ms: 60)
            expectQuickly(rig.decide().allowed, "all of its rate")
        }
        #expect(rig.limiter.heldBytes - before <= more * 2)
    }
}
