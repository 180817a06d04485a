import DequeModule
import SluicePolicy

/// The state that survives a restart: local admissions, batches in flight, the counters last seen before an outage,
/// and the sequence reached.
///
/// Changes are marked as they happen and taken as records from time to time, so a crash may lose the latest
/// admissions. Write-backs are never lost or applied twice: a batch of write-backs is sent only after it is recorded
/// (`mustRecord`), and an unconfirmed one is sent again under its own sequence, before anything else. If it ran, the
/// replica's marker says so; if not, it runs now. No later batch is sent in between, so the marker shows the outcome
/// however often answers or processes are lost.
///
/// Records taken together are found all together by the next process, or not at all. The record of a batch goes
/// together with those of the counters that it changed (`tie`): without it, the batch's amount would be subtracted
/// from them again, and with that later admissions.
///
/// Local reservations, answers to checks with an id, and slots are not kept: the charge of a reservation then counts
/// in full.
extension Limiter {
    /// How many changes are not recorded yet.
    package var unrecordedCount: Int {
        changes.counters.count + changes.unconfirmed.count + changes.departing.count + endedFlights.count
            + max(0, table.counters.count - changes.walkPosition) + (changes.wantsReplica ? 1 : 0)
    }

    /// Whether there is anything to record. Called for each check, and so mutating: see `Limiter.quota`.
    package var hasChanges: Bool {
        mutating get { configuration.keepsState && unrecordedCount > 0 }
    }

    /// Whether changes must be recorded before a batch may be sent. Called for each batch.
    package var mustRecord: Bool {
        mutating get { !changes.departing.isEmpty || !endedFlights.isEmpty }
    }

    /// The time that cuts windows, ms since the epoch.
    package func nowMs(_ now: ClockReading) -> Int64 { clock.nowMs(now) }

    /// A batch is held back: no answer is due, so the store does not seem to hang.
    package mutating func batchHeld(sequence: Int64) { setSent(sequence, atNs: .max / 2) }

    /// A batch that was held back is sent now.
    package mutating func batchLeft(sequence: Int64, now: ClockReading) { setSent(sequence, atNs: now.monotonicNs) }

    private mutating func setSent(_ sequence: Int64, atNs: Int64) {
        guard let index = inFlight.firstIndex(where: { $0.sequence == sequence }) else { return }
        inFlight[index].sentNs = atNs
    }

    // MARK: - Changes

    /// Marks a counter to be recorded.
    mutating func markDirty(_ counter: Int) {
        guard configuration.keepsState, !table[counter: counter].isChanged else { return }
        table[counter: counter].isChanged = true
        table[counter: counter].references += 1
        changes.counters.append(Int32(counter))
    }

    /// Marks a counter that was changed by the outcome of a batch.
    mutating func noteOutcome(_ counter: Int) {
        markDirty(counter)
        tie(counter)
    }

    /// A counter's change belongs to a batch: both are recorded together.
    mutating func tie(_ counter: Int) {
        guard configuration.keepsState, table[counter: counter].isChanged, !table[counter: counter].isTied else {
            return
        }
        table[counter: counter].isTied = true
        changes.tied.append(Int32(counter))
    }

    /// The outcome of a recorded batch, or of a part of it, is known: what is left of it is recorded again.
    mutating func noteOutcome(ofSequence sequence: Int64) {
        if changes.recorded.contains(sequence) { changes.unconfirmed.insert(sequence) }
    }

    /// A batch is about to be sent.
    mutating func noteDeparture(_ batch: borrowing PendingBatch) {
        guard configuration.keepsState, batch.hasIncrements, !batch.isRepeat else { return }
        changes.departing.insert(batch.sequence)
    }

    /// A check of a plan was admitted locally while its batch was in flight.
    mutating func noteUnconfirmed(_ batch: borrowing PendingBatch, plan: Int) {
        guard configuration.keepsState else { return }
        changes.unconfirmed.insert(batch.sequence)
        for index in table[rulesOf: plan].limits.indices { tie(table.counter(ofPlan: plan, index)) }
    }

