import SluicePolicy

/// The evaluation of one limit for one check.
struct LimitEvaluation {
    /// Index among the plan's limits.
    var index: Int
    var capacity: Int64
    /// What may still be admitted after this check.
    var left: Int64
    /// Whether this limit has room for the check.
    var fits: Bool
    /// How long until it has room, ms; -1: never. 0 if it has.
    var waitMs: Int64
    var resetMs: Int64

    /// Whether this limit is reported rather than `other`.
    func binds(more other: LimitEvaluation, allowed: Bool) -> Bool {
        guard allowed else {
            // At least one limit of a denied check does not fit. If all do, because another client changed the store's
            // counters, any of them may be reported.
            if fits != other.fits { return other.fits }
            let (never, otherNever) = (waitMs < 0, other.waitMs < 0)
            // A limit that admits nothing at all is reported first: that is known without the store.
            return (never ? .max : waitMs, never && capacity == 0 ? 1 : 0, resetMs)
                > (otherNever ? .max : other.waitMs, otherNever && other.capacity == 0 ? 1 : 0, other.resetMs)
        }
        // left / capacity < other.left / other.capacity, without overflow.
        let mine = max(0, left).multipliedFullWidth(by: other.capacity)
        let others = max(0, other.left).multipliedFullWidth(by: capacity)
        return (mine.high, mine.low) < (others.high, others.low)
    }
}

/// Collects the evaluations of a check's limits, and keeps the binding one: of a denied check the one with the longest
/// wait, of an admitted one the one with the smallest part left. Shadow limits never bind.
struct Evaluation {
    let allowed: Bool
    private(set) var binding: LimitEvaluation?
    /// Only if the check asked for it.
    private(set) var trace: [Decision.LimitTrace]?

    init(allowed: Bool, wantsTrace: Bool) {
        self.allowed = allowed
        trace = wantsTrace ? [] : nil
    }

    var wantsTrace: Bool { trace != nil }

    mutating func add(_ limitEvaluation: LimitEvaluation, of limit: borrowing Rules.LimitRule) {
        guard !limit.isShadow else { return }
        if let other = binding, !limitEvaluation.binds(more: other, allowed: allowed) { return }
        binding = limitEvaluation
    }

    mutating func add(_ limit: Decision.LimitTrace) { trace?.append(limit) }
}

/// The extra fields of a check that reserves, or that has an id, and of a charge or refund.
struct TrackedCheck {
    var action = CheckAction.check
    var reservation: ReservationID?
    /// Whether the gateway asked for the reservation; a shadow limit that counts calls in progress makes one as well.
    var wantsReservation: Bool
    /// The key of the reservation's record in the store.
    var reservationKey: ByteString
    var idempotencyKey: ByteString?
    var argumentsHash: UInt64
}

/// Limits are accessed by index and field by field: copying one would retain its texts.
///
/// Methods that each check calls are mutating even if they change nothing. The limiter is then passed by address; for
/// a nonmutating method the compiler copies all of it, a kilobyte.
extension Limiter {
    /// As `decideLocally`, for a check that is answered at once.
    mutating func answerLocally(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, tracked: TrackedCheck?, now: ClockReading
    ) -> CheckOutcome {
        do throws(Full) {
            let decision = try decideLocally(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, tracked: tracked, now: now)
            statistics.count(decision)
            return .answered(decision)
        } catch {
            return answerBusy(error.cause, now: now)
        }
    }

    /// The same for a check that has waited.
    ///
    /// - Returns: whether it was admitted.
    mutating func finishLocally(
        _ waiter: PendingBatch.Waiter, _ entry: borrowing PendingBatch.Entry, mayBeStored: Bool = false,
        now: ClockReading
    ) -> Bool {
        do throws(Full) {
            let decision = try decideLocally(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                tracked: entry.trackedCheck, mayBeStored: mayBeStored, now: now)
            let isAdmitted = (decision.allowed || entry.action != .check) && !entry.isPeek
            finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            return isAdmitted
        } catch {
            noteBusy(error.cause, now: now)
            finish(waiter.ticket, .overloaded(error.cause), deadlineNs: waiter.deadlineNs, now: now)
            return false
        }
    }

