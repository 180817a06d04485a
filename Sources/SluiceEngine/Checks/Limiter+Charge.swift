import SluicePolicy

/// Charges and refunds: what a call cost is known only afterwards, so it is counted whatever the maxima say.
///
/// Limits that count calls, slots among them, are left as they are: the call was counted when it was checked.
extension Limiter {
    /// Charges or gives back a cost, or queues that for the store.
    mutating func account(
        plan: PlanID, cost: Int64, extras: CheckOptions, ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        guard table[rulesOf: plan].countsCost else {
            let decision = Decision(
                verdict: .allow, source: .policy, limit: -1, remaining: -1, retryAfterMs: 0, resetMs: -1,
                words: table[rulesOf: plan].words, trace: nil)
            statistics.count(decision)
            return .answered(decision)
        }
        let tracked = reservations.tracked(plan: plan, extras, in: table)
        switch reservations.cachedAnswer(tracked, wantsTrace: false, onlyUnsent: asksStore, now: now) {
        case nil: break
        case .sameCheck(let decision):
            statistics.count(decision)
            return .answered(decision)
        case .otherArguments: return .otherArguments
        }
        guard asksStore else {
            return answerLocally(plan: plan, cost: cost, isPeek: false, wantsTrace: false, tracked: tracked, now: now)
        }
        guard !ledger.isFullOfUnusualWork else { return answerBusy(.waiting, now: now) }
        if extras.action == .refund, table[rulesOf: plan].hasLeasedLimit { giveBackBlocks(of: plan, now: now) }
        let entry = ledger.add(tracked, plan: plan, cost: cost, isPeek: false, in: &table)
        wait(ticket, wantsTrace: false, entry: entry, now: now)
        return .waiting
    }

    // MARK: - Replies of the store

