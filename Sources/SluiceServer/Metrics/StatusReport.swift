import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SluiceTerminal

/// What the operators' page shows, as JSON: figures since the start, of which the page makes rates. No grant is in it.
struct StatusReport {
    let host: LimiterHost
    let facts: ServerFacts
    let now: ClockReading
    /// As of the report's beginning: the partitions of a cluster are summed once, not for each figure.
    private let statistics: Statistics

    init(host: LimiterHost, facts: ServerFacts, now: ClockReading) {
        self.host = host
        self.facts = facts
        self.now = now
        statistics = host.limiter.statistics
    }

    var json: JSONText {
        let limiter = host.limiter
        return [
            "version": .string(facts.version), "replica": .string(facts.replicaID),
            "uptime_ms": .integer((now.monotonicNs - facts.startedAt.monotonicNs) / 1_000_000),
            "counting": .string(host.counting),
            "redis": [
                "state": .string(limiter.storeState), "server": .string(host.storeDescription),
                "unavailable_ms": .integer(
                    host.unsharedSince.map { (now.monotonicNs - $0.monotonicNs) / 1_000_000 } ?? 0),
                "last_error": .string(limiter.storeError.onOneLine), "outages": .integer(statistics.outages),
                "data_losses": .integer(statistics.dataLosses),
                "counter_losses": .integer(statistics.counterLosses),
                "unsettled_counters": .integer(limiter.journalCount),
                "subscription": .boolean(limiter.hearsChanges), "live_replicas": .integer(limiter.replicaCount),
                "partitions": .integer(limiter.partitionCount),
                "partitions_shared": .integer(limiter.sharedPartitionCount),
                "masters": .array(host.storeServers.map(json)),
            ],
            "checks": [
                "total": .integer(statistics.total), "late": .integer(statistics.late),
                "busy": .integer(statistics.overloaded), "waiting": .integer(limiter.waitingCount),
            ],
            "sources": counts(Decision.Source.allCases) { (ReplySource($0).rawValue, statistics.answers($0)) },
            "verdicts": counts(Decision.Verdict.allCases) { verdict in
                let count = Decision.Source.allCases.reduce(0) { $0 + statistics.answers($1, verdict) }
                return (ReplyVerdict(verdict).rawValue, count)
            },
            "policy": [
                "reloads": .integer(host.policyHistory.reloads),
                "rejections": .integer(host.policyHistory.rejections),
                "current": .boolean(host.policyHistory.lastRejection.isEmpty),
            ],
            "tables": [
                "identities": .integer(limiter.identityCount), "counters": .integer(limiter.counterCount),
                "grants": .integer(limiter.grantCount), "bytes": .integer(limiter.heldBytes),
                "limit_bytes": .integer(host.memory.tableLimitBytes),
            ],
            "connections": .object(
                [("socket", .integer(host.connections.count))]
                    + host.doors.map { ($0.name, .integer($0.connectionCount)) }),
            "rules": .array(statistics.figures.rules.rows.map(Self.json)),
        ]
    }

    private func json(_ server: StoreServer) -> JSONText {
        [
            "address": server.place.map { .string($0) } ?? .null, "partitions": .integer(server.partitionCount),
            "partitions_shared": .integer(server.sharedCount), "state": .string(server.state),
            "unavailable_ms": .integer(server.unavailableMs(now: now)),
            "last_error": .string(server.lastError.onOneLine),
        ]
    }

    private func counts<Case>(_ cases: [Case], _ count: (Case) -> (String, Int64)) -> JSONText {
        .object(cases.map(count).map { ($0.0, .integer($0.1)) })
    }

    private static func json(_ row: RuleFigures.Row) -> JSONText {
        let verdicts = Decision.Verdict.allCases.map { (ReplyVerdict($0).rawValue, JSONText.integer(row.count($0))) }
        return .object(
            [("rule", .string(row.rule))] + verdicts + [
                ("near_limit", .integer(row.nearLimit)), ("would_deny", .integer(row.shadowDenials)),
            ])
    }
}
