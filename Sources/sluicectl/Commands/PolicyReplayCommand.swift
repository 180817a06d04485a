import ArgumentParser
import SluicePolicy
import SluiceTerminal

/// The decision logs that a command reads.
struct DecisionLogOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A decision log of sluiced (--decision-log), once for each sidecar; - is standard input.", valueName: "file"
        ))
    var log: [String] = []

    func validate() throws {
        if log.isEmpty { throw ValidationError("--log: found none, expected the path of a decision log") }
    }
}

struct PolicyReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Decides recorded calls again by another policy: who would be denied, by which rule, when.",
        discussion: """
            The calls come from decision logs of sluiced, with every decision (--decision-log FILE --decision-log-sample 1), \
            and are decided at their own times by the code that the sidecar runs; with the logs of all sidecars counting is \
            shared, as it was. Every recorded call is asked again, and no other: what agents would have done after another \
            answer is not known.

            Examples:
              sluicectl policy replay new.json --log decisions.jsonl
              sluicectl policy replay policies/ --log a.jsonl --log b.jsonl
              sluicectl policy replay new.json --log decisions.jsonl --report replay.html
              sluicectl policy replay new.json --log - --json <decisions.jsonl

            Exit codes: 0 no call would be denied that was allowed, 1 some would, 2 a document has faults, or a file cannot be \
            read or lacks decisions, 64 wrong usage.
            """)

    @Argument(help: "The document, JSON, or a folder of documents.")
    var file: String
    @OptionGroup var logs: DecisionLogOptions
    @Option(help: ArgumentHelp("Also writes a page to look at, which needs nothing else.", valueName: "file"))
    var report: String?
    @Flag(help: "One line of JSON instead of tables.")
    var json = false
    @OptionGroup var options: PolicyOptions

    func run() throws {
        let console = Console.current
        let policies = try options.read(file, faults: .couldNotCompare)
        let logs = try DecisionLogs(logs.log, isNeededWhole: true, console)
        var replay = PolicyReplay(policies, firstMs: logs.nextMs ?? 0)
        try logs.forEach(console) { record, kind, bytes in replay.replay(record, kind, in: bytes) }
        let found = ReplayReport(replay.outcome)
        if let report {
            do {
                try WholeFile.save(ReplayPage(report: found, warnings: logs.warnings).html, to: report)
            } catch {
                throw ControlFailure(TerminalText.visible(error.description), exitCode: .couldNotCompare)
            }
        }
        if !json { for line in logs.warnings { console.writeError("warning: \(line)\n") } }
        console.write(json ? found.json(warnings: logs.warnings).line + "\n" : found.text(console.style))
        if found.hasNewDenials { throw ExitCode.differences }
    }
}

struct PolicySuggestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suggest",
        abstract: "Proposes maxima from recorded calls: limits that 99 of 100 grants would never notice.",
        discussion: """
            For each tool and each of the windows minute, hour and day: how much each grant used in its busiest window, and the \
            maximum that 99 of 100 grants never went beyond. What was denied then is left out. Decision logs need every \
            decision (--decision-log-sample 1).

            Examples:
              sluicectl policy suggest --log decisions.jsonl
              sluicectl policy suggest --log decisions.jsonl --document >policy.json

            Exit codes: 0 done, 2 a file cannot be read or lacks decisions, 64 wrong usage.
            """)

    @OptionGroup var logs: DecisionLogOptions
    @Flag(help: "A policy document with these limits instead of a table.")
    var document = false
    @Flag(help: "One line of JSON instead of a table.")
    var json = false

    func run() throws {
        let console = Console.current
        let logs = try DecisionLogs(logs.log, isNeededWhole: true, console)
        var demand = ToolDemand()
        try logs.forEach(console) { record, kind, bytes in demand.count(record, kind, in: bytes) }
        let report = SuggestReport(demand)
        if !json { for line in logs.warnings { console.writeError("warning: \(line)\n") } }
        if document { return console.write(report.document.lines) }
        console.write(json ? report.json(warnings: logs.warnings).line + "\n" : report.text(console.style))
    }
}
