import ArgumentParser
import Dispatch
import Foundation
import SluiceTerminal
import Synchronization

@main struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs replicas, a model of Redis, gateways and a hostile network in virtual time.",
        discussion: """
            Each seed is a run of its own: at least three replicas, 500 checks and two faults. What must always be so is \
            judged throughout; the summary tells how often each fault and each transition came about.

            EXAMPLES:
              scripts/simulate --seeds 100000
              scripts/simulate --seed 4711

            EXIT CODES: 0 every promise was kept; 1 a seed failed, or, of 1,000 seeds or more, something never came about; \
            64 wrong usage.
            """)

    @Option(help: ArgumentHelp("How many seeds to run.", valueName: "count"))
    var seeds: UInt64 = 3_000
    @Option(help: ArgumentHelp("The first of them.", valueName: "seed"))
    var first: UInt64 = 1
    @Option(help: ArgumentHelp("Runs this one alone, and prints every event; reduced, if it fails.", valueName: "seed"))
    var seed: UInt64?
    @Option(help: ArgumentHelp("How many run beside each other (default: one for each core).", valueName: "count"))
    var jobs: Int = ProcessInfo.processInfo.activeProcessorCount
    @Flag(help: "Ends as soon as a seed fails.")
    var untilFailure = false
    @Flag(help: "Prints the summary as one JSON object.")
    var json = false

    func validate() throws {
        guard seeds >= 1, first <= .max - seeds else { throw ValidationError("--seeds: expected 1 or more") }
        guard (1...256).contains(jobs) else { throw ValidationError("--jobs: expected 1 to 256") }
    }

    func run() throws {
        if let seed { return try replay(seed) }
        let total = Runs(
            seeds: seeds, first: first, jobs: jobs, isQuiet: json || isatty(STDERR_FILENO) == 0,
            endsAtFailure: untilFailure
        ).run()
        let missing =
            total.seeds < 1_000
            ? []
            : (total.admittedAcross == 0 ? ["admitted by two partitions together"] : [])
                + total.coverage.missing.map(\.rawValue) + total.bounds.missing.map(\.rawValue)
        print(json ? try total.json(missing: missing) : total.table(missing: missing))
        for failure in total.failures.prefix(untilFailure ? 0 : 3) {
            guard let reduced = SimulationReduction(seed: failure.seed) else { continue }
            let faults = Simulation(seed: reduced.seed).scenario.episodes.count
            FileHandle.standardError.write(
                Data(
                    """
                    seed \(reduced.seed), without \(reduced.without.count) of \(faults) faults: \(reduced.failure)
                    Its shortest trace: scripts/simulate --seed \(reduced.seed)

                    """.utf8))
        }
        if !total.failures.isEmpty || !missing.isEmpty { throw ExitCode(1) }
    }

    private func replay(_ seed: UInt64) throws {
        if let reduced = SimulationReduction(seed: seed) {
            reduced.replay()
            print("seed \(seed) fails: \(reduced.failure)")
            throw ExitCode(1)
        }
        var simulation = Simulation(seed: seed, isVerbose: true)
        _ = SimulationReduction.run(&simulation)
        var partitions = PartitionSimulation(seed: seed)
        if let failure = PartitionSimulation.run(&partitions) {
            var shown = PartitionSimulation(seed: seed, isVerbose: true)
            _ = PartitionSimulation.run(&shown)
            print("seed \(seed) fails at \(failure.atNs / 1_000) us: \(failure.text)")
            throw ExitCode(1)
        }
        print(
            "seed \(seed): every promise was kept (\(simulation.checks) checks, \(partitions.checks) with several masters)"
        )
    }
}

/// The totals of a number of seeds.
struct RunTotals: Sendable {
    struct Failure: Sendable {
        var seed: UInt64
        var text: String
    }

    var seeds: Int64 = 0
    var checks: Int64 = 0
    /// Those with several masters, and of them those that two partitions admitted together.
    var partitionedChecks: Int64 = 0
    var admittedAcross: Int64 = 0
    var faults: Int64 = 0
    var virtualNs: Int64 = 0
    var fewestChecks = Int64.max
    var coverage = SimulationCoverage()
    var bounds = SimulationBounds()
    var failures: [Failure] = []
    var elapsed = Duration.zero

    mutating func add(_ other: RunTotals) {
        seeds += other.seeds
        checks += other.checks
        partitionedChecks += other.partitionedChecks
        admittedAcross += other.admittedAcross
        faults += other.faults
        virtualNs += other.virtualNs
        fewestChecks = min(fewestChecks, other.fewestChecks)
        coverage.add(other.coverage)
        bounds.add(other.bounds)
        failures += other.failures
        failures.sort { $0.seed < $1.seed }
    }

