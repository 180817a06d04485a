/// What the reference says of a fleet's policies and of counting, written from its words and not from the engine.
struct FleetReference {
    /// What is asked of a sidecar.
    struct Call: Equatable {
        enum Operation: String { case check = "CHECK", charge = "CHARGE", refund = "REFUND" }

        var operation = Operation.check
        var grant: String
        var tool: String
        var cost = 1
        var server: String?
        var session: String?
        var team: String?
        var isApproved = false
        var reserves = false
        var id: String?

        /// All but the command.
        var words: [String] {
            var words = [grant, tool] + (operation == .check ? ["COST", "\(cost)"] : ["\(cost)"])
            if let server { words += ["SERVER", server] }
            if let session { words += ["SESSION", session] }
            if let team { words += ["ATTR", "team", team] }
            if isApproved { words.append("APPROVED") }
            if reserves { words.append("RESERVE") }
            if let id { words += ["ID", id] }
            return words
        }
    }

    /// A limit that counts a call, with its counter.
    struct Counted {
        let rule: String
        let limit: Fleet.Limit
        let isShadow: Bool
        /// Counts what shadow rules would deny.
        var isDenials = false
        let counter: Counter

        /// As operators see whose counter it is.
        var subject: String {
            guard !isDenials, let value = counter.subject else { return "" }
            return "\(limit.scope)=\(value)"
        }
    }

    struct Counter: Hashable {
        var rule: String
        var grant: String?
        /// Of a pattern's limit that counts each tool for itself, and of one that counts each server.
        var tool: String?
        var server: String?
        var subject: String?
    }

    enum Ruling {
        case denied(verdict: String, rule: String, opensMs: Int? = nil)
        case counted(rule: String, [Counted])
    }

    private let fleet: Fleet
    private var resolved: [String: Fleet.Document] = [:]

    init(_ fleet: Fleet) {
        self.fleet = fleet
        for name in fleet.documents.keys { resolved[name] = resolve(name) }
    }

    // MARK: - Who gets which

    /// "Of `tools` and `groups` each name of both, with its own rule where both have it; of `hide` the names of both; of
    /// `servers` each name of both, and where both have it, the rules are joined in the same way; of any other key its own
    /// value, else the base's."
    private func resolve(_ name: String) -> Fleet.Document {
        guard let own = fleet.documents[name] else { fatalError("no document \(name)") }
        guard let baseName = own.base else { return own }
        let base = resolve(baseName)
        var result = own
        result.isShadow = own.isShadow || base.isShadow
        result.servers.merge(base.servers) { Self.join($0, $1) }
        result.rules = Self.join(own.rules, base.rules)
        return result
    }

    private static func join(_ own: Fleet.Rules, _ base: Fleet.Rules) -> Fleet.Rules {
        var result = own
        result.tools.merge(base.tools) { own, _ in own }
        result.groups.merge(base.groups) { own, _ in own }
        result.hidden += base.hidden
        if own.defaultAllows == nil { result.defaultAllows = base.defaultAllows }
        if own.allTools.isEmpty { result.allTools = base.allTools }
        return result
    }

    /// "The rule of the exact name wins, then that of the pattern with most literal characters."
    private static func entry<Value>(_ name: String, in table: [String: Value]) -> (name: String, value: Value)? {
        if let value = table[name] { return (name, value) }
        let best = table.keys.filter { $0.contains("*") && matches(name[...], $0[...]) }
            .max { literals($0) < literals($1) }
        return best.flatMap { best in table[best].map { (best, $0) } }
    }

    private static func literals(_ pattern: String) -> Int { pattern.filter { $0 != "*" }.count }

    static func matches(_ name: Substring, _ pattern: Substring) -> Bool {
        guard let first = pattern.first else { return name.isEmpty }
        if first != "*" { return name.first == first && matches(name.dropFirst(), pattern.dropFirst()) }
        return matches(name, pattern.dropFirst()) || (!name.isEmpty && matches(name.dropFirst(), pattern))
    }

    private static func matchesAny(_ name: String, _ patterns: [String]) -> Bool {
        patterns.contains { $0 == name || matches(name[...], $0[...]) }
    }

    /// The limits of a document by their paths, for other maxima.
    func limits(ofDocument name: String) -> [(rule: String, limit: Fleet.Limit)] {
        guard let document = resolved[name] else { return [] }
        func all(_ rules: Fleet.Rules, _ prefix: String) -> [(String, Fleet.Limit)] {
            rules.allTools.map { ("\(prefix)/all_tools/limits/\($0.counter)", $0) }
                + rules.tools.flatMap { name, tool in
                    tool.limits.map { ("\(prefix)/tools/\(name)/limits/\($0.counter)", $0) }
                }
                + rules.groups.flatMap { name, group in
                    group.limits.map { ("\(prefix)/groups/\(name)/limits/\($0.counter)", $0) }
                }
        }
        let found = all(document.rules, "") + document.servers.flatMap { all($0.value, "/servers/\($0.key)") }
        return found.sorted { $0.0 < $1.0 }.map { (rule: $0.0, limit: $0.1) }
    }

