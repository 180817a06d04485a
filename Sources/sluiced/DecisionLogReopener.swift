import SluiceServer

/// Opens the decision log again on SIGHUP: its file may have been moved away.
struct DecisionLogReopener: Reloader {
    let server: Server

    func reload() async throws { try await server.reopenDecisionLog() }

    func reloadIfChanged() {}
}
