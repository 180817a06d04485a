import ArgumentParser
import SluicePolicy
import SluiceTerminal

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Checks, shows and compares policies, and tries them on recorded calls.",
        discussion: """
            Wherever a document is named, a folder with NAME.json documents and grants.json may be named as well.

            Examples:
              sluicectl policy check policy.json
              sluicectl policy show policies/ --grant alice-laptop
              sluicectl policy diff --socket sluice.sock policy.json
              sluicectl policy schema >policy.schema.json
              sluicectl policy replay new.json --log decisions.jsonl
            """,
        subcommands: [
            PolicyCheckCommand.self, PolicyShowCommand.self, PolicyDiffCommand.self, PolicySchemaCommand.self,
            PolicyReplayCommand.self, PolicySuggestCommand.self,
        ])
}

struct PolicySchemaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schema",
        abstract: "Prints a JSON Schema of policy documents, for editors.",
        discussion: """
            With "$schema" a document names the schema that an editor checks it by. What depends on several places, such as \
            two patterns that match one name, only policy check finds.

            Examples:
              sluicectl policy schema >policy.schema.json

            Exit codes: 0 printed, 64 wrong usage.
            """)

    @Flag(help: "The same on one line.")
    var json = false

    func run() throws {
        let lines = PolicySchema.text.split(separator: "\n")
        Console.current.write(
            json ? lines.map { $0.drop { $0 == " " } }.joined(separator: " ") + "\n" : PolicySchema.text)
    }
}

struct PolicyCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks policy documents, and sums up what they say.",
        discussion: """
            What passes here is accepted by sluiced of the same version. All faults are shown at once, on standard \
            error, each as FILE:LINE:COLUMN. Lines that begin with "advice" say what is valid and could be \
            better, those with "warning" what is valid and surely not meant.

            Examples:
              sluicectl policy check policy.json
              sluicectl policy check policies/ >/dev/null || exit 1
              sluicectl policy check policy.json --json | jq -r '.faults[].message'
              sluicectl policy check policy.json --for ext_authz

            Exit codes: 0 valid, 1 faults, 2 a file could not be read, 64 wrong usage.
            """)

    @Argument(help: "The document, JSON, or a folder of documents.")
    var file: String
    @Flag(help: "One line of JSON instead of tables, and instead of lines on standard error.")
    var json = false
    @Option(
        name: .customLong("for"),
        help: "Also advise on what is asked by Envoy's ext_authz filter, or its rate limit filter (rls).")
    var gateway: PolicyAdvice.Gateway?
    @OptionGroup var options: PolicyOptions

    func run() throws {
        let console = Console.current
        do throws(DocumentFailure) {
            let policies = try options.read(file, faults: .faults)
            let summary = PolicySetSummary(policies, file: file)
            console.write(
                json
                    ? PolicyCheckReport(policies, file: file, for: gateway).json.line + "\n"
                    : summary.render(advises: true, for: gateway))
        } catch {
            guard json, !error.faults.isEmpty else { throw error }
            console.write(PolicyCheckReport.json(of: error).line + "\n")
            throw error.exitCode
        }
    }
}

struct PolicyShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows all that policies say: every tool, every limit, and the messages for agents.",
        discussion: """
            Shows documents, or without any what a running sidecar has in force. With --tool only what a call of that tool \
            meets is shown, whether the document lists the tool or not; with --grant only the document that this grant has.

            Examples:
              sluicectl policy show policy.json
              sluicectl policy show policies/ --grant alice-laptop --tool opencode_run
              sluicectl policy show --socket sluice.sock
              sluicectl policy show policy.json --json | jq '.documents[].tools[].tool'

            A dash is what a limit does not have. A slot of a concurrency limit that nobody releases is held for "hold"; \
            "outage" is what happens during an outage of Redis.

            Exit codes: 0 done, 1 faults, 2 a file could not be read or the sidecar not be asked, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Argument(help: "The document, JSON, or a folder of documents (default: what the sidecar has in force).")
    var file: String?
    @Option(help: "Only the document of this grant.")
    var grant: String?
    @Option(help: "Only what a call of this tool meets.")
    var tool: String?
    @Flag(help: "One line of JSON instead of tables.")
    var json = false
    @OptionGroup var options: PolicyOptions

    func validate() throws {
        guard file == nil || sidecar.socket == nil else {
            throw ValidationError("found a document and --socket, expected one of them")
        }
    }

    func run() async throws {
        let console = Console.current
        let report: PolicyReport
        if let file {
            let policies = try options.read(file, faults: .faults)
            report = PolicyReport(policies, source: file, grant: grant, tool: tool)
        } else {
            let running = try await RunningPolicies.ask(sidecar, console)
            report = PolicyReport(running.policies, source: running.source, grant: grant, tool: tool)
        }
        console.write(json ? report.json.line + "\n" : report.text(console.style))
    }
}

struct PolicyDiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Shows what changes for callers from one policy to another.",
        discussion: """
            This is what a reload would do: which tools are allowed or denied now, which limits change, and which counters \
            keep their count. Changes that affect no answer, such as the order of tools, are left out. A single document is \
            compared with what a running sidecar has in force.

            Examples:
              sluicectl policy diff old.json new.json
              sluicectl policy diff --socket sluice.sock policy.json
              sluicectl policy diff old.json new.json --json | jq '.changes[].change'

            Lines begin with + (added), - (removed) or ~ (changed).

            Exit codes, as diff(1) has them: 0 no difference, 1 differences, 2 a document has faults or could not be read, \
            or the sidecar could not be asked; 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Argument(
        help: ArgumentHelp(
            "Documents, JSON, or folders of them: what is in force and what would be, or the latter alone.",
            valueName: "document"))
    var documents: [String]
    @Flag(help: "One line of JSON instead of text.")
    var json = false
    @OptionGroup var options: PolicyOptions

    func validate() throws {
        guard (1...2).contains(documents.count) else {
            throw ValidationError("found \(documents.count) documents, expected two, or one and a sidecar")
        }
        guard documents.count == 1 || sidecar.socket == nil else {
            throw ValidationError("found two documents and --socket, expected one of each, or two documents")
        }
    }

    func run() async throws {
        let console = Console.current
        var policies: [PolicySet] = []
        // The faults of both are shown, not only of the one read first.
        var failures: [DocumentFailure] = []
        for path in documents {
            do throws(DocumentFailure) {
                policies.append(try options.read(path, faults: .couldNotCompare))
            } catch {
                failures.append(error)
            }
        }
        if let failure = DocumentFailure(failures) { throw failure }
        let old = policies.count == 2 ? policies[0] : try await RunningPolicies.ask(sidecar, console).policies
        let report = PolicyDiffReport(PolicyDiff(from: old, to: policies[policies.count - 1]))
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if report.hasChanges { throw ExitCode.differences }
    }
}

extension PolicyAdvice.Gateway: ExpressibleByArgument {}

extension ExitCode {
    /// There are differences, as in diff(1).
    static let differences = ExitCode(1)
    /// There is nothing to compare with.
    static let couldNotCompare = ExitCode(2)
}
