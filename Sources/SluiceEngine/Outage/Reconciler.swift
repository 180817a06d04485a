/// Brings the store up to date after outages and data losses: which counters have something to write back or to
/// restore, and in which phase of coming back this replica is.
///
/// Write-backs are sent ahead of the checks of the same batch. So a counter is shared again in the very script call
/// that writes it back, and no check is decided by a usage that lacks what this replica knows. The marker shows
/// whether an unanswered batch ran, and until then nothing of it is written back again: so everything is added once.
struct Reconciler {
    /// Whether there is a store.
    private let usesStore: Bool
    /// See `LimiterConfiguration.maxIncrement`.
    private let maxIncrement: Int64
    /// Counters with something to write back.
    private(set) var journal = Journal()
    /// Whether a batch with nothing but write-backs may be needed.
    private(set) var wantsBatch = false
    /// Counts the store's data losses. Counters last seen in an earlier epoch are restored.
    private(set) var storeEpoch: Int16 = 0
    /// The restore scan: counters before this one have been checked, and none from `restoreEnd` on needs a restore.
    private var restorePosition = 0
    private var restoreEnd = 0
    /// Set after an outage or a data loss, until every live replica has brought the store up to date.
    private(set) var recovery: Recovery?
    /// Counts finished recoveries and the first contact, so that a counter takes its share once per outage: see
    /// `Counter.beginShare`. Never 0.
    private(set) var outage: Int16 = 1

    init(usesStore: Bool, maxIncrement: Int64) {
        self.usesStore = usesStore
        self.maxIncrement = maxIncrement
    }

    // MARK: - Phases

    /// Whether the store is asked within the share.
    var isWithinShare: Bool { recovery != nil }

    /// Whether the store's counters are too low to decide by, because not all replicas have restored.
    var isRestoring: Bool { recovery?.phase == .restoring }

    /// Whether what was admitted locally may be written back. A restore sets a maximum, so an earlier increment would
    /// be lost: restore first.
    private var writesBack: Bool { !isRestoring }

    /// Whether the store has all that this replica admitted locally, not counting what batches in flight carry.
    var hasWrittenBack: Bool { writesBack && journal.isWrittenBack }

    /// Whether there may be counters to restore.
    var hasRestores: Bool { restorePosition < restoreEnd }

    /// Whether a batch would carry anything.
    var hasWork: Bool { (journal.count > 0 && writesBack) || hasRestores }

    /// A batch with nothing but write-backs may be needed.
    mutating func wantBatch() { wantsBatch = true }

    /// Such a batch is being made.
    mutating func beginBatch() { wantsBatch = false }

    /// The store lost its data. If other replicas are live, which may know more, checks are answered locally until
    /// they have restored; otherwise each counter is restored ahead of its next check.
    ///
    /// - Parameters:
    ///   - counterCount: how many counters there are. Later ones were not seen before the loss.
    ///   - sinceMs: the store's time now.
    /// - Returns: whether others wait for this replica's heartbeat, sent once it has restored.
    mutating func storeLostData(
        counterCount: Int, _ membership: borrowing Membership, sinceMs: Int64, now: ClockReading
    ) -> Bool {
        storeEpoch &+= 1
        restorePosition = 0
        restoreEnd = counterCount
        wantsBatch = true
        return begin(.restoring, membership, sinceMs: sinceMs, now: now)
    }

    /// The store is available again, or for the first time.
    ///
    /// - Parameter hadOutage: whether there was an outage before, in which other replicas may have admitted something,
    ///   too.
    mutating func storeReached(
        hadOutage: Bool, _ membership: borrowing Membership, sinceMs: Int64, now: ClockReading
    ) {
        // Heartbeats of before the outage do not show what others admitted locally since.
        if isRestoring || hadOutage {
            _ = begin(isRestoring ? .restoring : .writingBack, membership, sinceMs: sinceMs, now: now)
        } else {
            // The time before the first contact ends like an outage: the next one has shares of its own.
            endRecovery()
        }
        wantsBatch = true
    }

