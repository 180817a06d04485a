extension Limiter {
    /// A change to log. Each change is reported once.
    package enum Notice: Sendable, Equatable {
        case storeReached
        case storeLost(reason: String)
        /// Still unavailable, for a reason that was not reported before.
        case storeStillUnavailable(reason: String)
        /// The store lost what this replica had charged.
        case storeLostData
        /// The store lost single counters, for the first time in a while.
        case storeLostCounters
        case storeClockBehind(byMs: Int64)
        /// The clock stayed behind; windows follow it again.
        case storeClockFollowed(byMs: Int64)
        case keyFault(reason: String)
        /// The change feed is down: the denial cache is off.
        case changeFeedDown(reason: String)
        case changeFeedUp
        /// Checks are answered `BUSY`, for the first time in a while.
        case busy(Busy)
        /// Other overrides of maxima hold than before: so many in all.
        case overrides(count: Int)
        /// A table, or a grant's part of it, is full: counters that the store knows are evicted to make room.
        case evicting
    }
}

/// What operators should know and the shell logs. A state is reported when it begins and when it ends; repeated
/// faults are reported at a limited pace.
struct Notices {
    private var untaken: [Limiter.Notice] = []
    /// Why the store was last unusable; empty if it never was.
    private(set) var storeError = ""
    /// The latest fault of a key; empty if there was none.
    private(set) var lastKeyFault = ""
    /// The reasons reported in this outage.
    private var outageReasons: [String] = []
    private var faultPace = NoticePace()
    private var lossPace = NoticePace()
    /// When a single counter was last lost, by the monotonic clock.
    private var counterLostNs = Int64.min / 2
    private var busyEpisodes = BusyEpisodes()
    private var isFeedDown = false
    private var isClockBehind = false
    /// Whether the store failed to record the last heartbeat.
    private var isHeartbeatFaulty = false
    /// Whether the store's last settlement failed, for the reservation or for one of its counters.
    private var isSettlementFaulty = false

    mutating func take() -> [Limiter.Notice] {
        defer { untaken.removeAll() }
        return untaken
    }

    private mutating func add(_ notice: Limiter.Notice) {
        if case .keyFault(let reason) = notice { lastKeyFault = reason }
        if untaken.count < EngineBounds.maxNotices { untaken.append(notice) }
    }

    // MARK: - The store

    /// Whether this outage was reported.
    var hasOutage: Bool { !outageReasons.isEmpty }

    /// Reports every reason once per outage, because the first only says how it began.
    mutating func storeUnavailable(reason: String) {
        storeError = reason
        guard !outageReasons.contains(reason), outageReasons.count < EngineBounds.maxReportedReasons else { return }
        add(outageReasons.isEmpty ? .storeLost(reason: reason) : .storeStillUnavailable(reason: reason))
        outageReasons.append(reason)
    }

    mutating func storeReached() {
        outageReasons = []
        add(.storeReached)
    }

    mutating func storeLostData(now: ClockReading) {
        if lossPace.allows(now: now) { add(.storeLostData) }
    }

    mutating func counterLost(now: ClockReading) {
        if now.monotonicNs - counterLostNs > EngineBounds.busyEpisodeNs { add(.storeLostCounters) }
        counterLostNs = now.monotonicNs
    }

    /// - Parameter byMs: how far the store's clock is behind its earlier time.
    mutating func storeClock(behindByMs byMs: Int64) {
        let isBehind = byMs > EngineBounds.clockStepMs
        if isBehind && !isClockBehind { add(.storeClockBehind(byMs: byMs)) }
        isClockBehind = isBehind
    }

    mutating func storeClockFollowed(byMs: Int64) {
        add(.storeClockFollowed(byMs: byMs))
        isClockBehind = false
    }

    /// Reports a feed that failed more than once: the first failure may be a hiccup, or the store's own.
    mutating func changeFeed(_ feed: borrowing ChangeFeed, isStoreThere: Bool) {
        if feed.isListening {
            if isFeedDown { add(.changeFeedUp) }
            isFeedDown = false
        } else if feed.failures > 1, isStoreThere, !isFeedDown {
            add(.changeFeedDown(reason: feed.reason))
            isFeedDown = true
        }
    }

    // MARK: - Faults in it

    /// A faulty key, at a limited pace so that repeated checks do not fill the log.
    mutating func keyFault(_ reason: String, now: ClockReading) {
        if faultPace.allows(now: now) { add(.keyFault(reason: reason)) }
    }

    /// - Parameter fault: why the store could not record a heartbeat; nil if it did.
    mutating func heartbeat(fault: String?) {
        if let fault, !isHeartbeatFaulty { add(.keyFault(reason: fault)) }
        isHeartbeatFaulty = fault != nil
    }

    /// - Parameter fault: why the store could not settle a reservation; nil if it did.
    mutating func settlement(fault: String?) {
        if let fault, !isSettlementFaulty { add(.keyFault(reason: fault)) }
        isSettlementFaulty = fault != nil
    }

    mutating func overrides(count: Int) { add(.overrides(count: count)) }

    // MARK: - Full tables

    mutating func busy(_ cause: Busy, now: ClockReading) {
        if busyEpisodes.begins(cause, now: now) { add(.busy(cause)) }
    }

    mutating func evicting(now: ClockReading) {
        if busyEpisodes.begins(nil, now: now) { add(.evicting) }
    }
}

/// Limits notices of one kind: some at once, then one per pause, so that they do not fill the log.
struct NoticePace {
    /// When the pauses of all notices allowed so far will be over, by the monotonic clock.
    private var pausedUntilNs = Int64.min / 2

    mutating func allows(now: ClockReading) -> Bool {
        let nextNs = max(pausedUntilNs, now.monotonicNs) + EngineBounds.noticePauseNs
        guard nextNs - now.monotonicNs <= EngineBounds.noticesAtOnce * EngineBounds.noticePauseNs else { return false }
        pausedUntilNs = nextNs
        return true
    }
}
