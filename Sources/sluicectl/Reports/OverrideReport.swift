import SluiceClient
import SluiceTerminal

/// The output of `override`: the overrides that hold, or the one that was set.
struct OverrideReport {
    struct Row {
        var grant: String
        var rule: String
        var max: Int64
        /// -1 if the policy has no such limit any more.
        var policyMax: Int64
        var untilMs: Int64
        var remainingMs: Int64

        init(_ reply: Reply) throws(SluiceError) {
            let fields = try ReplyFields(reply)
            grant = try fields.string("grant")
            rule = try fields.string("rule")
            max = try fields.integer("max")
            policyMax = try fields.integer("policy_max")
            untilMs = try fields.integer("until_ms")
            remainingMs = try fields.integer("remaining_ms")
        }
    }

    let rows: [Row]
    /// Whether one was set or ended.
    let isChanged: Bool
    /// Whether they hold for all sidecars.
    let isShared: Bool

    init(_ reply: Reply) throws(SluiceError) {
        let fields = try ReplyFields(reply)
        isShared = try fields.integer("shared") == 1
        isChanged = try fields.integer("changed") == 1
        var rows: [Row] = []
        for element in try fields.array("overrides") { rows.append(try Row(element)) }
        self.rows = rows
    }

    var table: TextTable {
        var table = TextTable([
            .init("grant"), .init("limit"), .init("max", .right), .init("policy", .right), .init("until"),
            .init("ends in", .right),
        ])
        for row in rows {
            table.append([
                .init(row.grant), .init(row.rule), .init(row.max), .init(row.policyMax < 0 ? "-" : "\(row.policyMax)"),
                .init(Self.end(row.untilMs)), .init(DurationText.format(milliseconds: row.remainingMs)),
            ])
        }
        return table
    }

    /// For whom a change holds.
    var scope: String { isShared ? ", for all sidecars" : " in this sidecar, which counts alone" }

    /// `12:34:56 UTC`, with the date if that is not today's.
    static func end(_ ms: Int64, nowMs: Int64 = DateText.nowMs()) -> String {
        let text = DateText.format(milliseconds: ms, isSpaced: true).replacing("Z", with: "")
        let isToday = ms / 86_400_000 == nowMs / 86_400_000
        return (isToday ? String(text.suffix(8)) : text) + " UTC"
    }

    var json: JSONText {
        [
            "shared": .boolean(isShared), "changed": .boolean(isChanged),
            "overrides": .array(
                rows.map { row in
                    [
                        "grant": .string(row.grant), "rule": .string(row.rule), "max": .integer(row.max),
                        "policy_max": .known(row.policyMax), "until_ms": .integer(row.untilMs),
                        "remaining_ms": .integer(row.remainingMs),
                    ]
                }),
        ]
    }
}
