@testable import sluice_load
import SluiceProtocol
import Testing

@Suite struct LoadProgressTests {
    private func sample(
        second: Int64, isWarmUp: Bool = false, allowed: Int = 3, denied: Int = 2, lost: Int64 = 1
    ) -> LoadProgress.Sample {
        var statistics = LoadStatistics()
        for _ in 0..<allowed { statistics.count(.shared, isAllowed: true, latencyNs: 500_000) }
        for _ in 0..<denied { statistics.count(.local, isAllowed: false, latencyNs: 500_000) }
        statistics.count(.lost, lost)
        return LoadProgress.Sample(
            elapsedNs: second * 1_000_000_000, intervalNs: 1_000_000_000, isWarmUp: isWarmUp, statistics: statistics)
    }

    @Test func writesOneLineOverOnATerminal() {
        var progress = LoadProgress(isTerminal: true)
        #expect(
            progress.take(sample(second: 1, isWarmUp: true))
                == "\r1 s  5 checks/s  p50 500 us  p99 500 us  allowed 3  denied 2  errors 1  warming up\u{1b}[K")
        #expect(
            progress.take(sample(second: 2))
                == "\r2 s  5 checks/s  p50 500 us  p99 500 us  allowed 6  denied 4  errors 2\u{1b}[K")
        #expect(progress.ending == "\r\u{1b}[K")
    }

    @Test func writesALineEveryFiveSecondsElsewhere() {
        var progress = LoadProgress(isTerminal: false)
        let lines = (1...11).map { progress.take(sample(second: $0)) }
        #expect(lines.compactMap(\.self).count == 2)
        #expect(lines[4] == "5 s  5 checks/s  p50 500 us  p99 500 us  allowed 15  denied 10  errors 5\n")
        #expect(lines[9] == "10 s  5 checks/s  p50 500 us  p99 500 us  allowed 30  denied 20  errors 10\n")
        #expect(progress.ending == "")
    }

    @Test func aSecondWithoutAnswersHasNoLatency() {
        var progress = LoadProgress(isTerminal: false)
        #expect(
            progress.take(sample(second: 5, allowed: 0, denied: 0))
                == "5 s  0 checks/s  p50 -  p99 -  allowed 0  denied 0  errors 1\n")
    }

    @Test(
        arguments: [
            (0, "-"), (900, "0.9 us"), (99_949, "99.9 us"), (123_456, "123 us"), (1_234_567, "1.23 ms"),
            (123_456_789, "123.5 ms"), (1_500_000_000, "1.50 s"),
        ] as [(UInt64, String)])
    func times(ns: UInt64, text: String) { #expect(Format.time(ns) == text) }

    @Test(
        arguments: [
            (0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-1234, "-1,234"),
        ] as [(Int64, String)])
    func counts(value: Int64, text: String) { #expect(Format.count(value) == text) }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00Z"), (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_763_834_100_000, "2025-11-22T17:55:00Z"), (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] as [(Int64, String)])
    func dates(ms: Int64, text: String) { #expect(Format.date(ms: ms) == text) }
}
