import StoreModel
import Testing

@testable import SluiceEngine

/// Every state of the breaker against every event. Times in ms, from 0.
@Suite struct BreakerTests {
    private static let overdueNs: Int64 = 15_000_000

    private func at(_ ms: Int64) -> ClockReading { ClockReading(monotonicNs: ms * 1_000_000, wallMs: 0) }
    private func ns(_ ms: Int64) -> Int64 { ms * 1_000_000 }

    private func fresh(seed: UInt64 = 1) -> Breaker { Breaker(overdueAfterNs: Self.overdueNs, seed: seed, now: at(0)) }

    private func connecting() -> Breaker {
        var breaker = fresh()
        #expect(breaker.tick(oldestUnansweredNs: nil, now: at(0)) == .connect)
        #expect(breaker.state == .connecting)
        return breaker
    }

    private func probing() -> Breaker {
        var breaker = connecting()
        #expect(breaker.connected() == .probe)
        #expect(breaker.state == .probing)
        return breaker
    }

    private func closed() -> Breaker {
        var breaker = probing()
        #expect(breaker.answered(sentNs: ns(0), awaitsMore: false, now: at(1)) == .none)
        #expect(breaker.state == .closed && breaker.isClosed && breaker.failures == 0)
        return breaker
    }

    /// A store that answers only probes is tried less and less often; that ends after a second without a fault.
    @Test func failuresCountUntilItStaysClosed() {
        var breaker = closed()
        var ms: Int64 = 1
        for failures in 1...6 {
            breaker.rejected(now: at(ms))
            #expect(breaker.failures == failures)
            ms += 1_000
            #expect(breaker.tick(oldestUnansweredNs: nil, now: at(ms)) == .probe)
            #expect(breaker.answered(sentNs: ns(ms), awaitsMore: false, now: at(ms)) == .none)
            #expect(breaker.isClosed)
            ms += 999
        }
        breaker.rejected(now: at(ms + 1))
        #expect(breaker.failures == 1)
    }

    private func stalled() -> Breaker {
        var breaker = closed()
        #expect(breaker.tick(oldestUnansweredNs: ns(5), now: at(20)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(20)))
        return breaker
    }

    private func resting() -> Breaker {
        var breaker = closed()
        breaker.rejected(now: at(10))
        return breaker
    }

    private func retryNs(_ breaker: Breaker) -> Int64? {
        switch breaker.state {
        case .open(let retryAtNs), .resting(let retryAtNs): retryAtNs
        case .connecting, .probing, .closed, .stalled: nil
        }
    }

    @Test func opensAtOnceAtTheStart() {
        let breaker = fresh()
        #expect(breaker.state == .open(retryAtNs: 0))
        #expect(!breaker.isClosed)
        #expect(breaker.nextTickNs(oldestUnansweredNs: nil) == 0)
    }

    @Test func openWaitsForItsTime() throws {
        var breaker = connecting()
        breaker.disconnected(now: at(0))
        let retryAtNs = try #require(retryNs(breaker))
        #expect(retryAtNs >= ns(25) && retryAtNs <= ns(50))
        #expect(breaker.nextTickNs(oldestUnansweredNs: ns(3)) == retryAtNs)
        let early = ClockReading(monotonicNs: retryAtNs - 1, wallMs: 0)
        #expect(breaker.tick(oldestUnansweredNs: nil, now: early) == .none)
        #expect(breaker.connected() == .none)
        #expect(breaker.answered(sentNs: 0, awaitsMore: false, now: early) == .none)
        breaker.rejected(now: early)
        #expect(breaker.state == .open(retryAtNs: retryAtNs))
        #expect(breaker.tick(oldestUnansweredNs: nil, now: ClockReading(monotonicNs: retryAtNs, wallMs: 0)) == .connect)
        #expect(breaker.state == .connecting)
    }

    @Test func connectingWaitsForTheLink() {
        var breaker = connecting()
        #expect(breaker.nextTickNs(oldestUnansweredNs: nil) == nil)
        #expect(breaker.tick(oldestUnansweredNs: nil, now: at(100_000)) == .none)
        #expect(breaker.answered(sentNs: 0, awaitsMore: false, now: at(1)) == .none)
        breaker.rejected(now: at(1))
        #expect(breaker.state == .connecting)
        breaker.disconnected(now: at(1))
        #expect(retryNs(breaker) != nil && breaker.failures == 1)
    }

    @Test func probingClosesOnAnAnswerInTime() {
        var breaker = probing()
        #expect(breaker.nextTickNs(oldestUnansweredNs: ns(2)) == ns(17))
        #expect(breaker.answered(sentNs: ns(2), awaitsMore: false, now: at(16)) == .none)
        #expect(breaker.state == .closed)
    }

