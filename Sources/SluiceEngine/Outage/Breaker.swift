/// Decides whether checks are sent to the store, and when to try it again.
///
/// A value-type state machine: events come in with the time, actions for the shell go out. While it is not `closed`,
/// every check is answered locally and at once.
struct Breaker {
    enum State: Equatable {
        /// Not connected, and not trying. Waits for the time to retry. Becomes `connecting`.
        case open(retryAtNs: Int64)
        /// A connection is being opened. Waits for the link. Becomes `probing` when it is open, `open` when that
        /// failed.
        case connecting
        /// Connected; one empty batch is in flight, to test the script's whole path. Waits for its answer. Becomes
        /// `closed` when it came in time, `resting` when it was rejected or late, `stalled` while it is overdue,
        /// `open` when the connection broke.
        case probing
        /// Batches flow normally. Becomes `stalled` when the oldest answer is overdue, `resting` when a batch was
        /// rejected, `open` when the connection broke.
        case closed
        /// Connected but silent. Waits for the outstanding answers. Becomes `probing` when they came, `open` when that
        /// took too long and the connection was given up.
        case stalled(sinceNs: Int64)
        /// Connected, but the store rejects batches (it is loading, read-only, out of memory) or is too slow. Waits
        /// for the time to retry. Becomes `probing`, or `open` when the connection broke.
        case resting(retryAtNs: Int64)
    }

    /// What the shell must do.
    enum Action: Equatable {
        case none
        case connect
        /// Close the connection: no more answers are expected on it.
        case disconnect
        /// Send one empty batch.
        case probe
    }

    private(set) var state: State
    /// Its failures are reset once it was closed for as long as the longest pause, so that a store that answers only
    /// probes is not retried at a high rate.
    private var backoff: Backoff
    /// When the store's connection was last read: see `tick`.
    private(set) var lookedNs = Int64.min / 2
    /// When it last became closed.
    private var closedNs: Int64 = 0
    /// How long an answer may be outstanding before the store counts as hanging, ns.
    let overdueAfterNs: Int64

    init(overdueAfterNs: Int64, seed: UInt64, now: ClockReading) {
        self.overdueAfterNs = overdueAfterNs
        backoff = Backoff(longestNs: EngineBounds.maxBackoffNs, seed: seed)
        state = .open(retryAtNs: now.monotonicNs)
    }

    var isClosed: Bool { state == .closed }

    /// Failures in a row.
    var failures: Int { backoff.failures }

    /// Time has passed. `oldestUnansweredNs` is when the oldest batch without an answer was sent.
    ///
    /// - Parameter lookedNs: when the store's connection was last read, with everything found then handled; nil: just
    ///   now. The store's delay is measured up to it, since what arrived later may be unread.
    mutating func tick(oldestUnansweredNs: Int64?, lookedNs: Int64? = nil, now: ClockReading) -> Action {
        let nowNs = now.monotonicNs
        self.lookedNs = max(self.lookedNs, lookedNs ?? nowNs)
        switch state {
        case .open(let retryAtNs):
            guard nowNs >= retryAtNs else { return .none }
            state = .connecting
            return .connect
        case .connecting:
            return .none
        case .probing, .closed:
            if let oldestUnansweredNs, self.lookedNs - oldestUnansweredNs >= overdueAfterNs {
                forgetFailures(now: now)
                state = .stalled(sinceNs: nowNs)
            }
            return .none
        case .stalled(let sinceNs):
            guard self.lookedNs - sinceNs >= EngineBounds.stallLimitNs else { return .none }
            state = .open(retryAtNs: nowNs + backoff.nextPauseNs())
            return .disconnect
        case .resting(let retryAtNs):
            guard nowNs >= retryAtNs else { return .none }
            state = .probing
            return .probe
        }
    }

    mutating func connected() -> Action {
        guard state == .connecting else { return .none }
        state = .probing
        return .probe
    }

    /// The connection could not be opened, or broke.
    mutating func disconnected(now: ClockReading) {
        forgetFailures(now: now)
        state = .open(retryAtNs: now.monotonicNs + backoff.nextPauseNs())
    }

    /// An answer showed that the script works. `awaitsMore`: whether others are still outstanding.
    ///
    /// - Parameter arrivedNs: when it can have arrived at the earliest; nil: just now. The time it was unread after
    ///   that is not the store's delay.
    mutating func answered(sentNs: Int64, awaitsMore: Bool, arrivedNs: Int64? = nil, now: ClockReading) -> Action {
        switch state {
        case .probing:
            guard (arrivedNs ?? now.monotonicNs) - sentNs < overdueAfterNs else {
                state = .resting(retryAtNs: now.monotonicNs + backoff.nextPauseNs())
                return .none
            }
            state = .closed
            closedNs = now.monotonicNs
            return .none
        case .stalled where awaitsMore:
            return .none
        case .stalled where failures == 0:
            // The first hang in a row may be a hiccup: probe at once.
            backoff.countFailure()
            state = .probing
            return .probe
        case .stalled:
            state = .resting(retryAtNs: now.monotonicNs + backoff.nextPauseNs())
            return .none
        case .closed, .open, .connecting, .resting:
            return .none
        }
    }

    /// Whether the store seems overdue, and its connection must be read first: then `tick` is due right after that.
    func wantsLook(oldestUnansweredNs: Int64?, now: ClockReading) -> Bool {
        switch state {
        case .probing, .closed, .stalled: break
        case .open, .connecting, .resting: return false
        }
        guard let dueNs = nextTickNs(oldestUnansweredNs: oldestUnansweredNs) else { return false }
        return now.monotonicNs >= dueNs && lookedNs < dueNs
    }

    /// The store rejected a batch before it ran.
    mutating func rejected(now: ClockReading) {
        switch state {
        case .closed, .probing, .stalled:
            forgetFailures(now: now)
            state = .resting(retryAtNs: now.monotonicNs + backoff.nextPauseNs())
        case .open, .connecting, .resting:
            break
        }
    }

    /// The latest time of the next attempt, or of other news from the store.
    func nextTryNs(now: ClockReading) -> Int64 {
        switch state {
        case .open(let retryAtNs), .resting(let retryAtNs): retryAtNs
        case .stalled(let sinceNs): sinceNs + EngineBounds.stallLimitNs
        case .connecting, .probing, .closed: now.monotonicNs + overdueAfterNs
        }
    }

    /// When `tick` has something to do; nil if only an event from the link can change the state.
    func nextTickNs(oldestUnansweredNs: Int64?) -> Int64? {
        switch state {
        case .open(let retryAtNs), .resting(let retryAtNs): retryAtNs
        case .connecting: nil
        case .probing, .closed: oldestUnansweredNs.map { $0 + overdueAfterNs }
        case .stalled(let sinceNs): sinceNs + EngineBounds.stallLimitNs
        }
    }

    /// It is no longer closed: resets the failures if it was closed for long enough.
    private mutating func forgetFailures(now: ClockReading) {
        if isClosed && now.monotonicNs - closedNs >= EngineBounds.maxBackoffNs { backoff.reset() }
    }
}
