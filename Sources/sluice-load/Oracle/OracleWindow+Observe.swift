import SluiceProtocol

extension OracleWindow {
    enum Finding {
        case fine
        case unjudged
        case broken(OracleReport.Break.Promise, facts: String)
    }

    /// Adds one limit of one answer's trace. - Parameter isProven: whether some limit in a denial's trace justifies it.
    mutating func observe(
        _ answer: Oracle.Answer, _ look: TraceEntry, isProven: Bool, sidecarLife: Int32, slowLocalNs: Int64,
        isPending: Bool
    ) -> Finding {
        if look.max != maximum {
            maximumChanged = true
            maximum = max(maximum, look.max)
        }
        parts[answer.sidecar].enter(life: sidecarLife)
        if parts[answer.sidecar].firstSentNs == .max { parts[answer.sidecar].beganLocally = answer.source == .local }
        parts[answer.sidecar].firstSentNs = min(parts[answer.sidecar].firstSentNs, answer.sentNs)
        if slowLocalNs >= parts[answer.sidecar].firstSentNs { parts[answer.sidecar].mayHaveLooked = true }
        var isBehind = false
        var lost: Int64?
        switch answer.source {
        case .shared:
            if let settled = mustBeSettled(by: answer.sidecar, sentNs: answer.sentNs), look.used < settled {
                isBehind = true
            }
            parts[answer.sidecar].sight(used: look.used, receivedNs: answer.receivedNs)
            parts[answer.sidecar].isInLocalRun = false
            if parts[answer.sidecar].localAdmitted > 0 {
                parts[answer.sidecar].backReceivedNs = min(parts[answer.sidecar].backReceivedNs, answer.receivedNs)
            }
            let least = charged.leastKnown(sentNs: answer.sentNs) + (answer.isAllowed ? answer.cost : 0)
            charged.see(
                used: look.used, admittedCost: answer.isAllowed ? answer.cost : nil, receivedNs: answer.receivedNs)
            if hasSettlements, !mayHoldMore, look.used < least { lost = least }
        case .local:
            if answer.isAllowed { admitLocally(answer, isPending: isPending) }
            return .fine
        case .lease:
            hasLeases = true
        case .cache, .policy:
            break
        }
        let found = answer.isAllowed ? admit(answer, look) : deny(answer, look, isProven: isProven)
        guard case .fine = found else { return found }
        if let lost {
            return .broken(.everyChargeCounts, facts: "the usage is \(look.used), and at least \(lost) were charged")
        }
        if isBehind { isUnsettled = true }
        return .fine
    }

    private mutating func admitLocally(_ answer: Oracle.Answer, isPending: Bool) {
        parts[answer.sidecar].localReceivedNs = max(parts[answer.sidecar].localReceivedNs, answer.receivedNs)
        if isPending { parts[answer.sidecar].pendingAdmitted += answer.cost }
        if !parts[answer.sidecar].isInLocalRun {
            parts[answer.sidecar].isInLocalRun = true
            parts[answer.sidecar].localRuns += 1
        }
        parts[answer.sidecar].localAdmitted += answer.cost
        parts[answer.sidecar].knownUsed = min(
            parts[answer.sidecar].knownUsed, parts[answer.sidecar].usedKnown(sentNs: answer.sentNs))
    }

    private mutating func admit(_ answer: Oracle.Answer, _ look: TraceEntry) -> Finding {
        admitted += answer.cost
        if answer.source == .shared { parts[answer.sidecar].sharedAdmitted += answer.cost }
        if admitted > maximum {
            return .broken(.neverOver, facts: "\(admitted) were admitted, the maximum is \(maximum)")
        }
        guard answer.source == .shared else { return .fine }
        if look.used > look.max {
            return .broken(
                .neverOver, facts: "a check was admitted as number \(look.used), the maximum is \(look.max)")
        }
        guard look.used >= answer.cost else {
            return .broken(
                .everyChargeCounts,
                facts: "a check that costs \(answer.cost) was admitted and the usage is \(look.used)")
        }
        guard !hasSettlements else { return .fine }
        switch charges.insert(used: look.used, cost: answer.cost) {
        case .new: return .fine
        case .unknown: return .unjudged
        case .overlaps:
            return .broken(
                .everyChargeCounts, facts: "two admitted checks report the same usage, \(look.used) of \(look.max)")
        }
    }

    mutating func settle(_ answer: Oracle.Answer, to committed: Int64) {
        hasSettlements = true
        charged.settle(cost: answer.cost, to: committed)
        let back = answer.cost - committed
        // The part of a commit above the reservation is charged past any maximum, and admits no check.
        guard back > 0 else { return }
        if answer.source == .local {
            parts[answer.sidecar].localAdmitted -= back
        } else {
            admitted -= back
            if answer.source == .shared { parts[answer.sidecar].sharedAdmitted -= back }
        }
    }

    /// A charge or refund, which others see in the usage.
    mutating func account(_ account: WindowCharges.Account, _ cost: Int64, isCertain: Bool) {
        hasSettlements = true
        charged.account(account, cost, isCertain: isCertain)
    }

    /// See `WindowCharges.confirmRefund`.
    mutating func confirmRefund(_ cost: Int64) { charged.confirmRefund(cost) }

    private mutating func deny(_ answer: Oracle.Answer, _ look: TraceEntry, isProven: Bool) -> Finding {
        if look.isExceeded(by: answer.cost) { deniedCost = min(deniedCost, answer.cost) }
        guard !isProven else { return .fine }
        return .broken(
            .neverNeedlesslyUnder,
            facts: "a check that costs \(answer.cost) was denied with \(look.used) of \(look.max) used")
    }
}
