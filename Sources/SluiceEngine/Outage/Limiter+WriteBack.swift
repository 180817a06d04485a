import SluicePolicy

/// What the store is told beside checks: what was admitted here without it, what it has forgotten, and that this replica
/// lives.
///
/// Payments go out ahead of the checks of the same batch. So a counter turns shared again in the very script that settles
/// it: no check is decided by a tally that lacks what this replica knows. Whether a batch without an answer ran, its
/// replica's marker tells, and until then nothing of it is told again: so everything is added once.
extension Limiter {
    /// Something was admitted here that the store is to be told.
    mutating func addToJournal(_ counter: Int) {
        markDirty(counter)
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
        let maxIncrement = configuration.maxIncrement
        for writeBack in table[counter: counter].writeBacks(nowMs: nowMs, epoch: storeEpoch, maxIncrement: maxIncrement)
        {
            if !writesBack && writeBack.kind == .increment { continue }
            journal.markUnsettled()
            table[counter: counter].send(writeBack)
            table.beginPayment(counter)
            tie(counter)
            let sent = PendingBatch.SentWriteBack(counter: counter, writeBack: writeBack)
            write(sent)
            batch.writeBacks.append(sent)
            if writeBack.kind == .increment { batch.settles = true }
        }
    }

    /// Puts a payment into `outgoing`, as its counter stands.
    mutating func write(_ sent: PendingBatch.SentWriteBack) {
        let writeBack = sent.writeBack
        outgoing.appendKey(table[counter: sent.counter].key(ofWindowAt: writeBack.windowMs))
        outgoing.charges.append(
            Batch.Charge(quota: table[counter: sent.counter].quota(of: writeBack), verifiesTimeToLive: false))
        if writeBack.kind == .restore { outgoing.operations.append(.restore) }
        outgoing.entries.append(
            Batch.Entry(
                cost: writeBack.amount, count: 1, firstCharge: outgoing.charges.count - 1, chargeCount: 1,
                operation: writeBack.kind == .restore ? outgoing.operations.count - 1 : -1))
    }

