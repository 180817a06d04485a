import SluiceClient
import SluiceTerminal

/// One open window of one counter, as `COUNTERS` tells it. Numbers below zero are not known.
struct CounterRow {
    var grant: String
    /// Empty for a limit over all tools.
    var tool: String
    var counter: String
    /// Empty unless it is counted by session.
    var session: String
    /// The limit's path in the policy; empty if the policy no longer has it.
    var rule: String
    var windowSeconds: Int64
    var windowStartMs: Int64
    var resetMs: Int64
    var max: Int64
    var sharedUsed: Int64
    /// Admitted by this replica while Redis was away, and not yet in Redis.
    var localUsed: Int64
    var localShare: Int64
    var remaining: Int64

    init(_ reply: Reply) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        grant = try fields.string("grant")
        tool = try fields.string("tool")
        counter = try fields.string("counter")
        session = try fields.string("session")
        rule = try fields.string("rule")
        windowSeconds = try fields.integer("window_s")
        windowStartMs = try fields.integer("window_start_ms")
        resetMs = try fields.integer("reset_ms")
        max = try fields.integer("max")
        sharedUsed = try fields.integer("shared_used")
        localUsed = try fields.integer("local_used")
        localShare = try fields.integer("local_share")
        remaining = try fields.integer("remaining")
    }
}

/// What `counters` shows.
struct CountersReport {
    /// Where the tallies come from.
    enum Origin: Equatable {
        /// Read from Redis just now.
        case redis
        /// What this replica last knew, because Redis does not answer.
        case memory
        /// This replica counts alone.
        case alone
    }

    let rows: [CounterRow]
    /// There are more than were asked for.
    let isTruncated: Bool
    let origin: Origin

    /// - Parameter hasRedis: whether the sidecar was given one.
    init(_ reply: Reply, hasRedis: Bool) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        var rows: [CounterRow] = []
        for element in try fields.array("counters") { rows.append(try CounterRow(element)) }
        self.rows = rows
        isTruncated = try fields.integer("truncated") == 1
        origin = try fields.integer("shared") == 1 ? .redis : hasRedis ? .memory : .alone
    }

    func text(_ style: Style) -> String {
        (rows.isEmpty ? "(no counters)\n" : table.render(style)) + "\n" + style.apply(originTone, to: closing) + "\n"
    }

    var json: JSONText {
        .object([
            ("shared", .boolean(origin == .redis)),
            ("truncated", .boolean(isTruncated)),
            ("counters", .array(rows.map(Self.json))),
        ])
    }

    private var table: TextTable {
        let hasSessions = rows.contains { !$0.session.isEmpty }
        var columns: [TextTable.Column] = [.init("grant"), .init("tool"), .init("counter")]
        if hasSessions { columns.append(.init("session")) }
        columns += [
            .init("window", .right), .init("used", .right), .init("local", .right), .init("max", .right),
            .init("remaining", .right), .init("resets in", .right),
        ]
        var table = TextTable(columns)
        for row in rows {
            var cells: [TextTable.Cell] = [
                .init(row.grant), .init(row.tool.isEmpty ? "(all tools)" : row.tool), .init(row.counter),
            ]
            if hasSessions { cells.append(.init(row.session.isEmpty ? "-" : row.session)) }
            cells += [
                .init(DurationText.format(seconds: row.windowSeconds)), Self.known(row.sharedUsed),
                .init(row.localUsed, row.localUsed > 0 ? .caution : .plain), Self.known(row.max),
                Self.known(row.remaining, row.remaining == 0 ? .bad : .plain),
                .init(DurationText.format(milliseconds: Swift.max(0, row.resetMs))),
            ]
            table.append(cells)
        }
        return table
    }

    private var closing: String {
        let count = "\(rows.count) \(rows.count == 1 ? "counter" : "counters")"
        let more = isTruncated ? "; there are more: raise --limit, or name a --grant or --tool" : ""
        return switch origin {
        case .redis: "\(count), read from Redis just now\(more)"
        case .memory: "\(count), as this replica last knew: Redis does not answer\(more)"
        case .alone: "\(count) of this replica, which counts alone\(more)"
        }
    }

    private var originTone: Style.Tone { origin == .memory ? .caution : .faint }

    private static func known(_ number: Int64, _ tone: Style.Tone = .plain) -> TextTable.Cell {
        .init(number < 0 ? "-" : "\(number)", tone)
    }

    private static func json(_ row: CounterRow) -> JSONText {
        .object([
            ("grant", .string(row.grant)),
            ("tool", row.tool.isEmpty ? .null : .string(row.tool)),
            ("counter", .string(row.counter)),
            ("session", row.session.isEmpty ? .null : .string(row.session)),
            ("rule", row.rule.isEmpty ? .null : .string(row.rule)),
            ("window_s", .integer(row.windowSeconds)),
            ("window_start_ms", .integer(row.windowStartMs)),
            ("reset_ms", .integer(row.resetMs)),
            ("max", .known(row.max)),
            ("shared_used", .known(row.sharedUsed)),
            ("local_used", .known(row.localUsed)),
            ("local_share", .known(row.localShare)),
            ("remaining", .known(row.remaining)),
        ])
    }
}
