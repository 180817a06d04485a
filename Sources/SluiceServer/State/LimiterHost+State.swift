import NIOCore
import SluiceEngine

/// How state that must not be lost gets to the disk.
extension LimiterHost {
    /// Sends a batch, once the records needed after a crash are on the disk.
    func send(_ batch: Batch, to partition: Int) {
        guard let stateWriter, stateWriter.mustHold(urgent: limiter.mustRecord) else {
            links[partition].send(batch)
            return
        }
        limiter.batchHeld(partition, sequence: batch.sequence)
        stateWriter.held.append(HeldBatch(partition: partition, batch: batch))
        record()
        guard stateWriter.held.count == 1 else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.stateHoldLimitNs)) { [self] in
            guard stateWriter.held.first?.partition == partition,
                stateWriter.held.first?.batch.sequence == batch.sequence
            else {
                return
            }
            stateWriter.giveUp()
            release()
        }
    }

    /// The connection for which batches were held has closed: the limiter treats them as unanswered.
    /// - Parameter partition: nil: of all.
    func dropHeld(_ partition: Int? = nil) {
        stateWriter?.held.removeAll { partition == nil || $0.partition == partition }
    }

    /// State may have changed: it is written soon, together with all changes until then.
    func recordSoon() {
        guard let stateWriter, !stateWriter.isDue, limiter.hasChanges || !stateWriter.failed.isEmpty else { return }
        stateWriter.isDue = true
        let delayNs = stateWriter.isResting ? ServerBounds.stateRetryNs : ServerBounds.stateIntervalNs
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delayNs)) { [self] in
            stateWriter.isDue = false
            record()
        }
    }

    /// Writes the changes, or if a write is in progress, after it.
    private func record() {
        guard let stateWriter, !stateWriter.isWriting else { return }
        guard limiter.hasChanges || !stateWriter.failed.isEmpty else { return release() }
        let now = SystemClock.now()
        let isUrgent = limiter.mustRecord
        var records: [StateRecord] = []
        limiter.takeRecords(into: &records, seenToo: stateWriter.hasRoom, now: now)
        stateWriter.write(records, isUrgent: isUrgent, nowMs: limiter.nowMs(now)) { [self] isDone in
            if isDone && limiter.mustRecord { record() } else { release() }
            whenRecorded()
            recordSoon()
        }
    }

    /// Sends the held batches: they need not wait any more.
    private func release() {
        guard let stateWriter, !stateWriter.held.isEmpty else { return }
        let batches = stateWriter.held
        stateWriter.held.removeAll()
        for held in batches {
            limiter.batchLeft(held.partition, sequence: held.batch.sequence, now: SystemClock.now())
            links[held.partition].send(held.batch)
        }
    }

    private func whenRecorded() {
        guard let completion = whenStateIsClosed else { return }
        whenStateIsClosed = nil
        closeState(completion)
    }

    /// Writes everything that is unwritten, and closes the file; the host must have been stopped.
    func closeState(_ completion: @escaping () -> Void) {
        guard let stateWriter else { return completion() }
        if stateWriter.isWriting {
            whenStateIsClosed = completion
            return
        }
        if (limiter.hasChanges || !stateWriter.failed.isEmpty) && !isStateGivenUp {
            let now = SystemClock.now()
            var records: [StateRecord] = []
            limiter.takeRecords(into: &records, seenToo: stateWriter.hasRoom, now: now)
            whenStateIsClosed = completion
            stateWriter.write(records, isUrgent: false, nowMs: limiter.nowMs(now)) { [self] isDone in
                isStateGivenUp = !isDone
                whenRecorded()
            }
            return
        }
        stateWriter.close().assumeIsolated().whenComplete { _ in completion() }
    }

    /// How many changes are not on the disk.
    var unwrittenCount: Int {
        guard let stateWriter else { return 0 }
        return stateWriter.writingCount + stateWriter.failed.count + limiter.unrecordedCount
    }
}
