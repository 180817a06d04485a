import Glibc
import SluiceTerminal

import class Foundation.ProcessInfo

/// A command's outputs and its view of the environment. Tests replace it.
struct Console: Sendable {
    /// Writes to standard output.
    var write: @Sendable (String) -> Void
    /// Writes to standard error.
    var writeError: @Sendable (String) -> Void
    /// Whether nobody reads standard output any more.
    var isAbandoned: @Sendable () -> Bool = { false }
    /// How standard output is written.
    var style: Style = .plain
    /// How standard error is written.
    var errorStyle: Style = .plain
    /// For a screen of its own; nil: there is none.
    var terminal: Terminal?
    /// Asks the person at the terminal a question, and returns whether the answer was yes; nil: there is no terminal.
    var ask: (@Sendable (String) -> Bool)?
    var environment: [String: String] = [:]
    /// How long a sidecar may take to answer; nil: as long as the client allows.
    var answerLimit: Duration?

    /// The console of the running command.
    @TaskLocal static var current = Console.ofProcess()

    /// The process' own streams.
    private static func ofProcess() -> Console {
        let environment = ProcessInfo.processInfo.environment
        return Console(
            write: { StandardStream.write($0, to: STDOUT_FILENO) },
            writeError: { StandardStream.write($0, to: STDERR_FILENO) },
            isAbandoned: { StandardStream.isAbandoned(STDOUT_FILENO) },
            style: Style(isTerminal: Style.isTerminal(descriptor: STDOUT_FILENO), environment: environment),
            errorStyle: Style(isTerminal: Style.isTerminal(descriptor: STDERR_FILENO), environment: environment),
            terminal: Terminal.ofProcess(environment: environment),
            ask: isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 ? askOnTerminal : nil,
            environment: environment)
    }

    @Sendable private static func askOnTerminal(_ question: String) -> Bool {
        StandardStream.write(question, to: STDOUT_FILENO)
        return ["y", "yes"].contains(readLine()?.lowercased() ?? "")
    }
}
