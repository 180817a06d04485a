import NIOCore
import SluiceEngine

/// How what the limiter must not lose gets to the disk.
extension LimiterHost {
    /// Sends a batch, once what must be known of it after a crash is on the disk.
    func send(_ batch: Batch) {
        guard let keeper, keeper.mustHold(urgent: limiter.mustRecord) else {
            link?.send(batch)
            return
        }
        limiter.batchHeld(sequence: batch.sequence)
        keeper.held.append(batch)
        record()
        guard keeper.held.count == 1 else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.stateHoldLimitNs)) { [self] in
            guard keeper.held.first?.sequence == batch.sequence else { return }
            keeper.giveUp()
            release()
        }
    }

    /// The connection for which batches were held is gone: the limiter counts them among those without an answer.
    func dropHeld() { keeper?.held.removeAll() }

    /// Something may have changed: it is written soon, with all that changes until then.
    func recordSoon() {
        guard let keeper, !keeper.isDue, limiter.hasChanges || !keeper.failed.isEmpty else { return }
        keeper.isDue = true
        let delayNs = keeper.isResting ? ServerBounds.stateRetryNs : ServerBounds.stateIntervalNs
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delayNs)) { [self] in
            keeper.isDue = false
            record()
        }
    }

    /// Writes what has changed, unless something is being written: then once that is done.
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

    /// Nothing has to be waited for any more.
    private func release() {
        guard let keeper, !keeper.held.isEmpty else { return }
        let batches = keeper.held
        keeper.held.removeAll()
        for batch in batches {
            limiter.batchLeft(sequence: batch.sequence, now: SystemClock.now())
            link?.send(batch)
        }
    }

    private func whenRecorded() {
        guard let completion = whenStateIsClosed else { return }
        whenStateIsClosed = nil
        closeState(completion)
    }

    /// Writes all that is still to be written, and closes the file; the host must have been stopped.
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

    /// How much has changed that is not on the disk.
    var unwrittenCount: Int {
        guard let keeper else { return 0 }
        return keeper.writingCount + keeper.failed.count + limiter.unrecordedCount
    }
}
