import DequeModule
import SluiceEngine

/// What has work left for later turns.
protocol TurnTaker: AnyObject {
    /// Goes on with another share, and reports the work that it does to the host.
    func goOn()
}

/// The turns of the event loop: in each it polls its sockets, handles what it found, and does the work that this left.
/// It also bounds the work of a turn: every connection that has sent something gets a share of it, and what is left
/// goes to those that have more, in turn.
///
/// A value-type state machine.
struct LoopTurns {
    /// The number of the turn.
    private(set) var number: UInt64 = 0
    /// Whether something found at a socket has been handled in this turn.
    private(set) var isOpen = false
    /// When the open or the latest turn began.
    private(set) var beganNs = Int64.min / 2
    /// The earliest time at which input found in this turn may have arrived: when the sockets were last polled, unless
    /// the loop has slept since.
    private(set) var readableNs = Int64.min / 2
    private var endedNs = Int64.min / 2
    /// Work done in this turn for what was found at sockets, and for what was left, in units of about a microsecond.
    private(set) var work = 0
    private var waiting: Deque<any TurnTaker> = []

    var hasWaiting: Bool { !waiting.isEmpty }

    /// Something was found at a socket.
    mutating func open(nowNs: Int64) {
        guard !isOpen else { return }
        isOpen = true
        number &+= 1
        work = 0
        readableNs = nowNs - endedNs <= ServerBounds.sleepNs ? beganNs : nowNs
        beganNs = nowNs
    }

    /// Everything found at the sockets has been handled.
    mutating func close(nowNs: Int64) {
        isOpen = false
        endedNs = nowNs
    }

    /// How much work a connection may do in this turn for what was just found at its socket. Once the turn is full it is
    /// little, but never nothing: a caller with one check does not wait for those that have hundreds.
    var share: Int {
        work < ServerBounds.maxWorkPerTurn ? ServerBounds.maxShareOfTurn : ServerBounds.minShareOfTurn
    }

    /// Work was done.
    mutating func add(work: Int) { self.work += work }

    /// It has used its share of this turn.
    mutating func append(_ taker: any TurnTaker) { waiting.append(taker) }

    /// Who goes on in this turn, once everything found at the sockets has been handled: those that wait, in turn, until
    /// the turn is full. One goes on in any case, so that what is left ends however much arrives.
    mutating func next(isFirst: Bool) -> (any TurnTaker)? {
        isFirst || work < ServerBounds.maxWorkPerTurn ? waiting.popFirst() : nil
    }
}
