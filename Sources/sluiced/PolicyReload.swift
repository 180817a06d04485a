import Logging
import SluicePolicy
import SluiceServer

/// Reads the policies again, and puts them in force if they are valid: all of them or none.
actor PolicyReloader: Reloader {
    private let source: PolicySource
    private let features: PolicyFeatures
    private let server: Server
    private let logger: Logger
    private let fault: @Sendable (PolicySet) -> String?
    private var policies: PolicySet
    private var fingerprint: PolicySource.Fingerprint
    /// The fault of the source when it was last read; nil: it is in force.
    private var rejection: String?

    /// - Parameters:
    ///   - features: the parts of the language that the policies may use.
    ///   - policies: those in force.
    ///   - fingerprint: the source's, taken before they were read.
    ///   - fault: why valid policies cannot be used here; nil if they can.
    init(
        source: PolicySource, features: PolicyFeatures, policies: PolicySet, fingerprint: PolicySource.Fingerprint,
        server: Server, logger: Logger, fault: @escaping @Sendable (PolicySet) -> String?
    ) {
        self.fault = fault
        self.source = source
        self.features = features
        self.policies = policies
        self.fingerprint = fingerprint
        self.server = server
        self.logger = logger
    }

    func reloadIfChanged() async throws {
        let newest = source.fingerprint()
        if newest.files != fingerprint.files { return try await reload() }
        guard fingerprint.isFresh else { return }
        // The source may have changed again after it was read, within one tick of the file system's clock.
        fingerprint = newest
        let reading = read()
        switch reading {
        case .success(let read) where rejection == nil && read == policies: return
        case .failure(let failure) where rejection == failure.description: return
        case .success, .failure: try await take(reading)
        }
    }

    func reload() async throws {
        // Taken before reading: a change during the reading causes another one.
        fingerprint = source.fingerprint()
        try await take(read())
    }

    private func read() -> Result<PolicySet, PolicySource.Rejection> {
        Result { () throws(PolicySource.Rejection) in
            let policies = try source.read(features: features)
            if let fault = fault(policies) { throw PolicySource.Rejection(description: fault) }
            return policies
        }
    }

    private func take(_ reading: Result<PolicySet, PolicySource.Rejection>) async throws {
        switch reading {
        case .success(let newest):
            let changes = PolicyDiff(from: policies, to: newest).lines.count
            let reserving = newest.mustReserve.subtracting(policies.mustReserve)
            policies = newest
            rejection = nil
            try await server.replacePolicies(newest)
            logger.info("policy reloaded", metadata: ["policy": "\(source)", "changes": "\(changes)"])
            if !reserving.isEmpty {
                let titles = reserving.titles
                let others = titles.count > Self.maxLoggedTools ? [", \(titles.count - Self.maxLoggedTools) more"] : []
                logger.warning(
                    "gateways must say RESERVE with checks of these tools now, others are answered BADARG",
                    metadata: [
                        "tools": "\(titles.prefix(Self.maxLoggedTools).joined(separator: ", "))\(others.joined())"
                    ])
            }
        case .failure(let failure):
            rejection = failure.description
            try await server.rejectPolicies(reason: failure.description)
            failure.description.logFaults("policy rejected, the last good one stays", logger)
        }
    }

    /// Most tools that one line of the log names; `sluicectl policy check` names them all.
    private static let maxLoggedTools = 20
}
