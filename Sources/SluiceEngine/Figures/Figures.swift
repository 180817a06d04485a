/// What one limiter counts for metrics beside `Statistics`.
package struct Figures: Sendable, Equatable {
    package internal(set) var rules = RuleFigures()
    /// From when a check's bytes could be read to its decision, ns, by the decision's source.
    private var durations = [Histogram](
        repeating: Histogram(bounds: Figures.durationBoundsNs), count: Decision.Source.allCases.count)
    /// Entries of the batches that were sent.
    package internal(set) var batchEntries = Histogram(bounds: Figures.batchBounds)
    /// From sending a batch to its answer, ns.
    package internal(set) var batchDurations = Histogram(bounds: Figures.durationBoundsNs)
    /// Restores of a counter in a store that lost its data.
    package internal(set) var restores: Int64 = 0
    private var storeErrors = [Int64](repeating: 0, count: StoreErrorKind.allCases.count)
    /// When the last of those came, ms since the epoch; 0: never.
    package private(set) var lastStoreErrorMs: Int64 = 0

    /// 50 us to 1 s: a check that is decided at once, a store on the same machine, one in another zone, and budgets.
    package static let durationBoundsNs: [Int64] = [
        50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000,
        100_000_000, 1_000_000_000,
    ]
    /// Up to `EngineBounds.maxChargesPerBatch`.
    package static let batchBounds: [Int64] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

    package init() {}

    package func durations(_ source: Decision.Source) -> Histogram { durations[Int(source.rawValue)] }

    package func storeErrors(_ kind: StoreErrorKind) -> Int64 { storeErrors[kind.rawValue] }

    mutating func addDuration(_ ns: Int64, _ source: Decision.Source, times: Int64 = 1) {
        durations[Int(source.rawValue)].add(max(0, ns), times: times)
    }

    mutating func count(_ kind: StoreErrorKind, now: ClockReading) {
        storeErrors[kind.rawValue] += 1
        lastStoreErrorMs = now.wallMs
    }

    /// Adds the figures of another limiter.
    package mutating func add(_ other: Figures) {
        rules.add(other.rules)
        for place in durations.indices { durations[place].add(other.durations[place]) }
        batchEntries.add(other.batchEntries)
        batchDurations.add(other.batchDurations)
        restores += other.restores
        for place in storeErrors.indices { storeErrors[place] += other.storeErrors[place] }
        lastStoreErrorMs = max(lastStoreErrorMs, other.lastStoreErrorMs)
    }
}
