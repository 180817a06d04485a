@testable import sluice_load
import Testing

@Suite struct PacerTests {
    @Test func meansCheckNAtStartPlusNOverRate() {
        var pacer = Pacer(startNs: 1000, schedule: RateSchedule(ratePerSecond: 4))
        #expect(pacer.nextNs == 1000)
        #expect((0..<6).map { _ in pacer.take(nowNs: .max) } == [0, 1, 2, 3, 4, 5].map { 1000 + $0 * 250_000_000 })
    }

    @Test func takesNothingBeforeItsTime() {
        var pacer = Pacer(startNs: 1000, schedule: RateSchedule(ratePerSecond: 1000))
        #expect(pacer.take(nowNs: 999) == nil)
        #expect(pacer.take(nowNs: 1000) == 1000)
        #expect(pacer.take(nowNs: 1_000_999) == nil)
        #expect(pacer.take(nowNs: 1_001_000) == 1_001_000)
    }

    @Test(arguments: [3, 7, 999, 30_011])
    func doesNotDriftAtRatesThatDoNotDivideASecond(rate: Int) {
        var pacer = Pacer(startNs: 0, schedule: RateSchedule(ratePerSecond: rate))
        for second in 0..<3 {
            for _ in 0..<rate { #expect(pacer.take(nowNs: .max)! >= Int64(second) * 1_000_000_000) }
            #expect(pacer.nextNs == Int64(second + 1) * 1_000_000_000)
        }
    }

    @Test func catchesUpAfterAPauseWithTheTimesThatWereMeant() {
        var pacer = Pacer(startNs: 0, schedule: RateSchedule(ratePerSecond: 100))
        #expect(pacer.take(nowNs: 0) == 0)
        var late: [Int64] = []
        while let intended = pacer.take(nowNs: 50_000_000) { late.append(intended) }
        #expect(late == [10, 20, 30, 40, 50].map { $0 * 1_000_000 })
    }

    @Test func sharesInterleaveToTheWholeRate() {
        var pacers = (0..<3).map { Pacer(startNs: 0, schedule: RateSchedule(ratePerSecond: 1000), share: $0, of: 3) }
        let times = pacers.indices.flatMap { share in (0..<10).map { _ in pacers[share].take(nowNs: .max)! } }
        #expect(times.sorted() == (0..<30).map { $0 * 1_000_000 })
    }

    @Test func aWeekAtTheHighestRateDoesNotOverflow() {
        let pacer = Pacer(
            startNs: .max / 2, schedule: RateSchedule(ratePerSecond: LoadBounds.maxRate),
            share: LoadBounds.maxThreads - 1,
            of: LoadBounds.maxThreads)
        #expect(pacer.nextNs > .max / 2)
    }

    @Test(arguments: [(1000, 5000), (5000, 1000), (1, 20_000_000), (300, 301)])
    func aRampHoldsThenGoesSteadily(from: Int, to: Int) {
        let schedule = RateSchedule(holdNs: 2_000_000_000, fromPerSecond: from, toPerSecond: to, rampNs: 10_000_000_000)
        let held = Int64(from * 2)
        let ramped = held + Int64(from + to) * 5
        #expect(abs(schedule.intendedNs(ofCheck: held) - 2_000_000_000) < 1000)
        #expect(abs(schedule.intendedNs(ofCheck: ramped) - 12_000_000_000) < 1000)
        #expect(abs(schedule.intendedNs(ofCheck: ramped + Int64(to)) - 13_000_000_000) < 1000)
        // What was sent by the middle of the ramp is what the mean rate of its first half says.
        let middle = held + Int64((Double(from) + Double(to - from) / 4) * 5)
        #expect(abs(schedule.intendedNs(ofCheck: middle) - 7_000_000_000) < 1_000_000_000 / Int64(min(from, to)))
        #expect(schedule.rate(atNs: 0) == Double(from) && schedule.rate(atNs: .max) == Double(to))
        let times = stride(from: Int64(0), to: ramped * 2, by: Int(max(1, ramped / 500))).map(schedule.intendedNs)
        #expect(times == times.sorted())
    }
}
