/// One rule that counts: a counter's name, a window, a maximum and a scope.
package struct Limit: Sendable, Hashable {
    /// Where a counter lives: under one tool, or over all of them.
    package enum Container: Sendable, Hashable {
        case tool(String)
        case allTools
    }

    /// Whose calls share the counter. A check that lacks the identity counts for the grant alone.
    package enum Scope: Sendable, Hashable {
        /// Everything that the grant does.
        case grant
        /// One session.
        case session
        /// One server.
        case server
        /// Everything that all grants do.
        case global
        /// One value of the attribute of that name, 1 to `PolicyBounds.maxAttributeNameBytes` bytes.
        case attribute(String)
    }

    package enum Algorithm: Sendable, Hashable {
        /// A tally for each window, which starts from nothing.
        case fixedWindow
        /// The tally of this window, and of the one before as much as a window that ends now would reach into it.
        case slidingWindow
        /// Every charge with its time: exact in any stretch of a window's length.
        case slidingLog
        /// A bucket that holds `burst` calls (0 only if `max` is 0) and is refilled evenly, `max` in a window.
        case tokenBucket(burst: Int64)
        /// How many calls are going on at once; one that is never released counts for `holdMs`.
        case concurrency(holdMs: Int64)
    }

    /// What happens while the store is away.
    package enum OnOutage: String, Sendable, Hashable, CaseIterable {
        /// Counting goes on from local counters.
        case local
        /// Every call passes this limit.
        case allow
        /// No call passes it.
        case deny
    }

    package enum Mode: String, Sendable, Hashable, CaseIterable {
        case enforce
        /// Counted on its own; it never blocks.
        case shadow
    }

    package let container: Container
    package let counter: String
    package let algorithm: Algorithm
    /// `Window.endless` with `concurrency`, and of a fixed length with `tokenBucket` and `slidingLog`.
    package let window: Window
    /// How much one window admits, or how many calls may go on at once: 0 (blocks) to `PolicyBounds.maxLimit`, with
    /// `slidingLog` to `PolicyBounds.maxLogLimit`.
    package let max: Int64
    package let scope: Scope
    /// Whether grants share the counters of `scope`; only with one session, server or attribute. Else each grant has
    /// its own, except of course with `global`.
    package let acrossGrants: Bool
    package let onOutage: OnOutage
    package let mode: Mode
    /// The document's path to this limit, as a reply's `rule` names it: `/tools/NAME/limits/COUNTER`,
    /// `/all_tools/limits/COUNTER`, or `/tools/NAME/rate_limit`; `~` and `/` in names are escaped as `~0` and `~1`.
    package let rule: String
    /// The document's own words for the agent when this limit denies; `nil` for the default sentence.
    package internal(set) var onDeny: String?

    package init(
        container: Container, counter: String, window: Window, max: Int64, scope: Scope, rule: String, onDeny: String?,
        algorithm: Algorithm = .fixedWindow, acrossGrants: Bool = false, onOutage: OnOutage = .local,
        mode: Mode = .enforce
    ) {
        self.container = container
        self.counter = counter
        self.algorithm = algorithm
        self.window = window
        self.max = max
        self.scope = scope
        self.acrossGrants = acrossGrants
        self.onOutage = onOutage
        self.mode = mode
        self.rule = rule
        self.onDeny = onDeny
    }
}

extension Limit {
    /// What a counter is known by, apart from the value of its scope: a limit that keeps it keeps its counts, whatever
    /// else of it changes.
    package struct Identity: Sendable, Hashable {
        package let container: Container
        package let counter: String
        /// The algorithm's name; `burst` and `hold` are no part of it.
        package let algorithm: String
        package let window: Window
        package let scope: Scope
        package let acrossGrants: Bool
    }

    package var identity: Identity {
        Identity(
            container: container, counter: counter, algorithm: algorithm.name, window: window, scope: scope,
            acrossGrants: acrossGrants)
    }
}

extension Limit.Algorithm {
    /// As documents and counters' keys write it.
    package var name: String {
        switch self {
        case .fixedWindow: "fixed_window"
        case .slidingWindow: "sliding_window"
        case .slidingLog: "sliding_log"
        case .tokenBucket: "token_bucket"
        case .concurrency: "concurrency"
        }
    }
}

extension Limit.Scope {
    /// What comes before an attribute's name.
    static let attributePrefix = "attribute:"

    /// As documents write it: `grant`, `attribute:team`.
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
