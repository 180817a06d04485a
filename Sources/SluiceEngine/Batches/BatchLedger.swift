/// Every batch from its first check until its outcome is known.
///
/// Charges happen once because of the sequences that batches carry. A batch whose answer does not come stays
/// unconfirmed until a later reply shows, by this replica's marker in the store, whether it ran.
struct BatchLedger {
    /// Batches that are being gathered. New checks join the last one.
    private(set) var queue: [PendingBatch] = []
    /// Batches that were sent and not answered, oldest first.
    private(set) var inFlight: [PendingBatch] = []
    /// Batches whose answer will not come. The next reply shows whether they ran.
    private(set) var unconfirmed: [PendingBatch] = []
    private var recycled: [PendingBatch] = []
    private let maxInFlight: Int
    private var lastID: Int64 = 0
    /// The last sequence that a batch was sent under.
    private(set) var lastSequence: Int64 = 0
    /// The highest sequence that the store is known to have.
    var acknowledgedSequence: Int64 = 0
    /// See `Batch.forgotSinceMs`.
    private(set) var forgotSinceMs: Int64 = 0
    /// Batches up to this sequence were sent before the last data loss was known.
    private var lossSequence: Int64 = 0
    /// The highest sequence that a reply said had overtaken its own. See `isOutdated`.
    private var overtakingSequence: Int64 = 0
    /// Replies in a row that say that nothing ran.
    private var unrunReplies = 0
    /// Batches up to this sequence were sent before the last of those replies.
    private var unrunSequence: Int64 = 0
    /// Checks and settlements that wait for an answer.
    private(set) var waitingCount = 0

    /// - Parameter maxInFlight: the most batches in flight, 1 to `EngineBounds.maxBatchesInFlight`.
    init(maxInFlight: Int) { self.maxInFlight = maxInFlight }

    // MARK: - Gathering

    mutating func newBatch() -> PendingBatch {
        lastID += 1
        var batch = recycled.popLast() ?? PendingBatch()
        batch.reset(id: lastID)
        return batch
    }

    /// Keeps the storage of a batch that nothing refers to any more.
    mutating func recycle(_ batch: consuming PendingBatch) {
        if recycled.count <= EngineBounds.maxBatchesInFlight { recycled.append(batch) }
    }

    /// The index of the batch that is being gathered, with room for this many more charges.
    private mutating func openBatch(charges: Int) -> Int {
        if queue.isEmpty || queue[queue.count - 1].chargeCount + charges > EngineBounds.maxChargesPerBatch {
            queue.append(newBatch())
        }
        return queue.count - 1
    }

    /// The entry, in the batch that is being gathered, that checks of this plan and cost share.
    mutating func gather(plan: PlanID, cost: Int64, isPeek: Bool, in table: inout PlanTable) -> EntryIndex {
        var first = EntryIndex.none
        if queue.isEmpty {
            queue.append(newBatch())
        } else if table[plan].batchID == queue[queue.count - 1].id {
            first = table[plan].firstEntry
            var entry = first
            while !entry.isNone {
                // Field by field: to call a method of the entry copies it, for every check.
                let place = entry.place
                if queue[queue.count - 1].entries[place].cost == cost,
                    queue[queue.count - 1].entries[place].isPeek == isPeek
                {
                    return entry
                }
                entry = queue[queue.count - 1].entries[place].nextOfPlan
            }
        }
        let charges = table[rulesOf: plan].chargeWeight
        let last = openBatch(charges: charges)
        if table[plan].batchID != queue[last].id { first = .none }
        let entry = queue[last].addEntry(plan: plan, cost: cost, isPeek: isPeek, chargeCount: charges)
        queue[last].entries[entry].nextOfPlan = first
        table[plan].batchID = queue[last].id
        table[plan].firstEntry = entry
        table[plan].pins += 1
        return entry
    }

