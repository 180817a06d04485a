import SluicePolicy

/// What this replica knows of one limit of a plan.
struct LimitView {
    /// Among the plan's limits.
    var index: Int
    var max: Int64
    var knownUsed: Int64
    /// Of this replica's share; only if that has been reckoned.
    var leftLocally: Int64
}

/// One limit as it was found, for one check.
private struct LimitFinding {
    /// Among the plan's limits.
    var index: Int
    var max: Int64
    var windowEndMs: Int64
    /// What may still be admitted after this check.
    var left: Int64
    /// Whether this limit has room for the check.
    var fits: Bool

    /// Whether this one is told rather than `other`.
    func binds(more other: LimitFinding, allowed: Bool) -> Bool {
        guard allowed else {
            // Of a denied check's limits one at least does not fit; if none does that (the store's tallies are no more
            // to be trusted than whoever else writes to it), any may be told.
            return fits == other.fits ? windowEndMs > other.windowEndMs : other.fits
        }
        // left / max < other.left / other.max, without leaving the integers.
        let mine = Swift.max(0, left).multipliedFullWidth(by: other.max)
        let others = Swift.max(0, other.left).multipliedFullWidth(by: max)
        return (mine.high, mine.low) < (others.high, others.low)
    }
}

/// Limits are walked by index, and their numbers read one by one: a copy of one would retain its words for nothing.
extension Limiter {
    /// Decides by local counters, and charges them.
    mutating func decideLocally(plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, now: Moment) -> Decision {
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        var allFit = true
        for index in table[plan: plan].limits.indices {
            let counter = table[plan: plan].limits[index].counter
            table[counter: counter].roll(at: nowMs)
            let max = table[plan: plan].limits[index].max
            if cost > table[counter: counter].leftLocally(max: max, replicas: configuration.replicas) { allFit = false }
        }
        if allFit && !isPeek {
            for index in table[plan: plan].limits.indices {
                table[counter: table[plan: plan].limits[index].counter].localUsed += cost
            }
        }
        return conclude(
            plan: plan, allowed: allFit, source: .local, wantsTrace: wantsTrace, nowMs: nowMs, cutMs: nowMs
        ) { limit in
            (used: limit.knownUsed, left: limit.leftLocally, fits: allFit || cost <= limit.leftLocally)
        }
    }

    /// A check that costs more than some limit's maximum: no window can ever admit it.
    mutating func neverDecision(plan: Int, cost: Int64, wantsTrace: Bool, now: Moment) -> Decision {
        let nowMs = clock.nowMs(now)
        for index in table[plan: plan].limits.indices {
            table[counter: table[plan: plan].limits[index].counter].roll(at: nowMs)
        }
        var decision = conclude(
            plan: plan, allowed: false, source: .policy, wantsTrace: wantsTrace, nowMs: nowMs, cutMs: nowMs
        ) { limit in
            (used: limit.knownUsed, left: limit.max - limit.knownUsed, fits: cost <= limit.max)
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
    ///   - finding: for a limit the tally with this check's charge in it, what is left after it, and whether the check
    ///     fits. It must not look at the limiter, which would be copied for it.
    func conclude(
        plan: Int, allowed: Bool, source: Decision.Source, wantsTrace: Bool, nowMs: Int64, cutMs: Int64,
        finding: (LimitView) -> (used: Int64, left: Int64, fits: Bool)
    ) -> Decision {
        var binding: LimitFinding?
        var trace: [Decision.Look]? = wantsTrace ? [] : nil
        for index in table[plan: plan].limits.indices {
            let counter = table[plan: plan].limits[index].counter
            let max = table[plan: plan].limits[index].max
            let (used, left, fits) = finding(
                LimitView(
                    index: index, max: max, knownUsed: table[counter: counter].knownUsed,
                    leftLocally: table[counter: counter].localShare - table[counter: counter].localUsed))
            let startMs = table[counter: counter].startMs(at: cutMs)
            if wantsTrace {
                let rule = table[plan: plan].limits[index].rule
                trace?.append(Decision.Look(rule: rule, windowStartMs: startMs, used: used, max: max))
            }
            let found = LimitFinding(
                index: index, max: max, windowEndMs: startMs + table[counter: counter].window.lengthMs, left: left,
                fits: fits)
            if let other = binding, !found.binds(more: other, allowed: allowed) { continue }
            binding = found
        }
        guard let binding else { preconditionFailure("a counted plan has limits") }
        let resetMs = max(1, binding.windowEndMs - nowMs)
        return Decision(
            verdict: allowed ? .allow : .limit, source: source, limit: binding.max,
            remaining: min(max(0, binding.left), binding.max), retryAfterMs: allowed ? 0 : resetMs, resetMs: resetMs,
            rule: table[plan: plan].limits[binding.index].rule,
            message: allowed ? "" : table[plan: plan].limits[binding.index].message,
            messageTellsWait: !allowed && table[plan: plan].limits[binding.index].messageTellsWait, trace: trace)
    }
}
