import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Arguments common to `charge` and `refund`.
struct ChargeArguments: ParsableArguments {
    @Argument(help: "The identity that the gateway authenticated, such as alice-laptop.")
    var grant: String
    @Argument(help: "What was called, such as opencode_run.")
    var tool: String
    @Argument(help: ArgumentHelp("How much, 0 to 10^12; 0 changes nothing.", valueName: "n"))
    var cost: Int64
    @Option(help: "The session of the call (default: none).")
    var session: String?
    @Option(help: "The MCP server of the tool (default: none).")
    var server: String?
    @Option(
        name: .customLong("attr"), parsing: .singleValue,
        help: ArgumentHelp(
            "An attribute of the call, for limits that count by attribute:NAME; may be repeated.",
            valueName: "name=value"))
    var attributes: [String] = []
    @Option(help: ArgumentHelp("However often it is sent with this id, it happens once.", valueName: "key"))
    var id: String?
    @Flag(help: "One line of JSON instead of tables.")
    var json = false

    func validate() throws {
        guard cost >= 0 else { throw ValidationError("<n>: found \(cost), expected a whole number from 0 to 10^12") }
        for attribute in attributes where attribute.split(separator: "=", maxSplits: 1).count < 2 {
            throw ValidationError("--attr: found \(attribute), expected name=value")
        }
    }

    var options: CheckOptions {
        CheckOptions(
            server: server, session: session,
            attributes: attributes.map { attribute in
                let parts = attribute.split(separator: "=", maxSplits: 1)
                return .init(name: String(parts[0]), value: String(parts[1]))
            }, id: id)
    }

    /// Sends it, shows the answer, and ends with exit code 1 if that is a denial.
    func send(
        _ sidecar: SidecarOptions, _ request: (SluiceConnection) async throws(SluiceError) -> Decision
    ) async throws {
        let console = Console.current
        let report = DecisionReport(decision: try await sidecar.ask(console, request))
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if !report.decision.allowed { throw ExitCode.denied }
    }
}

struct ChargeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "charge",
        abstract: "Charges what a call cost, whatever the maximum says.",
        discussion: """
            For costs that are known only afterwards, such as tokens. Later checks feel it.

            Examples:
              sluicectl charge alice-laptop opencode_run 3
              sluicectl charge alice-laptop opencode_run 2 --id call-17

            Exit codes: 0 it fitted, 1 it is beyond the maximum, or the tool is denied, 2 the sidecar could not be asked, \
            64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var charge: ChargeArguments

    func run() async throws {
        try await charge.send(sidecar) { sluice throws(SluiceError) in
            try await sluice.charge(
                grant: charge.grant, tool: charge.tool, cost: charge.cost, options: charge.options)
        }
    }
}

struct RefundCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refund",
        abstract: "Gives back what calls were charged, in open windows and never below 0.",
        discussion: """
            Examples:
              sluicectl refund alice-laptop opencode_run 3

            Exit codes: 0 done, 1 the tool is denied, 2 the sidecar could not be asked, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var refund: ChargeArguments

    func run() async throws {
        try await refund.send(sidecar) { sluice throws(SluiceError) in
            try await sluice.refund(
                grant: refund.grant, tool: refund.tool, cost: refund.cost, options: refund.options)
        }
    }
}
