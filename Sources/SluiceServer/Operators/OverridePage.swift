import NIOCore
import SluiceEngine
import SluiceProtocol
import SluiceTerminal

/// The answer to one `OVERRIDE`: the overrides that hold, or the one that was set.
struct OverridePage: Sendable {
    struct Row: Sendable {
        var override: Override
        /// What the policy has for the grant; -1 if it has no such limit any more.
        var policyMax: Int64
        var remainingMs: Int64
    }

    /// Whether they hold for all replicas; else there is no Redis.
    var isShared: Bool
    /// Whether one was set or ended.
    var isChanged: Bool
    var rows: [Row]

    /// Writes a map of `shared`, `changed` and `overrides`, each member of the last a map.
    func write(_ writer: ReplyWriter, to output: inout ByteBuffer) {
        writer.writeMapHeader(3, to: &output)
        writer.write([], [("shared", isShared ? 1 : 0), ("changed", isChanged ? 1 : 0)], to: &output)
        writer.writeBulkString("overrides", to: &output)
        writer.writeArrayHeader(rows.count, to: &output)
        for row in rows {
            writer.writeMapHeader(row.texts.count + row.numbers.count, to: &output)
            writer.write(row.texts, row.numbers, to: &output)
        }
    }

    var json: JSONText {
        [
            "shared": .boolean(isShared), "changed": .boolean(isChanged),
            "overrides": .array(
                rows.map { row in
                    .object(row.texts.map { ($0, .string($1)) } + row.numbers.map { ($0, .integer($1)) })
                }),
        ]
    }
}

extension OverridePage.Row {
    fileprivate var texts: [(String, String)] { [("grant", override.grant), ("rule", override.rule)] }
    fileprivate var numbers: [(String, Int64)] {
        [
            ("max", override.max), ("policy_max", policyMax), ("until_ms", override.untilMs),
            ("remaining_ms", remainingMs),
        ]
    }
}