    /// - Returns: whether other replicas are awaited to restore.
    private mutating func begin(
        _ phase: Recovery.Phase, _ membership: borrowing Membership, sinceMs: Int64, now: ClockReading
    ) -> Bool {
        let next = Recovery(
            phase, awaiting: membership.others, assumed: membership.view.assumed, sinceMs: sinceMs, now: now)
        recovery = next
        guard next.isAwaiting else {
            endRecovery()
            return false
        }
        // After an outage a heartbeat was answered just now.
        return phase == .restoring
    }

    private mutating func endRecovery() {
        recovery = nil
        outage = outage == .max ? 1 : outage + 1
        wantsBatch = true
    }

    /// Another replica's heartbeat.
    mutating func heard(_ heartbeat: Heartbeat) { recovery?.heard(heartbeat) }

    /// Something has changed, or time has passed.
    ///
    /// - Parameter isDone: whether this replica has finished the phase.
    /// - Returns: whether a phase ended. Others wait for the heartbeat that says so.
    mutating func advance(isDone: Bool, now: ClockReading) -> Bool {
        switch recovery?.advance(isDone: isDone, now: now) {
        case .writeBack?: wantsBatch = true
        case .end?: endRecovery()
        case Recovery.Action.none?, nil: return false
        }
        return true
    }

    // MARK: - The journal

    /// Lists a counter with local admissions for writing back.
    mutating func add(_ counter: CounterID, in table: inout PlanTable) {
        journal.noteNew()
        guard usesStore, !table[counter].isJournalled else { return }
        table[counter].isJournalled = true
        table[counter].references += 1
        journal.append(counter)
    }

    /// What was unconfirmed can be written back from now on.
    mutating func noteConfirmed() { journal.noteNew() }

    /// Drops counters from the journal when nothing in them counts any more.
    mutating func sweep(_ table: inout PlanTable, nowMs: Int64) {
        for _ in 0..<min(journal.count, EngineBounds.plansSweptPerTick) {
            guard let counter = journal.popFirst() else { return }
            table[counter].roll(at: nowMs)
            putBack(counter, hasNothingNew: false, in: &table, nowMs: nowMs)
        }
    }

    private mutating func putBack(_ counter: CounterID, hasNothingNew: Bool, in table: inout PlanTable, nowMs: Int64) {
        if table[counter].hasLocalAdmissions(nowMs: nowMs) {
            journal.putBack(counter, hasNothingNew: hasNothingNew)
        } else {
            table[counter].isJournalled = false
            table.release(counter: counter)
        }
    }

    /// A counter of an earlier process must be restored.
    mutating func restore(_ counter: CounterID) {
        restorePosition = 0
        restoreEnd = max(restoreEnd, counter.row + 1)
    }

    /// The store lost this counter alone, or it was cleared and must be read.
    mutating func restoreLost(_ counter: CounterID) {
        restorePosition = hasRestores ? min(restorePosition, counter.row) : counter.row
        restoreEnd = max(restorePosition < restoreEnd ? restoreEnd : 0, counter.row + 1)
        wantsBatch = true
    }

    /// The next counter to restore, seen before the data loss; at most some thousand are examined for each batch.
    private mutating func nextRestore(in table: borrowing PlanTable) -> CounterID? {
        // Rows at the end may have been given back since.
        restoreEnd = min(restoreEnd, table.counters.count)
        for _ in 0..<EngineBounds.countersScannedForRestore {
            guard hasRestores else { return nil }
            let counter = CounterID(restorePosition)
            restorePosition += 1
            if table[counter].needsRestore(epoch: storeEpoch) { return counter }
        }
        return nil
    }

    // MARK: - Batches

