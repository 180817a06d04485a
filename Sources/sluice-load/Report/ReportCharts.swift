import Glibc
import Histogram
import SluiceProtocol

/// The plots of a report; each answers one question.
struct ReportCharts {
    let summary: Summary

    private var settings: LoadSettings { summary.settings }
    private var points: [Timeline.Point] { summary.timeline.points.filter { $0.intervalNs > 0 } }

    static let sources: [Plot.Series] = ReplySource.allCases.map { Plot.Series(name: $0.rawValue, style: $0.rawValue) }
    static let errors = Plot.Series(name: "errors", style: "errors")
    static let median = Plot.Series(name: "p50", style: "p50")
    static let high = Plot.Series(name: "p99", style: "p99")
    static let highSinceSent = Plot.Series(name: "p99 from when it really was sent", style: "since")
    static let longest = Plot.Series(name: "max", style: "max")
    static let meant = Plot.Series(name: "meant to send", style: "meant")
    static let late = Plot.Series(name: "late sends of the driver", style: "late")
    static let answer = Plot.Series(name: "latency", style: "p99")
    static let sinceSent = Plot.Series(name: "from when it really was sent", style: "since")
    static let budget = Plot.Series(name: "budget", style: "limit")
    static let limit = Plot.Series(name: "limit", style: "limit")

    // MARK: - Percentiles

    /// Rarer latencies are further right: the further right, the fewer answers took longer.
    func percentiles() -> (svg: String, series: [Plot.Series]) {
        let latency = curve(summary.statistics.latency)
        let lateness = !settings.isOpenLoop ? [] : curve(summary.statistics.lateness)
        let sinceSent = !settings.isOpenLoop ? [] : curve(summary.statistics.latencySinceSent)
        let nines = max(2, latency.last?.x ?? 2)
        var plot = Plot(
            x: .linear(Self.medianPlace...nines),
            y: timeScale(latency.map(\.y) + lateness.map(\.y) + sinceSent.map(\.y) + [Double(settings.budgetNs)]))
        labelTimes(&plot, "latency")
        let names = ["90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"]
        let ticks = names.enumerated().map { (value: Double($0.offset + 1), text: $0.element) }
        plot.labelX("percentile of all answers", [(Self.medianPlace, "50")] + ticks.filter { $0.value <= nines })
        plot.line(lateness, Self.late)
        plot.line(latency, Self.answer)
        plot.line(sinceSent, Self.sinceSent)
        plot.level(Double(settings.budgetNs), Self.budget, text: "budget")
        return (
            plot.svg(description: "Latency by percentile, logarithmic"),
            [Self.answer] + (sinceSent.isEmpty ? [] : [Self.sinceSent]) + (lateness.isEmpty ? [] : [Self.late])
        )
    }

    /// Half of all answers took longer: values below it say nothing about the slowest.
    private static let medianPlace = log10(2.0)

    /// The number of nines (2 is the 99th percentile) and the latency there.
    private func curve(_ histogram: Histogram<UInt64>) -> [(x: Double, y: Double)] {
        guard histogram.totalCount > 0 else { return [] }
        let nines = log10(Double(max(10, histogram.totalCount)))
        return stride(from: Self.medianPlace, through: nines, by: 0.05).map { place in
            let percentile = 100 * (1 - pow(10, -place))
            return (place, Double(max(1, histogram.valueAtPercentile(percentile))))
        }
    }

    // MARK: - Over time

    func throughput() -> (svg: String, series: [Plot.Series]) {
        let highest = points.map { max($0.perSecond + perSecond($0.failures, $0), $0.intendedRate ?? 0) }.max() ?? 1
        var plot = Plot(x: timeAxis, y: .linear(to: max(1, highest)))
        plot.labelY("answers/s", plot.y.ticks(5).map { ($0, Self.short($0)) })
        labelSeconds(&plot)
        var bases = Array(repeating: 0.0, count: points.count)
        var shown: [Plot.Series] = []
        func stack(_ series: Plot.Series, _ heights: [Double]) {
            guard heights.contains(where: { $0 > 0 }) else { return }
            let stretches = points.indices.map {
                (x: stretch(points[$0]), y: bases[$0]...bases[$0] + heights[$0])
            }
            plot.area(stretches, series)
            shown.append(series)
            for index in bases.indices { bases[index] += heights[index] }
        }
        for (index, source) in ReplySource.allCases.enumerated() {
            let name = settings.target.name(of: source)
            stack(
                Plot.Series(name: name, style: source.rawValue),
                points.map { perSecond($0.decisions[index].allowed + $0.decisions[index].denied, $0) })
        }
        stack(Self.errors, points.map { perSecond($0.failures, $0) })
        let meant = points.compactMap { point in point.intendedRate.map { (x: middle(point), y: $0) } }
        if !meant.isEmpty {
            plot.line(meant, Self.meant)
            shown.append(Self.meant)
        }
        markFaults(&plot)
        return (plot.svg(description: "Answers a second by source over time"), shown)
    }

    func latencies() -> (svg: String, series: [Plot.Series]) {
        let answered = points.filter { $0.maxNs > 0 }
        var plot = Plot(
            x: timeAxis,
            y: timeScale(answered.flatMap { [Double($0.p50Ns), Double($0.maxNs)] } + [Double(settings.budgetNs)]))
        labelTimes(&plot, "latency")
        labelSeconds(&plot)
        plot.line(answered.map { (middle($0), Double($0.maxNs)) }, Self.longest)
        plot.line(answered.map { (middle($0), Double($0.p99Ns)) }, Self.high)
        plot.line(answered.map { (middle($0), Double($0.p50Ns)) }, Self.median)
        let sent = answered.filter { $0.p99SinceSentNs > 0 }
        if !sent.isEmpty { plot.line(sent.map { (middle($0), Double($0.p99SinceSentNs)) }, Self.highSinceSent) }
        plot.level(Double(settings.budgetNs), Self.budget, text: "budget")
        markFaults(&plot)
        return (
            plot.svg(description: "p50, p99 and max over time, logarithmic"),
            [Self.median, Self.high, Self.longest] + (sent.isEmpty ? [] : [Self.highSinceSent])
        )
    }

