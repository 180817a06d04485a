import ArgumentParser
import SluiceClient
import SluiceDecisionLog
import SluiceTerminal
import Synchronization

struct TailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Shows decisions as they are made: who asked for what, and which rule decided.",
        discussion: """
            They come from the running sidecar, whether or not it writes a decision log, and from all of its doors: the \
            socket, HTTP and gRPC. Names may be patterns with *. At most 1000 lines a second are shown, so that checks are \
            not held up; what is left out is counted ("12 left out"). It goes on until it is ended (Ctrl-C), until --count, or \
            until nobody reads its output.

            Columns: the time is UTC; used is that of the limit that binds, after the call; a retry of "-" never helps, or \
            is not needed. With --json a line is that of the decision log, and {"dropped": n} says what was left out.

            Examples:
              sluicectl tail --denied
              sluicectl tail --grant 'alice-*' --tool opencode_run --count 20
              sluicectl tail --denied --json | jq .rule

            Exit codes: 0 as many as --count were shown, or nobody reads any more, 2 the sidecar could not be asked, refused or \
            ended, 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Flag(help: "Only denials, and checks that were answered BUSY.")
    var denied = false
    @Option(help: "Only this grant's, or those of a pattern such as 'alice-*'.")
    var grant: String?
    @Option(help: "Only this tool's, or those of a pattern.")
    var tool: String?
    @Option(help: ArgumentHelp("End after so many decisions.", valueName: "n"))
    var count: Int?
    @Flag(help: "The lines of the decision log, JSON, instead of columns.")
    var json = false

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count: found \(count), expected a whole number from 1 up") }
    }

    func run() async throws {
        let console = Console.current
        var words = ["TAIL"]
        if denied { words.append("DENIED") }
        if let grant { words += ["GRANT", grant] }
        if let tool { words += ["TOOL", tool] }
        let report = Mutex(TailReport(isJSON: json, style: console.style, limit: count))
        let path = sidecar.path(console)
        do {
            try await SluiceStream.run(path: path, timeout: console.answerLimit, words) { reply in
                let (text, isDone) = report.withLock { ($0.take(reply.string ?? ""), $0.isDone) }
                console.write(text)
                return !isDone && !console.isAbandoned()
            }
        } catch .closed {
            throw ControlFailure(
                "\(TerminalText.visible(path)): the sidecar ended the stream", exitCode: .couldNotAsk)
        } catch {
            throw ControlFailure(error, socket: path)
        }
    }
}
