import ArgumentParser
import SluiceClient
import SluiceTerminal

struct OverrideCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "override",
        abstract: "Gives a grant another maximum of one limit for a time, without a change of the policy.",
        discussion: """
            RULE is the path of the limit, as explain and check show it, or its counter where only one limit of the grant \
            has that. What the window has counted stays counted. It is kept in Redis: all sidecars hear of it at once, it \
            survives their restarts, and it ends by itself, or with --off. Redis that loses its data loses it, too; while \
            Redis is away it goes on till its end, and none is set. At most 1,000 hold at a time, a week each at most. \
            explain shows it. The log of sluiced says who set it.

            It first shows what it would do, and asks; with --yes it does not ask. Without a RULE it lists those that hold, \
            of all grants or of one.

            Examples:
              sluicectl override alice-laptop opencode_run_rate 50 --for 1h
              sluicectl override --yes alice-laptop opencode_run_rate 0 --for 10m
              sluicectl override alice-laptop opencode_run_rate --off
              sluicectl override
              sluicectl override --json | jq '.overrides[].grant'

            Exit codes: 0 done, 1 you did not say yes, or there was none to end, 2 the sidecar could not be asked or \
            refused, 64 wrong usage, 69 Redis is away, so nothing was changed.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Argument(help: "The identity that the gateway authenticated, such as alice-laptop.")
    var grant: String?
    @Argument(help: "The path of a limit, such as /tools/opencode_run/limits/opencode_run_rate, or its counter.")
    var rule: String?
    @Argument(help: "The maximum meanwhile; 0 denies every call that the limit counts.")
    var max: Int64?
    @Option(
        name: .customLong("for"),
        help: ArgumentHelp("How long it holds: \(DurationText.expected); a week at most.", valueName: "duration"),
        transform: { text in
            guard let duration = DurationText.parse(text), duration >= .seconds(1), duration <= .seconds(longestSeconds)
            else { throw ValidationError("expected 1s to 168h, \(DurationText.expected)") }
            return duration
        })
    var length: Duration?
    @Flag(help: "End it now.")
    var off = false
    @Flag(help: "Do not ask.")
    var yes = false
    @Flag(help: "One line of JSON instead of tables; a change needs --yes with it.")
    var json = false

    private static let longestSeconds: Int64 = 7 * 86_400

    private var isList: Bool { rule == nil }

    func validate() throws {
        if isList {
            if off || length != nil { throw ValidationError("name a grant and a RULE: --for and --off change one") }
            return
        }
        if off {
            if max != nil || length != nil { throw ValidationError("--off ends it: leave out the maximum and --for") }
        } else {
            guard let max else { throw ValidationError("say the maximum, or --off to end it") }
            if max < 0 { throw ValidationError("the maximum is \(max): say a whole number from 0 on") }
            if length == nil { throw ValidationError("say for how long, such as --for 1h") }
        }
        if json && !yes { throw ValidationError("--json asks nothing: add --yes") }
    }

    func run() async throws {
        let console = Console.current
        if isList { return try await list(console) }
        if !yes {
            guard let answer = console.ask else {
                throw ControlFailure(
                    "override asks before it changes something, and this is no terminal: add --yes",
                    exitCode: .validationFailure)
            }
            let planned = try await send(console, isDryRun: true)
            if planned.rows.isEmpty {
                console.write("nothing is overridden there\n")
                throw ExitCode.denied
            }
            console.write(planned.table.render(console.style) + "\n")
            guard answer(off ? "End this override? [y/N] " : "Override this maximum? [y/N] ") else {
                console.write("nothing was changed\n")
                throw ExitCode.denied
            }
        }
        let report = try await send(console, isDryRun: false)
        console.write(json ? report.json.line + "\n" : text(report, console.style))
        if !report.isChanged { throw ExitCode.denied }
    }

    private func list(_ console: Console) async throws {
        let report = try await sidecar.ask(console) { sluice throws(SluiceError) in
            try OverrideReport(await sluice.send(["OVERRIDE"] + (grant.map { [$0] } ?? [])))
        }
        if json { return console.write(report.json.line + "\n") }
        let whose = grant.map { " of \(TerminalText.visible($0))" } ?? ""
        console.write(report.rows.isEmpty ? "no maximum\(whose) is overridden\n" : report.table.render(console.style))
    }

    private func text(_ report: OverrideReport, _ style: Style) -> String {
        if off {
            return report.isChanged
                ? style.apply(.good, to: "ended") + report.scope + "\n" : "nothing is overridden there\n"
        }
        return (yes ? report.table.render(style) + "\n" : "") + style.apply(.good, to: "overridden") + report.scope
            + "\n"
    }

    private func send(_ console: Console, isDryRun: Bool) async throws -> OverrideReport {
        var words = ["OVERRIDE", grant ?? "", rule ?? ""]
        if let max, let length {
            words += [String(max), String(length.components.seconds)]
        } else {
            words.append("OFF")
        }
        if isDryRun { words.append("DRYRUN") }
        let asked = words
        do throws(ControlFailure) {
            return try await sidecar.ask(console) { sluice throws(SluiceError) in
                try OverrideReport(await sluice.send(asked))
            }
        } catch {
            var failure = error
            if failure.refusal == "BUSY" { failure.exitCode = .redisUnavailable }
            throw failure
        }
    }
}
