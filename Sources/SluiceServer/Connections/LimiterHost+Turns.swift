import NIOCore
import SluiceEngine

/// The turns of the event loop, as `LoopTurns` divides them.
extension LimiterHost {
    /// Marks that something was found at a socket and is about to be handled. - Returns: the time, if it had to be
    /// read: at the beginning of a turn.
    @discardableResult
    func openTurn() -> ClockReading? {
        guard !turns.isOpen else { return nil }
        let now = SystemClock.now()
        turns.open(nowNs: now.monotonicNs)
        scheduleTurnsEnd()
        return now
    }

    /// Work was done, in units of about a microsecond: it counts for this turn.
    func add(work: Int) { turns.add(work: work) }

    /// It has used its share of this turn, and goes on once all that is found at the sockets has been handled.
    func goOnLater(_ taker: any TurnTaker) {
        turns.append(taker)
        if !isGoingOn { look.request() }
    }

    /// The loop has read its sockets and handles what it found.
    func looked() {
        openTurn()
        hasLooked = true
        ticksAfterTurn = ticksAfterTurn || limiter.wantsLook
    }

    /// Runs after everything found at the sockets has been handled.
    func scheduleTurnsEnd() {
        guard !isTurnsEndScheduled else { return }
        isTurnsEndScheduled = true
        eventLoop.assumeIsolated().execute { [self] in
            isTurnsEndScheduled = false
            endTurn()
        }
    }

    private func endTurn() {
        if ticksAfterTurn {
            ticksAfterTurn = false
            limiter.tick(now: SystemClock.now(), lookedNs: turns.beganNs)
            wantsPump = true
        }
        // What was just found at the sockets is on its way to the store before what was left goes on.
        if wantsPump { pump() }
        if hasLooked { goOn() }
        if wantsPump { pump() }
        if wantsRelief { relieveMemory() }
        turns.close(nowNs: SystemClock.monotonicNs())
    }

    /// Work left of earlier turns goes on, as far as this one has room.
    private func goOn() {
        hasLooked = false
        isGoingOn = true
        var isFirst = true
        while let taker = turns.next(isFirst: isFirst) {
            isFirst = false
            taker.goOn()
        }
        isGoingOn = false
        if turns.hasWaiting { look.request() }
    }
}
