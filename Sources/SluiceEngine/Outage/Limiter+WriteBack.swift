import SluicePolicy

/// What the store receives beside checks: write-backs of local admissions, restores after a data loss, and heartbeats.
///
/// Write-backs are sent ahead of the checks of the same batch. So a counter is shared again in the very script call
/// that writes it back, and no check is decided by a usage that lacks what this replica knows. The marker shows
/// whether an unanswered batch ran, and until then nothing of it is written back again: so everything is added once.
extension Limiter {
    /// Lists a counter with local admissions for writing back.
    mutating func addToJournal(_ counter: Int) {
        recorder.markDirty(counter, in: &table)
        journal.markUnsettled()
        guard configuration.usesStore, !table[counter: counter].isJournalled else { return }
        table[counter: counter].isJournalled = true
        table[counter: counter].references += 1
        journal.append(counter)
    }

    /// How many replicas share what is left during an outage.
    package var replicaCount: Int64 { live.view.count }

    /// How many counters have something to write back.
    package var journalCount: Int { journal.count }

    // MARK: - Sending

    /// Adds a counter's write-backs and restores to a batch, ahead of its checks.
    mutating func addWriteBacks(of counter: Int, in batch: inout PendingBatch, nowMs: Int64) {
        if isWithinShare { table[counter: counter].beginShare(shareEpoch) }
        let maxIncrement = configuration.maxIncrement
        for writeBack in table[counter: counter].writeBacks(nowMs: nowMs, epoch: storeEpoch, maxIncrement: maxIncrement)
        {
            if !writesBack && writeBack.kind == .increment { continue }
            journal.markUnsettled()
            table[counter: counter].send(writeBack)
            table.beginWriteBack(counter)
            recorder.markDirtyWithBatch(counter, in: &table)
            let sent = PendingBatch.SentWriteBack(counter: counter, writeBack: writeBack)
            writer.add(sent, in: table)
            batch.writeBacks.append(sent)
            if writeBack.kind == .increment { batch.kind = .writeBack }
        }
    }

    /// Adds the write-backs of the counters that a batch checks, and then some of other counters.
    mutating func addWriteBacks(in batch: inout PendingBatch, nowMs: Int64) {
        for index in batch.entries.indices where batch.entries[index].plan >= 0 && batch.entries[index].isWanted {
            let plan = batch.entries[index].plan
            for limit in table[rulesOf: plan].limits.indices {
                let counter = table.counter(ofPlan: plan, limit)
                if table[counter: counter].mayNeedWriteBack(epoch: storeEpoch) {
                    addWriteBacks(of: counter, in: &batch, nowMs: nowMs)
                }
            }
        }
        // Other replicas wait until everything is written back.
        let most = isWithinShare ? EngineBounds.countersScannedForRestore : EngineBounds.maxWriteBacksPerBatch
        for _ in 0..<(writesBack ? min(journal.count, most) : 0) {
            guard batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = journal.popFirst() else {
                break
            }
            table[counter: counter].roll(at: nowMs)
            let before = batch.writeBacks.count
            addWriteBacks(of: counter, in: &batch, nowMs: nowMs)
            keepInJournal(counter, isSettled: batch.writeBacks.count == before, nowMs: nowMs)
        }
        // Checked in this order: `nextRestore` examines each counter only once.
        while batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = nextRestore() {
            table[counter: counter].roll(at: nowMs)
            addWriteBacks(of: counter, in: &batch, nowMs: nowMs)
        }
    }

    /// Whether what was admitted locally may be written back.
    var writesBack: Bool { recovery?.phase != .restoring }

    /// Whether the store has all local admissions, so that all replicas may count on it, and decides every new
    /// admission here.
    var hasWrittenBack: Bool {
        link.isClosed && writesBack && journal.isWrittenBack && !ledger.hasOpenCharges
    }

    /// Whether there may be counters to restore.
    var hasRestores: Bool { restorePosition < restoreEnd }