    /// Begins to record every counter, because the store, which had their usage, became unavailable.
    mutating func recordAll() {
        guard configuration.keepsState else { return }
        // A scan in progress is not restarted: with frequent outages it would never end.
        if changes.walkPosition == .max { changes.walkPosition = 0 }
        changes.wantsReplica = true
    }

    /// Releases counters that were kept only because an earlier process left them.
    mutating func sweepState(nowMs: Int64) {
        guard configuration.keepsState else { return }
        if lastSequence - changes.recordedSequence >= EngineBounds.sequencesPerRecord { changes.wantsReplica = true }
        for _ in 0..<min(changes.restored.count, EngineBounds.plansSweptPerTick) {
            if changes.restoredPosition >= changes.restored.count { changes.restoredPosition = 0 }
            let counter = Int(changes.restored[changes.restoredPosition])
            guard isOver(restored: counter, nowMs: nowMs), !table[counter: counter].isJournalled
            else {
                changes.restoredPosition += 1
                continue
            }
            changes.restored.swapAt(changes.restoredPosition, changes.restored.count - 1)
            changes.restored.removeLast()
            table[counter: counter].isRestored = false
            table.release(counter: counter)
        }
    }

    /// Whether a counter of an earlier process need not be kept any longer: nothing of it counts, or the table needs
    /// the room and the store has all of it.
    private func isOver(restored counter: Int, nowMs: Int64) -> Bool {
        if let sharedEpoch, table.bytes > table.maxBytes / 2,
            table[counter: counter].isStored(epoch: sharedEpoch, nowMs: nowMs)
        {
            return true
        }
        return table[counter: counter].isQuiet(nowMs: nowMs, quota: table[counter: counter].bucketQuota)
    }

    /// Recorded batches whose outcome is known by now.
    private var endedFlights: [Int64] {
        changes.recorded.isEmpty ? [] : changes.recorded.filter { !isUnderWay($0) }
    }

    private func isUnderWay(_ sequence: Int64) -> Bool {
        inFlight.contains { $0.sequence == sequence } || unconfirmed.contains { $0.sequence == sequence }
    }

    // MARK: - Taking records

    /// Appends the changes since the last call. If many counters have changed, or all are being recorded, more is left
    /// for later calls: see `hasChanges`.
    ///
    /// The caller must store the records, retrying if needed: they are not returned again. A reader must find either
    /// all records of one call or none.
    ///
    /// - Parameters:
    ///   - seenToo: whether there is room for counters with nothing to write back or restore.
    ///   - counterCount: the most counters, beside those that belong to a batch.
    package mutating func takeRecords(
        into records: inout [StateRecord], seenToo: Bool = true,
        atMost counterCount: Int = EngineBounds.countersRecordedAtOnce, now: ClockReading
    ) {
        guard hasChanges else { return }
        records.append(.replica(replicaState(now: now)))
        changes.wantsReplica = false
        changes.recordedSequence = lastSequence
        for counter in changes.tied { record(Int(counter), into: &records) }
        changes.tied.removeAll(keepingCapacity: true)
        for _ in 0..<counterCount {
            guard let counter = changes.counters.popFirst() else { break }
            record(Int(counter), into: &records)
        }
        walk(into: &records, seenToo: seenToo, atMost: counterCount, nowMs: clock.nowMs(now))
        for sequence in changes.unconfirmed.union(changes.departing).sorted() where isUnderWay(sequence) {
            let state = flightState(sequence)
            if state.writeBacks.isEmpty && state.unconfirmed.isEmpty { continue }
            records.append(.flight(state))
            changes.recorded.insert(sequence)
        }
        changes.unconfirmed.removeAll()
        changes.departing.removeAll()
        for sequence in endedFlights.sorted() {
            records.append(.flight(FlightState(sequence: sequence)))
            changes.recorded.remove(sequence)
        }
    }

