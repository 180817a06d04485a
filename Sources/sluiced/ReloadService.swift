import Logging
import ServiceLifecycle
import SluiceServer
import UnixSignals

/// Reads something again that may have changed, and puts it in force if it is valid.
protocol Reloader: Sendable {
    func reload() async throws
    func reloadIfChanged() async throws
}

/// Reloads on SIGHUP, and when files have changed.
struct ReloadService: Service {
    private let reloaders: [any Reloader]
    private let server: Server

    /// How often the files are checked: a change takes effect after this time at most.
    private static let interval = Duration.seconds(2)

    init(_ reloaders: [any Reloader], server: Server) {
        self.reloaders = reloaders
        self.server = server
    }

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in signals.cancelOnGracefulShutdown() {
                    try await server.notifyingReload {
                        for reloader in reloaders { try await reloader.reload() }
                    }
                }
            }
            group.addTask {
                try? await cancelWhenGracefulShutdown {
                    while true {
                        try await Task.sleep(for: Self.interval)
                        for reloader in reloaders { try await reloader.reloadIfChanged() }
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

extension String {
    /// Most faults of one document that are logged; `sluicectl` shows them all.
    private static let maxLoggedFaults = 20

    /// Logs the faults of a document, which are its lines.
    func logFaults(_ message: Logger.Message, _ logger: Logger) {
        for line in split(separator: "\n").prefix(Self.maxLoggedFaults) {
            logger.error(message, metadata: ["fault": "\(line)"])
        }
    }
}
