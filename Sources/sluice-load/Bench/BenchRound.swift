import Histogram
import SluiceProtocol

/// The results of one contender in one round.
struct BenchRound: Sendable, Equatable {
    var checksPerSecond = 0.0
    var p50Us = 0.0
    var p99Us = 0.0
    var p999Us = 0.0
    /// CPU per check, us: of the driver, of each sidecar, and of Redis, all masters together (nil if there is none).
    var driverUs = 0.0
    var sidecarsUs: [Double] = []
    var redisUs: Double? { serversUs.isEmpty ? nil : serversUs.reduce(0, +) }
    /// The same for each master of a cluster, or for the one Redis; empty if there is none.
    var serversUs: [Double] = []
    /// How much of the time the driver's busiest thread was working.
    var driverBusyShare = 0.0
    var allowed: Int64 = 0
    var denied: Int64 = 0
    /// The decisions by source; empty for a target without sidecars.
    var bySource: [ReplySource: Int64] = [:]
    var failures: Int64 = 0

    var sidecarUs: Double { sidecarsUs.reduce(0, +) }

    private var masterSpread: Double? {
        guard serversUs.count > 1, let redisUs, redisUs > 0, let most = serversUs.max(), let least = serversUs.min()
        else { return nil }
        return (most - least) * Double(serversUs.count) / redisUs
    }

    private var redisShare: Double? {
        let all = bySource.values.reduce(0, +)
        return all > 0 ? Double(bySource[.shared] ?? 0) / Double(all) : nil
    }

    /// The figure that a measure compares; nil if there is none, or it cannot be divided by.
    func value(of figure: BenchCell.Measure.Figure) -> Double? {
        let value: Double? =
            switch figure {
            case .checksPerSecond: checksPerSecond
            case .p50: p50Us
            case .p99: p99Us
            case .sidecarProcessor: sidecarUs
            case .redisProcessor: redisUs
            case .processor: sidecarUs + (redisUs ?? 0)
            case .masterSpread: masterSpread
            case .redisShare: redisShare
            }
        return value.flatMap { $0 > 0 ? $0 : nil }
    }
}

extension BenchRound {
    /// - Parameter servers: how many of the last of the summary's processes are Redis; the others are sidecars.
    init(_ summary: borrowing Summary, servers: Int) {
        let checks = Double(max(1, summary.decidedWhileSending))
        let processes = summary.processesNs.map { Double($0) / 1e3 / checks }
        serversUs = Array(processes.suffix(servers))
        sidecarsUs = Array(processes.dropLast(servers))
        driverUs = summary.processorNsPerCheck / 1e3
        driverBusyShare = summary.busyShare
        checksPerSecond = summary.checksPerSecond
        p50Us = Double(summary.statistics.latency.valueAtPercentile(50)) / 1e3
        p99Us = Double(summary.statistics.latency.valueAtPercentile(99)) / 1e3
        p999Us = Double(summary.statistics.latency.valueAtPercentile(99.9)) / 1e3
        (allowed, denied) = (summary.statistics.decided.allowed, summary.statistics.decided.denied)
        failures = summary.statistics.failureCount
        guard summary.settings.target == .sluice else { return }
        for source in ReplySource.allCases {
            let decisions = summary.statistics[source]
            if decisions != LoadStatistics.Decisions() { bySource[source] = decisions.allowed + decisions.denied }
        }
    }
}

/// Several rounds' values of one figure.
struct Spread: Sendable, Equatable {
    var median: Double
    var least: Double
    var most: Double

    /// nil without values.
    init?(_ values: some Sequence<Double>) {
        let sorted = values.sorted()
        guard let least = sorted.first, let most = sorted.last else { return nil }
        let middle = sorted.count / 2
        median = sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
        self.least = least
        self.most = most
    }

    /// From the lowest to the highest, as a share of the median.
    var width: Double { median > 0 ? (most - least) / median : 0 }
}

/// The results of a cell.
struct BenchResult: Sendable {
    /// One comparison, and its target.
    struct Measured: Sendable, Equatable {
        enum Unit: String, Sendable {
            case ratio
            case bytes
            case mebibytes
        }

        var cell: String
        var name: String
        /// nil if it could not be measured.
        var value: Spread?
        var unit = Unit.ratio
        var bar: BenchCell.Measure.Bar?

        /// nil if there is no bar, or nothing was measured.
        var isMet: Bool? {
            guard let bar, let value else { return nil }
            return bar.isMet(by: value.median)
        }
    }

    var cell: BenchCell
    /// By contender, in the cell's order.
    var rounds: [[BenchRound]]
    var ratePerSecond: Int?
    /// nil if there is no Redis.
    var redisVersion: String?
    var counts = BenchCounts()
    /// In addition to the comparisons in `cell.measures`.
    var extra: [Measured] = []

    init(cell: BenchCell) {
        self.cell = cell
        rounds = Array(repeating: [], count: cell.contenders.count)
    }

    var measured: [Measured] {
        extra
            + cell.measures.map {
                Measured(cell: cell.name, name: $0.name, value: Spread(values(of: $0)), bar: $0.bar)
            }
    }

    /// A measure's value in each round. Each round is compared by itself and the median is taken of the results, so
    /// that drift from round to round has no effect.
    private func values(of measure: BenchCell.Measure) -> [Double] {
        (0..<(rounds.map(\.count).min() ?? 0)).compactMap { round in
            func quotient(_ above: String, _ below: String) -> Double? {
                guard let above = value(measure.figure, of: above, round),
                    let below = value(measure.figure, of: below, round)
                else { return nil }
                return above / below
            }
            switch measure.relation {
            case .ratio(let of, let to):
                return quotient(of, to)
            case .growth(let from, let to, let otherFrom, let otherTo):
                guard let growth = quotient(to, from), let other = quotient(otherTo, otherFrom) else { return nil }
                return growth / other
            case .value(let contender):
                return value(measure.figure, of: contender, round)
            }
        }
    }

    private func value(_ figure: BenchCell.Measure.Figure, of contender: String, _ round: Int) -> Double? {
        guard let index = cell.contenders.firstIndex(where: { $0.name == contender }) else {
            preconditionFailure("a measure names contenders of its cell")
        }
        return rounds[index][round].value(of: figure)
    }

    /// A figure of one contender, over the rounds.
    func spread(_ contender: Int, _ value: (BenchRound) -> Double?) -> Spread? {
        Spread(rounds[contender].compactMap(value))
    }
}
