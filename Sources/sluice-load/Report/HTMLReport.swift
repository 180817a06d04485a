import Histogram
import SluiceProtocol
import SluiceTerminal

extension Summary {
    /// The summary as one self-contained page: no network, no script; light or dark as the reader's system is.
    package func html() -> String {
        let charts = ReportCharts(summary: self)
        let outcome = outcome
        let title = "sluice-load: \(outcome.title)"
        let parts = [
            HTML.header(outcome.title, heading),
            verdict, tiles,
            "<section class='plots'>" + plots(charts).joined(separator: "\n") + "</section>",
            faultList, searchTable, latencyTable, sourceTable, breakList,
            "<footer>Times count from the end of the warm-up. Latency counts from "
                + "\(!settings.isOpenLoop ? "sending" : "when a check should have been sent"). "
                + "Made by sluice-load.</footer>",
        ]
        return HTML.page(title: title, style: outcome.style, parts)
    }

    // MARK: - Words

    /// The verdict in one line, and the class of the page's style for it.
    private var outcome: (title: String, style: String) {
        switch (oracle, search) {
        case (let oracle?, _) where !oracle.isKept: ("A promise was broken", "broken")
        case (_, let search?) where search.kept == nil: ("No rate kept the p99", "broken")
        case _ where nothingJudged != nil: ("Nothing was judged", "doubtful")
        case (.some, _) where unsettledNote != nil: ("No promise was broken, but not all was settled up", "doubtful")
        case (.some, _): ("Every promise was kept", "kept")
        case (nil, _): ("Measured, not judged", "kept")
        }
    }

    private var verdict: String {
        var sentences: [String] = []
        if let oracle {
            sentences.append(
                "The oracle watched \(Format.count(oracle.answers)) answers in \(Format.count(oracle.windows)) windows: "
                    + (nothingJudged.map { "nothing was judged, since \($0)" }
                        ?? (oracle.isKept
                            ? "no window broke a promise."
                            : "\(Format.count(oracle.breakCount)) times a promise was broken."))
            )
            if let first = oracle.breaks.first { sentences.append("First, \(describe(first)).") }
        } else if settings.target == .sluice {
            sentences.append("The oracle was not asked: this says how fast answers were, not whether they were right.")
        } else {
            sentences.append("A baseline: the same load on \(settings.target.noun), without a sidecar.")
        }
        if let countersNote { sentences.append(countersNote.prefix(1).uppercased() + countersNote.dropFirst() + ".") }
        if let unsettledNote { sentences.append("It was \(unsettledNote).") }
        if settings.isOpenLoop, statistics.overBudget > 0 { sentences.append("\(lateNote).") }
        sentences.append(
            bottlenecks.isEmpty
                ? "The driver was not the bottleneck."
                : "The driver itself may have been the bottleneck: \(bottlenecks.joined(separator: "; ")).")
        let words = HTML.escape(sentences.joined(separator: " "))
        return "<p class='verdict'>\(words)</p>"
    }

    private var tiles: String {
        let decided = statistics.decided
        let tiles = [
            ("answers a second", Format.count(Int64(checksPerSecond.rounded()))),
            ("p50", Format.time(statistics.latency.valueAtPercentile(50))),
            ("p99", Format.time(statistics.latency.valueAtPercentile(99))),
            ("max", Format.time(statistics.latency.valueAtPercentile(100))),
            ("allowed", Format.count(decided.allowed)), ("denied", Format.count(decided.denied)),
            ("errors", Format.count(statistics.failureCount)),
            ("answered over budget", Format.count(statistics.overBudgetSinceSent)),
            ("driver's CPU a check", "\(Format.decimal(processorNsPerCheck / 1e3, places: 1)) us"),
        ]
        return HTML.tiles(tiles)
    }

    // MARK: - Plots

