import SluicePolicy

/// What is done with a cost.
package enum CheckAction: Sendable {
    /// It is charged if it fits.
    case check
    /// It is charged whatever the maxima say.
    case charge
    /// It is given back.
    case refund
}

/// The options of a check beside its cost.
package struct CheckOptions: Sendable {
    package var action: CheckAction
    /// It may be settled or cancelled later, under this id, which must not be known to anyone beforehand.
    package var reservation: ReservationID?
    /// All checks under this id are charged once.
    package var id: [UInt8]?
    /// Hash of all arguments of the check: see `stableHash`.
    package var argumentsHash: UInt64

    /// - Parameter action: other than `check` only without a reservation.
    package init(
        reservation: ReservationID?, id: [UInt8]?, argumentsHash: UInt64, action: CheckAction = .check
    ) {
        self.action = action
        self.reservation = reservation
        self.id = id
        self.argumentsHash = argumentsHash
    }
}

/// Reservations, and checks that have an id.
extension Limiter {
    package enum SettleOutcome {
        /// Whether there was such a reservation, not settled before.
        case answered(Bool)
        /// The answer comes as a completion, within the budget.
        case waiting
        /// Too many checks wait already.
        case overloaded
        /// Nothing about it changed.
        case notSettled(Limiter.SettleFault)
        /// The store is unavailable, and this replica does not know the reservation.
        case storeUnavailable
    }

    // MARK: - Checks

    mutating func checkTracked(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?, ticket: Ticket,
        now: ClockReading
    ) -> CheckOutcome {
        if let extras, extras.action != .check {
            return account(plan: plan, cost: cost, extras: extras, ticket: ticket, now: now)
        }
        if extras?.reservation == nil && table[rulesOf: plan].mustReserve { return .mustReserve }
        let tracked = reservations.tracked(plan: plan, extras, in: table)
        // The store knows more: what other replicas admitted, and what was cancelled since. Only answers not sent to
        // it yet come from here.
        switch reservations.cachedAnswer(tracked, wantsTrace: wantsTrace, onlyUnsent: asksStore, now: now) {
        case nil: break
        case .sameCheck(let decision):
            statistics.count(decision)
            return .answered(decision)
        case .otherArguments: return .otherArguments
        }
        // A check with an id may have been admitted under another policy: the store is asked.
        if tracked.idempotencyKey == nil && table[rulesOf: plan].isBlocked && !wantsTrace {
            var decision = denyBlocked(plan: plan, now: now)
            complete(
                &decision, tracked, plan: plan, isPeek: isPeek, wantsTrace: wantsTrace, reported: nil, atMs: 0, now: now
            )
            return .answered(decision)
        }
        guard asksStore else {
            return answerLocally(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, tracked: tracked, now: now)
        }
        // A check with an id may have been admitted before: the store knows.
        if tracked.idempotencyKey == nil, table[plan].wasDenied,
            var decision = denyFromCache(plan: plan, cost: cost, wantsTrace: wantsTrace, now: now)
        {
            complete(
                &decision, tracked, plan: plan, isPeek: isPeek, wantsTrace: wantsTrace, reported: nil, atMs: 0, now: now
            )
            statistics.count(decision)
            return .answered(decision)
        }
        guard !ledger.isFullOfUnusualWork else { return answerBusy(.waiting, now: now) }
        if table[rulesOf: plan].hasLeasedLimit { missLease(plan: plan, cost: cost, now: now) }
        let entry = ledger.add(tracked, plan: plan, cost: cost, isPeek: isPeek, in: &table)
        wait(ticket, wantsTrace: wantsTrace, entry: entry, now: now)
        return .waiting
    }

    // MARK: - Settlements

    /// Commits, cancels or releases a reservation of a grant.
    ///
    /// - Parameters:
    ///   - reservation: the id that the gateway sent.
    ///   - ticket: returned with the completion if the outcome is `waiting`.
    package mutating func settle(
        grant: [UInt8], reservation: some Sequence<UInt8>, _ settlement: Batch.Settlement, ticket: Ticket,
        now: ClockReading
    ) -> SettleOutcome {
        guard let id = ReservationID(reservation) else { return .answered(false) }
        let key = ByteString(bytes: configuration.keys.reservation(id, grant: grant))
        let nowMs = clock.nowMs(now)
        if !reservations.canSettle(key, settlement, in: &table, nowMs: nowMs) { return .notSettled(.tooMuch) }
        if let (done, inStore) = reservations.settle(
            key, settlement, in: &table, &reconciler, &recorder, nowMs: nowMs)
        {
            if let inStore { sendSettlement(key, inStore) }
            return .answered(done)
        }
        guard configuration.usesStore else { return .answered(false) }
        guard link.isClosed else { return .storeUnavailable }
        guard !ledger.isFullOfUnusualWork else { return .overloaded }
        let entry = ledger.add(.settle(key, settlement, isUnsent: false))
        wait(ticket, wantsTrace: false, entry: entry, now: now)
        return .waiting
    }

    /// Settles a reservation that no client waits for, now or after the outage.
    ///
    /// - Parameter isOurs: whether no gateway knows it, so that it is settled this once.
    mutating func settleUnasked(
        grant: some Sequence<UInt8>, _ id: ReservationID, _ settlement: Batch.Settlement, isOurs: Bool,
        now: ClockReading
    ) {
        let key = ByteString(bytes: configuration.keys.reservation(id, grant: grant))
        let local = reservations.settle(
            key, settlement, in: &table, &reconciler, &recorder, nowMs: clock.nowMs(now))
        if isOurs { reservations.discardSettled(key) }
        guard configuration.usesStore, let inStore = local.map(\.inStore) ?? settlement else { return }
        sendSettlement(key, inStore)
    }

