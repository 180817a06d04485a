import ArgumentParser
import SluiceClient
import SluiceTerminal

struct CountersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "counters",
        abstract: "Shows the counters of windows that are open.",
        discussion: """
            --grant, --tool and --at-limit select before --limit counts, so the few among a million are found. Without --sort \
            the first that are found are shown, and the last line says with which --cursor it goes on. With --sort all that \
            match are looked at, page after page, and the first of them are shown: with a million counters that takes a \
            while, and no more memory.

            Examples:
              sluicectl counters
              sluicectl counters alice-laptop
              sluicectl counters --grant alice-laptop --tool opencode_run
              sluicectl counters --at-limit --sort used --limit 20
              sluicectl counters --json | jq '.counters[] | select(.remaining == 0)'
              sluicectl counters --redis rediss://redis.internal --policy policy.json

            With --redis no sidecar is asked: the keys are read from that Redis alone, and nothing is written. A dash is \
            shown for what only the policy knows (max, remaining, when a bucket is empty) unless --policy names it.

            Columns: used is over all replicas, as Redis has it; local is what this replica admitted during an outage \
            of Redis; remaining is what this replica could still admit. A dash means unknown. The line below says whether \
            the usages were read from Redis just now. A counter that changes its place in Redis meanwhile may be shown twice, \
            and none that is there all the time is missing.

            Exit codes: 0 done, 2 the sidecar (or Redis) could not be asked or refused, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var store: RedisOptions
    @Argument(help: ArgumentHelp("Only this grant's counters; as --grant.", valueName: "grant"))
    var name: String?
    @Option(help: "Only this grant's counters.")
    var grant: String?
    @Option(help: "Only this tool's counters.")
    var tool: String?
    @Flag(help: "Only counters of which nothing is left.")
    var atLimit = false
    @Option(
        help: ArgumentHelp(
            "Look at all, and show first the most used (used), those with the least left (remaining), or by name (grant).",
            valueName: "order"),
        transform: { text in
            guard let order = CountersReading.Order(rawValue: text) else {
                throw ValidationError("expected used, remaining or grant")
            }
            return order
        })
    var sort: CountersReading.Order?
    @Option(help: ArgumentHelp("Most counters to show, 1 to 10000.", valueName: "n"))
    var limit = 100
    @Option(help: ArgumentHelp("Go on where an earlier report ended.", valueName: "cursor"))
    var cursor: String?
    @Flag(help: "Show them again every two seconds, until it is ended (Ctrl-C).")
    var watch = false
    @Flag(help: "One line of JSON instead of a table.")
    var json = false

    private static let watchPause = Duration.seconds(2)
    /// A busy sidecar takes longer for a page than the two seconds that it looks for counters.
    private static let answerLimit = Duration.seconds(30)

    func validate() throws {
        guard (1...10_000).contains(limit) else {
            throw ValidationError("--limit: found \(limit), expected a whole number from 1 to 10000")
        }
        if grant != nil && name != nil { throw ValidationError("the grant is given twice") }
        try store.validate(needsPolicy: atLimit || sort == .remaining, hasCursor: cursor != nil)
        if cursor != nil && sort != nil {
            throw ValidationError("--cursor does not go with --sort, which looks at all")
        }
    }

    func run() async throws {
        let console = Console.current
        repeat {
            let report = try await read(console)
            let text = json ? report.json.line + "\n" : report.text(console.style)
            // On a terminal each comes where the one before was.
            console.write(watch && !json && console.terminal != nil ? "\u{1B}[H\u{1B}[2J" + text : text)
            guard watch, !console.isAbandoned() else { return }
            if !json && console.terminal == nil { console.write("\n") }
            try await Task.sleep(for: Self.watchPause)
        } while true
    }

    private func read(_ console: Console) async throws -> CountersReport {
        if store.redis != nil {
            return try await store.read(
                CounterSelection(
                    grant: grant ?? name, tool: tool, isAtLimit: atLimit, order: sort, limit: limit))
        }
        var reading = CountersReading(
            grant: grant ?? name, tool: tool, isAtLimit: atLimit, order: sort, limit: limit, cursor: cursor ?? "")
        return try await sidecar.ask(console, answerLimit: Self.answerLimit) { sluice throws(SluiceError) in
            try await sluice.read(&reading)
            return reading.report
        }
    }
}

extension SluiceConnection {
    /// Asks until a reading is done. - Parameter pageTaken: called after each page.
    func read(
        _ reading: inout CountersReading, pageTaken: (CountersReport) -> Void = { _ in }
    ) async throws(SluiceError) {
        let hasRedis = SidecarStatus(info: try await send(["INFO", "redis"]).string ?? "").hasRedis
        while true {
            let next = reading.take(try CountersReport(await send(reading.words), hasRedis: hasRedis))
            pageTaken(reading.report)
            switch next {
            case .done: return
            case .ask: break
            case .askLater:
                do { try await Task.sleep(for: .milliseconds(200)) } catch { throw SluiceError.cancelled }
            }
        }
    }
}
