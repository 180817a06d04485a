import SluiceEngine

/// A folder of random policies, of the whole language: as documents, and as values that `FleetReference` decides by. Windows
/// last a year, but for those of `brief`, and buckets leak nothing that shows, so that nothing depends on when a call comes.
struct Fleet {
    struct Limit {
        enum Algorithm: String {
            case fixedWindow = "fixed_window"
            case slidingWindow = "sliding_window"
            case slidingLog = "sliding_log"
            case tokenBucket = "token_bucket"
            case concurrency
        }

        var counter: String
        var max: Int
        var algorithm = Algorithm.fixedWindow
        /// As in documents.
        var scope = "grant"
        var acrossGrants = false
        var countsCalls = false
        var isShadow = false
        /// The window's length, in seconds.
        var window = Policies.longWindow

        var isSlots: Bool { algorithm == .concurrency }

        var json: String {
            var keys = [
                "\"counter\": \"\(counter)\"", "\"algorithm\": \"\(algorithm.rawValue)\"", "\"scope\": \"\(scope)\"",
            ]
            switch algorithm {
            case .concurrency: keys += ["\"max\": \(max)", "\"hold\": \"1h\""]
            case .tokenBucket: keys += ["\"max\": 100", "\"burst\": \(max)", "\"window\": \(window)"]
            default: keys += ["\"max\": \(max)", "\"window\": \(window)"]
            }
            if acrossGrants { keys.append("\"across_grants\": true") }
            if countsCalls { keys.append("\"counts\": \"calls\"") }
            if isShadow { keys.append("\"mode\": \"shadow\"") }
            return "{\(keys.joined(separator: ", "))}"
        }
    }

    struct Tool {
        enum Action: String {
            case allow, deny
            case approve = "require_approval"
        }
        enum Hours { case always, open, closed }

        var action = Action.allow
        var limits: [Limit] = []
        var eachTool = false
        var hours = Hours.always
        var isShadow = false
    }

    /// The rules of a document, or of one server.
    struct Rules {
        /// nil in a document that has its base's.
        var defaultAllows: Bool?
        var hidden: [String] = []
        var allTools: [Limit] = []
        var tools: [String: Tool] = [:]
        var groups: [String: (tools: [String], limits: [Limit])] = [:]
    }

    struct Document {
        var base: String?
        var isShadow = false
        var rules = Rules()
        var servers: [String: Rules] = [:]
    }

    /// What a grant, or a pattern, has.
    struct Entry {
        var document: String
        var maxima: [String: Int] = [:]
    }

    var documents: [String: Document] = [:]
    var grants: [String: Entry] = [:]
    /// The day from which days of the week are counted.
    let day: FleetDay

    static let tools = [
        "github_issue_create", "github_issue_list", "github_push", "slack_send", "fetch_a", "fetch_b", "search", "run",
        "other", "slots",
    ]
    /// No two have equally many characters that stand for themselves.
    static let patterns = ["github_*", "*_list", "fetch_*", "github_issue_*", "s*", "*u*h*", "*"]
    static let callers = ["pro-1", "pro-2", "pro-nightly", "free-1", "audit", "guest", "nobody"]
    static let servers = ["github", "one", "two"]

    // MARK: - As files

    /// By their names.
    var files: [String: String] {
        var files = documents.reduce(into: [String: String]()) { $0["\($1.key).json"] = text(of: $1.value) }
        let entries = grants.map { grant, entry in
            let maxima = entry.maxima.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ")
            return "\"\(grant)\": "
                + (maxima.isEmpty
                    ? "\"\(entry.document)\"" : "{\"policy\": \"\(entry.document)\", \"max\": {\(maxima)}}")
        }
        files["grants.json"] = "{\(entries.joined(separator: ", "))}"
        return files
    }

    private func text(of document: Document) -> String {
        var keys = ["\"version\": \"1\""] + members(of: document.rules)
        if let base = document.base { keys.append("\"extends\": \"\(base)\"") }
        if document.isShadow { keys.append("\"mode\": \"shadow\"") }
        let servers = document.servers.map { "\"\($0.key)\": {\(members(of: $0.value).joined(separator: ", "))}" }
        if !servers.isEmpty { keys.append("\"servers\": {\(servers.joined(separator: ", "))}") }
        return "{\(keys.joined(separator: ",\n"))}"
    }

    private func members(of rules: Rules) -> [String] {
        func limits(_ limits: [Limit]) -> String { "\"limits\": [\(limits.map(\.json).joined(separator: ", "))]" }
        func hours(_ days: String, _ from: String, _ to: String) -> String {
            "\"hours\": {\"days\": \"\(days)\", \"from\": \"\(from)\", \"to\": \"\(to)\"}"
        }
        func names(_ names: [String]) -> String { "[\(names.map { "\"\($0)\"" }.joined(separator: ", "))]" }
        var keys: [String] = []
        if let allows = rules.defaultAllows { keys.append("\"default\": \"\(allows ? "allow" : "deny")\"") }
        if !rules.hidden.isEmpty { keys.append("\"hide\": \(names(rules.hidden))") }
        if !rules.allTools.isEmpty { keys.append("\"all_tools\": {\(limits(rules.allTools))}") }
        let tools = rules.tools.map { name, tool in
            var inner = ["\"action\": \"\(tool.action.rawValue)\"", limits(tool.limits)]
            if tool.eachTool { inner.append("\"each_tool\": true") }
            if tool.isShadow { inner.append("\"mode\": \"shadow\"") }
            switch tool.hours {
            case .always: break
            case .open: inner.append(hours(day.openDays, "00:00", "24:00"))
            case .closed: inner.append(hours(day.laterDay, "09:30", "18:00"))
            }
            return "\"\(name)\": {\(inner.joined(separator: ", "))}"
        }
        if !tools.isEmpty { keys.append("\"tools\": {\(tools.joined(separator: ",\n"))}") }
        let groups = rules.groups.map { name, group in
            "\"\(name)\": {\"tools\": \(names(group.tools)), \(limits(group.limits))}"
        }
        if !groups.isEmpty { keys.append("\"groups\": {\(groups.joined(separator: ", "))}") }
        return keys
    }
}

/// A day, and the words of documents for days near it.
struct FleetDay {
    /// Days since the epoch, in UTC.
    let number: Int

    init(atMs ms: Int) { number = ms / 86_400_000 }

    private func word(_ number: Int) -> String {
        // The first of January 1970 was a Thursday.
        ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][number % 7]
    }

    /// Yesterday to tomorrow.
    var openDays: String { "\(word(number - 1)),\(word(number)),\(word(number + 1))" }
    /// In three days.
    var laterDay: String { word(number + 3) }
    /// When hours of that day begin, ms since the epoch.
    var laterMs: Int { (number + 3) * 86_400_000 + (9 * 60 + 30) * 60_000 }
}
