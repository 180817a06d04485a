import Foundation
import Histogram
import SluiceProtocol

extension Summary {
    /// The summary as one JSON object on one line, with units in the names.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(SummaryDocument(self)), as: UTF8.self) + "\n"
    }
}

/// The JSON document: its names, written with underscores, are a stable interface.
private struct SummaryDocument: Encodable {
    struct Load: Encodable {
        var target: String
        var sockets: [String]
        var connectionsPerSocket: Int
        var pipeline: Int
        var threads: Int
        var grants: Int
        var grantPrefix: String
        var skew: Double
        var sessions: Int
        var kinds: [Kind]
        var rate: Int?
        var rampTo: Int?
        var burst: Int?
        var burstEverySeconds: Double?
        var seed: UInt64
        var scope: String
        var replicas: Int
    }

    struct Kind: Encodable {
        var tool: String
        var cost: Int64
        var reserves: Bool
        var weight: Double
    }

    struct Second: Encodable {
        var startSeconds: Double
        var intendedPerSecond: Double?
        var answeredPerSecond: Double
        var p50Us: Double
        var p99Us: Double
        var maxUs: Double
        var p99SinceSentUs: Double?
        var errors: Int64
    }

    struct Search: Encodable {
        struct Step: Encodable {
            var rate: Int
            var answeredPerSecond: Double
            var p99Us: Double
            var errors: Int64
            var sendLatenessP99Us: Double
            var fault: String?
        }

        var p99GoalUs: Double
        var found: Int?
        var limitedByDriver: Bool
        var steps: [Step]
    }

    struct Decisions: Encodable {
        var allowed: Int64
        var denied: Int64
    }

    struct Driver: Encodable {
        var cpuSeconds: Double
        var cpuUsPerCheck: Double
        var busyShare: Double
        var mayBeBottleneck: Bool
        var reasons: [String]
    }

    struct Oracle: Encodable {
        struct Break: Encodable {
            var promise: String
            var subject: String
            var rule: String
            var windowStartMs: Int64
            var facts: String
        }

        struct Counters: Encodable {
            /// `redis` or `sidecar`; null if they were not read.
            var source: String?
            var notRead: String?
            var agreeing: Int64
            var differing: Int64
            var notSettled: Int64
            var unknown: Int64
            var truncated: Bool
        }

        var kept: Bool
        /// Whether there was anything to judge: otherwise `kept` means nothing.
        var judged: Bool
        var answers: Int64
        var windows: Int64
        var reservedWindows: Int64
        var unjudgedRules: [String]
        var counters: Counters?
        var fullWindows: Int64
        var exactWindows: Int64
        var localWindows: Int64
        var unsettledWindows: Int64
        var lateAnswers: Int64
        var unjudgedAnswers: Int64
        var untracedAnswers: Int64
        var breakCount: Int64
        var breaks: [Break]
    }

    var load: Load
    var interrupted: Bool
    var elapsedSeconds: Double
    var checks: Int64
    var checksPerSecond: Double
    var latencyUs: [String: Double]
    /// Counted from when checks really were sent; null in a closed loop.
    var latencySinceSentUs: [String: Double]?
    var sendLatenessUs: [String: Double]?
    /// Null without such settlements.
    var commitLatencyUs: [String: Double]?
    var cancelLatencyUs: [String: Double]?
    var decisions: [String: Decisions]
    var decisionsOverBudget: Int64
    var decisionsOverBudgetSinceSent: Int64
    var errors: [String: Int64]
    var brokenConnections: Int64
    var firstFault: String?
    var reservations: [String: Int64]
    var driver: Driver
    var search: Search?
    var seconds: [Second]
    var oracle: Oracle?

