import SluicePolicy

/// What the store is told beside checks: what was admitted here without it, what it has forgotten, and that this replica
/// lives.
///
/// Payments go out ahead of the checks of the same batch. So a counter turns shared again in the very script that settles
/// it: no check is decided by a tally that lacks what this replica knows. Whether a batch without an answer ran, its
/// replica's marker tells, and until then nothing of it is told again: so everything is added once.
extension Limiter {
    /// Something was admitted here that the store is to be told.
    mutating func enterJournal(_ counter: Int) {
        noteChange(counter)
        journal.markUnsettled()
        guard configuration.usesStore, !table[counter: counter].isJournalled else { return }
        table[counter: counter].isJournalled = true
        table[counter: counter].references += 1
        journal.append(counter)
    }

    /// How many replicas share what is left while the store is away.
    package var replicaCount: Int64 { live.view.count }

    /// How many counters hold something that the store is to be told.
    package var journalCount: Int { journal.count }

    // MARK: - Sending

    /// Puts what a counter owes ahead of the checks of a batch.
    mutating func pay(_ counter: Int, in batch: inout PendingBatch, nowMs: Int64) {
        if isWithinShare { table[counter: counter].beginShare(shareEpoch) }
        let maxAddition = configuration.maxAddition
        for debt in table[counter: counter].debts(nowMs: nowMs, epoch: storeEpoch, maxAddition: maxAddition) {
            if !writesBack && debt.kind == .addition { continue }
            journal.markUnsettled()
            table[counter: counter].send(debt)
            table.beginPayment(counter)
            tie(counter)
            let payment = PendingBatch.Payment(counter: counter, debt: debt)
            write(payment)
            batch.payments.append(payment)
            if debt.kind == .addition { batch.settles = true }
        }
    }

    /// Puts a payment into `wire`, as its counter stands.
    mutating func write(_ payment: PendingBatch.Payment) {
        let debt = payment.debt
        wire.appendKey(table[counter: payment.counter].key(ofWindowAt: debt.windowMs))
        wire.charges.append(
            Batch.Charge(terms: table[counter: payment.counter].terms(of: debt), verifiesTimeToLive: false))
        if debt.kind == .offer { wire.specials.append(.offer) }
        wire.entries.append(
            Batch.Entry(
                cost: debt.amount, count: 1, firstCharge: wire.charges.count - 1, chargeCount: 1,
                special: debt.kind == .offer ? wire.specials.count - 1 : -1))
    }

    /// What the counters of a batch's checks owe, and then some of what others do.
    mutating func payDebts(in batch: inout PendingBatch, nowMs: Int64) {
        for index in batch.entries.indices where batch.entries[index].plan >= 0 && batch.entries[index].isWanted {
            let plan = batch.entries[index].plan
            for limit in table[rulesOf: plan].limits.indices {
                let counter = table.counter(ofPlan: plan, limit)
                if table[counter: counter].mayOwe(epoch: storeEpoch) { pay(counter, in: &batch, nowMs: nowMs) }
            }
        }
        // Others wait until all of it is written back.
        let most = isWithinShare ? EngineBounds.countersOfferedPerBatch : EngineBounds.maxPaymentsPerBatch
        for _ in 0..<(writesBack ? min(journal.count, most) : 0) {
            guard batch.payments.count < EngineBounds.maxPaymentsPerBatch, let counter = journal.popFirst() else {
                break
            }
            table[counter: counter].roll(at: nowMs)
            let before = batch.payments.count
            pay(counter, in: &batch, nowMs: nowMs)
            keepInJournal(counter, isSettled: batch.payments.count == before, nowMs: nowMs)
        }
        // Asked in this order: a counter that was looked at is not looked at again.
        while batch.payments.count < EngineBounds.maxPaymentsPerBatch, let counter = nextToOffer() {
            table[counter: counter].roll(at: nowMs)
            pay(counter, in: &batch, nowMs: nowMs)
        }
    }

    /// Whether what was admitted locally may be written back.
    var writesBack: Bool { recovery?.phase != .restoring }

    /// Whether the store has all that was admitted here without it and counts for all, and decides what this replica admits
    /// from here on.
    var hasWrittenBack: Bool {
        breaker.isClosed && writesBack && journal.isWrittenBack
            && !flying.contains { !$0.payments.isEmpty || $0.hasOvertaken } && !unresolved.contains { !$0.tellsNothing }
    }

    /// Whether there may be counters to be offered.
    var owesOffers: Bool { offerPosition < offerEnd }

