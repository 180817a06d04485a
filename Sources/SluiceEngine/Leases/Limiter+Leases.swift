import SluicePolicy

/// Checks that are answered from blocks, and what becomes of blocks: see `Lease`.
extension Limiter {
    /// How many counters have a lease, with or without a block.
    package var leaseCount: Int { leases.count }

    /// Whether a block is asked for that no waiting check sends.
    package var wantsLeases: Bool { mutating get { reconciler.wantsBatch && leases.hasWanted } }

    // MARK: - Checks

    /// Answers a check from the blocks of its limits; nil if one of them does not suffice.
    ///
    /// - Parameter hasWaited: whether it was sent to the store before, and so is counted as demand already.
    mutating func decideFromLease(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, hasWaited: Bool = false, now: ClockReading
    ) -> Decision? {
        guard table[rulesOf: plan].isLeased else { return nil }
        let nowMs = clock.nowMs(now)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            // The store's clock may be this far ahead: its window may be over there.
            guard table[counter].isLeased, table[counter].span.holds(nowMs),
                table[counter].span.holds(nowMs + clock.lagMs),
                table.block(ofCounter: counter, edition: leases.edition)
                    >= table[rulesOf: plan].limits[index].quota.units(ofCost: cost)
            else { return nil }
        }
        var evaluation = Evaluation(allowed: true, wantsTrace: wantsTrace)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let quota = table.quota(ofPlan: plan, index)
            if !isPeek,
                table[counter].spendLease(
                    quota.units(ofCost: cost), max: quota.max, isNoted: hasWaited, nowNs: now.monotonicNs)
            {
                wantLease(counter)
                reconciler.wantBatch()
            }
            // What is left of the block is charged, and not used.
            let used = table[counter].windowUsed - table.block(ofCounter: counter, edition: leases.edition)
            let usage = Usage(used: max(0, used))
            let limitEvaluation = LimitEvaluation(
                index: index, capacity: quota.capacity, left: quota.max - usage.used, fits: true, waitMs: 0,
                resetMs: quota.resetMs(usage, nowMs: nowMs))
            if wantsTrace { evaluation.add(trace(plan: plan, quota, usage, limitEvaluation, nowMs: nowMs)) }
            evaluation.add(limitEvaluation, of: table[rulesOf: plan].limits[index])
        }
        return conclude(plan: plan, &evaluation, source: .lease)
    }

    /// A check cannot be answered from blocks: they are asked for, for the next ones. If little is left beside a block of
    /// its limits, that goes back ahead of the check, which may need it.
    mutating func missLease(plan: PlanID, cost: Int64, now: ClockReading) {
        guard configuration.usesStore else { return }
        let isLeased = table[rulesOf: plan].isLeased
        for index in table[rulesOf: plan].limits.indices where table[rulesOf: plan].limits[index].isLeased {
            let counter = table.counter(ofPlan: plan, index)
            let units = table[rulesOf: plan].limits[index].quota.units(ofCost: cost)
            let max = table[rulesOf: plan].limits[index].quota.max
            if table[counter].isLeased {
                if table[counter].windowUsed > max - units
                    || table[counter].block(edition: leases.edition) != table[counter].block
                {
                    giveBackBlock(of: counter, now: now)
                }
            } else {
                // Where some limits are counted exactly, no block would be used; nor by a caller that comes once.
                guard isLeased, table[counter].isSeen,
                    leases.bytes <= configuration.maxTableBytes / EngineBounds.leaseParts,
                    leases.add(counter, in: &table, now: now)
                else { continue }
            }
            guard isLeased, isShared else { continue }
            table[counter].noteDemand(units, max: max, nowNs: now.monotonicNs)
            wantLease(counter)
        }
    }

    private mutating func wantLease(_ counter: CounterID) {
        if table[counter].wantLease() { leases.want(counter) }
    }

    // MARK: - Batches

    /// Adds the blocks that counters need to a batch, behind its checks.
    mutating func addLeases(to batch: inout PendingBatch, nowMs: Int64, now: ClockReading) {
        // While replicas come back, nothing is known of what others have spent.
        guard isShared else { return }
        let most = min(EngineBounds.maxLeasesPerBatch, EngineBounds.maxChargesPerBatch - batch.chargeCount)
        while batch.leases.count < most, let counter = leases.takeWanted() {
            table[counter].roll(at: nowMs)
            let amount = table[counter].nextLease(
                epoch: reconciler.storeEpoch, replicas: membership.view.count, nowNs: now.monotonicNs)
            guard amount > 0 else { continue }
            let sent = PendingBatch.SentLease(counter: counter, amount: amount, edition: leases.edition)
            table.beginWriteBack(counter)
            writer.add(sent, in: table)
            batch.leases.append(sent)
        }
        if leases.hasWanted { reconciler.wantBatch() }
    }

    /// The store has answered for a block.
    mutating func readLeaseResult(
        _ sent: PendingBatch.SentLease, of batch: borrowing PendingBatch, _ cursor: inout BatchReply.Cursor,
        decidedMs: Int64, now: ClockReading
    ) {
        guard case .charged(let granted, let numbers) = cursor.next(.charge(usageCount: 1)) else { return }
        statistics.leases += 1
        let usage = Usage(used: numbers[numbers.startIndex])
        let isLess = table[sent.counter].observe(
            usage, cutMs: batch.cutMs, decidedMs: decidedMs, sentAt: SentTime(ns: batch.sentNs),
            epoch: reconciler.storeEpoch, keepsShare: keepsShare, believesLess: false)
        if isLess {
            heardLess(
                sent.counter, usage, amount: granted, isRefund: false, of: batch, decidedMs: decidedMs, now: now)
        }
        if table.block(ofCounter: sent.counter, edition: leases.edition) == 0 {
            giveBackBlock(of: sent.counter, now: now)
        }
        let lost = table[sent.counter].grantLease(granted, cutMs: batch.cutMs, edition: leases.edition)
        statistics.lostLeaseUnits = WindowUsage.sum(statistics.lostLeaseUnits, lost)
        // It was charged under a maximum that may not hold any more.
        if sent.edition != leases.edition { giveBackBlock(of: sent.counter, now: now) }
    }

    /// The outcome of a batch is known, and what it was granted may be spent.
    mutating func endLeaseRequest(_ sent: PendingBatch.SentLease, of batch: borrowing PendingBatch) {
        table[sent.counter].endAskingLease(sent.amount, cutMs: batch.cutMs)
        table.endWriteBack(sent.counter)
    }

    /// A batch has run, and its answer never came: nobody knows what it was granted, so that stays charged.
    mutating func loseLeases(_ batch: borrowing PendingBatch) {
        for sent in batch.leases {
            statistics.lostLeaseUnits = WindowUsage.sum(statistics.lostLeaseUnits, sent.amount)
        }
    }

    // MARK: - Giving back

    /// Gives back the blocks of a plan's limits, ahead of a refund: it must not give back what is charged in advance.
    mutating func giveBackBlocks(of plan: PlanID, now: ClockReading) {
        for index in 0..<table[plan].counters.count { giveBackBlock(of: table.counter(ofPlan: plan, index), now: now) }
    }

    /// Gives back what is left of a counter's block.
    mutating func giveBackBlock(of counter: CounterID, now: ClockReading) {
        giveBack(table[counter].block, of: counter, now: now)
    }

    /// Gives back a part of a block: a credit, which this replica may admit until the store has it.
    private mutating func giveBack(_ amount: Int64, of counter: CounterID, now: ClockReading) {
        guard amount > 0 else { return }
        table[counter].returnLease(amount)
        // The usage that denials were proven by includes it.
        denials.changed(table[counter].baseKey, now: now)
        addToJournal(counter)
        reconciler.wantBatch()
    }

    /// Gives back what is not used, some leases at a time.
    mutating func reviewLeases(now: ClockReading) {
        if !isShared { while let counter = leases.takeWanted() { table[counter].forgetWantedLease() } }
        for _ in 0..<leases.beginReviews(now: now) {
            let counter = leases.next()
            table[counter].roll(at: clock.nowMs(now))
            giveBack(table[counter].reviewLease(edition: leases.edition), of: counter, now: now)
            leases.reviewed(isOver: table[counter].isLeaseOver, in: &table)
        }
    }

    /// Gives back every block: the process is about to end.
    ///
    /// The shell ends once `hasWrittenBack`, or after a moment.
    package mutating func giveBackLeases(now: ClockReading) {
        for counter in leases.all {
            table[counter].roll(at: clock.nowMs(now))
            giveBackBlock(of: counter, now: now)
        }
    }
}