    @Test func probingRestsOnALateAnswer() throws {
        var breaker = probing()
        #expect(breaker.answered(sentNs: ns(2), awaitsMore: false, now: at(17)) == .none)
        let retryAtNs = try #require(retryNs(breaker))
        #expect(breaker.state == .resting(retryAtNs: retryAtNs))
        #expect(retryAtNs >= ns(17 + 25) && breaker.failures == 1)
    }

    @Test func probingRestsOnARejection() throws {
        var breaker = probing()
        breaker.rejected(now: at(3))
        #expect(breaker.state == .resting(retryAtNs: try #require(retryNs(breaker))))
    }

    @Test func probingStallsWhenOverdue() {
        var breaker = probing()
        #expect(breaker.tick(oldestUnansweredNs: ns(0), now: at(14)) == .none)
        #expect(breaker.state == .probing)
        #expect(breaker.tick(oldestUnansweredNs: ns(0), now: at(15)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(15)))
    }

    @Test func probingOpensWhenTheConnectionBreaks() throws {
        var breaker = probing()
        breaker.disconnected(now: at(3))
        #expect(breaker.state == .open(retryAtNs: try #require(retryNs(breaker))))
    }

    @Test func closedStaysSoOnAnswersAndTime() {
        var breaker = closed()
        #expect(breaker.nextTickNs(oldestUnansweredNs: nil) == nil)
        #expect(breaker.nextTickNs(oldestUnansweredNs: ns(5)) == ns(20))
        #expect(breaker.tick(oldestUnansweredNs: nil, now: at(100_000)) == .none)
        #expect(breaker.tick(oldestUnansweredNs: ns(99_990), now: at(100_000)) == .none)
        #expect(breaker.answered(sentNs: ns(99_990), awaitsMore: true, now: at(100_000)) == .none)
        #expect(breaker.connected() == .none)
        #expect(breaker.state == .closed)
    }

    @Test func closedOpensWhenTheConnectionBreaks() {
        var breaker = closed()
        breaker.disconnected(now: at(3))
        #expect(retryNs(breaker) != nil && !breaker.isClosed)
    }

    @Test func stalledProbesAtOnceAfterTheFirstHang() {
        var breaker = stalled()
        #expect(breaker.nextTickNs(oldestUnansweredNs: ns(5)) == ns(1020))
        #expect(breaker.answered(sentNs: ns(5), awaitsMore: true, now: at(30)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(20)))
        #expect(breaker.answered(sentNs: ns(5), awaitsMore: false, now: at(31)) == .probe)
        #expect(breaker.state == .probing && breaker.failures == 1)
    }

    @Test func stalledRestsAfterTheSecondHangInARow() {
        var breaker = stalled()
        #expect(breaker.answered(sentNs: ns(5), awaitsMore: false, now: at(31)) == .probe)
        #expect(breaker.tick(oldestUnansweredNs: ns(31), now: at(46)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(46)))
        #expect(breaker.answered(sentNs: ns(31), awaitsMore: false, now: at(50)) == .none)
        #expect(retryNs(breaker) != nil && breaker.failures == 2)
    }

    @Test func stalledGivesTheConnectionUp() throws {
        var breaker = stalled()
        #expect(breaker.tick(oldestUnansweredNs: ns(5), now: at(1019)) == .none)
        #expect(breaker.tick(oldestUnansweredNs: ns(5), now: at(1020)) == .disconnect)
        #expect(breaker.state == .open(retryAtNs: try #require(retryNs(breaker))))
    }

    @Test func stalledRestsOnARejectionAndOpensOnALoss() {
        var breaker = stalled()
        breaker.rejected(now: at(30))
        if case .resting = breaker.state {} else { Issue.record("\(breaker.state)") }
        breaker = stalled()
        breaker.disconnected(now: at(30))
        if case .open = breaker.state {} else { Issue.record("\(breaker.state)") }
    }

    @Test func restingProbesWhenItsTimeHasCome() throws {
        var breaker = resting()
        let retryAtNs = try #require(retryNs(breaker))
        #expect(breaker.state == .resting(retryAtNs: retryAtNs))
        #expect(breaker.nextTickNs(oldestUnansweredNs: 0) == retryAtNs)
        #expect(breaker.tick(oldestUnansweredNs: 0, now: ClockReading(monotonicNs: retryAtNs - 1, wallMs: 0)) == .none)
        breaker.rejected(now: at(11))
        #expect(breaker.answered(sentNs: 0, awaitsMore: false, now: at(12)) == .none)
        #expect(breaker.state == .resting(retryAtNs: retryAtNs))
        #expect(breaker.tick(oldestUnansweredNs: nil, now: ClockReading(monotonicNs: retryAtNs, wallMs: 0)) == .probe)
        #expect(breaker.state == .probing)
    }

