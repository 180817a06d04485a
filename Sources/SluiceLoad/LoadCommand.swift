package import ArgumentParser

/// The options of `sluice-load`.
package struct LoadCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "sluice-load",
        abstract: "Loads sidecars with checks, measures how fast they answer, and proves that they count right.",
        discussion: """
            Closed loop by default: each connection keeps --pipeline checks in flight. With --rate an open loop sends \
            at that rate whatever the answers do, and latency counts from when a check should have been sent (corrected \
            for coordinated omission).

            The oracle adds up, over all sidecars, what was admitted in each window of each grant, and fails the run \
            when a promise was broken: more than the maximum admitted, a charge lost, a check refused that fitted, a \
            share exceeded while Redis was away. Nobody else may call for the same grants meanwhile (--grant-prefix). \
            With --sessions it takes limits to count by session, else by grant (--scope).

            EXAMPLES:
              sluice-load --socket /run/sluice/sluice.sock
              sluice-load --socket a.sock --socket b.sock --grants 1000 --skew 1.1 --duration 1m
              sluice-load --socket a.sock --rate 20000 --connections 50 --json

            EXIT CODES: 0 ok, 1 the oracle found a broken promise, 2 the run could not be carried out, 64 wrong usage. \
            Ctrl-C ends the run and still prints the summary; a second one ends at once.
            """)

    @Option(
        help: ArgumentHelp("Path of a sidecar's socket; give it again for each sidecar (required).", valueName: "path"))
    var socket: [String] = []
    @Option(help: ArgumentHelp("Connections to each socket.", valueName: "count"))
    var connections = 16
    @Option(help: ArgumentHelp("Checks in flight on each connection, in a closed loop.", valueName: "count"))
    var pipeline = 16
    @Option(help: ArgumentHelp("Grants that checks are for.", valueName: "count"))
    var grants = 50
    @Option(help: ArgumentHelp("What their names begin with.", valueName: "text"))
    var grantPrefix = "load-"
    @Option(
        help: ArgumentHelp(
            "How unequal grants are: 0 for all alike, else the exponent of Zipf's law.", valueName: "exponent"))
    var skew = 0.0
    @Option(help: ArgumentHelp("The tool that is called.", valueName: "name"))
    var tool = "opencode_run"
    @Option(help: ArgumentHelp("What each check charges.", valueName: "units"))
    var cost: Int64 = 1
    @Option(help: ArgumentHelp("Sessions of each grant; 0 for none.", valueName: "count"))
    var sessions = 0
    @Option(
        help: ArgumentHelp(
            "What limits count by: grant, session or global (default: session with --sessions, else grant).",
            valueName: "scope"))
    var scope: String?
    @Option(
        help: ArgumentHelp("How long to measure: seconds, or 500ms, 10s, 2m, 1h (default: 10s).", valueName: "time"),
        transform: LoadCommand.time)
    var duration: Int64 = 10_000_000_000
    @Option(
        help: ArgumentHelp(
            "How long to load before measuring; the oracle watches it, too (default: 1s).", valueName: "time"),
        transform: LoadCommand.time)
    var warmUp: Int64 = 1_000_000_000
    @Option(help: ArgumentHelp("Open loop: checks a second, over all connections.", valueName: "checks/s"))
    var rate: Int?
    @Option(help: ArgumentHelp("Event loops of the driver, one core each.", valueName: "count"))
    var threads = 1
    @Option(help: ArgumentHelp("Makes the same checks again (default: by chance, and told).", valueName: "number"))
    var seed: UInt64?
    @Option(
        help: ArgumentHelp(
            "The sidecars' --replicas: how many share what is left while Redis is away (default: the sockets given).",
            valueName: "count"))
    var replicas: Int?
    @Option(
        help: ArgumentHelp(
            "The sidecars' --budget: decisions that take longer are counted (default: 20ms).", valueName: "time"),
        transform: LoadCommand.time)
    var budget: Int64 = 20_000_000
    @Flag(help: "Print one JSON object instead of the table.")
    var json = false
    @Flag(help: "Send checks without TRACE, and prove nothing.")
    var noOracle = false

    package init() {}

    /// Whether the summary is to be JSON.
    package var wantsJSON: Bool { json }

    /// The settings that the options ask for.
    /// - Parameter chance: the seed if none is given.
    /// - Throws: `ValidationError`, one sentence that names the option, what was given and what is valid.
    package func settings(chance: UInt64) throws -> LoadSettings {
        guard !socket.isEmpty else { throw ValidationError("--socket is missing: give the path of a sidecar's socket") }
        for path in socket {
            // sockaddr_un has room for 108 bytes, the last a NUL.
            guard (1...107).contains(path.utf8.count) else {
                throw ValidationError("--socket is \(path.utf8.count) bytes long, a socket's path has 1 to 107")
            }
        }
        try check("--socket", socket.count, in: 1...LoadBounds.maxSockets, "sockets")
        try check("--connections", connections, in: 1...LoadBounds.maxConnections)
        try check("--connections", connections * socket.count, in: 1...LoadBounds.maxConnections, "over all sockets")
        try check("--pipeline", pipeline, in: 1...LoadBounds.maxPipeline)
        try check("--grants", grants, in: 1...LoadBounds.maxSubjects)
        try check("--sessions", sessions, in: 0...LoadBounds.maxSubjects)
        try check("--sessions", grants * max(1, sessions), in: 1...LoadBounds.maxSubjects, "times --grants")
        try check("--cost", cost, in: 1...LoadBounds.maxCost)
        try check(
            "--threads", threads, in: 1...min(LoadBounds.maxThreads, connections * socket.count),
            "(at most one for each connection)")
        try check("--replicas", replicas ?? 1, in: 1...LoadBounds.maxReplicas)
        if let rate { try check("--rate", rate, in: 1...LoadBounds.maxRate, "checks a second") }
        guard skew >= 0, skew <= LoadBounds.maxSkew else {
            throw ValidationError("--skew is \(skew), expected 0 to \(LoadBounds.maxSkew)")
        }
        guard duration > 0 else { throw ValidationError("--duration is 0, expected more") }
        guard budget > 0 else { throw ValidationError("--budget is 0, expected more") }
        try checkName("--tool", tool)
        try checkName("--grant-prefix", CheckFrames.grantName(grantPrefix, grants - 1))
        return try makeSettings(chance: chance)
    }

    private func makeSettings(chance: UInt64) throws -> LoadSettings {
        var settings = LoadSettings(socketPaths: socket)
        settings.connectionsPerSocket = connections
        settings.pipeline = pipeline
        settings.grantCount = grants
        settings.grantPrefix = grantPrefix
        settings.skew = skew
        settings.tool = tool
        settings.cost = cost
        settings.sessionCount = sessions
        settings.durationNs = duration
        settings.warmUpNs = warmUp
        settings.ratePerSecond = rate
        settings.threadCount = threads
        settings.seed = seed ?? chance
        settings.usesOracle = !noOracle
        settings.scope = try resolvedScope()
        settings.replicaCount = replicas ?? socket.count
        settings.budgetNs = budget
        return settings
    }

    private func resolvedScope() throws -> LoadSettings.Scope {
        guard let scope else { return sessions > 0 ? .session : .grant }
        guard let value = LoadSettings.Scope(rawValue: scope) else {
            throw ValidationError("--scope is '\(scope)', expected grant, session or global")
        }
        guard value != .session || sessions > 0 else {
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

    /// A time in ns: seconds, or a number with its unit.
    static func time(_ text: String) throws -> Int64 {
        let units: [(suffix: String, ns: Double)] = [("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("", 1e9)]
        for unit in units where text.hasSuffix(unit.suffix) {
            guard let number = Double(text.dropLast(unit.suffix.count)), number >= 0, number.isFinite else { break }
            let ns = number * unit.ns
            guard ns <= Double(LoadBounds.maxSeconds) * 1e9 else {
                throw ValidationError("'\(text)' is longer than a week")
            }
            return Int64(ns.rounded())
        }
        throw ValidationError("'\(text)' is not a time, write seconds or 500ms, 10s, 2m, 1h")
    }
}
