import Glibc
import SluiceEngine
import SluiceProtocol

/// The text of `/metrics`. Labels are rules, of which a bounded number has a name, and fixed words: never a grant.
struct MetricsReport {
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

    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    var text: String {
        var text = ""
        for metric in all { metric.write(to: &text) }
        return text
    }

    /// Every metric, in the order of the page's table.
    var all: [Metric] { decisions + checks + store + tables + server }

    private var figures: Figures { statistics.figures }

    private static func word(_ verdict: Decision.Verdict) -> String { ReplyVerdict(verdict).rawValue }
    private static func word(_ source: Decision.Source) -> String { ReplySource(source).rawValue }

    // MARK: - Decisions

    private var decisions: [Metric] {
        let rows = figures.rules.rows
        return [
            .counter(
                "sluice_decisions_total", "Decisions by the rule that decided, the verdict and the answer's source.",
                rows.flatMap { row in
                    row.cells.map { cell in
                        Metric.Sample(
                            labels: [
                                ("rule", row.rule), ("verdict", Self.word(cell.verdict)),
                                ("source", Self.word(cell.source)),
                            ], value: "\(cell.count)")
                    }
                }),
            .counter(
                "sluice_near_limit_total", "Admitted checks that left less than a fifth of their limit, by rule.",
                rows.filter { $0.nearLimit > 0 }.map { Metric.Sample("rule", $0.rule, $0.nearLimit) }),
            .counter(
                "sluice_over_limit_total", "Checks that were denied because their limit is used up, by rule.",
                rows.filter { $0.count(.limit) > 0 }.map { Metric.Sample("rule", $0.rule, $0.count(.limit)) }),
            .counter(
                "sluice_shadow_denials_total", "Checks that a shadow limit would have denied, by rule.",
                rows.filter { $0.shadowDenials > 0 }.map { Metric.Sample("rule", $0.rule, $0.shadowDenials) }),
            .counter(
                "sluice_door_decisions_total", "Decisions by the door that the check came in by, and the verdict.",
                doorDecisions),
            .seconds(
                "sluice_decision_duration_seconds",
                "Time from when a check could be read to its decision, by the answer's source.",
                ns: Decision.Source.allCases.map { ([("source", Self.word($0))], figures.durations($0)) }),
        ]
    }

    /// Those of the socket are all that no other door has.
    private var doorDecisions: [Metric.Sample] {
        let doors = host.doors
        return Decision.Verdict.allCases.flatMap { verdict in
            let total = Decision.Source.allCases.reduce(0) { $0 + statistics.answers($1, verdict) }
            let others = doors.reduce(0) { $0 + $1.decisions.count(verdict) }
            return ([("socket", max(0, total - others))] + doors.map { ($0.name, $0.decisions.count(verdict)) })
                .filter { $0.1 > 0 }
                .map { door, count in
                    Metric.Sample(labels: [("door", door), ("verdict", Self.word(verdict))], value: "\(count)")
                }
        }
    }

    // MARK: - Checks

    private var checks: [Metric] {
        [
            .counter("sluice_late_decisions_total", "Decisions that came after the budget.", statistics.late),
            .counter(
                "sluice_timed_out_checks_total", "Checks that waited too long for Redis, and were decided locally.",
                statistics.timedOut),
            .counter(
                "sluice_busy_total", "Checks answered BUSY, by cause: nothing was decided and nothing charged.",
                Busy.allCases.map { Metric.Sample("cause", $0.figure, statistics.busy($0)) }),
            .gauge("sluice_waiting_checks", "Checks that wait for Redis.", host.limiter.waitingCount),
            .counter(
                "sluice_batched_checks_total", "Checks sent to Redis; equal ones share an entry of a batch.",
                statistics.coalesced),
            .sizes("sluice_batch_entries", "Entries of the batches sent to Redis.", figures.batchEntries),
            .seconds(
                "sluice_batch_duration_seconds", "Time from sending a batch to its answer.",
                ns: [([], figures.batchDurations)]),
            .gauge(
                "sluice_oldest_batch_age_seconds", "How long the oldest batch in flight has waited for its answer.",
                ms: host.limiter.oldestBatchNs(now: now) / 1_000_000),
            .counter(
                "sluice_batch_resends_total", "Batches sent again, whole or in part, because they had not run.",
                statistics.resends),
        ]
    }

