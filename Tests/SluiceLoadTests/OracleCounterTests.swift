@testable import sluice_load
import SluiceProtocol
import Testing

/// The store's counters at the end against what was admitted.
@Suite struct OracleCounterTests {
    private var fixture = OracleFixture()

    private static let rule = OracleFixture.rule

    /// - Parameter used: by start of the window in seconds, of the first identity.
    private func stored(_ used: [Int64: Int64], open: Int64? = nil) -> StoredUsages {
        var stored = StoredUsages(origin: .redis)
        for (window, used) in used {
            stored.usages[StoredUsages.Key(subject: 0, rule: Self.rule, startMs: window * 1000)] =
                StoredUsages.Usage(used: used, isOpen: window == open)
        }
        if let open { stored.openStartMs[Self.rule] = open * 1000 }
        return stored
    }

    @Test func whatWasAdmittedIsWhatIsCounted() {
        var fixture = OracleFixture(startsEmpty: true)
        fixture.admitShared(1...7, window: 1)
        fixture.admitShared(1...3, window: 2)
        let report = fixture.oracle.finish(.read(stored([1: 7, 2: 3], open: 2)))
        #expect(report.isKept && report.counters?.agreeing == 2 && report.counters?.differing == 0)
    }

    @Test(arguments: [(6, "a charge was lost"), (8, "something was charged twice")])
    func aDifferenceBreaksThePromise(used: Int64, what: String) throws {
        var fixture = OracleFixture(startsEmpty: true)
        fixture.admitShared(1...7, window: 1)
        let report = fixture.oracle.finish(.read(stored([1: used])))
        let found = try #require(report.breaks.first)
        #expect(found.promise == .chargedOnce && found.windowStartMs == 1000 && report.breakCount == 1)
        #expect(found.facts == "Redis counts \(used) at the end, 7 were admitted: \(what)")
        #expect(report.windowTotals.first?.isBroken == true)
    }

    @Test func anOpenWindowWithoutACounterHasLostItsCharges() {
        var fixture = OracleFixture(startsEmpty: true)
        fixture.admitShared(1...7, window: 1)
        fixture.admitShared(1...2, window: 2)
        // The first has ended: its key may have expired.
        let report = fixture.oracle.finish(.read(stored([:], open: 2)))
        #expect(report.breaks.map(\.windowStartMs) == [2000])
    }

    @Test mutating func whatOthersHadChargedBeforeTheRunIsLeftOut() {
        fixture.admitShared(4...7, window: 1)
        #expect(fixture.oracle.finish(.read(stored([1: 7]))).counters?.agreeing == 1)
        var other = OracleFixture()
        other.admitShared(4...7, window: 1)
        #expect(other.oracle.finish(.read(stored([1: 8]))).breakCount == 1)
    }

    @Test func localAnswersAreReportedAsNotSettled() {
        var fixture = OracleFixture(startsEmpty: true)
        fixture.admitShared(1...3, window: 1)
        fixture.admitLocally(2, window: 1)
        let report = fixture.oracle.finish(.read(stored([1: 3])))
        #expect(report.isKept && report.counters?.notSettled == 1)
        #expect(
            report.counters?.firstNotSettled.first?.facts == "Redis counts 3, 5 were admitted, 2 of them locally")
        var settled = OracleFixture(startsEmpty: true)
        settled.admitShared(1...3, window: 1)
        settled.admitLocally(2, window: 1)
        #expect(settled.oracle.finish(.read(stored([1: 5]))).counters?.agreeing == 1)
    }

    @Test func lostAnswersLeaveItOpen() {
        var fixture = OracleFixture(startsEmpty: true)
        fixture.admitShared(1...3, window: 1)
        fixture.oracle.lostSight(ofSubject: 0)
        let report = fixture.oracle.finish(.read(stored([1: 4])))
        #expect(report.isKept && report.counters?.unknown == 1)
    }

    @Test func settlementsCount() {
        func fixture() -> OracleFixture {
            var fixture = OracleFixture(startsEmpty: true)
            fixture.answer(true, .shared, used: 4, cost: 4)
            fixture.answer(true, .shared, used: 8, cost: 4)
            fixture.settle(cost: 4, to: 0)
            fixture.settle(cost: 4, to: 3)
            return fixture
        }
        var exact = fixture()
        #expect(exact.oracle.finish(.read(stored([1: 3], open: 1))).counters?.agreeing == 1)
        var doubled = fixture()
        #expect(doubled.oracle.finish(.read(stored([1: 4], open: 1))).breaks.map(\.promise) == [.chargedOnce])
        // It may have ended before they were settled.
        var ended = fixture()
        #expect(ended.oracle.finish(.read(stored([1: 8]))).counters?.agreeing == 1)
        var over = fixture()
        #expect(over.oracle.finish(.read(stored([1: 9]))).breakCount == 1)
    }

    @Test func aSettlementThatWasNotAnsweredLeavesARange() {
        for (used, breaks) in [(0, 0), (4, 0), (5, 1)] as [(Int64, Int64)] {
            var fixture = OracleFixture(startsEmpty: true)
            fixture.answer(true, .shared, used: 4, cost: 4)
            fixture.settle(cost: 4, to: 0, isDone: nil)
            #expect(fixture.oracle.finish(.read(stored([1: used], open: 1))).breakCount == breaks)
        }
    }

    @Test mutating func countersThatCannotBeReadAreReported() {
        fixture.admitShared(1...3)
        let report = fixture.oracle.finish(.unread("no way"))
        #expect(report.isKept && report.countersUnread == "no way" && report.counters == nil)
    }

    // MARK: - Other limits

    @Test func whatHasNoFixedWindowIsOnlyMeasured() {
        var fixture = OracleFixture(limits: [Self.rule: JudgedLimit(isJudged: false)])
        for _ in 0..<30 { fixture.answer(true, .shared, used: 3) }
        for _ in 0..<30 { fixture.answer(true, .shared, used: 3, window: 0, rule: "/tools/t/limits/bucket") }
        let report = fixture.oracle.finish()
        #expect(report.isKept && report.windows == 0)
        #expect(report.unjudgedRules == [Self.rule, "/tools/t/limits/bucket"])
    }

    @Test func aMaximumThatIsGivenBindsWhateverAnswersSay() {
        var fixture = OracleFixture(limits: [Self.rule: JudgedLimit(max: 9)])
        fixture.admitShared(1...10)
        #expect(fixture.broken() == [.neverOver])
        var under = OracleFixture(limits: [Self.rule: JudgedLimit(max: 11)])
        under.admitShared(1...10)
        under.answer(false, .shared, used: 10)
        #expect(under.broken() == [.neverNeedlesslyUnder])
    }

    // MARK: - Reservations

    @Test mutating func aUsageBelowWhatIsHeldIsALostCharge() {
        fixture.admitShared(1...6)
        fixture.settle(cost: 1, to: 0)
        // One of six is given back: five are held, and this one.
        fixture.answer(true, .shared, used: 6)
        fixture.answer(true, .shared, used: 5)
        #expect(fixture.broken() == [.everyChargeCounts])
    }

    @Test mutating func aUsageAboveAllThatWasAdmittedWasChargedTwice() {
        fixture.surround()
        fixture.admitShared(1...4, window: 2)
        fixture.settle(cost: 1, to: 0, window: 2, isDone: nil)
        fixture.answer(false, .shared, used: 10, window: 2)
        let report = fixture.oracle.finish()
        #expect(report.breaks.map(\.promise) == [.chargedOnce] && report.reservedWindows == 1)
    }
}
