import Logging
import ServiceLifecycle
import SluiceEnvoy
import SluicePolicy
import SluiceServer

/// The file of `--gateways` as it was read.
struct GatewaysFile: Sendable {
    let path: String
    let bytes: [UInt8]
    let gateways: Gateways

    /// - Throws: `FileReadError`, or every fault of the document as `PolicyFaults`.
    init(_ path: String) throws {
        self.path = path
        bytes = try TextFile.read(path, maxBytes: EnvoyBounds.maxGatewaysBytes).bytes
        gateways = try GatewaysDocument.parse(bytes, file: path)
    }
}

/// Reads the gateways file again when it has changed, and puts it in force if it is valid.
struct GatewaysReloadService: Service {
    private let first: GatewaysFile
    private let server: Server
    private let logger: Logger

    /// How often the file is read: a change takes effect after this time at most. It is small.
    private static let interval = Duration.seconds(2)

    init(_ first: GatewaysFile, server: Server, logger: Logger) {
        self.first = first
        self.server = server
        self.logger = logger
    }

    func run() async throws {
        var inForce = first
        var rejection = ""
        while true {
            do {
                try await cancelWhenGracefulShutdown { try await Task.sleep(for: Self.interval) }
            } catch is CancellationError {
                return
            }
            do {
                let newest = try GatewaysFile(inForce.path)
                let isChanged = newest.gateways != inForce.gateways
                inForce = newest
                rejection = ""
                guard isChanged else { continue }
                try await server.replaceGateways(newest.gateways)
                logger.info("gateways reloaded", metadata: ["gateways": "\(newest.path)"])
            } catch {
                guard "\(error)" != rejection else { continue }
                rejection = "\(error)"
                for line in rejection.split(separator: "\n").prefix(Self.maxLoggedFaults) {
                    logger.error("gateways rejected, the last good ones stay", metadata: ["fault": "\(line)"])
                }
            }
        }
    }

    /// Most faults that are logged.
    private static let maxLoggedFaults = 20
}
