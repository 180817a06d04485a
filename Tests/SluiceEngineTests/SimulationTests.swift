import Foundation
import Testing

@testable import SluiceEngine

/// Seeded random runs of several replicas over one store and a bad network.
///
/// `SLUICE_SIMULATION_SEED=N` replays one seed and prints what happens; `SLUICE_SIMULATION_RUNS=N` runs so many, from
/// `SLUICE_SIMULATION_FIRST` (1).
@Suite struct SimulationTests {
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    private static let parts: UInt64 = 4

    /// In parts, so that they run beside each other.
    @Test(arguments: 0..<parts) func holdsItsPromises(part: UInt64) {
        if let seed = Self.number("SLUICE_SIMULATION_SEED") {
            if part == 0 { run(seed, isVerbose: true) }
            return
        }
        let first = Self.number("SLUICE_SIMULATION_FIRST") ?? 1
        let runs = Self.number("SLUICE_SIMULATION_RUNS") ?? 200
        var failures = 0
        var remembered: Int64 = 0
        for seed in first..<first + runs where seed % Self.parts == part && failures < 3 {
            guard let simulation = run(seed, isVerbose: false) else {
                failures += 1
                continue
            }
            remembered += simulation.replicas.reduce(0) { $0 + $1.limiter.statistics.answers(.cache) }
        }
        // What never happens is not tried.
        if runs >= 200 { #expect(remembered > 1_000) }
    }

    @discardableResult
    private func run(_ seed: UInt64, isVerbose: Bool) -> Simulation? {
        var simulation = Simulation(seed: seed, isVerbose: isVerbose)
        do {
            try simulation.run()
            return simulation
        } catch {
            let at = simulation.nowNs / 1_000_000
            Issue.record("SLUICE_SIMULATION_SEED=\(seed), at \(at) ms: \(error)")
            return nil
        }
    }
}
