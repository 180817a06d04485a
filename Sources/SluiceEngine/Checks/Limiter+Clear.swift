import SluicePolicy

/// Clears counters for an operator: a refund of all that they hold, in the store and in the usage that replicas last saw.
extension Limiter {
    package enum ClearOutcome {
        /// The same counters with their outcomes; there is no store.
        case cleared([CounterClearing])
        /// The answer comes as a completion, within the budget.
        case waiting
        /// Too many checks wait already.
        case overloaded
        /// Counting is not shared at present. Nothing was cleared: what other replicas know and will write back or restore
        /// would bring the usage back, and what this replica admitted meanwhile would be beyond the maximum.
        case storeUnavailable
    }

    /// Clears counters of one grant, in one call of the store.
    ///
    /// - Parameters:
    ///   - keys: at most `EngineBounds.maxCountersPerClear`. Of those that count slots only the number is reported.
    ///   - ticket: returned with the completion if the outcome is `waiting`.
    package mutating func clear(_ keys: [CounterKey], ticket: Ticket, now: ClockReading) -> ClearOutcome {
        precondition(keys.count <= EngineBounds.maxCountersPerClear)
        let counters = keys.map { CounterClearing($0, quota(of: $0)) }
        guard configuration.usesStore else { return .cleared(clearLocally(counters, now: now)) }
        guard isShared else { return .storeUnavailable }
        guard !counters.isEmpty else { return .cleared([]) }
        guard !ledger.isFullOfUnusualWork else { return .overloaded }
        let entry = ledger.add(.clear(counters), charges: counters.count * EngineBounds.chargesOfUnusualWork)
        wait(ticket, wantsTrace: false, entry: entry, now: now)
        return .waiting
    }

    // MARK: - Replies of the store

    /// The store answered an entry that clears counters. Those whose window has ended meanwhile are asked for again if they
    /// still count.
    mutating func deliver(
        _ asked: [CounterClearing], _ index: EntryIndex, of batch: inout PendingBatch,
        _ cursor: inout BatchReply.Cursor, decidedMs: Int64, now: ClockReading
    ) {
        var counters = asked
        for at in counters.indices where counters[at].outcome == nil {
            let (_, quota) = counters[at].open(atMs: batch.cutMs)
            let charge = Batch.Charge(quota: quota, verifiesTimeToLive: false)
            switch cursor.next(.charge(usageCount: charge.usageCount)) {
            case .charged(_, let numbers):
                let usage = Usage(numbers, of: quota.algorithm, isShadow: false)
                note(quota.used(usage, nowMs: decidedMs), of: &counters[at])
            case .fault(let reason):
                statistics.faults += 1
                counters[at].outcome = .fault(reason)
            case .windowIsOver:
                clock.followStore()
                if counters[at].key.open(atMs: clock.nowMs(now)) == nil { counters[at].outcome = .held(0) }
            case .tooMuch, .passedOver, .otherArguments, .replayed, .heartbeat, .settled, .overrides:
                preconditionFailure("no answer to a clear")
            }
        }
        batch.entries[index].operation = .clear(counters)
        guard counters.allSatisfy({ $0.outcome != nil }) else { return repeatEntry(index, of: &batch) }
        finishAll(batch.entries[index], of: batch, .cleared(counters), now: now)
    }

    private mutating func note(_ held: Int64, of clearing: inout CounterClearing) {
        clearing.outcome = .held(held)
        if held > 0 && clearing.key.algorithm != .concurrency { statistics.clearedCounters += 1 }
    }

    /// The store lowered counters: of this owner, or the one with this key.
    mutating func lowered(_ key: [UInt8], now: ClockReading) {
        denials.changed(key, now: now)
        noteCleared(key)
    }

    /// The store notified this replica of a change: of the key of a counter if that was cleared, else of an owner.
    mutating func noteCleared(_ key: [UInt8]) {
        guard let rest = configuration.keys.afterOwner(of: key[...]), !rest.isEmpty else { return }
        // Without its start, if it has windows.
        let end = key.lastIndex(of: UInt8(ascii: ":")).map { key.index(after: $0) } ?? key.endIndex
        guard
            let counter = table.counter(named: ByteString(bytes: Array(key[..<end])))
                ?? table.counter(named: ByteString(bytes: key))
        else { return }
        if table[counter].isLeased { table[counter].forfeitLease() }
        if table[counter].noteCleared() { reconciler.restoreLost(counter) }
    }

    // MARK: - Without a store

    private mutating func clearLocally(_ counters: [CounterClearing], now: ClockReading) -> [CounterClearing] {
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        return counters.map { clearing in
            var clearing = clearing
            clearing.outcome = .held(0)
            let baseKey = ByteString(bytes: clearing.key.baseKey(in: configuration.keys))
            guard let counter = table.counter(named: baseKey) else { return clearing }
            table[counter].roll(at: nowMs)
            let quota = clearing.quota.at(table.bounds(ofCounter: counter, at: nowMs))
            let usage = table.combinedUsage(ofCounter: counter, quota, nowMs: nowMs)
            note(quota.used(usage, nowMs: nowMs), of: &clearing)
            table[counter].clearLocally(quota, nowMs: nowMs)
            if quota.algorithm == .slidingLog { table.countBytes(ofLog: counter) }
            recorder.markDirty(counter, in: &table)
            return clearing
        }
    }
}
