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
                addMaxima(ofGrant: grant, old, new)
                if before == after { continue }
                (kind, words) = (.changed, "policy \(before.onOneLine) -> \(after.onOneLine)")
            case (nil, let after?):
                (kind, words) = (.added, "added, policy \(after.onOneLine)\(new.maximaWords(ofEntry: grant))")
            case (_?, nil): (kind, words) = (.removed, "removed, now \(Self.policy(of: grant, new))")
            case (nil, nil): continue
            }
            changes.append(PolicyChange(.grants, kind, "grant \(grant.onOneLine): \(words)"))
        }
    }

    /// A grant's own maxima, of a grant that both have.
    private mutating func addMaxima(ofGrant grant: String, _ old: PolicySet, _ new: PolicySet) {
        let (before, after) = (old.maxima[grant] ?? [:], new.maxima[grant] ?? [:])
        for rule in Set(before.keys).union(after.keys).sorted() where before[rule] != after[rule] {
            let words = { (max: Int64?) in max.map { String($0) } ?? "as its policy" }
            changes.append(
                PolicyChange(
                    .grants, .changed,
                    "grant \(grant.onOneLine): max of \(rule.onOneLine) \(words(before[rule])) -> \(words(after[rule]))"
                ))
        }
    }

    /// The policy of a grant that is no longer named.
    private static func policy(of grant: String, _ policies: PolicySet) -> String {
        if policies.single != nil { return "the one policy" }
        return policies.documentName(forGrant: grant).map { "policy \($0.onOneLine)" } ?? "without a policy: denied"
    }
}

/// The changes from one document to another.
private struct DocumentDiff {
    private let document: String?
    private let server: String?
    private(set) var changes: [PolicyChange] = []

    /// - Parameters:
    ///   - document: its name, if there are several.
    ///   - server: the server, if the two are the rules of one.
    init(_ document: String?, server: String? = nil, from old: Policy, to new: Policy) {
        self.document = document
        self.server = server
        if old.defaultRuling != new.defaultRuling {
            add(.byDefault, .changed, "\(old.defaultRuling.rawValue) -> \(new.defaultRuling.rawValue)")
        }
        if old.onDeny != new.onDeny, new.defaultRuling == .deny { add(.byDefault, .changed, "message changed") }
        // The rules of a server follow their document.
        if old.mode != new.mode, server == nil {
            add(.byDefault, .changed, "mode \(old.mode.rawValue) -> \(new.mode.rawValue), for all rules")
        }
        let everyTool = PolicyKeys.everyTool
        if old.hidden.contains(everyTool) != new.hidden.contains(everyTool) {
            add(.everyTool, .changed, new.hidden.contains(everyTool) ? "now hidden" : "no longer hidden")
        }
        addLimits(.allTools, old.allToolsLimits, new.allToolsLimits)
        addGroups(old, new)
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
        addServers(old, new)
    }

    private mutating func addGroups(_ old: Policy, _ new: Policy) {
        for name in Set(old.groups.keys).union(new.groups.keys).sorted() {
            let (before, after) = (old.groups[name], new.groups[name])
            let place = PolicyChange.Place.group(name)
            switch (before?.tools, after?.tools) {
            case (nil, let tools?): add(place, .added, "added, of \(Self.list(tools))")
            case (_?, nil): add(place, .removed, "removed")
            case (let one?, let other?) where one != other:
                let words = [("now also", other.subtracting(one)), ("no longer", one.subtracting(other))]
                    .filter { !$0.1.isEmpty }.map { "\($0) \(Self.list($1))" }
                add(place, .changed, words.joined(separator: ", "))
            case (_?, _?), (nil, nil): break
            }
            addLimits(place, before?.limits ?? [], after?.limits ?? [])
        }
    }

    private static func list(_ names: Set<String>) -> String {
        names.sorted().map(\.onOneLine).joined(separatedBy: "and")
    }

    private mutating func addServers(_ old: Policy, _ new: Policy) {
        for name in Set(old.servers.keys).union(new.servers.keys).sorted() {
            let words = (one: "rules of its own", other: "the rules of every other server")
            switch (old.servers[name], new.servers[name]) {
            case (let before?, let after?):
                changes += DocumentDiff(document, server: name, from: before, to: after).changes
            case (nil, _?): add(.server(name), .added, "now has \(words.one)")
            case (_?, nil): add(.server(name), .removed, "now has \(words.other)")
            case (nil, nil): break
            }
        }
    }

    private mutating func add(
        _ place: PolicyChange.Place, _ kind: PolicyChange.Kind, _ words: String,
        counter: PolicyChange.Counter? = nil
    ) {
        changes.append(PolicyChange(place, kind, words, document: document, server: server, counter: counter))
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
        } else if before?.reason != after?.reason, after?.action != .allow || after?.hours != nil {
            // An allowed tool's message is that of its limits, whose changes are reported there.
            add(place, .changed, "message changed")
        }
        if before?.hours != after?.hours {
            let words = { (rule: ToolRule?) in rule?.hours?.words ?? "always" }
            add(place, .changed, "hours \(words(before)) -> \(words(after))")
        }
        if before?.mode ?? .enforce != after?.mode ?? .enforce {
            add(place, .changed, "mode \((before?.mode ?? .enforce).rawValue) -> \((after?.mode ?? .enforce).rawValue)")
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
