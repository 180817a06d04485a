import SluicePolicy

/// Reservations made here, answers to checks with an id, and settlements that the store does not have yet.
struct Reservations {
    /// Those that were made without the store.
    private(set) var local = LocalReservations()
    private(set) var answers = IdempotencyCache()
    /// Settlements to send when the store is available again, in order.
    private(set) var unsentSettlements: [(key: ByteString, settlement: Batch.Settlement)] = []
    /// Bytes held by those, with their keys.
    private var unsentBytes = 0
    /// For reservations that no gateway asked for. Seeded and predictable: not for secrets.
    private var random: SeededRandom
    private let keys: KeySpace
    /// Whether there is a store.
    private let usesStore: Bool

    init(_ configuration: borrowing LimiterConfiguration) {
        keys = configuration.keys
        usesStore = configuration.usesStore
        random = SeededRandom(seed: ~configuration.seed)
        local.grantParts = configuration.grantParts
        answers.grantParts = configuration.grantParts
        let maxGrantBytes = configuration.maxTableBytes / EngineBounds.besideParts / EngineBounds.besideGrantParts
        local.maxGrantBytes = maxGrantBytes
        answers.maxGrantBytes = maxGrantBytes
    }

    /// Bytes held.
    var bytes: Int { local.bytes + answers.bytes + unsentBytes }

    /// The extra fields of a check of a plan.
    mutating func tracked(plan: PlanID, _ options: CheckOptions?, in table: borrowing PlanTable) -> TrackedCheck {
        let identity = Identity(key: table.identity(ofPlan: plan)).parts
        // A shadow limit that counts calls in progress does not require RESERVE: without it the slot expires.
        let action = options?.action ?? .check
        let takesSlot = table[rulesOf: plan].countsSlots && action == .check
        let reservation = options?.reservation ?? (takesSlot ? ReservationID(using: &random) : nil)
        let keys = keys
        return TrackedCheck(
            action: action, reservation: reservation, wantsReservation: options?.reservation != nil,
            reservationKey: ByteString(
                bytes: reservation.map { keys.reservation($0, grant: identity.grant) } ?? []),
            idempotencyKey: (options?.id).map {
                let tool = Array(identity.tool.utf8)
                return ByteString(bytes: keys.idempotency($0, grant: identity.grant, tool: tool))
            },
            argumentsHash: options?.argumentsHash ?? 0)
    }

    // MARK: - Answers to checks with an id

    enum CachedAnswer {
        case sameCheck(Decision)
        case otherArguments
    }

    /// The cached answer for a check's id; nil if it has no id, or none is cached.
    ///
    /// - Parameter onlyUnsent: only answers that the store does not have.
    func cachedAnswer(_ tracked: TrackedCheck?, wantsTrace: Bool, onlyUnsent: Bool = false, now: ClockReading)
        -> CachedAnswer?
    {
        guard let tracked, let key = tracked.idempotencyKey, let answer = answers.find(key, now: now),
            answer.isUnsent || !onlyUnsent
        else { return nil }
        guard answer.argumentsHash == tracked.argumentsHash else { return .otherArguments }
        var decision = answer.decision
        if !wantsTrace { decision.trace = nil }
        return .sameCheck(decision)
    }

    /// Caches the answer to an admitted check: see `IdempotencyCache.insert`.
    mutating func cache(
        _ decision: Decision, _ record: IdempotencyCache.Record, for tracked: borrowing TrackedCheck,
        owner: ByteString, isUnsent: Bool, mayGrow: Bool, now: ClockReading
    ) {
        guard let key = tracked.idempotencyKey else { return }
        answers.insert(
            key, owner: owner, argumentsHash: tracked.argumentsHash, decision, record, isUnsent: isUnsent,
            mayGrow: mayGrow, now: now)
    }

    /// The store has settled a reservation: a cancelled call is not replayed here either.
    mutating func noteSettled(_ entry: borrowing PendingBatch.Entry) {
        guard case .settle(let key, let settlement, _)? = entry.operation else { return }
        answers.settled(String(decoding: key.bytes.suffix(ReservationID.digitCount), as: UTF8.self), settlement)
    }