    /// The store has charged or given back an entry's cost.
    ///
    /// - Parameter admitted: 1 if it fitted.
    mutating func answerAccounted(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, admitted: Int64, numbers: ArraySlice<Int64>,
        decidedMs: Int64, now: ClockReading
    ) {
        guard let tracked = entry.trackedCheck else { preconditionFailure("it is a charge or refund") }
        observe(entry, of: batch, numbers: numbers, charged: 1, decidedMs: decidedMs, now: now)
        takeQuotas(plan: entry.plan, atMs: batch.cutMs)
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .waiting else { continue }
            var evaluation = Evaluation(allowed: admitted == 1, wantsTrace: false)
            findAccounted(entry, numbers: numbers, decidedMs: decidedMs, nowMs: clock.nowMs(now), into: &evaluation)
            var decision = conclude(plan: entry.plan, &evaluation, source: .shared)
            complete(
                &decision, tracked, plan: entry.plan, isPeek: false, wantsTrace: false, reported: numbers,
                atMs: decidedMs, now: now)
            finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
        }
    }

    /// Whether a charge that left this usage fitted.
    mutating func hasFitted(
        _ entry: borrowing PendingBatch.Entry, numbers: ArraySlice<Int64>, decidedMs: Int64
    ) -> Bool {
        guard entry.action == .charge else { return true }
        var at = numbers.startIndex
        var fits = true
        for index in table[rulesOf: entry.plan].limits.indices {
            let usage = usage(plan: entry.plan, index, numbers, &at)
            if table[rulesOf: entry.plan].limits[index].isShadow || currentQuotas[index].countsCalls { continue }
            if currentQuotas[index].left(usage, nowMs: decidedMs) < 0 { fits = false }
        }
        return fits
    }

    /// What the store found for the limits of a charge or refund. `takeQuotas` must have been called.
    mutating func findAccounted(
        _ entry: borrowing PendingBatch.Entry, numbers: ArraySlice<Int64>, decidedMs: Int64, nowMs: Int64,
        into evaluation: inout Evaluation
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let usage = usage(plan: entry.plan, index, numbers, &at)
            let quota = currentQuotas[index]
            if quota.countsCalls { continue }
            let left = quota.left(usage, nowMs: decidedMs)
            let isOver = left < 0 && !evaluation.allowed
            // Until anything passes again: the charge itself need not.
            let limitEvaluation = LimitEvaluation(
                index: index, capacity: quota.capacity, left: left, fits: !isOver,
                waitMs: isOver ? quota.retryAfterMs(cost: 1, usage, nowMs: nowMs) : 0,
                resetMs: quota.resetMs(usage, nowMs: nowMs))
            evaluation.add(limitEvaluation, of: table[rulesOf: entry.plan].limits[index])
        }
    }

    // MARK: - Without the store

    /// Charges or gives back a cost in the local counters.
    mutating func accountLocally(
        plan: PlanID, cost: Int64, tracked: TrackedCheck, now: ClockReading
    ) -> Decision {
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        var fits = true
        currentQuotas.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table[counter].roll(at: nowMs)
            if table[counter].isLeased { giveBackBlock(of: counter, now: now) }
            table[counter].beginShare(reconciler.outage)
            let quota = table.quota(ofPlan: plan, index)
            currentQuotas.append(quota)
            if quota.countsCalls { continue }
            let hasRoom = fitsLocally(counter, quota, cost: cost, nowMs: nowMs)
            let isEnforced =
                !table[rulesOf: plan].limits[index].isShadow
                && (!configuration.usesStore || table[rulesOf: plan].limits[index].onOutage != .allow)
            if isEnforced && !hasRoom { fits = false }
            switch tracked.action {
            case .charge:
                let amount = min(cost, spare(of: counter, quota, nowMs: nowMs))
                if amount > 0 { table[counter].admitLocally(quota, cost: amount, reservation: nil, nowMs: nowMs) }
            case .refund:
                table[counter].refundLocally(quota, cost: cost, isShared: configuration.usesStore, nowMs: nowMs)
            case .check: preconditionFailure("a check is decided")
            }
            if quota.algorithm == .slidingLog { table.countBytes(ofLog: counter) }
            if configuration.usesStore { addToJournal(counter) }
        }
        var evaluation = Evaluation(allowed: fits || tracked.action == .refund, wantsTrace: false)
        for index in table[rulesOf: plan].limits.indices where !currentQuotas[index].countsCalls {
            findAccountedLocally(plan: plan, index, nowMs: nowMs, into: &evaluation)
        }
        var decision = conclude(plan: plan, &evaluation, source: .local)
        complete(
            &decision, tracked, plan: plan, isPeek: false, wantsTrace: false, reported: nil, atMs: nowMs, now: now)
        return decision
    }

    /// How much more cost can be counted: a usage stays below 2^53.
    private mutating func spare(of counter: CounterID, _ quota: Quota, nowMs: Int64) -> Int64 {
        let used = table.combinedUsage(ofCounter: counter, quota, nowMs: nowMs).used
        return max(0, Quota.maxExact - 1 - used) / (quota.algorithm == .tokenBucket ? quota.lengthMs : 1)
    }

    private mutating func findAccountedLocally(
        plan: PlanID, _ index: Int, nowMs: Int64, into evaluation: inout Evaluation
    ) {
        let counter = table.counter(ofPlan: plan, index)
        let quota = currentQuotas[index]
        let left = table[counter].localRemaining(quota, replicas: membership.view, nowMs: nowMs)
        let known = table.combinedUsage(ofCounter: counter, quota, nowMs: nowMs)
        let isOver = !evaluation.allowed && min(left, quota.left(known, nowMs: nowMs)) < 0
        let waitMs =
            isOver ? table[counter].retryAfterLocally(quota, cost: 1, replicas: membership.view, nowMs: nowMs) : 0
        let limitEvaluation = LimitEvaluation(
            index: index, capacity: quota.capacity, left: left, fits: !isOver, waitMs: waitMs,
            resetMs: quota.resetMs(known, nowMs: nowMs))
        evaluation.add(limitEvaluation, of: table[rulesOf: plan].limits[index])
    }
}

extension CheckAction {
    /// Whether it changes what a limit counts. A charge or refund is no call.
    func changes(_ quota: Quota) -> Bool { self == .check || !quota.countsCalls }
}
