/// The connection to the store: its breaker, and what the shell must do with the connection next.
struct StoreLink {
    private(set) var breaker: Breaker
    private var wantsConnect = false
    private var wantsDisconnect = false
    private var wantsProbe = false

    init(_ breaker: Breaker) { self.breaker = breaker }

    /// Whether checks are sent to the store.
    var isClosed: Bool { breaker.isClosed }

    /// The connection could not be opened, or broke.
    mutating func disconnected(now: ClockReading) {
        breaker.disconnected(now: now)
        wantsProbe = false
    }

    mutating func connected() { perform(breaker.connected()) }

    /// As `Breaker.rejected`.
    mutating func rejected(now: ClockReading) { breaker.rejected(now: now) }

    /// As `Breaker.answered`.
    mutating func answered(sentNs: Int64, awaitsMore: Bool, arrivedNs: Int64?, now: ClockReading) {
        perform(breaker.answered(sentNs: sentNs, awaitsMore: awaitsMore, arrivedNs: arrivedNs, now: now))
    }

    /// As `Breaker.tick`.
    ///
    /// - Returns: whether the connection is given up: nothing in flight will be answered any more.
    mutating func tick(oldestUnansweredNs: Int64?, lookedNs: Int64?, now: ClockReading) -> Bool {
        let action = breaker.tick(oldestUnansweredNs: oldestUnansweredNs, lookedNs: lookedNs, now: now)
        perform(action)
        return action == .disconnect
    }

    private mutating func perform(_ action: Breaker.Action) {
        switch action {
        case .none: break
        case .connect: wantsConnect = true
        case .disconnect:
            wantsProbe = false
            wantsDisconnect = true
        case .probe: wantsProbe = true
        }
    }

    /// What the shell must do with the connection itself; nil if nothing.
    mutating func takeCommand() -> Limiter.LinkCommand? {
        guard wantsDisconnect || wantsConnect else { return nil }
        if wantsDisconnect {
            wantsDisconnect = false
            return .disconnect
        }
        wantsConnect = false
        return .connect
    }

    /// Whether a probe is due; then the caller sends it.
    mutating func takeProbe() -> Bool {
        guard wantsProbe else { return false }
        wantsProbe = false
        return true
    }
}
