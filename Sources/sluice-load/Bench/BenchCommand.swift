import ArgumentParser

/// The options of `sluice-load bench`.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice-load bench",
        abstract: "Measures Sluice side by side with Redis called directly, and with what the socket alone allows.",
        discussion: """
            Each cell starts a Redis and sidecars of its own in a temporary folder (redis-server from PATH, sluiced from \
            beside sluice-load), and loads its contenders one after the other, round by round, so that what drifts hits \
            all alike. It reports medians over the rounds; ratios are taken within each round. CPU is what the operating \
            system accounted to each process.

            Counting is proven in each cell: the oracle judges a round of its own, which is not timed, and at the end \
            Redis must hold just what all rounds admitted. Sidecars get a budget of 5 s for a check, so that all is \
            counted in Redis even where a closed loop queues for longer than a gateway would wait.

            EXIT CODES: 0 ok, whether a bar is met or not; 1 a count was wrong or an error came; 2 it could not be \
            carried out; 64 wrong usage; 130 Ctrl-C.
            """)

    @Option(help: ArgumentHelp("Measures this cell alone; again for each (--list shows them).", valueName: "cell"))
    var only: [String] = []
    @Flag(help: "Measures every combination, too: some hours.")
    var full = false
    @Flag(help: "Tells the cells and what they are, and measures nothing.")
    var list = false
    @Option(help: ArgumentHelp("Rounds of each cell.", valueName: "count"))
    var rounds = 5
    @Option(
        help: ArgumentHelp("How long each contender is measured in a round (default: 1s).", valueName: "time"),
        transform: OptionValue.time)
    var duration: Int64 = 1_000_000_000
    @Option(help: ArgumentHelp("Also writes all figures as JSON.", valueName: "file"))
    var json: String?
    @Option(help: ArgumentHelp("What was built, for the JSON.", valueName: "commit"))
    var commit: String?

    /// - Throws: `ValidationError`.
    func plan() throws -> BenchPlan {
        guard (1...LoadBounds.maxBenchRounds).contains(rounds) else {
            throw ValidationError("--rounds is \(rounds), expected 1 to \(LoadBounds.maxBenchRounds)")
        }
        guard duration > 0 else { throw ValidationError("--duration is 0, expected more") }
        var plan = BenchPlan()
        plan.rounds = rounds
        plan.durationNs = duration
        plan.warmUpNs = min(plan.warmUpNs, duration)
        return plan
    }

    /// - Throws: `ValidationError`.
    func cells() throws -> [BenchCell] {
        guard !only.isEmpty else { return full ? BenchTable.all : BenchTable.standard }
        let all = BenchTable.all
        return try only.map { name in
            guard let cell = all.first(where: { $0.name == name }) else {
                throw ValidationError("--only is '\(name)', which is no cell (--list shows them)")
            }
            return cell
        }
    }
}
