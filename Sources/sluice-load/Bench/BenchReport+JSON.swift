import Foundation
import SluiceProtocol

/// The machine of a benchmark.
struct BenchMachine: Sendable, Encodable {
    var cores: Int
    var processor: String
    var kernel: String

    /// A description to go with figures.
    var about: String { "\(cores) core\(cores == 1 ? "" : "s") of \(processor), Linux \(kernel)" }

    /// This machine.
    static var current: BenchMachine {
        let lines = (FileManager.default.contents(atPath: "/proc/cpuinfo")).map { String(decoding: $0, as: UTF8.self) }
        let model = lines?.split(separator: "\n").first { $0.hasPrefix("model name") }
        let kernel = FileManager.default.contents(atPath: "/proc/sys/kernel/osrelease")
        return BenchMachine(
            cores: ProcessInfo.processInfo.activeProcessorCount,
            processor: model?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown",
            kernel: kernel.map { String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines) }
                ?? "unknown")
    }
}

extension BenchReport {
    /// All of it as one JSON object, with units in the names.
    /// - Parameter commit: the commit that was built; nil if unknown.
    static func json(
        _ results: [BenchResult], plan: BenchPlan, machine: BenchMachine, commit: String? = nil
    ) throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        let document = BenchDocument(results, plan: plan, machine: machine, commit: commit)
        return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
    }
}

/// The JSON document: its names, written with underscores, are a stable interface.
private struct BenchDocument: Encodable {
    struct Cell: Encodable {
        var name: String
        var about: String
        var rate: Int?
        var contenders: [Contender]
        var counts: Counts
    }

    struct Contender: Encodable {
        var name: String
        var target: String
        var connections: Int
        var pipeline: Int
        var grants: Int
        var skew: Double
        /// Medians over the rounds.
        var median: Round?
        var rounds: [Round]
    }

    struct Round: Encodable {
        var checksPerSecond: Double
        var p50Us: Double
        var p99Us: Double
        var p999Us: Double
        var driverCpuUsPerCheck: Double
        var sidecarCpuUsPerCheck: [Double]
        var redisCpuUsPerCheck: Double?
        var driverBusyShare: Double
        var allowed: Int64?
        var denied: Int64?
        var errors: Int64?
        var bySource: [String: Int64]?
    }

    struct Counts: Encodable {
        var right: Bool
        var errors: Int64
        var firstFault: String?
        var faults: [String]
        var notCompared: [String]
        var oracleAnswers: Int64?
        var oracleKept: Bool?
    }

    struct Measure: Encodable {
        var cell: String
        var name: String
        var unit: String
        var median: Double?
        var least: Double?
        var most: Double?
        var atLeast: Double?
        var atMost: Double?
        var met: Bool?
    }

    struct Versions: Encodable {
        var sluice = SluiceVersion.current
        var commit: String?
        /// nil if no cell had one.
        var redis: String?
    }

    var machine: BenchMachine
    var versions: Versions
    var roundCount: Int
    var roundSeconds: Double
    var cells: [Cell]
    var measures: [Measure]

    init(_ results: [BenchResult], plan: BenchPlan, machine: BenchMachine, commit: String?) {
        self.machine = machine
        versions = Versions(commit: commit, redis: results.lazy.compactMap(\.redisVersion).first)
        roundCount = plan.rounds
        roundSeconds = Double(plan.durationNs) / 1e9
        cells = results.map { Cell($0) }
        measures = results.flatMap(\.measured).map { Measure($0) }
    }
}

extension BenchDocument.Cell {
    fileprivate init(_ result: BenchResult) {
        name = result.cell.name
        about = result.cell.about
        rate = result.ratePerSecond
        contenders = zip(result.cell.contenders, result.rounds).map { contender, rounds in
            BenchDocument.Contender(
                name: contender.name, target: contender.target.rawValue, connections: contender.load.connections,
                pipeline: contender.load.pipeline, grants: contender.load.grants, skew: contender.load.skew,
                median: BenchDocument.Round(medianOf: rounds), rounds: rounds.map { BenchDocument.Round($0) })
        }
        let counts = result.counts
        self.counts = BenchDocument.Counts(
            right: counts.isClean, errors: counts.failures, firstFault: counts.firstFault, faults: counts.faults,
            notCompared: counts.gaps, oracleAnswers: counts.oracle?.answers, oracleKept: counts.oracle?.isKept)
    }
}

extension BenchDocument.Round {
    fileprivate init(_ round: BenchRound) {
        checksPerSecond = round.checksPerSecond
        p50Us = round.p50Us
        p99Us = round.p99Us
        p999Us = round.p999Us
        driverCpuUsPerCheck = round.driverUs
        sidecarCpuUsPerCheck = round.sidecarsUs
        redisCpuUsPerCheck = round.redisUs
        driverBusyShare = round.driverBusyShare
        allowed = round.allowed
        denied = round.denied
        errors = round.failures
        bySource = Dictionary(uniqueKeysWithValues: round.bySource.map { ($0.key.rawValue, $0.value) })
    }

    /// nil without rounds.
    fileprivate init?(medianOf rounds: [BenchRound]) {
        guard let first = rounds.first else { return nil }
        func median(_ value: (BenchRound) -> Double?) -> Double? { Spread(rounds.compactMap(value))?.median }
        checksPerSecond = median(\.checksPerSecond) ?? 0
        p50Us = median(\.p50Us) ?? 0
        p99Us = median(\.p99Us) ?? 0
        p999Us = median(\.p999Us) ?? 0
        driverCpuUsPerCheck = median(\.driverUs) ?? 0
        sidecarCpuUsPerCheck = first.sidecarsUs.indices.map { index in median { $0.sidecarsUs[index] } ?? 0 }
        redisCpuUsPerCheck = median(\.redisUs)
        driverBusyShare = median(\.driverBusyShare) ?? 0
    }
}

extension BenchDocument.Measure {
    fileprivate init(_ measured: BenchResult.Measured) {
        cell = measured.cell
        name = measured.name
        unit = measured.unit.rawValue
        median = measured.value?.median
        least = measured.value?.least
        most = measured.value?.most
        switch measured.bar {
        case .atLeast(let value)?: atLeast = value
        case .atMost(let value)?: atMost = value
        case nil: break
        }
        met = measured.isMet
    }
}
