import Foundation
import Histogram
import SluiceProtocol
import SluiceTerminal
import Testing

@testable import sluice_load

@Suite struct SummaryTests {
    private func summary() -> Summary {
        var settings = LoadSettings(socketPaths: ["a.sock", "b.sock"])
        settings.seed = 7
        settings.skew = 1.1
        var statistics = LoadStatistics()
        for _ in 0..<900 { statistics.count(.shared, isAllowed: true, latencyNs: 250_000) }
        for _ in 0..<90 { statistics.count(.shared, isAllowed: false, latencyNs: 1_500_000) }
        for _ in 0..<10 { statistics.count(.policy, isAllowed: false, latencyNs: 25_000_000) }
        statistics.overBudget = 10
        var summary = Summary(
            settings: settings, elapsedNs: 2_000_000_000, processorNs: 400_000_000, decidedWhileSending: 1_000_000,
            statistics: statistics)
        summary.busiestThreadNs = 400_000_000
        summary.oracle = report
        return summary
    }

    private var report: OracleReport {
        var report = OracleReport()
        report.answers = 1234
        report.windows = 60
        report.fullWindows = 50
        report.exactWindows = 50
        return report
    }

    private func broken() -> Summary {
        var summary = summary()
        summary.oracle?.breakCount = 1
        summary.oracle?.breaks = [
            OracleReport.Break(
                promise: .neverOver, subject: 3, rule: "/tools/t/limits/c", windowStartMs: 1_763_834_100_000,
                facts: "11 were admitted, the maximum is 10")
        ]
        summary.oracle?.lateAnswers = 2
        summary.statistics.count(.lost, 3)
        summary.statistics.count(.busy, 2)
        summary.statistics.brokenConnections = 1
        summary.statistics.note(fault: "BUSY too many checks are waiting")
        summary.settings.ratePerSecond = 100_000
        summary.statistics.recordLateness(5_000_000)
        summary.statistics.overBudgetSinceSent = 4
        summary.statistics.latencySinceSent.record(3_000_000)
        summary.processorNs = 1_900_000_000
        summary.busiestThreadNs = 1_900_000_000
        summary.isInterrupted = true
        return summary
    }

    @Test func printsTheRunSecondBySecond() {
        var summary = summary()
        var second = LoadStatistics()
        for _ in 0..<3 { second.count(.shared, isAllowed: true, latencyNs: 250_000) }
        second.count(.local, isAllowed: false, latencyNs: 250_000)
        second.count(.busy, 2)
        summary.timeline.startWallMs = 1_000_000
        for startNs: Int64 in [-1_000_000_000, 0, 1_000_000_000] {
            summary.timeline.points.append(
                Timeline.Point(startNs: startNs, intervalNs: 1_000_000_000, intendedRate: nil, statistics: second))
        }
        summary.timeline.marks = [Timeline.Mark(atNs: 1_500_000_000, text: "kill redis")]
        var window = OracleReport.WindowTotal(rule: "r", startMs: 1_001_000)
        window.fullestShare = 1.5
        summary.oracle?.windowTotals = [window]
        let lines = summary.timelineTable(style: .plain).split(separator: "\n").map { $0.split(separator: " ") }
        #expect(lines.count == 3)
        #expect(lines[0].contains("local") && lines[0].suffix(3) == ["fullest", "window", "done"])
        #expect(lines[1].first == "0" && lines[1].contains("75.0") && lines[1].last == "2")
        #expect(lines[2].suffix(5) == ["2", "150", "%", "kill", "redis"])
    }

    @Test func printsATable() {
        #expect(summary().table(style: .plain) == Self.table)
    }

