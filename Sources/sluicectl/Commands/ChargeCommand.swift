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
    @OptionGroup var identities: IdentityArguments
    @Option(help: ArgumentHelp("However often it is sent with this id, it happens once.", valueName: "key"))
    var id: String?
    @Flag(help: "One line of JSON instead of tables.")
    var json = false

    func validate() throws {
        guard cost >= 0 else { throw ValidationError("<n>: found \(cost), expected a whole number from 0 to 10^12") }
    }

    var options: CheckOptions {
        CheckOptions(
            server: identities.server, session: identities.session,
            attributes: identities.pairs, id: id)
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
        try await sidecar.decide(json: charge.json) { sluice throws(SluiceError) in
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
        try await sidecar.decide(json: refund.json) { sluice throws(SluiceError) in
            try await sluice.refund(
                grant: refund.grant, tool: refund.tool, cost: refund.cost, options: refund.options)
        }
    }
}
