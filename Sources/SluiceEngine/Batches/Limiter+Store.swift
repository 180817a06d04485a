import SluicePolicy

/// The limiter's side towards the store: batches to send, replies, and checks whose reply does not come.
extension Limiter {
    // MARK: - Events of the link

    package mutating func linkConnected(now: ClockReading) {
        link.connected()
    }

    /// The connection could not be opened, or broke.
    package mutating func linkClosed(reason: String, now: ClockReading) {
        statistics.figures.count(.connection, now: now)
        let wasClosed = link.isClosed
        link.disconnected(now: now)
        if wasClosed { leaveStore(reason: reason, now: now) } else { notices.storeUnavailable(reason: reason) }
        dropConnection()
    }

    /// - Parameter arrivedNs: when the answer can have arrived at the earliest; nil: just now.
    package mutating func linkAnswered(
        sequence: Int64, _ result: Result<BatchReply, BatchFailure>, arrivedNs: Int64? = nil, now: ClockReading
    ) {
        guard var batch = ledger.takeAnswered(sequence: sequence) else { return }
        recorder.noteOutcome(ofSequence: sequence)
        switch result {
        case .success(let reply):
            statistics.figures.batchDurations.add(max(0, now.monotonicNs - batch.sentNs))
            answered(batch, reply, arrivedNs: arrivedNs, now: now)
        case .failure(.rejected(let reason)):
            reject(batch, reason: reason, now: now)
        case .failure(.unknown(let reason)):
            // It may have run, and stays unconfirmed until the next reply's marker shows that.
            statistics.figures.count(.unclear, now: now)
            answerAllLocally(&batch, now: now)
            keepUnconfirmed(batch)
            pauseStore(reason: reason, now: now)
        }
    }

    /// The link's next command; nil if there is none. The shell asks until it is nil.
    package mutating func nextCommand(now: ClockReading) -> LinkCommand? {
        if let command = link.takeCommand() { return command }
        if let command = denials.takeCommand() { return .listening(command) }
        if link.takeProbe() { return sendHeartbeat(now: now) }
        if let nextHeartbeatNs, now.monotonicNs >= nextHeartbeatNs {
            return sendHeartbeat(now: now)
        }
        while link.isClosed, var batch = ledger.takeNext() {
            guard write(&batch, now: now) else {
                recycle(batch)
                continue
            }
            ledger.sent(batch)
            return .send(writer.batch)
        }
        if reconciler.wantsBatch, link.isClosed, ledger.inFlight.isEmpty { return sendWriteBacks(now: now) }
        return nil
    }

    // MARK: - Sending

    /// Encodes a pending batch, with windows cut by the current time; false if nothing waits for it any more.
    @discardableResult
    mutating func write(_ batch: inout PendingBatch, now: ClockReading) -> Bool {
        let nowMs = clock.nowMs(now)
        // A separate pass: in a loop that does little else the processor fetches many counters from memory at once,
        // instead of waiting for one after the other.
        var keyByteCount = 0
        for index in batch.entries.indices where batch.entries[index].hasPlan {
            table.roll(countersOf: batch.entries[index].plan, at: nowMs)
            keyByteCount += table.baseKeyByteCount(ofPlan: batch.entries[index].plan) + LastStart.maxBytes
        }
        writer.begin(keyByteCount: keyByteCount)
        if link.isClosed, reconciler.journal.count > 0 || reconciler.hasRestores {
            reconciler.addWriteBacks(to: &batch, &writer, &table, &recorder, nowMs: nowMs)
        }
        let verifiesAll = ledger.lastSequence % EngineBounds.batchesPerVerification == 0
        if link.isClosed && reservations.answers.hasUnsent {
            reservations.addAnswers(to: &batch, &writer, now: now)
        }
        for index in batch.entries.indices where batch.entries[index].isWanted {
            if reconciler.isWithinShare {
                takeShare(forEntry: index, of: &batch, nowMs: nowMs, now: now)
                guard batch.entries[index].isWanted else { continue }
            }
            writeEntry(&batch.entries[index], verifiesAll: verifiesAll, nowMs: nowMs)
        }
        if !batch.entries.isEmpty && writer.isEmpty { return false }
        batch.sequence = ledger.nextSequence()
        batch.mayCharge = !writer.batch.chargesNothing
        recorder.noteDeparture(batch)
        batch.sentNs = now.monotonicNs
        batch.cutMs = nowMs
        batch.minTimeMs = clock.highestStoreMs
        writer.end(batch, ledger, clock)
        statistics.batches += 1
        if !batch.hasOnlyHeartbeats { statistics.figures.batchEntries.add(Int64(batch.entries.count)) }
        return true
    }

    private mutating func writeEntry(_ entry: inout PendingBatch.Entry, verifiesAll: Bool, nowMs: Int64) {
        entry.isSent = true
        if !entry.isHeartbeat { statistics.entries += 1 }
        guard entry.hasPlan else { return writeUncharged(entry, nowMs: nowMs) }
        // Asks for no more than an empty window can hold: checks beyond that cannot pass.
        let most = table[rulesOf: entry.plan].smallestMax / entry.cost
        entry.sentCount = entry.isPeek ? 0 : entry.operation == nil ? min(Int64(entry.unanswered), most) : 1
        statistics.coalesced += Int64(entry.unanswered)
        writer.add(entry, verifiesAll: verifiesAll, in: &table)
    }

