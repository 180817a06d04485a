import SluiceProtocol
import SluiceTerminal

extension Summary {
    /// The run second by second, for people: who answered, how fast, the injected faults, and how full the fullest
    /// window became that began then: above 100 % if more than the maximum was admitted.
    func timelineTable(style: Style) -> String {
        let sources = ReplySource.allCases.enumerated().filter { index, _ in
            timeline.points.contains { $0.decisions[index].allowed + $0.decisions[index].denied > 0 }
        }
        var table = TextTable(
            [TextTable.Column("second", .right), TextTable.Column("checks/s", .right)]
                + sources.map { TextTable.Column(settings.target.name(of: $0.element), .right) }
                + ["p50", "p99", "max", "errors", "fullest window"].map { TextTable.Column($0, .right) }
                + [TextTable.Column("done")])
        for (index, point) in timeline.points.enumerated() where point.startNs >= -500_000_000 {
            let endNs = index + 1 < timeline.points.count ? timeline.points[index + 1].startNs : .max
            let marks = timeline.marks.filter { $0.atNs >= point.startNs && $0.atNs < endNs }.map(\.text)
            var row: [TextTable.Cell] = [
                TextTable.Cell((point.startNs + 500_000_000) / 1_000_000_000),
                TextTable.Cell(Format.count(Int64(point.perSecond))),
            ]
            for source in sources {
                let decisions = point.decisions[source.offset]
                row.append(TextTable.Cell(Self.percent(decisions.allowed + decisions.denied, of: point.decisionCount)))
            }
            row += [point.p50Ns, point.p99Ns, point.maxNs].map { TextTable.Cell(Format.time($0)) }
            row.append(TextTable.Cell(point.failures, point.failures > 0 ? .bad : .plain))
            row.append(fullest(fromNs: point.startNs, toNs: endNs))
            row.append(TextTable.Cell(marks.joined(separator: "; "), .strong))
            table.append(row)
        }
        return table.render(style)
    }

    private func fullest(fromNs: Int64, toNs: Int64) -> TextTable.Cell {
        let share = (oracle?.windowTotals ?? []).filter {
            let startNs = ($0.startMs - timeline.startWallMs) * 1_000_000
            return startNs >= fromNs && startNs < toNs
        }.map(\.fullestShare).max()
        guard let share else { return "" }
        return TextTable.Cell("\(Int64((share * 100).rounded())) %", share > 1 ? .bad : .plain)
    }

    private static func percent(_ part: Int64, of all: Int64) -> String {
        guard all > 0, part > 0 else { return "" }
        return part == all ? "all" : "\(Format.decimal(Double(part) * 100 / Double(all), places: 1)) %"
    }
}