    /// What the counters of a batch's checks owe, and then some of what others do.
    mutating func addWriteBacks(in batch: inout PendingBatch, nowMs: Int64) {
        for index in batch.entries.indices where batch.entries[index].plan >= 0 && batch.entries[index].isWanted {
            let plan = batch.entries[index].plan
            for limit in table[rulesOf: plan].limits.indices {
                let counter = table.counter(ofPlan: plan, limit)
                if table[counter: counter].mayNeedWriteBack(epoch: storeEpoch) {
                    pay(counter, in: &batch, nowMs: nowMs)
                }
            }
        }
        // Others wait until all of it is written back.
        let most = isWithinShare ? EngineBounds.countersScannedForRestore : EngineBounds.maxWriteBacksPerBatch
        for _ in 0..<(writesBack ? min(journal.count, most) : 0) {
            guard batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = journal.popFirst() else {
                break
            }
            table[counter: counter].roll(at: nowMs)
            let before = batch.writeBacks.count
            pay(counter, in: &batch, nowMs: nowMs)
            keepInJournal(counter, isSettled: batch.writeBacks.count == before, nowMs: nowMs)
        }
        // Asked in this order: a counter that was looked at is not looked at again.
        while batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = nextRestore() {
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
            && !inFlight.contains { !$0.writeBacks.isEmpty || $0.hasAdmittedLocally }
            && !unconfirmed.contains { !$0.tellsNothing }
    }

    /// Whether there may be counters to be offered.
    var hasRestores: Bool { restorePosition < restoreEnd }

    /// A batch that carries payments and nothing else; nil if there are none.
    mutating func sendWriteBacks(now: ClockReading) -> LinkCommand? {
        wantsWriteBacks = false
        guard (journal.count > 0 && writesBack) || hasRestores || idempotency.owes else { return nil }
        var batch = newBatch()
        write(&batch, now: now)
        guard !batch.writeBacks.isEmpty || !batch.answers.isEmpty || hasRestores else {
            recycle(batch)
            advanceRecovery(now: now)
            return nil
        }
        inFlight.append(batch)
        return .send(outgoing)
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
    private mutating func nextRestore() -> Int? {
        for _ in 0..<EngineBounds.countersScannedForRestore {
            guard hasRestores else { return nil }
            restorePosition += 1
            if table[counter: restorePosition - 1].needsRestore(epoch: storeEpoch) { return restorePosition - 1 }
        }
        return nil
    }

    // MARK: - Answers

    /// The store told of the payments of a batch, which come first.
    mutating func paid(
        _ batch: inout PendingBatch, _ reply: BatchReply, _ at: inout Int, words: inout IndexingIterator<[String]>,
        decidedMs: Int64
    ) {
        for sent in batch.writeBacks {
            let outcome = reply.results[at]
            at += 1
            let counter = sent.counter
            noteOutcome(counter)
            switch outcome {
            case BatchReply.windowIsOver, BatchReply.fault:
                // By the store's time nothing of it counts any more; or the next check of the counter reports it.
                if outcome == BatchReply.fault { _ = words.next() }
                // An offer is not made again: whatever lies there would refuse it again.
                if sent.writeBack.kind == .restore { table[counter: counter].seenEpoch = storeEpoch }
                table[counter: counter].paid(
                    sent.writeBack, numbers: nil, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
            default:
                if sent.writeBack.kind == .increment { statistics.settled += 1 }
                let count = table[counter: counter].algorithm == .slidingLog ? Batch.logUsageCount : 1
                table[counter: counter].paid(
                    sent.writeBack, numbers: reply.results[at..<at + count], decidedMs: decidedMs, epoch: storeEpoch,
                    keepsShare: keepsShare)
                at += count
            }
        }
        clearWriteBacks(&batch)
    }

    /// What has become of a batch's payments is known. What it offered and the store did not take is looked for again.
    mutating func clearWriteBacks(_ batch: inout PendingBatch) {
        for sent in batch.writeBacks {
            if sent.writeBack.kind == .restore && table[counter: sent.counter].needsRestore(epoch: storeEpoch) {
                restorePosition = 0
            }
            table[counter: sent.counter].clear(sent.writeBack)
            // What is left of it, because one batch adds only so much, can be written back from now on.
            journal.markUnsettled()
            table.endPayment(sent.counter)
        }
        batch.writeBacks.removeAll(keepingCapacity: true)
    }

    /// A batch that was not answered turned out to have run, and with it its payments.
    mutating func confirmWriteBacks(of batch: borrowing PendingBatch) {
        for sent in batch.writeBacks where sent.writeBack.kind == .increment {
            noteOutcome(sent.counter)
            table[counter: sent.counter].paid(
                sent.writeBack, numbers: nil, decidedMs: 0, epoch: storeEpoch, keepsShare: keepsShare)
        }
    }

    // MARK: - Signs of life

    /// When the next one is due, by the monotonic clock; nil while this replica still has something to offer.
    var nextHeartbeatNs: Int64? {
        guard let recovery else { return lastHeartbeatNs + EngineBounds.heartbeatIntervalNs }
        return recovery.phase == .writingBack || hasRestored ? lastHeartbeatNs + EngineBounds.recoveryPollNs : nil
    }

    /// A batch that shows whether the store is there, and tells it that this replica lives.
    mutating func sendHeartbeat(now: ClockReading) -> LinkCommand {
        var batch = unpaid() ?? newBatch()
        if nextHeartbeatNs != nil {
            lastHeartbeatNs = now.monotonicNs
            _ = batch.addEntry(operation: .heartbeat)
        }
        write(&batch, now: now)
        inFlight.append(batch)
        return .send(outgoing)
    }

    /// What a batch was to settle of which it is not known whether it ran. It goes out again under the same sequence,
    /// before anything else: then it runs now, or the marker says that it had run. With a later sequence the marker
    /// would no longer tell if this answer got lost as well.
    private mutating func unpaid() -> PendingBatch? {
        guard let index = unconfirmed.firstIndex(where: \.settles) else { return nil }
        var again = newBatch()
        again.sequence = unconfirmed[index].sequence
        again.isRepeat = true
        again.settles = true
        unconfirmed[index].settles = false
        swap(&again.writeBacks, &unconfirmed[index].writeBacks)
        if unconfirmed[index].tellsNothing { recycle(unconfirmed.remove(at: index)) }
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
    mutating func heard(_ numbers: ArraySlice<Int64>, unnamed: Int64, now: ClockReading) {
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
    var hasRestored: Bool { !hasRestores && !inFlight.contains { !$0.writeBacks.isEmpty } }

    /// The store lost its memory. Where others live, who may know more, checks are answered locally until they have told
    /// it; else each counter is offered ahead of its next check.
    mutating func storeLostData(timeMs: Int64, now: ClockReading) {
        statistics.forgotten += 1
        if forgotPace.allows(now: now) { notify(.storeLostData) }
        storeEpoch &+= 1
        idempotency.markAllUnsent()
        restorePosition = 0
        // Whoever comes later was not told of before.
        restoreEnd = table.counters.count
        wantsWriteBacks = true
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
    mutating func storeReached(wasAway: Bool, timeMs: Int64, now: ClockReading) {
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
        wantsWriteBacks = true
        queueWriteBacks()
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
        wantsWriteBacks = true
    }

    mutating func advanceRecovery(now: ClockReading) {
        guard breaker.isClosed, let phase = recovery?.phase else { return }
        let isDone = phase == .restoring ? hasRestored : hasWrittenBack
        switch recovery?.advance(isDone: isDone, now: now) {
        case .writeBack?: wantsWriteBacks = true
        case .end?: endRecovery()
        case Recovery.Action.none?, nil: return
        }
        // Others wait for what this replica says now.
        lastHeartbeatNs = .min / 2
    }
}

extension Counter {
    /// Whether it may have something to tell the store.
    func mayNeedWriteBack(epoch: Int16) -> Bool { isJournalled || needsRestore(epoch: epoch) }

    func needsRestore(epoch: Int16) -> Bool { references > 0 && isSeen && seenEpoch != epoch }
}
