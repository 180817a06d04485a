import Histogram
import SluiceProtocol
import SluiceTerminal

extension Summary {
    /// The summary as one JSON object on one line, with units in the names, which are a stable interface.
    func json() -> String {
        let document: JSONText = [
            "load": load,
            "interrupted": .boolean(isInterrupted),
            "elapsed_seconds": .number(Double(elapsedNs) / 1e9),
            "checks": .integer(decidedWhileSending),
            "checks_per_second": .number(checksPerSecond),
            "latency_us": Self.percentiles(statistics.latency),
            // Counted from when checks really were sent.
            "latency_since_sent_us": settings.isOpenLoop ? Self.percentiles(statistics.latencySinceSent) : nil,
            "send_lateness_us": settings.isOpenLoop ? Self.percentiles(statistics.lateness) : nil,
            "commit_latency_us": statistics.commitLatency.map(Self.percentiles),
            "cancel_latency_us": statistics.cancelLatency.map(Self.percentiles),
            "decisions": .object(
                (settings.target == .sluice ? ReplySource.allCases : [.shared]).map { source in
                    let decisions = statistics[source]
                    return (
                        settings.target.name(of: source),
                        ["allowed": .integer(decisions.allowed), "denied": .integer(decisions.denied)]
                    )
                }),
            "decisions_over_budget": .integer(statistics.overBudget),
            "decisions_over_budget_since_sent": .integer(statistics.overBudgetSinceSent),
            "errors": .object(LoadStatistics.Failure.allCases.map { ("\($0)", .integer(statistics[$0])) }),
            "broken_connections": .integer(statistics.brokenConnections),
            "first_fault": statistics.firstFault.map { .string($0) },
            "reservations": [
                "committed": .integer(statistics.committed), "cancelled": .integer(statistics.cancelled),
                "unknown": .integer(statistics.unknownReservations),
            ],
            "driver": [
                "cpu_seconds": .number(Double(processorNs) / 1e9),
                "cpu_us_per_check": .number(processorNsPerCheck / 1e3),
                "busy_share": .number(busyShare),
                "may_be_bottleneck": .boolean(!bottlenecks.isEmpty),
                "reasons": .strings(bottlenecks),
            ],
            "search": search.map(Self.json),
            "seconds": .array(timeline.points.map(Self.json)),
            "oracle": oracle.map(json),
        ]
        return document.sorted.line + "\n"
    }

    private var load: JSONText {
        [
            "target": .string(settings.target.rawValue),
            "sockets": .strings(settings.socketPaths),
            "connections_per_socket": .integer(settings.connectionsPerSocket),
            "pipeline": .integer(settings.pipeline),
            "threads": .integer(settings.threadCount),
            "grants": .integer(settings.grantCount),
            "grant_prefix": .string(settings.grantPrefix),
            "skew": .number(settings.skew),
            "sessions": .integer(settings.sessionCount),
            "kinds": .array(
                settings.kinds.map {
                    [
                        "tool": .string($0.tool), "cost": .integer($0.cost), "reserves": .boolean($0.reserves),
                        "charges": .boolean($0.charges), "server": $0.server.map { .string($0) },
                        "weight": .number($0.weight),
                    ]
                }),
            "rate": settings.ratePerSecond.map { .integer($0) },
            "ramp_to": settings.rampToPerSecond.map { .integer($0) },
            "burst": settings.burst.map { .integer($0.count) },
            "burst_every_seconds": settings.burst.map { .number(Double($0.periodNs) / 1e9) },
            "seed": .integer(settings.seed),
            "scope": .string(settings.scope.rawValue),
            "replicas": .integer(settings.replicaCount),
        ]
    }

    private static func percentiles(_ histogram: Histogram<UInt64>) -> JSONText {
        .object(percentiles.map { ($0.name, us(histogram.valueAtPercentile($0.value))) })
    }

    private static func us(_ ns: UInt64) -> JSONText { .number(Double(ns) / 1e3) }

    private static func json(_ point: Timeline.Point) -> JSONText {
        [
            "start_seconds": .number(Double(point.startNs) / 1e9),
            "intended_per_second": point.intendedRate.map { .number($0) },
            "answered_per_second": .number(point.perSecond),
            "p50_us": us(point.p50Ns),
            "p99_us": us(point.p99Ns),
            "max_us": us(point.maxNs),
            "p99_since_sent_us": point.p99SinceSentNs > 0 ? us(point.p99SinceSentNs) : nil,
            "errors": .integer(point.failures),
        ]
    }

    private static func json(_ search: RateSearch) -> JSONText {
        [
            "p99_goal_us": .number(Double(search.goalNs) / 1e3),
            "found": search.kept.map { .integer($0) },
            "limited_by_driver": .boolean(search.isLimitedByDriver),
            "steps": .array(
                search.steps.map {
                    [
                        "rate": .integer($0.ratePerSecond),
                        "answered_per_second": .number($0.answeredPerSecond),
                        "p99_us": us($0.p99Ns),
                        "errors": .integer($0.failures),
                        "send_lateness_p99_us": us($0.latenessNs),
                        "fault": search.fault(of: $0).map { .string($0.rawValue) },
                    ]
                }),
        ]
    }

    private func json(_ report: OracleReport) -> JSONText {
        [
            "kept": .boolean(report.isKept),
            // Whether there was anything to judge: otherwise `kept` means nothing.
            "judged": .boolean(nothingJudged == nil),
            "answers": .integer(report.answers),
            "windows": .integer(report.windows),
            "reserved_windows": .integer(report.reservedWindows),
            "unjudged_rules": .strings(report.unjudgedRules.sorted()),
            "counters": Self.counters(report),
            "full_windows": .integer(report.fullWindows),
            "exact_windows": .integer(report.exactWindows),
            "local_windows": .integer(report.localWindows),
            "unsettled_windows": .integer(report.unsettledWindows),
            "late_answers": .integer(report.lateAnswers),
            "unjudged_answers": .integer(report.unjudgedAnswers),
            "untraced_answers": .integer(report.untracedAnswers),
            "break_count": .integer(report.breakCount),
            "breaks": .array(
                report.breaks.map {
                    [
                        "promise": .string($0.promise.rawValue), "subject": .string(settings.subjectName($0.subject)),
                        "rule": .string($0.rule), "window_start_ms": .integer($0.windowStartMs),
                        "facts": .string($0.facts),
                    ]
                }),
        ]
    }

    private static func counters(_ report: OracleReport) -> JSONText? {
        guard report.counters != nil || report.countersUnread != nil else { return nil }
        let counters = report.counters
        return [
            // `redis` or `sidecar`.
            "source": counters.map { .string("\($0.origin)") },
            "not_read": report.countersUnread.map { .string($0) },
            "agreeing": .integer(counters?.agreeing ?? 0),
            "differing": .integer(counters?.differing ?? 0),
            "not_settled": .integer(counters?.notSettled ?? 0),
            "unknown": .integer(counters?.unknown ?? 0),
            "truncated": .boolean(counters?.isTruncated ?? false),
        ]
    }
}
