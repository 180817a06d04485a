import DequeModule
import SluicePolicy

/// Records what must survive a restart: local admissions, batches in flight, the counters last seen before an outage,
/// and the sequence reached.
///
/// Changes are marked as they happen and taken as records from time to time, so a crash may lose the latest
/// admissions. Write-backs are never lost or applied twice: a batch of write-backs is sent only after it is recorded
/// (`mustRecord`), and the replica's marker shows the next process whether it ran, however often answers or processes
/// are lost: until then no process sends anything that charges.
///
/// Records taken together are found all together by the next process, or not at all. The record of a batch goes
/// together with those of the counters that it changed (`markDirtyWithBatch`): without it, the batch's amount would be
/// subtracted from them again, and with that later admissions.
///
/// Local reservations, answers to checks with an id, and slots are not kept: the charge of a reservation then counts
/// in full.
struct StateRecorder {
    /// Whether the shell takes records; nothing is marked otherwise.
    let isOn: Bool
    /// Counters that changed since they were last recorded, each once, with a reference held by this list. Some of
    /// them may have been recorded since, together with a batch.
    private(set) var dirty: Deque<CounterID> = []
    /// Those of them that were changed by a batch's outcome, or that a batch in flight writes back: recorded next,
    /// together with the batch. Each once.
    private var dirtyWithBatch: [CounterID] = []
    /// Counters of an earlier process, with a reference held by this list until nothing of them counts.
    private var restored: [CounterID] = []
    /// The next position in `restored` to examine for a counter that is over.
    private var restoredPosition = 0
    /// All counters of the table before this one have been recorded, changed or not.
    private var walkPosition = Int.max
    /// Batches to be recorded again, because the outcome of some checks changed.
    private var unconfirmed: Set<Int64> = []
    /// Batches that must be recorded before they are sent.
    private var departing: Set<Int64> = []
    /// Batches with a record that is not over.
    private(set) var recorded: Set<Int64> = []
    /// Whether to record the replica's progress even if nothing else changed.
    private var wantsReplica = false
    /// The last recorded sequence.
    private var recordedSequence: Int64 = 0

    init(isOn: Bool) { self.isOn = isOn }

    // MARK: - Changes

    /// Marks a counter to be recorded.
    mutating func markDirty(_ counter: CounterID, in table: inout PlanTable) {
        guard isOn, !table[counter].isDirty else { return }
        table[counter].isDirty = true
        table[counter].references += 1
        dirty.append(counter)
    }

    /// Marks a changed counter to be recorded together with a batch.
    mutating func markDirtyWithBatch(_ counter: CounterID, in table: inout PlanTable) {
        guard isOn, table[counter].isDirty, !table[counter].isDirtyWithBatch else { return }
        table[counter].isDirtyWithBatch = true
        dirtyWithBatch.append(counter)
    }

    /// The outcome of a batch changed a counter.
    mutating func noteOutcome(_ counter: CounterID, in table: inout PlanTable) {
        markDirty(counter, in: &table)
        markDirtyWithBatch(counter, in: &table)
    }

    /// The outcome of a recorded batch, or of a part of it, is known: what is left of it is recorded again.
    mutating func noteOutcome(ofSequence sequence: Int64) {
        if recorded.contains(sequence) { unconfirmed.insert(sequence) }
    }

    /// A batch is about to be sent.
    mutating func noteDeparture(_ batch: borrowing PendingBatch) {
        guard isOn, batch.writeBacks.contains(where: { $0.writeBack.kind != .restore }) else { return }
        departing.insert(batch.sequence)
    }

    /// A check of a plan was admitted locally while its batch was in flight.
    mutating func noteUnconfirmed(_ batch: borrowing PendingBatch, plan: PlanID, in table: inout PlanTable) {
        guard isOn else { return }
        unconfirmed.insert(batch.sequence)
        for index in table[rulesOf: plan].limits.indices {
            markDirtyWithBatch(table.counter(ofPlan: plan, index), in: &table)
        }
    }

