import ArgumentParser
import SluiceProtocol
import SluiceTerminal

/// All of `sluicectl` except its process.
enum ControlProgram {
    /// Runs a command line, without the program's name.
    ///
    /// With `--json`, standard output always gets exactly one line of JSON (of `tail` one for each decision), and standard error only the progress of
    /// `status --wait`. - Returns: the exit code: 0 done or allowed, 1 denied or faults found, 2 could not ask, 3
    /// policies were rejected, 4 a sidecar counts alone though it has a Redis, 64 wrong usage.
    static func run(_ arguments: [String], console: Console = .current) async -> Int32 {
        let isJSON = arguments.prefix { $0 != "--" }.contains("--json")
        return await Console.$current.withValue(console) {
            do {
                var command = try RootCommand.parseAsRoot(arguments)
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
                return ExitCode.success.rawValue
            } catch let failure as ControlFailure where isJSON {
                console.write(failure.json.line + "\n")
                return failure.exitCode.rawValue
            } catch let failure as DocumentFailure {
                isJSON ? console.write(failure.json.line + "\n") : failure.show(console)
                return failure.exitCode.rawValue
            } catch let failure as ControlFailure {
                console.writeError(console.errorStyle.apply(.bad, to: "sluicectl:") + " \(failure.line)\n")
                return failure.exitCode.rawValue
            } catch {
                let code = RootCommand.exitCode(for: error).rawValue
                let message = RootCommand.fullMessage(for: error)
                if isJSON, code != ExitCode.success.rawValue {
                    let failure = ControlFailure(RootCommand.message(for: error), exitCode: ExitCode(code))
                    if !message.isEmpty { console.write(failure.json.line + "\n") }
                } else if !message.isEmpty {
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
              sluicectl clear alice-laptop opencode_run
              sluicectl override alice-laptop opencode_run_rate 50 --for 1h
              sluicectl tail --denied
              sluicectl status --wait --timeout 30s
              sluicectl policy check policy.json
              SLUICE_SOCKET=sluice.sock sluicectl status

            Exit codes: 0 done (check and peek: allowed), 1 denied, or the policy has faults, 2 the sidecar could not be \
            asked, 3 (status) the sidecar refused newer policies, 4 (status) it counts alone though it has a Redis, 64 \
            wrong usage. With --json every command writes one line of JSON (tail: one for each decision), also if it fails: \
            then an object "error" with a message. Colours are used on a terminal only, and never where NO_COLOR is set.
            """,
        version: SluiceVersion.current,
        subcommands: [
            CheckCommand.self, PeekCommand.self, ExplainCommand.self, ChargeCommand.self, RefundCommand.self,
            ClearCommand.self, OverrideCommand.self, CommitCommand.self, CancelCommand.self, ReleaseCommand.self,
            CountersCommand.self,
            TailCommand.self,
            TopCommand.self, StatusCommand.self, PolicyCommand.self,
            GatewaysCommand.self,
        ])

    @OptionGroup var sidecar: SidecarOptions
}