    /// The store lost its data: all answers are sent again.
    mutating func markAllUnsent() { answers.markAllUnsent() }

    /// Adds cached answers for the store to a batch, ahead of its checks; and all cancelled calls whose ids its checks
    /// use.
    mutating func addAnswers(to batch: inout PendingBatch, _ writer: inout BatchWriter, now: ClockReading) {
        for index in batch.entries.indices where batch.entries[index].isWanted {
            guard let key = batch.entries[index].trackedCheck?.idempotencyKey else { continue }
            while let cancel = answers.takeCancelled(key) { add(cancel, to: &batch, &writer, now: now) }
        }
        for _ in 0..<EngineBounds.answersSentPerBatch {
            guard let unsent = answers.takeUnsent() else { return }
            add(unsent, to: &batch, &writer, now: now)
        }
    }

    private func add(
        _ unsent: IdempotencyCache.Unsent, to batch: inout PendingBatch, _ writer: inout BatchWriter, now: ClockReading
    ) {
        guard let operation = answers.writing(unsent, now: now) else { return }
        switch unsent {
        case .answer(let key, _), .cancel(let key, _): writer.add(operation, keys: key.bytes)
        }
        batch.answers.append(unsent)
    }

    /// Handles the results of a batch's cached answers. One that cannot be written now is not sent again.
    mutating func readAnswerResults(_ batch: inout PendingBatch, _ cursor: inout BatchReply.Cursor) {
        for unsent in batch.answers {
            _ = cursor.next(.settlement)
            answers.isStored(unsent)
        }
        batch.answers.removeAll(keepingCapacity: true)
    }

    /// The outcome of a batch's cached answers is unknown: they are sent again.
    mutating func resendAnswers(_ batch: inout PendingBatch) {
        for unsent in batch.answers { answers.isUnknown(unsent) }
        batch.answers.removeAll(keepingCapacity: true)
    }

    // MARK: - Local reservations

    /// Why no more can be made here; nil if one can.
    ///
    /// - Parameter isBesideFull: see `Limiter.isBesideFull`.
    mutating func makeRoom(
        for owner: ByteString, isBesideFull: Bool, _ table: inout PlanTable, _ reconciler: inout Reconciler,
        nowMs: Int64
    ) -> Busy? {
        confirm(local.makeRoom(for: owner, nowMs: nowMs), in: &table, &reconciler)
        if local.isFull(of: owner) { return .grantReservations }
        return local.isFull || isBesideFull ? .reservations : nil
    }

    /// Removes what has expired.
    mutating func expire(_ table: inout PlanTable, _ reconciler: inout Reconciler, nowMs: Int64, now: ClockReading) {
        confirm(local.expire(nowMs: nowMs), in: &table, &reconciler)
        answers.expire(now: now)
    }

    /// Stores a local reservation and what it charged.
    mutating func keep(
        _ tracked: TrackedCheck, plan: PlanID, cost: Int64, charged: [LocalReservations.Item], mayBeStored: Bool,
        owner: ByteString, replicas: borrowing ReplicaView, in table: inout PlanTable, nowMs: Int64
    ) {
        guard let id = tracked.reservation else { return }
        // What may yet be given back is not written back until that is known.
        for item in charged { Self.markUnconfirmed(item, by: item.quota.units(ofCost: cost), in: &table) }
        // Kept for as long as any limit of the check counts it, so that a late settlement still finds it.
        var (countsUntilMs, expiryMs) = (nowMs + 1, nowMs + 1)
        for index in table[rulesOf: plan].limits.indices {
            let quota = table.quota(ofPlan: plan, index)
            let known = table[table.counter(ofPlan: plan, index)].combinedUsage(quota, nowMs: nowMs)
            let slackMs = quota.countsCalls ? 0 : EngineBounds.settleSlackMs
            let untilMs = quota.countsUntilMs(known, replicas: replicas, nowMs: nowMs)
            countsUntilMs = max(countsUntilMs, untilMs)
            expiryMs = max(expiryMs, untilMs + slackMs)
        }
        local[tracked.reservationKey] = LocalReservations.Record(
            items: charged, cost: cost, id: id, owner: owner, countsUntilMs: countsUntilMs,
            expiryMs: expiryMs,
            idempotencyKey: tracked.idempotencyKey, mayBeStored: mayBeStored)
    }

