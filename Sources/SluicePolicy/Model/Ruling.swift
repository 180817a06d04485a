/// The policy's ruling on a tool before anything is counted.
package enum Ruling: Sendable, Equatable {
    /// Forbidden; nothing is charged. `rule` and `message` are those of the reply.
    case deny(rule: String, message: String)
    /// A person must approve. With approval it acts as `.count(limits)`.
    case approve(rule: String, message: String, limits: [Limit])
    /// Allowed, under all of these limits (the tool's first, then those of its groups, then those over all tools); if
    /// there are none, `rule` is what allowed it.
    case count(rule: String, limits: [Limit])
    /// It would be the one ruling, but passes under these limits. `denial` is a shadow limit that counts how often: it
    /// does not count a call for which the ruling would be an approval that it has.
    indirect case shadow(of: Ruling, denial: Limit, limits: [Limit])
    /// It depends on the time.
    indirect case within(Hours, open: Ruling, closed: Ruling)
}

extension Ruling {
    /// For a grant without a policy.
    package static let noPolicy = Ruling.deny(
        rule: "(no policy)", message: "This grant has no policy, so no tool is allowed.")

    /// The same with other limits.
    func mapLimits(_ transform: ([Limit]) -> [Limit]) -> Ruling {
        switch self {
        case .deny: self
        case .approve(let rule, let message, let limits):
            .approve(rule: rule, message: message, limits: transform(limits))
        case .count(let rule, let limits): .count(rule: rule, limits: transform(limits))
        case .shadow(let ruling, let denial, let limits):
            .shadow(
                of: ruling.mapLimits(transform), denial: transform([denial]).first ?? denial,
                limits: transform(limits))
        case .within(let hours, let open, let closed):
            .within(hours, open: open.mapLimits(transform), closed: closed.mapLimits(transform))
        }
    }

    /// The limits that count how often a call would be denied.
    var denials: [Limit] {
        switch self {
        case .deny, .approve, .count: []
        case .shadow(_, let denial, _): [denial]
        case .within(_, let open, let closed): open.denials + closed.denials
        }
    }

    /// The limits that count a call that passes, whatever the time.
    package var limits: [Limit] {
        switch self {
        case .deny: []
        case .approve(_, _, let limits), .count(_, let limits): limits
        case .shadow(_, let denial, let limits): [denial] + limits
        case .within(_, let open, _): open.limits
        }
    }
}
