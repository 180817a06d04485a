import SluicePolicy

/// The part of a counter that survives its process.
extension Counter {
    /// References that keep it alive without a plan, besides write-backs in flight.
    var keepers: Int32 { (isJournalled ? 1 : 0) + (isChanged ? 1 : 0) + (isRestored ? 1 : 0) }

    /// What a restart must not lose; nil if nothing is kept for the algorithm.
    ///
    /// - Parameters:
    ///   - epoch: the store's present epoch.
    ///   - outage: as in `beginShare`.
    func state(epoch: Int16, outage: Int16) -> CounterState? {
        let usage: CounterState.Usage
        var countsUntilMs = nextEndMs
        let hasShare = shareEpoch == outage
        switch other?.value {
        case nil, .before:
            usage = .window(
                CounterState.WindowState(
                    sharedUsed: windowed.sharedUsed, sharedPrevious: before.sharedUsed, own: windowed.own,
                    ownPrevious: before.own.used, share: hasShare ? CounterState.ShareState(windowed, before) : nil))
        case .bucket(let bucket):
            var state = bucket.state
            if !hasShare { state.localLevel = -1 }
            usage = .bucket(state)
            countsUntilMs = bucket.countsUntilMs
        case .log(let log):
            usage = .log(log.state(hasShare: hasShare))
            countsUntilMs = log.countsUntilMs
        case .slots: return nil
        }
        return CounterState(
            baseKey: baseKey, startMs: windowStartMs, countsUntilMs: countsUntilMs, isSeen: isSeen,
            needsRestore: isSeen && seenEpoch != epoch, usage: usage)
    }

    /// Restores a new counter from an earlier process's state.
    ///
    /// - Parameters:
    ///   - epoch: the store's present epoch.
    ///   - outage: as in `beginShare`.
    mutating func restore(_ state: CounterState, epoch: Int16, outage: Int16) {
        roll(at: max(0, state.startMs))
        isSeen = state.isSeen
        seenEpoch = state.needsRestore ? epoch &- 1 : epoch
        switch state.usage {
        case .window(let window):
            windowed = WindowUsage(used: window.sharedUsed, own: window.own)
            var previous = WindowBefore(used: window.sharedPrevious, own: window.ownPrevious)
            if let share = window.share {
                windowed.goOn(withShareOf: share.base, taken: share.taken)
                previous.goOn(withShareOf: share.previousBase, taken: share.previousTaken)
                keepShare(outage)
            }
            before = previous
        case .bucket(let bucket):
            other?.value = .bucket(BucketUsage(bucket))
            if bucket.localLevel >= 0 { keepShare(outage) }
        case .log(let log):
            other?.value = .log(LogUsage(log, lengthMs: template.window.fixedLengthMs ?? 1))
            if log.base != nil { keepShare(outage) }
        }
    }

    /// The limit of a token bucket as last checked.
    var bucketQuota: Quota? {
        if case .bucket(let bucket)? = other?.value { bucket.quota } else { nil }
    }
}

extension CounterState.ShareState {
    init(_ windowed: WindowUsage, _ before: WindowBefore) {
        self.init(
            base: windowed.shareBase, taken: windowed.taken, previousBase: before.shareBase,
            previousTaken: before.taken)
    }
}
