import SluiceTerminal

extension Summary {
    /// The steps of a search and its result; empty if there was none.
    func searchLines(_ style: Style) -> [String] {
        guard let search else { return [] }
        let goal = Format.time(UInt64(search.goalNs))
        let verdict =
            switch search.kept {
            case let kept? where search.isLimitedByDriver:
                "at least \(Format.count(Int64(kept))) checks/s keep a p99 of \(goal); the driver itself was late above it"
            case let kept?:
                "\(Format.count(Int64(kept))) checks/s is the highest rate found that keeps a p99 of \(goal)"
            case nil: style.apply(.bad, to: "no rate kept a p99 of \(goal)")
            }
        return search.steps.map(search.line) + [style.apply(.strong, to: verdict), ""]
    }

    /// The course of a ramp; empty for a steady rate.
    func rampLines(_ style: Style) -> [String] {
        guard settings.rampToPerSecond != nil else { return [] }
        let points = timeline.points.filter { $0.startNs >= 0 && $0.intendedRate != nil && $0.intervalNs > 100_000_000 }
        guard !points.isEmpty else { return [] }
        let every = max(1, points.count / Self.rampRows)
        let shown = points.enumerated().filter { ($0.offset + 1).isMultiple(of: every) }.map(\.element)
        let rows = shown.map { point in
            Self.columns([
                Format.count(Int64(point.intendedRate ?? 0)), Format.count(Int64(point.perSecond)),
                Format.time(point.p50Ns), Format.time(point.p99Ns), Format.time(point.maxNs),
            ])
        }
        return [style.apply(.strong, to: Self.columns(["meant/s", "answered/s", "p50", "p99", "max"]))] + rows + [""]
    }

    private static let rampRows = 12

    private static func columns(_ cells: [String]) -> String {
        cells.map { String(repeating: " ", count: max(1, 14 - $0.count)) + $0 }.joined()
    }
}

extension RateSearch {
    /// One step in words.
    func line(for step: Step) -> String {
        let rate = Format.count(Int64(step.ratePerSecond))
        let verdict = fault(of: step).map(\.rawValue) ?? "kept"
        return
            "\(String(repeating: " ", count: max(0, 12 - rate.count)))\(rate) checks/s  p99 \(Format.time(step.p99Ns))  "
            + "answered \(Format.count(Int64(step.answeredPerSecond)))/s  \(verdict)"
    }
}
