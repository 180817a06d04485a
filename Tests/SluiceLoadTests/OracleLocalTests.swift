@testable import sluice_load
import SluiceProtocol
import Testing

/// What local counting promises, with a maximum of 10 and two replicas unless said otherwise.
@Suite struct OracleLocalTests {
    private var fixture = OracleFixture()

    @Test mutating func withNothingKnownASidecarHasItsShareOfTheMaximum() {
        fixture.admitLocally(5)
        fixture.admitLocally(5, sidecar: 1)
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.localWindows == 1)
    }

    @Test mutating func oneMoreThanItsShareIsCaught() throws {
        fixture.admitLocally(6)
        let report = fixture.oracle.finish()
        #expect(report.breaks.map(\.promise) == [.localWithinShare])
        #expect(
            report.breaks.first?.facts
                == "sidecar 1 admitted 6 locally, its share was at most 5 (maximum 10, 0 known to be used, 2 replicas)")
    }

    @Test func sharesAreRoundedUpInTheSidecarsFavour() {
        var fixture = OracleFixture(replicas: 3)
        fixture.admitLocally(4)
        #expect(fixture.broken() == [])
    }

    @Test mutating func inTheOpenWindowItsShareIsOfWhatWasLeft() {
        fixture.admitShared(1...6)
        fixture.admitLocally(2)
        #expect(fixture.broken() == [])
        fixture.admitLocally(1)
        #expect(fixture.broken() == [.localWithinShare])
    }

    @Test mutating func whatAnotherSidecarSawIsNotWhatThisOneKnew() {
        fixture.admitShared(1...6, sidecar: 1)
        fixture.admitLocally(5)
        // 6 shared of another and 5 local: one over the maximum, which neither could see.
        #expect(fixture.broken() == [])
    }

    @Test mutating func aUsageThatWasReadAfterACheckWasSentMayHaveBeenUnknown() {
        fixture.answer(true, .shared, used: 6)
        for _ in 0..<4 {
            fixture.answer(true, .local, used: 0, tookNs: 1_000_000, agoNs: 5_000_000)
        }
        // The first of them was sent before 6 was read: then nothing was known, and half of 10 was its share.
        #expect(fixture.broken() == [])
    }

    @Test mutating func itMayTakeAnotherShareEachTimeItWasBack() {
        fixture.answer(true, .shared, used: 2)
        fixture.admitLocally(4)
        fixture.answer(false, .shared, used: 10, cost: 10)
        fixture.admitLocally(3)
        #expect(fixture.broken() == [])
    }

    @Test mutating func aSlowLocalAnswerMayHideAnotherShare() {
        fixture.admitLocally(1, tookNs: 15_000_000)
        fixture.admitLocally(6)
        #expect(fixture.broken() == [])
        // Never more than what was left.
        fixture.admitLocally(4)
        #expect(fixture.broken() == [.localWithinShare, .totalWithinBound])
    }

    @Test mutating func aRestartedSidecarKnowsNothing() {
        fixture.admitShared(1...6)
        fixture.admitLocally(2)
        fixture.oracle.lostConnection(toSidecar: 0)
        fixture.admitLocally(5)
        #expect(fixture.broken() == [])
    }

    @Test func aReplicaAloneNeverPassesTheMaximum() {
        var fixture = OracleFixture(sidecars: 1, replicas: 1)
        fixture.admitShared(1...6)
        fixture.admitLocally(4)
        #expect(fixture.broken() == [])
        // Back at the store, what was admitted locally was not added.
        fixture.answer(true, .shared, used: 7)
        #expect(fixture.broken() == [.totalWithinBound])
    }

    /// The window began during an outage, and both sidecars return soon: no share is admitted twice.
    @Test(arguments: [true, false]) mutating func comingBackAdmitsNoMoreThanTheMaximum(isOver: Bool) {
        fixture.admitLocally(5)
        fixture.admitLocally(isOver ? 5 : 4, sidecar: 1)
        fixture.answer(true, .shared, used: 6)
        fixture.answer(false, .shared, used: 10, sidecar: 1)
        #expect(fixture.broken() == (isOver ? [.totalWithinBound] : []))
    }

    /// The first one waits for the other for a bounded time; one that was connected all along waits for nobody; and a
    /// window in which the store was there before is another case.
    @Test(arguments: 0..<3) mutating func comingBackIsJudgedOnlyWhereAllWaited(case number: Int) {
        switch number {
        case 0:
            fixture.admitLocally(5)
            fixture.admitLocally(5, sidecar: 1)
            fixture.answer(true, .shared, used: 6)
            fixture.nowNs += 2_000_000_000
        case 1:
            fixture.admitLocally(5)
            fixture.admitShared(1...5, sidecar: 1)
            fixture.answer(true, .shared, used: 6)
        default:
            fixture.answer(true, .shared, used: 1)
            fixture.admitLocally(4)
            fixture.admitLocally(5, sidecar: 1)
            fixture.answer(true, .shared, used: 6)
        }
        fixture.answer(false, .shared, used: 10, sidecar: 1)
        #expect(fixture.broken() == [])
    }

    @Test func whatWasLostSightOfExcusesTheTotal() {
        var fixture = OracleFixture(sidecars: 1, replicas: 1)
        fixture.admitShared(1...6)
        fixture.admitLocally(4)
        fixture.oracle.lostSight(ofSubject: 0)
        fixture.answer(true, .shared, used: 7)
        #expect(fixture.broken() == [])
    }

    @Test mutating func aWindowWithLocalAdmissionsNeedNotBeFull() {
        fixture.surround()
        fixture.admitShared(1...8, window: 2)
        fixture.admitLocally(1, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.fullWindows == 0)
    }

    @Test mutating func aCheckThatWasRefusedLocallyMayHaveBeenChargedAllTheSame() {
        fixture.surround()
        fixture.admitShared(1...8, window: 2)
        fixture.answer(false, .local, used: 8, window: 2)
        fixture.answer(true, .shared, used: 10, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.fullWindows == 0)
    }

    @Test mutating func aLaterWindowBeginsWithNothingKnown() {
        fixture.admitShared(1...10, window: 1)
        fixture.admitLocally(5, window: 2)
        #expect(fixture.broken() == [])
        fixture.admitLocally(1, window: 2)
        #expect(fixture.broken() == [.localWithinShare])
    }

    @Test func whatWasAdmittedLocallyMustBeInTheUsageAfterwards() {
        for (used, unsettled): (Int64, Int64) in [(3, 1), (4, 0), (5, 0)] {
            var fixture = OracleFixture()
            fixture.admitLocally(4)
            fixture.answer(true, .shared, used: used)
            let report = fixture.oracle.finish()
            #expect(report.isKept && report.unsettledWindows == unsettled)
        }
    }

    @Test func whatCannotBeKnownIsNotUnsettled() {
        // The store had been given the checks and may charge them late; what was sent before is read before.
        var slow = OracleFixture()
        slow.admitLocally(4, tookNs: 15_000_000)
        slow.answer(true, .shared, used: 1)
        #expect(slow.isSettled())
        var early = OracleFixture()
        early.admitLocally(4)
        early.answer(true, .shared, used: 1, agoNs: 20_000_000)
        #expect(early.isSettled())
        // Another sidecar's admissions are its own to settle.
        var other = OracleFixture()
        other.admitLocally(4)
        other.answer(true, .shared, used: 1, sidecar: 1)
        #expect(other.isSettled())
        var restarted = OracleFixture()
        restarted.admitLocally(4)
        restarted.oracle.lostConnection(toSidecar: 0)
        restarted.answer(true, .shared, used: 1)
        #expect(restarted.isSettled())
    }
}
