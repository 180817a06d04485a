import ArgumentParser
import SluiceProtocol
import SluiceTerminal

/// The whole of `sluicectl` but for its process.
package enum ControlProgram {
    /// Runs a command line, without the program's name.
    ///
    /// - Returns: the code to exit with: 0 done or allowed, 1 denied or faults found, 2 could not ask, 64 wrong usage.
    package static func run(_ arguments: [String], console: Console = .current) async -> Int32 {
        await Console.$current.withValue(console) {
            do {
                var command = try RootCommand.parseAsRoot(arguments)
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
                return ExitCode.success.rawValue
            } catch let failure as ControlFailure {
                console.writeError(console.errorStyle.apply(.bad, to: "sluicectl:") + " \(failure.line)\n")
                return failure.exitCode.rawValue
            } catch {
                let code = RootCommand.exitCode(for: error).rawValue
                let message = RootCommand.fullMessage(for: error)
                if !message.isEmpty {
                    (code == ExitCode.success.rawValue ? console.write : console.writeError)("\(message)\n")
                }
                return code
            }
        }
    }
}

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluicectl",
        abstract: "Looks into a running sluiced: asks as a gateway would, and shows counters and state.",
        discussion: """
            Examples:
              sluicectl check alice-laptop opencode_run
              sluicectl explain alice-laptop opencode_run
              sluicectl counters --grant alice-laptop
              sluicectl status --wait --timeout 30s
              sluicectl policy check policy.json
              SLUICE_SOCKET=/tmp/sluice.sock sluicectl status

            Exit codes: 0 done (check and peek: allowed), 1 denied, or the policy has faults, 2 the sidecar could not be \
            asked, 64 wrong usage. Colours are used on a terminal only, and never where NO_COLOR is set.
            """,
        version: SluiceVersion.current,
        subcommands: [
            CheckCommand.self, PeekCommand.self, ExplainCommand.self, CountersCommand.self, StatusCommand.self,
            PolicyCommand.self,
        ])

    @OptionGroup var sidecar: SidecarOptions
}
