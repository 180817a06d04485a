/// A reading of both clocks of this machine. The engine has no clock of its own: every event brings one.
package struct ClockReading: Sendable, Equatable {
    /// Never steps; only differences have a meaning. For budgets, timeouts and pauses.
    package var monotonicNs: Int64
    /// Milliseconds since the Unix epoch by this machine's clock. Cuts windows only until a store has reported its
    /// time.
    package var wallMs: Int64
    /// How long the check being decided has waited since its bytes were readable. Its budget counts from then.
    package var waitedNs: Int64 = 0

    package init(monotonicNs: Int64, wallMs: Int64) {
        self.monotonicNs = monotonicNs
        self.wallMs = wallMs
    }
}

/// The clock that cuts windows.
///
/// With a store, it is the store's last reported time plus what has passed here since. It lags by at most the delay of
/// one answer, so a window is cut too early only at its very end, and the store then says so. A delayed answer does
/// not turn it back, because that would reopen a window that has ended. Nor does a store whose clock has stepped back,
/// until it was behind for `EngineBounds.storeFollowedAfterNs` without a break: then it is followed, because otherwise
/// time would stand still for as long as its clock had run ahead.
///
/// Without a store it is this machine's clock, and goes on by the monotonic clock when the wall clock steps back: a
/// step must not reopen a window.
struct WindowClock {
    /// The highest time that the store has reported; 0 if none.
    private(set) var highestStoreMs: Int64 = 0
    /// The time from which this clock runs on by the monotonic one.
    private var anchorMs: Int64
    private var anchorNs: Int64
    /// The time it showed when an answer reported less: its minimum until the reported time has caught up.
    private var heldMs: Int64 = 0
    /// Whether it goes on from an earlier process's state by this machine's clock, which may have stepped since.
    private var isRestored = false
    /// The most that this clock may be behind the store's, ms: the delay of the answer that reported it, and both
    /// readings are rounded down.
    private(set) var lagMs: Int64 = 1
    /// Set while the store reports less than it did before.
    private var behind: Behind?

    private struct Behind {
        /// Since when, by the monotonic clock.
        var sinceNs: Int64
        /// The highest time reported since, and how far that is below the earlier one.
        var timeMs: Int64
        var byMs: Int64
    }

    /// How far the store's clock is behind its earlier time, ms; 0 if it is not.
    var behindMs: Int64 { behind?.byMs ?? 0 }

    init(now: ClockReading) {
        anchorMs = now.wallMs
        anchorNs = now.monotonicNs
    }

    /// Goes on from the clock of an earlier process of this replica: the store time reported to it, and how far that
    /// was ahead of this machine's clock.
    ///
    /// - Returns: false if that is too far ahead to be plausible, and was dropped.
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

    /// The store reported its time: windows are cut by the higher of that and the highest before, as in the script.
    ///
    /// - Parameter sentNs: when it was asked for, by the monotonic clock; the store read its clock no earlier.
    /// - Returns: how far this clock went back to follow a store that stayed behind, ms; nil if it did not.
    @discardableResult
    mutating func observeStore(timeMs: Int64, sentNs: Int64? = nil, now: ClockReading) -> Int64? {
        lagMs = 1 + max(0, now.monotonicNs - (sentNs ?? now.monotonicNs) + 999_999) / 1_000_000
        if let followedMs = noteBehind(timeMs: timeMs, now: now) { return followedMs }
        // The store's first time in this process replaces this machine's, however far back that is.
        heldMs = highestStoreMs == 0 || isRestored ? 0 : nowMs(now)
        isRestored = false
        highestStoreMs = max(highestStoreMs, timeMs)
        anchorMs = highestStoreMs
        anchorNs = now.monotonicNs
        return nil
    }

    /// The part of `observeStore` for a store that is behind.
    private mutating func noteBehind(timeMs: Int64, now: ClockReading) -> Int64? {
        guard timeMs < highestStoreMs else {
            if behind != nil { behind = nil }
            return nil
        }
        let reportedMs = max(timeMs, behind?.timeMs ?? 0)
        let sinceNs = behind?.sinceNs ?? now.monotonicNs
        behind = Behind(sinceNs: sinceNs, timeMs: reportedMs, byMs: highestStoreMs - reportedMs)
        guard now.monotonicNs - sinceNs >= EngineBounds.storeFollowedAfterNs else { return nil }
        defer { behind = nil }
        let followedMs = highestStoreMs - reportedMs
        highestStoreMs = reportedMs
        heldMs = 0
        anchorMs = reportedMs
        anchorNs = now.monotonicNs
        return followedMs
    }

    /// The store said that a window cut by this clock does not contain its time: the reported time counts, even if
    /// that goes back.
    mutating func followStore() { heldMs = 0 }

    /// Without a store: keeps the current reading as the minimum of later ones.
    mutating func observeWall(now: ClockReading) {
        guard highestStoreMs == 0, now.wallMs > nowMs(ClockReading(monotonicNs: now.monotonicNs, wallMs: 0)) else {
            return
        }
        anchorMs = now.wallMs
        anchorNs = now.monotonicNs
    }
}
