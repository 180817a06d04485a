import SluicePolicy

/// What of a counter outlives its process.
extension Counter {
    /// How many use it that are no plan and keep it by themselves, beside payments.
    var keepers: Int32 { (isJournalled ? 1 : 0) + (isChanged ? 1 : 0) + (isRestored ? 1 : 0) }

    /// What a restart must not lose; nil where nothing is kept of the algorithm.
    func state(epoch: Int32) -> CounterState? {
        let tally: CounterState.Tally
        var countsUntilMs = nextEndMs
        switch other?.value {
        case nil, .before:
            tally = .window(
                CounterState.WindowState(
                    sharedUsed: windowed.sharedUsed, sharedPrevious: before.sharedUsed, own: windowed.own.used,
                    ownPrevious: before.own.used, resolved: windowed.resolved))
        case .bucket(let bucket):
            tally = .bucket(bucket.state)
            countsUntilMs = bucket.countsUntilMs
        case .slots: return nil
        }
        return CounterState(
            stem: stem, startMs: windowStartMs, countsUntilMs: countsUntilMs, isSeen: isSeen,
            owesOffer: isSeen && seenEpoch != epoch, tally: tally)
    }

    /// Makes a new one what it was.
    ///
    /// - Parameter epoch: of the store's present memory.
    mutating func restore(_ state: CounterState, epoch: Int32) {
        roll(at: max(0, state.startMs))
        isSeen = state.isSeen
        seenEpoch = state.owesOffer ? epoch &- 1 : epoch
        switch state.tally {
        case .window(let window):
            windowed.sharedUsed = window.sharedUsed
            windowed.own.used = window.own
            before.sharedUsed = window.sharedPrevious
            before.own.used = window.ownPrevious
            windowed.resolved = window.resolved
        case .bucket(let bucket):
            other?.value = .bucket(BucketTally(bucket))
        }
    }

    /// Of a token bucket: the limit as it was last asked of.
    var bucketTerms: Terms? {
        if case .bucket(let bucket)? = other?.value { bucket.terms } else { nil }
    }
}