    private func plots(_ charts: ReportCharts) -> [String] {
        var figures = [
            figure("How slow are the slowest answers?", charts.percentiles(), hasTime: false),
            figure("How much was answered, and from where?", charts.throughput()),
            figure("How long did answers take, second by second?", charts.latencies()),
        ]
        var rules: [String] = []
        for total in oracle?.windowTotals ?? [] where !rules.contains(total.rule) { rules.append(total.rule) }
        for rule in rules.prefix(Self.maxRulePlots) {
            figures.append(
                figure(
                    "Was more admitted than allowed? \(rule)", (charts.windows(of: rule), charts.windowSeries(of: rule))
                ))
        }
        return figures
    }

    /// More limits than a check meets in practice; the verdict covers all.
    private static let maxRulePlots = 8
    /// Further events appear only in the list below.
    private static let maxEventsInKey = 8

    /// - Parameter hasTime: whether faults are marked in it.
    private func figure(
        _ question: String, _ chart: (svg: String, series: [Plot.Series]), hasTime: Bool = true
    ) -> String {
        var key = chart.series.map { "<span class='key \($0.style)'><i></i>\(HTML.escape($0.name))</span>" }.joined()
        if hasTime, timeline.marks.count <= Self.maxEventsInKey {
            key += timeline.marks.enumerated().map {
                "<span class='event'><b>\($0.offset + 1)</b>\(HTML.escape($0.element.text))</span>"
            }.joined()
        }
        return
            "<figure><figcaption>\(HTML.escape(question))</figcaption>\(chart.svg)<div class='keys'>\(key)</div></figure>"
    }

    // MARK: - Tables

    private var faultList: String {
        guard !timeline.marks.isEmpty else { return "" }
        let rows = timeline.marks.map {
            "<li>\(HTML.escape($0.text)) <small>at \(Format.decimal(Double($0.atNs) / 1e9, places: 1)) s</small></li>"
        }
        return "<section><h2>What was done meanwhile</h2><ol class='faults'>\(rows.joined())</ol></section>"
    }

    private var searchTable: String {
        guard let search else { return "" }
        let rows = search.steps.map { step in
            [
                Format.count(Int64(step.ratePerSecond)), Format.count(Int64(step.answeredPerSecond)),
                Format.time(step.p99Ns), search.fault(of: step)?.rawValue ?? "kept",
            ]
        }
        return HTML.table("The search for the highest rate", ["rate", "answered", "p99", "verdict"], rows)
    }

    private var latencyTable: String {
        func row(_ name: String, _ histogram: Histogram<UInt64>) -> [String] {
            [name] + Self.percentiles.map { Format.time(histogram.valueAtPercentile($0.value)) }
        }
        let rows =
            [row(settings.isOpenLoop ? "from when it should have been sent" : "from sending", statistics.latency)]
            + moreLatencies.map { row("\($0.name), \($0.note)", $0.histogram) }
        return HTML.table("Latency", [""] + Self.percentiles.map(\.name), rows)
    }

    private var sourceTable: String {
        let rows = ReplySource.allCases.filter { statistics[$0] != LoadStatistics.Decisions() }.map {
            [settings.target.name(of: $0), Format.count(statistics[$0].allowed), Format.count(statistics[$0].denied)]
        }
        let failures = LoadStatistics.Failure.allCases.filter { statistics[$0] > 0 }.map {
            ["\($0.words)", "", Format.count(statistics[$0])]
        }
        return HTML.table("Answers", ["", "allowed", "denied"], rows)
            + (failures.isEmpty ? "" : HTML.table("Checks without a decision", ["", "", "count"], failures))
    }

    private var breakList: String {
        guard let oracle, !oracle.breaks.isEmpty else { return "" }
        let items = oracle.breaks.map { "<li>\(HTML.escape(describe($0)))</li>" }.joined()
        let more = oracle.breakCount - Int64(oracle.breaks.count)
        return "<section><h2>Broken promises</h2><ul>\(items)</ul>"
            + (more > 0 ? "<p>and \(Format.count(more)) more</p>" : "") + "</section>"
    }
}