    /// A batch that carries payments and nothing else; nil if there are none.
    mutating func sendPayments(now: Moment) -> LinkCommand? {
        wantsPayments = false
        guard (journal.count > 0 && writesBack) || owesOffers || memos.owes else { return nil }
        var batch = newBatch()
        write(&batch, now: now)
        guard !batch.payments.isEmpty || !batch.answers.isEmpty || owesOffers else {
            recycle(batch)
            advanceRecovery(now: now)
            return nil
        }
        flying.append(batch)
        return .send(wire)
    }

    /// What is over counts nowhere any more: the journal need not keep it.
    mutating func sweepJournal(nowMs: Int64) {
        for _ in 0..<min(journal.count, EngineBounds.plansSweptPerTick) {
            guard let counter = journal.popFirst() else { return }
            table[counter: counter].roll(at: nowMs)
            keepInJournal(counter, isSettled: false, nowMs: nowMs)
        }
    }

    private mutating func keepInJournal(_ counter: Int, isSettled: Bool, nowMs: Int64) {
        if table[counter: counter].holdsUnsettled(nowMs: nowMs) {
            journal.putBack(counter, isSettled: isSettled)
        } else {
            table[counter: counter].isJournalled = false
            table.release(counter: counter)
        }
    }

    /// The next counter of which the store told before it forgot; some thousand are looked at for each batch.
    private mutating func nextToOffer() -> Int? {
        for _ in 0..<EngineBounds.countersOfferedPerBatch {
            guard owesOffers else { return nil }
            offerPosition += 1
            if table[counter: offerPosition - 1].owesOffer(epoch: storeEpoch) { return offerPosition - 1 }
        }
        return nil
    }

    // MARK: - Answers