    /// Checks of a tool that no limit counts prove nothing, whatever their answers were.
    @Test func saysThatNothingWasJudged() throws {
        var summary = summary()
        #expect(summary.nothingJudged == nil)
        summary.settings.kinds[0].tool = "opencode_run"
        summary.oracle = OracleReport()
        summary.oracle?.answers = 1234
        let why = "no limit counted anything; does the policy limit \"opencode_run\" (--tool)?"
        #expect(summary.nothingJudged == why)
        let table = summary.table(style: .plain)
        #expect(table.contains("\noracle      nothing was judged: \(why) (1,234 answers, 0 windows)\n"))
        #expect(!table.contains("kept"))
        let page = summary.html()
        #expect(page.contains("<h1>Nothing was judged</h1>") && !page.contains("no window broke a promise"))
        let json = try #require(
            try JSONSerialization.jsonObject(with: Data(summary.json().utf8)) as? [String: Any])
        #expect((json["oracle"] as? [String: Any])?["judged"] as? Bool == false)

        summary.oracle?.unjudgedRules = ["/tools/t/limits/c"]
        #expect(summary.nothingJudged == "every limit that counted is only measured")
        summary.oracle = nil
        #expect(summary.nothingJudged == nil)
    }

    @Test func printsWhatWentWrong() {
        #expect(broken().table(style: .plain) == Self.brokenTable)
    }

    @Test func coloursChangeNothingButColours() throws {
        let coloured = broken().table(style: Style(isColoured: true))
        #expect(coloured != Self.brokenTable)
        let plain = coloured.replacing(try Regex("\u{1b}\\[[0-9]+m"), with: "")
        #expect(plain == Self.brokenTable)
    }

    @Test func printsOneJSONObjectOnOneLine() throws {
        let text = broken().json()
        #expect(text.hasSuffix("}\n") && text.filter { $0 == "\n" }.count == 1)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(
            object.keys.sorted() == [
                "broken_connections", "checks", "checks_per_second", "decisions", "decisions_over_budget",
                "decisions_over_budget_since_sent", "driver", "elapsed_seconds", "errors", "first_fault", "interrupted",
                "latency_since_sent_us", "latency_us", "load", "oracle", "reservations", "seconds", "send_lateness_us",
            ])
        #expect(object["checks_per_second"] as? Double == 500_000)
        let latency = try #require(object["latency_us"] as? [String: Double])
        #expect(latency.keys.sorted() == ["max", "p50", "p90", "p99", "p99.9"])
        let decisions = try #require(object["decisions"] as? [String: [String: Int]])
        #expect(decisions["shared"] == ["allowed": 900, "denied": 90])
        #expect((object["errors"] as? [String: Int])?["lost"] == 3)
        let oracle = try #require(object["oracle"] as? [String: Any])
        #expect(oracle["kept"] as? Bool == false)
        let found = try #require((oracle["breaks"] as? [[String: Any]])?.first)
        #expect(found["subject"] as? String == "grant load-3" && found["window_start_ms"] as? Int == 1_763_834_100_000)
        let driver = try #require(object["driver"] as? [String: Any])
        #expect(driver["cpu_us_per_check"] as? Double == 1.9 && driver["may_be_bottleneck"] as? Bool == true)
    }

    @Test func withoutAnOracleThereIsNoWordOfIt() throws {
        var summary = summary()
        summary.oracle = nil
        #expect(summary.isKept && summary.table(style: .plain).contains("oracle      not asked"))
        let object = try JSONSerialization.jsonObject(with: Data(summary.json().utf8)) as? [String: Any]
        #expect(object?["oracle"] == nil)
    }

    @Test func saysWhetherAnswersOrSendsWereLate() {
        var statistics = LoadStatistics()
        for (latencyMs, sinceSentMs) in [(10, 10), (30, 10), (30, 25), (40, 1)] as [(Int64, Int64)] {
            statistics.judge(
                latencyNs: latencyMs * 1_000_000, sinceSentNs: sinceSentMs * 1_000_000, budgetNs: 20_000_000,
                isOpenLoop: true)
        }
        #expect(statistics.overBudget == 3 && statistics.overBudgetSinceSent == 1)
        #expect(statistics.latencySinceSent.totalCount == 4)
        var sum = LoadStatistics()
        sum.add(statistics)
        sum.add(statistics)
        #expect(sum.overBudget == 6 && sum.overBudgetSinceSent == 2 && sum.latencySinceSent.totalCount == 8)
    }

    @Test func settlementsHaveRowsOfTheirOwn() throws {
        var statistics = LoadStatistics()
        statistics.count(.commit, isDone: true, latencyNs: 2_000_000)
        statistics.count(.cancel, isDone: false, latencyNs: 3_000_000)
        var summary = summary()
        summary.statistics.add(statistics)
        summary.statistics.add(statistics)
        let text = summary.table(style: .plain)
        #expect(text.contains("\ncommit             2.00 ms ") && text.contains("\ncancel             3.00 ms "))
        #expect(text.contains("reserved    2 committed, 0 cancelled, 2 unknown to the sidecar"))
        #expect(summary.html().contains("from sending COMMIT to its answer"))
        let object = try JSONSerialization.jsonObject(with: Data(summary.json().utf8)) as? [String: Any]
        #expect((object?["commit_latency_us"] as? [String: Double])?["max"].map { $0.rounded() } == 2000)
    }

    @Test func showsHowCountersCompare() throws {
        var summary = summary()
        var counters = OracleReport.Counters(origin: .redis)
        counters.agreeing = 148
        counters.notSettled = 2
        summary.oracle?.counters = counters
        #expect(
            summary.table(style: .plain).contains(
                "counters at the end, from Redis: used = admitted in 148 of 148 windows; beside them 2 not settled "
                    + "(answered locally meanwhile)\n"))
        summary.oracle?.counters = nil
        summary.oracle?.countersUnread = "NOPERM"
        #expect(summary.table(style: .plain).contains("counters at the end were not read: NOPERM\n"))
        let object = try JSONSerialization.jsonObject(with: Data(summary.json().utf8)) as? [String: Any]
        let oracle = try #require(object?["oracle"] as? [String: Any])
        #expect((oracle["counters"] as? [String: Any])?["not_read"] as? String == "NOPERM")
    }

    private static let table = """
        sluice-load: 2 sidecars, 32 connections, closed loop, 16 in flight each, 1 thread, 50 grants skewed by 1.1, seed 7

        checks      1,000,000 in 2.00 s
        rate        500,000 checks/s

                               p50           p90           p99         p99.9           max
        latency             250 us        250 us       1.50 ms      25.00 ms      25.00 ms   from sending to answer

        source             allowed        denied
        shared                 900            90
        policy                   0            10
        all                    900           100

        errors      0
        late        10 decisions took over 20.00 ms
        driver      0.40 s of CPU, 0.40 us a check, 20 % of its busiest thread; it was not the bottleneck
        oracle      every promise was kept (1,234 answers, 60 windows)
                    full windows from start to end: 50, admitted = max in 50; windows with local admissions: 0

        """

    private static let brokenTable = """
        sluice-load: 2 sidecars, 32 connections, open loop at 100,000 checks/s, 1 thread, 50 grants skewed by 1.1, seed 7, \
        ended early

        checks      1,000,000 in 2.00 s
        rate        500,000 checks/s

                               p50           p90           p99         p99.9           max
        latency             250 us        250 us       1.50 ms      25.00 ms      25.00 ms   from when it should have been sent
        since sent         3.00 ms       3.00 ms       3.00 ms       3.00 ms       3.00 ms   from when it really was sent: the sidecar's part
        late sends         5.00 ms       5.00 ms       5.00 ms       5.00 ms       5.00 ms   how late the driver itself was

        source             allowed        denied
        shared                 900            90
        policy                   0            10
        all                    900           100

        errors      5: 2 answered BUSY, 3 lost with their connection, 1 broken connection
                    first: BUSY too many checks are waiting
        late        10 decisions took over 20.00 ms: 4 took so long to be answered, 6 only because the driver sent them late
        driver      1.90 s of CPU, 1.90 us a check, 95 % of its busiest thread; it may have been the bottleneck: a thread of its was \
        busy nearly all the time, add --threads; its sends were late, lower --rate or add --threads or --connections
        oracle      1 broken promise (1,234 answers, 60 windows)
                    never over: grant load-3, /tools/t/limits/c, window from 2025-11-22T17:55:00Z: 11 were admitted, the \
        maximum is 10
                    full windows from start to end: 50, admitted = max in 50; windows with local admissions: 0
                    not judged: 2 late answers, 0 that could not be distinguished, 0 without a trace

        """
}
