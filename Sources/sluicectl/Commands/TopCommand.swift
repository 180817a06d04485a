import ArgumentParser
import SluiceTerminal

struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "A live screen: the busiest grants, the fullest limits, denials by rule, and how the sidecar fares.",
        discussion: """
            Rates are of the last seconds. Grants and denials come from the decisions of the running sidecar (see tail), up \
            to 1000 a second: beyond that they are estimated from a sample, and the heading says so. "grants" beside a rule is \
            how many different ones it denied since top began.

            Keys: s sorts (busiest, most denied, by name), / filters (a part of a name, or a pattern with *; enter keeps it, \
            esc clears it), p pauses, q quits. Where there is no terminal it prints one screen, as with --once.

            Examples:
              sluicectl top
              sluicectl top --once
              sluicectl top --json | jq '.denials[] | .rule'

            Exit codes: 0 done, 2 the sidecar could not be asked at the start, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Option(
        help: ArgumentHelp(
            "How often it is refreshed, and how long --once and --json watch, such as 500ms or 5s.",
            valueName: "duration"),
        transform: { text in
            guard let duration = DurationText.parse(text), Self.intervals.contains(duration) else {
                throw ValidationError("expected 100ms to 60s")
            }
            return duration
        })
    var interval: Duration = .seconds(1)
    @Flag(help: "Print one screen and end.")
    var once = false
    @Flag(help: "One line of JSON instead of a screen.")
    var json = false

    private static let intervals = Duration.milliseconds(100)...Duration.seconds(60)

    func run() async throws {
        let console = Console.current
        let terminal = console.terminal
        let size = terminal?.size ?? (columns: 100, rows: 40)
        let session = TopSession(
            path: sidecar.path(console), console: console, interval: interval, columns: size.columns, rows: size.rows)
        if let terminal, !once && !json { return try await session.run(terminal) }
        try await session.watchOnce()
        console.write(
            json ? session.json.line + "\n" : session.frame(console.style).map { $0 + "\n" }.joined())
    }
}
