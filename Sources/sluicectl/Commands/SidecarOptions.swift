import ArgumentParser
import SluiceClient

/// The sidecar to ask.
struct SidecarOptions: ParsableArguments {
    static let environmentName = "SLUICE_SOCKET"
    static let defaultPath = "/run/sluice/sluice.sock"

    @Option(
        help: ArgumentHelp(
            "Path of the sidecar's socket (default: $\(Self.environmentName), else \(Self.defaultPath)).",
            valueName: "path"))
    var socket: String?

    func path(_ console: Console) -> String {
        // An empty variable counts as not set: templates leave variables empty that have no value.
        [socket, console.environment[Self.environmentName]].compactMap(\.self).first { !$0.isEmpty } ?? Self.defaultPath
    }

    /// Connects and asks. - Parameter answerLimit: how long one answer may take; nil: as long as the client allows.
    func ask<Answer>(
        _ console: Console, answerLimit: Duration? = nil,
        _ question: (SluiceConnection) async throws(SluiceError) -> Answer
    ) async throws(ControlFailure) -> Answer {
        let path = path(console)
        do throws(SluiceError) {
            let sluice = try await SluiceConnection.connect(
                path: path, timeout: console.answerLimit, requestTimeout: console.answerLimit ?? answerLimit)
            // The last reference closes the connection.
            return try await question(sluice)
        } catch {
            throw ControlFailure(error, socket: path)
        }
    }
}
