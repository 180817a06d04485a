import NIOConcurrencyHelpers
import SluiceProtocol

/// The one oracle of a run, for all its threads: each takes it once a read, with all the answers that the read brought.
final class SharedOracle: Sendable {
    enum Event {
        case answer(Oracle.Answer, trace: [TraceEntry]?)
        case lostSight(subject: Int)
        case lostConnection(sidecar: Int)
    }

    private let oracle: NIOLockedValueBox<Oracle>

    init(_ oracle: Oracle) { self.oracle = NIOLockedValueBox(oracle) }

    /// Tells the oracle all of `events`, and empties them.
    func take(_ events: inout [Event]) {
        guard !events.isEmpty else { return }
        oracle.withLockedValue { oracle in
            for event in events {
                switch event {
                case .answer(let answer, let trace): oracle.observe(answer, trace: trace)
                case .lostSight(let subject): oracle.lostSight(ofSubject: subject)
                case .lostConnection(let sidecar): oracle.lostConnection(toSidecar: sidecar)
                }
            }
        }
        events.removeAll(keepingCapacity: true)
    }

    func finish() -> OracleReport { oracle.withLockedValue { $0.finish() } }
}
