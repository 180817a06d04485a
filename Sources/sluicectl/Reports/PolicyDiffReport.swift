import SluicePolicy
import SluiceTerminal

/// The output of `policy diff`.
struct PolicyDiffReport {
    private let changes: [PolicyChange]

    init(_ diff: PolicyDiff) {
        changes = diff.changes
    }

    var hasChanges: Bool { !changes.isEmpty }

    /// The changes under a heading for each place, and a summary line.
    func text(_ style: Style) -> String {
        guard hasChanges else { return "no difference\n" }
        var text = ""
        var heading = ""
        for change in changes {
            if change.heading != heading {
                heading = change.heading
                text += (text.isEmpty ? "" : "\n") + style.apply(.strong, to: heading) + "\n"
            }
            let (sign, tone) = Self.mark(change.kind)
            text += style.apply(tone, to: "\(sign) \(change.words)") + "\n"
        }
        return text + "\n" + style.apply(.faint, to: closing) + "\n"
    }

    var json: JSONText {
        [
            "same": .boolean(!hasChanges),
            "changes": .array(changes.map(Self.json)),
        ]
    }

    /// `3 changes: 1 added, 2 changed; 1 counter starts from 0`
    private var closing: String {
        let kinds = [PolicyChange.Kind.added, .removed, .changed].compactMap { kind in
            let count = changes.count { $0.kind == kind }
            return count == 0 ? nil : "\(count) \(kind.rawValue)"
        }
        let restarted = changes.count { $0.counter?.fate == .begins && $0.kind == .changed }
        let counters = restarted == 1 ? "1 counter starts from 0" : "\(restarted) counters start from 0"
        return "\(changes.count) \(changes.count == 1 ? "change" : "changes"): " + kinds.joined(separator: ", ")
            + (restarted == 0 ? "" : "; \(counters)")
    }

    private static func mark(_ kind: PolicyChange.Kind) -> (sign: String, tone: Style.Tone) {
        switch kind {
        case .added: ("+", .good)
        case .removed: ("-", .bad)
        case .changed: ("~", .caution)
        }
    }

    private static func json(_ change: PolicyChange) -> JSONText {
        let (place, tool) = place(change.place)
        return [
            "kind": .string(change.kind.rawValue),
            "document": .text(change.document),
            "server": .text(change.server),
            "place": .string(place),
            "tool": .text(tool),
            "group": .text(group(change.place)),
            "counter": change.counter.map {
                ["name": .string($0.name), "fate": .string($0.fate.rawValue)]
            } ?? .null,
            "change": .string(change.words),
        ]
    }

    private static func group(_ place: PolicyChange.Place) -> String? {
        if case .group(let name) = place { name } else { nil }
    }

    private static func place(_ place: PolicyChange.Place) -> (name: String, tool: String?) {
        switch place {
        case .policies: ("policies", nil)
        case .documents: ("documents", nil)
        case .grants: ("grants", nil)
        case .byDefault: ("default", nil)
        case .everyTool: ("every_tool", nil)
        case .allTools: ("all_tools", nil)
        case .tool(let name): ("tool", name)
        case .group: ("group", nil)
        case .server: ("server", nil)
        }
    }
}
