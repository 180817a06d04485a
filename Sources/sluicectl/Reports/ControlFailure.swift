import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Why a command failed: a line for standard error, and the exit code.
struct ControlFailure: Error, Equatable {
    /// May have several lines if each is a separate finding.
    var line: String
    var exitCode: ExitCode
    /// The code word of the sidecar's refusal; nil if it did not refuse.
    var refusal: String?

    init(_ line: String, exitCode: ExitCode) {
        self.line = line
        self.exitCode = exitCode
    }

    /// For programs, under `--json`.
    var json: JSONText {
        let kind: JSONText =
            switch exitCode {
            case .couldNotAsk: "could_not_ask"
            case .validationFailure: "wrong_usage"
            default: "failed"
            }
        return ["error": ["kind": kind, "message": .string(line), "exit_code": .integer(exitCode.rawValue)]]
    }

    /// The client's failure, with advice.
    init(_ error: SluiceError, socket: String) {
        let shownSocket = TerminalText.visible(socket)
        switch error {
        case .connect(_, let reason):
            self.init(
                "cannot connect to \(shownSocket): \(Self.connectAdvice(TerminalText.visible(reason)))",
                exitCode: .couldNotAsk)
        case .server("BADARG", let message):
            self.init(TerminalText.visible(message), exitCode: .validationFailure)
        case .server(let code, let message):
            self.init(
                "the sidecar refused: \(TerminalText.visible(message)) (\(TerminalText.visible(code)))",
                exitCode: .couldNotAsk)
            refusal = code
        case .closed:
            self.init("\(shownSocket): the sidecar closed the connection before it answered", exitCode: .couldNotAsk)
        case .timedOut:
            self.init(
                "\(shownSocket): no answer in time, is the sidecar stopped or overloaded?", exitCode: .couldNotAsk)
        case .cancelled, .tooManyPending, .badRequest:
            self.init(TerminalText.visible(error.description), exitCode: .couldNotAsk)
        case .malformedReply(let expected):
            self.init(
                "\(shownSocket): the answer made no sense (\(TerminalText.visible(expected))), does a sidecar of this "
                    + "version listen there?", exitCode: .couldNotAsk)
        }
    }

    /// The system's message without the name of its call, and a question as advice.
    private static func connectAdvice(_ reason: String) -> String {
        let words: [(String, String)] = [
            ("errno: 2)", "No such file or directory, is sluiced running?"),
            ("errno: 111)", "Connection refused, is sluiced running?"),
            ("errno: 13)", "Permission denied, may your user open the socket (sluiced --socket-mode, --socket-group)?"),
            ("athTooLong", "the path is too long for a socket, at most 103 bytes"),
        ]
        return words.first { reason.contains($0.0) }?.1 ?? "\(reason), is sluiced running?"
    }
}

extension ExitCode {
    /// The check was denied.
    static let denied = ExitCode(1)
    /// The document has faults.
    static let faults = ExitCode(1)
    /// The sidecar keeps older policies in force, since newer ones have faults.
    static let policiesRefused = ExitCode(3)
    /// The sidecar has a Redis and does not count in it.
    static let countingAlone = ExitCode(4)
    /// Redis is away, and what was asked for needs it: `EX_UNAVAILABLE` of sysexits(3).
    static let redisUnavailable = ExitCode(69)
    /// The sidecar could not be asked, or a file could not be read.
    static let couldNotAsk = ExitCode(2)
}
