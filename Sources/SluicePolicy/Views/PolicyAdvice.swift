/// What `policy check` says of valid parts of a document: it passes.
package struct PolicyAdvice: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// It could be better.
        case advice
        /// It is surely not what was meant.
        case warning
    }

    /// What asks by these policies, where that changes what they mean.
    package enum Gateway: String, Sendable, CaseIterable {
        /// Envoy's filters, which say nothing when a call has ended.
        case extAuthz = "ext_authz"
        case rls
    }

    package let kind: Kind
    /// The path in the document.
    package let rule: String
    /// One sentence.
    package let text: String

    /// As a line of text: `advice: /tools/x/limits/c: ...`.
    package var line: String { "\(kind.rawValue): \(rule.onOneLine): \(text)" }

    /// On a policy's limits and tools: what is over all tools first, then by tool, then the rules of servers.
    ///
    /// - Parameter gateway: what asks, if advice about that is wanted, too.
    package static func all(of policy: Policy, for gateway: Gateway? = nil) -> [PolicyAdvice] {
        ([policy] + policy.servers.sorted { $0.key < $1.key }.map(\.value)).flatMap { part in
            own(of: part) + (gateway.map { slots(of: part, for: $0) } ?? [])
        }
    }

    /// Limits whose slots nobody can release.
    private static func slots(of policy: Policy, for gateway: Gateway) -> [PolicyAdvice] {
        policy.ownLimits.sorted { $0.rule < $1.rule }.compactMap { limit in
            limit.holdSeconds.map { seconds in
                PolicyAdvice(
                    kind: .advice, rule: limit.rule,
                    text: "\(gateway.rawValue) says nothing when a call has ended, so each slot is held for "
                        + "\(Window.words(ofSeconds: seconds)), however short the call is")
            }
        }
    }

    private static func own(of policy: Policy) -> [PolicyAdvice] {
        let groups = policy.groups.sorted { $0.key < $1.key }.map(\.value.limits)
        let shared = ([policy.allToolsLimits] + groups).flatMap { of($0, beside: policy.allToolsLimits) }
        let tools = policy.tools.sorted { $0.key < $1.key }.flatMap { name, rule in
            of(name, rule, policy) + of(rule.limits, beside: policy.allToolsLimits)
        }
        return shared + tools
    }

    // MARK: Tools

    private static func of(_ name: String, _ rule: ToolRule, _ policy: Policy) -> [PolicyAdvice] {
        let container = Limit.Container.tool(name)
        let path = (policy.server.map { .server($0, container) } ?? container).path
        if policy.mode == .enforce, policy.hides(name) {
            return [PolicyAdvice(kind: .warning, rule: path, text: "it is hidden, so this rule is never used")]
        }
        guard rule.action == .deny, !rule.limits.isEmpty else { return [] }
        return [
            PolicyAdvice(kind: .warning, rule: path, text: "it is denied, so its limits count nothing")
        ]
    }

    // MARK: Limits

    private static func of(_ limits: [Limit], beside others: [Limit]) -> [PolicyAdvice] {
        limits.flatMap { limit in
            [blocking(limit), rough(limit), useless(limit, among: limits + others)].compactMap(\.self)
        }
    }

    private static func blocking(_ limit: Limit) -> PolicyAdvice? {
        guard limit.max == 0, limit.mode == .enforce else { return nil }
        return PolicyAdvice(
            kind: .warning, rule: limit.rule,
            text: "a max of 0 blocks every call; the action \"deny\", or \"hide\", says so plainly")
    }

    private static func rough(_ limit: Limit) -> PolicyAdvice? {
        // A log has no window of uneven length, and a limit that admits nothing has no rate.
        guard limit.algorithm == .slidingWindow, 1..<PolicyBounds.leastSlidingMax ~= limit.max,
            limit.window.fixedLengthMs != nil
        else { return nil }
        return PolicyAdvice(
            kind: .advice, rule: limit.rule,
            text:
                "a sliding window of max \(limit.max) is a rough estimate, and gives steady callers less than their rate;"
                + " use the algorithm \(Algorithm.slidingLog.name.quoted), which is exact")
    }

    /// A limit that another one, which counts at least the same calls, never lets fill up.
    private static func useless(_ limit: Limit, among others: [Limit]) -> PolicyAdvice? {
        guard limit.max > 0, limit.mode == .enforce else { return nil }
        let smaller = others.first { other in
            guard other.rule != limit.rule, other.mode == .enforce, other.onOutage == limit.onOutage,
                other.scope == limit.scope, other.acrossGrants == limit.acrossGrants, other.counts == limit.counts,
                other.algorithm == .fixedWindow, limit.algorithm == .fixedWindow,
                let otherMs = other.window.fixedLengthMs, let limitMs = limit.window.fixedLengthMs
            else { return false }
            // Each of its windows lies in one of the other's, or consists of some of them.
            if otherMs > limitMs { return otherMs % limitMs == 0 && other.max <= limit.max }
            guard limitMs % otherMs == 0 else { return false }
            let (most, overflow) = other.max.multipliedReportingOverflow(by: limitMs / otherMs)
            // Of two that are alike the first counts.
            let isSame = most == limit.max && limitMs == otherMs
            return !overflow
                && (most < limit.max || (most == limit.max && !isSame) || (isSame && other.rule < limit.rule))
        }
        return smaller.map {
            PolicyAdvice(
                kind: .warning, rule: limit.rule,
                text: "\($0.rule.onOneLine) never lets it fill up, so it has no effect")
        }
    }
}