    /// Adds the entry of a check that has one of its own to the batch that is being gathered.
    mutating func add(_ tracked: TrackedCheck, plan: PlanID, cost: Int64, isPeek: Bool, in table: inout PlanTable)
        -> EntryIndex
    {
        let charges = table[rulesOf: plan].chargeWeight + EngineBounds.chargesOfUnusualWork
        let batch = openBatch(charges: charges)
        table[plan].pins += 1
        return queue[batch].addEntry(
            plan: plan, cost: cost, isPeek: isPeek, chargeCount: charges, operation: .check(tracked))
    }

    /// Adds an entry that is not a check to the batch that is being gathered.
    mutating func add(
        _ operation: PendingBatch.Operation, charges: Int = EngineBounds.chargesOfUnusualWork
    ) -> EntryIndex {
        let batch = openBatch(charges: charges)
        return queue[batch].addEntry(
            plan: .none, cost: 0, isPeek: false, chargeCount: charges, operation: operation)
    }

    /// Adds a waiter to an entry of the batch that is being gathered.
    mutating func wait(_ ticket: Ticket, deadlineNs: Int64, wantsTrace: Bool, entry: EntryIndex) {
        queue[queue.count - 1].addWaiter(ticket, deadlineNs: deadlineNs, wantsTrace: wantsTrace, toEntry: entry)
        waitingCount += 1
    }

    /// A waiter got its answer.
    mutating func endWait() { waitingCount -= 1 }

    /// Whether no more checks may wait, or no more entries that are not shared.
    var isFull: Bool { waitingCount >= EngineBounds.maxWaitingChecks }
    var isFullOfUnusualWork: Bool { isFull || queue.count >= EngineBounds.maxQueuedUnusual }

    // MARK: - Sending

    /// Whether another batch may be sent. After a reply that nothing ran, those in flight do not run either, nor would
    /// one that requires them.
    var maySend: Bool {
        inFlight.count < maxInFlight && inFlight.first?.sequence ?? .max > unrunSequence
    }

    /// See `Batch.requiredSequence`.
    var lastOpenSequence: Int64 {
        if let index = inFlight.lastIndex(where: \.mayCharge) { return inFlight[index].sequence }
        return unconfirmed.last?.sequence ?? 0
    }

    /// The first batch that was gathered, if one may be sent.
    mutating func takeNext() -> PendingBatch? { hasNext ? queue.removeFirst() : nil }
    var hasNext: Bool { maySend && !queue.isEmpty }

    /// The sequence to send a batch under.
    mutating func nextSequence() -> Int64 {
        lastSequence += 1
        return lastSequence
    }

    mutating func sent(_ batch: consuming PendingBatch) { inFlight.append(batch) }

    /// Changes when a batch in flight was sent.
    mutating func setSent(_ sequence: Int64, atNs: Int64) {
        guard let index = inFlight.firstIndex(where: { $0.sequence == sequence }) else { return }
        inFlight[index].sentNs = atNs
    }

    /// Queues a batch that is sent again, in its place among the others.
    mutating func queueAgain(_ batch: consuming PendingBatch) {
        let firstID = batch.firstID
        queue.insert(batch, at: queue.firstIndex { $0.firstID > firstID } ?? queue.endIndex)
    }

    // MARK: - Replies

    /// Whether the store decided a reply before one that was heard earlier. Replies come in the order of sending, but a
    /// batch that was refused, and sent once more, arrives behind the later ones that were not.
    func isOutdated(_ reply: borrowing BatchReply, to sequence: Int64) -> Bool {
        switch reply.status {
        case .ran: sequence <= overtakingSequence
        case .outOfOrder: reply.previousSequence < acknowledgedSequence
        case .forgot: false
        }
    }

    /// Takes the batch in flight that was answered; nil if none has that sequence.
    mutating func takeAnswered(sequence: Int64) -> PendingBatch? {
        inFlight.firstIndex { $0.sequence == sequence }.map { inFlight.remove(at: $0) }
    }

