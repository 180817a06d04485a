import SluicePolicy

/// What of a counter outlives its process.
extension Counter {
    /// How many use it that are no plan and keep it by themselves, beside payments.
    var keepers: Int32 { (isJournalled ? 1 : 0) + (isChanged ? 1 : 0) + (isRestored ? 1 : 0) }

    /// What a restart must not lose; nil where nothing is kept of the algorithm.
    ///
    /// - Parameters:
    ///   - epoch: of the store's present memory.
    ///   - outage: as of `beginShare`.
    func state(epoch: Int16, outage: Int16) -> CounterState? {
        let tally: CounterState.Tally
        var countsUntilMs = nextEndMs
        let hasShare = shareEpoch == outage
        switch other?.value {
        case nil, .before:
            tally = .window(
                CounterState.WindowState(
                    sharedUsed: windowed.sharedUsed, sharedPrevious: before.sharedUsed, own: windowed.own,
                    ownPrevious: before.own.used, share: hasShare ? CounterState.ShareState(windowed, before) : nil))
        case .bucket(let bucket):
            var state = bucket.state
            if !hasShare { state.localLevel = -1 }
            tally = .bucket(state)
            countsUntilMs = bucket.countsUntilMs
        case .log(let log):
            tally = .log(log.state(hasShare: hasShare))
            countsUntilMs = log.countsUntilMs
        case .slots: return nil
        }
        return CounterState(
            stem: stem, startMs: windowStartMs, countsUntilMs: countsUntilMs, isSeen: isSeen,
            owesOffer: isSeen && seenEpoch != epoch, tally: tally)
    }

    /// Makes a new one what it was.
    ///
    /// - Parameters:
    ///   - epoch: of the store's present memory.
    ///   - outage: as of `beginShare`.
    mutating func restore(_ state: CounterState, epoch: Int16, outage: Int16) {
        roll(at: max(0, state.startMs))
        isSeen = state.isSeen
        seenEpoch = state.owesOffer ? epoch &- 1 : epoch
        switch state.tally {
        case .window(let window):
            windowed = WindowTally(used: window.sharedUsed, own: window.own)
            var previous = WindowBefore(used: window.sharedPrevious, own: window.ownPrevious)
            if let share = window.share {
                windowed.goOn(withShareOf: share.base, taken: share.taken)
                previous.goOn(withShareOf: share.previousBase, taken: share.previousTaken)
                keepShare(outage)
            }
            before = previous
        case .bucket(let bucket):
            other?.value = .bucket(BucketTally(bucket))
            if bucket.localLevel >= 0 { keepShare(outage) }
        case .log(let log):
            other?.value = .log(LogTally(log, lengthMs: family.window.fixedLengthMs ?? 1))
            if log.base != nil { keepShare(outage) }
        }
    }

    /// Of a token bucket: the limit as it was last asked of.
    var bucketTerms: Terms? {
        if case .bucket(let bucket)? = other?.value { bucket.terms } else { nil }
    }
}

extension CounterState.ShareState {
    init(_ windowed: WindowTally, _ before: WindowBefore) {
        self.init(
            base: windowed.shareBase, taken: windowed.taken, previousBase: before.shareBase,
            previousTaken: before.taken)
    }
}
