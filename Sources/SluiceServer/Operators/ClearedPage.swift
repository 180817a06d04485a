import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SluiceTerminal

/// What one `CLEAR` did.
struct ClearedPage: Sendable {
    /// A counter that was to be cleared, as it was listed just before.
    struct Counter: Sendable {
        var report: CounterReport
        var outcome: CounterClearing.Outcome

        var held: Int64 { if case .held(let held) = outcome { held } else { -1 } }
        var fault: String { if case .fault(let fault) = outcome { fault } else { "" } }
    }

    /// A limit that such calls count in as well, and that was left.
    struct Kept: Sendable, Equatable {
        enum Reason: String, Sendable {
            /// Grants share its counter.
            case shared
            /// It counts other tools, too, and one tool was to be cleared.
            case otherTools = "other tools"
            /// It counts calls in progress, which end by themselves.
            case slots
        }

        var rule: String
        var counter: String
        var reason: Reason
    }

    var grant: String
    var tool: String?
    /// What the command came in by.
    var door: String
    /// Whether the counters are those in Redis; else there is none.
    var isShared: Bool
    /// Those that held something, and those with a fault.
    var counters: [Counter]
    var kept: [Kept]
    /// Where to go on; nil: everything was cleared.
    var cursor: CounterCursor?

    var heldCount: Int { counters.count { $0.held > 0 } }

    // MARK: - As a reply

    /// Writes a map of `shared`, `cursor` (empty at the end), `cleared` and `kept`, each member of the last two a map.
    func write(_ writer: ReplyWriter, to output: inout ByteBuffer) {
        writer.writeMapHeader(4, to: &output)
        writer.write([], [("shared", isShared ? 1 : 0)], to: &output)
        writer.write([("cursor", cursor.map { "\($0)" } ?? "")], [], to: &output)
        writer.writeBulkString("cleared", to: &output)
        writer.writeArrayHeader(counters.count, to: &output)
        for counter in counters {
            let (texts, numbers) = counter.members
            writer.writeMapHeader(texts.count + numbers.count, to: &output)
            writer.write(texts, numbers, to: &output)
        }
        writer.writeBulkString("kept", to: &output)
        writer.writeArrayHeader(kept.count, to: &output)
        for limit in kept {
            writer.writeMapHeader(limit.members.count, to: &output)
            writer.write(limit.members, [], to: &output)
        }
    }

    var json: JSONText {
        [
            "shared": .boolean(isShared), "cursor": .string(cursor.map { "\($0)" } ?? ""),
            "cleared": .array(
                counters.map { counter in
                    .object(
                        counter.members.texts.map { ($0, .string($1)) }
                            + counter.members.numbers.map { ($0, .integer($1)) })
                }),
            "kept": .array(kept.map { .object($0.members.map { ($0, .string($1)) }) }),
        ]
    }
}

extension ClearedPage.Counter {
    var members: (texts: [(String, String)], numbers: [(String, Int64)]) {
        let key = report.key
        return (
            [
                ("grant", key.grant ?? ""), ("tool", key.tool ?? ""), ("server", key.container.server ?? ""),
                ("group", key.group ?? ""), ("counter", key.counter), ("subject", key.subject.words),
                ("algorithm", key.algorithm.name), ("window", key.window.name), ("rule", report.rule),
                ("fault", fault),
            ], [("held", held), ("max", report.max)]
        )
    }
}

extension ClearedPage.Kept {
    var members: [(String, String)] { [("rule", rule), ("counter", counter), ("reason", reason.rawValue)] }
}

extension PolicySet {
    /// The tools, or patterns, in whose counters calls of a tool are counted by its own rules, whatever the server.
    func toolNames(ofTool tool: String, forGrant grant: String) -> [String] {
        var names = [tool]
        for limit in limits(ofTool: tool, forGrant: grant) {
            if case .pattern(let name) = limit.container.withoutServer, !names.contains(name) { names.append(name) }
        }
        return names
    }

    /// The limits that are left when a grant's counters are cleared, or those of one tool.
    func kept(ofTool tool: String?, forGrant grant: String) -> [ClearedPage.Kept] {
        let limits = tool.map { self.limits(ofTool: $0, forGrant: grant) } ?? policy(forGrant: grant)?.allLimits ?? []
        var kept: [ClearedPage.Kept] = []
        for limit in limits {
            let reason: ClearedPage.Kept.Reason
            if limit.scope == .global || (limit.acrossGrants && limit.scope != .grant) {
                reason = .shared
            } else if tool != nil, limit.container.countsOtherTools {
                reason = .otherTools
            } else if limit.algorithm == .concurrency {
                reason = .slots
            } else {
                continue
            }
            let one = ClearedPage.Kept(rule: limit.rule, counter: limit.counter, reason: reason)
            if !kept.contains(one) { kept.append(one) }
        }
        return kept.sorted { $0.rule < $1.rule }
    }

    private func limits(ofTool tool: String, forGrant grant: String) -> [Limit] {
        let servers = policy(forGrant: grant)?.servers.keys.sorted() ?? []
        return ([nil] + servers.map { Optional($0) }).flatMap { server in
            ruling(forGrant: grant, tool: tool, server: server).limits
        }
    }
}

extension Limit.Container {
    fileprivate var countsOtherTools: Bool {
        switch withoutServer {
        case .allTools, .group: true
        case .tool, .pattern, .eachTool, .server: false
        }
    }
}
