import Logging
import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// Another maximum of one limit for one grant and a time, for an operator.
extension LimiterHost {
    typealias OverrideCompletion = (Result<OverridePage, RequestError>) -> Void

    /// Lists overrides, or sets or ends one for all replicas; nothing is changed unless counting is shared.
    ///
    /// - Parameter door: what the command came in by.
    func override(
        _ request: OverrideRequest, by peer: PeerCredentials, door: String, completion: @escaping OverrideCompletion
    ) {
        guard case .change(let grant, let rule, let max, let seconds, let isDryRun) = request else {
            guard case .list(let grant) = request else { return }
            return completion(.success(page(limiter.overrides(ofGrant: grant, now: SystemClock.now()))))
        }
        let limit: Limit
        do throws(RequestError) {
            limit = try limiter.policies.limit(named: rule, ofGrant: grant)
            if let max { try limit.checkOverride(max) }
        } catch {
            return completion(.failure(error))
        }
        let change = OverrideChange(
            grant: grant, rule: limit.rule, max: max ?? 0, forMs: max == nil ? 0 : seconds * 1_000)
        guard links.isEmpty || limiter.partitions(ofGrant: grant).allSatisfy({ limiter[$0].isShared }) else {
            return completion(.failure(.cannotOverride(storeTrouble)))
        }
        let before = limiter.override(of: limit, forGrant: grant, now: SystemClock.now())
        if isDryRun { return completion(.success(planned(change, before: before))) }
        start(change) { [self] outcome in
            switch outcome {
            case .overridden(.done):
                log(change, policyMax: limit.max, by: peer, door: door)
                decisionLog?.overridden(change, by: peer, door: door, now: SystemClock.now())
                let own = limiter.overrides(ofGrant: grant, now: SystemClock.now()).filter { $0.rule == change.rule }
                var page = page(own)
                page.isChanged = true
                completion(.success(page))
            case .overridden(.notFound): completion(.success(page([])))
            case .overridden(.full): completion(.failure(.tooManyOverrides))
            case .overridden(.fault(let reason)): completion(.failure(.overrideFault(reason)))
            case .overloaded(let cause): completion(.failure(.busy(cause)))
            case .storeUnavailable:
                log(change, policyMax: limit.max, isUnclear: true, by: peer, door: door)
                completion(.failure(.overrideIsUnclear))
            case .decision, .otherArguments, .settled, .notSettled, .cleared:
                preconditionFailure("an override is no check and no settlement")
            }
        }
    }

    /// A waiting answer comes in a later turn.
    private func start(_ change: OverrideChange, completion: @escaping (Limiter.Completion.Answer) -> Void) {
        openTurn()
        let number = clears.insert(completion)
        let ticket = Ticket(slot: Self.operatorSlot, number: number)
        switch limiter.override(change, ticket: ticket, now: SystemClock.now()) {
        case .waiting: return schedulePump()
        case .answered(let outcome):
            clears.remove(number)
            completion(.overridden(outcome))
        case .overloaded:
            clears.remove(number)
            completion(.overloaded(.waiting))
        case .storeUnavailable:
            clears.remove(number)
            completion(.storeUnavailable)
        }
    }

    private func page(_ overrides: [Override]) -> OverridePage {
        let policies = limiter.policies
        let nowMs = limiter.nowMs(SystemClock.now())
        var limits: [String: [Limit]] = [:]
        return OverridePage(
            isShared: !links.isEmpty, isChanged: false,
            rows: overrides.map { override in
                if limits[override.grant] == nil {
                    limits[override.grant] = policies.policy(forGrant: override.grant)?.allLimits ?? []
                }
                let limit = limits[override.grant]?.first { $0.rule == override.rule }
                return OverridePage.Row(
                    override: override, policyMax: limit?.max ?? -1, remainingMs: max(0, override.untilMs - nowMs))
            })
    }

    /// What a change would make: one row, of what would end none.
    private func planned(_ change: OverrideChange, before: Override?) -> OverridePage {
        guard change.forMs > 0 else { return page(before.map { [$0] } ?? []) }
        let nowMs = limiter.nowMs(SystemClock.now())
        return page([
            Override(grant: change.grant, rule: change.rule, max: change.max, untilMs: nowMs + change.forMs)
        ])
    }

    /// Who changed what: a line that names a grant, because it is for audits.
    private func log(
        _ change: OverrideChange, policyMax: Int64, isUnclear: Bool = false, by peer: PeerCredentials, door: String
    ) {
        let message: Logger.Message =
            isUnclear
            ? "an operator's override was not answered: it may hold or not"
            : change.forMs == 0 ? "an operator ended an override" : "an operator overrode a maximum"
        var metadata: Logger.Metadata = ["grant": "\(change.grant)", "rule": "\(change.rule)"]
        if change.forMs > 0 {
            metadata["max"] = "\(change.max)"
            metadata["seconds"] = "\(change.forMs / 1_000)"
        }
        metadata["policy_max"] = "\(policyMax)"
        metadata["uid"] = "\(peer.userID)"
        metadata["pid"] = "\(peer.processID)"
        metadata["door"] = "\(door)"
        logger.notice(message, metadata: metadata)
    }
}

extension PolicySet {
    /// The limit of a grant that an operator named: by its path, or by its counter if only one has that.
    fileprivate func limit(named name: String, ofGrant grant: String) throws(RequestError) -> Limit {
        guard let policy = policy(forGrant: grant) else {
            throw RequestError(.badArgument, "no policy is for \(grant.quoted), so there is no maximum to override")
        }
        var rules: Set<String> = []
        let limits = policy.allLimits.filter { rules.insert($0.rule).inserted }
        if let limit = limits.first(where: { $0.rule == name }) { return limit }
        let named = limits.filter { $0.counter == name }
        if named.count == 1 { return named[0] }
        let paths = (named.isEmpty ? limits : named).map(\.rule).sorted()
        let shown = paths.prefix(ServerBounds.maxLimitsNamed).joined(separator: ", ")
        let others = paths.count - ServerBounds.maxLimitsNamed
        let more = others > 0 ? " and \(others) more" : ""
        guard !paths.isEmpty else {
            throw RequestError(
                .badArgument, "the policy of \(grant.quoted) has no limits, so there is none to override")
        }
        throw RequestError(
            .badArgument,
            named.isEmpty
                ? "\(name.quoted) is no limit of \(grant.quoted), send the path or the counter of one: \(shown)\(more)"
                : "\(name.quoted) is the counter of \(named.count) limits, send the path of one: \(shown)\(more)")
    }
}

extension Limit {
    fileprivate func checkOverride(_ max: Int64) throws(RequestError) {
        guard mayBeOverridden else {
            throw RequestError(
                .badArgument,
                "grants share the counter of \(rule.quoted), so it has one maximum for all of them: change the policy")
        }
        guard maxRange.contains(max) else {
            throw RequestError(
                .badArgument,
                "the maximum of \(rule.quoted) is \(max), send a whole number from \(maxRange.lowerBound) to "
                    + "\(maxRange.upperBound)")
        }
    }
}
