@testable import sluice_load
import SluiceProtocol
import Testing

/// What shared counting promises.
@Suite struct OracleTests {
    private var fixture = OracleFixture()

    @Test mutating func aFullWindowKeepsEveryPromise() {
        fixture.surround()
        fixture.admitShared(1...10, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        let report = fixture.oracle.finish()
        #expect(report.isKept)
        #expect(report.answers == 14 && report.windows == 4)
        #expect(report.fullWindows == 1 && report.exactWindows == 1)
    }

    @Test mutating func oneTooManyIsCaught() throws {
        fixture.admitShared(1...10)
        // Counted right, and admitted all the same.
        fixture.answer(true, .shared, used: 11, sidecar: 1)
        let report = fixture.oracle.finish()
        let found = try #require(report.breaks.first)
        #expect(found.promise == .neverOver && report.breakCount == 1)
        #expect(found.facts == "11 were admitted, the maximum is 10")
        #expect(found.rule == OracleFixture.rule && found.windowStartMs == 1000 && found.subject == 0)
    }

    @Test mutating func oneTooManyIsCaughtOverAllSourcesAndSidecars() {
        fixture.admitShared(1...9)
        fixture.answer(true, .lease, used: 10, sidecar: 1)
        fixture.answer(true, .cache, used: 10)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test mutating func aUsageAboveTheMaximumIsCaughtEvenIfFewWereSeen() {
        fixture.answer(true, .shared, used: 11)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test mutating func theSameUsageTwiceIsALostCharge() {
        fixture.answer(true, .shared, used: 3)
        fixture.answer(true, .shared, used: 3, sidecar: 1)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test mutating func chargesThatOverlapAreALostCharge() {
        fixture.answer(true, .shared, used: 5, cost: 3)
        fixture.answer(true, .shared, used: 6, cost: 3)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test mutating func aUsageBelowItsOwnCostIsALostCharge() {
        fixture.answer(true, .shared, used: 2, cost: 3)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test mutating func theOrderOfAnswersDoesNotMatter() {
        for used: Int64 in [4, 2, 9, 1, 10, 3, 7, 8, 5, 6] { fixture.answer(true, .shared, used: used) }
        #expect(fixture.broken() == [])
    }

    @Test mutating func aNeedlessDenialIsCaught() {
        fixture.answer(false, .shared, used: 9)
        #expect(fixture.broken() == [.neverNeedlesslyUnder])
        fixture = OracleFixture()
        fixture.answer(false, .cache, used: 8, cost: 2)
        #expect(fixture.broken() == [.neverNeedlesslyUnder])
    }

    @Test mutating func aDenialIsRightIfOneOfItsLimitsIsFull() {
        let looks = [
            TraceEntry(rule: "a", windowStartMs: 1000, used: 1, max: 10),
            TraceEntry(rule: "b", windowStartMs: 1000, used: 9, max: 10),
        ]
        fixture.answer(false, .shared, looks, cost: 2)
        #expect(fixture.broken() == [])
        fixture.answer(false, .shared, looks, cost: 1)
        #expect(fixture.broken() == [.neverNeedlesslyUnder, .neverNeedlesslyUnder])
    }

    @Test mutating func localAndPolicyDenialsNeedNoProof() {
        fixture.answer(false, .local, used: 0)
        fixture.answer(false, .policy, used: 0)
        fixture.answer(true, .policy, [])
        #expect(fixture.broken() == [])
    }

    @Test mutating func aWindowThatRefusesBeforeItIsFullIsCaught() {
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

    @Test mutating func aWindowNeedNotBeFullIfACheckWasLostSightOf() {
        fixture.surround()
        fixture.admitShared(1...9, window: 2)
        fixture.oracle.lostSight(ofSubject: 0)
        fixture.answer(false, .shared, used: 10, window: 2)
        #expect(fixture.broken() == [])
    }

    @Test mutating func aLostCheckMayHaveBeenChargedInTheNextWindow() {
        fixture.surround()
        fixture.admitShared(1...1, window: 1)
        fixture.oracle.lostSight(ofSubject: 0)
        fixture.admitShared(1...9, window: 2)
        fixture.answer(false, .shared, used: 10, window: 2)
        #expect(fixture.broken() == [])
    }

    @Test mutating func costsThatDoNotFillAWindowToTheUnitAreExact() {
        fixture.surround()
        for used: Int64 in [3, 6, 9] { fixture.answer(true, .shared, used: used, window: 2, cost: 3) }
        fixture.answer(false, .shared, used: 9, window: 2, cost: 3)
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.exactWindows == 1)
    }

    @Test mutating func grantsRulesAndWindowsAreCountedSeparately() {
        for subject in 0...1 {
            for window: Int64 in 1...2 { fixture.admitShared(1...10, window: window, subject: subject) }
        }
        for used: Int64 in 1...10 { fixture.answer(true, .shared, used: used, rule: "other") }
        #expect(fixture.broken() == [])
    }

    @Test mutating func theLargestMaximumBindsWhileItChanges() {
        fixture.admitShared(1...10)
        fixture.answer(true, .shared, used: 11, max: 12)
        fixture.answer(true, .shared, used: 12, max: 12)
        #expect(fixture.broken() == [])
    }

    @Test mutating func eachPromiseIsReportedOnceAWindow() {
        for _ in 0..<5 { fixture.answer(true, .shared, used: 11) }
        #expect(fixture.oracle.current.breakCount == 1)
        for window: Int64 in 2...30 { fixture.answer(true, .shared, used: 11, window: window) }
        let report = fixture.oracle.finish()
        #expect(report.breakCount == 30 && report.breaks.count == LoadBounds.maxBreaks)
        #expect(report.breaks.first?.windowStartMs == 1000)
    }

    @Test mutating func decisionsWithoutATraceAreReported() {
        fixture.answer(true, .shared, nil)
        #expect(fixture.oracle.finish().untracedAnswers == 1)
    }

    @Test mutating func memoryIsBounded() {
        for window: Int64 in 1...1000 { fixture.admitShared(1...3, window: window) }
        #expect(fixture.oracle.openWindows == LoadBounds.keptWindows)
        // An answer for a judged window is reported, and not judged.
        fixture.answer(true, .shared, used: 3, window: 5)
        let report = fixture.oracle.finish()
        #expect(report.windows == 1000 && report.lateAnswers == 1 && report.isKept)
    }

    @Test mutating func windowsMayComeInAnyOrderWhileTheyAreKept() {
        for (index, window) in [4, 2, 3, 1, 2, 4].enumerated() {
            fixture.answer(true, .shared, used: Int64(index) + 1, window: Int64(window))
        }
        let report = fixture.oracle.finish()
        #expect(report.windows == 4 && report.lateAnswers == 0)
    }
}