    // MARK: - Redis

    private static let storeStates = [
        "none", "open", "connecting", "probing", "closed", "recovering", "stalled", "resting",
    ]

    private var store: [Metric] {
        let limiter = host.limiter
        let masters = host.storeServers.filter { $0.place != nil }
        return [
            .gauge(
                "sluice_counting_shared", "Whether checks are counted in Redis, for all replicas.", limiter.isShared),
            .gauge(
                "sluice_partitions", "Parts that counters are divided into: one, but in a Redis Cluster.",
                limiter.partitionCount),
            .gauge("sluice_partitions_shared", "Parts that are counted in Redis.", limiter.sharedPartitionCount),
            .gauge("sluice_redis_masters", "Masters of a Redis Cluster that have parts.", masters.count),
            .gauge(
                "sluice_redis_masters_away", "Those with parts that are not counted in Redis.",
                masters.count { !$0.isShared }),
            .gauge(
                "sluice_redis_configured", "Whether there is a Redis to count in (--redis).",
                limiter.configuration.usesStore),
            .gauge(
                "sluice_redis_state", "The breaker: 1 for its state. closed: checks go to Redis.",
                Self.storeStates.map { Metric.Sample("state", $0, limiter.storeState == $0 ? 1 : 0) }),
            .counter(
                "sluice_redis_errors_total", "Why Redis could not be used, by kind.",
                StoreErrorKind.allCases.map { Metric.Sample("kind", $0.name, figures.storeErrors($0)) }),
            .gauge(
                "sluice_redis_last_error_timestamp_seconds", "When Redis last could not be used; 0: never.",
                ms: figures.lastStoreErrorMs),
            .counter("sluice_redis_outages_total", "How often counting became local.", statistics.outages),
            .gauge(
                "sluice_redis_unavailable_seconds", "For how long checks have not been counted in Redis.",
                ms: host.unsharedSince.map { (now.monotonicNs - $0.monotonicNs) / 1_000_000 } ?? 0),
            .gauge(
                "sluice_redis_subscription_up", "Whether changes are heard of, and so the denial cache is on.",
                limiter.hearsChanges),
            .counter(
                "sluice_cleared_counters_total", "Counters that operators cleared through this replica.",
                statistics.clearedCounters),
            .gauge(
                "sluice_overrides", "Maxima that operators have overridden for a time, of one limit and grant each.",
                limiter.overrideCount(now: now)),
            .counter("sluice_leases_total", "Blocks of leased limits that Redis granted.", statistics.leases),
            .gauge("sluice_leased_counters", "Counters with a lease, with or without a block.", limiter.leaseCount),
            .counter(
                "sluice_lost_lease_units_total",
                "Units of blocks that stay charged until their windows end: an answer was lost, or they were cleared.",
                statistics.lostLeaseUnits),
            .counter("sluice_redis_data_losses_total", "How often Redis had lost its data.", statistics.dataLosses),
            .counter(
                "sluice_redis_lost_counters_total",
                "Single counters that Redis had lost: evicted, or deleted by others.", statistics.counterLosses),
            .counter(
                "sluice_restores_total", "Counters restored in a Redis that had lost its data.", figures.restores),
            .counter(
                "sluice_write_backs_total", "Local admissions of a counter that were added to Redis.",
                statistics.settled),
            .gauge(
                "sluice_unsettled_counters", "Counters with something still to add to Redis.", limiter.journalCount),
            .counter("sluice_key_faults_total", "Entries that failed because of a faulty key.", statistics.faults),
            .gauge(
                "sluice_redis_clock_behind_seconds", "How far Redis' clock is behind its earlier time.",
                ms: limiter.storeBehindMs),
            .counter(
                "sluice_redis_clock_follows_total", "How often Redis' clock was followed back.",
                statistics.clockFollows),
            .gauge(
                "sluice_redis_limitations", "What Redis does not let the sidecar do, see INFO redis.",
                host.limitations.count),
            .gauge("sluice_live_replicas", "Replicas that sent a heartbeat lately.", limiter.replicaCount),
        ]
    }

    // MARK: - Tables

