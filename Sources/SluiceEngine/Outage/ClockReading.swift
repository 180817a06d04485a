/// A reading of both clocks of this machine. The engine has no clock of its own: every event brings one.
package struct ClockReading: Sendable, Equatable {
    /// Never steps; only differences mean something. For budgets, timeouts and pauses.
    package var monotonicNs: Int64
    /// Milliseconds since the Unix epoch, as this machine believes. Cuts windows only until a store has told its time.
    package var wallMs: Int64
    /// How long the check that is being decided has waited already: since its bytes could be read. Its budget counts from
    /// then.
    package var waitedNs: Int64 = 0

    package init(monotonicNs: Int64, wallMs: Int64) {
        self.monotonicNs = monotonicNs
        self.wallMs = wallMs
    }
}

/// What this replica makes of the time that cuts windows.
///
/// With a store, that is the store's: the last time it told, plus what has passed here since. It lags behind the truth
/// by at most the way of one answer, so a window is named too early only at its very end, and the store then says so.
/// An answer that was long on its way does not turn it back: that would open a window again that has ended. Nor does a store
/// whose clock has stepped back, until it has been behind for `EngineBounds.storeFollowedAfterNs` without a break: else
/// time would stand still for as long as its clock had run ahead.
/// Without one it is this machine's, and goes on by the monotonic clock when the wall clock steps back: a step must not
/// reopen a window.
struct WindowClock {
    /// The highest time that the store has told; 0 if none.
    private(set) var highestStoreMs: Int64 = 0
    /// A time from which this clock runs on by the monotonic one.
    private var anchorMs: Int64
    private var anchorNs: Int64
    /// What it showed when an answer told less: the least that it shows until the told time has caught up.
    private var heldMs: Int64 = 0
    /// Whether it goes on from what an earlier process left, by this machine's clock, which may have stepped since.
    private var isRestored = false
    /// By how much this clock may be behind the store's at most, ms: for so long the answer that told its time may have been
    /// on its way, and both readings are rounded down.
    private(set) var lagMs: Int64 = 1
    /// Set while the store tells less than it did before.
    private var behind: Behind?

    private struct Behind {
        /// Since when, by the monotonic clock.
        var sinceNs: Int64
        /// The highest that it has told since, and how far that is below what it told before.
        var timeMs: Int64
        var byMs: Int64
    }

    /// How far the store's clock is behind what it told before, ms; 0 if it is not.
    var behindMs: Int64 { behind?.byMs ?? 0 }

    init(now: ClockReading) {
        anchorMs = now.wallMs
        anchorNs = now.monotonicNs
    }

    /// Goes on where the clock of an earlier process of this replica was: what the store had told by then, and by how
    /// much that was ahead of this machine's clock.
    ///
    /// - Returns: false if that is too far ahead to be believed, and was dropped.
    mutating func restore(highestStoreMs: Int64, aheadMs: Int64, now: ClockReading) -> Bool {
        guard highestStoreMs > 0 else { return true }
        let mostMs = EngineBounds.maxRestoredAheadMs
        guard highestStoreMs <= now.wallMs + mostMs, aheadMs <= mostMs else { return false }
        self.highestStoreMs = highestStoreMs
        anchorMs = max(highestStoreMs, now.wallMs + aheadMs)
        anchorNs = now.monotonicNs
        isRestored = true
        return true
    }

    /// Milliseconds since the epoch; at least 0.
    func nowMs(_ now: ClockReading) -> Int64 {
        let elapsedMs = anchorMs + (now.monotonicNs - anchorNs) / 1_000_000
        return max(elapsedMs, highestStoreMs == 0 ? now.wallMs : heldMs)
    }

    /// The store told its time: windows are cut by the higher of that and the highest before, as the script does.
    ///
    /// - Parameter sentNs: when it was asked for, by the monotonic clock; it told its time no earlier.
    /// - Returns: how far this clock went back to follow a store that stayed behind, ms; nil if it did not.
    @discardableResult
    mutating func observeStore(timeMs: Int64, sentNs: Int64? = nil, now: ClockReading) -> Int64? {
        lagMs = 1 + max(0, now.monotonicNs - (sentNs ?? now.monotonicNs) + 999_999) / 1_000_000
        if let followedMs = noteBehind(timeMs: timeMs, now: now) { return followedMs }
        // The first time that it tells this process replaces this machine's, however far back that is.
        heldMs = highestStoreMs == 0 || isRestored ? 0 : nowMs(now)
        isRestored = false
        highestStoreMs = max(highestStoreMs, timeMs)
        anchorMs = highestStoreMs
        anchorNs = now.monotonicNs
        return nil
    }

    /// As `observeStore`, of what only a store that is behind needs.
    private mutating func noteBehind(timeMs: Int64, now: ClockReading) -> Int64? {
        guard timeMs < highestStoreMs else {
            if behind != nil { behind = nil }
            return nil
        }
        let toldMs = max(timeMs, behind?.timeMs ?? 0)
        let sinceNs = behind?.sinceNs ?? now.monotonicNs
        behind = Behind(sinceNs: sinceNs, timeMs: toldMs, byMs: highestStoreMs - toldMs)
        guard now.monotonicNs - sinceNs >= EngineBounds.storeFollowedAfterNs else { return nil }
        defer { behind = nil }
        let followedMs = highestStoreMs - toldMs
        highestStoreMs = toldMs
        heldMs = 0
        anchorMs = toldMs
        anchorNs = now.monotonicNs
        return followedMs
    }

    /// The store said that a window which was named by this clock does not hold: what it has told is what counts, even
    /// if that is back.
    mutating func followStore() { heldMs = 0 }

    /// Without a store: keeps what is given out now as the least that will be.
    mutating func observeWall(now: ClockReading) {
        guard highestStoreMs == 0, now.wallMs > nowMs(ClockReading(monotonicNs: now.monotonicNs, wallMs: 0)) else {
            return
        }
        anchorMs = now.wallMs
        anchorNs = now.monotonicNs
    }
}
