import SluicePolicy

/// One limit as it was found, for one check.
struct LimitFinding {
    var limit: Plan.LimitRef
    var windowStartMs: Int64
    var windowEndMs: Int64
    /// The tally, with this check's charge in it if it was admitted.
    var used: Int64
    /// What may still be admitted after that.
    var left: Int64
}

extension Limiter {
    /// Decides by local counters, and charges them.
    mutating func decideLocally(plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, now: Moment) -> Decision {
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        var allFit = true
        for index in table[plan: plan].limits.indices {
            let limit = table[plan: plan].limits[index]
            let startMs = table[counter: limit.counter].window.startMs(at: nowMs)
            table[counter: limit.counter].roll(to: startMs)
            let left = table[counter: limit.counter].leftLocally(max: limit.max, replicas: configuration.replicas)
            if cost > left { allFit = false }
        }
        if allFit && !isPeek {
            for limit in table[plan: plan].limits { table[counter: limit.counter].localUsed += cost }
        }
        let decision = conclude(
            plan: plan, allowed: allFit, source: .local, wantsTrace: wantsTrace, nowMs: nowMs, cutMs: nowMs
        ) { limit, counter in
            let left = counter.localShare - counter.localUsed
            return (
                used: counter.sharedUsed + counter.unsettled + counter.localUsed, left: left,
                fits: allFit || cost <= left
            )
        }
        return decision
    }

    /// A check that costs more than some limit's maximum: no window can ever admit it.
    mutating func neverDecision(plan: Int, cost: Int64, wantsTrace: Bool, now: Moment) -> Decision {
        let nowMs = clock.nowMs(now)
        for limit in table[plan: plan].limits {
            table[counter: limit.counter].roll(to: table[counter: limit.counter].window.startMs(at: nowMs))
        }
        var decision = conclude(
            plan: plan, allowed: false, source: .policy, wantsTrace: wantsTrace, nowMs: nowMs, cutMs: nowMs
        ) { limit, counter in
            let used = counter.sharedUsed + counter.unsettled + counter.localUsed
            return (used: used, left: limit.max - used, fits: cost <= limit.max)
        }
        decision.retryAfterMs = -1
        decision.messageTellsWait = false
        statistics.count(decision)
        return decision
    }

    /// Puts a decision together. Of the limits, the binding one is told: when denied the one that makes the caller wait
    /// longest, when allowed the one with the smallest share left.
    ///
    /// - Parameters:
    ///   - cutMs: the time by which the windows were cut that `finding` tells of; `nowMs` is when the answer leaves.
    ///   - finding: the tally of one limit with this check's charge in it, what is left after it, and whether the check
    ///     fits.
    func conclude(
        plan: Int, allowed: Bool, source: Decision.Source, wantsTrace: Bool, nowMs: Int64, cutMs: Int64,
        finding: (Plan.LimitRef, borrowing Counter) -> (used: Int64, left: Int64, fits: Bool)
    ) -> Decision {
        var binding: LimitFinding?
        var bindingFits = false
        var trace: [Decision.Look]? = wantsTrace ? [] : nil
        for limit in table[plan: plan].limits {
            let (used, left, fits) = finding(limit, table[counter: limit.counter])
            let window = table[counter: limit.counter].window
            let startMs = window.startMs(at: cutMs)
            let found = LimitFinding(
                limit: limit, windowStartMs: startMs, windowEndMs: startMs + window.lengthMs, used: used, left: left)
            trace?.append(
                Decision.Look(rule: limit.rule, windowStartMs: found.windowStartMs, used: used, max: limit.max))
            if let other = binding {
                // Of a denied check's limits one at least does not fit; if none does that (the store's tallies are no
                // more to be trusted than whoever else writes to it), any may be told.
                if !allowed && fits != bindingFits {
                    if fits { continue }
                } else if !found.binds(more: other, allowed: allowed) {
                    continue
                }
            }
            binding = found
            bindingFits = fits
        }
        guard let binding else { preconditionFailure("a counted plan has limits") }
        var decision = Decision(verdict: allowed ? .allow : .limit, source: source, rule: binding.limit.rule)
        decision.limit = binding.limit.max
        decision.remaining = min(max(0, binding.left), binding.limit.max)
        decision.resetMs = max(1, binding.windowEndMs - nowMs)
        decision.trace = trace
        if !allowed {
            decision.retryAfterMs = decision.resetMs
            decision.message = binding.limit.message
            decision.messageTellsWait = binding.limit.messageTellsWait
        }
        return decision
    }
}

extension LimitFinding {
    /// Whether this one is told rather than `other`.
    fileprivate func binds(more other: LimitFinding, allowed: Bool) -> Bool {
        guard allowed else { return windowEndMs > other.windowEndMs }
        // left / max < other.left / other.max, without leaving the integers.
        let mine = max(0, left).multipliedFullWidth(by: other.limit.max)
        let others = max(0, other.left).multipliedFullWidth(by: limit.max)
        return (mine.high, mine.low) < (others.high, others.low)
    }
}
