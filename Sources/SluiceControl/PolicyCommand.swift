import ArgumentParser
import Glibc
import SluicePolicy
import SluiceTerminal

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Works on policy documents; no sidecar is needed.",
        discussion: """
            Example:
              sluicectl policy check policy.json
            """,
        subcommands: [PolicyCheckCommand.self])
}

struct PolicyCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks a policy document, and shows what it says.",
        discussion: """
            A document that passes here is accepted by sluiced of the same version. All faults are shown at once, on \
            standard error, each as FILE:LINE:COLUMN.

            Examples:
              sluicectl policy check policy.json
              for file in policies/*.json; do sluicectl policy check "$file" >/dev/null || exit 1; done

            Exit codes: 0 valid, 1 faults, 2 the file could not be read, 64 wrong usage.
            """)

    @Argument(help: "The document, JSON.")
    var file: String

    func run() throws {
        let console = Console.current
        let bytes = try read()
        do {
            let policy = try PolicyDocument.parse(bytes, file: file)
            console.write(PolicySummary(policy, file: file).render())
        } catch {
            console.writeError("\(error)\n")
            throw ExitCode.faults
        }
    }

    /// The file, but not more of it than a document may have and one byte, so that it is found too large.
    private func read() throws(ControlFailure) -> [UInt8] {
        guard let stream = fopen(file, "re") else { throw unreadable() }
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: PolicyBounds.maxDocumentBytes + 1)
        errno = 0
        let count = fread(&bytes, 1, bytes.count, stream)
        guard ferror(stream) == 0 else { throw unreadable() }
        return Array(bytes.prefix(count))
    }

    private func unreadable() -> ControlFailure {
        ControlFailure("\(TerminalText.visible(file)): \(String(cString: strerror(errno)))", exitCode: .couldNotAsk)
    }
}
