@testable import sluice_load
import SluiceProtocol
import Testing

@Suite struct OracleSettlementTests {
    private static let trace = [TraceEntry(rule: OracleFixture.rule, windowStartMs: 1000, used: 0, max: 10)]

    private func settle(_ fixture: inout OracleFixture, cost: Int64 = 1, to committed: Int64) {
        let answer = Oracle.Answer(
            subject: 0, sidecar: 0, isAllowed: true, source: .shared, cost: cost, sentNs: fixture.nowNs,
            receivedNs: fixture.nowNs)
        fixture.oracle.settle(answer, to: committed, trace: Self.trace)
    }

    @Test func whatWasCancelledMayBeAdmittedAgain() {
        var fixture = OracleFixture()
        fixture.admitShared(1...10)
        settle(&fixture, to: 0)
        fixture.answer(true, .shared, used: 10)
        #expect(fixture.broken().isEmpty)
    }

    @Test func noMoreThanWasCancelledMayBeAdmittedAgain() {
        var fixture = OracleFixture()
        fixture.admitShared(1...10)
        settle(&fixture, to: 0)
        fixture.answer(true, .shared, used: 10)
        fixture.answer(true, .shared, used: 10)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test func aCommitGivesBackWhatItDoesNotUse() {
        var fixture = OracleFixture()
        fixture.answer(true, .shared, used: 5, cost: 5)
        fixture.answer(true, .shared, used: 10, cost: 5)
        settle(&fixture, cost: 5, to: 2)
        for used: Int64 in 8...10 { fixture.answer(true, .shared, used: used) }
        #expect(fixture.broken().isEmpty)
        var again = OracleFixture()
        again.answer(true, .shared, used: 10, cost: 10)
        settle(&again, cost: 10, to: 8)
        for _ in 0..<3 { again.answer(true, .shared, used: 10) }
        #expect(again.broken() == [.neverOver])
    }

    @Test func aCommitAboveItsReservationAdmitsNobody() {
        var fixture = OracleFixture()
        fixture.admitShared(1...9)
        settle(&fixture, to: 5)
        fixture.answer(false, .shared, used: 13)
        #expect(fixture.broken().isEmpty)
    }

    @Test func aRefusalBeforeACancelIsNoBrokenPromise() {
        var fixture = OracleFixture()
        fixture.surround()
        fixture.admitShared(1...10, window: 1)
        fixture.answer(false, .shared, used: 10, window: 1)
        settle(&fixture, to: 0)
        #expect(fixture.broken().isEmpty)
    }
}
