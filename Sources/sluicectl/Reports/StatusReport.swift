import SluiceTerminal

/// The output of `status`.
struct StatusReport {
    /// Checks during a period.
    struct Rate {
        var checks: Int64
        var milliseconds: Int64
        /// Whether it was measured just now, rather than since the start.
        var isSampled: Bool

        /// Checks per second, in tenths.
        var tenthsPerSecond: Int64 {
            milliseconds <= 0 ? 0 : Int64((Double(checks) * 10_000 / Double(milliseconds)).rounded())
        }
    }

    let socket: String
    let status: SidecarStatus
    private let masters: [ClusterMaster]
    /// Nil if the sidecar does not report its use.
    let rate: Rate?

    /// - Parameter earlier: an older reading, for the rate since then.
    init(socket: String, status: SidecarStatus, earlier: SidecarStatus? = nil) {
        self.socket = socket
        self.status = status
        masters = status.masters
        if let checks = status.integer("checks"), let uptime = status.integer("uptime_ms") {
            rate = Rate(
                checks: checks - (earlier?.integer("checks") ?? 0),
                milliseconds: uptime - (earlier?.integer("uptime_ms") ?? 0), isSampled: earlier != nil)
        } else {
            rate = nil
        }
    }

    func text(_ style: Style) -> String {
        let facts = TextTable(facts: facts).render(style)
        return status.answers.isEmpty ? facts : facts + "\n" + answers.render(style)
    }

    // MARK: - For people

    private var facts: [(name: String, value: TextTable.Cell)] {
        let uptime = status.integer("uptime_ms").map { DurationText.format(milliseconds: $0) } ?? "-"
        let hasTrouble = ["late", "overloaded", "key_faults"].contains { (status.integer($0) ?? 0) > 0 }
        return [
            ("version", .init(status.text("sluice_version"))),
            ("uptime", .init(uptime)),
            ("process", "\(status.text("process_id")), replica \(status.text("replica_id"))"),
            ("socket", socketCell),
            ("policy", .init(status.text("policy"))),
        ] + rejection + gateways + [
            ("redis", redis)
        ] + redisError + awayMasters + [
            ("counting", counting)
        ] + cautions + [
            ("outages", "\(status.text("outages")), \(status.text("memory_losses")) with memory lost")
        ] + outageFacts + [
            ("checks", .init(checks)),
            (
                "batches",
                "\(status.text("batches")), of \(status.text("entries")) entries for \(status.text("coalesced_checks")) checks"
            ),
            (
                "trouble",
                .init(
                    "\(status.text("late")) late, \(status.text("timed_out")) timed out, \(status.text("overloaded")) "
                        + "overloaded, \(status.text("key_faults")) key faults", hasTrouble ? .caution : .plain)
            ),
        ]
    }

    /// Why it does not count in Redis.
    private var redisError: [(name: String, value: TextTable.Cell)] {
        // Each master that is away has its own.
        guard !status.isShared, masters.isEmpty, let error = status.redisError else { return [] }
        return [("reason", .init(error, .caution))]
    }

    /// The masters of a cluster that are not used, or not for all of their parts.
    private var awayMasters: [(name: String, value: TextTable.Cell)] {
        let away = masters.filter { !$0.isShared }
        let shown = away.prefix(Self.mastersShown).map { ("away", TextTable.Cell(words($0), .bad)) }
        let rest = away.count - shown.count
        return shown + (rest > 0 ? [("away", .init("and \(rest) others", .bad))] : [])
    }

    private static let mastersShown = 10

    private func words(_ master: ClusterMaster) -> String {
        let time = "for \(DurationText.format(milliseconds: master.unavailableMs))"
        let parts = "\(master.partitions - master.sharedPartitions) of \(status.text("partitions")) parts"
        let error = master.lastError.map { " (\($0))" } ?? ""
        guard let address = master.address else { return "no master has \(parts), \(time)\(error)" }
        return "\(address) \(time), \(parts): \(SidecarStatus.words(master.state))\(error)"
    }

    /// What Redis does not let it do, and what is wrong in Redis.
    private var cautions: [(name: String, value: TextTable.Cell)] {
        let fault = (status.integer("key_faults") ?? 0) > 0 ? status.keyFault : nil
        return status.limitations.map { ("limited", .init($0, .caution)) }
            + (fault.map { [("fault", .init("a key in Redis: \($0)", .caution))] } ?? [])
    }

