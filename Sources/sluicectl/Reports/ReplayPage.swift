import SluiceTerminal

/// The page of `policy replay`: who would be newly denied, by which rule, and when.
struct ReplayPage {
    let report: ReplayReport
    let warnings: [String]

    /// More rules, tools and grants of a rule are in `--json`.
    private static let maxRules = 50
    private static let maxTools = 200
    static let maxGrants = 20

    var html: String {
        let outcome = report.outcome
        let total = outcome.total
        let denied = total.newlyDenied
        let title =
            outcome.calls == 0
            ? "No calls in the log"
            : denied == 0
                ? "Nobody would be newly denied"
                : "\(denied) \(denied == 1 ? "call" : "calls") would be newly denied"
        let tiles = HTML.tiles([
            ("calls", "\(outcome.calls)"), ("grants", "\(outcome.grantCount)"), ("denied then", "\(total.deniedThen)"),
            ("denied now", "\(total.deniedNow)"), ("newly denied", "\(total.newlyDenied)"),
            ("newly allowed", "\(total.newlyAllowed)"),
        ])
        let isKept = denied == 0 && outcome.calls > 0
        return HTML.page(
            title: "sluicectl policy replay: \(title)", style: isKept ? "kept" : "doubtful",
            [
                HTML.header(title, outcome.calls == 0 ? "" : report.closing), tiles, chart, rules, tools, notes,
                "<footer>Times are UTC. Made by sluicectl policy replay.</footer>",
            ])
    }

    // MARK: - When

    private static let width = 1_000.0
    private static let height = 200.0

    /// A bar for each stretch of time: its calls, and the part of them that would be newly denied.
    private var chart: String {
        let timeline = report.outcome.timeline
        guard timeline.stretches.count > 1, let most = timeline.stretches.map(\.calls).max(), most > 0 else {
            return ""
        }
        let step = Self.width / Double(timeline.stretches.count)
        var shapes = ""
        for (index, stretch) in timeline.stretches.enumerated() where stretch.calls > 0 {
            let ms = timeline.firstMs + Int64(index) * timeline.lengthMs
            let hint =
                "\(DateText.format(milliseconds: ms, isSpaced: true)): \(stretch.calls) calls, "
                + "\(stretch.newlyDenied) newly denied"
            shapes += "<g><title>\(HTML.escape(hint))</title>"
            for (count, style) in [(stretch.calls, "policy"), (stretch.newlyDenied, "errors")] where count > 0 {
                let tall = max(1, Double(count) / Double(most) * Self.height)
                shapes +=
                    "<rect class='area \(style)' x='\(Self.tenths(Double(index) * step))' "
                    + "y='\(Self.tenths(Self.height - tall))' width='\(Self.tenths(max(1, step - 1)))' "
                    + "height='\(Self.tenths(tall))'/>"
            }
            shapes += "</g>"
        }
        let endMs = timeline.firstMs + Int64(timeline.stretches.count) * timeline.lengthMs
        func time(_ ms: Int64) -> String { HTML.escape(DateText.format(milliseconds: ms, isSpaced: true)) }
        let stretch = DurationText.format(seconds: timeline.lengthMs / 1_000)
        return "<section><figure><figcaption>When?</figcaption>"
            + "<svg viewBox='0 0 \(Int(Self.width)) \(Int(Self.height))' role='img' "
            + "aria-label='Calls over time, and those that would be newly denied'>\(shapes)</svg>"
            + "<div class='keys'><span>\(time(timeline.firstMs)) to \(time(endMs))</span>"
            + "<span class='key policy'><i></i>calls, \(stretch) a bar, at most \(most)</span>"
            + "<span class='key errors'><i></i>newly denied</span></div></figure></section>"
    }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int64((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    // MARK: - Who, and by what

    private var rules: String {
        let shown = report.rules.prefix(Self.maxRules).map { rule, found in
            let grants = report.busiest(found, count: Self.maxGrants)
            let more = found.grants.count - grants.count
            return HTML.table(
                rule, ["grant", "newly denied"],
                [["all, since \(DateText.format(milliseconds: found.firstMs, isSpaced: true))", "\(found.calls)"]]
                    + grants.map { [$0.grant, "\($0.calls)"] }
                    + (more > 0 ? [["\(more) more grants", ""]] : []))
        }
        return shown.joined(separator: "\n") + Self.more(report.rules.count - shown.count, "rules")
    }

    private var tools: String {
        let rows = report.tools.prefix(Self.maxTools).map { tool, found in
            [
                tool, "\(found.calls)", "\(found.deniedThen)", "\(found.deniedNow)", "\(found.newlyDenied)",
                "\(found.newlyAllowed)",
            ]
        }
        guard !rows.isEmpty else { return "" }
        return HTML.table(
            "Tools", ["tool", "calls", "denied then", "denied now", "newly denied", "newly allowed"], rows)
            + Self.more(report.tools.count - rows.count, "tools")
    }

    private static func more(_ count: Int, _ what: String) -> String {
        count > 0 ? "<p>\(count) more \(what) with --json</p>" : ""
    }

    private var notes: String {
        guard !warnings.isEmpty else { return "" }
        return "<section><h2>Warnings</h2><ul>"
            + warnings.map { "<li>\(HTML.escape($0))</li>" }.joined() + "</ul></section>"
    }
}
