import ArgumentParser
import SluiceClient
import SluiceTerminal

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Tells why a check would be allowed or denied, limit by limit, and counts nothing.",
        discussion: """
            It asks as a gateway would, so give it what the gateway gives: the session, the server, the attributes. Shadow \
            limits are shown with the others; they hold nobody back.

            Examples:
              sluicectl explain alice-laptop opencode_run
              sluicectl explain alice-laptop opencode_run --cost 5 --attr team=red
              sluicectl explain alice-laptop opencode_run --json | jq '.limits[].passes'

            Exit codes: 0 it would be allowed, 1 denied, 2 the sidecar could not be asked or refused, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var check: CheckArguments

    func run() async throws {
        let console = Console.current
        let report = try await sidecar.ask(console) { sluice throws(SluiceError) in
            try ExplainReport(
                await sluice.send(["EXPLAIN", check.grant, check.tool] + check.options.arguments),
                grant: check.grant, tool: check.tool)
        }
        console.write(check.json ? report.json.line + "\n" : report.text(console.style))
        if !report.isAllowed { throw ExitCode.denied }
    }
}