    /// The store admitted a check that was also admitted here: the local reservation is dropped. One that was settled
    /// meanwhile is settled in the store as well.
    mutating func drop(_ key: ByteString, in table: inout PlanTable, _ reconciler: inout Reconciler) {
        guard var record = local[key], !record.isCostSpent, !record.areSlotsFreed else { return }
        for item in record.items {
            guard let counter = table.counter(named: item.baseKey) else { continue }
            table[counter].releaseLocally(record.id)
        }
        Self.confirm(&record, in: &table, &reconciler)
        local[key] = nil
    }

    // MARK: - Settlements

    /// Whether a local reservation's settled cost can be counted.
    func canSettle(_ key: ByteString, _ settlement: Batch.Settlement, in table: inout PlanTable, nowMs: Int64) -> Bool {
        guard case .commit(let cost) = settlement, let record = local[key], record.expiryMs > nowMs,
            !record.isCostSpent, cost > record.cost
        else { return true }
        for item in record.items {
            guard !item.quota.countsCalls, let counter = table.counter(named: item.baseKey) else { continue }
            if !table[counter].canAdjustLocally(by: cost - record.cost, of: item, nowMs: nowMs) {
                return false
            }
        }
        return true
    }

    /// Settles a local reservation; nil if no such reservation was made here.
    ///
    /// - Returns: whether it was done, and the settlement to send to the store if that may have the reservation as well.
    mutating func settle(
        _ key: ByteString, _ settlement: Batch.Settlement, in table: inout PlanTable,
        _ reconciler: inout Reconciler, _ recorder: inout StateRecorder, nowMs: Int64
    ) -> (done: Bool, inStore: Batch.Settlement?)? {
        guard var record = local[key], record.expiryMs > nowMs else { return nil }
        var inStore = record.mayBeStored ? settlement : nil
        // What exceeds the reservation is counted here, and written back: the store may have denied the reservation.
        if case .commit(let cost) = settlement, record.isStored, cost > record.cost {
            inStore = .commit(cost: record.cost)
        }
        var done = false
        switch settlement {
        case .commit(let cost):
            done = !record.isCostSpent
            if done { spend(&record, cost: cost, in: &table, &reconciler, &recorder, nowMs: nowMs) }
        case .cancel:
            done = !record.isCostSpent || (record.takesSlots && !record.areSlotsFreed)
            if !record.isCostSpent {
                // A call with an id that was admitted locally was never made.
                if let key = record.idempotencyKey {
                    answers.forget(key, reservation: record.id.description, isShared: usesStore)
                    if answers.hasUnsent { reconciler.wantBatch() }
                }
                spend(&record, cost: 0, isCancelled: true, in: &table, &reconciler, &recorder, nowMs: nowMs)
            }
            release(&record, in: &table)
        case .release:
            done = record.takesSlots && !record.areSlotsFreed
            release(&record, in: &table)
        }
        // With a store, the record is kept even when it is spent, so that a second settlement is answered here without
        // a store that may be unavailable.
        local[key] = record.isSpent && !usesStore ? nil : record
        return (done, inStore)
    }

    private func spend(
        _ record: inout LocalReservations.Record, cost: Int64, isCancelled: Bool = false, in table: inout PlanTable,
        _ reconciler: inout Reconciler, _ recorder: inout StateRecorder, nowMs: Int64
    ) {
        Self.confirm(&record, in: &table, &reconciler)
        let before = record
        record.cost = cost
        record.isCancelled = isCancelled
        record.isCostSpent = true
        for item in record.items {
            guard let counter = table.counter(named: item.baseKey) else { continue }
            let charge = record.charge(item)
            let difference = charge - before.charge(item)
            // The store gives that back: what is counted here is of other calls.
            if record.isStored && difference < 0 { continue }
            table[counter].adjustLocally(by: difference, of: item, nowMs: nowMs)
            recorder.markDirty(counter, in: &table)
            if usesStore && charge > 0 && item.quota.algorithm != .concurrency { reconciler.add(counter, in: &table) }
        }
    }

