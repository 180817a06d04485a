import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Whose call it is beside the grant's: options of all commands that ask or charge.
struct IdentityArguments: ParsableArguments {
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

    func validate() throws {
        for attribute in attributes where attribute.split(separator: "=", maxSplits: 1).count < 2 {
            throw ValidationError("--attr: found \(attribute), expected name=value")
        }
    }

    /// The attributes, which `validate` has checked.
    var pairs: [CheckOptions.Attribute] {
        attributes.map { attribute in
            let parts = attribute.split(separator: "=", maxSplits: 1)
            return .init(name: String(parts[0]), value: String(parts[1]))
        }
    }
}

extension SidecarOptions {
    /// Asks, shows the decision, and ends with exit code 1 if it is a denial.
    func decide(
        json: Bool, _ question: (SluiceConnection) async throws(SluiceError) -> Decision
    ) async throws {
        let console = Console.current
        let report = DecisionReport(decision: try await ask(console, question))
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if !report.decision.allowed { throw ExitCode.denied }
    }
}
