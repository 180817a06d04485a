import Logging
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

/// Reads the gateways file again, and puts it in force if it is valid.
actor GatewaysReloader: Reloader {
    private let server: Server
    private let logger: Logger
    private var inForce: GatewaysFile
    /// The faults of the file when it was last read; nil: it is in force.
    private var rejection: String?

    init(_ inForce: GatewaysFile, server: Server, logger: Logger) {
        self.inForce = inForce
        self.server = server
        self.logger = logger
    }

    /// The file is small: it is read each time.
    func reloadIfChanged() async throws {
        let reading = read()
        switch reading {
        case .success(let newest) where rejection == nil && newest.bytes == inForce.bytes: return
        case .failure(let failure) where rejection == "\(failure)": return
        case .success, .failure: try await take(reading)
        }
    }

    func reload() async throws { try await take(read()) }

    private func read() -> Result<GatewaysFile, any Error> { Result { try GatewaysFile(inForce.path) } }

    private func take(_ reading: Result<GatewaysFile, any Error>) async throws {
        switch reading {
        case .success(let newest):
            inForce = newest
            rejection = nil
            try await server.replaceGateways(newest.gateways)
            logger.info("gateways reloaded", metadata: ["gateways": "\(newest.path)"])
        case .failure(let failure):
            let faults = "\(failure)"
            rejection = faults
            try await server.rejectGateways(reason: faults)
            faults.logFaults("gateways rejected, the last good ones stay", logger)
        }
    }
}
