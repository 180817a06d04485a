/// The effects of a reload in words: one line per change, with its place. Changes that affect no answer, such as the
/// order of tools, are left out.
///
/// The lines name grants, so they are for operators who ask, not for the log.
package struct PolicyDiff: Sendable, Equatable {
    /// By document name, then the mapping of grants. Empty if nothing changes.
    package private(set) var changes: [PolicyChange] = []

    package init(from old: PolicySet, to new: PolicySet) {
        if let before = old.single, let after = new.single {
            changes = DocumentDiff(nil, from: before, to: after).changes
            return
        }
        let (one, byGrant) = ("one for all grants", "documents by grant")
        if old.single != nil { changes.append(PolicyChange(.policies, .changed, "\(one) -> \(byGrant)")) }
        if new.single != nil { changes.append(PolicyChange(.policies, .changed, "\(byGrant) -> \(one)")) }
        addDocuments(old, new)
        addGrants(old, new)
    }

    package init(from old: Policy, to new: Policy) {
        self.init(from: PolicySet(single: old), to: PolicySet(single: new))
    }

    package var isEmpty: Bool { changes.isEmpty }

    /// The changes, each on one line with its place.
    package var lines: [String] { changes.map(\.line) }

    /// All lines, each with a line feed; the empty string if nothing changes.
    package func render() -> String { lines.map { $0 + "\n" }.joined() }

    private mutating func addDocuments(_ old: PolicySet, _ new: PolicySet) {
        for name in Set(old.documents.keys).union(new.documents.keys).sorted() {
            switch (old.documents[name], new.documents[name]) {
            case (let before?, let after?):
                changes += DocumentDiff(name, from: before, to: after).changes
            case (nil, _?):
                changes.append(PolicyChange(.documents, .added, "document \(name.onOneLine): added"))
            case (_?, nil):
                changes.append(PolicyChange(.documents, .removed, "document \(name.onOneLine): removed"))
            case (nil, nil): break
            }
        }
    }

    private mutating func addGrants(_ old: PolicySet, _ new: PolicySet) {
        let all = old.grants.merging(new.grants) { $1 }
        for (grant, _) in all.sorted(by: PolicySet.precedes) {
            let kind: PolicyChange.Kind
            let words: String
            switch (old.grants[grant], new.grants[grant]) {
            case (let before?, let after?):
                if before == after { continue }
                (kind, words) = (.changed, "policy \(before.onOneLine) -> \(after.onOneLine)")
            case (nil, let after?): (kind, words) = (.added, "added, policy \(after.onOneLine)")
            case (_?, nil): (kind, words) = (.removed, "removed, now \(Self.policy(of: grant, new))")
            case (nil, nil): continue
            }
            changes.append(PolicyChange(.grants, kind, "grant \(grant.onOneLine): \(words)"))
        }
    }

    /// The policy of a grant that is not named any more.
    private static func policy(of grant: String, _ policies: PolicySet) -> String {
        if policies.single != nil { return "the one policy" }
        return policies.documentName(forGrant: grant).map { "policy \($0.onOneLine)" } ?? "without a policy: denied"
    }
}

/// The changes from one document to another.
private struct DocumentDiff {
    private let document: String?
    private(set) var changes: [PolicyChange] = []

    /// - Parameter document: its name, if there are several.
    init(_ document: String?, from old: Policy, to new: Policy) {
        self.document = document
        if old.defaultRuling != new.defaultRuling {
            add(.byDefault, .changed, "\(old.defaultRuling.rawValue) -> \(new.defaultRuling.rawValue)")
        }
        let everyTool = PolicyKeys.everyTool
        if old.hidden.contains(everyTool) != new.hidden.contains(everyTool) {
            add(.everyTool, .changed, new.hidden.contains(everyTool) ? "now hidden" : "no longer hidden")
        }
        addLimits(.allTools, old.allToolsLimits, new.allToolsLimits)
        let reserving = (old: old.mustReserve, new: new.mustReserve)
        if reserving.old.isEveryTool != reserving.new.isEveryTool {
            add(
                .allTools, .changed,
                reserving.new.isEveryTool
                    ? "every check must say RESERVE now, else it is BADARG"
                    : "checks need not say RESERVE any more, but for those of a tool that has a concurrency limit")
        }
        let tools = Set(old.tools.keys).union(new.tools.keys).union(old.hidden).union(new.hidden)
        for tool in tools.subtracting([everyTool]).sorted() {
            add(tool, old, new)
            guard !reserving.old.isEveryTool, !reserving.new.isEveryTool else { continue }
            switch (reserving.old.contains(tool), reserving.new.contains(tool)) {
            case (false, true):
                add(.tool(tool), .changed, "its checks must say RESERVE now, else they are BADARG")
            case (true, false): add(.tool(tool), .changed, "its checks need not say RESERVE any more")
            case (true, true), (false, false): break
            }
        }
    }

