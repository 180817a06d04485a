import SluicePolicy

/// The state that survives a restart: see `StateRecorder`.
extension Limiter {
    /// How many changes are not recorded yet.
    package var unrecordedCount: Int { recorder.unrecordedCount(table, ledger) }

    /// Whether there is anything to record. Called for each check, and so mutating: see `Limiter`.
    package var hasChanges: Bool {
        mutating get { recorder.isOn && recorder.unrecordedCount(table, ledger) > 0 }
    }

    /// Whether changes must be recorded before a batch may be sent. Called for each batch.
    package var mustRecord: Bool {
        mutating get { recorder.mustRecord(ledger) }
    }

    /// The time that cuts windows, ms since the epoch.
    package func nowMs(_ now: ClockReading) -> Int64 { clock.nowMs(now) }

    /// A batch is held back: no answer is due, so the store does not seem to hang.
    package mutating func batchHeld(sequence: Int64) { ledger.setSent(sequence, atNs: .max / 2) }

    /// A batch that was held back is sent now.
    package mutating func batchLeft(sequence: Int64, now: ClockReading) {
        ledger.setSent(sequence, atNs: now.monotonicNs)
    }

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
        let request = StateRecorder.Request(
            seenToo: seenToo, counterCount: counterCount, replica: replicaState(now: now),
            flightKeys: flightKeys, epoch: reconciler.storeEpoch,
            outage: reconciler.outage, nowMs: clock.nowMs(now))
        recorder.take(request, into: &records, from: &table, ledger)
    }

    /// See `FlightState.keys`.
    private var flightKeys: String { configuration.keys.tag == nil ? "" : configuration.keys.name }

    private func replicaState(now: ClockReading) -> ReplicaState {
        ReplicaState(
            keys: configuration.keys.name, lastSequence: ledger.lastSequence,
            acknowledgedSequence: ledger.acknowledgedSequence, highestStoreMs: clock.highestStoreMs,
            aheadMs: clock.nowMs(now) - now.wallMs, others: membership.others.sorted())
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
        /// What the keys of the records begin with, if that is not what this process's begin with: all were dropped. Empty
        /// otherwise.
        package var otherKeys = ""
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
        guard case .replica(let replica)? = latest[.replica(configuration.keys.name)] else {
            let others = latest.values.compactMap { if case .replica(let state) = $0 { state.keys } else { nil } }
            restoration.dropped = others.isEmpty ? 0 : latest.count - others.count
            restoration.otherKeys = others.min() ?? ""
            return restoration
        }
        ledger.restore(lastSequence: replica.lastSequence, acknowledgedSequence: replica.acknowledgedSequence)
        recorder.recordReplica()
        if !clock.restore(highestStoreMs: replica.highestStoreMs, aheadMs: replica.aheadMs, now: now) {
            restoration.droppedStoreMs = replica.highestStoreMs
        }
        let view = configuration.replicas
        membership = Membership(
            ReplicaView(
                own: view.own, live: replica.others.isEmpty ? view.live : view.live + replica.others,
                assumed: view.assumed), now: now)
        var flights: [FlightState] = []
        for record in latest.values {
            switch record {
            case .replica: break
            case .flight(let state): if state.keys == flightKeys { flights.append(state) }
            case .counter(let state): restore(state, into: &restoration, nowMs: clock.nowMs(now))
            }
        }
        for flight in flights.sorted(by: { $0.sequence < $1.sequence }) { restore(flight) }
        return restoration
    }

    private mutating func restore(_ state: CounterState, into restoration: inout Restoration, nowMs: Int64) {
        // Where the algorithm has windows, the start of one follows the last colon; that of the first is 0.
        let isStart = state.baseKey.last == UInt8(ascii: ":")
        let key = CounterKey(state.baseKey + (isStart ? [UInt8(ascii: "0")] : []), in: configuration.keys)
        guard !state.isVoid(nowMs: nowMs), let key, !key.isDenials, key.algorithm.rules.keeps(state.usage),
            !isStart
                || state.startMs >= 0
                    && max(0, key.window.startMs(at: state.startMs)) == state.startMs
        else {
            restoration.dropped += 1
            return
        }
        let index = table.insertCounter(baseKey: state.baseKey, window: key.window, algorithm: key.algorithm)
        table[index].restore(state, epoch: reconciler.storeEpoch, outage: reconciler.outage)
        table.countBytes(ofLog: index)
        recorder.keepRestored(index, in: &table)
        restoration.counters += 1
        if state.needsRestore { reconciler.restore(index) }
        if state.isUnsent {
            restoration.unsettled += 1
            addToJournal(index)
        }
    }

    /// Restores a batch that was in flight: the marker will show whether it ran.
    private mutating func restore(_ flight: FlightState) {
        ledger.restore(lastSequence: flight.sequence)
        if flight.isOver { return }
        recorder.keepRestored(sequence: flight.sequence)
        var batch = ledger.newBatch()
        batch.sequence = flight.sequence
        for item in flight.writeBacks + flight.unconfirmed {
            guard let counter = table.counter(named: ByteString(bytes: item.baseKey)) else { continue }
            let writeBack = WriteBack(
                item.isRestore ? .restore : item.isRefund ? .decrement : .increment, item.amount,
                windowMs: item.windowMs)
            table[counter].send(writeBack)
            table.beginWriteBack(counter)
            batch.writeBacks.append(PendingBatch.SentWriteBack(counter: counter, writeBack: writeBack))
        }
        if batch.writeBacks.isEmpty { recycle(batch) } else { ledger.addUnconfirmed(batch) }
    }
}