    private var tables: [Metric] {
        let limiter = host.limiter
        return [
            .gauge("sluice_identities", "Identities in the table.", limiter.identityCount),
            .gauge("sluice_identities_limit", "Most identities in the table.", limiter.configuration.maxPlans),
            .gauge("sluice_counters", "Counters in the table.", limiter.counterCount),
            .gauge("sluice_grants", "Grants with identities in the table.", limiter.grantCount),
            .counter(
                "sluice_evicted_identities_total", "Identities dropped to make room, which Redis still holds.",
                limiter.evictedCount),
            .gauge("sluice_table_bytes", "Memory of the tables.", limiter.heldBytes),
            .gauge("sluice_table_limit_bytes", "Most memory of the tables.", host.memory.tableLimitBytes),
            .gauge("sluice_connection_bytes", "Memory of what connections hold.", host.memory.connectionBytes),
            .gauge(
                "sluice_memory_limit_bytes", "Most memory of tables and connections (--memory).",
                host.memory.limitBytes),
        ]
    }

    // MARK: - The server

    private var server: [Metric] {
        [
            .gauge(
                "sluice_connections", "Open connections, by door.",
                [Metric.Sample("door", "socket", host.connections.count)]
                    + host.doors.map { Metric.Sample("door", $0.name, $0.connectionCount) }),
            .gauge("sluice_connections_limit", "Most connections of the socket.", host.connections.capacity),
            .counter(
                "sluice_connections_closed_total", "Connections closed by the sidecar, by cause.",
                [
                    Metric.Sample("cause", "memory", host.memory.closed),
                    Metric.Sample("cause", "unread", host.memory.unread),
                ]),
            .counter(
                "sluice_connections_refused_total", "Connections refused for lack of memory.", host.memory.refused),
            .counter(
                "sluice_policy_reloads_total", "Policies put in force after the start.", host.policyHistory.reloads),
            .counter(
                "sluice_policy_rejections_total", "Policies that were rejected.", host.policyHistory.rejections),
            .gauge(
                "sluice_policy_current", "Whether the newest policies are in force.",
                host.policyHistory.lastRejection.isEmpty),
            .counter(
                "sluice_socket_remakes_total", "How often the socket's file had to be created again.",
                host.socketHistory.remakes),
            .gauge(
                "sluice_state_file_bytes", "Size of the state file (--state-dir).", host.stateWriter?.fileBytes ?? 0),
            .gauge("sluice_state_unwritten", "Changes of the state that are not on the disk yet.", host.unwrittenCount),
            .counter("sluice_state_faults_total", "Failed writes of the state.", host.stateWriter?.faults ?? 0),
            .counter(
                "sluice_decision_log_lines_total", "Lines of the decision log.", host.decisionLog?.lineCount ?? 0),
            .counter(
                "sluice_decision_log_dropped_total", "Lines missing in the decision log, which could not be written.",
                host.decisionLog?.droppedCount ?? 0),
            .gauge(
                "sluice_budget_seconds", "How long a check may take (--budget).",
                ms: host.limiter.configuration.budgetMs),
            .gauge(
                "sluice_build_info", "Always 1.", [Metric.Sample("version", facts.version, 1)]),
            .gauge("process_start_time_seconds", "When the process started.", ms: facts.startedAt.wallMs),
            .counter(
                "process_cpu_seconds_total", "Processor time of the process.", [Metric.Sample(value: cpuSeconds)]),
            .gauge("process_resident_memory_bytes", "Memory of the process in RAM.", residentBytes),
        ]
    }

    private var cpuSeconds: String {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return "0" }
        let micros =
            (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000 + usage.ru_utime.tv_usec
            + usage.ru_stime.tv_usec
        return "\(Double(micros) / 1_000_000)"
    }

    /// Linux keeps it in a file of memory, which is read without waiting.
    private var residentBytes: Int {
        let handle = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard handle >= 0 else { return 0 }
        defer { close(handle) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = read(handle, &bytes, bytes.count)
        let words = bytes.prefix(max(0, count)).split(separator: UInt8(ascii: " "))
        guard words.count > 1, let pages = Int(String(decoding: words[1], as: UTF8.self)) else { return 0 }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}