    /// Adds the write-backs of the counters that a batch checks, and then some of other counters.
    mutating func addWriteBacks(
        to batch: inout PendingBatch, _ writer: inout BatchWriter, _ table: inout PlanTable,
        _ recorder: inout StateRecorder, nowMs: Int64
    ) {
        for index in batch.entries.indices where batch.entries[index].hasPlan && batch.entries[index].isWanted {
            let plan = batch.entries[index].plan
            for limit in table[rulesOf: plan].limits.indices {
                let counter = table.counter(ofPlan: plan, limit)
                if table[counter].mayNeedWriteBack(epoch: storeEpoch) {
                    addWriteBacks(of: counter, to: &batch, &writer, &table, &recorder, nowMs: nowMs)
                }
            }
        }
        // Other replicas wait until everything is written back.
        let most = isWithinShare ? EngineBounds.countersScannedForRestore : EngineBounds.maxWriteBacksPerBatch
        for _ in 0..<(writesBack ? min(journal.count, most) : 0) {
            guard batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = journal.popFirst() else {
                break
            }
            table[counter].roll(at: nowMs)
            let before = batch.writeBacks.count
            addWriteBacks(of: counter, to: &batch, &writer, &table, &recorder, nowMs: nowMs)
            putBack(counter, hasNothingNew: batch.writeBacks.count == before, in: &table, nowMs: nowMs)
        }
        // Checked in this order: `nextRestore` examines each counter only once.
        while batch.writeBacks.count < EngineBounds.maxWriteBacksPerBatch, let counter = nextRestore(in: table) {
            table[counter].roll(at: nowMs)
            addWriteBacks(of: counter, to: &batch, &writer, &table, &recorder, nowMs: nowMs)
        }
    }

    /// Adds a counter's write-backs and restores to a batch, ahead of its checks.
    private mutating func addWriteBacks(
        of counter: CounterID, to batch: inout PendingBatch, _ writer: inout BatchWriter, _ table: inout PlanTable,
        _ recorder: inout StateRecorder, nowMs: Int64
    ) {
        if isWithinShare { table[counter].beginShare(outage) }
        for writeBack in table[counter].writeBacks(nowMs: nowMs, epoch: storeEpoch, maxIncrement: maxIncrement) {
            if !writesBack && writeBack.kind != .restore { continue }
            journal.noteNew()
            table[counter].send(writeBack)
            table.beginWriteBack(counter)
            recorder.markDirtyWithBatch(counter, in: &table)
            let sent = PendingBatch.SentWriteBack(counter: counter, writeBack: writeBack)
            writer.add(sent, in: table)
            batch.writeBacks.append(sent)
        }
    }

    /// The store answered one of a batch's write-backs.
    ///
    /// - Parameters:
    ///   - numbers: the usage in the reply; nil if it was not charged: by the store's time nothing of it counts any
    ///     more, or the counter is faulty, which its next check reports.
    ///   - keepsShare: as in `Counter.observe`.
    func answered(
        _ sent: PendingBatch.SentWriteBack, numbers: ArraySlice<Int64>?, decidedMs: Int64, keepsShare: Bool,
        in table: inout PlanTable
    ) {
        // A failed restore is not repeated: the same value would make it fail again.
        if numbers == nil, sent.writeBack.kind == .restore {
            table[sent.counter].seenEpoch = storeEpoch
            table[sent.counter].isCleared = false
        }
        table[sent.counter].wroteBack(
            sent.writeBack, numbers: numbers, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
    }

    /// The outcome of a batch's write-backs is known. Restores that the store did not take are searched for again.
    mutating func clearWriteBacks(_ batch: inout PendingBatch, in table: inout PlanTable) {
        if !batch.writeBacks.isEmpty { wantsBatch = true }
        for sent in batch.writeBacks {
            if sent.writeBack.kind == .restore && table[sent.counter].needsRestore(epoch: storeEpoch) {
                restorePosition = 0
            }
            table[sent.counter].clear(sent.writeBack)
            // One batch adds at most `maxIncrement`: the rest can be written back from now on.
            journal.noteNew()
            table.endWriteBack(sent.counter)
        }
        batch.writeBacks.removeAll(keepingCapacity: true)
    }

    /// An unanswered batch turned out to have run, and with it its write-backs.
    func confirm(
        _ batch: borrowing PendingBatch, keepsShare: Bool, in table: inout PlanTable, _ recorder: inout StateRecorder
    ) {
        for sent in batch.writeBacks where sent.writeBack.kind != .restore {
            recorder.noteOutcome(sent.counter, in: &table)
            table[sent.counter].wroteBack(
                sent.writeBack, numbers: nil, decidedMs: 0, epoch: storeEpoch, keepsShare: keepsShare)
        }
    }
}

extension Counter {
    /// Whether it may have something to write back or restore.
    func mayNeedWriteBack(epoch: Int16) -> Bool { isJournalled || needsRestore(epoch: epoch) }

    func needsRestore(epoch: Int16) -> Bool { references > 0 && isSeen && (seenEpoch != epoch || isCleared) }
}