    /// Encodes an entry that is not a check.
    private mutating func writeUncharged(_ entry: PendingBatch.Entry, nowMs: Int64) {
        switch entry.operation {
        case .settle(let key, let settlement, _)?:
            writer.add(.settle(settlement), keys: key.bytes)
        case .heartbeat?:
            writeHeartbeat(nowMs: nowMs)
        case .check?, nil: preconditionFailure("has no plan")
        }
    }

    // MARK: - Answers

    private mutating func answered(
        _ batch: consuming PendingBatch, _ reply: BatchReply, arrivedNs: Int64?, now: ClockReading
    ) {
        observeClock(reply.timeMs, sentNs: batch.sentNs, now: now)
        let isNewLoss = ledger.replied(reply, to: batch.sequence)
        // A `outOfOrder` reply shows only that no earlier batch will run any more.
        if reply.status != .outOfOrder { confirm(upTo: reply.status == .forgot ? nil : reply.previousSequence) }
        let (wasClosed, wasProbing) = (link.isClosed, link.breaker.state == .probing)
        let hadOutage =
            statistics.outages > 0 || link.breaker.failures > 0 || notices.hasOutage
            || (reconciler.journal.count > 0 && recorder.hasRestored)
        if ledger.runsNothing {
            // A single such reply is retried at once. The pauses grow if the store goes on.
            statistics.figures.count(.marker, now: now)
            pauseStore(reason: "it does not keep this replica's marker: no batch runs", now: now)
        } else {
            link.answered(sentNs: batch.sentNs, awaitsMore: !ledger.inFlight.isEmpty, arrivedNs: arrivedNs, now: now)
            if wasProbing && !link.isClosed {
                statistics.figures.count(.timeout, now: now)
                notices.storeUnavailable(reason: "its answers are too late")
            }
        }
        if !wasClosed && link.isClosed { storeReached(hadOutage: hadOutage, timeMs: reply.timeMs, now: now) }
        if reconciler.hasRestores || reservations.answers.hasUnsent {
            reconciler.wantBatch()
        }
        switch reply.status {
        case .ran:
            deliver(batch, reply, now: now)
        case .forgot:
            denials.forgetAll(now: now)
            if let found = reply.words.first {
                notices.keyFault("unexpected value in this replica's marker, overwritten: \(found.quoted)", now: now)
            }
            if isNewLoss { storeLostData(timeMs: reply.timeMs, now: now) }
            sendAgain(batch, now: now)
            // Until all replicas have restored, the store's counters are too low to decide by.
            if !asksStore { answerAllLocally(now: now) }
        case .outOfOrder:
            sendAgain(batch, now: now)
        }
    }

    private mutating func observeClock(_ timeMs: Int64, sentNs: Int64, now: ClockReading) {
        notices.storeClock(behindByMs: clock.highestStoreMs - timeMs)
        guard let followedMs = clock.observeStore(timeMs: timeMs, sentNs: sentNs, now: now) else { return }
        statistics.clockFollows += 1
        notices.storeClockFollowed(byMs: followedMs)
        // These denials were proven for windows that are no longer open.
        denials.forgetAll(now: now)
        // A restart must not go on from the time that was given up.
        recorder.recordReplica()
    }

    /// Finds out by the marker which unconfirmed batches ran: those up to `sequence` did, and the others never will.
    ///
    /// - Parameter sequence: nil after a data loss. Then everything unconfirmed is written back again, so that nothing
    ///   is lost: an admission is counted twice if another replica saw it counted and restores that. The store's
    ///   counters may still exist, so reservations of checks that were denied here are cancelled in any case.
    private mutating func confirm(upTo sequence: Int64?) {
        for batch in ledger.takeUnconfirmed() {
            recorder.noteOutcome(ofSequence: batch.sequence)
            if let sequence, batch.sequence <= sequence {
                confirm(batch)
                reconciler.confirm(batch, keepsShare: keepsShare, in: &table, &recorder)
            } else {
                requeueSettlements(batch)
                if sequence == nil { takeBack(batch) }
            }
            recycle(batch)
        }
    }

    /// An unanswered batch turned out to have run.
    private mutating func confirm(_ batch: borrowing PendingBatch) {
        takeBack(batch)
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted > 0 {
            for (index, limit) in table[rulesOf: entry.plan].limits.enumerated()
            where entry.action.changes(limit.quota) {
                let counter = table.counter(ofPlan: entry.plan, index)
                if entry.action == .refund {
                    table[counter].gaveBack(entry.cost, limit.quota, isReported: false, cutMs: batch.cutMs)
                    recorder.noteOutcome(counter, in: &table)
                    continue
                }
                if limit.quota.algorithm == .slidingLog {
                    table[counter].confirmLog(
                        reservations.chargedTwice(entry, of: batch, limit.quota, charged: entry.locallyAdmitted),
                        chargedMs: clock.highestStoreMs)
                } else {
                    let amount = reservations.chargedTwice(
                        entry, of: batch, table[counter], limit.quota, charged: entry.locallyAdmitted)
                    table[counter].confirm(amount, quota: limit.quota, cutMs: batch.cutMs)
                }
                recorder.noteOutcome(counter, in: &table)
            }
            if let tracked = entry.trackedCheck {
                reservations.confirm(tracked.reservationKey, in: &table, &reconciler)
            }
        }
    }

