/// Reduces a failing seed to the shortest run that still fails: without the faults that do not matter, and no longer
/// than needed.
struct SimulationReduction {
    let seed: UInt64
    private(set) var without: Set<Int> = []
    private(set) var endNs: Int64 = .max
    private(set) var failure: String

    /// nil if the seed does not fail.
    init?(seed: UInt64) {
        self.seed = seed
        guard let failure = Self.failure(of: Simulation(seed: seed)) else { return nil }
        self.failure = failure.text
        let count = Simulation(seed: seed).scenario.episodes.count
        for index in 0..<count { tryWithout(index) }
        // What is checked at the end holds only after all faults are over.
        guard failure.atNs < Simulation(seed: seed).scenario.endNs else { return }
        shorten()
        // A fault that did not matter in the longer run may matter in the shorter one.
        for index in 0..<count { tryWithout(index) }
    }

    private mutating func tryWithout(_ index: Int) {
        guard !without.contains(index) else { return }
        let fewer = without.union([index])
        guard let failure = Self.failure(of: Simulation(seed: seed, without: fewer, endNs: endNs)) else { return }
        without = fewer
        self.failure = failure.text
    }

    private mutating func shorten() {
        var low: Int64 = 0
        var high = min(endNs, Simulation(seed: seed).scenario.endNs)
        while high - low > 10_000_000 {
            let middle = low + (high - low) / 2
            if let failure = Self.failure(of: Simulation(seed: seed, without: without, endNs: middle)) {
                high = middle
                endNs = middle
                self.failure = failure.text
            } else {
                low = middle
            }
        }
    }

    /// Prints every event of the reduced run.
    func replay() {
        var simulation = Simulation(seed: seed, isVerbose: true, without: without, endNs: endNs)
        _ = Self.run(&simulation)
    }

    private static func failure(of simulation: Simulation) -> (text: String, atNs: Int64)? {
        var simulation = simulation
        return run(&simulation)
    }

    /// What fails in a run, and when; nil if nothing does.
    static func run(_ simulation: inout Simulation) -> (text: String, atNs: Int64)? {
        do {
            try simulation.run()
            return nil
        } catch {
            return ("\(error)", simulation.nowNs)
        }
    }
}
