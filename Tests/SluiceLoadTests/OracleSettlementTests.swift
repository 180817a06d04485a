@testable import sluice_load
import SluiceProtocol
import Testing

@Suite struct OracleSettlementTests {
    private var fixture = OracleFixture()

    @Test mutating func whatWasCancelledMayBeAdmittedAgain() {
        fixture.admitShared(1...10)
        fixture.settle(to: 0)
        fixture.answer(true, .shared, used: 10)
        #expect(fixture.broken().isEmpty)
    }

    @Test mutating func noMoreThanWasCancelledMayBeAdmittedAgain() {
        fixture.admitShared(1...10)
        fixture.settle(to: 0)
        fixture.answer(true, .shared, used: 10)
        fixture.answer(true, .shared, used: 10)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test mutating func aCommitGivesBackWhatItDoesNotUse() {
        fixture.answer(true, .shared, used: 5, cost: 5)
        fixture.answer(true, .shared, used: 10, cost: 5)
        fixture.settle(cost: 5, to: 2)
        for used: Int64 in 8...10 { fixture.answer(true, .shared, used: used) }
        #expect(fixture.broken().isEmpty)
        var again = OracleFixture()
        again.answer(true, .shared, used: 10, cost: 10)
        again.settle(cost: 10, to: 8)
        for _ in 0..<3 { again.answer(true, .shared, used: 10) }
        #expect(again.broken() == [.neverOver])
    }

    @Test mutating func aCommitAboveItsReservationAdmitsNobody() {
        fixture.admitShared(1...9)
        fixture.settle(to: 5)
        fixture.answer(false, .shared, used: 13)
        #expect(fixture.broken().isEmpty)
    }

    @Test mutating func aDenialBeforeACancelIsNoBrokenPromise() {
        fixture.surround()
        fixture.admitShared(1...10, window: 1)
        fixture.answer(false, .shared, used: 10, window: 1)
        fixture.settle(to: 0)
        #expect(fixture.broken().isEmpty)
    }
}
