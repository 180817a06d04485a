/// A validated policy document, compiled to what the engine asks of it: one `Ruling` for a tool.
///
/// A value of this type cannot be wrong: every number is within its bounds and every counter of one container is
/// known by one name. `PolicyDocument.parse` is the only way to make one.
package struct Policy: Sendable, Equatable {
    package enum Default: Sendable, Equatable { case allow, deny }

    /// What tools that the document does not list get.
    package let defaultRuling: Default
    /// Names that are denied as hidden; `*` hides every tool.
    package let hidden: Set<String>
    /// Limits over every call of the grant.
    package let allToolsLimits: [Limit]
    package let tools: [String: ToolRule]
    /// What `ruling(forTool:)` answers for the listed tools; follows from the other properties.
    let listedRulings: [String: Ruling]

    package init(defaultRuling: Default, hidden: Set<String>, allToolsLimits: [Limit], tools: [String: ToolRule]) {
        self.defaultRuling = defaultRuling
        self.hidden = hidden
        self.allToolsLimits = allToolsLimits
        self.tools = tools
        listedRulings = Self.listedRulings(hidden: hidden, allToolsLimits: allToolsLimits, tools: tools)
    }
}

/// What a document says of one tool.
package struct ToolRule: Sendable, Equatable {
    package enum Action: Sendable, Equatable { case allow, deny, requireApproval }

    package let action: Action
    /// What the agent is told when `action` forbids the call; `nil` for the default sentence.
    package let reason: String?
    /// The tool's own limits, `rate_limit` included, in the order of the document.
    package let limits: [Limit]

    package init(action: Action, reason: String?, limits: [Limit]) {
        self.action = action
        self.reason = reason
        self.limits = limits
    }
}

/// One rule that counts: a counter's name, a window, a maximum and a scope.
package struct Limit: Sendable, Hashable {
    /// Where a counter lives: under one tool, or over all of them.
    package enum Container: Sendable, Hashable {
        case tool(String)
        case allTools
    }

    /// Whose calls share the counter.
    package enum Scope: Sendable, Hashable {
        /// Everything that the grant does.
        case grant
        /// One session of the grant; a check without a session counts for the grant alone.
        case session
    }

    package let container: Container
    package let counter: String
    package let window: FixedWindow
    /// How much one window admits: 0 (blocks) to `PolicyBounds.maxLimit`.
    package let max: Int64
    package let scope: Scope
    /// The document's path to this limit, as a reply's `rule` names it: `/tools/NAME/limits/COUNTER`,
    /// `/all_tools/limits/COUNTER`, or `/tools/NAME/rate_limit`; `~` and `/` in names are escaped as `~0` and `~1`.
    package let rule: String
    /// The document's own words for the agent when this limit denies; `nil` for the default sentence.
    package let onDeny: String?

    package init(
        container: Container, counter: String, window: FixedWindow, max: Int64, scope: Scope, rule: String,
        onDeny: String?
    ) {
        self.container = container
        self.counter = counter
        self.window = window
        self.max = max
        self.scope = scope
        self.rule = rule
        self.onDeny = onDeny
    }
}

/// A window of a fixed length, aligned to the Unix epoch (so that minutes, hours and days are those of UTC).
package struct FixedWindow: Sendable, Hashable {
    /// Length in whole seconds, 1 to `PolicyBounds.maxWindowSeconds`.
    package let seconds: Int64

    package init(seconds: Int64) {
        precondition(seconds >= 1 && seconds <= PolicyBounds.maxWindowSeconds)
        self.seconds = seconds
    }

    package var lengthMs: Int64 { seconds * 1000 }

    /// The start, in ms since the epoch, of the window that holds `nowMs` (at least 0). It ends, exclusively, one
    /// length later.
    package func startMs(at nowMs: Int64) -> Int64 { nowMs - nowMs % lengthMs }
}

/// What the policy says of a tool before anything is counted.
package enum Ruling: Sendable, Equatable {
    /// Forbidden; nothing is charged. `rule` and `message` are those of the reply.
    case deny(rule: String, message: String)
    /// A person must approve. With approval it acts as `.count(limits)`.
    case approve(rule: String, message: String, limits: [Limit])
    /// Allowed, under these limits together (the tool's first, then those over all tools); with none of them,
    /// `rule` is what allowed it.
    case count(rule: String, limits: [Limit])
}
