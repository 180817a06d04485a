import ArgumentParser
import Foundation
import SluicePolicy

extension LoadCommand {
    /// The settings from the options.
    /// - Parameter chance: the default seed.
    /// - Throws: `ValidationError`, one sentence with the option, its value and the valid values.
    func settings(chance: UInt64) throws -> LoadSettings {
        let target = try resolvedTarget()
        var settings = LoadSettings(socketPaths: try own.spawn ? spawnedSockets(target) : sockets())
        settings.target = target
        settings.seed = load.seed ?? chance
        settings.usesOracle = !verdict.noOracle && settings.target == .sluice
        try setLoad(&settings)
        try setWorkload(&settings)
        try setRates(&settings)
        try setTraces(&settings)
        try setVerdict(&settings)
        return settings
    }

    /// What to start, and the faults to inject; nil without `--spawn`.
    func clusterPlan(_ settings: LoadSettings) throws -> ClusterPlan? {
        guard own.spawn else { return nil }
        let sidecars = own.sidecars ?? 2
        var plan = ClusterPlan(sidecars: sidecars)
        plan.policy =
            try own.policy.map { try read($0, "--policy") }
            ?? LocalCluster.defaultPolicy(tools: settings.kinds.map(\.tool), scope: settings.scope)
        guard let path = own.faults else { return plan }
        plan.faults = try parse(path, "--faults") { text throws(LineFault) in
            try FaultScript(text: text, sidecars: sidecars)
        }
        return plan
    }