    @Test func restingOpensWhenTheConnectionBreaks() throws {
        var breaker = resting()
        breaker.disconnected(now: at(12))
        #expect(breaker.state == .open(retryAtNs: try #require(retryNs(breaker))))
    }

    /// Each failure doubles the pause up to its maximum, and jitter separates replicas.
    @Test func pausesGrowAndDiffer() throws {
        var ceilingMs: Int64 = 50
        var breaker = fresh()
        for _ in 0..<100 {
            breaker.disconnected(now: at(0))
            let pause = try #require(retryNs(breaker))
            #expect(pause >= ns(ceilingMs) / 2 && pause <= ns(ceilingMs))
            ceilingMs = min(ceilingMs * 2, 1000)
        }
        let pauses = Set(
            (0..<50 as Range<UInt64>).map { seed in
                var breaker = fresh(seed: seed)
                breaker.disconnected(now: at(0))
                return retryNs(breaker)
            })
        #expect(pauses.count > 45)
    }
}

/// The sidecar's own delay is not the store's: the store is only late if nothing had arrived when its connection was
/// last read.
@Suite struct BreakerLookTests {
    private static let overdueNs: Int64 = 15_000_000

    private func at(_ ms: Int64) -> ClockReading { ClockReading(monotonicNs: ms * 1_000_000, wallMs: 0) }
    private func ns(_ ms: Int64) -> Int64 { ms * 1_000_000 }

    private func probing() -> Breaker {
        var breaker = Breaker(overdueAfterNs: Self.overdueNs, seed: 1, now: at(0))
        _ = breaker.tick(oldestUnansweredNs: nil, now: at(0))
        _ = breaker.connected()
        return breaker
    }

    private func closed() -> Breaker {
        var breaker = probing()
        _ = breaker.answered(sentNs: ns(0), awaitsMore: false, now: at(1))
        return breaker
    }

    @Test func anAnswerIsOverdueOnlyAfterALook() {
        var breaker = closed()
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(19), now: at(95)) == .none)
        #expect(breaker.isClosed)
        #expect(breaker.wantsLook(oldestUnansweredNs: ns(5), now: at(95)))
        // The read found the answer, and another batch has been sent.
        #expect(breaker.answered(sentNs: ns(5), awaitsMore: false, now: at(96)) == .none)
        #expect(breaker.tick(oldestUnansweredNs: ns(96), lookedNs: ns(96), now: at(96)) == .none)
        #expect(breaker.isClosed && !breaker.wantsLook(oldestUnansweredNs: ns(96), now: at(96)))
    }

    @Test func aLookThatFindsNothingIsEnough() {
        var breaker = closed()
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(6), now: at(20)) == .none)
        #expect(breaker.isClosed && breaker.wantsLook(oldestUnansweredNs: ns(5), now: at(20)))
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(20), now: at(21)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(21)))
    }

    @Test func nothingIsLookedForBeforeItsTime() {
        var breaker = closed()
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(6), now: at(19)) == .none)
        #expect(!breaker.wantsLook(oldestUnansweredNs: ns(5), now: at(19)))
        #expect(!breaker.wantsLook(oldestUnansweredNs: nil, now: at(1_000)))
    }

    @Test func theConnectionIsGivenUpOnlyAfterALook() throws {
        var breaker = closed()
        _ = breaker.tick(oldestUnansweredNs: ns(5), now: at(20))
        #expect(breaker.state == .stalled(sinceNs: ns(20)))
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(21), now: at(5_000)) == .none)
        #expect(breaker.state == .stalled(sinceNs: ns(20)))
        #expect(breaker.wantsLook(oldestUnansweredNs: ns(5), now: at(5_000)))
        #expect(breaker.tick(oldestUnansweredNs: ns(5), lookedNs: ns(5_000), now: at(5_001)) == .disconnect)
    }

    /// The answer to a probe came in time and lay unread.
    @Test func aProbesAnswerThatLayUnreadIsInTime() {
        var breaker = probing()
        _ = breaker.tick(oldestUnansweredNs: ns(2), lookedNs: ns(3), now: at(95))
        #expect(breaker.state == .probing)
        #expect(breaker.answered(sentNs: ns(2), awaitsMore: false, arrivedNs: ns(3), now: at(96)) == .none)
        #expect(breaker.isClosed)
    }
}
