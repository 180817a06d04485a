import Foundation
import Logging
import NIOCore
import ServiceLifecycle
import SluiceProtocol
import SluiceServer

/// Runs the sidecar until it is asked to stop, then drains it.
struct SidecarService: Service {
    let server: Server
    let settings: Settings
    let logger: Logger

    /// A replica that can share counts should not begin with local ones; but gateways wait for its socket.
    private static let storeWait = TimeAmount.seconds(1)
    /// As long as a start may wait for the lock of the socket's folder: a Redis that is started beside it comes up.
    private static let requiredStoreWait = TimeAmount.seconds(5)

    func run() async throws {
        do {
            // The signal also ends a start that is still waiting.
            let requiresStore = settings.requiresRedis
            server.startWatchdog()
            try await cancelWhenGracefulShutdown {
                try await server.start(
                    storeWait: requiresStore ? Self.requiredStoreWait : Self.storeWait, requiresStore: requiresStore)
            }
        } catch is CancellationError {
            return try await drain()
        }
        let isShared = try await server.isShared()
        var facts: Logger.Metadata = [
            "socket": "\(settings.socketPath)", "policy": "\(settings.policySource)",
            "counting": "\(isShared ? "shared" : "local")", "version": "\(SluiceVersion.current)",
            "pid": "\(ProcessInfo.processInfo.processIdentifier)",
        ]
        let addresses = try await server.grpcAddresses()
        if !addresses.isEmpty { facts["grpc"] = "\(addresses.joined(separator: ", "))" }
        logger.info("ready", metadata: facts)
        try await server.notifyReady()
        try await gracefulShutdown()
        try await drain()
    }

    private func drain() async throws {
        logger.info("draining")
        server.notifyStopping()
        try await server.stop()
        logger.info("stopped")
    }
}
