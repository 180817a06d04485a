@testable import sluice_load
import SluiceTerminal
import Testing

/// The arithmetic of a benchmark: medians, ratios, bars, and what counts as counted right.
@Suite struct BenchFigureTests {
    private func round(_ checksPerSecond: Double, sidecars: [Double] = [], redis: Double? = nil) -> BenchRound {
        var round = BenchRound()
        round.checksPerSecond = checksPerSecond
        round.sidecarsUs = sidecars
        round.serversUs = redis.map { [$0] } ?? []
        return round
    }

    private func cell(_ measures: [BenchCell.Measure], _ names: [String] = ["direct", "sluice"]) -> BenchCell {
        BenchCell("x", contenders: names.map { BenchCell.Contender($0, .sluice, BenchCell.Load()) }, measures: measures)
    }

    @Test func theMedianIsTheMiddle() throws {
        #expect(Spread([Double]()) == nil)
        let odd = try #require(Spread([5, 1, 3]))
        #expect(odd.median == 3 && odd.least == 1 && odd.most == 5)
        #expect(Spread([4, 1, 2, 8])?.median == 3)
        #expect(Spread([7])?.width == 0)
        #expect(Spread([8, 10, 12])?.width == 0.4)
    }

    @Test func ratiosAreTakenWithinRounds() {
        let measure = BenchCell.Measure(
            "m", .checksPerSecond, .ratio(of: "sluice", to: "direct"), .atLeast(2))
        var result = BenchResult(cell: cell([measure]))
        // The machine got slower from round to round; the ratios are 2, 3 and 2.
        result.rounds = [[round(100), round(50), round(10)], [round(200), round(150), round(20)]]
        let measured = result.measured[0]
        #expect(measured.value == Spread([2, 3, 2]) && measured.isMet == true)
        #expect(measured.cell == "x" && measured.name == "m")
    }

    @Test func growthIsComparedWithGrowth() {
        let measure = BenchCell.Measure(
            "m", .processor, .growth(from: "s1", to: "s2", againstFrom: "d1", againstTo: "d2"), .atMost(1.2))
        var result = BenchResult(cell: cell([measure], ["d1", "s1", "d2", "s2"]))
        result.rounds = [
            [round(1, sidecars: [0], redis: 4)], [round(1, sidecars: [1, 1], redis: 2)],
            [round(1, sidecars: [0], redis: 8)], [round(1, sidecars: [4, 3], redis: 5)],
        ]
        // 12 / 4 against 8 / 4.
        #expect(result.measured[0].value?.median == 1.5 && result.measured[0].isMet == false)
    }

    @Test func whatWasNotMeasuredIsNoRatio() {
        let measure = BenchCell.Measure("m", .redisProcessor, .ratio(of: "sluice", to: "direct"), .atMost(0.5))
        var result = BenchResult(cell: cell([measure]))
        #expect(result.measured[0].value == nil && result.measured[0].isMet == nil)
        result.rounds = [[round(1, redis: 0)], [round(1, redis: nil)]]
        #expect(result.measured[0].value == nil)
    }

    /// A cluster's masters are added up, and compared with each other.
    @Test func mastersAreComparedWithEachOther() throws {
        let measure = BenchCell.Measure("m", .masterSpread, .value(of: "three"), .atMost(0.1))
        var result = BenchResult(cell: cell([measure], ["three"]))
        var one = round(100)
        one.serversUs = [0.9, 1.0, 1.1]
        result.rounds = [[one]]
        #expect(abs((one.redisUs ?? 0) - 3) < 1e-9)
        let spread = try #require(result.measured[0].value?.median)
        #expect(abs(spread - 0.2) < 1e-9 && result.measured[0].isMet == false)
        result.rounds = [[round(100, redis: 1)]]
        #expect(result.measured[0].value == nil)
    }

    @Test func aBarIsMetUpToItself() {
        #expect(BenchCell.Measure.Bar.atLeast(1.5).isMet(by: 1.5) && !BenchCell.Measure.Bar.atLeast(1.5).isMet(by: 1.4))
        #expect(BenchCell.Measure.Bar.atMost(1.2).isMet(by: 1.2) && !BenchCell.Measure.Bar.atMost(1.2).isMet(by: 1.3))
    }

    // MARK: - Counts

    private func counts(_ allowed: Int64, denied: Int64 = 0, local: Int64 = 0) -> BenchCounts {
        var counts = BenchCounts()
        var admitted = BenchCounts.Admitted()
        (admitted.allowed, admitted.denied, admitted.local) = (allowed, denied, local)
        counts.admitted[.sluice] = admitted
        return counts
    }

    private func setting(limits: Int = 1, isMostlyDenied: Bool = false) -> BenchCell.Setting {
        var setting = BenchCell.Setting()
        setting.limits = limits
        setting.isMostlyDenied = isMostlyDenied
        return setting
    }

    @Test func redisMustHoldWhatWasAdmitted() {
        var counts = counts(100)
        counts.compare(.sluice, with: .init(sum: 300, highest: 5), setting: setting(limits: 3), hasTurned: false)
        #expect(counts.isClean && counts.gaps.isEmpty)
        counts.compare(.sluice, with: .init(sum: 299, highest: 5), setting: setting(limits: 3), hasTurned: false)
        #expect(counts.faults == ["sluice: Redis holds 299 charges, 300 were admitted"])
    }

    @Test func aCounterOverItsMaximumIsFound() {
        var counts = counts(22, denied: 5)
        counts.compare(
            .sluice, with: .init(sum: 22, highest: 11), setting: setting(isMostlyDenied: true), hasTurned: false)
        #expect(counts.faults == ["sluice: a counter stands at 11, its maximum is 10"])
    }

    @Test func aDenialBelowTheMaximumIsFound() {
        var counts = counts(100, denied: 1)
        counts.compare(.sluice, with: nil, setting: setting(), hasTurned: false)
        #expect(!counts.isClean)
    }

    @Test func whatCannotBeComparedIsSaid() {
        var turned = counts(100)
        turned.compare(.sluice, with: .init(), setting: setting(), hasTurned: true)
        var local = counts(100, local: 7)
        local.compare(.sluice, with: .init(), setting: setting(), hasTurned: false)
        #expect(turned.isClean && turned.gaps.count == 1)
        #expect(local.isClean && local.gaps == ["sluice: 7 answers were local (no sidecar said why)"])
    }

    @Test func whatFailedIsNotClean() {
        var counts = counts(100)
        var statistics = LoadStatistics()
        statistics.count(.busy, 2)
        statistics.note(fault: "BUSY too many")
        counts.add(statistics, owner: .sluice)
        #expect(!counts.isClean && counts.failures == 2 && counts.firstFault == "BUSY too many")
    }

    // MARK: - The report

    @Test func barsStandBesideWhatWasMeasured() {
        let measures = [
            BenchCell.Measure("checks/s", .checksPerSecond, .ratio(of: "sluice", to: "direct"), .atLeast(1.5)),
            BenchCell.Measure("reported", .checksPerSecond, .ratio(of: "direct", to: "sluice")),
        ]
        var result = BenchResult(cell: cell(measures))
        result.rounds = [[round(100_000)], [round(200_000)]]
        let text = BenchReport.measures([result], .plain)
        #expect(text.contains("2.00") && text.contains("at least 1.50") && text.contains("  met\n"))
        #expect(text.contains("0.50"))
        let section = BenchReport.section(result, .plain)
        #expect(section.contains("200,000") && section.contains("64 connections, pipeline 16"))
        result.rounds[1] = [round(100_000)]
        #expect(BenchReport.measures([result], .plain).contains("not met"))
    }
}
