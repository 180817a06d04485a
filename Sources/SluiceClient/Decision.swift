/// What Sluice answers to a check.
public struct Decision: Sendable, Equatable {
    public enum Verdict: String, Sendable, CaseIterable {
        case allow
        /// Over a limit.
        case limit
        /// The policy forbids the call.
        case deny
        /// A person must approve the call.
        case approve
        /// Redis is unavailable and the limit denies meanwhile; ask again after `retryAfterMs`.
        case unavailable
    }

    /// The origin of a decision.
    public enum Source: String, Sendable, CaseIterable {
        /// Counted in Redis for all replicas.
        case shared
        /// Counted in this replica alone.
        case local
        /// Served from a block that was charged in Redis before.
        case lease
        /// A denial from the denial cache.
        case cache
        /// The policy alone decided.
        case policy
    }

    /// One limit that the check evaluated.
    public struct TracedLimit: Sendable, Equatable {
        /// The limit's path in its policy.
        public var rule: String
        /// The start of its window, in milliseconds since 1970.
        public var windowStartMs: Int64
        public var used: Int64
        public var max: Int64
    }

    public var allowed: Bool
    /// The maximum of the binding limit; -1 if none applied.
    public var limit: Int64
    /// What is left of the binding limit after this check; -1 if none applied.
    public var remaining: Int64
    /// 0 if allowed; how long until the same check could pass, in milliseconds; -1 if it never can.
    public var retryAfterMs: Int64
    /// Until the binding window resets, in milliseconds; -1 if none.
    public var resetMs: Int64
    public var verdict: Verdict
    /// The path of what decided, like a JSON pointer: `/tools/opencode_run/limits/opencode_run_rate`.
    public var rule: String
    public var source: Source
    /// When denied, one sentence for the agent; otherwise empty.
    public var message: String
    /// The id for `COMMIT`, `CANCEL` and `RELEASE`; `nil` if none was requested or the check was denied.
    public var reservation: String?
    /// The limits that were evaluated; empty unless `CheckOptions.trace` asked for them.
    public var trace: [TracedLimit]
}

extension Decision {
    /// Reads the array of RESP2 or the map of RESP3.
    init(_ value: Reply) throws(SluiceError) {
        let fields = DecisionElements(value)
        allowed = try fields.integer("allowed") == 1
        limit = try fields.integer("limit")
        remaining = try fields.integer("remaining")
        retryAfterMs = try fields.integer("retry_after_ms")
        resetMs = try fields.integer("reset_ms")
        guard let verdict = Verdict(rawValue: try fields.string("verdict")) else {
            throw .malformedReply("expected a verdict")
        }
        self.verdict = verdict
        rule = try fields.string("rule")
        guard let source = Source(rawValue: try fields.string("source")) else {
            throw .malformedReply("expected a source")
        }
        self.source = source
        message = try fields.string("message")
        let reservation = fields.optionalString("reservation")
        self.reservation = reservation?.isEmpty == true ? nil : reservation
        trace = try fields.trace("trace")
    }
}

/// The elements of a decision by name, from either version of RESP.
private struct DecisionElements {
    private var named: [String: Reply] = [:]

    private static let names = [
        "allowed", "limit", "remaining", "retry_after_ms", "reset_ms", "verdict", "rule", "source", "message",
    ]

    init(_ reply: Reply) {
        guard case .array(let elements) = reply else {
            for pair in reply.pairs ?? [] {
                if let name = pair.key.string { named[name] = pair.value }
            }
            return
        }
        for (name, element) in zip(Self.names, elements) { named[name] = element }
        // What was asked for besides: a reservation is a text, a trace is a list.
        for element in elements.dropFirst(Self.names.count) {
            named[element.array == nil ? "reservation" : "trace"] = element
        }
    }

    func integer(_ name: String) throws(SluiceError) -> Int64 {
        guard let number = named[name]?.integer else { throw .malformedReply("expected the integer \(name)") }
        return number
    }

    func string(_ name: String) throws(SluiceError) -> String {
        guard let text = optionalString(name) else { throw .malformedReply("expected the string \(name)") }
        return text
    }

    func optionalString(_ name: String) -> String? { named[name]?.string }

    func trace(_ name: String) throws(SluiceError) -> [Decision.TracedLimit] {
        var limits: [Decision.TracedLimit] = []
        for entry in named[name]?.array ?? [] {
            guard let elements = entry.array, elements.count >= 4, let rule = elements[0].string,
                let start = elements[1].integer, let used = elements[2].integer, let max = elements[3].integer
            else { throw .malformedReply("expected four elements of a trace") }
            limits.append(.init(rule: rule, windowStartMs: start, used: used, max: max))
        }
        return limits
    }
}
