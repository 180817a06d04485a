import Testing

@testable import SluiceEngine

@Suite struct RecoveryTests {
    private static let start = ClockReading(monotonicNs: 1_000, wallMs: 0)

    private func recovery(
        _ phase: Recovery.Phase, _ others: [UInt64], assumed: Int
    ) -> Recovery {
        Recovery(phase, awaiting: others, assumed: assumed, sinceMs: 500, now: Self.start)
    }

    private func heartbeat(_ replica: UInt64, seenMs: Int64 = 0, writtenBackMs: Int64 = 0) -> Heartbeat {
        Heartbeat(replica: replica, seenMs: seenMs, writtenBackMs: writtenBackMs)
    }

    @Test func allThatAreKnownAreAwaited() {
        var recovery = recovery(.restoring, [2, 3], assumed: 1)
        recovery.heard(heartbeat(2, seenMs: 499))
        #expect(recovery.isAwaiting)
        recovery.heard(heartbeat(2, seenMs: 500))
        #expect(recovery.isAwaiting)
        recovery.heard(heartbeat(3, seenMs: 600))
        #expect(!recovery.isAwaiting)
        #expect(recovery.advance(isDone: false, now: Self.start) == .none)
        #expect(recovery.advance(isDone: true, now: Self.start) == .writeBack)
    }

    /// After the restores come the write-backs, and all replicas are awaited again.
    @Test func twoPhasesAfterADataLoss() {
        var recovery = recovery(.restoring, [2], assumed: 1)
        recovery.heard(heartbeat(2, seenMs: 600, writtenBackMs: 700))
        #expect(recovery.advance(isDone: true, now: Self.start) == .writeBack && recovery.phase == .writingBack)
        #expect(recovery.advance(isDone: true, now: Self.start) == .none)
        recovery.heard(heartbeat(2, seenMs: 800, writtenBackMs: 499))
        #expect(recovery.advance(isDone: true, now: Self.start) == .none)
        recovery.heard(heartbeat(2, seenMs: 900, writtenBackMs: 500))
        #expect(recovery.advance(isDone: false, now: Self.start) == .none)
        #expect(recovery.advance(isDone: true, now: Self.start) == .end)
    }

    /// A heartbeat alone does not say that all is written back; nor does one that was sent before the outage.
    @Test func oneAfterAnOutage() {
        var recovery = recovery(.writingBack, [2], assumed: 1)
        recovery.heard(heartbeat(2, seenMs: 900))
        recovery.heard(heartbeat(2, seenMs: 901, writtenBackMs: 400))
        #expect(recovery.advance(isDone: true, now: Self.start) == .none)
        recovery.heard(heartbeat(2, seenMs: 902, writtenBackMs: 900))
        #expect(recovery.advance(isDone: true, now: Self.start) == .end)
    }

    /// Repeated heartbeats of a known replica do not count for another.
    @Test func asManyMoreAsAreAssumed() {
        var recovery = recovery(.restoring, [2], assumed: 4)
        for seenMs in Int64(500)..<510 { recovery.heard(heartbeat(2, seenMs: seenMs)) }
        recovery.heard(heartbeat(5, seenMs: 510))
        recovery.heard(heartbeat(5, seenMs: 511))
        #expect(recovery.isAwaiting)
        recovery.heard(heartbeat(6, seenMs: 512))
        #expect(!recovery.isAwaiting)
    }

    @Test(arguments: [Recovery.Phase.restoring, .writingBack])
    func notForLong(_ phase: Recovery.Phase) {
        var recovery = recovery(phase, [2], assumed: 1)
        var now = Self.start
        now.monotonicNs = recovery.endNs - 1
        #expect(recovery.advance(isDone: true, now: now) == .none)
        now.monotonicNs = recovery.endNs
        #expect(recovery.advance(isDone: false, now: now) == .end)
        #expect(!self.recovery(phase, [], assumed: 1).isAwaiting)
    }

    /// What others had written back before the outage says nothing about what they admitted locally in it.
    @Test func anOutageDuringTheRestoresStartsOver() {
        var membership = Membership(ReplicaView(own: 1, assumed: 2), now: Self.start)
        membership.update([2], now: Self.start)
        var reconciler = Reconciler(usesStore: true, maxIncrement: 100)
        _ = reconciler.storeLostData(counterCount: 0, membership, sinceMs: 500, now: Self.start)
        reconciler.heard(heartbeat(2, seenMs: 600, writtenBackMs: 600))
        reconciler.storeReached(hadOutage: true, membership, sinceMs: 1_000, now: Self.start)
        reconciler.heard(heartbeat(2, seenMs: 600, writtenBackMs: 600))
        #expect(reconciler.advance(isDone: true, now: Self.start) == false)
        reconciler.heard(heartbeat(2, seenMs: 1_000, writtenBackMs: 600))
        #expect(reconciler.advance(isDone: true, now: Self.start) == true)
        #expect(reconciler.recovery?.phase == .writingBack)
        reconciler.heard(heartbeat(2, seenMs: 1_100, writtenBackMs: 600))
        #expect(reconciler.advance(isDone: true, now: Self.start) == false)
        reconciler.heard(heartbeat(2, seenMs: 1_200, writtenBackMs: 1_150))
        #expect(reconciler.advance(isDone: true, now: Self.start) == true)
        #expect(reconciler.recovery == nil)
    }

    /// Shares of before the first contact are not those of the first outage.
    @Test func theFirstContactEndsTheTimeBeforeIt() {
        let membership = Membership(ReplicaView(own: 1, assumed: 1), now: Self.start)
        var reconciler = Reconciler(usesStore: true, maxIncrement: 100)
        let outage = reconciler.outage
        reconciler.storeReached(hadOutage: false, membership, sinceMs: 500, now: Self.start)
        #expect(reconciler.outage != outage && reconciler.recovery == nil)
    }
}
