@testable import sluice_load
import Testing

@Suite struct RateSearchTests {
    /// Runs a search against a server that keeps the goal up to `capacity` checks a second.
    private func search(capacity: Int, first: Int = 1000) -> RateSearch {
        var search = RateSearch(goalNs: 5_000_000, firstRate: first)
        while let rate = search.nextRate {
            search.record(
                RateSearch.Step(
                    ratePerSecond: rate, answeredPerSecond: Double(rate),
                    p99Ns: rate <= capacity ? 4_000_000 : 6_000_000))
        }
        return search
    }

    @Test(arguments: [1, 7, 999, 1000, 1001, 40_000, 123_456, 20_000_000])
    func findsTheRate(capacity: Int) throws {
        let search = search(capacity: capacity)
        let kept = try #require(search.kept)
        #expect(kept <= capacity && Double(capacity) <= max(Double(kept) * 1.05, Double(kept + 1)))
        #expect(search.steps.count <= LoadBounds.maxSearchSteps)
    }

    @Test func findsNothingWhereNothingKeepsIt() {
        let search = search(capacity: 0)
        #expect(search.kept == nil && search.failed == 1 && search.nextRate == nil)
    }

    @Test func endsAtTheHighestRate() {
        #expect(search(capacity: .max).kept == LoadBounds.maxRate)
    }

    @Test func saysWhyAStepFailed() {
        let search = RateSearch(goalNs: 5_000_000, firstRate: 1000)
        func fault(
            answered: Double = 1000, p99Ns: UInt64 = 1_000_000, failures: Int64 = 0, latenessNs: UInt64 = 0
        ) -> RateSearch.Fault? {
            search.fault(
                of: RateSearch.Step(
                    ratePerSecond: 1000, answeredPerSecond: answered, p99Ns: p99Ns, failures: failures,
                    latenessNs: latenessNs))
        }
        #expect(fault() == nil)
        #expect(fault(p99Ns: 5_000_001) == .tooSlow)
        #expect(fault(answered: 900) == .tooFewAnswers)
        #expect(fault(failures: 1) == .errors)
        #expect(fault(p99Ns: 9_000_000, latenessNs: 3_000_000) == .driverLate)
        #expect(fault(answered: 900, latenessNs: 3_000_000) == .driverLate)
        // Latency holds the lateness: what is fast enough all the same is fast enough.
        #expect(fault(p99Ns: 4_900_000, latenessNs: 3_000_000) == nil)
    }

    @Test func saysWhenTheDriverWasTheLimit() {
        var search = RateSearch(goalNs: 5_000_000, firstRate: 1000)
        while let rate = search.nextRate {
            search.record(
                RateSearch.Step(
                    ratePerSecond: rate, answeredPerSecond: Double(rate),
                    p99Ns: rate > 3000 ? 6_000_000 : 1_000_000, latenessNs: rate > 3000 ? 4_000_000 : 0))
        }
        #expect(search.isLimitedByDriver && search.kept ?? 0 >= 2900)
    }
}
