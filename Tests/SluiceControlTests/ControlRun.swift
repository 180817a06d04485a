import Foundation
@testable import sluicectl
import SluiceTerminal
import Synchronization
import Testing

/// What a command line of `sluicectl` did, run in this process.
struct ControlRun {
    var exitCode: Int32
    var output: String
    var errors: String

    static func of(
        _ arguments: String..., style: Style = .plain, environment: [String: String] = [:]
    ) async -> ControlRun {
        await of(arguments, style: style, environment: environment)
    }

    /// - Parameters:
    ///   - isAbandoned: whether nobody reads the output.
    ///   - onError: gets what is written to standard error, as it is written.
    ///   - ask: answers questions; nil: nobody does.
    static func of(
        _ arguments: [String], style: Style = .plain, environment: [String: String] = [:], isAbandoned: Bool = false,
        onError: @escaping @Sendable (String) -> Void = { _ in }, ask: (@Sendable (String) -> Bool)? = nil
    ) async -> ControlRun {
        let output = Collector()
        let errors = Collector()
        // However busy the machine is, a stub's answer comes in this time.
        let console = Console(
            write: { output.append($0) },
            writeError: {
                errors.append($0)
                onError($0)
            }, isAbandoned: { isAbandoned }, style: style, ask: ask, environment: environment,
            answerLimit: .seconds(300))
        let exitCode = await ControlProgram.run(arguments, console: console)
        return ControlRun(exitCode: exitCode, output: output.text, errors: errors.text)
    }

    /// The output as Foundation reads JSON; it must be one line.
    func json() throws -> [String: Any] {
        try #require(output.hasSuffix("\n") && output.filter { $0 == "\n" }.count == 1, "expected one line")
        return try #require(JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
    }
}

private final class Collector: Sendable {
    private let texts = Mutex("")

    var text: String { texts.withLock { $0 } }
    func append(_ text: String) { texts.withLock { $0 += text } }
}