    private func read(_ path: String, _ option: String, maxBytes: Int = .max) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ValidationError("\(option) \(path): there is no such file, or it cannot be read")
        }
        guard data.count <= maxBytes else {
            throw ValidationError("\(option) \(path): it has \(data.count) bytes, expected at most \(maxBytes)")
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw ValidationError("\(option) \(path): it is not text in UTF-8")
        }
        return text
    }

    /// Reads a file of lines.
    private func parse<Lines>(
        _ path: String, _ option: String, maxBytes: Int = .max, _ body: (String) throws(LineFault) -> Lines
    ) throws -> Lines {
        let text = try read(path, option, maxBytes: maxBytes)
        do {
            return try body(text)
        } catch {
            throw ValidationError("\(option) \(path): \(error)")
        }
    }

    /// As many places as there will be sidecars: the exact ones are known after their start.
    private func spawnedSockets(_ target: LoadTarget) throws -> [String] {
        guard socket.isEmpty else { throw ValidationError("--spawn and --socket exclude each other") }
        let sidecars = own.sidecars ?? 2
        try check("--sidecars", sidecars, in: 1...LoadBounds.maxSpawned)
        return Array(repeating: "", count: target == .redis ? 1 : sidecars)
    }

    private func sockets() throws -> [String] {
        for (option, isGiven) in [
            ("--sidecars", own.sidecars != nil), ("--policy", own.policy != nil), ("--faults", own.faults != nil),
        ] where isGiven {
            throw ValidationError("\(option) needs --spawn: it is for processes that the driver started")
        }
        guard !socket.isEmpty else {
            throw ValidationError("--socket is missing: give the path of a sidecar's socket, or --spawn")
        }
        for case .path(let path) in socket.map(SocketPlace.init) {
            guard (1...LoadBounds.maxSocketPathBytes).contains(path.utf8.count) else {
                throw ValidationError(
                    "--socket is \(path.utf8.count) bytes long, a socket's path has 1 to "
                        + "\(LoadBounds.maxSocketPathBytes): choose a shorter one")
            }
        }
        try check("--socket", socket.count, in: 1...LoadBounds.maxSockets, "sockets")
        return socket
    }

    private func resolvedTarget() throws -> LoadTarget {
        guard let value = LoadTarget(rawValue: target) else {
            throw ValidationError("--target is '\(target)', expected sluice, redis or ping")
        }
        return value
    }

    private func setLoad(_ settings: inout LoadSettings) throws {
        let sockets = settings.socketPaths.count
        try check("--connections", load.connections, in: 1...LoadBounds.maxConnections)
        try check("--connections", load.connections * sockets, in: 1...LoadBounds.maxConnections, "over all sockets")
        try check("--pipeline", load.pipeline, in: 1...LoadBounds.maxPipeline)
        try check(
            "--threads", load.threads, in: 1...min(LoadBounds.maxThreads, load.connections * sockets),
            "(at most one for each connection)")
        settings.connectionsPerSocket = load.connections
        settings.pipeline = load.pipeline
        settings.durationNs = load.duration ?? settings.durationNs
        settings.warmUpNs = load.warmUp
        settings.threadCount = load.threads
        guard settings.durationNs > 0 else { throw ValidationError("--duration is 0, expected more") }
    }

    private func setWorkload(_ settings: inout LoadSettings) throws {
        let workload = workload
        try setGrants(&settings)
        try check("--sessions", workload.sessions, in: 0...LoadBounds.maxSubjects)
        try check(
            "--sessions", settings.grantCount * max(1, workload.sessions), in: 1...LoadBounds.maxSubjects,
            "times --grants")
        settings.sessionCount = workload.sessions
        settings.reservations = try reservations(settings.target)
        try setCharges(&settings)
        settings.kinds = try kinds(reservedShare: settings.reservations.share)
    }

    private func setGrants(_ settings: inout LoadSettings) throws {
        if let path = workload.grantsFile {
            for (option, isGiven) in [
                ("--grants", workload.grants != nil), ("--grant-prefix", workload.grantPrefix != nil),
                ("--skew", workload.skew != nil), ("--trace", traces.trace != nil),
            ] where isGiven {
                throw ValidationError("--grants-file and \(option) exclude each other")
            }
            let list = try parse(
                path, "--grants-file", maxBytes: LoadBounds.maxGrantsFileBytes, GrantList.init(text:))
            guard !list.names.isEmpty else { throw ValidationError("--grants-file \(path): there is no grant in it") }
            settings.namedGrants = list
            settings.grantCount = list.names.count
            return
        }
        let count = workload.grants ?? settings.grantCount
        let prefix = workload.grantPrefix ?? settings.grantPrefix
        let skew = workload.skew ?? settings.skew
        try check("--grants", count, in: 1...LoadBounds.maxSubjects)
        guard skew >= 0, skew <= LoadBounds.maxSkew else {
            throw ValidationError("--skew is \(skew), expected 0 to \(LoadBounds.maxSkew)")
        }
        try checkName("--grant-prefix", CheckFrames.grantName(prefix, count - 1))
        settings.grantCount = count
        settings.grantPrefix = prefix
        settings.skew = skew
    }

    private func reservations(_ target: LoadTarget) throws -> LoadSettings.Reservations {
        var reservations = LoadSettings.Reservations()
        for (option, percent) in [("--reserve", workload.reserve), ("--cancel", workload.cancel)] {
            guard (0...100).contains(percent) else {
                throw ValidationError("\(option) is \(percent), expected 0 to 100")
            }
        }
        guard workload.reserve == 0 || target == .sluice else {
            throw ValidationError("--reserve needs --target sluice: nobody else knows reservations")
        }
        reservations.share = workload.reserve / 100
        reservations.cancelShare = workload.cancel / 100
        reservations.holdNs = workload.hold
        return reservations
    }

    private func setCharges(_ settings: inout LoadSettings) throws {
        for (option, percent) in [("--charge", workload.charge), ("--refund", workload.refund)] {
            guard (0...100).contains(percent) else {
                throw ValidationError("\(option) is \(percent), expected 0 to 100")
            }
        }
        guard workload.refund == 0 || workload.charge > 0 else { throw ValidationError("--refund needs --charge") }
        settings.refundShare = workload.refund / 100
        guard workload.charge > 0 else { return }
        guard settings.target == .sluice else {
            throw ValidationError("--charge needs --target sluice: nobody else charges past a maximum")
        }
        guard traces.trace == nil, traces.record == nil else {
            throw ValidationError("--charge excludes --trace and --record: a trace has checks alone")
        }
        guard own.spawn || verdict.judgeBy != nil || verdict.noOracle else {
            throw ValidationError(
                "--charge needs --judge-by, --spawn or --no-oracle: only the document says which windows a charge counts in"
            )
        }
    }

    /// Each tool at each cost and server, with and without a reservation, and as a charge.
    private func kinds(reservedShare: Double) throws -> [CheckKind] {
        let tools = (workload.tool.isEmpty ? ["opencode_run"] : workload.tool).map(OptionValue.weighted)
        let costs = (workload.cost.isEmpty ? ["1"] : workload.cost).map(OptionValue.weighted)
        let servers: [(value: String?, weight: Double)] =
            workload.server.isEmpty
            ? [(nil, 1)] : workload.server.map(OptionValue.weighted).map { ($0.value, $0.weight) }
        for server in servers.compactMap(\.value) { try checkName("--server", server) }
        for weight in (tools + costs).map(\.weight) + servers.map(\.weight) where weight <= 0 {
            throw ValidationError("a weight is \(weight), expected more than 0")
        }
        var kinds: [CheckKind] = []
        for tool in tools {
            try checkName("--tool", tool.value)
            for cost in costs {
                guard let units = Int64(cost.value) else {
                    throw ValidationError("--cost is '\(cost.value)', expected a whole number, or one and =weight")
                }
                try check("--cost", units, in: 1...LoadBounds.maxCost)
                for server in servers {
                    let weight = tool.weight * cost.weight * server.weight
                    let charged = workload.charge / 100
                    let checked = 1 - charged
                    let shares = [
                        (false, false, checked * (1 - reservedShare)), (true, false, checked * reservedShare),
                        (false, true, charged),
                    ]
                    for (reserves, charges, share) in shares where share > 0 {
                        kinds.append(
                            CheckKind(
                                tool: tool.value, cost: units, reserves: reserves, charges: charges,
                                server: server.value, weight: weight * share))
                    }
                }
            }
        }
        try check(
            "--tool", kinds.count, in: 1...LoadBounds.maxKinds,
            "kinds of checks with --cost, --server, --reserve and --charge")
        return kinds
    }

    private func setRates(_ settings: inout LoadSettings) throws {
        if let rate = rates.rate { try check("--rate", rate, in: 1...LoadBounds.maxRate, "checks a second") }
        settings.ratePerSecond = rates.rate
        if let text = rates.ramp { try setRamp(text, &settings) }
        guard rates.findRate || rates.keptP99 == nil else { throw ValidationError("--p99 needs --find-rate") }
        if rates.findRate {
            guard rates.ramp == nil else { throw ValidationError("--find-rate and --ramp exclude each other") }
            settings.ratePerSecond = rates.rate ?? 1000
            settings.searchedP99Ns = rates.keptP99 ?? 5_000_000
            guard settings.searchedP99Ns != 0 else { throw ValidationError("--p99 is 0, expected more") }
        }
        guard let burst = rates.burst else { return }
        let parts = burst.split(separator: "@", maxSplits: 1).map(String.init)
        guard parts.count == 2, let count = Int(parts[0]), let periodNs = try? OptionValue.time(parts[1]),
            periodNs >= 1_000_000
        else { throw ValidationError("--burst is '\(burst)', expected how many and how often, such as 500@60s") }
        try check("--burst", count, in: 1...LoadBounds.maxBurst, "checks")
        settings.burst = LoadSettings.Burst(count: count, periodNs: periodNs)
    }

    private func setTraces(_ settings: inout LoadSettings) throws {
        settings.isRecorded = traces.record != nil
        guard let path = traces.trace else { return }
        guard rates.rate == nil, rates.ramp == nil, !rates.findRate, load.duration == nil else {
            throw ValidationError("--trace has its own timing, leave out --rate, --ramp, --find-rate and --duration")
        }
        let trace = try parse(path, "--trace", Trace.init(text:))
        guard !trace.entries.isEmpty else { throw ValidationError("--trace \(path): there is no check in it") }
        settings.replay = trace
        settings.kinds = trace.kinds
        settings.grantCount = trace.grants.count
        settings.sessionCount = trace.sessions.count
        try check(
            "--trace", trace.grants.count * max(1, trace.sessions.count), in: 1...LoadBounds.maxSubjects,
            "grants times sessions")
        settings.warmUpNs = 0
        settings.durationNs = trace.durationNs + 1_000_000
    }

    private func setRamp(_ text: String, _ settings: inout LoadSettings) throws {
        guard rates.rate == nil, load.duration == nil else {
            throw ValidationError("--ramp has its own rates and duration, leave out --rate and --duration")
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, let from = Int(parts[0]), let to = Int(parts[1]),
            let durationNs = try? OptionValue.time(parts[2]), durationNs > 0
        else { throw ValidationError("--ramp is '\(text)', expected two rates and a time, such as 1000:50000:1m") }
        try check("--ramp", from, in: 1...LoadBounds.maxRate, "checks a second")
        try check("--ramp", to, in: 1...LoadBounds.maxRate, "checks a second")
        settings.ratePerSecond = from
        settings.rampToPerSecond = to
        settings.durationNs = durationNs
    }

    private func setVerdict(_ settings: inout LoadSettings) throws {
        try check("--replicas", verdict.replicas ?? 1, in: 1...LoadBounds.maxReplicas)
        guard verdict.budget > 0 else { throw ValidationError("--budget is 0, expected more") }
        settings.scope = try resolvedScope(settings)
        settings.replicaCount = verdict.replicas ?? settings.socketPaths.count
        settings.budgetNs = verdict.budget
        try setLimits(&settings)
    }

    private func setLimits(_ settings: inout LoadSettings) throws {
        guard let path = verdict.judgeBy else {
            // The sidecar reports its faults, and may support more than this driver.
            if let path = own.policy, let policy = try? policy(path, "--policy") {
                settings.setLimits(of: policy, bindsMaximum: false)
            } else if own.spawn, own.policy == nil {
                let text = LocalCluster.defaultPolicy(tools: settings.kinds.map(\.tool), scope: settings.scope)
                if let policy = try? PolicyDocument.parse(Array(text.utf8), file: "") {
                    settings.setLimits(of: policy, bindsMaximum: false)
                }
            }
            return
        }
        guard !verdict.noOracle else { throw ValidationError("--judge-by and --no-oracle exclude each other") }
        settings.setLimits(of: try policy(path, "--judge-by"), bindsMaximum: true)
    }

    private func policy(_ path: String, _ option: String) throws -> Policy {
        let text = try read(path, option)
        do {
            return try PolicyDocument.parse(Array(text.utf8), file: path, features: .all)
        } catch {
            throw ValidationError("\(option) \(path): \(error.faults.first.map { "\($0)" } ?? "it is no policy")")
        }
    }

    private func resolvedScope(_ settings: LoadSettings) throws -> LoadSettings.Scope {
        guard let scope = verdict.scope else { return settings.sessionCount > 0 ? .session : .grant }
        guard let value = LoadSettings.Scope(rawValue: scope) else {
            throw ValidationError("--scope is '\(scope)', expected grant, session or global")
        }
        guard value != .session || settings.sessionCount > 0 else {
            throw ValidationError("--scope session needs --sessions: without one, a check counts for its grant")
        }
        return value
    }

    private func check<Value: BinaryInteger>(
        _ option: String, _ value: Value, in range: ClosedRange<Value>, _ unit: String = ""
    ) throws {
        guard !range.contains(value) else { return }
        let unit = unit.isEmpty ? "" : " \(unit)"
        throw ValidationError(
            "\(option) is \(value)\(unit), expected \(range.lowerBound) to \(range.upperBound)\(unit)")
    }

    private func checkName(_ option: String, _ name: String) throws {
        guard (1...LoadBounds.maxNameBytes).contains(name.utf8.count), !name.utf8.contains(0) else {
            throw ValidationError(
                "\(option) makes a name of \(name.utf8.count) bytes, expected 1 to \(LoadBounds.maxNameBytes), no NUL")
        }
    }
}
