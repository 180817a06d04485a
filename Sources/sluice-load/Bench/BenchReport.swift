import SluiceProtocol
import SluiceTerminal

/// Writes the results of a benchmark, for people.
enum BenchReport {
    /// If the driver is busy for this share of the time, it may be what limits a contender.
    private static let busyShareLimit = 0.85

    /// One cell, as soon as it is done.
    static func section(_ result: BenchResult, _ style: Style) -> String {
        var text = "\n" + style.apply(.strong, to: "\(result.cell.name):") + " \(result.cell.about)"
        if let rate = result.ratePerSecond { text += ", \(Format.count(Int64(rate))) checks/s" }
        text += "\n"
        if !result.cell.contenders.isEmpty { text += rounds(result).render(style) }
        let notes = notes(result)
        if !notes.isEmpty { text += style.apply(.caution, to: notes.joined(separator: "; ")) + "\n" }
        for line in counts(result.counts) { text += style.apply(line.tone, to: TerminalText.visible(line.text)) + "\n" }
        return text
    }

    private static func rounds(_ result: BenchResult) -> TextTable {
        var table = TextTable([
            .init(""), .init("checks/s", .right), .init("spread", .right), .init("p50", .right), .init("p99", .right),
            .init("p99.9", .right), .init("CPU us a check: driver", .right), .init("sidecars", .right),
            .init("Redis", .right), .init("errors", .right),
        ])
        for (index, contender) in result.cell.contenders.enumerated() {
            func median(_ value: (BenchRound) -> Double?) -> Double? { result.spread(index, value)?.median }
            func time(_ value: (BenchRound) -> Double) -> TextTable.Cell {
                TextTable.Cell(Format.time(UInt64((median(value) ?? 0) * 1e3)))
            }
            func processor(_ value: (BenchRound) -> Double?) -> TextTable.Cell {
                TextTable.Cell(median(value).map { Format.decimal($0, places: 2) } ?? "-")
            }
            let rate = result.spread(index, \.checksPerSecond)
            let errors = result.rounds[index].reduce(0) { $0 + $1.failures }
            table.append([
                .init(contender.name), .init(Format.count(Int64(rate?.median ?? 0))),
                .init("\(Format.decimal((rate?.width ?? 0) * 100, places: 0)) %"),
                time(\.p50Us), time(\.p99Us), time(\.p999Us), processor(\.driverUs),
                processor { $0.sidecarsUs.isEmpty ? nil : $0.sidecarUs }, processor(\.redisUs),
                .init(Format.count(errors), errors > 0 ? .bad : .plain),
            ])
        }
        return table
    }

    /// Facts that are needed to interpret the figures.
    private static func notes(_ result: BenchResult) -> [String] {
        var notes: [String] = []
        for (index, contender) in result.cell.contenders.enumerated() {
            if let busy = result.spread(index, \.driverBusyShare), busy.median >= busyShareLimit {
                notes.append(
                    "\(contender.name): the driver was busy \(Format.decimal(busy.median * 100, places: 0)) % of the time"
                )
            }
        }
        return notes
    }

    private static func counts(_ counts: BenchCounts) -> [(text: String, tone: Style.Tone)] {
        var lines: [(text: String, tone: Style.Tone)] = counts.faults.map { ("wrong: \($0)", .bad) }
        if counts.failures > 0 {
            lines.append(("errors: \(Format.count(counts.failures)), first: \(counts.firstFault ?? "no answer")", .bad))
        }
        guard !counts.admitted.isEmpty, counts.isClean else { return lines }
        var parts = BenchCell.Contender.Target.charging.compactMap { owner in
            counts.admitted[owner].map {
                "\(owner.rawValue) \(Format.count($0.allowed)) allowed, \(Format.count($0.denied)) denied"
            }
        }
        parts += counts.gaps.map { "not compared with Redis: \($0)" }
        if let oracle = counts.oracle {
            parts.append("the oracle found every promise kept in \(Format.count(oracle.answers)) answers")
        }
        lines.append(("counted right: " + parts.joined(separator: "; "), .faint))
        return lines
    }

    /// All comparisons with their targets.
    static func measures(_ results: [BenchResult], _ style: Style) -> String {
        var table = TextTable([
            .init("cell"), .init("measure"), .init("measured", .right), .init("rounds"), .init("bar"), .init(""),
        ])
        for measured in results.flatMap(\.measured) {
            table.append([
                .init(measured.cell), .init(measured.name),
                .init(measured.value.map { number($0.median, measured.unit) } ?? "-"),
                .init(
                    measured.value.map {
                        $0.least == $0.most
                            ? "" : "\(number($0.least, measured.unit)) to \(number($0.most, measured.unit))"
                    }
                        ?? "", .faint),
                .init(measured.bar.map { words($0, measured.unit) } ?? ""),
                verdict(measured),
            ])
        }
        return "\n" + table.render(style)
    }

    /// The subject and the machine of the measurement: figures mean little without them.
    static func origin(_ results: [BenchResult], machine: BenchMachine, commit: String?) -> String {
        var parts = ["Sluice \(SluiceVersion.current)\(commit.map { " (\($0))" } ?? "")"]
        if let redis = results.lazy.compactMap(\.redisVersion).first { parts.append("Redis \(redis)") }
        return "\n" + TerminalText.visible((parts + [machine.about]).joined(separator: ", ")) + "\n"
    }

    private static func verdict(_ measured: BenchResult.Measured) -> TextTable.Cell {
        switch measured.isMet {
        case true?: TextTable.Cell("met", .good)
        case false?: TextTable.Cell("not met", .caution)
        case nil: TextTable.Cell("")
        }
    }

    private static func number(_ value: Double, _ unit: BenchResult.Measured.Unit) -> String {
        switch unit {
        case .ratio: value < 0.1 ? Format.decimal(value, places: 4) : Format.decimal(value, places: 2)
        case .bytes: "\(Format.decimal(value, places: 0)) B"
        case .mebibytes: "\(Format.decimal(value, places: 1)) MiB"
        }
    }

    private static func words(_ bar: BenchCell.Measure.Bar, _ unit: BenchResult.Measured.Unit) -> String {
        switch bar {
        case .atLeast(let value): "at least \(number(value, unit))"
        case .atMost(let value): "at most \(number(value, unit))"
        }
    }
}
