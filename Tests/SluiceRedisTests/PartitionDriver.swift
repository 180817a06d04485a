import NIOCore
import SluiceEngine

/// What the engine does with a link, reduced to what exactly-once needs: two batches in flight, an acknowledged sequence,
/// what a batch requires, and what a probe's answer says of batches whose own never came. Lives on the event loop.
final class PartitionDriver: CounterStoreDelegate {
    struct Outcome: Sendable {
        /// Batches that ran: what the counter must hold.
        var charged: Int64 = 0
        var answered = 0
        var rejected = 0
        var outOfOrder = 0
        var forgotten = 0
        var givenUp = 0
        var closures: [String] = []
        /// Whether there are no more to send, and none whose outcome is unknown.
        var isDone = false
    }

    private let link: any CounterStore
    private let eventLoop: any EventLoop
    private let key: (String) -> String
    private(set) var outcome = Outcome()
    private var sequence: Int64 = 0
    private var acknowledged: Int64 = 0
    private var inFlight: [Int64] = []
    private var unconfirmed: [Int64] = []
    /// The last batch that charges nothing.
    private var probe: Int64 = 0
    /// Whether those in flight do not run, because one before them did not.
    private var isDraining = false
    private var isConnected = false
    private var isWanted = true

    /// - Parameter key: the partition's key of a name.
    init(_ link: any CounterStore, on eventLoop: any EventLoop, key: @escaping (String) -> String) {
        self.link = link
        self.eventLoop = eventLoop
        self.key = key
    }

    /// Takes the link over, connected or not.
    func start(isConnected: Bool) {
        link.delegate = self
        self.isConnected = isConnected
        if isConnected { pump() } else { link.connect() }
    }

    /// No more batches but those that find out what became of others.
    func stop() {
        isWanted = false
        pump()
    }

    private func pump() {
        if inFlight.isEmpty { isDraining = false }
        while isConnected, inFlight.count < 2, !isDraining, unconfirmed.isEmpty ? isWanted : inFlight.isEmpty {
            sequence += 1
            var batch = Batch(sequence: sequence, acknowledged: acknowledged)
            if unconfirmed.isEmpty {
                batch.requiredSequence = inFlight.last ?? 0
            } else {
                probe = sequence
            }
            // Every fourth has a counter that nobody has seen before.
            let fresh = sequence % 4 == 0 ? [TestCharge(key: key("fresh-\(sequence)"), max: 1_000_000)] : []
            batch.add(
                cost: 1, count: unconfirmed.isEmpty ? 1 : 0,
                [TestCharge(key: key("all"), max: 1_000_000_000)] + fresh)
            inFlight.append(sequence)
            link.send(batch)
        }
        outcome.isDone = !isWanted && inFlight.isEmpty && unconfirmed.isEmpty
    }

    private func pumpLater(_ ms: Int64) {
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(ms)) { self.pump() }
    }

    /// As the engine does if an answer takes too long: whether those in flight run is not known then.
    private func giveUp() {
        isConnected = false
        unconfirmed += inFlight
        inFlight = []
        outcome.givenUp += 1
        link.disconnect()
        link.connect()
    }

    func linkConnected(server: String) {
        isConnected = true
        pump()
    }

    func linkClosed(reason: String) {
        isConnected = false
        unconfirmed += inFlight
        inFlight = []
        if outcome.closures.count < 1_000 { outcome.closures.append(reason) }
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(20)) { self.link.connect() }
    }

    func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
        precondition(inFlight.first == sequence, "answers come in the order of sending")
        inFlight.removeFirst()
        if (try? result.get().status) != .ran { isDraining = true }
        switch result {
        case .failure(.rejected):
            outcome.rejected += 1
            return pumpLater(5)
        case .failure(.unknown): unconfirmed.append(sequence)
        case .success(let reply):
            outcome.answered += 1
            switch reply.status {
            case .ran:
                outcome.charged += Int64(unconfirmed.count { $0 <= reply.previousSequence })
                if sequence != probe { outcome.charged += reply.results[0] }
                unconfirmed = []
                acknowledged = max(acknowledged, sequence)
            case .outOfOrder: outcome.outOfOrder += 1
            case .forgot: outcome.forgotten += 1
            }
        }
        pump()
        if isWanted && outcome.answered % 64 == 63 { giveUp() }
    }

    func linkChangeFeed(_ event: ChangeFeedEvent) {}
}