    func table(missing: [String]) -> String {
        let names = SimulationCoverage.Event.allCases.map(\.rawValue) + SimulationBounds.Row.allCases.map(\.rawValue)
        let width = names.map(\.count).max() ?? 0
        func row(_ name: String, _ text: String) -> String {
            name.padding(toLength: width, withPad: " ", startingAt: 0)
                + String(repeating: " ", count: max(1, 16 - text.count)) + text
        }
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        var lines = [
            row("seeds", "\(seeds)"), row("checks", "\(checks)"), row("fewest checks of a seed", "\(fewestChecks)"),
            row("checks with several masters", "\(partitionedChecks)"),
            row("admitted by two partitions together", "\(admittedAcross)"), row("faults", "\(faults)"),
            row("hours that passed for them", String(format: "%.1f", Double(virtualNs) / 3.6e12)),
            row("seconds that it took", String(format: "%.1f", seconds)), "",
        ]
        for event in SimulationCoverage.Event.allCases {
            lines.append(row(event.rawValue, coverage.counts[event].map { "\($0)" } ?? "never"))
        }
        lines += ["", row("most that a window admitted, of what it may", "windows")]
        for bound in SimulationBounds.Row.allCases {
            let worst = bounds.rows[bound]
            lines.append(
                row(bound.rawValue, worst.map { "\($0.windows)" } ?? "never")
                    + (worst.map { String(format: "%8.1f %%", Double($0.thousandths) / 10) } ?? ""))
        }
        lines.append("")
        for failure in failures.prefix(20) { lines.append("seed \(failure.seed) failed: \(failure.text)") }
        if !missing.isEmpty { lines.append("never came about: " + missing.joined(separator: "; ")) }
        lines.append(
            failures.isEmpty ? "every promise was kept" : "\(failures.count) of \(seeds) seeds broke a promise")
        return lines.joined(separator: "\n")
    }

    func json(missing: [String]) throws -> String {
        struct SimulationReport: Encodable {
            var seeds: Int64
            var checks: Int64
            var faults: Int64
            var virtualHours: Int64
            var coverage: [String: Int64]
            var windowsJudged: [String: Int64]
            var fullestThousandths: [String: Int64]
            var failedSeeds: [UInt64]
            var never: [String]
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let counts = coverage.counts.map { ($0.key.rawValue, $0.value) }
        let report = SimulationReport(
            seeds: seeds, checks: checks, faults: faults, virtualHours: virtualNs / 3_600_000_000_000,
            coverage: Dictionary(uniqueKeysWithValues: counts),
            windowsJudged: bounds.rows.reduce(into: [:]) { $0[$1.key.rawValue] = $1.value.windows },
            fullestThousandths: bounds.rows.reduce(into: [:]) { $0[$1.key.rawValue] = $1.value.thousandths },
            failedSeeds: failures.map(\.seed),
            never: missing)
        return String(decoding: try encoder.encode(report), as: UTF8.self)
    }
}

/// Runs seeds on several threads; each takes the next free one.
private final class Runs: Sendable {
    private let seeds: UInt64
    private let first: UInt64
    private let jobs: Int
    private let isQuiet: Bool
    private let endsAtFailure: Bool
    private let taken = Atomic<UInt64>(0)
    private let totals = Mutex(RunTotals())
    private static let portion: UInt64 = 16

    init(seeds: UInt64, first: UInt64, jobs: Int, isQuiet: Bool, endsAtFailure: Bool) {
        self.seeds = seeds
        self.first = first
        self.jobs = jobs
        self.isQuiet = isQuiet
        self.endsAtFailure = endsAtFailure
    }

    func run() -> RunTotals {
        let start = ContinuousClock.now
        DispatchQueue.concurrentPerform(iterations: jobs) { _ in work(since: start) }
        var all = totals.withLock { $0 }
        all.elapsed = .now - start
        return all
    }

    private func work(since start: ContinuousClock.Instant) {
        while true {
            let begin = taken.wrappingAdd(Self.portion, ordering: .relaxed).oldValue
            guard begin < seeds else { return }
            var part = RunTotals()
            for seed in begin..<min(seeds, begin + Self.portion) { run(first + seed, into: &part) }
            let (done, failures) = totals.withLock {
                $0.add(part)
                return ($0.seeds, $0.failures.count)
            }
            if endsAtFailure && failures > 0 { return }
            guard !isQuiet, done % 1_600 < Int64(Self.portion) else { continue }
            FileHandle.standardError.write(Data("\r\(done) of \(seeds) seeds, \(failures) failed ".utf8))
        }
    }

    private func run(_ seed: UInt64, into part: inout RunTotals) {
        var simulation = Simulation(seed: seed)
        if let failure = SimulationReduction.run(&simulation) {
            part.failures.append(RunTotals.Failure(seed: seed, text: String(failure.text.prefix(400))))
        } else {
            part.fewestChecks = min(part.fewestChecks, Int64(simulation.checks))
        }
        var partitions = PartitionSimulation(seed: seed)
        if let failure = PartitionSimulation.run(&partitions) {
            part.failures.append(RunTotals.Failure(seed: seed, text: String(failure.text.prefix(400))))
        }
        part.partitionedChecks += Int64(partitions.checks)
        part.admittedAcross += Int64(partitions.admittedAcross)
        part.faults += Int64(partitions.scenario.episodes.count)
        part.virtualNs += partitions.nowNs
        part.seeds += 1
        part.checks += Int64(simulation.checks)
        part.faults += Int64(simulation.scenario.episodes.count)
        part.virtualNs += simulation.nowNs
        part.coverage.add(simulation.coverage)
        part.bounds.add(simulation.bounds)
    }
}
