import ArgumentParser
import SluicePolicy

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Works on policy documents; no sidecar is needed.",
        discussion: """
            Wherever a document is named, a folder with NAME.json documents and grants.json may be named as well.

            Examples:
              sluicectl policy check policy.json
              sluicectl policy show policies/ --grant alice-laptop
              sluicectl policy diff /etc/sluice/policy.json policy.json
            """,
        subcommands: [PolicyCheckCommand.self, PolicyShowCommand.self, PolicyDiffCommand.self])
}

struct PolicyCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks policy documents, and sums up what they say.",
        discussion: """
            What passes here is accepted by sluiced of the same version. All faults are shown at once, on standard \
            error, each as FILE:LINE:COLUMN.

            Examples:
              sluicectl policy check policy.json
              sluicectl policy check policies/ >/dev/null || exit 1

            Exit codes: 0 valid, 1 faults, 2 a file could not be read, 64 wrong usage.
            """)

    @Argument(help: "The document, JSON, or a folder of documents.")
    var file: String
    @OptionGroup var options: PolicyOptions

    func run() throws {
        let console = Console.current
        let policies = try options.read(file, faults: .faults, console)
        console.write(PolicySetSummary(policies, file: file).render())
    }
}

struct PolicyShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows all that policy documents say: every tool, every limit, and what agents are told.",
        discussion: """
            With --tool only what a call of that tool meets is shown, whether the document lists the tool or not; with \
            --grant only the document that this grant has.

            Examples:
              sluicectl policy show policy.json
              sluicectl policy show policies/ --grant alice-laptop --tool opencode_run
              sluicectl policy show policy.json --json | jq '.documents[].tools[] | select(.action == "deny") | .tool'

            A dash is what a limit does not have. A slot of a concurrency limit that nobody releases is held for "hold"; \
            "outage" is what happens while Redis is away.

            Exit codes: 0 done, 1 faults, 2 a file could not be read, 64 wrong usage.
            """)

    @Argument(help: "The document, JSON, or a folder of documents.")
    var file: String
    @Option(help: "Only the document of this grant.")
    var grant: String?
    @Option(help: "Only what a call of this tool meets.")
    var tool: String?
    @Flag(help: "One line of JSON instead of tables.")
    var json = false
    @OptionGroup var options: PolicyOptions

    func run() throws {
        let console = Console.current
        let policies = try options.read(file, faults: .faults, console)
        let report = PolicyReport(policies, source: file, grant: grant, tool: tool)
        console.write(json ? report.json.line + "\n" : report.text(console.style))
    }
}

struct PolicyDiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Shows what changes for callers from one policy to another.",
        discussion: """
            This is what a reload would do: which tools are allowed or denied now, which limits change, and which counters \
            keep their count. What changes no answer, such as the order of tools, is no difference.

            Examples:
              sluicectl policy diff /etc/sluice/policy.json policy.json
              git show HEAD:policy.json > old.json; sluicectl policy diff old.json policy.json
              sluicectl policy diff old.json new.json --json | jq '.changes[] | select(.counter.fate == "begins")'

            Lines begin with + (added), - (removed) or ~ (changed).

            Exit codes, as diff(1) has them: 0 no difference, 1 differences, 2 a document has faults or could not be read; \
            64 wrong usage.
            """)

    @Argument(help: "The document that is in force, JSON, or a folder of documents.")
    var old: String
    @Argument(help: "The document that would be, or a folder of documents.")
    var new: String
    @Flag(help: "One line of JSON instead of text.")
    var json = false
    @OptionGroup var options: PolicyOptions

    func run() throws {
        let console = Console.current
        // The faults of both are shown, not only of the one that is read first.
        let before = Result { try options.read(old, faults: .couldNotCompare, console) }
        let after = Result { try options.read(new, faults: .couldNotCompare, console) }
        let report = PolicyDiffReport(PolicyDiff(from: try before.get(), to: try after.get()))
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if report.hasChanges { throw ExitCode.differences }
    }
}

extension ExitCode {
    /// There are differences, as diff(1) tells it.
    static let differences = ExitCode(1)
    /// There is nothing to compare with.
    static let couldNotCompare = ExitCode(2)
}
