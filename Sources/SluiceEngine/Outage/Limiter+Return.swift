import SluicePolicy

/// Coming back from an outage or a data loss: batches of write-backs, heartbeats, and the phases of a recovery. See
/// `Reconciler`.
extension Limiter {
    /// How many replicas share what is left during an outage.
    package var replicaCount: Int64 { membership.view.count }

    /// How many counters have something to write back.
    package var journalCount: Int { reconciler.journal.count }

    /// The epoch in which counters must have been seen for their row to be evicted; nil if no known row may be. While
    /// every replica counts in the store, it has all that such rows hold. In an outage the last seen usage still
    /// decides.
    var sharedEpoch: Int16? {
        configuration.usesStore && link.isClosed && !reconciler.isWithinShare ? reconciler.storeEpoch : nil
    }

    /// Whether begun shares continue whatever the store reports, because it does not have the usage of others yet.
    var keepsShare: Bool { reconciler.isWithinShare || !link.isClosed }

    /// Whether the store has all local admissions, so that all replicas may count on it, and decides every new
    /// admission here.
    package var hasWrittenBack: Bool { link.isClosed && reconciler.hasWrittenBack && !ledger.hasOpenCharges }

    /// Whether every counter seen before the data loss was restored, and the restores answered.
    private var hasRestored: Bool { !reconciler.hasRestores && !ledger.hasWriteBacksInFlight }

    // MARK: - Batches

    /// Lists a counter with local admissions for writing back.
    mutating func addToJournal(_ counter: CounterID) {
        recorder.markDirty(counter, in: &table)
        reconciler.add(counter, in: &table)
    }

    /// Sends a batch with write-backs and nothing else; nil if there are none.
    mutating func sendWriteBacks(now: ClockReading) -> LinkCommand? {
        reconciler.beginBatch()
        guard reconciler.hasWork || reservations.answers.hasUnsent || (leases.hasWanted && isShared) else { return nil }
        var batch = ledger.newBatch()
        write(&batch, now: now)
        guard !batch.writeBacks.isEmpty || !batch.answers.isEmpty || !batch.leases.isEmpty || reconciler.hasRestores
        else {
            recycle(batch)
            advanceRecovery(now: now)
            return nil
        }
        ledger.sent(batch)
        return .send(writer.batch)
    }

    /// Handles the results of a batch's write-backs, which come first in the reply.
    mutating func readWriteBackResults(
        _ batch: inout PendingBatch, _ cursor: inout BatchReply.Cursor, decidedMs: Int64
    ) {
        for sent in batch.writeBacks {
            recorder.noteOutcome(sent.counter, in: &table)
            var numbers: ArraySlice<Int64>?
            let usageCount = table[sent.counter].algorithm == .slidingLog ? Batch.logUsageCount : 1
            if case .charged(_, let usage) = cursor.next(.charge(usageCount: usageCount)) {
                numbers = usage
                switch sent.writeBack.kind {
                case .restore: if sent.writeBack.amount > 0 { statistics.figures.restores += 1 }
                default: statistics.settled += 1
                }
            }
            reconciler.answered(sent, numbers: numbers, decidedMs: decidedMs, keepsShare: keepsShare, in: &table)
        }
        reconciler.clearWriteBacks(&batch, in: &table)
    }

    // MARK: - Heartbeats

    /// When the next heartbeat is due, by the monotonic clock; nil if none may be sent.
    var nextHeartbeatNs: Int64? {
        guard link.isClosed, ledger.maySend else { return nil }
        return membership.nextHeartbeatNs(reconciler.recovery?.phase, hasRestored: hasRestored)
    }

    /// Sends a batch that tests the store and, where due, carries this replica's heartbeat.
    mutating func sendHeartbeat(now: ClockReading) -> LinkCommand {
        var batch = ledger.newBatch()
        if membership.nextHeartbeatNs(reconciler.recovery?.phase, hasRestored: hasRestored) != nil {
            membership.sentHeartbeat(now: now)
            _ = batch.addEntry(operation: .heartbeat)
        }
        if readsOverrides { _ = batch.addEntry(operation: .overrides(nil)) }
        write(&batch, now: now)
        ledger.sent(batch)
        return .send(writer.batch)
    }

    /// Encodes this replica's heartbeat.
    mutating func writeHeartbeat(nowMs: Int64) {
        writer.add(
            .heartbeat(
                lifeMs: EngineBounds.heartbeatTTLNs / 1_000_000, writtenBackMs: hasWrittenBack ? nowMs : 0),
            keys: configuration.keys.replicas, configuration.keys.writtenBack)
    }

    /// - Parameters:
    ///   - numbers: the three numbers of each replica's `Heartbeat`.
    ///   - unnamed: how many other members their lists held; reported once, until there are none.
    mutating func heard(_ numbers: ArraySlice<Int64>, unnamed: Int64, now: ClockReading) {
        if unnamed > 0 {
            let key = String(decoding: configuration.keys.replicas, as: UTF8.self)
            notices.heartbeat(fault: "\(key) held \(unnamed) members that are no replicas: ignored and removed")
        } else {
            notices.heartbeat(fault: nil)
        }
        var replicas: [UInt64] = []
        for at in stride(from: numbers.startIndex, to: numbers.endIndex, by: 3) {
            let replica = UInt64(bitPattern: numbers[at])
            guard replica != configuration.replicas.own else { continue }
            replicas.append(replica)
            reconciler.heard(Heartbeat(replica: replica, seenMs: numbers[at + 1], writtenBackMs: numbers[at + 2]))
        }
        membership.update(replicas, now: now)
        advanceRecovery(now: now)
    }

    // MARK: - Phases

    /// The store lost its data.
    mutating func storeLostData(timeMs: Int64, now: ClockReading) {
        statistics.dataLosses += 1
        notices.storeLostData(now: now)
        reservations.markAllUnsent()
        let isAwaited = reconciler.storeLostData(
            counterCount: table.counters.count, membership, sinceMs: max(timeMs, clock.highestStoreMs), now: now)
        if isAwaited { membership.hurryHeartbeat() }
    }

    /// The store is available again, or for the first time.
    mutating func storeReached(hadOutage: Bool, timeMs: Int64, now: ClockReading) {
        notices.storeReached()
        membership.storeReached(now: now)
        reconciler.storeReached(
            hadOutage: hadOutage, membership, sinceMs: max(timeMs, clock.highestStoreMs), now: now)
        sendUnsentSettlements()
    }

    mutating func advanceRecovery(now: ClockReading) {
        guard link.isClosed, reconciler.isWithinShare else { return }
        let isDone = reconciler.isRestoring ? hasRestored : hasWrittenBack
        if reconciler.advance(isDone: isDone, now: now) { membership.hurryHeartbeat() }
    }
}