    /// Records a changed counter, unless it has been recorded since.
    private mutating func record(_ counter: Int, into records: inout [StateRecord]) {
        guard table[counter: counter].isChanged else { return }
        if let state = table[counter: counter].state(epoch: storeEpoch, outage: shareEpoch) {
            records.append(.counter(state))
        }
        table[counter: counter].isChanged = false
        table[counter: counter].isTied = false
        table.release(counter: counter)
    }

    private mutating func walk(into records: inout [StateRecord], seenToo: Bool, atMost counterCount: Int, nowMs: Int64)
    {
        guard changes.counters.isEmpty, changes.walkPosition < table.counters.count else { return }
        let end = min(table.counters.count, changes.walkPosition + counterCount)
        for counter in changes.walkPosition..<end where table[counter: counter].references > 0 {
            guard let state = table[counter: counter].state(epoch: storeEpoch, outage: shareEpoch),
                !state.isVoid(nowMs: nowMs),
                seenToo || state.isUnsent
            else { continue }
            records.append(.counter(state))
        }
        changes.walkPosition = end == table.counters.count ? .max : end
    }

    private func replicaState(now: ClockReading) -> ReplicaState {
        ReplicaState(
            keyPrefix: configuration.keyPrefix, lastSequence: lastSequence,
            acknowledgedSequence: acknowledgedSequence, highestStoreMs: clock.highestStoreMs,
            aheadMs: clock.nowMs(now) - now.wallMs, others: live.others.sorted())
    }

    /// Everything in flight or unconfirmed under that sequence; empty if it is over.
    private func flightState(_ sequence: Int64) -> FlightState {
        var state = FlightState(sequence: sequence)
        for batch in inFlight + unconfirmed where batch.sequence == sequence {
            for sent in batch.writeBacks {
                let item = FlightState.Item(
                    baseKey: Array(table[counter: sent.counter].baseKey), isRestore: sent.writeBack.kind == .restore,
                    amount: sent.writeBack.amount, windowMs: sent.writeBack.windowMs)
                if batch.isQuestion { state.unconfirmed.append(item) } else { state.writeBacks.append(item) }
            }
            for waiter in batch.waiters where waiter.state == .admittedLocally {
                state.unconfirmed += unconfirmed(of: waiter, in: batch)
            }
        }
        return state
    }

    /// What a batch may have charged for a check that was also admitted locally.
    private func unconfirmed(of waiter: PendingBatch.Waiter, in batch: PendingBatch) -> [FlightState.Item] {
        let entry = batch.entries[waiter.entry]
        guard entry.isSent, entry.plan >= 0 else { return [] }
        return table[rulesOf: entry.plan].limits.indices.compactMap { index in
            let counter = table.counter(ofPlan: entry.plan, index)
            let quota = table[rulesOf: entry.plan].limits[index].quota
            guard quota.algorithm != .concurrency,
                table[counter: counter].isOneWindow(waiter.admittedMs, batch.cutMs)
            else { return nil }
            return FlightState.Item(
                baseKey: Array(table[counter: counter].baseKey), isRestore: false,
                amount: min(Quota.maxExact, quota.charge(cost: entry.cost, count: 1)), windowMs: waiter.admittedMs)
        }
    }
}

// MARK: - Restoring

extension Limiter {
    /// The result of restoring an earlier process's records.
    package struct Restoration: Sendable, Equatable {
        /// Counters that still count.
        package var counters = 0
        /// How many of those have something to write back.
        package var unsettled = 0
        /// Counters whose window is over, and records that were unreadable or belong to other keys.
        package var dropped = 0
        /// Records with numbers that no engine writes: they were skipped.
        package var implausible = 0
        /// The saved store time, if it was too far ahead of this machine's clock and was dropped; else 0.
        package var droppedStoreMs: Int64 = 0
    }