    init(_ summary: Summary) {
        let settings = summary.settings
        let statistics = summary.statistics
        load = Load(
            target: settings.target.rawValue, sockets: settings.socketPaths,
            connectionsPerSocket: settings.connectionsPerSocket,
            pipeline: settings.pipeline, threads: settings.threadCount, grants: settings.grantCount,
            grantPrefix: settings.grantPrefix, skew: settings.skew, sessions: settings.sessionCount,
            kinds: settings.kinds.map { Kind(tool: $0.tool, cost: $0.cost, reserves: $0.reserves, weight: $0.weight) },
            rate: settings.ratePerSecond, rampTo: settings.rampToPerSecond, burst: settings.burst?.count,
            burstEverySeconds: settings.burst.map { Double($0.periodNs) / 1e9 }, seed: settings.seed,
            scope: settings.scope.rawValue, replicas: settings.replicaCount)
        interrupted = summary.isInterrupted
        elapsedSeconds = Double(summary.elapsedNs) / 1e9
        checks = summary.decidedWhileSending
        checksPerSecond = summary.checksPerSecond
        func percentiles(_ value: (Double) -> UInt64) -> [String: Double] {
            Dictionary(uniqueKeysWithValues: Summary.percentiles.map { ($0.name, Double(value($0.value)) / 1e3) })
        }
        latencyUs = percentiles { statistics.latency.valueAtPercentile($0) }
        sendLatenessUs =
            !settings.isOpenLoop ? nil : percentiles { statistics.lateness.valueAtPercentile($0) }
        decisions = Dictionary(
            uniqueKeysWithValues: (settings.target == .sluice ? ReplySource.allCases : [.shared]).map {
                (
                    settings.target.name(of: $0),
                    Decisions(allowed: statistics[$0].allowed, denied: statistics[$0].denied)
                )
            })
        latencySinceSentUs =
            !settings.isOpenLoop ? nil : percentiles { statistics.latencySinceSent.valueAtPercentile($0) }
        commitLatencyUs = statistics.commitLatency.map { histogram in percentiles { histogram.valueAtPercentile($0) } }
        cancelLatencyUs = statistics.cancelLatency.map { histogram in percentiles { histogram.valueAtPercentile($0) } }
        decisionsOverBudget = statistics.overBudget
        decisionsOverBudgetSinceSent = statistics.overBudgetSinceSent
        errors = Dictionary(uniqueKeysWithValues: LoadStatistics.Failure.allCases.map { ("\($0)", statistics[$0]) })
        brokenConnections = statistics.brokenConnections
        firstFault = statistics.firstFault
        driver = Driver(
            cpuSeconds: Double(summary.processorNs) / 1e9, cpuUsPerCheck: summary.processorNsPerCheck / 1e3,
            busyShare: summary.busyShare, mayBeBottleneck: !summary.bottlenecks.isEmpty,
            reasons: summary.bottlenecks)
        reservations = [
            "committed": statistics.committed, "cancelled": statistics.cancelled,
            "unknown": statistics.unknownReservations,
        ]
        search = summary.search.map { Search($0) }
        seconds = summary.timeline.points.map {
            Second(
                startSeconds: Double($0.startNs) / 1e9, intendedPerSecond: $0.intendedRate,
                answeredPerSecond: $0.perSecond, p50Us: Double($0.p50Ns) / 1e3, p99Us: Double($0.p99Ns) / 1e3,
                maxUs: Double($0.maxNs) / 1e3,
                p99SinceSentUs: $0.p99SinceSentNs > 0 ? Double($0.p99SinceSentNs) / 1e3 : nil, errors: $0.failures)
        }
        oracle = summary.oracle.map { Oracle($0, of: summary) }
    }
}

extension SummaryDocument.Search {
    fileprivate init(_ search: RateSearch) {
        p99GoalUs = Double(search.goalNs) / 1e3
        found = search.kept
        limitedByDriver = search.isLimitedByDriver
        steps = search.steps.map {
            Step(
                rate: $0.ratePerSecond, answeredPerSecond: $0.answeredPerSecond, p99Us: Double($0.p99Ns) / 1e3,
                errors: $0.failures, sendLatenessP99Us: Double($0.latenessNs) / 1e3,
                fault: search.fault(of: $0)?.rawValue)
        }
    }
}

extension SummaryDocument.Oracle {
    fileprivate init(_ report: OracleReport, of summary: Summary) {
        let settings = summary.settings
        judged = summary.nothingJudged == nil
        kept = report.isKept
        answers = report.answers
        windows = report.windows
        reservedWindows = report.reservedWindows
        unjudgedRules = report.unjudgedRules.sorted()
        if report.counters != nil || report.countersUnread != nil {
            counters = Counters(
                source: report.counters.map { "\($0.origin)" }, notRead: report.countersUnread,
                agreeing: report.counters?.agreeing ?? 0, differing: report.counters?.differing ?? 0,
                notSettled: report.counters?.notSettled ?? 0, unknown: report.counters?.unknown ?? 0,
                truncated: report.counters?.isTruncated ?? false)
        }
        fullWindows = report.fullWindows
        exactWindows = report.exactWindows
        localWindows = report.localWindows
        unsettledWindows = report.unsettledWindows
        lateAnswers = report.lateAnswers
        unjudgedAnswers = report.unjudgedAnswers
        untracedAnswers = report.untracedAnswers
        breakCount = report.breakCount
        breaks = report.breaks.map {
            Break(
                promise: $0.promise.rawValue, subject: settings.subjectName($0.subject), rule: $0.rule,
                windowStartMs: $0.windowStartMs, facts: $0.facts)
        }
    }
}
