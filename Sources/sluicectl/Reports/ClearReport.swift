import SluiceClient
import SluiceTerminal

/// The output of `clear`: what counters held, and which limits were left.
struct ClearReport {
    struct Row {
        var tool: String
        var server: String
        var group: String
        var counter: String
        var subject: String
        var algorithm: String
        var window: String
        var rule: String
        /// What Redis said instead of a number; empty if it was cleared.
        var fault: String
        /// -1 with a fault.
        var held: Int64
        /// -1 if the policy no longer has the limit.
        var max: Int64

        init(_ reply: Reply) throws(SluiceError) {
            let fields = try ReplyFields(reply)
            tool = try fields.string("tool")
            server = try fields.string("server")
            group = try fields.string("group")
            counter = try fields.string("counter")
            subject = try fields.string("subject")
            algorithm = try fields.string("algorithm")
            window = try fields.string("window")
            rule = try fields.string("rule")
            fault = try fields.string("fault")
            held = try fields.integer("held")
            max = try fields.integer("max")
        }

        /// What it counts, as in the tables of policies.
        var title: String { CounterRow.title(tool: tool, server: server, group: group) }
    }

    /// A limit that was left.
    struct Kept: Equatable {
        var rule: String
        var counter: String
        /// `shared`, `other tools` or `slots`.
        var reason: String

        init(_ reply: Reply) throws(SluiceError) {
            let fields = try ReplyFields(reply)
            rule = try fields.string("rule")
            counter = try fields.string("counter")
            reason = try fields.string("reason")
        }
    }

    let grant: String
    let tool: String?
    private(set) var rows: [Row] = []
    private(set) var kept: [Kept] = []
    /// Where the next page begins; empty at the end.
    private(set) var cursor = ""
    /// Whether the counters are those in Redis.
    private(set) var isShared = true

    init(grant: String, tool: String?) {
        self.grant = grant
        self.tool = tool
    }

    mutating func add(_ reply: Reply) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        isShared = try fields.integer("shared") == 1
        for element in try fields.array("cleared") { rows.append(try Row(element)) }
        // They depend on the policy alone.
        kept = []
        for element in try fields.array("kept") { kept.append(try Kept(element)) }
        cursor = try fields.string("cursor")
    }

    var hasFaults: Bool { rows.contains { !$0.fault.isEmpty } }

    /// How many counters, in words.
    var count: String { "\(rows.count) \(rows.count == 1 ? "counter" : "counters")" }

    func text(_ style: Style, isDryRun: Bool) -> String {
        let place = TerminalText.visible(grant) + (tool.map { " for \(TerminalText.visible($0))" } ?? "")
        var text = rows.isEmpty ? "nothing is counted of \(place)\n" : table(isDryRun: isDryRun).render(style) + "\n"
        if !rows.isEmpty && !isDryRun {
            let done = rows.count { $0.fault.isEmpty }
            text +=
                style.apply(.good, to: "cleared")
                + " \(done) \(done == 1 ? "counter" : "counters") of \(place)"
                + (isShared ? ", for all sidecars\n" : " of this sidecar, which counts alone\n")
        }
        for limit in kept { text += style.apply(.faint, to: "left: \(limit.words)") + "\n" }
        return text
    }

    private func table(isDryRun: Bool) -> TextTable {
        let hasSubjects = rows.contains { !$0.subject.isEmpty }
        var columns: [TextTable.Column] = [.init("tool"), .init("counter")]
        if hasSubjects { columns.append(.init("of")) }
        columns += [.init("window", .right), .init(isDryRun ? "used" : "held", .right), .init("max", .right)]
        var table = TextTable(columns)
        for row in rows {
            var cells: [TextTable.Cell] = [.init(row.title), .init(row.counter)]
            if hasSubjects { cells.append(.init(row.subject.isEmpty ? "-" : row.subject)) }
            cells += [
                .init(CountersReport.windowText(row.window)),
                row.fault.isEmpty ? .init(row.held) : .init(row.fault, .bad), .init(row.max < 0 ? "-" : "\(row.max)"),
            ]
            table.append(cells)
        }
        return table
    }

    var json: JSONText {
        [
            "grant": .string(grant), "tool": .text(tool), "shared": .boolean(isShared),
            "cleared": .array(rows.map(Self.json)),
            "kept": .array(
                kept.map { ["rule": .string($0.rule), "counter": .string($0.counter), "reason": .string($0.reason)] }),
        ]
    }

    private static func json(_ row: Row) -> JSONText {
        [
            "tool": row.tool.isEmpty ? .null : .string(row.tool),
            "server": row.server.isEmpty ? .null : .string(row.server),
            "group": row.group.isEmpty ? .null : .string(row.group),
            "counter": .string(row.counter),
            "subject": row.subject.isEmpty ? .null : .string(row.subject),
            "algorithm": .string(row.algorithm),
            "window": .string(row.window),
            "rule": row.rule.isEmpty ? .null : .string(row.rule),
            "held": .known(row.held),
            "max": .known(row.max),
            "fault": row.fault.isEmpty ? .null : .string(row.fault),
        ]
    }
}

extension ClearReport.Kept {
    fileprivate var words: String {
        let why =
            switch reason {
            case "shared": "grants share its counter"
            case "slots": "it counts calls in progress, which end by themselves"
            case "other tools": "it counts other tools, too: clear the grant without a tool"
            default: TerminalText.visible(reason)
            }
        return "\(TerminalText.visible(rule)) (\(why))"
    }
}