    /// Goes on from the records of an earlier process of this replica. Must be called before anything else.
    ///
    /// - Parameter records: in the order in which they were taken; later ones replace earlier ones.
    package mutating func restore(_ records: [StateRecord], now: ClockReading) -> Restoration {
        var restoration = Restoration()
        var latest: [StateRecord.Subject: StateRecord] = [:]
        for record in records {
            if record.isPlausible { latest[record.subject] = record } else { restoration.implausible += 1 }
        }
        guard case .replica(let replica)? = latest[.replica] else { return restoration }
        guard replica.keyPrefix == configuration.keyPrefix else {
            restoration.dropped = latest.count - 1
            return restoration
        }
        lastSequence = replica.lastSequence + EngineBounds.sequencesSkippedAtRestart
        acknowledgedSequence = replica.acknowledgedSequence
        changes.wantsReplica = true
        if !clock.restore(highestStoreMs: replica.highestStoreMs, aheadMs: replica.aheadMs, now: now) {
            restoration.droppedStoreMs = replica.highestStoreMs
        }
        let view = configuration.replicas
        live = LiveReplicas(
            ReplicaView(
                own: view.own, live: replica.others.isEmpty ? view.live : view.live + replica.others,
                assumed: view.assumed), now: now)
        var flights: [FlightState] = []
        for record in latest.values {
            switch record {
            case .replica: break
            case .flight(let state): flights.append(state)
            case .counter(let state): restore(state, into: &restoration, nowMs: clock.nowMs(now))
            }
        }
        for flight in flights.sorted(by: { $0.sequence < $1.sequence }) { restore(flight) }
        return restoration
    }

    private mutating func restore(_ state: CounterState, into restoration: inout Restoration, nowMs: Int64) {
        // Where the algorithm has windows, the start of one follows the last colon.
        let isStart = state.baseKey.last == UInt8(ascii: ":")
        let key = CounterKey(
            state.baseKey + (isStart ? Array("\(state.startMs)".utf8) : []), prefix: configuration.keyPrefix)
        guard !state.isVoid(nowMs: nowMs), let key, !key.isRefusals, key.algorithm.rules.keeps(state.usage) else {
            restoration.dropped += 1
            return
        }
        let index = table.insertCounter(baseKey: state.baseKey, window: key.window, algorithm: key.algorithm)
        table[counter: index].restore(state, epoch: storeEpoch, outage: shareEpoch)
        table.countBytes(ofLog: index)
        table[counter: index].isRestored = true
        changes.restored.append(Int32(index))
        restoration.counters += 1
        if state.needsRestore {
            restorePosition = 0
            restoreEnd = max(restoreEnd, index + 1)
        }
        if state.isUnsent {
            restoration.unsettled += 1
            addToJournal(index)
        }
    }

    /// Restores a batch that was in flight: the marker will show whether it ran, or it is sent again.
    private mutating func restore(_ flight: FlightState) {
        lastSequence = max(lastSequence, flight.sequence + EngineBounds.sequencesSkippedAtRestart)
        changes.recorded.insert(flight.sequence)
        for (items, isQuestion) in [(flight.unconfirmed, true), (flight.writeBacks, false)] {
            var batch = newBatch()
            batch.sequence = flight.sequence
            batch.isRepeat = !isQuestion
            batch.hasIncrements = !isQuestion
            batch.isQuestion = isQuestion
            for item in items {
                guard let counter = table.counter(named: ByteString(bytes: item.baseKey)) else { continue }
                let writeBack = WriteBack(item.isRestore ? .restore : .increment, item.amount, windowMs: item.windowMs)
                table[counter: counter].send(writeBack)
                table.beginWriteBack(counter)
                batch.writeBacks.append(PendingBatch.SentWriteBack(counter: counter, writeBack: writeBack))
            }
            if batch.writeBacks.isEmpty { recycle(batch) } else { unconfirmed.append(batch) }
        }
    }
}
