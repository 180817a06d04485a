import SluiceClient
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SluiceTerminal

/// One counter with a usage, as `COUNTERS` reports it. Numbers below zero are unknown.
struct CounterRow {
    /// Empty where grants share the counter.
    var grant: String
    /// A tool, or a pattern; empty for a limit over all tools or over a group.
    var tool: String
    /// The server with rules of its own; else empty.
    var server: String
    /// The group of tools that it counts; else empty.
    var group: String
    var counter: String
    /// What it counts by besides the grant, such as `session=ID`; empty for all of the grant's calls.
    var subject: String
    var algorithm: String
    /// The window's name in Redis' keys: `60s`, `day@Europe/Berlin`, `endless`.
    var window: String
    var isShadow: Bool
    /// The limit's path in the policy; empty if the policy no longer has it.
    var rule: String
    var windowStartMs: Int64
    var resetMs: Int64
    var max: Int64
    var sharedUsed: Int64
    /// Admitted by this replica during an outage of Redis, and not yet in Redis.
    var localUsed: Int64
    var localShare: Int64
    var remaining: Int64
    /// Checks that a shadow limit would have denied.
    var wouldDeny: Int64
}

extension CounterRow {
    init(_ reply: Reply) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        self.init(
            grant: try fields.string("grant"),
            tool: try fields.string("tool"),
            server: try fields.laterString("server"),
            group: try fields.laterString("group"),
            counter: try fields.string("counter"),
            subject: try fields.string("subject"),
            algorithm: try fields.string("algorithm"),
            window: try fields.string("window"),
            isShadow: try fields.string("mode") == "shadow",
            rule: try fields.string("rule"),
            windowStartMs: try fields.integer("window_start_ms"),
            resetMs: try fields.integer("reset_ms"),
            max: try fields.integer("max"),
            sharedUsed: try fields.integer("shared_used"),
            localUsed: try fields.integer("local_used"),
            localShare: try fields.integer("local_share"),
            remaining: try fields.integer("remaining"),
            wouldDeny: try fields.integer("would_deny"))
    }

    /// As read from Redis without a sidecar.
    init(_ report: CounterReport) {
        let key = report.key
        self.init(
            grant: key.grant ?? "", tool: key.tool ?? "", server: key.container.server ?? "", group: key.group ?? "",
            counter: key.counter, subject: key.subject.words, algorithm: key.algorithm.name, window: key.window.name,
            isShadow: report.isShadow, rule: report.rule, windowStartMs: key.windowStartMs, resetMs: report.resetMs,
            max: report.max, sharedUsed: report.sharedUsed, localUsed: 0, localShare: -1, remaining: report.remaining,
            wouldDeny: report.denials)
    }

    /// What it counts, as in the tables of policies.
    var title: String { Self.title(tool: tool, server: server, group: group) }

    static func title(tool: String, server: String, group: String) -> String {
        let place = !group.isEmpty ? "(group \(group))" : tool.isEmpty ? "(all tools)" : tool
        return server.isEmpty ? place : "\(server): \(place)"
    }
}

/// The output of `counters`.
struct CountersReport {
    /// The origin of the usages.
    enum Origin: Equatable {
        /// Read from Redis just now.
        case redis
        /// This replica's last view, because Redis does not answer.
        case memory
        /// This replica counts alone.
        case alone
    }

    let rows: [CounterRow]
    /// Whether there are more than were requested.
    let isTruncated: Bool
    let origin: Origin
    /// Where a later reading goes on; empty at the end.
    let cursor: String
    /// Whether all that match were looked at, where that matters.
    let isComplete: Bool