    /// Cancels reservations of checks that were denied here: if the store admitted them, no call uses them.
    private mutating func takeBack(_ batch: borrowing PendingBatch) {
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted == 0 && !entry.isPeek {
            if let operation = entry.trackedCheck { discardDuplicate(operation, wasAdmitted: false) }
        }
    }

    /// Delivers the reply to waiting checks in arrival order.
    private mutating func deliver(_ batch: consuming PendingBatch, _ reply: BatchReply, now: ClockReading) {
        let decidedMs = max(reply.timeMs, batch.minTimeMs)
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
                    returnShare(ofEntry: index, admitted: admitted, decidedMs: decidedMs, of: &batch, now: now)
                }
                table[entry.plan].isFaulty = false
                answer(entry, of: batch, admitted: admitted, numbers: usage, decidedMs: decidedMs, now: now)
            } else {
                deliver(entry, index, of: &batch, &cursor, now: now)
            }
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Delivers the reply to an entry that charged nothing now.
    private mutating func deliver(
        _ entry: PendingBatch.Entry, _ index: Int, of batch: inout PendingBatch, _ cursor: inout BatchReply.Cursor,
        now: ClockReading
    ) {
        if entry.held > 0 { returnShare(ofEntry: index, admitted: 0, of: &batch, now: now) }
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
        case .charged:
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
        case .charged, .windowIsOver, .fault, .otherArguments, .replayed, .heartbeat:
            preconditionFailure("no answer to a settlement")
        }
        if isDone {
            forgetDenials(settledBy: entry, now: now)
            reservations.noteSettled(entry)
        }
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
        observe(entry, of: batch, numbers: numbers, charged: charged, decidedMs: decidedMs)
        if entry.hasDenied(admitted: admitted) { rememberDenial(entry, of: batch) }
        let operation = entry.trackedCheck
        takeQuotas(plan: entry.plan, atMs: batch.cutMs)
        var position: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            if waiter.state == .left {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: false) }
                continue
            }
            position += 1
            if waiter.state == .admittedLocally {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: true) }
                continue
            }
            let allowed = entry.isPeek ? admitted == 1 : position <= admitted
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
        decidedMs: Int64
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let first = at
            let usage = usage(plan: entry.plan, index, numbers, &at)
            if table[rulesOf: entry.plan].limits[index].isShadow {
                countShadowDenials(entry, index, usage, cutMs: batch.cutMs, decidedMs: decidedMs)
            }
            table[counter].observe(
                usage, cutMs: batch.cutMs, decidedMs: decidedMs, epoch: reconciler.storeEpoch, keepsShare: keepsShare)
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
                evaluation.add(look(plan: entry.plan, quota, usage, limitEvaluation, nowMs: decidedMs))
            }
            evaluation.add(limitEvaluation, of: table[rulesOf: entry.plan].limits[index])
        }
    }

    // MARK: - Again

    /// Sends a batch that did not run again, in its place among the others.
    private mutating func sendAgain(_ batch: consuming PendingBatch, now: ClockReading) {
        for index in batch.entries.indices {
            returnShare(ofEntry: index, admitted: 0, of: &batch, now: now)
            repeatEntry(index, of: &batch)
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Marks an entry to be sent again, if a check still waits for it.
    private mutating func repeatEntry(_ index: Int, of batch: inout PendingBatch) {
        guard batch.entries[index].isWanted else { return }
        batch.entries[index].repeated = batch.repeatedCount
        batch.repeatedCount += 1
    }

    /// Moves the waiters of the marked entries to a new batch, in arrival order, which keeps their deadlines in order.
    /// After too many resends they are answered locally.
    private mutating func sendRepeated(of batch: borrowing PendingBatch, now: ClockReading) {
        guard batch.repeatedCount > 0 else { return }
        var again = ledger.newBatch()
        again.firstID = batch.firstID
        again.resends = batch.resends + 1
        for entry in batch.entries where entry.repeated >= 0 {
            _ = again.addEntry(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, chargeCount: entry.chargeCount,
                operation: entry.operation)
            if entry.hasPlan { table[entry.plan].pins += 1 }
        }
        for waiter in batch.waiters where waiter.state == .waiting && batch.entries[waiter.entry].repeated >= 0 {
            again.addWaiter(
                waiter.ticket, deadlineNs: waiter.deadlineNs, wantsTrace: waiter.wantsTrace,
                toEntry: batch.entries[waiter.entry].repeated)
        }
        guard asksStore, again.resends <= EngineBounds.maxResends else {
            answerAllLocally(&again, now: now)
            requeueSettlements(again)
            recycle(again)
            return
        }
        statistics.resends += 1
        ledger.queueAgain(again)
    }
}
