import ArgumentParser
import SluiceClient
import SluiceTerminal

struct ClearCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Sets the open counters of a grant, or of one of its tools, to 0.",
        discussion: """
            All sidecars hear of it at once, so the next call of the grant passes. It first shows what it would clear, and \
            asks; with --yes it does not ask. Without a TOOL it clears every counter of the grant, those over all tools \
            and groups, too. Left, and named, are counters that grants share, calls in progress (they end by themselves), \
            and with a TOOL the limits that count other tools as well. What reservations made before it give back \
            later is given back of what was charged since.

            While counting is not shared it clears nothing: what was cleared here alone would come back from the other \
            sidecars. The log of sluiced says who cleared what.

            Examples:
              sluicectl clear alice-laptop opencode_run
              sluicectl clear --yes alice-laptop
              sluicectl clear --yes --json alice-laptop | jq '.cleared[].held'

            Exit codes: 0 done, or nothing was counted, 1 you did not say yes, or Redis holds something else in place of a \
            counter, 2 the sidecar could not be asked or refused, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Argument(help: "The identity that the gateway authenticated, such as alice-laptop.")
    var grant: String
    @Argument(help: "Only the limits of this tool, such as opencode_run.")
    var tool: String?
    @Flag(help: "Do not ask.")
    var yes = false
    @Flag(help: "One line of JSON instead of tables; with --yes only.")
    var json = false

    /// A busy sidecar takes longer for a page than the two seconds that it looks for counters.
    private static let answerLimit = Duration.seconds(30)

    func validate() throws {
        if json && !yes { throw ValidationError("--json asks nothing: add --yes") }
    }

    func run() async throws {
        let console = Console.current
        if !yes {
            guard let answer = console.ask else {
                throw ControlFailure(
                    "clear asks before it clears, and this is no terminal: add --yes", exitCode: .validationFailure)
            }
            let planned = try await read(console, isDryRun: true)
            console.write(planned.text(console.style, isDryRun: true))
            if planned.rows.isEmpty { return }
            guard answer("Set \(planned.count) to 0? [y/N] ") else {
                console.write("nothing was cleared\n")
                throw ExitCode.denied
            }
        }
        let report = try await read(console, isDryRun: false)
        console.write(json ? report.json.line + "\n" : report.text(console.style, isDryRun: false))
        if report.hasFaults { throw ExitCode.denied }
    }

    /// Asks page after page.
    private func read(_ console: Console, isDryRun: Bool) async throws(ControlFailure) -> ClearReport {
        try await sidecar.ask(console, answerLimit: Self.answerLimit) { sluice throws(SluiceError) in
            var report = ClearReport(grant: grant, tool: tool)
            repeat {
                var words = ["CLEAR", grant] + (tool.map { [$0] } ?? [])
                if !report.cursor.isEmpty { words += ["CURSOR", report.cursor] }
                if isDryRun { words.append("DRYRUN") }
                try report.add(try await sluice.send(words))
            } while !report.cursor.isEmpty
            return report
        }
    }
}