    /// Begins to record every counter, because the store, which had their usage, became unavailable.
    mutating func recordAll() {
        // A scan in progress is not restarted: with frequent outages it would never end.
        if isOn, walkPosition == .max { walkPosition = 0 }
        recordReplica()
    }

    /// The replica's progress must be recorded.
    mutating func recordReplica() { if isOn { wantsReplica = true } }

    // MARK: - Counters and batches of an earlier process

    /// Whether any counter of an earlier process is kept.
    var hasRestored: Bool { !restored.isEmpty }

    /// Keeps a counter of an earlier process until nothing of it counts. It has a reference already.
    mutating func keepRestored(_ counter: CounterID, in table: inout PlanTable) {
        table[counter].isRestored = true
        restored.append(counter)
    }

    /// A batch of an earlier process, which recorded it, was in flight.
    mutating func keepRestored(sequence: Int64) { recorded.insert(sequence) }

    /// Releases counters that were kept only because an earlier process left them.
    ///
    /// - Parameter sharedEpoch: see `Reconciler.sharedEpoch`.
    mutating func sweep(_ table: inout PlanTable, lastSequence: Int64, sharedEpoch: Int16?, nowMs: Int64) {
        guard isOn else { return }
        if lastSequence - recordedSequence >= EngineBounds.sequencesPerRecord { wantsReplica = true }
        for _ in 0..<min(restored.count, EngineBounds.plansSweptPerTick) {
            if restoredPosition >= restored.count { restoredPosition = 0 }
            let counter = restored[restoredPosition]
            guard Self.isOver(counter, in: table, sharedEpoch: sharedEpoch, nowMs: nowMs),
                !table[counter].isJournalled
            else {
                restoredPosition += 1
                continue
            }
            restored.swapAt(restoredPosition, restored.count - 1)
            restored.removeLast()
            table[counter].isRestored = false
            table.release(counter: counter)
        }
    }

    /// Whether a counter of an earlier process need not be kept any longer: nothing of it counts, or the table needs
    /// the room and the store has all of it.
    private static func isOver(
        _ counter: CounterID, in table: borrowing PlanTable, sharedEpoch: Int16?, nowMs: Int64
    ) -> Bool {
        if let sharedEpoch, table.bytes > table.maxBytes / 2,
            table[counter].isStored(epoch: sharedEpoch, nowMs: nowMs)
        {
            return true
        }
        return table[counter].isQuiet(nowMs: nowMs, quota: table[counter].bucketQuota)
    }

    // MARK: - Taking records

    /// How many changes are not recorded yet. Called for each check.
    func unrecordedCount(_ table: borrowing PlanTable, _ ledger: borrowing BatchLedger) -> Int {
        dirty.count + unconfirmed.count + departing.count + endedFlights(ledger).count
            + max(0, table.counters.count - walkPosition) + (wantsReplica ? 1 : 0)
    }

    /// Whether changes must be recorded before a batch may be sent. Called for each batch.
    func mustRecord(_ ledger: borrowing BatchLedger) -> Bool { !departing.isEmpty || !endedFlights(ledger).isEmpty }

    /// Recorded batches whose outcome is known by now.
    private func endedFlights(_ ledger: borrowing BatchLedger) -> [Int64] {
        var ended: [Int64] = []
        for sequence in recorded where !ledger.isOpen(sequence) { ended.append(sequence) }
        return ended
    }

    /// What `Limiter.takeRecords` is asked for.
    struct Request {
        var seenToo: Bool
        var counterCount: Int
        var replica: ReplicaState
        /// See `FlightState.keys`.
        var flightKeys: String
        /// As in `Counter.state`.
        var epoch: Int16
        var outage: Int16
        var nowMs: Int64
    }

