import ArgumentParser
import SluiceClient
import SluiceTerminal

struct CountersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "counters",
        abstract: "Shows the counters of windows that are open.",
        discussion: """
            Examples:
              sluicectl counters
              sluicectl counters --grant alice-laptop --tool opencode_run
              sluicectl counters --json | jq '.counters[] | select(.remaining == 0)'

            Columns: used is over all replicas, as Redis has it; local is what this replica admitted during an outage \
            of Redis; remaining is what this replica could still admit. A dash means unknown. The line below says whether \
            the usages were read from Redis just now.

            Exit codes: 0 done, 2 the sidecar could not be asked or refused, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Option(help: "Only this grant's counters.")
    var grant: String?
    @Option(help: "Only this tool's counters.")
    var tool: String?
    @Option(help: ArgumentHelp("Most counters to show, 1 to 10000.", valueName: "n"))
    var limit = 100
    @Flag(help: "One line of JSON instead of a table.")
    var json = false

    func validate() throws {
        guard (1...10_000).contains(limit) else {
            throw ValidationError("--limit: found \(limit), expected a whole number from 1 to 10000")
        }
    }

    func run() async throws {
        let console = Console.current
        var words = ["COUNTERS", "LIMIT", String(limit)]
        if let grant { words += ["GRANT", grant] }
        if let tool { words += ["TOOL", tool] }
        let report = try await sidecar.ask(console) { [words] sluice throws(SluiceError) in
            let status = SidecarStatus(info: try await sluice.send(["INFO", "redis"]).string ?? "")
            return try CountersReport(await sluice.send(words), hasRedis: status.hasRedis)
        }
        console.write(json ? report.json.line + "\n" : report.text(console.style))
    }
}