    private var socketCell: TextTable.Cell {
        let text = "\(socket), \(status.text("connected_clients")) connected"
        if let trouble = status.socketTrouble { return .init("\(text); its file is gone: \(trouble)", .bad) }
        guard let remakes = status.integer("socket_remakes"), remakes > 0 else { return .init(text) }
        return .init(
            "\(text); its file was gone \(remakes == 1 ? "once" : "\(remakes) times") and made again", .caution)
    }

    /// Policies that the sidecar rejected.
    private var rejection: [(name: String, value: TextTable.Cell)] {
        guard let fault = status.refusedPolicies else { return [] }
        return [("refused", .init("newer policies, the last good ones stay: \(fault)", .bad))]
    }

    private var gateways: [(name: String, value: TextTable.Cell)] {
        guard let file = status.gatewaysFile else { return [] }
        let fault = status.refusedGateways.map { "newer ones, the last good ones stay: \($0)" }
        return [("gateways", .init(file))] + (fault.map { [("refused", .init($0, .bad))] } ?? [])
    }

    /// Figures about outages, if there are any.
    private var outageFacts: [(name: String, value: TextTable.Cell)] {
        var facts: [(name: String, value: TextTable.Cell)] = []
        let (behindMs, follows) = (
            status.integer("redis_clock_behind_ms") ?? 0, status.integer("redis_clock_follows") ?? 0
        )
        if behindMs > 0 || follows > 0 {
            let now =
                behindMs > 0
                ? "Redis' is \(DurationText.format(milliseconds: behindMs)) behind its earlier time" : ""
            let times = follows > 0 ? "was followed back \(follows) times" : ""
            let text = [now, times].filter { !$0.isEmpty }.joined(separator: ", ")
            facts.append(("clock", .init(text, behindMs > 0 ? .caution : .plain)))
        }
        if let unsettled = status.integer("unsettled_counters"), unsettled > 0, status.hasRedis {
            facts.append(("settling", .init("\(unsettled) counters hold usage that Redis does not have yet", .caution)))
        }
        if let losses = status.integer("counter_losses"), losses > 0 {
            facts.append(("lost", .init("\(losses) counters were missing in Redis, and were restored", .caution)))
        }
        if let folder = stateFolder {
            let hasFaults = (status.integer("state_faults") ?? 0) > 0
            let rest = "\(status.text("state_unwritten")) changes not written, \(status.text("state_faults")) faults"
            facts.append(("state", .init("\(folder), \(rest)", hasFaults ? .caution : .plain)))
        }
        return facts
    }

    /// nil if there is none.
    private var stateFolder: String? {
        let folder = status.text("state_dir")
        return folder == "-" || folder == "none" ? nil : folder
    }

    private var redis: TextTable.Cell {
        guard status.hasRedis else { return .init("none") }
        // Before the first connection the server is unknown.
        let server = status.text("redis_server")
        let parts = [status.text("redis_address"), status.redisState, server].filter { !$0.isEmpty && $0 != "-" }
        return .init(parts.joined(separator: ", "), status.isShared ? .plain : .caution)
    }

    private var counting: TextTable.Cell {
        if status.isShared && status.text("subscription") == "down" {
            let reason = status.feedError.map { " (\($0))" } ?? ""
            return .init("shared, denial cache off: Redis notifications unavailable\(reason)", .caution)
        }
        if status.isShared { return .init("shared", .good) }
        guard status.hasRedis else { return .init("local: there is no Redis") }
        let time = status.unavailableMs.map { " for \(DurationText.format(milliseconds: $0))" } ?? ""
        if let shared = status.integer("partitions_shared"), shared > 0 {
            let parts = "\(shared) of \(status.text("partitions")) parts are shared"
            return .init("partly local\(time): \(parts), this replica counts the others alone", .bad)
        }
        if status.text("redis_state") == "recovering" {
            return .init("local\(time): until all replicas have written back", .caution)
        }
        return .init("local\(time): this replica counts alone, Redis is not used", .bad)
    }

    private var checks: String {
        guard let rate else { return status.text("checks") }
        let tenths = rate.tenthsPerSecond
        let span =
            rate.isSampled ? "in the last \(DurationText.format(milliseconds: rate.milliseconds))" : "since start"
        return "\(status.text("checks")), \(tenths / 10).\(tenths % 10)/s \(span)"
    }

