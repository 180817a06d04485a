import SluicePolicy

/// Encodes a pending batch for the store, into storage that the next one uses again.
struct BatchWriter {
    private(set) var batch = Batch()
    /// Most counters of a batch share a window.
    private var lastStart = LastStart()

    /// Begins a new batch with keys of about this many bytes in all.
    mutating func begin(keyByteCount: Int) {
        batch.removeAll()
        batch.reserve(keyByteCount: keyByteCount)
    }

    var isEmpty: Bool { batch.entries.isEmpty }

    /// Adds the charges of an entry's checks.
    ///
    /// - Parameter verifiesAll: see `Batch.Charge.verifiesTimeToLive`.
    mutating func add(_ entry: borrowing PendingBatch.Entry, verifiesAll: Bool, in table: inout PlanTable) {
        let firstCharge = batch.charges.count
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            table.appendBaseKey(ofCounter: counter, to: &batch.keyBytes)
            if table[counter].algorithm.hasWindows {
                lastStart.append(
                    table[counter].span.startMs, unitMs: table[counter].template.startUnitMs, to: &batch.keyBytes)
            }
            batch.endKey()
            if table[counter].algorithm == .slidingWindow {
                batch.appendKey(table[counter].previousKey())
            }
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            if isShadow { batch.appendKey(CounterKey.denials(of: table[counter].key)) }
            batch.charges.append(
                Batch.Charge(
                    quota: table.quota(ofPlan: entry.plan, index), isShadow: isShadow,
                    verifiesTimeToLive: verifiesAll || !table[counter].isSeen))
        }
        batch.entries.append(
            Batch.Entry(
                cost: entry.cost, count: entry.sentCount, firstCharge: firstCharge,
                chargeCount: batch.charges.count - firstCharge, operation: addOperation(of: entry, in: table)))
    }

    /// - Returns: the operation's index in the batch; -1 for a plain check.
    private mutating func addOperation(of entry: borrowing PendingBatch.Entry, in table: borrowing PlanTable) -> Int {
        guard case .check(let operation)? = entry.operation, !entry.isPeek else { return -1 }
        if operation.reservation != nil { batch.appendKey(operation.reservationKey.bytes) }
        if let key = operation.idempotencyKey { batch.appendKey(key.bytes) }
        let idempotency = operation.idempotencyKey == nil ? nil : table.idempotency(operation, plan: entry.plan)
        switch operation.action {
        case .check:
            batch.operations.append(.check(isReserved: operation.reservation != nil, idempotency: idempotency))
        case .charge: batch.operations.append(.charge(idempotency: idempotency))
        case .refund: batch.operations.append(.refund(idempotency: idempotency))
        }
        return batch.operations.count - 1
    }

    /// Adds an operation that charges nothing.
    mutating func add(_ operation: Batch.Operation, keys: [UInt8]...) {
        for key in keys { batch.appendKey(key) }
        batch.operations.append(operation)
        batch.entries.append(
            Batch.Entry(
                cost: 0, count: 0, firstCharge: batch.charges.count, chargeCount: 0,
                operation: batch.operations.count - 1))
    }

    /// Adds the clearing of one counter.
    mutating func add(_ clearing: CounterClearing, atMs nowMs: Int64, in keys: KeySpace) {
        let (key, quota) = clearing.open(atMs: nowMs)
        batch.appendKey(key.bytes(in: keys))
        if key.algorithm.slides { batch.appendKey(key.previous.bytes(in: keys)) }
        batch.charges.append(Batch.Charge(quota: quota, verifiesTimeToLive: false))
        batch.operations.append(.clear)
        batch.entries.append(
            Batch.Entry(
                cost: 1, count: 1, firstCharge: batch.charges.count - 1, chargeCount: 1,
                operation: batch.operations.count - 1))
    }

    /// Adds a write-back or restore.
    mutating func add(_ sent: PendingBatch.SentWriteBack, in table: borrowing PlanTable) {
        let writeBack = sent.writeBack
        batch.appendKey(table[sent.counter].key(ofWindowAt: writeBack.windowMs))
        batch.charges.append(
            Batch.Charge(quota: table[sent.counter].quota(of: writeBack), verifiesTimeToLive: false))
        switch writeBack.kind {
        case .increment: break
        case .decrement: batch.operations.append(.refund(idempotency: nil))
        case .restore: batch.operations.append(.restore)
        }
        batch.entries.append(
            Batch.Entry(
                cost: writeBack.amount, count: 1, firstCharge: batch.charges.count - 1, chargeCount: 1,
                operation: writeBack.kind == .increment ? -1 : batch.operations.count - 1))
    }

    /// Adds a block that is asked for: as many checks of cost 1, of which the store admits those that fit.
    mutating func add(_ sent: PendingBatch.SentLease, in table: borrowing PlanTable) {
        batch.appendKey(table[sent.counter].key)
        let window = table.open(ofCounter: sent.counter)
        batch.charges.append(
            Batch.Charge(
                quota: .fixedWindow(max: table[sent.counter].leaseMax, window: window.startMs..<window.endMs),
                verifiesTimeToLive: false))
        batch.entries.append(
            Batch.Entry(cost: 1, count: sent.amount, firstCharge: batch.charges.count - 1, chargeCount: 1))
    }

    /// Completes the batch with its sequence, and with the highest sequence and time that the store has reported.
    mutating func end(
        _ pending: borrowing PendingBatch, _ ledger: borrowing BatchLedger, _ clock: borrowing WindowClock
    ) {
        batch.sequence = pending.sequence
        batch.acknowledgedSequence = ledger.acknowledgedSequence
        batch.requiredSequence = pending.mayCharge ? ledger.lastOpenSequence : 0
        batch.forgotSinceMs = ledger.forgotSinceMs
        batch.minTimeMs = clock.highestStoreMs
        batch.isStoreBehind = clock.behindMs > 0
    }
}
