import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Options common to `check`, `peek` and `explain`.
struct CheckArguments: ParsableArguments {
    @Argument(help: "The identity that the gateway authenticated, such as alice-laptop.")
    var grant: String
    @Argument(help: "What is called, such as opencode_run.")
    var tool: String
    @Option(
        help: ArgumentHelp(
            "How much the check charges, 1 to 10^12; 0 only asks whether anything is left.", valueName: "n"))
    var cost: Int64 = 1
    @OptionGroup var identities: IdentityArguments
    @Flag(help: "A person approved this call: require_approval acts as allow.")
    var approved = false
    @Flag(help: "One line of JSON instead of tables.")
    var json = false

    func validate() throws {
        guard cost >= 0 else { throw ValidationError("--cost: found \(cost), expected a whole number from 0 to 10^12") }
    }

    var options: CheckOptions {
        CheckOptions(
            cost: cost, server: identities.server, session: identities.session,
            attributes: identities.pairs, approved: approved, trace: true)
    }
}

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Asks whether a grant may call a tool, and counts the call if it may.",
        discussion: """
            This is what a gateway does for every request: an allowed check is charged. Use peek to look without \
            charging.

            Examples:
              sluicectl check alice-laptop opencode_run
              sluicectl check alice-laptop opencode_run --cost 5 --session s-17
              sluicectl check alice-laptop opencode_run --cost 5 --reserve
              sluicectl check alice-laptop opencode_run --json | jq .remaining

            Exit codes: 0 allowed, 1 denied, 2 the sidecar could not be asked, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var check: CheckArguments
    @Flag(help: "Reserve the cost, to be settled by commit, cancel or release.")
    var reserve = false
    @Option(help: ArgumentHelp("However often it is sent with this id, it is charged once.", valueName: "key"))
    var id: String?

    func run() async throws {
        var options = check.options
        options.reserve = reserve
        options.id = id
        let settled = options
        try await sidecar.decide(json: check.json) { sluice throws(SluiceError) in
            try await sluice.check(grant: check.grant, tool: check.tool, options: settled)
        }
    }
}

struct PeekCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peek",
        abstract: "Asks whether a check would pass, and counts nothing.",
        discussion: """
            Examples:
              sluicectl peek alice-laptop opencode_run
              sluicectl peek alice-laptop opencode_run --cost 5 && echo "five more"

            Exit codes: 0 it would be allowed, 1 denied, 2 the sidecar could not be asked, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @OptionGroup var check: CheckArguments

    func run() async throws {
        try await sidecar.decide(json: check.json) { sluice throws(SluiceError) in
            try await sluice.peek(grant: check.grant, tool: check.tool, options: check.options)
        }
    }
}