    private func release(_ record: inout LocalReservations.Record, in table: inout PlanTable) {
        guard record.takesSlots, !record.areSlotsFreed else { return }
        record.areSlotsFreed = true
        for item in record.items {
            guard let counter = table.counter(named: item.baseKey) else { continue }
            table[counter].releaseLocally(record.id)
        }
    }

    /// A local reservation was settled that no gateway knows: no gateway will settle it again.
    mutating func discardSettled(_ key: ByteString) {
        guard let record = local[key], record.isCostSpent, !record.mayBeStored else { return }
        if record.takesSlots && !record.areSlotsFreed { return }
        local[key] = nil
    }

    /// Keeps a settlement until the store is available again.
    mutating func keepUnsent(_ key: ByteString, _ settlement: Batch.Settlement) {
        // Beyond the bound the settlement is dropped: the charge in the store stays until it expires.
        guard unsentSettlements.count < EngineBounds.maxUnsentSettlements else { return }
        unsentSettlements.append((key, settlement))
        unsentBytes += MemoryLayout<(ByteString, Batch.Settlement)>.stride * 2 + HeldBytes.array(key.bytes.count)
    }

    mutating func takeUnsentSettlements() -> [(key: ByteString, settlement: Batch.Settlement)] {
        unsentBytes = 0
        var taken: [(key: ByteString, settlement: Batch.Settlement)] = []
        swap(&taken, &unsentSettlements)
        return taken
    }

    // MARK: - Unconfirmed charges

    private static func markUnconfirmed(_ item: LocalReservations.Item, by cost: Int64, in table: inout PlanTable) {
        guard let counter = table.counter(named: item.baseKey) else { return }
        table[counter].markUnconfirmed(cost, cutMs: item.chargedMs)
    }

    /// The final cost of a reservation is known, or the store has it.
    private static func confirm(
        _ record: inout LocalReservations.Record, in table: inout PlanTable, _ reconciler: inout Reconciler
    ) {
        guard record.isUnconfirmed else { return }
        record.isUnconfirmed = false
        reconciler.noteConfirmed()
        for item in record.items { markUnconfirmed(item, by: -record.charge(item), in: &table) }
    }

    private func confirm(
        _ expired: [LocalReservations.Record], in table: inout PlanTable, _ reconciler: inout Reconciler
    ) {
        for var record in expired { Self.confirm(&record, in: &table, &reconciler) }
    }

    /// The store turned out to have run a check that was also admitted here.
    mutating func confirm(_ key: ByteString, in table: inout PlanTable, _ reconciler: inout Reconciler) {
        guard var record = local[key] else { return }
        Self.confirm(&record, in: &table, &reconciler)
        record.isStored = true
        local[key] = record
    }

    /// How much of an entry's charge in the store was also charged locally, in the same window of one of its limits;
    /// for a reservation that was settled here meanwhile, what is left of it.
    ///
    /// - Parameter charged: how many of its checks are charged in the store.
    func chargedTwice(
        _ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch, _ counter: borrowing Counter,
        _ quota: Quota, charged: Int64
    ) -> Int64 {
        let units = quota.units(ofCost: entry.cost)
        var amount: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .admittedLocally, counter.isOneWindow(waiter.admittedMs, batch.cutMs) else {
                continue
            }
            amount += units
        }
        amount = min(charged * units, amount)
        guard amount > 0, let tracked = entry.trackedCheck else { return amount }
        return local[tracked.reservationKey].map { $0.charge(quota) } ?? amount
    }

    /// The same for a log, with the time of each admission.
    func chargedTwice(
        _ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch, _ quota: Quota, charged: Int64
    ) -> [UsageLog.Step] {
        var steps: [UsageLog.Step] = []
        let units = quota.units(ofCost: entry.cost)
        var left = charged * units
        var index = entry.firstWaiter
        while index >= 0 && left > 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .admittedLocally else { continue }
            steps.append(UsageLog.Step(ms: waiter.admittedMs, units: min(left, units)))
            left -= units
        }
        guard steps.count == 1, let tracked = entry.trackedCheck else { return steps }
        steps[0].units = local[tracked.reservationKey].map { $0.charge(quota) } ?? steps[0].units
        return steps
    }
}
