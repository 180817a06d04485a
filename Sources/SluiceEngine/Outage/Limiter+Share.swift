import SluicePolicy

/// Checks that the store decides while not all replicas have written back. This replica admits no more than its share,
/// so that usage of others that the store does not have yet is not admitted again.
///
/// An entry's checks are taken from the share when it is sent, and those not admitted are returned when the outcome is
/// known. Waiters beyond the share are denied at once, as they would be in an outage.
extension Limiter {
    /// Takes an entry's checks from the share, and denies the waiters beyond it.
    mutating func takeShare(forEntry index: EntryIndex, of batch: inout PendingBatch, nowMs: Int64, now: ClockReading) {
        let plan = batch.entries[index].plan
        // A charge is made whatever is left.
        guard batch.entries[index].hasPlan, batch.entries[index].action == .check else { return }
        let cost = batch.entries[index].cost
        var room = Int64(batch.entries[index].unanswered)
        for limit in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, limit)
            table[counter].beginShare(reconciler.outage)
            guard isShared(limit, ofPlan: plan) else { continue }
            let quota = table.quota(ofPlan: plan, limit)
            let left = table[counter].localRemaining(quota, replicas: membership.view, nowMs: nowMs)
            room = min(room, max(0, left) / quota.units(ofCost: cost))
        }
        // A peek charges nothing: either all of them fit, or none does.
        if batch.entries[index].isPeek {
            room = room > 0 ? Int64(batch.entries[index].unanswered) : 0
        } else {
            changeShare(by: room, cost: cost, ofPlan: plan, cutMs: nowMs, nowMs: nowMs)
            batch.entries[index].held = room
            batch.outage = reconciler.outage
        }
        if room < Int64(batch.entries[index].unanswered) {
            denyBeyondShare(batch.entries[index], of: &batch, room: room, nowMs: nowMs, now: now)
        }
    }

    /// Whether replicas share what a limit admits during an outage. Limits with another `on_outage` admit all or
    /// nothing, and local slots belong to one replica.
    private func isShared(_ limit: Int, ofPlan plan: PlanID) -> Bool {
        let rule = table[rulesOf: plan].limits[limit]
        return !rule.isShadow && rule.onOutage == .local && rule.quota.algorithm != .concurrency
    }

    /// - Parameter count: how many checks of that cost are taken from the share; if negative, returned to it.
    private mutating func changeShare(
        by count: Int64, cost: Int64, ofPlan plan: PlanID, cutMs: Int64, nowMs: Int64
    ) {
        for limit in table[rulesOf: plan].limits.indices where isShared(limit, ofPlan: plan) {
            let counter = table.counter(ofPlan: plan, limit)
            let quota = table.quota(ofPlan: plan, limit)
            table[counter].takeShare(count * quota.units(ofCost: cost), quota, cutMs: cutMs, nowMs: nowMs)
        }
    }

    private mutating func denyBeyondShare(
        _ entry: PendingBatch.Entry, of batch: inout PendingBatch, room: Int64, nowMs: Int64, now: ClockReading
    ) {
        var position: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            defer { index = waiter.next }
            guard waiter.state == .waiting else { continue }
            position += 1
            guard position > room else { continue }
            batch.leave(index)
            if answerAgain(waiter, entry, now: now) { continue }
            currentQuotas.removeAll(keepingCapacity: true)
            for limit in table[rulesOf: entry.plan].limits.indices {
                currentQuotas.append(table.quota(ofPlan: entry.plan, limit))
            }
            let decision = concludeLocally(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                tracked: entry.trackedCheck, allFit: false, nowMs: nowMs, now: now)
            finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
        }
    }

    /// Before a waiter is answered locally: returns what was taken from the share for it.
    mutating func returnShare(ofWaiterIn entry: EntryIndex, of batch: inout PendingBatch, now: ClockReading) {
        guard batch.entries[entry].held > 0 else { return }
        batch.entries[entry].held -= 1
        returnShare(1, of: batch.entries[entry], in: batch, now: now)
    }

    /// Returns what the store did not admit of an entry.
    ///
    /// - Parameter decidedMs: the time by which the store decided; unused if it admitted none.
    mutating func returnShare(
        ofEntry index: EntryIndex, admitted: Int64, decidedMs: Int64 = 0, of batch: inout PendingBatch,
        now: ClockReading
    ) {
        let entry = batch.entries[index]
        guard entry.held > 0 else { return }
        batch.entries[index].held = 0
        // Checks that were admitted locally meanwhile were charged to the share separately.
        let spent = max(0, admitted - entry.locallyAdmitted)
        returnShare(entry.held - spent, of: entry, in: batch, now: now)
        guard spent > 0, batch.outage == reconciler.outage else { return }
        for limit in table[rulesOf: entry.plan].limits.indices where isShared(limit, ofPlan: entry.plan) {
            let counter = table.counter(ofPlan: entry.plan, limit)
            guard table[counter].algorithm == .slidingLog else { continue }
            let units = table[rulesOf: entry.plan].limits[limit].quota.units(ofCost: entry.cost)
            table[counter].moveShare(spent * units, fromMs: batch.cutMs, toMs: decidedMs)
        }
    }

    private mutating func returnShare(
        _ count: Int64, of entry: PendingBatch.Entry, in batch: borrowing PendingBatch, now: ClockReading
    ) {
        // A later outage has new shares.
        guard batch.outage == reconciler.outage else { return }
        changeShare(
            by: -count, cost: entry.cost, ofPlan: entry.plan, cutMs: batch.cutMs, nowMs: clock.nowMs(now))
    }
}
