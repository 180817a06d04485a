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

    /// - Parameter nowMs: the time, on which rulings of tools with hours depend.
    func ruling(_ identity: Identity.Parts, nowMs: Int64) -> CallRuling {
        let ruling = policies.ruling(
            forGrant: String(decoding: identity.grant, as: UTF8.self), tool: identity.tool,
            server: identity.server.map { String(decoding: $0, as: UTF8.self) })
        return call(ruling, approved: identity.approved, nowMs: nowMs)
    }

    private func call(_ ruling: Ruling, approved: Bool, nowMs: Int64) -> CallRuling {
        switch ruling {
        case .deny(let rule, let message):
            return CallRuling(.deny, rule: rule, message: message)
        case .approve(let rule, let message, _) where !approved:
            return CallRuling(.approve, rule: rule, message: message)
        case .approve(let rule, _, let limits), .count(let rule, let limits):
            return CallRuling(rule: rule, limits: limits)
        case .shadow(.approve(let rule, _, _), _, let limits) where approved:
            return CallRuling(rule: rule, limits: limits)
        case .shadow(_, let denial, let limits):
            return CallRuling(rule: denial.rule, limits: [denial] + limits)
        case .within(let hours, let open, let closed):
            let stretch = hours.stretch(atMs: nowMs)
            var call = call(stretch.isOpen ? open : closed, approved: approved, nowMs: nowMs)
            call.validMs = stretch.ms
            call.opensLater = !stretch.isOpen && call.verdict == .deny
            return call
        }
    }

    /// The cached decision of an identity that nothing is counted for.
    func cached(_ identity: ByteString, nowMs: @autoclosure () -> Int64) -> Decision? {
        guard let call = ruled.find(identity) else { return nil }
        if call.ruling.isTimed {
            let nowMs = nowMs()
            return call.ruling.validMs.contains(nowMs) ? call.ruling.decision(atMs: nowMs) : nil
        }
        return call.decision
    }

    mutating func cache(_ ruling: CallRuling, _ decision: Decision, for identity: ByteString) {
        ruled.insert(identity, RuledCache.Ruled(ruling: ruling, decision: decision))
    }
}
