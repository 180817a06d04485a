/// A link to a store of counters that replicas share. It moves bytes and decides nothing: when to connect, to give
/// up and to send is the engine's to say.
///
/// Everything happens on one event loop: calls come in on it, and the delegate is called on it, never from inside one of these calls.
package protocol CounterStore: AnyObject {
    var delegate: (any CounterStoreDelegate)? { get set }

    /// Opens a connection and readies it (authentication, database, script). Ends in `linkConnected` or `linkClosed`.
    func connect()

    /// Closes the connection, or stops opening it, at once. No call to the delegate follows for it or for what was
    /// in flight on it.
    func disconnect()

    /// Sends one batch; answers come in the order of sending, through `linkAnswered`. When the connection breaks,
    /// `linkClosed` alone is called: the engine knows what was in flight.
    func send(_ batch: Batch)

    /// Begins or ends to listen for counters that were lowered, whoever did it: apart from the connection for batches.
    func listen(_ command: ChangeFeedCommand)

    /// Reads the counters that the store holds, for a person to see: not for the path of a check.
    /// The completion is called once, on the event loop, within `LinkBounds`' time.
    func scan(_ query: CounterQuery, completion: @escaping (Result<StoredCounters, BatchFailure>) -> Void)
}

package protocol CounterStoreDelegate: AnyObject {
    /// `server` describes what was reached, for the log: product, version, role.
    func linkConnected(server: String)
    /// It could not connect, or the connection broke.
    func linkClosed(reason: String)
    func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>)
    func linkChangeFeed(_ event: ChangeFeedEvent)
}

/// What a link is to do so that changes of counters are heard of.
package enum ChangeFeedCommand: Sendable, Equatable {
    /// Ends in `opened` or `closed`.
    case open
    /// Asks for a sign of life; ends in `alive` or `closed`.
    case probe
    /// No event follows.
    case close
}

package enum ChangeFeedEvent: Sendable, Equatable {
    /// From here on every change is told: the store has said so.
    case opened
    /// Counters were lowered: what their keys begin with, up to the end of the part in braces.
    case changed([UInt8])
    case alive
    /// It could not be opened, or broke.
    case closed(reason: String)
}
