import ArgumentParser
import SluiceEnvoy
import SluicePolicy
import SluiceTerminal

struct GatewaysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gateways",
        abstract: "Checks files that say how requests over gRPC become checks (sluiced --gateways).",
        subcommands: [GatewaysCheckCommand.self])
}

struct GatewaysCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks a gateways file, and shows what each domain means.",
        discussion: """
            What passes here is accepted by sluiced of the same version, at its start and when the file changes. All \
            faults are shown at once, on standard error, each as FILE:LINE:COLUMN.

            Examples:
              sluicectl gateways check gateways.json
              sluicectl gateways check gateways.json --json | jq -r '.faults[].message'

            Exit codes: 0 valid, 1 faults, 2 the file could not be read, 64 wrong usage.
            """)

    @Argument(help: "The file, JSON.")
    var file: String
    @Flag(help: "One line of JSON instead of a table, and instead of lines on standard error.")
    var json = false

    func run() throws {
        let console = Console.current
        do throws(DocumentFailure) {
            let report = GatewaysReport(try Self.read(file), file: file)
            console.write(json ? report.json.line + "\n" : report.text(console.style))
        } catch {
            guard json, !error.faults.isEmpty else { throw error }
            console.write(PolicyCheckReport.json(of: error).line + "\n")
            throw error.exitCode
        }
    }

    private static func read(_ path: String) throws(DocumentFailure) -> Gateways {
        let bytes: [UInt8]
        do throws(ControlFailure) {
            bytes = try PolicyFiles.read(path)
        } catch {
            throw DocumentFailure(unreadable: [error], exitCode: error.exitCode)
        }
        do throws(PolicyFaults) {
            return try GatewaysDocument.parse(bytes, file: path)
        } catch {
            throw DocumentFailure(faults: [error], exitCode: .faults)
        }
    }
}
