import SluicePolicy

/// The options of a check beside its cost.
package struct CheckOptions: Sendable {
    /// It may be settled or cancelled later, under this id, which must not be known to anyone beforehand.
    package var reservation: ReservationID?
    /// All checks under this id are charged once.
    package var id: [UInt8]?
    /// Hash of all arguments of the check: see `stableHash`.
    package var argumentsHash: UInt64

    package init(reservation: ReservationID?, id: [UInt8]?, argumentsHash: UInt64) {
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
        case storeAway
    }

    // MARK: - Checks

    mutating func checkTracked(
        plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?, ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        if extras?.reservation == nil && table[rulesOf: plan].mustReserve { return .mustReserve }
        let tracked = tracked(plan: plan, extras)
        // The store knows more: what other replicas admitted, and what was cancelled since. Only answers not sent to
        // it yet come from here.
        switch cachedAnswer(tracked, wantsTrace: wantsTrace, onlyUnsent: asksStore, now: now) {
        case nil: break
        case .sameCheck(let decision):
            statistics.count(decision)
            return .answered(decision)
        case .otherArguments: return .otherArguments
        }
        // A check with an id may have been admitted under another policy: the store is asked.
        if tracked.idempotencyKey == nil && cost > table[rulesOf: plan].smallestMax,
            var decision = denyOversized(plan: plan, wantsTrace: wantsTrace, cost: cost, now: now)
        {
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
        if tracked.idempotencyKey == nil, table[plan: plan].wasDenied,
            var decision = denyFromCache(plan: plan, cost: cost, wantsTrace: wantsTrace, now: now)
        {
            complete(
                &decision, tracked, plan: plan, isPeek: isPeek, wantsTrace: wantsTrace, reported: nil, atMs: 0, now: now
            )
            statistics.count(decision)
            return .answered(decision)
        }
        guard waitingChecks < EngineBounds.maxWaitingChecks, queue.count < EngineBounds.maxQueuedUnusual else {
            return answerBusy(.waiting, now: now)
        }
        let charges = table[rulesOf: plan].chargeWeight + EngineBounds.chargesOfUnusualWork
        let batch = openBatch(charges: charges)
        let entry = queue[batch].addEntry(
            plan: plan, cost: cost, isPeek: isPeek, chargeCount: charges, operation: .check(tracked))
        table[plan: plan].pins += 1
        wait(ticket, wantsTrace: wantsTrace, entry: entry, now: now)
        return .waiting
    }

    enum Recalled {
        case sameCheck(Decision)
        case otherArguments
    }

    /// The cached answer for a check's id; nil if it has no id, or none is cached.
    ///
    /// - Parameter onlyUnsent: only answers that the store does not have.
    func cachedAnswer(_ tracked: TrackedCheck?, wantsTrace: Bool, onlyUnsent: Bool = false, now: ClockReading)
        -> Recalled?
    {
        guard let tracked, let key = tracked.idempotencyKey, let idempotency = idempotency.find(key, now: now),
            idempotency.isUnsent || !onlyUnsent
        else { return nil }
        guard idempotency.argumentsHash == tracked.argumentsHash else { return .otherArguments }
        var decision = idempotency.decision
        if !wantsTrace { decision.trace = nil }
        return .sameCheck(decision)
    }

    private mutating func tracked(plan: Int, _ extras: CheckOptions?) -> TrackedCheck {
        let identity = Identity(key: table.identity(ofPlan: plan)).parts
        // A shadow limit that counts calls in progress does not require RESERVE: without it the slot expires.
        let reservation =
            extras?.reservation ?? (table[rulesOf: plan].countsSlots ? ReservationID(using: &random) : nil)
        let prefix = configuration.keyPrefix
        return TrackedCheck(
            reservation: reservation, wantsReservation: extras?.reservation != nil,
            reservationKey: ByteString(
                bytes: reservation.map { CounterKey.reservation($0, prefix: prefix, grant: identity.grant) } ?? []),
            idempotencyKey: (extras?.id).map {
                let tool = Array(identity.tool.utf8)
                return ByteString(bytes: CounterKey.idempotency($0, prefix: prefix, grant: identity.grant, tool: tool))
            },
            argumentsHash: extras?.argumentsHash ?? 0)
    }

    /// Stores a local reservation and what it charged.
    mutating func keep(
        _ tracked: TrackedCheck, plan: Int, cost: Int64, charged: [LocalReservations.Item], mayBeStored: Bool,
        nowMs: Int64
    ) {
        guard let id = tracked.reservation else { return }
        // What may yet be given back is not written back until that is known.
        for item in charged { markUnconfirmed(item, by: cost) }
        // Kept for as long as any limit of the check counts it, so that a late settlement still finds it.
        var expiryMs = nowMs + 1
        for index in table[rulesOf: plan].limits.indices {
            let quota = quota(plan: plan, index)
            let known = table[counter: table.counter(ofPlan: plan, index)].combinedUsage(quota, nowMs: nowMs)
            expiryMs = max(expiryMs, quota.countsUntilMs(known, replicas: live.view, nowMs: nowMs))
        }
        reservations[tracked.reservationKey] = LocalReservations.Record(
            items: charged, cost: cost, id: id, owner: owner(ofPlan: plan), expiryMs: expiryMs,
            idempotencyKey: tracked.idempotencyKey, mayBeStored: mayBeStored)
    }

    // MARK: - Answers sent to the store

    /// The hashes that identify repeats of a check.
    func idempotency(_ tracked: TrackedCheck, plan: Int) -> Batch.Idempotency {
        var counters = stableHash([])
        for (index, limit) in table[rulesOf: plan].limits.enumerated() {
            counters = stableHash(table[counter: table.counter(ofPlan: plan, index)].baseKey, after: counters)
            // The usage of a shadow limit has other numbers.
            counters = stableHash([limit.isShadow ? 1 : 0], after: counters)
        }
        return Batch.Idempotency(
            argumentsHash: ReservationID.hexadecimal(tracked.argumentsHash),
            countersHash: ReservationID.hexadecimal(counters))
    }

    /// A call with an id that was admitted locally was never made.
    private mutating func forgetAnswer(_ key: ByteString, _ id: ReservationID) {
        idempotency.forget(key, reservation: id.description, isShared: configuration.usesStore)
        if idempotency.hasUnsent { wantsWriteBacks = true }
    }

    /// The store has settled a reservation: a cancelled call is not replayed here either.
    mutating func noteSettled(_ entry: borrowing PendingBatch.Entry) {
        guard case .settle(let key, let settlement, _)? = entry.operation else { return }
        idempotency.settled(String(decoding: key.bytes.suffix(ReservationID.digitCount), as: UTF8.self), settlement)
    }

    /// Adds cached answers for the store to a batch, ahead of its checks; and all cancelled calls whose ids its checks
    /// use.
    mutating func addAnswers(in batch: inout PendingBatch, now: ClockReading) {
        for index in batch.entries.indices where batch.entries[index].isWanted {
            guard let key = batch.entries[index].trackedCheck?.idempotencyKey else { continue }
            while let cancel = idempotency.takeCancelled(key) { addAnswer(cancel, in: &batch, now: now) }
        }
        for _ in 0..<EngineBounds.answersSentPerBatch {
            guard let unsent = idempotency.takeUnsent() else { return }
            addAnswer(unsent, in: &batch, now: now)
        }
    }

    private mutating func addAnswer(_ unsent: IdempotencyCache.Unsent, in batch: inout PendingBatch, now: ClockReading)
    {
        guard let tracked = idempotency.writing(unsent, now: now) else { return }
        switch unsent {
        case .answer(let key, _), .cancel(let key, _): outgoing.appendKey(key.bytes)
        }
        outgoing.operations.append(tracked)
        outgoing.entries.append(
            Batch.Entry(
                cost: 0, count: 0, firstCharge: outgoing.charges.count, chargeCount: 0,
                operation: outgoing.operations.count - 1))
        batch.answers.append(unsent)
    }

    /// Handles the results of a batch's cached answers.
    mutating func readAnswerResults(
        _ batch: inout PendingBatch, _ reply: BatchReply, _ at: inout Int, words: inout IndexingIterator<[String]>
    ) {
        for unsent in batch.answers {
            // An answer that cannot be written now is not sent again.
            if reply.results[at] == BatchReply.fault { _ = words.next() }
            at += 1
            idempotency.isStored(unsent)
        }
        batch.answers.removeAll(keepingCapacity: true)
    }

    /// The outcome of a batch's cached answers is unknown: they are sent again.
    mutating func resendAnswers(_ batch: inout PendingBatch) {
        for unsent in batch.answers { idempotency.isUnknown(unsent) }
        batch.answers.removeAll(keepingCapacity: true)
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
        let key = ByteString(bytes: CounterKey.reservation(id, prefix: configuration.keyPrefix, grant: grant))
        if !canSettleLocally(key, settlement, now: now) { return .notSettled(.tooMuch) }
        if let (done, mayBeStored) = settleLocally(key, settlement, now: now) {
            if mayBeStored { sendSettlement(key, settlement) }
            return .answered(done)
        }
        guard configuration.usesStore else { return .answered(false) }
        guard breaker.isClosed else { return .storeAway }
        guard waitingChecks < EngineBounds.maxWaitingChecks, queue.count < EngineBounds.maxQueuedUnusual else {
            return .overloaded
        }
        let batch = openBatch(charges: EngineBounds.chargesOfUnusualWork)
        let entry = queue[batch].addEntry(operation: .settle(key, settlement, isUnsent: false))
        wait(ticket, wantsTrace: false, entry: entry, now: now)
        return .waiting
    }

    /// Sends a settlement for which no client waits: now, or after the outage.
    mutating func sendSettlement(_ key: ByteString, _ settlement: Batch.Settlement) {
        guard breaker.isClosed else {
            // Beyond the bound the settlement is dropped: the charge in the store stays until it expires.
            guard unsentSettlements.count < EngineBounds.maxUnsentSettlements, !isBesideFull else { return }
            unsentSettlements.append((key, settlement))
            unsentBytes += MemoryLayout<(ByteString, Batch.Settlement)>.stride * 2 + HeldBytes.array(key.bytes.count)
            return
        }
        let batch = openBatch(charges: EngineBounds.chargesOfUnusualWork)
        _ = queue[batch].addEntry(operation: .settle(key, settlement, isUnsent: true))
    }

    /// The store is available again: sends the unsent settlements.
    mutating func queueWriteBacks() {
        let settlements = unsentSettlements
        unsentSettlements.removeAll()
        unsentBytes = 0
        for (key, settlement) in settlements { sendSettlement(key, settlement) }
    }

    /// A batch did not run and will not: keeps its unsent settlements.
    mutating func requeueSettlements(_ batch: borrowing PendingBatch) {
        for entry in batch.entries {
            if case .settle(let key, let settlement, isUnsent: true)? = entry.operation {
                sendSettlement(key, settlement)
            }
        }
    }

    /// Whether a local reservation's settled cost can be counted.
    private mutating func canSettleLocally(_ key: ByteString, _ settlement: Batch.Settlement, now: ClockReading) -> Bool
    {
        let nowMs = clock.nowMs(now)
        guard case .commit(let cost) = settlement, let record = reservations[key], record.expiryMs > nowMs,
            !record.isCostSpent, cost > record.cost
        else { return true }
        return record.items.allSatisfy { item in
            guard let counter = table.counter(named: item.baseKey) else { return true }
            return table[counter: counter].canAdjustLocally(by: cost - record.cost, of: item, nowMs: nowMs)
        }
    }

    /// nil if no such reservation was made here.
    private mutating func settleLocally(
        _ key: ByteString, _ settlement: Batch.Settlement, now: ClockReading
    ) -> (done: Bool, mayBeStored: Bool)? {
        let nowMs = clock.nowMs(now)
        guard var record = reservations[key], record.expiryMs > nowMs else { return nil }
        var done = false
        switch settlement {
        case .commit(let cost):
            done = !record.isCostSpent
            if done { spend(&record, cost: cost, nowMs: nowMs) }
        case .cancel:
            done = !record.isCostSpent || (record.takesSlots && !record.areSlotsFreed)
            if !record.isCostSpent {
                if let idempotencyKey = record.idempotencyKey { forgetAnswer(idempotencyKey, record.id) }
                spend(&record, cost: 0, nowMs: nowMs)
            }
            release(&record)
        case .release:
            done = record.takesSlots && !record.areSlotsFreed
            release(&record)
        }
        // With a store, the record is kept even when it is spent, so that a second settlement is answered here without
        // a store that may be unavailable.
        reservations[key] = record.isSpent && !configuration.usesStore ? nil : record
        return (done, record.mayBeStored)
    }

    private mutating func spend(_ record: inout LocalReservations.Record, cost: Int64, nowMs: Int64) {
        confirm(&record)
        for item in record.items {
            guard let counter = table.counter(named: item.baseKey) else { continue }
            table[counter: counter].adjustLocally(by: cost - record.cost, of: item, nowMs: nowMs)
            markDirty(counter)
            if configuration.usesStore && cost > 0 && item.quota.algorithm != .concurrency { addToJournal(counter) }
        }
        record.cost = cost
        record.isCostSpent = true
    }

    private mutating func release(_ record: inout LocalReservations.Record) {
        guard record.takesSlots, !record.areSlotsFreed else { return }
        record.areSlotsFreed = true
        for item in record.items {
            guard let counter = table.counter(named: item.baseKey) else { continue }
            table[counter: counter].releaseLocally(record.id)
        }
    }

    // MARK: - Replies of the store

    /// A check with that id was admitted before: repeats that answer.
    mutating func replay(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, atMs: Int64, numbers: ArraySlice<Int64>,
        reservation: String, now: ClockReading
    ) {
        guard case .check(let tracked)? = entry.operation else { preconditionFailure("only such a check is replayed") }
        let wantsTrace = batch.waiters[entry.firstWaiter].wantsTrace
        // This replica may have given that answer itself.
        if let key = tracked.idempotencyKey, let own = idempotency.find(key, now: now),
            own.argumentsHash == tracked.argumentsHash,
            own.reservation == reservation
        {
            var decision = own.decision
            if !wantsTrace { decision.trace = nil }
            return finishAll(entry, of: batch, .decision(decision), now: now)
        }
        let isLocal = atMs < 0
        let atMs = abs(atMs)
        var evaluation = Evaluation(allowed: true, wantsTrace: wantsTrace || tracked.idempotencyKey != nil)
        if numbers.count == table[rulesOf: entry.plan].usageCount {
            takeQuotas(plan: entry.plan, atMs: atMs)
            findShared(entry, numbers: numbers, laterOnes: 0, decidedMs: atMs, nowMs: atMs, into: &evaluation)
        }
        var decision = conclude(plan: entry.plan, &evaluation, source: isLocal ? .local : .shared)
        if tracked.wantsReservation { decision.reservation = reservation }
        if let key = tracked.idempotencyKey {
            let record = IdempotencyCache.Record(
                idempotency: idempotency(tracked, plan: entry.plan), isLocal: isLocal, admittedMs: atMs,
                reservation: reservation,
                numbers: Array(numbers))
            idempotency.insert(
                key, owner: owner(ofPlan: entry.plan), argumentsHash: tracked.argumentsHash, decision, record,
                isUnsent: false, mayGrow: !isBesideFull, now: now)
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
            if case .decision(let decision) = answer { statistics.count(decision) }
            finish(waiter.ticket, answer, deadlineNs: waiter.deadlineNs, now: now)
        }
    }

    /// The store admitted a check with a reservation that was already answered locally. If it was denied here, the
    /// store's charge is cancelled; if it was admitted here, the local reservation is dropped. A check with an id
    /// keeps its charge: a repeat under that id is answered as admitted.
    mutating func discardDuplicate(_ tracked: TrackedCheck, wasAdmitted: Bool) {
        guard tracked.reservation != nil else { return }
        if wasAdmitted {
            guard var record = reservations[tracked.reservationKey] else { return }
            // A reservation that was settled meanwhile is settled in the store as well.
            if record.isCostSpent || record.areSlotsFreed { return }
            for item in record.items {
                guard let counter = table.counter(named: item.baseKey) else { continue }
                table[counter: counter].releaseLocally(record.id)
            }
            confirm(&record)
            reservations[tracked.reservationKey] = nil
        } else if tracked.idempotencyKey == nil {
            sendSettlement(tracked.reservationKey, .cancel)
        }
    }

    // MARK: - Unconfirmed charges

    private mutating func markUnconfirmed(_ item: LocalReservations.Item, by cost: Int64) {
        guard let counter = table.counter(named: item.baseKey) else { return }
        table[counter: counter].markUnconfirmed(cost, cutMs: item.chargedMs)
    }

    /// The final cost of a reservation is known, or the store has it.
    mutating func confirm(_ record: inout LocalReservations.Record) {
        guard record.isUnconfirmed else { return }
        record.isUnconfirmed = false
        journal.markUnsettled()
        for item in record.items { markUnconfirmed(item, by: -record.cost) }
    }

    /// The same for expired reservations.
    mutating func confirm(_ expired: [LocalReservations.Record]) { for var record in expired { confirm(&record) } }

    /// A waiter was admitted locally while its batch was in flight: that is not written back until the batch's outcome
    /// is known. `isOver` ends that.
    mutating func markUnconfirmed(_ waiter: PendingBatch.Waiter, of batch: borrowing PendingBatch, isOver: Bool) {
        let entry = batch.entries[waiter.entry]
        guard entry.isSent, entry.plan >= 0 else { return }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            guard table[counter: counter].isOneWindow(waiter.admittedMs, batch.cutMs) else { continue }
            table[counter: counter].markUnconfirmed(isOver ? -entry.cost : entry.cost, cutMs: waiter.admittedMs)
        }
    }

    /// How much of an entry's charge in the store was also charged locally, in the same window of one of its limits,
    /// in units of cost; for a reservation that was settled here meanwhile, its settled cost.
    func chargedTwice(
        _ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch, _ limit: Int, charged: Int64
    ) -> Int64 {
        let counter = table.counter(ofPlan: entry.plan, limit)
        var amount: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .admittedLocally,
                table[counter: counter].isOneWindow(waiter.admittedMs, batch.cutMs)
            else { continue }
            amount += entry.cost
        }
        amount = min(charged, amount)
        guard amount > 0, let tracked = entry.trackedCheck else { return amount }
        return reservations[tracked.reservationKey]?.cost ?? amount
    }
}

extension Limiter {
    /// The same for a log, with the time of each admission.
    func chargedTwice(
        _ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch, charged: Int64
    ) -> [UsageLog.Step] {
        var steps: [UsageLog.Step] = []
        var left = charged
        var index = entry.firstWaiter
        while index >= 0 && left > 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .admittedLocally else { continue }
            steps.append(UsageLog.Step(ms: waiter.admittedMs, units: min(left, entry.cost)))
            left -= entry.cost
        }
        guard steps.count == 1, let tracked = entry.trackedCheck else { return steps }
        steps[0].units = reservations[tracked.reservationKey]?.cost ?? steps[0].units
        return steps
    }
}