    /// The store told of the payments of a batch, which come first.
    mutating func paid(
        _ batch: inout PendingBatch, _ reply: BatchReply, _ at: inout Int, words: inout IndexingIterator<[String]>,
        decidedMs: Int64
    ) {
        for payment in batch.payments {
            let outcome = reply.results[at]
            at += 1
            let counter = payment.counter
            noteOutcome(counter)
            switch outcome {
            case BatchReply.windowIsOver, BatchReply.fault:
                // By the store's time nothing of it counts any more; or the next check of the counter reports it.
                if outcome == BatchReply.fault { _ = words.next() }
                // An offer is not made again: whatever lies there would refuse it again.
                if payment.debt.kind == .offer { table[counter: counter].seenEpoch = storeEpoch }
                table[counter: counter].paid(
                    payment.debt, numbers: nil, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
            default:
                if payment.debt.kind == .addition { statistics.settled += 1 }
                let count = table[counter: counter].algorithm == .slidingLog ? Batch.logTallyCount : 1
                table[counter: counter].paid(
                    payment.debt, numbers: reply.results[at..<at + count], decidedMs: decidedMs, epoch: storeEpoch,
                    keepsShare: keepsShare)
                at += count
            }
        }
        recall(&batch)
    }

    /// What has become of a batch's payments is known. What it offered and the store did not take is looked for again.
    mutating func recall(_ batch: inout PendingBatch) {
        for payment in batch.payments {
            if payment.debt.kind == .offer && table[counter: payment.counter].owesOffer(epoch: storeEpoch) {
                offerPosition = 0
            }
            table[counter: payment.counter].recall(payment.debt)
            // What is left of it, because one batch adds only so much, can be written back from now on.
            journal.markUnsettled()
            table.endPayment(payment.counter)
        }
        batch.payments.removeAll(keepingCapacity: true)
    }

    /// A batch that was not answered turned out to have run, and with it its payments.
    mutating func resolvePayments(of batch: borrowing PendingBatch) {
        for payment in batch.payments where payment.debt.kind == .addition {
            noteOutcome(payment.counter)
            table[counter: payment.counter].paid(
                payment.debt, numbers: nil, decidedMs: 0, epoch: storeEpoch, keepsShare: keepsShare)
        }
    }

    // MARK: - Signs of life

    /// When the next one is due, by the monotonic clock; nil while this replica still has something to offer.
    var nextHeartbeatNs: Int64? {
        guard let recovery else { return lastHeartbeatNs + EngineBounds.heartbeatIntervalNs }
        return recovery.phase == .writingBack || hasOffered ? lastHeartbeatNs + EngineBounds.recoveryPollNs : nil
    }

    /// A batch that shows whether the store is there, and tells it that this replica lives.
    mutating func sendHeartbeat(now: Moment) -> LinkCommand {
        var batch = unpaid() ?? newBatch()
        if nextHeartbeatNs != nil {
            lastHeartbeatNs = now.monotonicNs
            _ = batch.addEntry(special: .heartbeat)
        }
        write(&batch, now: now)
        flying.append(batch)
        return .send(wire)
    }

    /// What a batch was to settle of which it is not known whether it ran. It goes out again under the same sequence,
    /// before anything else: then it runs now, or the marker says that it had run. With a later sequence the marker
    /// would no longer tell if this answer got lost as well.
    private mutating func unpaid() -> PendingBatch? {
        guard let index = unresolved.firstIndex(where: \.settles) else { return nil }
        var again = newBatch()
        again.sequence = unresolved[index].sequence
        again.isRepeat = true
        again.settles = true
        unresolved[index].settles = false
        swap(&again.payments, &unresolved[index].payments)
        if unresolved[index].tellsNothing { recycle(unresolved.remove(at: index)) }
        return again
    }

    /// The store could not note it: what a person should know is told once, until it can again.
    mutating func heartbeatFailed(reason: String) {
        if !isHeartbeatFaulty { notify(.keyFault(reason: reason)) }
        isHeartbeatFaulty = true
    }

    /// - Parameters:
    ///   - numbers: of each replica the three of its `Heartbeat`.
    ///   - unnamed: how much else was in their lists; a person is told of it once, until there is none.
    mutating func heard(_ numbers: ArraySlice<Int64>, unnamed: Int64, now: Moment) {
        if unnamed > 0 {
            let key = String(decoding: CounterKey.replicas(prefix: configuration.keyPrefix), as: UTF8.self)
            heartbeatFailed(reason: "\(key) held \(unnamed) members that name no replica: passed over, and removed")
        } else {
            isHeartbeatFaulty = false
        }
        var replicas: [UInt64] = []
        for at in stride(from: numbers.startIndex, to: numbers.endIndex, by: 3) {
            let replica = UInt64(bitPattern: numbers[at])
            guard replica != configuration.replicas.own else { continue }
            replicas.append(replica)
            recovery?.heard(
                Heartbeat(replica: replica, seenMs: numbers[at + 1], writtenBackMs: numbers[at + 2]))
        }
        live.told(replicas, now: now)
        advanceRecovery(now: now)
    }

    // MARK: - After the store forgot

    /// Whether all that the store told of before it forgot has been offered to it, and answered.
    var hasOffered: Bool { !owesOffers && !flying.contains { !$0.payments.isEmpty } }

    /// The store lost its memory. Where others live, who may know more, checks are answered locally until they have told
    /// it; else each counter is offered ahead of its next check.
    mutating func storeForgot(timeMs: Int64, now: Moment) {
        statistics.forgotten += 1
        if forgotPace.allows(now: now) { notify(.storeForgot) }
        storeEpoch &+= 1
        memos.oweAll()
        offerPosition = 0
        // Whoever comes later was not told of before.
        offerEnd = table.counters.count
        wantsPayments = true
        forgotSequence = lastSequence
        let forgotMs = max(timeMs, clock.highestStoreMs)
        begin(
            Recovery(
                .restoring, awaiting: live.others, assumed: live.view.assumed, sinceMs: forgotMs, now: now))
    }

    // MARK: - After an outage

    /// The store is back, or there for the first time.
    ///
    /// - Parameter wasAway: whether there was a time without it, in which others may have admitted something, too.
    mutating func storeReached(wasAway: Bool, timeMs: Int64, now: Moment) {
        reportedReasons = []
        notify(.storeReached)
        live.storeReached(now: now)
        if recovery?.phase == .restoring {
            recovery?.startedNs = now.monotonicNs
        } else if wasAway {
            begin(
                Recovery(
                    .writingBack, awaiting: live.others, assumed: live.view.assumed,
                    sinceMs: max(timeMs, clock.highestStoreMs), now: now))
        }
        wantsPayments = true
        payStore()
    }

    private mutating func begin(_ next: Recovery) {
        recovery = next
        guard next.isAwaiting else { return endRecovery() }
        // Others wait for it, once it has restored all. After an outage a heartbeat was answered just now.
        if next.phase == .restoring { lastHeartbeatNs = .min / 2 }
    }

    private mutating func endRecovery() {
        recovery = nil
        shareEpoch = shareEpoch == .max ? 1 : shareEpoch + 1
        wantsPayments = true
    }

    mutating func advanceRecovery(now: Moment) {
        guard breaker.isClosed, let phase = recovery?.phase else { return }
        let isDone = phase == .restoring ? hasOffered : hasWrittenBack
        switch recovery?.advance(isDone: isDone, now: now) {
        case .writeBack?: wantsPayments = true
        case .end?: endRecovery()
        case Recovery.Action.none?, nil: return
        }
        // Others wait for what this replica says now.
        lastHeartbeatNs = .min / 2
    }
}

extension Counter {
    /// Whether it may have something to tell the store.
    func mayOwe(epoch: Int16) -> Bool { isJournalled || owesOffer(epoch: epoch) }

    func owesOffer(epoch: Int16) -> Bool { references > 0 && isSeen && seenEpoch != epoch }
}
