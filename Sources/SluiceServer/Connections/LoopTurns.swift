import DequeModule
import SluiceEngine

/// The turns of the event loop: in each it polls its sockets, handles what it found, and does the work that this left.
/// It also holds the connections that have used their share of a turn and have work left; they take turns.
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
    private var waiting: Deque<ConnectionHandler> = []

    var hasWaiting: Bool { !waiting.isEmpty }

    /// Something was found at a socket.
    mutating func open(nowNs: Int64) {
        guard !isOpen else { return }
        isOpen = true
        number &+= 1
        readableNs = nowNs - endedNs <= ServerBounds.sleepNs ? beganNs : nowNs
        beganNs = nowNs
    }

    /// Everything found at the sockets has been handled.
    mutating func close(nowNs: Int64) {
        isOpen = false
        endedNs = nowNs
    }

    mutating func append(_ connection: ConnectionHandler) { waiting.append(connection) }

    /// The next of the connections that were waiting when this turn began.
    mutating func next() -> ConnectionHandler? { waiting.popFirst() }

    var waitingCount: Int { waiting.count }
}
