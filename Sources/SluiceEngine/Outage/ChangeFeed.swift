/// Decides when to subscribe to changes of counters, and whether they are received.
///
/// A value-type state machine: events come in with the time, commands for the link go out.
struct ChangeFeed {
    enum State: Equatable {
        /// Not subscribed. Waits for the time to retry, and for the store to be available. Becomes `opening`.
        case off(retryAtNs: Int64)
        /// Waits for the store to confirm the subscription. Becomes `listening`, or `off` when that failed or took too
        /// long.
        case opening(sinceNs: Int64)
        /// Every change is received. After a silence it probes the connection, at `probedNs`. Becomes `off` when the
        /// connection broke or the probe was not answered in time.
        case listening(heardNs: Int64, probedNs: Int64?)
    }

    private(set) var state: State
    /// Why it is not subscribed.
    private(set) var reason = ""
    private var backoff: Backoff

    init(seed: UInt64, now: ClockReading) {
        backoff = Backoff(longestNs: EngineBounds.maxChangeFeedBackoffNs, seed: seed &+ 1)
        state = .off(retryAtNs: now.monotonicNs)
    }

    /// Failures in a row.
    var failures: Int { backoff.failures }

    var isListening: Bool { if case .listening = state { true } else { false } }

    /// - Parameter lookedNs: as in `Breaker.tick`.
    mutating func tick(isStoreThere: Bool, lookedNs: Int64? = nil, now: ClockReading) -> ChangeFeedCommand? {
        let nowNs = now.monotonicNs
        let lookedNs = lookedNs ?? nowNs
        switch state {
        case .off(let retryAtNs):
            guard isStoreThere, nowNs >= retryAtNs else { return nil }
            state = .opening(sinceNs: nowNs)
            return .open
        case .opening(let sinceNs):
            guard lookedNs - sinceNs >= EngineBounds.listeningOpenNs else { return nil }
            fail("no answer", now: now)
            return .close
        case .listening(let heardNs, nil):
            guard nowNs - heardNs >= EngineBounds.listeningProbeNs else { return nil }
            state = .listening(heardNs: heardNs, probedNs: nowNs)
            return .probe
        case .listening(_, let probedNs?):
            guard lookedNs - probedNs >= EngineBounds.listeningSilenceNs else { return nil }
            fail("no answer to a probe", now: now)
            return .close
        }
    }

    /// A probe before it is due by itself; nil if it does not listen.
    mutating func probe(now: ClockReading) -> ChangeFeedCommand? {
        guard case .listening(let heardNs, let probedNs) = state else { return nil }
        state = .listening(heardNs: heardNs, probedNs: probedNs ?? now.monotonicNs)
        return .probe
    }

    /// As `Breaker.wantsLook`.
    func wantsLook(now: ClockReading) -> Bool {
        switch state {
        case .opening, .listening(_, .some): nextTickNs(isStoreThere: true).map { now.monotonicNs >= $0 } ?? false
        case .off, .listening(_, nil): false
        }
    }

    mutating func hear(_ event: ChangeFeedEvent, now: ClockReading) {
        switch (event, state) {
        case (.opened, .opening):
            backoff.reset()
            state = .listening(heardNs: now.monotonicNs, probedNs: nil)
        case (.changed, .listening), (.alive, .listening):
            state = .listening(heardNs: now.monotonicNs, probedNs: nil)
        case (.closed(let reason), .opening), (.closed(let reason), .listening):
            fail(reason, now: now)
        case (.opened, _), (.changed, _), (.alive, _), (.closed, .off):
            break
        }
    }

    /// The store became unavailable, and the feed's connection most likely with it: resets the pause, so that it
    /// reconnects at once when the store is back.
    mutating func storeLeft(now: ClockReading) {
        backoff.reset()
        if case .off = state { state = .off(retryAtNs: now.monotonicNs) }
    }

    /// When `tick` has something to do; nil if only an event can change the state.
    func nextTickNs(isStoreThere: Bool) -> Int64? {
        switch state {
        case .off(let retryAtNs): isStoreThere ? retryAtNs : nil
        case .opening(let sinceNs): sinceNs + EngineBounds.listeningOpenNs
        case .listening(let heardNs, nil): heardNs + EngineBounds.listeningProbeNs
        case .listening(_, let probedNs?): probedNs + EngineBounds.listeningSilenceNs
        }
    }

    private mutating func fail(_ reason: String, now: ClockReading) {
        self.reason = reason
        state = .off(retryAtNs: now.monotonicNs + backoff.nextPauseNs())
    }
}
