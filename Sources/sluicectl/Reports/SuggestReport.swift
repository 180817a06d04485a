import SluiceTerminal

/// The output of `policy suggest`.
struct SuggestReport {
    private let rows: [ToolDemand.Row]
    private let demand: ToolDemand

    init(_ demand: ToolDemand) {
        self.demand = demand
        rows = demand.rows
    }

    func text(_ style: Style) -> String {
        guard !rows.isEmpty else { return "(no calls in the log)\n" }
        var table = TextTable([
            .init("tool"), .init("per"), .init("grants", .right), .init("median", .right),
            .init("suggested max", .right),
            .init("busiest", .right), .init("grants above", .right),
        ])
        for row in rows {
            table.append([
                .init(row.window == .minute ? row.tool : ""), .init(row.window.name), .init(row.grants),
                .init(row.median),
                .init(row.suggested, .strong), .init(row.busiest),
                .init(row.grantsAbove, row.grantsAbove > 0 ? .caution : .plain),
            ])
        }
        return table.render(style) + "\n" + style.apply(.faint, to: closing) + "\n"
    }

    private var closing: String {
        let seconds = max(1, (demand.lastMs - demand.firstMs) / 1000)
        var text = "\(demand.calls) calls in \(DurationText.format(seconds: seconds))"
        if seconds < 86_400 { text += ": too short for a whole day" }
        if demand.uncounted > 0 { text += "; \(demand.uncounted) calls of further grants are not counted" }
        return text
    }

    /// A policy that allows the tools that were called, with these limits. Windows that the log does not cover are left out.
    var document: JSONText {
        let seconds = (demand.lastMs - demand.firstMs) / 1000
        var tools: [(String, JSONText)] = []
        for row in rows where row.window == .minute {
            let limits = rows.filter { $0.tool == row.tool && ($0.window == .minute || $0.window.ms / 1000 <= seconds) }
            tools.append(
                (
                    row.tool,
                    [
                        "limits": .array(
                            limits.map {
                                [
                                    "counter": .string("per_\($0.window.name)"), "window": .string($0.window.name),
                                    "max": .integer($0.suggested), "scope": "grant",
                                ]
                            })
                    ]
                ))
        }
        return ["version": "1", "default": "deny", "tools": .object(tools)]
    }

    func json(warnings: [String]) -> JSONText {
        [
            "calls": .integer(demand.calls),
            "uncounted": .integer(demand.uncounted),
            "first": .text(demand.firstMs < 0 ? nil : DateText.format(milliseconds: demand.firstMs)),
            "last": .text(demand.lastMs < 0 ? nil : DateText.format(milliseconds: demand.lastMs)),
            "limits": .array(
                rows.map {
                    [
                        "tool": .string($0.tool), "window": .string($0.window.name), "calls": .integer($0.calls),
                        "grants": .integer($0.grants), "median": .integer($0.median),
                        "suggested": .integer($0.suggested),
                        "busiest": .integer($0.busiest), "grants_above": .integer($0.grantsAbove),
                    ]
                }),
            "warnings": .strings(warnings),
        ]
    }
}
