@testable import sluice_load
import SluiceProtocol
import Testing

/// What shared counting promises.
@Suite struct OracleTests {
    @Test func aFullWindowKeepsEveryPromise() {
        var fixture = OracleFixture()
        fixture.surround()
        fixture.admitShared(1...10, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        let report = fixture.oracle.finish()
        #expect(report.isKept)
        #expect(report.answers == 14 && report.windows == 4)
        #expect(report.fullWindows == 1 && report.exactWindows == 1)
    }

    @Test func oneTooManyIsCaught() throws {
        var fixture = OracleFixture()
        fixture.admitShared(1...10)
        // Counted right, and admitted all the same.
        fixture.answer(true, .shared, used: 11, sidecar: 1)
        let report = fixture.oracle.finish()
        let found = try #require(report.breaks.first)
        #expect(found.promise == .neverOver && report.breakCount == 1)
        #expect(found.facts == "11 were admitted, the maximum is 10")
        #expect(found.rule == OracleFixture.rule && found.windowStartMs == 1000 && found.subject == 0)
    }

    @Test func oneTooManyIsCaughtOverAllSourcesAndSidecars() {
        var fixture = OracleFixture()
        fixture.admitShared(1...9)
        fixture.answer(true, .lease, used: 10, sidecar: 1)
        fixture.answer(true, .cache, used: 10)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test func aTallyAboveTheMaximumIsCaughtEvenIfFewWereSeen() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, used: 11)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test func theSameTallyTwiceIsALostCharge() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, used: 3)
        fixture.answer(true, .shared, used: 3, sidecar: 1)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test func chargesThatOverlapAreALostCharge() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, used: 5, cost: 3)
        fixture.answer(true, .shared, used: 6, cost: 3)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test func aTallyBelowItsOwnCostIsALostCharge() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, used: 2, cost: 3)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test func theOrderOfAnswersDoesNotMatter() {
        var fixture = OracleFixture()
        for used: Int64 in [4, 2, 9, 1, 10, 3, 7, 8, 5, 6] { fixture.answer(true, .shared, used: used) }
        #expect(fixture.broken() == [])
    }

    @Test func aRefusalThatWasNotDueIsCaught() {
        var fixture = OracleFixture()
        fixture.answer(false, .shared, used: 9)
        #expect(fixture.broken() == [.neverNeedlesslyUnder])
        fixture = OracleFixture()
        fixture.answer(false, .cache, used: 8, cost: 2)
        #expect(fixture.broken() == [.neverNeedlesslyUnder])
    }

    @Test func aRefusalIsDueIfOneOfItsLimitsIsFull() {
        var fixture = OracleFixture()
        let looks = [
            TraceEntry(rule: "a", windowStartMs: 1000, used: 1, max: 10),
            TraceEntry(rule: "b", windowStartMs: 1000, used: 9, max: 10),
        ]
        fixture.answer(false, .shared, looks, cost: 2)
        #expect(fixture.broken() == [])
        fixture.answer(false, .shared, looks, cost: 1)
        #expect(fixture.broken() == [.neverNeedlesslyUnder, .neverNeedlesslyUnder])
    }

    @Test func localAndPolicyRefusalsNeedNoProof() {
        var fixture = OracleFixture()
        fixture.answer(false, .local, used: 0)
        fixture.answer(false, .policy, used: 0)
        fixture.answer(true, .policy, [])
        #expect(fixture.broken() == [])
    }

    @Test func aWindowThatRefusesBeforeItIsFullIsCaught() {
        var fixture = OracleFixture()
        fixture.surround()
        fixture.admitShared(1...9, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        #expect(fixture.broken() == [.fullMeansFull])
    }

    @Test func aWindowAtTheRunsEdgeNeedNotBeFull() {
        for window: Int64 in [1, 3] {
            var fixture = OracleFixture()
            fixture.surround()
            fixture.answer(false, .shared, used: 10, window: window)
            let report = fixture.oracle.finish()
            #expect(report.isKept && report.fullWindows == 0)
        }
    }

    @Test func aWindowNeedNotBeFullIfACheckWasLostSightOf() {
        var fixture = OracleFixture()
        fixture.surround()
        fixture.admitShared(1...9, window: 2)
        fixture.oracle.lostSight(ofSubject: 0)
        fixture.answer(false, .shared, used: 10, window: 2)
        #expect(fixture.broken() == [])
    }

    @Test func aLostCheckMayHaveBeenChargedInTheNextWindow() {
        var fixture = OracleFixture()
        fixture.surround()
        fixture.admitShared(1...1, window: 1)
        fixture.oracle.lostSight(ofSubject: 0)
        fixture.admitShared(1...9, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        #expect(fixture.broken() == [])
    }

    @Test func costsThatDoNotFillAWindowToTheUnitAreExact() {
        var fixture = OracleFixture()
        fixture.surround()
        for used: Int64 in [3, 6, 9] { fixture.answer(true, .shared, used: used, window: 2, cost: 3) }
        fixture.answer(false, .shared, used: 9, window: 2, cost: 3)
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.exactWindows == 1)
    }

    @Test func grantsRulesAndWindowsAreCountedApart() {
        var fixture = OracleFixture()
        for subject in 0...1 {
            for window: Int64 in 1...2 { fixture.admitShared(1...10, window: window, subject: subject) }
        }
        for used: Int64 in 1...10 { fixture.answer(true, .shared, used: used, rule: "other") }
        #expect(fixture.broken() == [])
    }

    @Test func theLargestMaximumBindsWhileItChanges() {
        var fixture = OracleFixture()
        fixture.admitShared(1...10)
        fixture.answer(true, .shared, used: 11, max: 12)
        fixture.answer(true, .shared, used: 12, max: 12)
        #expect(fixture.broken() == [])
    }

    @Test func eachPromiseIsToldOnceAWindow() {
        var fixture = OracleFixture()
        for _ in 0..<5 { fixture.answer(true, .shared, used: 11) }
        #expect(fixture.oracle.current.breakCount == 1)
        for window: Int64 in 2...30 { fixture.answer(true, .shared, used: 11, window: window) }
        let report = fixture.oracle.finish()
        #expect(report.breakCount == 30 && report.breaks.count == LoadBounds.maxBreaks)
        #expect(report.breaks.first?.windowStartMs == 1000)
    }

    @Test func decisionsWithoutATraceAreReported() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, nil)
        #expect(fixture.oracle.finish().untracedAnswers == 1)
    }

    @Test func memoryIsBounded() {
        var fixture = OracleFixture()
        for window: Int64 in 1...1000 { fixture.admitShared(1...3, window: window) }
        #expect(fixture.oracle.openWindows == LoadBounds.keptWindows)
        // An answer for a judged window is reported, and not judged.
        fixture.answer(true, .shared, used: 3, window: 5)
        let report = fixture.oracle.finish()
        #expect(report.windows == 1000 && report.lateAnswers == 1 && report.isKept)
    }

    @Test func windowsMayComeInAnyOrderWhileTheyAreKept() {
        var fixture = OracleFixture()
        for (index, window) in [4, 2, 3, 1, 2, 4].enumerated() {
            fixture.answer(true, .shared, used: Int64(index) + 1, window: Int64(window))
        }
        let report = fixture.oracle.finish()
        #expect(report.windows == 4 && report.lateAnswers == 0)
    }
}
