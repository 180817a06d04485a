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
        for seed in first..<first + runs where seed % Self.parts == part && failures < 3 {
            if !run(seed, isVerbose: false) { failures += 1 }
        }
    }

    @discardableResult
    private func run(_ seed: UInt64, isVerbose: Bool) -> Bool {
        var simulation = Simulation(seed: seed, isVerbose: isVerbose)
        do {
            try simulation.run()
            return true
        } catch {
            let at = simulation.nowNs / 1_000_000
            Issue.record("SLUICE_SIMULATION_SEED=\(seed), at \(at) ms: \(error)")
            return false
        }
    }
}
