import Testing

@testable import SluiceEngine

/// Seeded random runs of several replicas over one store and a bad network. `scripts/simulate` runs as many as one likes.
@Suite struct SimulationTests {
    private static let parts: UInt64 = 4
    private static let seeds: UInt64 = 120

    /// In parts, so that they run beside each other.
    @Test(arguments: 0..<parts) func holdsItsPromises(part: UInt64) {
        var failures = 0
        for seed in 1...Self.seeds where seed % Self.parts == part && failures < 3 {
            var simulation = Simulation(seed: seed)
            guard let failure = SimulationReduction.run(&simulation) else { continue }
            failures += 1
            Issue.record("scripts/simulate --seed \(seed): at \(failure.atNs / 1_000_000) ms: \(failure.text)")
        }
        for seed in 1...Self.seeds where seed % Self.parts == part && failures < 3 {
            var simulation = PartitionSimulation(seed: seed)
            guard let failure = PartitionSimulation.run(&simulation) else { continue }
            failures += 1
            Issue.record("scripts/simulate --seed \(seed): at \(failure.atNs / 1_000_000) ms: \(failure.text)")
        }
    }
}