    private mutating func add(
        _ place: PolicyChange.Place, _ kind: PolicyChange.Kind, _ words: String,
        counter: PolicyChange.Counter? = nil
    ) {
        changes.append(PolicyChange(place, kind, words, document: document, counter: counter))
    }

    // MARK: Tools

    /// The first rule that a caller of a tool meets, in words after "now".
    private enum Standing: String {
        case hidden
        case denied
        case approved = "needs approval"
        case allowed
    }

    /// Reports once that everything is hidden, not for each tool.
    private static func standing(of tool: String, in policy: Policy) -> Standing {
        if policy.hides(tool, besidesEvery: true) { return .hidden }
        let rule = policy.tools[tool] ?? policy.rule(forTool: tool)?.rule
        return switch (rule?.action, policy.defaultRuling) {
        case (.allow, _), (nil, .allow): .allowed
        case (.deny, _), (nil, .deny): .denied
        case (.requireApproval, _): .approved
        }
    }

    private mutating func add(_ tool: String, _ old: Policy, _ new: Policy) {
        let place = PolicyChange.Place.tool(tool)
        let (before, after) = (old.tools[tool], new.tools[tool])
        let kind: PolicyChange.Kind = (before == nil) == (after == nil) ? .changed : after == nil ? .removed : .added
        let standing = Self.standing(of: tool, in: new)
        if standing != Self.standing(of: tool, in: old) {
            add(place, kind, "now \(standing.rawValue)")
        } else if kind != .changed {
            add(place, kind, "\(after == nil ? "no longer listed" : "now listed"), \(standing.rawValue) as before")
        } else if before?.reason != after?.reason, after?.action != .allow {
            // An allowed tool's message is that of its limits, whose changes are reported there.
            add(place, .changed, "message changed")
        }
        let checked = after?.hasArgumentRules ?? false
        if checked != before?.hasArgumentRules ?? false {
            add(place, .changed, "the gateway \(checked ? "now" : "no longer") has arguments to check")
        }
        if let before, let after, before.eachTool != after.eachTool {
            add(
                place, .changed,
                after.eachTool ? "now counts each tool for itself" : "now counts the tools that it matches together")
        }
        addLimits(place, before?.limits ?? [], after?.limits ?? [])
    }

    // MARK: Limits

    private mutating func addLimits(_ place: PolicyChange.Place, _ old: [Limit], _ new: [Limit]) {
        if old == new { return }
        let after = Dictionary(new.map { ($0.counter, $0) }) { first, _ in first }
        let before = Set(old.map(\.counter))
        for limit in old {
            let name = "limit \(limit.counter.onOneLine)"
            guard let next = after[limit.counter] else {
                add(place, .removed, "\(name): removed", counter: .init(name: limit.counter, fate: .ends))
                continue
            }
            guard let words = Self.changes(from: limit, to: next) else { continue }
            let isKept = limit.identity == next.identity
            let fate = isKept ? "keeps its count" : "starts a new counter"
            add(
                place, .changed, "\(name): " + (words + [fate]).joined(separator: ", "),
                counter: .init(name: limit.counter, fate: isKept ? .goesOn : .begins))
        }
        for limit in new where !before.contains(limit.counter) {
            let words = ["added", limit.rate] + Self.parts(of: limit)
            add(
                place, .added, "limit \(limit.counter.onOneLine): " + words.joined(separator: ", "),
                counter: .init(name: limit.counter, fate: .begins))
        }
    }

    /// What there is to say of a limit beside its rate: first what every limit has, then what is not as by default.
    private static func parts(of limit: Limit) -> [String] {
        let notable = LimitField.inSummaries.filter { $0.isNotable(in: limit) }
        return (notable.filter { $0.presence == .always } + notable.filter { $0.presence != .always }).map { field in
            let words = field.allWords(limit) ?? field.absent
            return field.key == "algorithm" ? words : "\(field.key) \(words)"
        }
    }

    /// `max 10 -> 20`, `message changed`; `nil` if nothing changes.
    private static func changes(from old: Limit, to new: Limit) -> [String]? {
        if old == new { return nil }
        var words = LimitField.inDiffs.compactMap { field in
            change(of: field.key, from: field.allWords(old), to: field.allWords(new))
        }
        words += [change(of: "rule", from: old.rule.onOneLine, to: new.rule.onOneLine)].compactMap(\.self)
        if old.onDeny != new.onDeny { words.append("message changed") }
        return words
    }

    private static func change(of name: String, from old: String?, to new: String?) -> String? {
        old == new ? nil : "\(name) \(old ?? "none") -> \(new ?? "none")"
    }
}
