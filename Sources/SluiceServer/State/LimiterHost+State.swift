import NIOCore
import SluiceEngine

/// How state that must not be lost gets to the disk.
extension LimiterHost {
    /// Sends a batch, once the records needed after a crash are on the disk.
    func send(_ batch: Batch, to partition: Int) {
        guard let keeper, keeper.mustHold(urgent: limiter.mustRecord) else {
            links[partition].send(batch)
            return
        }
        limiter.batchHeld(partition, sequence: batch.sequence)
        keeper.held.append(HeldBatch(partition: partition, batch: batch))
        record()
        guard keeper.held.count == 1 else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.stateHoldLimitNs)) { [self] in
            guard keeper.held.first?.partition == partition, keeper.held.first?.batch.sequence == batch.sequence else {
                return
            }
            keeper.giveUp()
            release()
        }
    }

    /// The connection for which batches were held has closed: the limiter treats them as unanswered.
    /// - Parameter partition: nil: of all.
    func dropHeld(_ partition: Int? = nil) {
        keeper?.held.removeAll { partition == nil || $0.partition == partition }
    }

    /// State may have changed: it is written soon, together with all changes until then.
    func recordSoon() {
        guard let keeper, !keeper.isDue, limiter.hasChanges || !keeper.failed.isEmpty else { return }
        keeper.isDue = true
        let delayNs = keeper.isResting ? ServerBounds.stateRetryNs : ServerBounds.stateIntervalNs
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delayNs)) { [self] in
            keeper.isDue = false
            record()
        }
    }

    /// Writes the changes, or if a write is in progress, after it.
    private func record() {
        guard let keeper, !keeper.isWriting else { return }
        guard limiter.hasChanges || !keeper.failed.isEmpty else { return release() }
        let now = SystemClock.now()
        let isUrgent = limiter.mustRecord
        var records: [StateRecord] = []
        limiter.takeRecords(into: &records, seenToo: keeper.hasRoom, now: now)
        keeper.write(records, isUrgent: isUrgent, nowMs: limiter.nowMs(now)) { [self] isDone in
            if isDone && limiter.mustRecord { record() } else { release() }
            whenRecorded()
            recordSoon()
        }
    }

    /// Sends the held batches: they need not wait any more.
    private func release() {
        guard let keeper, !keeper.held.isEmpty else { return }
        let batches = keeper.held
        keeper.held.removeAll()
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
        guard let keeper else { return completion() }
        if keeper.isWriting {
            whenStateIsClosed = completion
            return
        }
        if (limiter.hasChanges || !keeper.failed.isEmpty) && !isStateGivenUp {
            let now = SystemClock.now()
            var records: [StateRecord] = []
            limiter.takeRecords(into: &records, seenToo: keeper.hasRoom, now: now)
            whenStateIsClosed = completion
            keeper.write(records, isUrgent: false, nowMs: limiter.nowMs(now)) { [self] isDone in
                isStateGivenUp = !isDone
                whenRecorded()
            }
            return
        }
        keeper.close().assumeIsolated().whenComplete { _ in completion() }
    }

    /// How many changes are not on the disk.
    var unwrittenCount: Int {
        guard let keeper else { return 0 }
        return keeper.writingCount + keeper.failed.count + limiter.unrecordedCount
    }
}