    /// - Parameter hasRedis: whether the sidecar is configured with one.
    init(_ reply: Reply, hasRedis: Bool) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        var rows: [CounterRow] = []
        for element in try fields.array("counters") { rows.append(try CounterRow(element)) }
        self.rows = rows
        isTruncated = try fields.integer("truncated") == 1
        origin = try fields.integer("shared") == 1 ? .redis : hasRedis ? .memory : .alone
        cursor = try fields.laterString("cursor")
        isComplete = true
    }

    init(
        rows: [CounterRow], isTruncated: Bool = false, origin: Origin = .redis, cursor: String = "",
        isComplete: Bool = true
    ) {
        self.rows = rows
        self.isTruncated = isTruncated
        self.origin = origin
        self.cursor = cursor
        self.isComplete = isComplete
    }

    func text(_ style: Style) -> String {
        (rows.isEmpty ? "(no counters)\n" : table.render(style)) + "\n" + style.apply(originTone, to: closing) + "\n"
    }

    var json: JSONText {
        [
            "shared": .boolean(origin == .redis),
            "truncated": .boolean(isTruncated),
            "cursor": cursor.isEmpty ? .null : .string(cursor),
            "counters": .array(rows.map(Self.json)),
        ]
    }

    private var table: TextTable {
        let hasSubjects = rows.contains { !$0.subject.isEmpty }
        let hasAlgorithms = rows.contains { $0.algorithm != "fixed_window" }
        let hasShadows = rows.contains(where: \.isShadow)
        var columns: [TextTable.Column] = [.init("grant"), .init("tool"), .init("counter")]
        if hasSubjects { columns.append(.init("of")) }
        if hasAlgorithms { columns.append(.init("algorithm")) }
        columns += [
            .init("window", .right), .init("used", .right), .init("local", .right), .init("max", .right),
            .init("remaining", .right), .init("resets in", .right),
        ]
        if hasShadows { columns.append(.init("would deny", .right)) }
        var table = TextTable(columns)
        for row in rows {
            var cells: [TextTable.Cell] = [
                .init(row.grant.isEmpty ? "(all grants)" : row.grant),
                .init(row.title), .init(row.counter),
            ]
            if hasSubjects { cells.append(.init(row.subject.isEmpty ? "-" : row.subject)) }
            if hasAlgorithms { cells.append(.init(row.algorithm)) }
            cells += [
                .init(Self.windowText(row.window)), Self.known(row.sharedUsed),
                .init(row.localUsed, row.localUsed > 0 ? .caution : .plain), Self.known(row.max),
                Self.known(row.remaining, row.remaining == 0 ? .bad : .plain),
                .init(row.resetMs < 0 ? "-" : "\(WaitTime(milliseconds: row.resetMs))"),
            ]
            if hasShadows {
                cells.append(row.isShadow ? .init(row.wouldDeny, row.wouldDeny > 0 ? .caution : .plain) : .init("-"))
            }
            table.append(cells)
        }
        return table
    }

    private var closing: String {
        let count = "\(rows.count) \(rows.count == 1 ? "counter" : "counters")"
        let more =
            !isComplete
            ? "; not all could be looked at: Redis does not answer, or others read them"
            : !isTruncated
                ? ""
                : "; there are more: "
                    + (cursor.isEmpty ? "" : "go on with --cursor \(TerminalText.visible(cursor)), ")
                    + "raise --limit, or name a --grant or --tool"
        return switch origin {
        case .redis: "\(count), read from Redis just now\(more)"
        case .memory: "\(count), as this replica last knew: Redis does not answer\(more)"
        case .alone: "\(count) of this replica, which counts alone\(more)"
        }
    }

    private var originTone: Style.Tone { origin == .memory ? .caution : .faint }

    static func windowText(_ name: String) -> String {
        if name == "endless" { return "-" }
        guard name.last == "s", let seconds = Int64(name.dropLast()) else { return name }
        return DurationText.format(seconds: seconds)
    }

    private static func known(_ number: Int64, _ tone: Style.Tone = .plain) -> TextTable.Cell {
        .init(number < 0 ? "-" : "\(number)", tone)
    }

    static func json(_ row: CounterRow) -> JSONText {
        [
            "grant": row.grant.isEmpty ? .null : .string(row.grant),
            "tool": row.tool.isEmpty ? .null : .string(row.tool),
            "server": row.server.isEmpty ? .null : .string(row.server),
            "group": row.group.isEmpty ? .null : .string(row.group),
            "counter": .string(row.counter),
            "subject": row.subject.isEmpty ? .null : .string(row.subject),
            "algorithm": .string(row.algorithm),
            "window": .string(row.window),
            "mode": .string(row.isShadow ? "shadow" : "enforce"),
            "rule": row.rule.isEmpty ? .null : .string(row.rule),
            "window_start_ms": .integer(row.windowStartMs),
            "reset_ms": .known(row.resetMs),
            "max": .known(row.max),
            "shared_used": .known(row.sharedUsed),
            "local_used": .known(row.localUsed),
            "local_share": .known(row.localShare),
            "remaining": .known(row.remaining),
            "would_deny": .integer(row.wouldDeny),
        ]
    }
}