    /// See `Limiter.takeRecords`.
    mutating func take(
        _ request: Request, into records: inout [StateRecord], from table: inout PlanTable,
        _ ledger: borrowing BatchLedger
    ) {
        records.append(.replica(request.replica))
        wantsReplica = false
        recordedSequence = ledger.lastSequence
        for counter in dirtyWithBatch { record(counter, request, into: &records, from: &table) }
        dirtyWithBatch.removeAll(keepingCapacity: true)
        for _ in 0..<request.counterCount {
            guard let counter = dirty.popFirst() else { break }
            record(counter, request, into: &records, from: &table)
        }
        walk(request, into: &records, from: table)
        for sequence in unconfirmed.union(departing).sorted() where ledger.isOpen(sequence) {
            let state = FlightState(sequence, of: request.flightKeys, ledger, table)
            if state.isOver { continue }
            records.append(.flight(state))
            recorded.insert(sequence)
        }
        unconfirmed.removeAll()
        departing.removeAll()
        for sequence in endedFlights(ledger).sorted() {
            records.append(.flight(FlightState(keys: request.flightKeys, sequence: sequence)))
            recorded.remove(sequence)
        }
    }

    /// Records a changed counter, unless it has been recorded since.
    private func record(
        _ counter: CounterID, _ request: borrowing Request, into records: inout [StateRecord],
        from table: inout PlanTable
    ) {
        guard table[counter].isDirty else { return }
        if let state = table[counter].state(epoch: request.epoch, outage: request.outage) {
            records.append(.counter(state))
        }
        table[counter].isDirty = false
        table[counter].isDirtyWithBatch = false
        table.release(counter: counter)
    }

    /// Records the next counters of the table, changed or not.
    private mutating func walk(
        _ request: borrowing Request, into records: inout [StateRecord], from table: borrowing PlanTable
    ) {
        guard dirty.isEmpty, walkPosition < table.counters.count else { return }
        let end = min(table.counters.count, walkPosition + request.counterCount)
        for row in walkPosition..<end where table.counters[row].references > 0 {
            guard let state = table.counters[row].state(epoch: request.epoch, outage: request.outage),
                !state.isVoid(nowMs: request.nowMs),
                request.seenToo || state.isUnsent
            else { continue }
            records.append(.counter(state))
        }
        walkPosition = end == table.counters.count ? .max : end
    }
}

extension FlightState {
    /// Everything in flight or unconfirmed under that sequence; empty if it is over.
    fileprivate init(_ sequence: Int64, of keys: String, _ ledger: borrowing BatchLedger, _ table: borrowing PlanTable)
    {
        self.init(keys: keys, sequence: sequence)
        for batch in ledger.inFlight + ledger.unconfirmed where batch.sequence == sequence {
            for sent in batch.writeBacks {
                let item = Item(
                    baseKey: Array(table[sent.counter].baseKey), isRestore: sent.writeBack.kind == .restore,
                    isRefund: sent.writeBack.kind == .decrement,
                    amount: sent.writeBack.amount, windowMs: sent.writeBack.windowMs)
                writeBacks.append(item)
            }
            for waiter in batch.waiters where waiter.state == .admittedLocally {
                unconfirmed += Self.unconfirmed(of: waiter, in: batch, table)
            }
        }
    }

    /// What a batch may have charged for a check that was also admitted locally.
    private static func unconfirmed(
        of waiter: PendingBatch.Waiter, in batch: PendingBatch, _ table: borrowing PlanTable
    ) -> [Item] {
        let entry = batch.entries[waiter.entry]
        guard entry.isSent, entry.hasPlan else { return [] }
        var items: [Item] = []
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let quota = table[rulesOf: entry.plan].limits[index].quota
            guard quota.algorithm != .concurrency, entry.action.changes(quota),
                table[counter].isOneWindow(waiter.admittedMs, batch.cutMs)
            else { continue }
            items.append(
                Item(
                    baseKey: Array(table[counter].baseKey), isRestore: false, isRefund: entry.action == .refund,
                    amount: min(Quota.maxExact, quota.charge(cost: entry.cost, count: 1)), windowMs: waiter.admittedMs))
        }
        return items
    }
}