    /// Decides by local counters, and charges them.
    ///
    /// - Parameter mayBeStored: a batch with this check may also run in the store.
    /// - Throws: if the check must reserve, and no more reservations can be kept: nothing was charged.
    private mutating func decideLocally(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, tracked: TrackedCheck? = nil,
        mayBeStored: Bool = false,
        now: ClockReading
    ) throws(Full) -> Decision {
        if let tracked, tracked.action != .check {
            return accountLocally(plan: plan, cost: cost, tracked: tracked, now: now)
        }
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        var allFit = true
        currentQuotas.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table[counter].roll(at: nowMs)
            if table[counter].isLeased { giveBackBlock(of: counter, now: now) }
            table[counter].beginShare(reconciler.outage)
            currentQuotas.append(table.quota(ofPlan: plan, index))
            if table[rulesOf: plan].limits[index].isShadow { continue }
            switch configuration.usesStore ? table[rulesOf: plan].limits[index].onOutage : .local {
            case .local:
                if !fitsLocally(counter, currentQuotas[index], cost: cost, nowMs: nowMs) { allFit = false }
            case .deny where cost <= table[rulesOf: plan].smallestMax:
                return unavailable(plan: plan, index, tracked: tracked, wantsTrace: wantsTrace, now: now)
            case .allow, .deny:
                // A check that can never pass does not pass in an outage either.
                if !table[rulesOf: plan].limits[index].quota.canEverPass(cost: cost) { allFit = false }
            }
        }
        if allFit, !isPeek, let tracked, tracked.reservation != nil {
            let cause = reservations.makeRoom(
                for: owner(ofPlan: plan), isBesideFull: isBesideFull, &table, &reconciler, nowMs: nowMs)
            if let cause { throw Full(cause: cause) }
        }
        if allFit && !isPeek {
            let charged = chargeLocally(plan: plan, cost: cost, reservation: tracked?.reservation, nowMs: nowMs)
            if let tracked, tracked.reservation != nil {
                reservations.keep(
                    tracked, plan: plan, cost: cost, charged: charged, mayBeStored: mayBeStored,
                    owner: owner(ofPlan: plan), replicas: membership.view, in: &table, nowMs: nowMs)
            }
        }
        return concludeLocally(
            plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, tracked: tracked, allFit: allFit,
            nowMs: nowMs, now: now)
    }

    /// The answer by local counters; `currentQuotas` has the quotas of the plan's limits.
    mutating func concludeLocally(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, tracked: TrackedCheck?, allFit: Bool, nowMs: Int64,
        now: ClockReading
    ) -> Decision {
        var evaluation = Evaluation(allowed: allFit, wantsTrace: wantsTrace || tracked?.idempotencyKey != nil)
        for index in table[rulesOf: plan].limits.indices {
            findLocally(plan: plan, index, cost: cost, nowMs: nowMs, into: &evaluation)
        }
        let concluded = conclude(plan: plan, &evaluation, source: .local)
        // Most end here: a decision that is changed is copied.
        guard tracked != nil || reconciler.isWithinShare else { return concluded }
        var decision = concluded
        if let recovery = reconciler.recovery, link.isClosed, !decision.allowed, decision.retryAfterMs > 0 {
            // When the recovery ends, all is counted in the store again, and there may be room sooner than in the
            // share.
            let endMs = max(1, (recovery.endNs - now.monotonicNs + 999_999) / 1_000_000)
            decision.retryAfterMs = min(decision.retryAfterMs, endMs)
        }
        if let tracked {
            complete(
                &decision, tracked, plan: plan, isPeek: isPeek, wantsTrace: wantsTrace, reported: nil, atMs: nowMs,
                now: now
            )
        }
        return decision
    }

    mutating func fitsLocally(_ counter: CounterID, _ quota: Quota, cost: Int64, nowMs: Int64) -> Bool {
        table[counter].localRemaining(quota, replicas: membership.view, nowMs: nowMs)
            >= quota.units(ofCost: cost)
    }

    /// - Returns: the counters that were charged: all but those of shadow limits without room.
    private mutating func chargeLocally(
        plan: PlanID, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> [LocalReservations.Item] {
        var charged: [LocalReservations.Item] = []
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let quota = currentQuotas[index]
            if table[rulesOf: plan].limits[index].isShadow, !fitsLocally(counter, quota, cost: cost, nowMs: nowMs) {
                table[counter].denyLocally()
                statistics.figures.rules.countShadowDenials(1, of: table[rulesOf: plan].limits[index].words)
                continue
            }
            let receipt = table[counter].admitLocally(
                quota, cost: cost, reservation: reservation, nowMs: nowMs)
            if quota.algorithm == .slidingLog { table.countBytes(ofLog: counter) }
            if configuration.usesStore && quota.algorithm != .concurrency { addToJournal(counter) }
            if reservation != nil {
                charged.append(
                    LocalReservations.Item(
                        baseKey: ByteString(bytes: table[counter].baseKey), quota: quota, chargedMs: nowMs,
                        receipt: receipt))
            }
        }
        return charged
    }

    private mutating func findLocally(
        plan: PlanID, _ index: Int, cost: Int64, nowMs: Int64, into evaluation: inout Evaluation
    ) {
        let counter = table.counter(ofPlan: plan, index)
        let quota = currentQuotas[index]
        let left = table[counter].localRemaining(quota, replicas: membership.view, nowMs: nowMs)
        let passesAll =
            table[rulesOf: plan].limits[index].onOutage == .allow && configuration.usesStore
            && quota.canEverPass(cost: cost)
        let isShadow = table[rulesOf: plan].limits[index].isShadow
        let fits = (!isShadow && (evaluation.allowed || passesAll)) || left >= quota.units(ofCost: cost)
        let waitMs =
            fits
            ? 0
            : table[counter].retryAfterLocally(
                quota, cost: cost, replicas: membership.view, nowMs: nowMs)
        let known = table.combinedUsage(ofCounter: counter, quota, nowMs: nowMs)
        let limitEvaluation = LimitEvaluation(
            index: index, capacity: quota.capacity, left: left, fits: fits, waitMs: waitMs,
            resetMs: quota.resetMs(known, nowMs: nowMs))
        if evaluation.wantsTrace { evaluation.add(trace(plan: plan, quota, known, limitEvaluation, nowMs: nowMs)) }
        evaluation.add(limitEvaluation, of: table[rulesOf: plan].limits[index])
    }

    /// The evaluation of a limit that admits nothing in an outage.
    private mutating func unavailable(
        plan: PlanID, _ index: Int, tracked: TrackedCheck?, wantsTrace: Bool, now: ClockReading
    ) -> Decision {
        var decision = Decision(
            verdict: .unavailable, source: .local, words: table[rulesOf: plan].limits[index].wordsWhenUnavailable)
        decision.limit = table[rulesOf: plan].limits[index].quota.capacity
        decision.remaining = 0
        decision.retryAfterMs = max(1, (link.breaker.nextTryNs(now: now) - now.monotonicNs + 999_999) / 1_000_000)
        if wantsTrace { decision.trace = [] }
        if let tracked { decision.reservation = tracked.wantsReservation ? "" : nil }
        return decision
    }

    /// Denies a check by a limit that admits nothing: its usage does not matter, so the store need not be asked.
    mutating func denyBlocked(plan: PlanID, now: ClockReading) -> Decision {
        let nowMs = clock.nowMs(now)
        var evaluation = Evaluation(allowed: false, wantsTrace: false)
        for index in table[rulesOf: plan].limits.indices where table[rulesOf: plan].limits[index].quota.capacity == 0 {
            table[table.counter(ofPlan: plan, index)].roll(at: nowMs)
            let resetMs = table.quota(ofPlan: plan, index).resetMs(Usage(used: 0), nowMs: nowMs)
            evaluation.add(
                LimitEvaluation(index: index, capacity: 0, left: 0, fits: false, waitMs: -1, resetMs: resetMs),
                of: table[rulesOf: plan].limits[index])
        }
        let decision = conclude(plan: plan, &evaluation, source: .policy)
        statistics.count(decision)
        return decision
    }

    /// Builds the decision. The evaluation is passed by address, too.
    mutating func conclude(plan: PlanID, _ evaluation: inout Evaluation, source: Decision.Source) -> Decision {
        let allowed = evaluation.allowed
        guard let binding = evaluation.binding else {
            // Only shadow limits apply.
            return Decision(
                verdict: .allow, source: source, limit: -1, remaining: -1, retryAfterMs: 0, resetMs: -1,
                words: table[rulesOf: plan].words, trace: evaluation.trace)
        }
        return Decision(
            verdict: allowed ? .allow : .limit, source: source, limit: binding.capacity,
            remaining: min(max(0, binding.left), binding.capacity),
            retryAfterMs: allowed ? 0 : (binding.fits ? max(1, binding.resetMs) : binding.waitMs),
            resetMs: binding.resetMs, words: table[rulesOf: plan].limits[binding.index].words, trace: evaluation.trace)
    }

    mutating func trace(plan: PlanID, _ quota: Quota, _ usage: Usage, _ limitEvaluation: LimitEvaluation, nowMs: Int64)
        -> Decision.LimitTrace
    {
        Decision.LimitTrace(
            rule: table[rulesOf: plan].limits[limitEvaluation.index].words.rule, windowStartMs: quota.windowStartMs,
            used: quota.used(usage, nowMs: nowMs), max: quota.capacity, left: limitEvaluation.left,
            fits: limitEvaluation.fits,
            waitMs: limitEvaluation.waitMs, resetMs: limitEvaluation.resetMs,
            isShadow: table[rulesOf: plan].limits[limitEvaluation.index].isShadow,
            denials: usage.denials,
            localUsed: table[table.counter(ofPlan: plan, limitEvaluation.index)].locallyUsed(
                quota, nowMs: nowMs))
    }

    /// Adds what only tracked checks have. The answer to an admitted check with an id is cached with its trace, which
    /// a repeat may ask for.
    ///
    /// - Parameters:
    ///   - reported: the usage of its limits as the store reported it; nil if it was decided locally.
    ///   - atMs: the time by which it was decided.
    mutating func complete(
        _ decision: inout Decision, _ tracked: TrackedCheck, plan: PlanID, isPeek: Bool, wantsTrace: Bool,
        reported: ArraySlice<Int64>?, atMs: Int64, now: ClockReading
    ) {
        if tracked.wantsReservation {
            decision.reservation = decision.allowed ? tracked.reservation?.description ?? "" : ""
        }
        if decision.allowed || tracked.action != .check, !isPeek, tracked.idempotencyKey != nil {
            let isLocal = reported == nil
            let record = IdempotencyCache.Record(
                idempotency: table.idempotency(tracked, plan: plan), isLocal: isLocal, admittedMs: atMs,
                reservation: tracked.reservation?.description ?? "",
                numbers: reported.map { Array($0) } ?? combinedNumbers(plan: plan, nowMs: atMs))
            let isUnsent = isLocal && configuration.usesStore
            reservations.cache(
                decision, record, for: tracked, owner: owner(ofPlan: plan), isUnsent: isUnsent,
                mayGrow: !isBesideFull, now: now)
            if isUnsent { reconciler.wantBatch() }
        }
        if !wantsTrace { decision.trace = nil }
    }

    /// See `Identity.owner`.
    func owner(ofPlan plan: PlanID) -> ByteString {
        ByteString(bytes: Array(Identity.owner(ofKey: table.identity(ofPlan: plan).bytes)))
    }

    /// The combined usage of a plan's limits, in the numbers of a store's reply; `currentQuotas` has their quotas.
    private mutating func combinedNumbers(plan: PlanID, nowMs: Int64) -> [Int64] {
        var numbers: [Int64] = []
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table.combinedUsage(ofCounter: counter, currentQuotas[index], nowMs: nowMs).append(
                to: &numbers, of: currentQuotas[index].algorithm, isShadow: table[rulesOf: plan].limits[index].isShadow)
        }
        return numbers
    }
}
