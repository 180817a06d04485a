import StoreModel
import Testing

@testable import SluiceEngine

/// A check's budget counts from when its bytes could be read, however late the sidecar reads them.
@Suite struct WaitedTests {
    /// 15 of the budget's 20 ms may be spent on the store.
    @Test func waitingBeforeTheCheckWasTakenIsPartOfItsBudget() {
        var rig = LimiterRig(policy(limit(max: 5)))
        rig.now.waitedNs = 10_000_000
        let ticket = rig.wait()
        rig.now.waitedNs = 0
        _ = rig.sent()
        #expect(rig.limiter.nextTickNs() == rig.now.monotonicNs + 5_000_000)
        rig.pass(ms: 5)
        rig.tick()
        #expect(rig.answers[ticket]?.source == .local)
        #expect(rig.limiter.statistics.timedOut == 1 && rig.limiter.statistics.late == 0)
    }

    @Test func whatWaitedForTooLongIsLateHoweverFastTheStoreIs() {
        var rig = LimiterRig(policy(limit(max: 5)))
        rig.now.waitedNs = 95_000_000
        let ticket = rig.wait()
        rig.now.waitedNs = 0
        rig.exchange()
        #expect(rig.answers[ticket]?.source == .shared)
        #expect(rig.limiter.statistics.late == 1)
    }

    @Test func whatIsAnsweredAtOnceMayBeLateAsWell() {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: false)
        rig.now.waitedNs = 20_000_000
        rig.limiter.noteAnswered(3, now: rig.now)
        #expect(rig.limiter.statistics.late == 0)
        rig.now.waitedNs += 1
        rig.limiter.noteAnswered(3, now: rig.now)
        #expect(rig.limiter.statistics.late == 3)
    }

    /// While the sockets must be read first the breaker asks for no tick, so that no shell ticks in vain.
    @Test func theStoreIsJudgedAfterALook() {
        var rig = LimiterRig(policy(limit(max: 5)))
        let lookedNs = rig.now.monotonicNs
        let ticket = rig.wait()
        let batch = rig.sent()[0]
        rig.pass(ms: 95)
        rig.limiter.tick(now: rig.now, lookedNs: lookedNs)
        rig.collect()
        #expect(rig.limiter.wantsLook && rig.limiter.isShared && rig.limiter.statistics.outages == 0)
        #expect(rig.answers[ticket]?.source == .local)
        #expect(rig.limiter.nextTickNs() > rig.now.monotonicNs)
        // The read finds the answer.
        rig.answer(batch, rig.run(batch))
        rig.limiter.tick(now: rig.now, lookedNs: rig.now.monotonicNs)
        #expect(!rig.limiter.wantsLook && rig.limiter.isShared && rig.limiter.statistics.outages == 0)
    }

    @Test func theSilenceOfChangesIsJudgedAfterALook() {
        var changeFeed = ChangeFeed(seed: 1, now: ClockReading(monotonicNs: 0, wallMs: 0))
        func at(_ seconds: Int64) -> ClockReading { ClockReading(monotonicNs: seconds * 1_000_000_000, wallMs: 0) }
        #expect(changeFeed.tick(isStoreThere: true, now: at(0)) == .open)
        changeFeed.hear(.opened, now: at(0))
        #expect(changeFeed.tick(isStoreThere: true, now: at(1)) == .probe)
        #expect(changeFeed.tick(isStoreThere: true, lookedNs: at(1).monotonicNs, now: at(9)) == nil)
        #expect(changeFeed.isListening && changeFeed.wantsLook(now: at(9)))
        #expect(changeFeed.tick(isStoreThere: true, lookedNs: at(9).monotonicNs, now: at(9)) == .close)
    }
}
