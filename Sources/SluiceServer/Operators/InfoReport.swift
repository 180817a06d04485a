import Glibc
import SluiceEngine
import SluicePolicy

/// The text of `INFO`: sections of `name:value` lines as Redis writes them, so that its readers can read them too.
struct InfoReport {
    let host: LimiterHost
    let facts: ServerFacts
    let now: ClockReading
    /// Whether an operator asks: only operators see what the policy says and where files are.
    let isForOperators: Bool
    /// As of the report's beginning: the partitions of a cluster are summed once, not for each figure.
    private let statistics: Statistics

    init(host: LimiterHost, facts: ServerFacts, now: ClockReading, isForOperators: Bool) {
        self.host = host
        self.facts = facts
        self.now = now
        self.isForOperators = isForOperators
        statistics = host.limiter.statistics
    }

    /// All sections if none is named; unknown ones are ignored.
    func text(sections wanted: [String]) -> String {
        let all = [
            ("server", server), ("policy", policy), ("redis", redis), ("checks", checks), ("answers", answers),
            ("limits", limits), ("memory", memory), ("state", state),
        ]
        let isAll = wanted.isEmpty || wanted.contains { ["all", "default", "everything"].contains($0) }
        return
            all
            .filter { isAll || wanted.contains($0.0) }
            .map { name, lines in
                "# \(name.prefix(1).uppercased() + name.dropFirst())\r\n"
                    + lines.map { "\($0.0):\($0.1)\r\n" }.joined()
            }
            .joined(separator: "\r\n")
    }

    private typealias Lines = [(String, String)]

    private func forOperators(_ lines: Lines) -> Lines { isForOperators ? lines : [] }

    private var server: Lines {
        [
            ("sluice_version", facts.version),
            ("process_id", String(getpid())),
            ("replica_id", facts.replicaID),
            ("uptime_ms", String((now.monotonicNs - facts.startedAt.monotonicNs) / 1_000_000)),
            ("ready", host.unsharedSince == nil ? "1" : "0"),
            ("connected_clients", String(host.connections.count)),
            ("socket_remakes", String(host.socketHistory.remakes)),
            ("socket_trouble", host.socketHistory.trouble),
        ]
    }

    private var policy: Lines {
        forOperators([("policy", facts.policyDescription)]) + history("policy", host.policyHistory) + gateways
    }

    private var gateways: Lines {
        guard let file = facts.gatewaysFile else { return [] }
        return forOperators([("gateways", file)]) + history("gateways", host.gatewaysHistory)
    }

    private func history(_ name: String, _ history: LimiterHost.DocumentHistory) -> Lines {
        let rejection = history.lastRejection.split(separator: "\n").first.map(String.init) ?? ""
        return [
            ("\(name)_reloads", String(history.reloads)), ("\(name)_refusals", String(history.rejections)),
        ] + forOperators([("\(name)_last_refusal", rejection)])
    }

    private var redis: Lines {
        let masters = host.storeServers
        return forOperators([("redis_address", facts.storeAddress)]) + [
            ("redis_state", host.limiter.storeState),
            ("redis_server", host.storeDescription),
            ("counting", host.counting),
            ("partitions", String(host.limiter.partitionCount)),
            ("partitions_shared", String(host.limiter.sharedPartitionCount)),
            ("redis_masters", String(masters.count { $0.place != nil })),
            ("redis_masters_away", String(masters.count { $0.place != nil && !$0.isShared })),
            ("subscription", host.limiter.hearsChanges ? "up" : "down"),
            ("outages", String(statistics.outages)),
            ("memory_losses", String(statistics.dataLosses)),
            ("counter_losses", String(statistics.counterLosses)),
            ("redis_clock_behind_ms", String(host.limiter.storeBehindMs)),
            ("redis_clock_follows", String(statistics.clockFollows)),
            ("redis_unavailable_since_ms", String(host.unsharedSince?.wallMs ?? 0)),
            ("redis_unavailable_ms", String(unavailableMs)),
            (
                "redis_shared_ms",
                String(host.sharedSince.map { (now.monotonicNs - $0.monotonicNs) / 1_000_000 } ?? 0)
            ),
            ("redis_limitations", String(host.limitations.count)),
        ]
            + forOperators(
                [
                    ("redis_last_error", host.limiter.storeError.onOneLine),
                    ("subscription_last_error", host.limiter.changeFeedError.onOneLine),
                    ("key_last_fault", host.limiter.keyFault.onOneLine),
                ]
                    + host.limitations.enumerated().map { ("redis_limitation_\($0 + 1)", $1.onOneLine) }
                    + masters.enumerated().map { ("redis_master_\($0 + 1)", words($1)) })
    }

