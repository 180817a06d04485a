import SluicePolicy

/// The replies of the store: answers to waiting checks and settlements, and the usage that they report.
extension Limiter {
    /// Delivers the reply to waiting checks in arrival order.
    mutating func deliver(_ batch: consuming PendingBatch, _ reply: BatchReply, now: ClockReading) {
        let decidedMs = max(reply.timeMs, batch.minTimeMs)
        // This replica need not wait for the notifications.
        for key in reply.lowered { lowered(key, now: now) }
        var cursor = BatchReply.Cursor(reply)
        readWriteBackResults(&batch, &cursor, decidedMs: decidedMs)
        reservations.readAnswerResults(&batch, &cursor)
        // A separate pass, as in `write`, so that many rows are fetched from memory at once.
        var firstMs = Int64.max
        for index in batch.entries.indices where batch.entries[index].hasPlan {
            firstMs = min(firstMs, table.firstStartMs(ofPlan: batch.entries[index].plan))
        }
        precondition(firstMs >= 0, "what was charged is counted in a window")
        for index in batch.entries.indices where batch.entries[index].isSent {
            let entry = batch.entries[index]
            if entry.hasPlan,
                let (admitted, usage) = cursor.nextCharged(usageCount: table[rulesOf: entry.plan].usageCount)
            {
                if entry.held > 0 {
                    returnShare(
                        ofEntry: EntryIndex(index), admitted: admitted, decidedMs: decidedMs, of: &batch, now: now)
                }
                table[entry.plan].isFaulty = false
                answer(entry, of: batch, admitted: admitted, numbers: usage, decidedMs: decidedMs, now: now)
            } else {
                deliver(entry, EntryIndex(index), of: &batch, &cursor, decidedMs: decidedMs, now: now)
            }
        }
        for sent in batch.leases { readLeaseResult(sent, of: batch, &cursor, decidedMs: decidedMs, now: now) }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Delivers the reply to an entry that charged nothing now.
    private mutating func deliver(
        _ entry: PendingBatch.Entry, _ index: EntryIndex, of batch: inout PendingBatch,
        _ cursor: inout BatchReply.Cursor, decidedMs: Int64, now: ClockReading
    ) {
        if entry.held > 0 { returnShare(ofEntry: index, admitted: 0, of: &batch, now: now) }
        if case .clear(let counters)? = entry.operation {
            return deliver(counters, index, of: &batch, &cursor, decidedMs: decidedMs, now: now)
        }
        if case .overrides(let change)? = entry.operation {
            return deliverOverrides(change, entry, of: batch, cursor.next(.overrides), now: now)
        }
        let outcome = cursor.next(
            entry.hasPlan ? .charge(usageCount: 0) : entry.isHeartbeat ? .heartbeat : .settlement)
        switch outcome {
        case .windowIsOver:
            clock.followStore()
            repeatEntry(index, of: &batch)
        case .fault(let reason):
            fail(entry, of: batch, reason: reason, now: now)
        case .otherArguments:
            finishAll(entry, of: batch, .otherArguments, now: now)
        case .replayed(let atMs, let isLocal, let usage, let reservation):
            replay(entry, of: batch, atMs: atMs, isLocal: isLocal, numbers: usage, reservation: reservation, now: now)
        case .heartbeat(let replicas, let unnamed):
            heard(replicas, unnamed: unnamed, now: now)
        case .settled, .tooMuch, .passedOver:
            finishSettlement(entry, of: batch, outcome, now: now)
        case .charged, .overrides:
            preconditionFailure("delivered before")
        }
    }

    /// The store answered the settlement of a reservation.
    private mutating func finishSettlement(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, _ outcome: BatchReply.Outcome, now: ClockReading
    ) {
        var isDone = true
        switch outcome {
        case .tooMuch:
            // No client waits for an unsent settlement, so its fault is logged.
            if entry.firstWaiter < 0 {
                notices.settlement(fault: "the settled cost of a reservation exceeds what can be counted")
            }
            return finishAll(entry, of: batch, .notSettled(.tooMuch), now: now)
        case .passedOver(let reason):
            statistics.faults += 1
            notices.settlement(fault: reason)
        case .settled(let found):
            isDone = found
            notices.settlement(fault: nil)
        case .charged, .windowIsOver, .fault, .otherArguments, .replayed, .heartbeat, .overrides:
            preconditionFailure("no answer to a settlement")
        }
        if isDone { reservations.noteSettled(entry) }
        finishAll(entry, of: batch, .settled(isDone), now: now)
    }

    /// The store could not charge one of the entry's counters, or read its record. Other entries are not affected.
    private mutating func fail(_ entry: PendingBatch.Entry, of batch: PendingBatch, reason: String, now: ClockReading) {
        statistics.faults += 1
        if entry.isHeartbeat { return notices.heartbeat(fault: reason) }
        guard entry.hasPlan else {
            notices.settlement(fault: reason)
            return finishAll(entry, of: batch, .notSettled(.storeFault), now: now)
        }
        if !table[entry.plan].isFaulty { notices.keyFault(reason, now: now) }
        table[entry.plan].isFaulty = true
        answerLocally(entry, of: batch, now: now)
    }

    private mutating func answer(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, admitted: Int64, numbers: ArraySlice<Int64>,
        decidedMs: Int64, now: ClockReading
    ) {
        if entry.action != .check {
            return answerAccounted(
                entry, of: batch, admitted: admitted, numbers: numbers, decidedMs: decidedMs, now: now)
        }
        let charged = entry.isPeek ? 0 : admitted
        let nowMs = clock.nowMs(now)
        observe(entry, of: batch, numbers: numbers, charged: charged, decidedMs: decidedMs, now: now)
        if entry.hasDenied(admitted: admitted) { rememberDenial(entry, of: batch) }
        let operation = entry.trackedCheck
        takeQuotas(plan: entry.plan, atMs: batch.cutMs)
        var position: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            if waiter.state == .gaveUp {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: false) }
                continue
            }
            position += 1
            if waiter.state == .admittedLocally {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: true) }
                continue
            }
            let allowed = entry.isPeek ? admitted == 1 : position <= admitted
            if !allowed, operation == nil, table[rulesOf: entry.plan].isLeased,
                let decision = decideFromLease(
                    plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                    hasWaited: true, now: now)
            {
                // A block has come since it was asked.
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
                continue
            }
            var evaluation = Evaluation(
                allowed: allowed, wantsTrace: waiter.wantsTrace || operation?.idempotencyKey != nil)
            findShared(
                entry, numbers: numbers, laterOnes: allowed && !entry.isPeek ? admitted - position : 0,
                decidedMs: decidedMs, nowMs: nowMs, into: &evaluation)
            if let operation {
                var decision = conclude(plan: entry.plan, &evaluation, source: .shared)
                complete(
                    &decision, operation, plan: entry.plan, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                    reported: numbers, atMs: decidedMs, now: now)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            } else {
                let decision = conclude(plan: entry.plan, &evaluation, source: .shared)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            }
        }
    }

    /// Stores the usage that the reply reports for an entry's counters.
    ///
    /// - Parameter charged: how many of its checks the store charged.
    mutating func observe(
        _ entry: PendingBatch.Entry, of batch: borrowing PendingBatch, numbers: ArraySlice<Int64>, charged: Int64,
        decidedMs: Int64, now: ClockReading
    ) {
        let sentAt = SentTime(ns: batch.sentNs)
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let first = at
            let usage = usage(plan: entry.plan, index, numbers, &at)
            if table[rulesOf: entry.plan].limits[index].isShadow {
                countShadowDenials(entry, index, usage, cutMs: batch.cutMs, decidedMs: decidedMs)
            }
            let isLess = table[counter].observe(
                usage, cutMs: batch.cutMs, decidedMs: decidedMs, sentAt: sentAt, epoch: reconciler.storeEpoch,
                keepsShare: keepsShare, believesLess: false)
            if isLess {
                heardLess(entry, index, usage, charged: charged, of: batch, decidedMs: decidedMs, now: now)
            }
            if table[counter].algorithm == .slidingLog {
                table[counter].observeLog(numbers[first...])
                table.countBytes(ofLog: counter)
            }
            if table[counter].algorithm == .tokenBucket {
                table[counter].updateQuota(table[rulesOf: entry.plan].limits[index].quota)
            }
            if entry.locallyAdmitted > 0 {
                let quota = table[rulesOf: entry.plan].limits[index].quota
                guard entry.action.changes(quota) else { continue }
                if entry.action == .refund {
                    table[counter].gaveBack(entry.cost, quota, isReported: true, cutMs: batch.cutMs)
                } else if table[counter].algorithm == .slidingLog {
                    table[counter].markLogStored(reservations.chargedTwice(entry, of: batch, quota, charged: charged))
                } else {
                    let amount = reservations.chargedTwice(
                        entry, of: batch, table[counter], quota, charged: charged)
                    table[counter].markStored(amount, quota: quota, cutMs: batch.cutMs)
                }
                recorder.noteOutcome(counter, in: &table)
            }
        }
    }

    /// Counts the checks of an entry that a shadow limit would have denied, before its usage is observed. The store
    /// reports how many it would have denied of all replicas: those since the last report are taken for this entry's,
    /// up to its checks, and only if no room is left.
    private mutating func countShadowDenials(
        _ entry: PendingBatch.Entry, _ index: Int, _ usage: Usage, cutMs: Int64, decidedMs: Int64
    ) {
        guard !entry.isPeek, usage.denials > 0 else { return }
        let counter = table.counter(ofPlan: entry.plan, index)
        let window = table.bounds(ofCounter: counter, at: cutMs)
        let quota = table[rulesOf: entry.plan].limits[index].quota.at(window)
        guard quota.left(usage, nowMs: decidedMs) < quota.units(ofCost: entry.cost) else { return }
        let earlier = table[counter].windowStartMs == window.startMs ? table[counter].sharedDenials : 0
        let count = min(entry.sentCount, usage.denials - earlier)
        guard count > 0 else { return }
        statistics.figures.rules.countShadowDenials(count, of: table[rulesOf: entry.plan].limits[index].words)
    }

    /// Reads the next usage in the reply, for one of a plan's limits.
    @inline(__always)
    mutating func usage(plan: PlanID, _ index: Int, _ numbers: ArraySlice<Int64>, _ at: inout Int) -> Usage {
        let count = table[rulesOf: plan].limits[index].usageCount
        defer { at += count }
        return Usage(
            numbers[at..<at + count], of: table[rulesOf: plan].limits[index].quota.algorithm,
            isShadow: table[rulesOf: plan].limits[index].isShadow)
    }

    /// Fills `currentQuotas` with the quotas of a plan's limits, in the windows that contain `atMs`.
    mutating func takeQuotas(plan: PlanID, atMs: Int64) {
        currentQuotas.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let window = table.bounds(ofCounter: table.counter(ofPlan: plan, index), at: atMs)
            currentQuotas.append(table[rulesOf: plan].limits[index].quota.at(window))
        }
    }

    /// What the store found for an entry's limits, for one of its checks. `takeQuotas` must have been called with the
    /// time that cut the windows.
    ///
    /// - Parameters:
    ///   - laterOnes: how many later checks of this entry were admitted; their charges are not in this check's usage.
    ///   - decidedMs: the time by which the store decided; `nowMs` is when the answer is sent.
    mutating func findShared(
        _ entry: borrowing PendingBatch.Entry, numbers: ArraySlice<Int64>, laterOnes: Int64, decidedMs: Int64,
        nowMs: Int64, into evaluation: inout Evaluation
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let quota = currentQuotas[index]
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            var usage = usage(plan: entry.plan, index, numbers, &at)
            if laterOnes > 0 && !isShadow {
                usage.used -= quota.charge(cost: entry.cost, count: laterOnes)
            }
            let left = quota.left(usage, nowMs: decidedMs)
            let fits = (evaluation.allowed && !isShadow) || left >= quota.units(ofCost: entry.cost)
            let limitEvaluation = LimitEvaluation(
                index: index, capacity: quota.capacity, left: left, fits: fits,
                waitMs: fits ? 0 : quota.retryAfterMs(cost: entry.cost, usage, nowMs: nowMs),
                resetMs: quota.resetMs(usage, nowMs: nowMs))
            if evaluation.wantsTrace {
                evaluation.add(trace(plan: entry.plan, quota, usage, limitEvaluation, nowMs: decidedMs))
            }
            evaluation.add(limitEvaluation, of: table[rulesOf: entry.plan].limits[index])
        }
    }
}
