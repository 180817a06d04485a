import SluicePolicy

/// The part of a counter that survives its process.
extension Counter {
    /// References that keep it alive without a plan, besides write-backs in flight.
    var keepers: Int32 {
        (isJournalled ? 1 : 0) + (isDirty ? 1 : 0) + (isRestored ? 1 : 0) + (isLeased ? 1 : 0)
    }

    /// What a restart must not lose; nil if nothing is kept for the algorithm.
    ///
    /// - Parameters:
    ///   - epoch: the store's present epoch.
    ///   - outage: as in `beginShare`.
    func state(epoch: Int16, outage: Int16) -> CounterState? {
        let hasShare = shareEpoch == outage
        let saved =
            algorithm == .fixedWindow ? .window(windowed.state(hasShare: hasShare)) : local.state(hasShare: hasShare)
        guard let saved else { return nil }
        return CounterState(
            baseKey: baseKey, startMs: windowStartMs, countsUntilMs: other?.value.countsUntilMs ?? nextEndMs,
            isSeen: isSeen,
            needsRestore: isSeen && seenEpoch != epoch, credit: credit, usage: saved)
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
        var hasShare = false
        if algorithm != .fixedWindow {
            hasShare = local.restore(state.usage)
        } else if case .window(let window) = state.usage {
            windowed = WindowUsage(window)
            hasShare = window.share != nil
        }
        restoreCredit(state.credit)
        if hasShare { keepShare(outage) }
    }
}
