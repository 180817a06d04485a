import Foundation
import SluiceProtocol
import SluiceTerminal

/// The machine of a benchmark.
struct BenchMachine: Sendable {
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
    /// All of it as one JSON object, with units in the names, which are a stable interface.
    /// - Parameter commit: the commit that was built; nil if unknown.
    static func json(
        _ results: [BenchResult], plan: BenchPlan, machine: BenchMachine, commit: String? = nil
    ) -> String {
        let document: JSONText = [
            "machine": [
                "cores": .integer(machine.cores), "processor": .string(machine.processor),
                "kernel": .string(machine.kernel),
            ],
            "versions": [
                "sluice": .string(SluiceVersion.current), "commit": commit.map { .string($0) },
                // Absent if no cell had one.
                "redis": results.lazy.compactMap(\.redisVersion).first.map { .string($0) },
            ],
            "round_count": .integer(plan.rounds),
            "round_seconds": .number(Double(plan.durationNs) / 1e9),
            "cells": .array(results.map(cell)),
            "measures": .array(results.flatMap(\.measured).map(measure)),
        ]
        return document.sorted.lines
    }

    private static func cell(_ result: BenchResult) -> JSONText {
        let counts = result.counts
        return [
            "name": .string(result.cell.name),
            "about": .string(result.cell.about),
            "rate": result.ratePerSecond.map { .integer($0) },
            "contenders": .array(zip(result.cell.contenders, result.rounds).map(contender)),
            "counts": [
                "right": .boolean(counts.isClean),
                "errors": .integer(counts.failures),
                "first_fault": counts.firstFault.map { .string($0) },
                "faults": .strings(counts.faults),
                "not_compared": .strings(counts.gaps),
                "oracle_answers": counts.oracle.map { .integer($0.answers) },
                "oracle_kept": counts.oracle.map { .boolean($0.isKept) },
            ],
        ]
    }

    private static func contender(_ contender: BenchCell.Contender, _ rounds: [BenchRound]) -> JSONText {
        [
            "name": .string(contender.name),
            "target": .string(contender.target.rawValue),
            "connections": .integer(contender.load.connections),
            "pipeline": .integer(contender.load.pipeline),
            "grants": .integer(contender.load.grants),
            "skew": .number(contender.load.skew),
            "median": figures(rounds),
            "rounds": .array(rounds.compactMap { figures([$0], countsOf: $0) }),
        ]
    }

    /// The medians over some rounds, or the figures of one; nil without rounds.
    private static func figures(_ rounds: [BenchRound], countsOf round: BenchRound? = nil) -> JSONText? {
        guard let first = rounds.first else { return nil }
        func median(_ value: (BenchRound) -> Double?) -> JSONText {
            .number(Spread(rounds.compactMap(value))?.median ?? 0)
        }
        return [
            "checks_per_second": median(\.checksPerSecond),
            "p50_us": median(\.p50Us),
            "p99_us": median(\.p99Us),
            "p999_us": median(\.p999Us),
            "driver_cpu_us_per_check": median(\.driverUs),
            "sidecar_cpu_us_per_check": .array(
                first.sidecarsUs.indices.map { index in median { $0.sidecarsUs[index] } }),
            "redis_cpu_us_per_check": first.redisUs == nil ? nil : median(\.redisUs),
            "masters_cpu_us_per_check": first.serversUs.count < 2
                ? nil : .array(first.serversUs.indices.map { index in median { $0.serversUs[index] } }),
            "driver_busy_share": median(\.driverBusyShare),
            "allowed": round.map { .integer($0.allowed) },
            "denied": round.map { .integer($0.denied) },
            "errors": round.map { .integer($0.failures) },
            "by_source": round.map { .object($0.bySource.map { ($0.key.rawValue, .integer($0.value)) }) },
        ]
    }

    private static func measure(_ measured: BenchResult.Measured) -> JSONText {
        let bar: (least: Double?, most: Double?) =
            switch measured.bar {
            case .atLeast(let value)?: (value, nil)
            case .atMost(let value)?: (nil, value)
            case nil: (nil, nil)
            }
        return [
            "cell": .string(measured.cell),
            "name": .string(measured.name),
            "unit": .string(measured.unit.rawValue),
            "median": measured.value.map { .number($0.median) },
            "least": measured.value.map { .number($0.least) },
            "most": measured.value.map { .number($0.most) },
            "at_least": bar.least.map { .number($0) },
            "at_most": bar.most.map { .number($0) },
            "met": measured.isMet.map { .boolean($0) },
        ]
    }
}
