/// One limit: a counter's name, a window, a maximum and a scope.
package struct Limit: Sendable, Hashable {
    /// Where a counter lives: under one tool, or over several or all of them.
    package enum Container: Sendable, Hashable {
        case tool(String)
        case allTools
        /// All tools together that a pattern's rule is for.
        case pattern(String)
        /// Each tool for itself that a pattern's rule is for. Only in documents: a check's limits name the tool.
        case eachTool(String)
        /// The tools of a group together.
        case group(String)
        /// Within the tools of one server. In documents also `*`, for each server that is not listed; a check's limits
        /// name the server. Never within another server's.
        indirect case server(String, Container)
    }

    /// The calls that share the counter. A check without the identity counts for the grant alone.
    package enum Scope: Sendable, Hashable {
        /// All calls of the grant.
        case grant
        /// One session.
        case session
        /// One server.
        case server
        /// All calls of all grants.
        case global
        /// One value of the attribute of that name, 1 to `PolicyBounds.maxAttributeNameBytes` bytes.
        case attribute(String)
    }

    /// What happens while the store is unavailable.
    package enum OnOutage: String, Sendable, Hashable, CaseIterable {
        /// Local counters decide.
        case local
        /// Every call passes this limit.
        case allow
        /// No call passes it.
        case deny
    }

    package enum Mode: String, Sendable, Hashable, CaseIterable {
        case enforce
        /// Counted separately; it never denies.
        case shadow
    }

    /// What a limit counts of each check.
    package enum Counts: String, Sendable, Hashable, CaseIterable {
        /// Its cost.
        case cost
        /// 1, whatever its cost.
        case calls
    }

    /// How its counter is kept.
    package enum Precision: String, Sendable, Hashable, CaseIterable {
        /// Every call is counted in the store.
        case exact
        /// Replicas charge blocks in the store ahead of time, and admit calls from them. Only with `fixedWindow`.
        case leased
    }

    package internal(set) var container: Container
    package let counter: String
    package let algorithm: Algorithm
    /// How many calls a token bucket holds; nil with other algorithms.
    package private(set) var burst: Int64?
    /// How long a slot that is never released counts, ms; nil with other algorithms than `concurrency`.
    package let holdMs: Int64?
    /// `Window.endless` with `concurrency`, and of a fixed length with `tokenBucket` and `slidingLog`.
    package let window: Window
    /// How much one window admits, or how many calls may be in progress at once: 0 (blocks) to `PolicyBounds.maxLimit`,
    /// with `slidingLog` to `PolicyBounds.maxLogLimit`.
    package private(set) var max: Int64
    package let scope: Scope
    /// Whether grants share the counters of `scope`; only with one session, server or attribute. Otherwise each grant
    /// has its own, except with `global`.
    package let acrossGrants: Bool
    package internal(set) var onOutage: OnOutage
    package internal(set) var mode: Mode
    /// Always `cost` with `concurrency`, which counts calls in any case.
    package internal(set) var counts: Counts
    package internal(set) var precision: Precision
    /// The word for what is counted, in messages: `tokens`; nil: `calls`.
    package internal(set) var unit: String?
    /// The document's path to this limit, as a reply's `rule` names it: `/tools/NAME/limits/COUNTER`,
    /// `/all_tools/limits/COUNTER`, or `/tools/NAME/rate_limit`; `~` and `/` in names are escaped as `~0` and `~1`.
    package let rule: String
    /// The document's own text for the agent when this limit denies; `nil` for the default sentence.
    package internal(set) var onDeny: String?

    package init(
        container: Container, counter: String, window: Window, max: Int64, scope: Scope, rule: String, onDeny: String?,
        algorithm: Algorithm = .fixedWindow, burst: Int64? = nil, holdMs: Int64? = nil, acrossGrants: Bool = false,
        onOutage: OnOutage = .local, mode: Mode = .enforce, counts: Counts = .cost, unit: String? = nil,
        precision: Precision = .exact
    ) {
        self.container = container
        self.counter = counter
        self.algorithm = algorithm
        self.burst = burst
        self.holdMs = holdMs
        self.window = window
        self.max = max
        self.scope = scope
        self.acrossGrants = acrossGrants
        self.onOutage = onOutage
        self.mode = mode
        self.counts = counts
        self.precision = precision
        self.unit = unit
        self.rule = rule
        self.onDeny = onDeny
    }
}

extension [Limit] {
    /// These limits with other maxima, by their paths. A bucket without a capacity of its own holds its maximum.
    package func with(maxima: [String: Int64]) -> [Limit] {
        maxima.isEmpty ? self : map { limit in maxima[limit.rule].map { limit.with(max: $0) } ?? limit }
    }
}

extension Limit {
    fileprivate func with(max: Int64) -> Limit {
        var limit = self
        if burst == self.max { limit.burst = max }
        limit.max = max
        return limit
    }

    /// A counter's identity, without the value of its scope: a limit whose identity stays the same keeps its counts,
    /// whatever else changes.
    package struct Identity: Sendable, Hashable {
        package let container: Container
        package let counter: String
        /// `burst`, `hold` and `counts` are not part of it.
        package let algorithm: Algorithm
        package let window: Window
        package let scope: Scope
        package let acrossGrants: Bool
    }

    package var identity: Identity {
        Identity(
            container: container, counter: counter, algorithm: algorithm, window: window, scope: scope,
            acrossGrants: acrossGrants)
    }
}

extension Limit.Container {
    /// The document's path to it.
    package var path: String {
        switch self {
        case .tool(let name), .pattern(let name), .eachTool(let name): "/tools/\(JSONPointer.escape(name))"
        case .allTools: "/all_tools"
        case .group(let name): "/groups/\(JSONPointer.escape(name))"
        case .server(let name, let container): "/servers/\(JSONPointer.escape(name))\(container.path)"
        }
    }

    /// The container without its server.
    package var withoutServer: Limit.Container {
        if case .server(_, let container) = self { container } else { self }
    }

    /// The server that it belongs to.
    package var server: String? {
        if case .server(let name, _) = self { name } else { nil }
    }

    /// Whether several counters of one grant belong to a limit in it.
    package var isTemplate: Bool {
        switch self {
        case .eachTool, .server(Policy.everyServer, _): true
        case .server(_, let container): container.isTemplate
        case .tool, .allTools, .pattern, .group: false
        }
    }

    /// The container of the counters of one tool's call.
    fileprivate func counting(_ tool: String, server: String) -> Limit.Container {
        switch self {
        case .tool, .allTools, .pattern, .group: self
        case .eachTool: .tool(tool)
        case .server(let name, let container):
            .server(name == Policy.everyServer ? server : name, container.counting(tool, server: server))
        }
    }
}

extension [Limit] {
    /// These limits as they apply to a call of a tool.
    func counting(_ tool: String, server: String) -> [Limit] {
        guard contains(where: \.container.isTemplate) else { return self }
        return map { limit in
            guard limit.container.isTemplate else { return limit }
            var limit = limit
            limit.container = limit.container.counting(tool, server: server)
            return limit
        }
    }
}

extension Limit.Scope {
    /// The prefix of an attribute's name.
    static let attributePrefix = "attribute:"

    /// The form in documents: `grant`, `attribute:team`.
    package var name: String {
        switch self {
        case .grant: "grant"
        case .session: "session"
        case .server: "server"
        case .global: "global"
        case .attribute(let name): Self.attributePrefix + name
        }
    }
}
