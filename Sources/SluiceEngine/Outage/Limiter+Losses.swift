import SluicePolicy

/// Single counters that the store has lost: see `LossWatch`.
extension Limiter {
    /// The store reports less for a counter of an entry than this replica has seen.
    ///
    /// - Parameter charged: how many checks of the entry it charged.
    mutating func heardLess(
        _ entry: borrowing PendingBatch.Entry, _ index: Int, _ usage: Usage, charged: Int64,
        of batch: borrowing PendingBatch, decidedMs: Int64, now: ClockReading
    ) {
        let amount = table[rulesOf: entry.plan].limits[index].quota.charge(cost: entry.cost, count: charged)
        heardLess(
            table.counter(ofPlan: entry.plan, index), usage, amount: amount, isRefund: entry.action == .refund,
            of: batch, decidedMs: decidedMs, now: now)
    }

    /// The same for a counter that is charged for no check alone.
    ///
    /// - Parameters:
    ///   - amount: what was charged to it.
    ///   - isRefund: whether that was given back.
    mutating func heardLess(
        _ counter: CounterID, _ usage: Usage, amount: Int64, isRefund: Bool, of batch: borrowing PendingBatch,
        decidedMs: Int64, now: ClockReading
    ) {
        // It is about to be restored: what was charged meanwhile would be lost in that.
        if table[counter].seenEpoch != reconciler.storeEpoch { return table[counter].addLost(amount) }
        if let known = losses.index(of: counter) { return losses.update(known, usage, charged: amount) }
        guard !isRefund, announcesChanges, !keepsShare, !losses.isFull, isUnexplained(counter) else {
            return believe(usage, of: counter, cutMs: batch.cutMs, decidedMs: decidedMs, sentNs: batch.sentNs)
        }
        table[counter].references += 1
        losses.add(
            counter, windowStartMs: table[counter].windowStartMs, seenAt: table[counter].seenAt,
            known: table[counter].sharedUsed, usage, cutMs: batch.cutMs, charged: amount, now: now)
    }

    /// Whether no settlement or refund was heard of since its usage was reported, and all would have been.
    private func isUnexplained(_ counter: CounterID) -> Bool {
        table[counter].seenAt != .never
            && denials.isSteady(sinceNs: table[counter].seenAt.ns, slot: table[counter].changeSlot)
    }

    private mutating func believe(
        _ usage: Usage, of counter: CounterID, cutMs: Int64, decidedMs: Int64, sentNs: Int64
    ) {
        _ = table[counter].observe(
            usage, cutMs: cutMs, decidedMs: decidedMs, sentAt: SentTime(ns: sentNs), epoch: reconciler.storeEpoch,
            keepsShare: keepsShare, believesLess: true)
    }

    /// Nothing more that could explain them is on its way.
    mutating func judgeLosses(_ suspects: [LossWatch.Suspect], now: ClockReading) {
        for suspect in suspects {
            let counter = suspect.counter
            if isStill(suspect) {
                if link.isClosed && isUnexplained(counter) {
                    lose(suspect, now: now)
                } else {
                    let nowMs = clock.nowMs(now)
                    believe(
                        suspect.usage, of: counter, cutMs: suspect.cutMs, decidedMs: nowMs, sentNs: suspect.seenAt.ns)
                }
            }
            table.release(counter: counter)
        }
    }

    /// Whether nothing else was reported meanwhile.
    private func isStill(_ suspect: LossWatch.Suspect) -> Bool {
        let counter = suspect.counter
        return table[counter].windowStartMs == suspect.windowStartMs && table[counter].seenAt == suspect.seenAt
            && table[counter].sharedUsed == suspect.known && table[counter].seenEpoch == reconciler.storeEpoch
    }

    private mutating func lose(_ suspect: LossWatch.Suspect, now: ClockReading) {
        table[suspect.counter].lose(since: suspect.charged, epoch: reconciler.storeEpoch)
        recorder.markDirty(suspect.counter, in: &table)
        reconciler.restoreLost(suspect.counter)
        statistics.counterLosses += 1
        notices.counterLost(now: now)
    }

    /// They cannot be judged: the usage that the store reports is believed.
    mutating func giveUpLosses(now: ClockReading) {
        guard !losses.isEmpty else { return _ = losses.giveUp() }
        judgeLosses(losses.giveUp(), now: now)
    }
}
