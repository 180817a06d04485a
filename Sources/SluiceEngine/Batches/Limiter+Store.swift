import SluicePolicy

/// The limiter's side towards the store: batches to send, which of them ran, and what is sent again.
extension Limiter {
    // MARK: - Events of the link

    /// - Parameter announcesChanges: whether the store lets scripts publish what they lower.
    package mutating func linkConnected(announcesChanges: Bool = true, now: ClockReading) {
        self.announcesChanges = announcesChanges
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
    ///
    /// - Parameter sendsChecks: whether checks, and settlements, may be sent now.
    package mutating func nextCommand(now: ClockReading, sendsChecks: Bool = true) -> LinkCommand? {
        if let command = link.takeCommand() { return command }
        if let command = nextFeedCommand(now: now) { return .listening(command) }
        if link.takeProbe() { return sendHeartbeat(now: now) }
        if let nextHeartbeatNs, now.monotonicNs >= nextHeartbeatNs {
            return sendHeartbeat(now: now)
        }
        if mustReadOverrides { return sendHeartbeat(now: now) }
        while sendsChecks, link.isClosed, var batch = ledger.takeNext() {
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

    /// Whether checks, or settlements, could be sent now.
    var maySendChecks: Bool { link.isClosed && ledger.hasNext }

    /// When the oldest batch was sent that the store is expected to answer in time; nil if there is none.
    var awaitedSinceNs: Int64? { link.isClosed ? ledger.inFlight.first?.sentNs : nil }

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
                takeShare(forEntry: EntryIndex(index), of: &batch, nowMs: nowMs, now: now)
                guard batch.entries[index].isWanted else { continue }
            }
            writeEntry(&batch.entries[index], verifiesAll: verifiesAll, nowMs: nowMs)
        }
        if leases.hasWanted { addLeases(to: &batch, nowMs: nowMs, now: now) }
        if !batch.entries.isEmpty && writer.isEmpty { return false }
        batch.sequence = ledger.nextSequence()
        batch.mayCharge = !writer.batch.chargesNothing
        recorder.noteDeparture(batch)
        batch.sentNs = now.monotonicNs
        batch.cutMs = nowMs
        batch.minTimeMs = clock.highestStoreMs
        writer.end(batch, ledger, clock)
        statistics.batches += 1
        if !batch.hasOnlyUpkeep { statistics.figures.batchEntries.add(Int64(batch.entries.count)) }
        return true
    }

    private mutating func writeEntry(_ entry: inout PendingBatch.Entry, verifiesAll: Bool, nowMs: Int64) {
        entry.isSent = true
        if !entry.isUpkeep { statistics.entries += 1 }
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
        case .overrides(let change)?:
            writeOverrides(change)
        case .clear(let counters)?:
            for counter in counters where counter.outcome == nil {
                writer.add(counter, atMs: nowMs, in: configuration.keys)
            }
        case .check?, nil: preconditionFailure("has no plan")
        }
    }

    // MARK: - Answers

    private mutating func answered(
        _ batch: consuming PendingBatch, _ reply: BatchReply, arrivedNs: Int64?, now: ClockReading
    ) {
        // An older time, heard late, is no clock that steps back.
        if !ledger.isOutdated(reply, to: batch.sequence) {
            observeClock(reply.timeMs, sentNs: batch.sentNs, now: now)
        }
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
            giveUpLosses(now: now)
            if let found = reply.words.first {
                notices.keyFault("unexpected value in this replica's marker, overwritten: \(found.quoted)", now: now)
            }
            if isNewLoss { storeLostData(timeMs: reply.timeMs, now: now) }
            overrides.mustReadLater()
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
        overrides.clockFollowed(nowMs: clock.nowMs(now))
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
        loseLeases(batch)
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

    // MARK: - Again

    /// Sends a batch that did not run again, in its place among the others.
    private mutating func sendAgain(_ batch: consuming PendingBatch, now: ClockReading) {
        for index in batch.entries.indices.lazy.map(EntryIndex.init) {
            returnShare(ofEntry: index, admitted: 0, of: &batch, now: now)
            repeatEntry(index, of: &batch)
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Marks an entry to be sent again, if a check still waits for it.
    mutating func repeatEntry(_ index: EntryIndex, of batch: inout PendingBatch) {
        guard batch.entries[index].isWanted else { return }
        batch.entries[index].repeated = EntryIndex(batch.repeatedCount)
        batch.repeatedCount += 1
    }

    /// Moves the waiters of the marked entries to a new batch, in arrival order, which keeps their deadlines in order.
    /// After too many resends they are answered locally.
    mutating func sendRepeated(of batch: borrowing PendingBatch, now: ClockReading) {
        guard batch.repeatedCount > 0 else { return }
        var again = ledger.newBatch()
        again.firstID = batch.firstID
        again.resends = batch.resends + 1
        for entry in batch.entries where !entry.repeated.isNone {
            _ = again.addEntry(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, chargeCount: entry.chargeCount,
                operation: entry.operation)
            if entry.hasPlan { table[entry.plan].pins += 1 }
        }
        for waiter in batch.waiters where waiter.state == .waiting && !batch.entries[waiter.entry].repeated.isNone {
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
