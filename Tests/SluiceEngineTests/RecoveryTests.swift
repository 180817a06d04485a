import Testing

@testable import SluiceEngine

@Suite struct RecoveryTests {
    private static let start = Moment(monotonicNs: 1_000, wallMs: 0)

    private func recovery(_ others: [UInt64], assumed: Int) -> Recovery {
        Recovery(awaiting: others, assumed: assumed, forgotMs: 500, now: Self.start)
    }

    @Test func allWhoAreKnownAreAwaited() {
        var recovery = recovery([2, 3], assumed: 1)
        recovery.told(2, seenMs: 499)
        #expect(recovery.isAwaiting)
        recovery.told(2, seenMs: 500)
        #expect(recovery.isAwaiting)
        recovery.told(3, seenMs: 600)
        #expect(!recovery.isAwaiting && recovery.isOver(hasOffered: true, now: Self.start))
        #expect(!recovery.isOver(hasOffered: false, now: Self.start))
    }

    /// One that is known and is heard again and again is no other.
    @Test func asManyMoreAsAreAssumed() {
        var recovery = recovery([2], assumed: 4)
        for seenMs in Int64(500)..<510 { recovery.told(2, seenMs: seenMs) }
        recovery.told(5, seenMs: 510)
        recovery.told(5, seenMs: 511)
        #expect(recovery.isAwaiting)
        recovery.told(6, seenMs: 512)
        #expect(!recovery.isAwaiting)
    }

    @Test func notForLong() {
        let recovery = recovery([2], assumed: 1)
        var now = Self.start
        now.monotonicNs = recovery.endNs - 1
        #expect(!recovery.isOver(hasOffered: true, now: now))
        now.monotonicNs = recovery.endNs
        #expect(recovery.isOver(hasOffered: false, now: now))
        #expect(!self.recovery([], assumed: 1).isAwaiting)
    }
}