    /// Sends a settlement for which no client waits: now, or after the outage.
    mutating func sendSettlement(_ key: ByteString, _ settlement: Batch.Settlement) {
        guard link.isClosed else {
            if !isBesideFull { reservations.keepUnsent(key, settlement) }
            return
        }
        _ = ledger.add(.settle(key, settlement, isUnsent: true))
    }

    /// The store is available again: sends the unsent settlements.
    mutating func sendUnsentSettlements() {
        for (key, settlement) in reservations.takeUnsentSettlements() { sendSettlement(key, settlement) }
    }

    /// A batch did not run and will not: keeps its unsent settlements.
    mutating func requeueSettlements(_ batch: borrowing PendingBatch) {
        for entry in batch.entries {
            if case .settle(let key, let settlement, isUnsent: true)? = entry.operation {
                sendSettlement(key, settlement)
            }
        }
    }

    // MARK: - Replies of the store

    /// A check with that id was admitted before: repeats that answer.
    mutating func replay(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, atMs: Int64, isLocal: Bool, numbers: ArraySlice<Int64>,
        reservation: String, now: ClockReading
    ) {
        guard case .check(let tracked)? = entry.operation else { preconditionFailure("only such a check is replayed") }
        let wantsTrace = batch.waiters[entry.firstWaiter].wantsTrace
        let isCheck = tracked.action == .check
        // This replica may have given that answer itself.
        if let key = tracked.idempotencyKey, let own = reservations.answers.find(key, now: now),
            own.argumentsHash == tracked.argumentsHash,
            own.reservation == reservation
        {
            var decision = own.decision
            if !wantsTrace { decision.trace = nil }
            return finishAll(entry, of: batch, .decision(decision), now: now)
        }
        let hasUsage = numbers.count == table[rulesOf: entry.plan].usageCount
        if hasUsage { takeQuotas(plan: entry.plan, atMs: atMs) }
        let allowed = isCheck || !hasUsage || hasFitted(entry, numbers: numbers, decidedMs: atMs)
        var evaluation = Evaluation(
            allowed: allowed, wantsTrace: isCheck && (wantsTrace || tracked.idempotencyKey != nil))
        if hasUsage && !isCheck {
            findAccounted(entry, numbers: numbers, decidedMs: atMs, nowMs: atMs, into: &evaluation)
        } else if hasUsage {
            findShared(entry, numbers: numbers, laterOnes: 0, decidedMs: atMs, nowMs: atMs, into: &evaluation)
        }
        var decision = conclude(plan: entry.plan, &evaluation, source: isLocal ? .local : .shared)
        if tracked.wantsReservation { decision.reservation = reservation }
        if tracked.idempotencyKey != nil {
            let record = IdempotencyCache.Record(
                idempotency: table.idempotency(tracked, plan: entry.plan), isLocal: isLocal, admittedMs: atMs,
                reservation: reservation, numbers: Array(numbers))
            reservations.cache(
                decision, record, for: tracked, owner: owner(ofPlan: entry.plan), isUnsent: false,
                mayGrow: !isBesideFull, now: now)
        }
        if !wantsTrace { decision.trace = nil }
        finishAll(entry, of: batch, .decision(decision), now: now)
    }

    /// Gives all waiters of an entry the same answer.
    mutating func finishAll(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, _ answer: Completion.Answer, now: ClockReading
    ) {
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .waiting else { continue }
            if case .decision(let decision) = answer {
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            } else {
                finish(waiter.ticket, answer, deadlineNs: waiter.deadlineNs, now: now)
            }
        }
    }

    /// The store admitted a check with a reservation that was already answered locally. If it was denied here, the
    /// store's charge is cancelled; if it was admitted here, the local reservation is dropped. A check with an id
    /// keeps its charge: a repeat under that id is answered as admitted.
    mutating func discardDuplicate(_ tracked: TrackedCheck, wasAdmitted: Bool) {
        guard tracked.reservation != nil else { return }
        if wasAdmitted {
            reservations.drop(tracked.reservationKey, in: &table, &reconciler)
        } else if tracked.idempotencyKey == nil {
            sendSettlement(tracked.reservationKey, .cancel)
        }
    }

    // MARK: - Unconfirmed charges

    /// A waiter was admitted locally while its batch was in flight: that is not written back until the batch's outcome
    /// is known. `isOver` ends that.
    mutating func markUnconfirmed(_ waiter: PendingBatch.Waiter, of batch: borrowing PendingBatch, isOver: Bool) {
        let entry = batch.entries[waiter.entry]
        guard entry.isSent, entry.hasPlan else { return }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let quota = table[rulesOf: entry.plan].limits[index].quota
            guard table[counter].isOneWindow(waiter.admittedMs, batch.cutMs), entry.action.changes(quota) else {
                continue
            }
            let units = isOver ? -quota.units(ofCost: entry.cost) : quota.units(ofCost: entry.cost)
            if entry.action == .refund {
                table[counter].holdRefund(units, cutMs: waiter.admittedMs)
            } else {
                table[counter].markUnconfirmed(units, cutMs: waiter.admittedMs)
            }
        }
    }
}
