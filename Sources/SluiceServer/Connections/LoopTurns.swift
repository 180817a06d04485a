import DequeModule
import SluiceEngine

/// The turns of the event loop: in each it looks at its sockets, handles what it found, and does what that left to be done.
/// And the connections that have had their share of a turn and have work left: they go round.
///
/// A value-type state machine.
struct LoopTurns {
    /// Tells turns apart.
    private(set) var number: UInt64 = 0
    /// Whether something that was found at a socket has been handled in this turn.
    private(set) var isOpen = false
    /// When the turn began that is open, or was last.
    private(set) var beganNs = Int64.min / 2
    /// Since when what is found in this turn may have lain there at most: when the sockets were last looked at, where the
    /// loop has not slept since.
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

    /// All that was found has been handled.
    mutating func close(nowNs: Int64) {
        isOpen = false
        endedNs = nowNs
    }

    mutating func append(_ connection: ConnectionHandler) { waiting.append(connection) }

    /// The connections that go on in this turn are those that waited when it began, one after the other.
    mutating func next() -> ConnectionHandler? { waiting.popFirst() }

    var waitingCount: Int { waiting.count }
}