    /// Notes what a reply says of the marker.
    ///
    /// - Returns: whether it says for the first time that the store lost its data.
    mutating func replied(_ reply: borrowing BatchReply, to sequence: Int64) -> Bool {
        unrunReplies = reply.status == .ran ? 0 : min(unrunReplies + 1, EngineBounds.maxUnrunAnswers)
        if reply.status != .ran { unrunSequence = lastSequence }
        switch reply.status {
        case .ran:
            acknowledgedSequence = sequence
            // From here on the sequence shows a data loss. An older copy of the store that repeats its earlier reply
            // must be noticed.
            forgotSinceMs = 0
        case .forgot:
            // The script wrote the marker: the store knows this replica again.
            acknowledgedSequence = sequence
            forgotSinceMs = reply.forgotSinceMs
            guard sequence > lossSequence else { return false }
            lossSequence = lastSequence
            return true
        case .outOfOrder:
            // The marker outlives a process, so it may be ahead of every sequence sent from here. No batch runs until
            // the sequence exceeds it.
            lastSequence = max(lastSequence, reply.previousSequence)
            overtakingSequence = max(overtakingSequence, reply.previousSequence)
        }
        return false
    }

    /// Whether several replies in a row said that nothing ran: the store goes on losing data, or another client writes
    /// to this replica's marker.
    var runsNothing: Bool { unrunReplies == EngineBounds.maxUnrunAnswers }

    // MARK: - Without a reply

    /// Takes all batches that are being gathered, or that are in flight. Those must be put back: deciding their checks
    /// changes other state of the limiter, never them.
    mutating func takeQueue() -> [PendingBatch] { Self.take(&queue) }
    mutating func takeInFlight() -> [PendingBatch] { Self.take(&inFlight) }
    mutating func putBack(queue batches: consuming [PendingBatch]) { queue = batches }
    mutating func putBack(inFlight batches: consuming [PendingBatch]) { inFlight = batches }

    mutating func takeUnconfirmed() -> [PendingBatch] { Self.take(&unconfirmed) }

    private static func take(_ batches: inout [PendingBatch]) -> [PendingBatch] {
        var taken: [PendingBatch] = []
        swap(&taken, &batches)
        return taken
    }

    /// The answer of a batch will not come.
    mutating func addUnconfirmed(_ batch: consuming PendingBatch) { unconfirmed.append(batch) }

    /// Whether the outcome of a sequence is open.
    func isOpen(_ sequence: Int64) -> Bool {
        inFlight.contains { $0.sequence == sequence } || unconfirmed.contains { $0.sequence == sequence }
    }

    /// Whether it is open of anything that counts, or was admitted locally, whether the store has it.
    var hasOpenCharges: Bool {
        inFlight.contains { !$0.writeBacks.isEmpty || $0.hasAdmittedLocally }
            || !unconfirmed.isEmpty
    }

    /// Whether write-backs or restores are in flight.
    var hasWriteBacksInFlight: Bool { inFlight.contains { !$0.writeBacks.isEmpty } }

    mutating func oldestDeadlineNs() -> Int64? {
        var oldest: Int64?
        for index in inFlight.indices {
            if let deadline = inFlight[index].oldestDeadlineNs() { oldest = min(oldest ?? deadline, deadline) }
        }
        for index in queue.indices {
            if let deadline = queue[index].oldestDeadlineNs() { oldest = min(oldest ?? deadline, deadline) }
        }
        return oldest
    }

    // MARK: - Restarts

    /// Goes on from what an earlier process had reached, or from a batch that it had in flight.
    mutating func restore(lastSequence: Int64, acknowledgedSequence: Int64 = 0) {
        self.lastSequence = max(self.lastSequence, lastSequence + EngineBounds.sequencesSkippedAtRestart)
        self.acknowledgedSequence = max(self.acknowledgedSequence, acknowledgedSequence)
    }

    /// Bytes that all batches hold.
    var bytes: Int {
        [queue, inFlight, unconfirmed, recycled].reduce(0) { $0 + $1.reduce(0) { $0 + $1.bytes } }
    }
}
