import NIOConcurrencyHelpers
import SluiceProtocol

/// The one oracle of a run, for all its threads: each locks it once per read, for all answers of that read.
final class SharedOracle: Sendable {
    private let oracle: NIOLockedValueBox<Oracle>

    init(_ oracle: Oracle) { self.oracle = NIOLockedValueBox(oracle) }

    func withOracle(_ body: (inout Oracle) -> Void) { oracle.withLockedValue(body) }

    func finish(_ reading: CounterReading) -> OracleReport { oracle.withLockedValue { $0.finish(reading) } }
}
