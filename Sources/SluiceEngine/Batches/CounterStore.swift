/// A link to a store of counters that replicas share. It moves bytes and decides nothing: the engine says when to
/// connect, disconnect and send.
///
/// Runs on one event loop: it is called there, and calls its delegate there, never from inside one of these calls.
package protocol CounterStore: AnyObject {
    var delegate: (any CounterStoreDelegate)? { get set }

    /// What the store that was last connected does not let the link do, though it counts: a sentence each, for
    /// operators.
    var limitations: [String] { get }

    /// Whether the store that was last connected lets scripts publish which counters they lower.
    var announcesChanges: Bool { get }

    /// Which of several servers has the counters of this link; nil if there is but one server, or if it is not known.
    var serverPlace: String? { get }

    /// Opens a connection and prepares it (authentication, database, script). Ends in `linkConnected` or `linkClosed`.
    func connect()

    /// Closes the connection, or stops opening it, at once. The delegate is not called for it, nor for what was in
    /// flight on it.
    func disconnect()

    /// Sends one batch. Answers come in the order of sending, through `linkAnswered`. When the connection breaks, only
    /// `linkClosed` is called: the engine knows what was in flight.
    func send(_ batch: Batch)

    /// Opens, probes or closes the change feed, which has a connection of its own.
    func listen(_ command: ChangeFeedCommand)

    /// Reads the counters that the store holds, for operators and not for checks. The completion is called once, on
    /// the event loop, within `LinkBounds`' time.
    func scan(_ query: CounterQuery, completion: @escaping (Result<StoredCounters, BatchFailure>) -> Void)
}

extension CounterStore {
    package var limitations: [String] { [] }
    package var announcesChanges: Bool { true }
    package var serverPlace: String? { nil }
}

package protocol CounterStoreDelegate: AnyObject {
    /// `server` describes the server for the log: product, version, role.
    func linkConnected(server: String)
    /// It could not connect, or the connection broke.
    func linkClosed(reason: String)
    /// From now on, batches go to another of several servers: see `CounterStore.serverPlace`.
    func linkMoved()
    func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>)
    func linkChangeFeed(_ event: ChangeFeedEvent)
}

extension CounterStoreDelegate {
    package func linkMoved() {}
}

/// What a link does with its change feed: notifications of counters that were lowered.
package enum ChangeFeedCommand: Sendable, Equatable {
    /// Ends in `opened` or `closed`.
    case open
    /// Checks that the feed is alive. Ends in `alive` or `closed`.
    case probe
    /// No event follows.
    case close
}

package enum ChangeFeedEvent: Sendable, Equatable {
    /// The store confirmed the subscription: every change from here on is reported.
    case opened
    /// Counters were lowered: those whose keys begin with this, up to the closing brace.
    case changed([UInt8])
    case alive
    /// It could not be opened, or broke.
    case closed(reason: String)
}
