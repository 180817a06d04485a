import Foundation
import FoundationXML
@testable import sluice_load
import SluiceProtocol
import Testing

@Suite struct HTMLReportTests {
    private func summary(faults: [String] = [], breaks: Int = 0) -> Summary {
        var settings = LoadSettings(socketPaths: ["a"])
        settings.ratePerSecond = 1000
        var statistics = LoadStatistics()
        for index in 0..<5000 { statistics.count(.shared, isAllowed: index < 100, latencyNs: Int64(index) * 1000) }
        statistics.count(.local, isAllowed: true, latencyNs: 30_000_000)
        statistics.count(.lost, 3)
        statistics.recordLateness(20_000)
        var summary = Summary(
            settings: settings, elapsedNs: 3_000_000_000, processorNs: 400_000_000, decidedWhileSending: 5001,
            statistics: statistics)
        for second: Int64 in -1..<3 {
            summary.timeline.points.append(
                Timeline.Point(
                    startNs: second * 1_000_000_000, intervalNs: 1_000_000_000, intendedRate: 1000,
                    statistics: statistics))
        }
        summary.timeline.startWallMs = 1_763_834_100_000
        summary.timeline.marks = faults.enumerated().map {
            Timeline.Mark(atNs: Int64($0.offset) * 1_000_000_000, text: $0.element)
        }
        var fixture = OracleFixture()
        fixture.admitShared(1...10, window: 1_763_834_101)
        fixture.answer(true, .local, used: 0, window: 1_763_834_102)
        for _ in 0..<breaks { fixture.answer(true, .shared, used: 10, window: 1_763_834_101) }
        summary.oracle = fixture.oracle.finish()
        return summary
    }

    /// A page without what only HTML allows, so that any parser of XML finds what is not closed or not escaped.
    private func parses(_ page: String) -> Bool {
        let body = page.replacing("<!DOCTYPE html>", with: "").replacing(try! Regex("<meta[^>]*>"), with: "")
        let parser = XMLParser(data: Data(body.utf8))
        return parser.parse()
    }

    @Test func isOneWellFormedPageThatNeedsNothingElse() {
        let page = summary(faults: ["stop redis", "continue redis"]).html()
        #expect(parses(page))
        #expect(page.contains("Every promise was kept") && page.contains("prefers-color-scheme: dark"))
        #expect(!page.contains("http") && !page.contains("<script") && !page.contains("url("))
        // Percentiles, throughput, latencies, and the windows of one rule.
        #expect(page.components(separatedBy: "<svg").count == 5)
        #expect(page.contains("<li>stop redis <small>at 0.0 s</small></li>"))
    }

    @Test func whatWasNotSettledIsNoCleanVerdict() {
        var summary = summary()
        summary.oracle?.unsettledWindows = 1
        let page = summary.html()
        #expect(parses(page) && page.contains("but not all was settled up"))
    }

    @Test func showsWhatBroke() {
        let page = summary(breaks: 1).html()
        #expect(parses(page))
        #expect(page.contains("A promise was broken") && page.contains("never over: grant load-0"))
    }

    @Test func namesFromOutsideAreEscaped() {
        let page = summary(faults: ["<script>alert('x')</script>"]).html()
        #expect(parses(page) && !page.contains("<script"))
    }

    @Test func anEmptyRunHasAReportToo() {
        var settings = LoadSettings(socketPaths: ["a"])
        settings.target = .ping
        let page = Summary(
            settings: settings, elapsedNs: 1, processorNs: 0, decidedWhileSending: 0, statistics: LoadStatistics()
        ).html()
        #expect(parses(page) && page.contains("A baseline"))
    }

    @Test func theOracleAddsUpWindowsOverIdentities() throws {
        var fixture = OracleFixture()
        fixture.admitShared(1...4, window: 1)
        fixture.admitShared(1...10, window: 1, subject: 1)
        fixture.admitLocally(2, window: 2)
        let totals = fixture.oracle.finish().windowTotals
        #expect(totals.map(\.startMs) == [1000, 2000])
        let first = try #require(totals.first)
        #expect(first.identities == 2 && first.limit == 20 && first.shared == 14 && first.local == 0)
        #expect(first.fullestShare == 1 && !first.isBroken)
        #expect(totals[1].local == 2 && totals[1].limit == 10)
    }
}
