import ArgumentParser

/// How much is sent, and for how long.
struct LoadOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Connections to each socket.", valueName: "count"))
    var connections = 16
    @Option(help: ArgumentHelp("Checks in flight on each connection, in a closed loop.", valueName: "count"))
    var pipeline = 16
    @Option(
        help: ArgumentHelp("How long to measure: seconds, or 500ms, 10s, 2m, 1h (default: 10s).", valueName: "time"),
        transform: OptionValue.time)
    var duration: Int64?
    @Option(
        help: ArgumentHelp(
            "How long to load before measuring; the oracle watches it, too (default: 1s).", valueName: "time"),
        transform: OptionValue.time)
    var warmUp: Int64 = 1_000_000_000
    @Option(help: ArgumentHelp("Event loops of the driver, one core each.", valueName: "count"))
    var threads = 1
    @Option(help: ArgumentHelp("Makes the same checks again (default: by chance, and reported).", valueName: "number"))
    var seed: UInt64?
}

/// The rate of sending; a closed loop without any of these.
struct RateOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Open loop: checks a second, over all connections.", valueName: "checks/s"))
    var rate: Int?
    @Option(
        help: ArgumentHelp(
            "Open loop: from one rate to another, such as 1000:50000:1m; instead of --rate and --duration.",
            valueName: "from:to:time"))
    var ramp: String?
    @Flag(help: "Searches the highest rate that keeps --p99, beginning with --rate (default: 1000).")
    var findRate = false
    @Option(
        name: .customLong("p99"),
        help: ArgumentHelp("The p99 that --find-rate keeps (default: 5ms).", valueName: "time"),
        transform: OptionValue.time)
    var keptP99: Int64?
    @Option(
        help: ArgumentHelp(
            "Sends so many checks at once at every boundary of a window, such as 500@60s, beside all others.",
            valueName: "count@time"))
    var burst: String?
}

/// Which trace is replayed, and which is recorded.
struct TraceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Open loop: sends the checks of a trace with their timing, one a line: ms grant tool [cost n] [session name] [reserve].",
            valueName: "file"))
    var trace: String?
    @Option(help: ArgumentHelp("Writes the checks that were sent as such a trace.", valueName: "file"))
    var record: String?
}

/// Which checks are sent.
struct WorkloadOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Grants that checks are for (default: 50).", valueName: "count"))
    var grants: Int?
    @Option(help: ArgumentHelp("What their names begin with (default: load-).", valueName: "text"))
    var grantPrefix: String?
    @Option(
        help: ArgumentHelp(
            "How unequal grants are: 0 for all alike, else the exponent of Zipf's law (default: 0).",
            valueName: "exponent"))
    var skew: Double?
    @Option(
        help: ArgumentHelp(
            """
            Grants by name, one a line, and how often each is checked compared with the others: a weight behind a tab, 1 \
            where none is given. Instead of --grants, --grant-prefix and --skew.
            """, valueName: "file"))
    var grantsFile: String?
    @Option(
        help: ArgumentHelp(
            "A tool that is called, and how often compared with the others; again for each (default: opencode_run).",
            valueName: "name[=weight]"))
    var tool: [String] = []
    @Option(
        help: ArgumentHelp(
            "What a check charges, and how often compared with other costs; again for each (default: 1).",
            valueName: "units[=weight]"))
    var cost: [String] = []
    @Option(help: ArgumentHelp("Sessions of each grant; 0 for none.", valueName: "count"))
    var sessions = 0
    @Option(help: ArgumentHelp("How many of 100 checks reserve.", valueName: "percent"))
    var reserve = 0.0
    @Option(
        help: ArgumentHelp(
            "How many of 100 reservations are cancelled; the others are committed to a part of their cost, by chance.",
            valueName: "percent"))
    var cancel = 50.0
    @Option(
        help: ArgumentHelp(
            "How many of 100 calls are no checks but charges, which count whatever the maximum says.",
            valueName: "percent"))
    var charge = 0.0
    @Option(
        help: ArgumentHelp(
            "How many of 100 charges are given back, in part or all of it, by chance.", valueName: "percent"))
    var refund = 0.0
    @Option(
        help: ArgumentHelp(
            "A server that checks name, and how often compared with the others; again for each (default: none).",
            valueName: "name[=weight]"))
    var server: [String] = []
    @Option(
        help: ArgumentHelp("How long a reservation is held before it is settled (default: 0).", valueName: "time"),
        transform: OptionValue.time)
    var hold: Int64 = 0
}

/// What the driver starts itself, and the faults that it injects.
struct SpawnOptions: ParsableArguments {
    @Flag(
        help: """
            Start redis-server and sluiced (found beside sluice-load or in PATH) in a temporary folder, load them, and end \
            them; instead of --socket.
            """)
    var spawn = false
    @Option(help: ArgumentHelp("Sidecars to start (default: 2).", valueName: "count"))
    var sidecars: Int?
    @Option(
        help: ArgumentHelp(
            "Policy document of the sidecars that are started (default: 100 in 5 s for each grant and tool).",
            valueName: "file"))
    var policy: String?
    @Option(
        help: ArgumentHelp(
            """
            Does to what was started what the file says, one action a line, timed from the end of the warm-up: \
            'at 10s stop redis'; then continue, kill, restart (redis, or sidecar 1), flush redis, reload policy [file].
            """, valueName: "file"))
    var faults: String?
}

/// What is judged, and how the results are reported.
struct VerdictOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What limits count by: grant, session or global (default: session with --sessions, else grant).",
            valueName: "scope"))
    var scope: String?
    @Option(
        help: ArgumentHelp(
            "The sidecars' --replicas: how many share the rest during an outage (default: the sockets given).",
            valueName: "count"))
    var replicas: Int?
    @Option(
        help: ArgumentHelp(
            "The sidecars' --budget: decisions that take longer are counted (default: 20ms).", valueName: "time"),
        transform: OptionValue.time)
    var budget: Int64 = 20_000_000
    @Flag(help: "Print one JSON object instead of the table.")
    var json = false
    @Flag(help: "Also print the run second by second: sources, latencies, errors, windows, faults.")
    var timeline = false
    @Option(
        help: ArgumentHelp("Also write a report to look at: one page with plots, for any browser.", valueName: "file"))
    var report: String?
    @Option(
        help: ArgumentHelp(
            """
            Judge by the maxima of this policy document, not by those that the answers name: what the sidecars are meant to \
            hold, whatever they do hold.
            """, valueName: "file"))
    var judgeBy: String?
    @Flag(help: "Send checks without TRACE, and prove nothing.")
    var noOracle = false
}

/// How values of options are written.
enum OptionValue {
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

    /// A value and its weight, `value=weight`; 1 without a weight. If the text after the last `=` is not a number, it
    /// belongs to the value.
    static func weighted(_ text: String) -> (value: String, weight: Double) {
        guard let sign = text.lastIndex(of: "="), let weight = Double(text[text.index(after: sign)...]), weight.isFinite
        else { return (text, 1) }
        return (String(text[..<sign]), weight)
    }
}