    /// Sends a batch with write-backs and nothing else; nil if there are none.
    mutating func sendWriteBacks(now: ClockReading) -> LinkCommand? {
        wantsWriteBacks = false
        guard (journal.count > 0 && writesBack) || hasRestores || idempotency.hasUnsent else { return nil }
        var batch = ledger.newBatch()
        write(&batch, now: now)
        guard !batch.writeBacks.isEmpty || !batch.answers.isEmpty || hasRestores else {
            recycle(batch)
            advanceRecovery(now: now)
            return nil
        }
        ledger.sent(batch)
        return .send(writer.batch)
    }

    /// Drops counters from the journal when nothing in them counts any more.
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

    /// The next counter to restore, seen before the data loss; at most some thousand are examined for each batch.
    private mutating func nextRestore() -> Int? {
        for _ in 0..<EngineBounds.countersScannedForRestore {
            guard hasRestores else { return nil }
            restorePosition += 1
            if table[counter: restorePosition - 1].needsRestore(epoch: storeEpoch) { return restorePosition - 1 }
        }
        return nil
    }

    // MARK: - Answers

    /// Handles the results of a batch's write-backs, which come first in the reply.
    mutating func readWriteBackResults(
        _ batch: inout PendingBatch, _ reply: BatchReply, _ at: inout Int, words: inout IndexingIterator<[String]>,
        decidedMs: Int64
    ) {
        for sent in batch.writeBacks {
            let outcome = reply.results[at]
            at += 1
            let counter = sent.counter
            recorder.noteOutcome(counter, in: &table)
            switch outcome {
            case BatchReply.windowIsOver, BatchReply.fault:
                // By the store's time nothing of it counts any more; or the next check of the counter reports the
                // fault.
                if outcome == BatchReply.fault { _ = words.next() }
                // A failed restore is not repeated: the same value would make it fail again.
                if sent.writeBack.kind == .restore { table[counter: counter].seenEpoch = storeEpoch }
                table[counter: counter].wroteBack(
                    sent.writeBack, numbers: nil, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
            default:
                if sent.writeBack.kind == .increment { statistics.settled += 1 }
                let count = table[counter: counter].algorithm == .slidingLog ? Batch.logUsageCount : 1
                table[counter: counter].wroteBack(
                    sent.writeBack, numbers: reply.results[at..<at + count], decidedMs: decidedMs, epoch: storeEpoch,
                    keepsShare: keepsShare)
                at += count
            }
        }
        clearWriteBacks(&batch)
    }

    /// The outcome of a batch's write-backs is known. Restores that the store did not take are searched for again.
    mutating func clearWriteBacks(_ batch: inout PendingBatch) {
        for sent in batch.writeBacks {
            if sent.writeBack.kind == .restore && table[counter: sent.counter].needsRestore(epoch: storeEpoch) {
                restorePosition = 0
            }
            table[counter: sent.counter].clear(sent.writeBack)
            // One batch adds at most `maxIncrement`: the rest can be written back from now on.
            journal.markUnsettled()
            table.endWriteBack(sent.counter)
        }
        batch.writeBacks.removeAll(keepingCapacity: true)
    }

    /// An unanswered batch turned out to have run, and with it its write-backs.
    mutating func confirmWriteBacks(of batch: borrowing PendingBatch) {
        for sent in batch.writeBacks where sent.writeBack.kind == .increment {
            recorder.noteOutcome(sent.counter, in: &table)
            table[counter: sent.counter].wroteBack(
                sent.writeBack, numbers: nil, decidedMs: 0, epoch: storeEpoch, keepsShare: keepsShare)
        }
    }

    // MARK: - Heartbeats

    /// When the next heartbeat is due, by the monotonic clock; nil while this replica still has counters to restore.
    var nextHeartbeatNs: Int64? {
        guard let recovery else { return lastHeartbeatNs + EngineBounds.heartbeatIntervalNs }
        return recovery.phase == .writingBack || hasRestored ? lastHeartbeatNs + EngineBounds.recoveryPollNs : nil
    }

    /// Sends a batch that tests the store and, where due, carries this replica's heartbeat.
    mutating func sendHeartbeat(now: ClockReading) -> LinkCommand {
        var batch: PendingBatch
        if let (retry, emptied) = ledger.takeRetry() {
            batch = retry
            if let emptied { recycle(emptied) }
        } else {
            batch = ledger.newBatch()
        }
        if nextHeartbeatNs != nil {
            lastHeartbeatNs = now.monotonicNs
            _ = batch.addEntry(operation: .heartbeat)
        }
        write(&batch, now: now)
        ledger.sent(batch)
        return .send(writer.batch)
    }

    /// - Parameters:
    ///   - numbers: the three numbers of each replica's `Heartbeat`.
    ///   - unnamed: how many other members their lists held; reported once, until there are none.
    mutating func heard(_ numbers: ArraySlice<Int64>, unnamed: Int64, now: ClockReading) {
        if unnamed > 0 {
            let key = String(decoding: CounterKey.replicas(prefix: configuration.keyPrefix), as: UTF8.self)
            notices.heartbeat(fault: "\(key) held \(unnamed) members that are no replicas: ignored and removed")
        } else {
            notices.heartbeat(fault: nil)
        }
        var replicas: [UInt64] = []
        for at in stride(from: numbers.startIndex, to: numbers.endIndex, by: 3) {
            let replica = UInt64(bitPattern: numbers[at])
            guard replica != configuration.replicas.own else { continue }
            replicas.append(replica)
            recovery?.heard(
                Heartbeat(replica: replica, seenMs: numbers[at + 1], writtenBackMs: numbers[at + 2]))
        }
        live.update(replicas, now: now)
        advanceRecovery(now: now)
    }

    // MARK: - After a data loss

    /// Whether every counter seen before the data loss was restored, and the restores answered.
    var hasRestored: Bool { !hasRestores && !ledger.hasWriteBacksInFlight }

    /// The store lost its data. If other replicas are live, which may know more, checks are answered locally until
    /// they have restored; otherwise each counter is restored ahead of its next check.
    mutating func storeLostData(timeMs: Int64, now: ClockReading) {
        statistics.forgotten += 1
        notices.storeLostData(now: now)
        storeEpoch &+= 1
        idempotency.markAllUnsent()
        restorePosition = 0
        // Counters created later were not seen before the loss.
        restoreEnd = table.counters.count
        wantsWriteBacks = true
        let forgotMs = max(timeMs, clock.highestStoreMs)
        begin(
            Recovery(
                .restoring, awaiting: live.others, assumed: live.view.assumed, sinceMs: forgotMs, now: now))
    }

    // MARK: - After an outage

    /// The store is available again, or for the first time.
    ///
    /// - Parameter hadOutage: whether there was an outage before, in which other replicas may have admitted something,
    ///   too.
    mutating func storeReached(hadOutage: Bool, timeMs: Int64, now: ClockReading) {
        notices.storeReached()
        live.storeReached(now: now)
        if recovery?.phase == .restoring {
            recovery?.startedNs = now.monotonicNs
        } else if hadOutage {
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
        // Others wait for this replica's heartbeat, sent once it has restored. After an outage one was answered just
        // now.
        if next.phase == .restoring { lastHeartbeatNs = .min / 2 }
    }

    private mutating func endRecovery() {
        recovery = nil
        shareEpoch = shareEpoch == .max ? 1 : shareEpoch + 1
        wantsWriteBacks = true
    }

    mutating func advanceRecovery(now: ClockReading) {
        guard link.isClosed, let phase = recovery?.phase else { return }
        let isDone = phase == .restoring ? hasRestored : hasWrittenBack
        switch recovery?.advance(isDone: isDone, now: now) {
        case .writeBack?: wantsWriteBacks = true
        case .end?: endRecovery()
        case Recovery.Action.none?, nil: return
        }
        // Others wait for what this heartbeat reports.
        lastHeartbeatNs = .min / 2
    }
}

extension Counter {
    /// Whether it may have something to write back or restore.
    func mayNeedWriteBack(epoch: Int16) -> Bool { isJournalled || needsRestore(epoch: epoch) }

    func needsRestore(epoch: Int16) -> Bool { references > 0 && isSeen && seenEpoch != epoch }
}
