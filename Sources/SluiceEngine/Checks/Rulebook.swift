import SluicePolicy

/// The policies, and the decisions that they make alone.
struct Rulebook {
    let policies: PolicySet
    /// Which fields the identity of a check must have, beside grant and tool.
    let counted: IdentityFields
    private var ruled = RuledCache()

    init(_ policies: PolicySet) {
        self.policies = policies
        counted = IdentityFields(policies)
    }

    /// Bytes that the cache holds.
    var bytes: Int { ruled.bytes }

    func ruling(_ identity: Identity.Parts) -> CallRuling {
        switch policies.ruling(forGrant: String(decoding: identity.grant, as: UTF8.self), tool: identity.tool) {
        case .deny(let rule, let message):
            CallRuling(.deny, rule: rule, message: message)
        case .approve(let rule, let message, _) where !identity.approved:
            CallRuling(.approve, rule: rule, message: message)
        case .approve(let rule, _, let limits), .count(let rule, let limits):
            CallRuling(rule: rule, limits: limits)
        }
    }

    /// The cached decision of an identity that nothing is counted for.
    func cached(_ identity: ByteString) -> Decision? { ruled.find(identity) }

    mutating func cache(_ decision: Decision, for identity: ByteString) { ruled.insert(identity, decision) }
}
