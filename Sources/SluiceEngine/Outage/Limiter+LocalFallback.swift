/// Local fallback when the store rejects, times out or disconnects.
extension Limiter {
    mutating func reject(_ batch: consuming PendingBatch, reason: String, now: ClockReading) {
        statistics.figures.count(.rejected, now: now)
        answerAllLocally(&batch, now: now)
        pauseStore(reason: reason, now: now)
        requeueSettlements(batch)
        recycle(batch)
    }

    /// Pauses a store that answers, but not as it should.
    mutating func pauseStore(reason: String, now: ClockReading) {
        let wasClosed = link.isClosed
        link.rejected(now: now)
        if wasClosed { leaveStore(reason: reason, now: now) } else { notices.storeUnavailable(reason: reason) }
    }

    /// The store became unavailable: answers all waiting checks locally, at once.
    mutating func leaveStore(reason: String, now: ClockReading) {
        statistics.outages += 1
        notices.storeUnavailable(reason: reason)
        denials.storeLeft(now: now)
        overrides.mustReadLater()
        giveUpLosses(now: now)
        recorder.recordAll()
        answerAllLocally(now: now)
    }

    mutating func answerAllLocally(now: ClockReading) {
        answerExpiredInFlight(nowNs: Int64.max, now: now)
        // Unsent settlements may be queued again meanwhile.
        for var batch in ledger.takeQueue() {
            answerAllLocally(&batch, now: now)
            requeueSettlements(batch)
            recycle(batch)
        }
    }

    mutating func answerAllLocally(_ batch: inout PendingBatch, now: ClockReading) {
        answerExpired(&batch, nowNs: Int64.max, now: now)
    }

    mutating func answerExpired(now: ClockReading) {
        answerExpiredInFlight(nowNs: now.monotonicNs, now: now)
        var batches = ledger.takeQueue()
        for index in batches.indices { answerExpired(&batches[index], nowNs: now.monotonicNs, now: now) }
        ledger.putBack(queue: batches)
    }

    private mutating func answerExpiredInFlight(nowNs: Int64, now: ClockReading) {
        var batches = ledger.takeInFlight()
        for index in batches.indices { answerExpired(&batches[index], nowNs: nowNs, now: now) }
        ledger.putBack(inFlight: batches)
    }

    private mutating func answerExpired(_ batch: inout PendingBatch, nowNs: Int64, now: ClockReading) {
        while let index = batch.takeExpired(nowNs: nowNs) {
            let waiter = batch.waiters[index]
            if waiter.deadlineNs <= now.monotonicNs { statistics.timedOut += 1 }
            let entry = batch.entries[waiter.entry]
            guard entry.hasPlan else {
                finish(waiter.ticket, .storeUnavailable, deadlineNs: waiter.deadlineNs, now: now)
                continue
            }
            returnShare(ofWaiterIn: waiter.entry, of: &batch, now: now)
            if answerAgain(waiter, entry, now: now) { continue }
            if finishLocally(waiter, entry, mayBeStored: batch.isSent, now: now) {
                batch.admitLocally(index, atMs: clock.nowMs(now))
                if batch.isSent {
                    markUnconfirmed(batch.waiters[index], of: batch, isOver: false)
                    recorder.noteUnconfirmed(batch, plan: entry.plan, in: &table)
                }
            }
        }
    }

    /// Answers a check whose id was admitted here while it waited for the store.
    mutating func answerAgain(
        _ waiter: PendingBatch.Waiter, _ entry: borrowing PendingBatch.Entry, now: ClockReading
    ) -> Bool {
        switch reservations.cachedAnswer(entry.trackedCheck, wantsTrace: waiter.wantsTrace, now: now) {
        case nil: return false
        case .sameCheck(let decision): finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
        case .otherArguments: finish(waiter.ticket, .otherArguments, deadlineNs: waiter.deadlineNs, now: now)
        }
        return true
    }

    /// The entry's own key is faulty: answers its checks, and no others, locally.
    mutating func answerLocally(_ entry: PendingBatch.Entry, of batch: PendingBatch, now: ClockReading) {
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            guard waiter.state == .waiting else { continue }
            if answerAgain(waiter, entry, now: now) { continue }
            _ = finishLocally(waiter, entry, now: now)
        }
    }

    /// No batch in flight will be answered any more.
    mutating func dropConnection() {
        for batch in ledger.takeInFlight() { keepUnconfirmed(batch) }
    }

    mutating func keepUnconfirmed(_ batch: consuming PendingBatch) {
        // Cached answers may be sent twice, so they need not wait for confirmation.
        reservations.resendAnswers(&batch)
        if !batch.mayCharge { recycle(batch) } else { ledger.addUnconfirmed(batch) }
    }
}