    // MARK: - The ruling

    /// "Hidden, listed or default, action, hours, limits."
    func ruling(_ call: Call) -> Ruling {
        guard let entry = Self.entry(call.grant, in: fleet.grants)?.value, let document = resolved[entry.document]
        else {
            return .denied(verdict: "deny", rule: "(no policy)")
        }
        var view = View(call: call, maxima: entry.maxima, isShadow: document.isShadow, rules: document.rules)
        if let server = call.server {
            let key = document.servers[server] != nil ? server : "*"
            if let rules = document.servers[key] {
                (view.rules, view.prefix) = (rules, "/servers/\(key)")
                view.eachServer = key == "*" ? server : nil
                if rules.defaultAllows == nil { view.rules.defaultAllows = document.rules.defaultAllows }
            }
        }
        return ruling(view)
    }

    /// A call beside the rules that decide it.
    private struct View {
        let call: Call
        let maxima: [String: Int]
        let isShadow: Bool
        var rules: Fleet.Rules
        var prefix = ""
        var eachServer: String?
    }

    private func ruling(_ view: View) -> Ruling {
        let tool = view.call.tool
        let others =
            view.rules.groups.flatMap { name, group in
                Self.matchesAny(tool, group.tools)
                    ? group.limits.map { counted($0, "/groups/\(name)", view, isShadow: view.isShadow) } : []
            } + view.rules.allTools.map { counted($0, "/all_tools", view, isShadow: view.isShadow) }
        if Self.matchesAny(tool, view.rules.hidden) {
            return denied("deny", "(hidden)", view, isShadow: view.isShadow, passing: others)
        }
        guard let (name, rule) = Self.entry(tool, in: view.rules.tools) else {
            if view.rules.defaultAllows == true { return .counted(rule: "(default allow)", others) }
            return denied("deny", "(default deny)", view, isShadow: view.isShadow, passing: others)
        }
        let path = "\(view.prefix)/tools/\(name)"
        let isShadow = view.isShadow || rule.isShadow
        let each = rule.eachTool ? tool : nil
        let all = rule.limits.map { counted($0, "/tools/\(name)", view, isShadow: isShadow, tool: each) } + others
        switch rule.action {
        case .deny: return denied("deny", path + "/action", view, isShadow: isShadow, tool: each, passing: others)
        case .allow, .approve:
            if rule.hours == .closed {
                return denied(
                    "deny", path + "/hours", view, isShadow: isShadow, tool: each, passing: all,
                    opensMs: fleet.day.laterMs)
            }
            // "Both are for calls that were made, as if a person had approved them."
            let needs = rule.action == .approve && !view.call.isApproved && view.call.operation == .check
            if needs {
                return denied("approve", path + "/action", view, isShadow: isShadow, tool: each, passing: all)
            }
            return .counted(rule: rule.action == .allow ? path : path + "/action", all)
        }
    }

    private func denied(
        _ verdict: String, _ rule: String, _ view: View, isShadow: Bool, tool: String? = nil, passing: [Counted],
        opensMs: Int? = nil
    ) -> Ruling {
        guard isShadow else { return .denied(verdict: verdict, rule: rule, opensMs: opensMs) }
        var counter = Counter(rule: rule, grant: view.call.grant, tool: tool, server: view.eachServer)
        // Each server's rules have their own.
        if rule.hasPrefix("(") { counter.subject = view.prefix }
        let limit = Fleet.Limit(counter: rule, max: 0, countsCalls: true)
        let denials = Counted(rule: rule, limit: limit, isShadow: true, isDenials: true, counter: counter)
        return .counted(rule: rule, [denials] + passing)
    }

    private func counted(
        _ limit: Fleet.Limit, _ place: String, _ view: View, isShadow: Bool, tool: String? = nil
    ) -> Counted {
        let rule = "\(view.prefix)\(place)/limits/\(limit.counter)"
        let call = view.call
        var limit = limit
        limit.max = view.maxima[rule] ?? limit.max
        var counter = Counter(rule: rule, grant: call.grant, tool: tool, server: view.eachServer)
        switch limit.scope {
        case "session": counter.subject = call.session
        case "server": counter.subject = call.server
        case "attribute:team": counter.subject = call.team
        case "global": counter.grant = nil
        default: break
        }
        // "A missing identity never becomes one counter for everybody."
        if limit.acrossGrants, counter.subject != nil { counter.grant = nil }
        return Counted(rule: rule, limit: limit, isShadow: isShadow || limit.isShadow, counter: counter)
    }
}