    /// A row for each source, a column for each verdict that was given.
    private var answers: TextTable {
        let verdicts = status.answers.map(\.verdict).unique
        var table = TextTable([.init("source")] + verdicts.map { .init($0, .right) })
        for source in status.answers.map(\.source).unique {
            table.append(
                [.init(source)]
                    + verdicts.map { verdict in
                        let answers = status.answers.first { $0.source == source && $0.verdict == verdict }
                        return .init(answers?.count ?? 0)
                    })
        }
        return table
    }

    // MARK: - For programs

    var json: JSONText {
        let head: [(String, JSONText)] = [
            ("version", .string(status.text("sluice_version"))),
            ("uptime_ms", number("uptime_ms")),
            ("process_id", number("process_id")),
            ("replica_id", .string(status.text("replica_id"))),
            ("socket", .string(socket)),
            ("connected_clients", number("connected_clients")),
            ("socket_remakes", number("socket_remakes")),
            ("socket_trouble", .text(status.socketTrouble)),
            ("policy", text("policy")),
            ("policy_reloads", number("policy_reloads")),
            ("policy_refused", .text(status.refusedPolicies)),
            ("gateways", .text(status.gatewaysFile)),
            ("gateways_refused", .text(status.refusedGateways)),
            ("redis", redisJSON),
            ("counting", .string(status.text("counting"))),
            ("state", stateJSON),
            ("ready", .boolean(status.isReady)),
        ]
        let numbers = [
            "outages", "memory_losses", "counter_losses", "redis_clock_behind_ms", "redis_clock_follows", "checks",
            "waiting", "batches",
            "entries", "coalesced_checks", "resends", "timed_out", "late", "overloaded", "key_faults", "settled",
            "unsettled_counters", "partitions", "partitions_shared", "identities", "counters", "budget_ms", "replicas",
            "live_replicas",
        ]
        return .object(
            head + numbers.map { ($0, number($0)) } + [
                ("checks_per_s", rate.map { .tenths($0.tenthsPerSecond) } ?? .null),
                ("rate_over_ms", rate.map { .integer($0.milliseconds) } ?? .null),
                (
                    "answers",
                    .array(
                        status.answers.map {
                            [
                                "source": .string($0.source), "verdict": .string($0.verdict),
                                "count": .integer($0.count),
                            ]
                        })
                ),
            ])
    }

    private var redisJSON: JSONText {
        guard status.hasRedis else { return .null }
        let server = status.text("redis_server")
        return [
            "address": text("redis_address"), "state": .string(status.text("redis_state")),
            "server": server.isEmpty ? .null : .string(server), "last_error": .text(status.redisError),
            "unavailable_ms": status.unavailableMs.map { .integer($0) } ?? .null,
            "unavailable_since_ms": status.unavailableMs == nil ? .null : number("redis_unavailable_since_ms"),
            "limitations": .strings(status.limitations), "notifications_error": .text(status.feedError),
            "key_fault": .text(status.keyFault), "masters": .array(masters.map(json)),
        ]
    }

    private func json(_ master: ClusterMaster) -> JSONText {
        [
            "address": .text(master.address), "partitions": .integer(master.partitions),
            "partitions_shared": .integer(master.sharedPartitions), "state": .string(master.state),
            "unavailable_ms": master.isShared ? .null : .integer(master.unavailableMs),
            "unavailable_since_ms": master.isShared ? .null : .integer(master.unavailableSinceMs),
            "last_error": .text(master.lastError),
        ]
    }

    private var stateJSON: JSONText {
        guard let stateFolder else { return .null }
        return [
            "folder": .string(stateFolder), "unwritten": number("state_unwritten"), "faults": number("state_faults"),
            "file_bytes": number("state_file_bytes"),
        ]
    }

    /// Null if it is not reported: it may be for operators only.
    private func text(_ field: String) -> JSONText {
        let text = status.text(field)
        return text == "-" ? .null : .string(text)
    }

    private func number(_ field: String) -> JSONText { status.integer(field).map { .integer($0) } ?? .null }
}

extension [String] {
    /// Each once, in the order of first occurrence.
    fileprivate var unique: [String] {
        reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}