    /// As Redis writes its replicas. The error comes last, since it may hold anything.
    private func words(_ server: StoreServer) -> String {
        "address=\(server.place ?? ""),partitions=\(server.partitionCount),partitions_shared=\(server.sharedCount),"
            + "state=\(server.state),unavailable_since_ms=\(server.unsharedSince?.wallMs ?? 0),"
            + "unavailable_ms=\(server.unavailableMs(now: now)),last_error=\(server.lastError.onOneLine)"
    }

    private var unavailableMs: Int64 {
        host.unsharedSince.map { (now.monotonicNs - $0.monotonicNs) / 1_000_000 } ?? 0
    }

    private var checks: Lines {
        [
            ("checks", String(statistics.total)),
            ("waiting", String(host.limiter.waitingCount)),
            ("batches", String(statistics.batches)),
            ("entries", String(statistics.entries)),
            ("coalesced_checks", String(statistics.coalesced)),
            ("resends", String(statistics.resends)),
            ("timed_out", String(statistics.timedOut)),
            ("late", String(statistics.late)),
            ("overloaded", String(statistics.overloaded)),
        ]
            + Busy.allCases.map { ("busy_\($0.figure)", String(statistics.busy($0))) }
            + [
                ("key_faults", String(statistics.faults)),
                ("settled", String(statistics.settled)),
                ("unsettled_counters", String(host.limiter.journalCount)),
                ("leases", String(statistics.leases)),
                ("leased_counters", String(host.limiter.leaseCount)),
                ("lost_lease_units", String(statistics.lostLeaseUnits)),
                ("overrides", String(host.limiter.overrideCount(now: now))),
                ("decision_log_lines", String(host.decisionLog?.lineCount ?? 0)),
                ("decision_log_dropped", String(host.decisionLog?.droppedCount ?? 0)),
                ("tails", String(host.decisionLog?.listenerCount ?? 0)),
            ]
    }

    private var answers: Lines {
        Decision.Source.allCases.flatMap { source in
            Decision.Verdict.allCases.compactMap { verdict in
                let count = statistics.answers(source, verdict)
                return count == 0 ? nil : ("answers_\(source)_\(verdict)", String(count))
            }
        }
    }

    private var state: Lines {
        forOperators([("state_dir", host.stateWriter?.folder ?? "none")]) + [
            ("state_file_bytes", String(host.stateWriter?.fileBytes ?? 0)),
            ("state_unwritten", String(host.unwrittenCount)),
            ("state_faults", String(host.stateWriter?.faults ?? 0)),
        ]
    }

    private var memory: Lines {
        [
            ("memory_limit_bytes", String(host.memory.limitBytes)),
            ("memory_connections_bytes", String(host.memory.connectionBytes)),
            ("memory_tables_bytes", String(host.limiter.heldBytes)),
            ("memory_tables_limit_bytes", String(host.memory.tableLimitBytes)),
            ("memory_closed_connections", String(host.memory.closed)),
            ("memory_refused_connections", String(host.memory.refused)),
            ("unread_closed_connections", String(host.memory.unread)),
        ]
    }

    private var limits: Lines {
        [
            ("identities", String(host.limiter.identityCount)),
            ("counters", String(host.limiter.counterCount)),
            ("max_identities", String(host.limiter.configuration.maxPlans)),
            ("max_identities_of_grant", String(host.limiter.maxPlansOfGrant)),
            ("grants", String(host.limiter.grantCount)),
            ("evicted_identities", String(host.limiter.evictedCount)),
            ("max_connections", String(host.connections.capacity)),
            ("budget_ms", String(host.limiter.configuration.budgetMs)),
            ("replicas", String(host.limiter.configuration.replicas.assumed)),
            ("live_replicas", String(host.limiter.replicaCount)),
        ]
    }
}