    // MARK: - Windows

    /// The admissions of one rule in each window, over all identities, and its maximum.
    func windows(of rule: String) -> String {
        let rows = (summary.oracle?.windowTotals ?? []).filter { $0.rule == rule }
        let starts = rows.map { seconds(wallMs: $0.startMs) }
        let widths = zip(starts.dropFirst(), starts).map { $0 - $1 }
        let width = widths.min() ?? max(1, (timeAxis.range.upperBound - (starts.first ?? 0)))
        let highest = rows.map { max($0.fullestShare, 1) * 100 }.max() ?? 100
        let first = min(timeAxis.range.lowerBound, starts.first ?? 0)
        let last = max(timeAxis.range.upperBound, (starts.last ?? 0) + width)
        var plot = Plot(x: .linear(first...last), y: .linear(to: highest))
        plot.labelY("admitted", plot.y.ticks(5).map { ($0, "\(Self.short($0)) %") })
        labelSeconds(&plot)
        for (start, row) in zip(starts, rows) {
            let range = start...start + width
            let hint =
                "\(Format.date(ms: row.startMs)): \(Format.count(row.shared)) shared and \(Format.count(row.local)) local "
                + "of \(Format.count(row.limit)), \(Format.count(row.identities)) identities; the fullest had "
                + "\(Format.decimal(row.fullestShare * 100, places: 0)) % of its limit"
                + (row.isBroken ? "; a promise was broken" : "")
            let percent = row.limit > 0 ? 100 / Double(row.limit) : 0
            let shared = Double(max(0, row.shared)) * percent
            let local = Double(max(0, row.local)) * percent
            plot.bar(x: range, y: 0...shared, row.isBroken ? Self.errors : Self.sources[0], hint: hint)
            plot.bar(x: range, y: shared...shared + local, row.isBroken ? Self.errors : Self.sources[1], hint: hint)
        }
        let middles = starts.map { $0 + width / 2 }
        plot.dots(zip(middles, rows).map { ($0, $1.fullestShare * 100) }, Self.fullest)
        plot.level(100, Self.limit, text: "limit")
        markFaults(&plot)
        return plot.svg(description: "Admitted against the limit in each window of \(rule)")
    }

    /// The legend of its colours.
    func windowSeries(of rule: String) -> [Plot.Series] {
        let rows = (summary.oracle?.windowTotals ?? []).filter { $0.rule == rule }
        var series = [
            Plot.Series(name: "shared, all grants", style: "shared"), Plot.Series(name: "local", style: "local"),
        ]
        if rows.contains(where: \.isBroken) {
            series.append(Plot.Series(name: "a promise was broken", style: "errors"))
        }
        return series + [Self.fullest]
    }

    private static let fullest = Plot.Series(name: "the fullest grant alone", style: "fullest")

    // MARK: - Axes

    private var timeAxis: PlotScale {
        let first = points.first.map { Double($0.startNs) / 1e9 } ?? 0
        let last = points.last.map { Double($0.startNs + $0.intervalNs) / 1e9 } ?? 1
        return .linear(min(0, first)...max(1, last))
    }

    private func labelSeconds(_ plot: inout Plot) {
        plot.labelX("seconds from the end of the warm-up", plot.x.ticks(7).map { ($0, Self.short($0)) })
    }

    private func labelTimes(_ plot: inout Plot, _ title: String) {
        plot.labelY(title, plot.y.ticks(6).map { ($0, Self.time($0)) })
    }

    private func timeScale(_ ns: [Double]) -> PlotScale {
        let positive = ns.filter { $0 > 0 }
        return .logarithmic((positive.min() ?? 1000)...(positive.max() ?? 1_000_000))
    }

    private func markFaults(_ plot: inout Plot) {
        for (index, mark) in summary.timeline.marks.enumerated() {
            plot.mark(Double(mark.atNs) / 1e9, "\(index + 1)", hint: mark.text)
        }
    }

    private func stretch(_ point: Timeline.Point) -> ClosedRange<Double> {
        Double(point.startNs) / 1e9...Double(point.startNs + point.intervalNs) / 1e9
    }

    private func middle(_ point: Timeline.Point) -> Double { Double(point.startNs + point.intervalNs / 2) / 1e9 }

    private func perSecond(_ count: Int64, _ point: Timeline.Point) -> Double {
        Double(count) * 1e9 / Double(point.intervalNs)
    }

    private func seconds(wallMs: Int64) -> Double { Double(wallMs - summary.timeline.startWallMs) / 1e3 }

    /// A power of ten in the unit that fits.
    private static func time(_ ns: Double) -> String {
        switch ns {
        case ..<999: "\(Int64(ns.rounded())) ns"
        case ..<999_999: "\(Int64((ns / 1e3).rounded())) us"
        case ..<999_999_999: "\(Int64((ns / 1e6).rounded())) ms"
        default: "\(Int64((ns / 1e9).rounded())) s"
        }
    }

    /// A number in few characters.
    private static func short(_ value: Double) -> String {
        switch value.magnitude {
        case 1_000_000...: "\(trimmed(value / 1e6))M"
        case 10_000...: "\(trimmed(value / 1e3))k"
        default: trimmed(value)
        }
    }

    private static func trimmed(_ value: Double) -> String {
        value == value.rounded() ? "\(Int64(value))" : Format.decimal(value, places: 1)
    }
}
