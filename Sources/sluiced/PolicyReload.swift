import Logging
import ServiceLifecycle
import SluicePolicy
import SluiceServer
import UnixSignals

/// Reads the policies again, and puts them in force if they are good: all of them or none.
actor PolicyReloader {
    private let source: PolicySource
    private let features: PolicyFeatures
    private let server: Server
    private let logger: Logger
    private var policies: PolicySet
    private var fingerprint: [String]

    /// - Parameters:
    ///   - features: what the policies may use.
    ///   - policies: those in force.
    ///   - fingerprint: the source's, taken before they were read.
    init(
        source: PolicySource, features: PolicyFeatures, policies: PolicySet, fingerprint: [String], server: Server,
        logger: Logger
    ) {
        self.source = source
        self.features = features
        self.policies = policies
        self.fingerprint = fingerprint
        self.server = server
        self.logger = logger
    }

    func reloadIfChanged() async throws {
        if source.fingerprint() != fingerprint { try await reload() }
    }

    func reload() async throws {
        // Before reading: what changes while it is read is then read again.
        fingerprint = source.fingerprint()
        do {
            let newest = try source.read(features: features)
            let changes = PolicyDiff(from: policies, to: newest).lines.count
            policies = newest
            try await server.replacePolicies(newest)
            logger.info("policy reloaded", metadata: ["policy": "\(source)", "changes": "\(changes)"])
        } catch let refusal as PolicySource.Refusal {
            try await server.refusePolicies(reason: refusal.description)
            let lines = refusal.description.split(separator: "\n")
            for line in lines.prefix(Self.maxLoggedFaults) {
                logger.error("policy refused, the last good one stays", metadata: ["fault": "\(line)"])
            }
        }
    }

    /// Most faults of one document that are logged; `sluicectl policy check` shows them all.
    private static let maxLoggedFaults = 20
}

/// Reloads on SIGHUP, and when the files have changed.
struct PolicyReloadService: Service {
    private let reloader: PolicyReloader

    /// How often the files are looked at: a change takes as long at most to be seen.
    private static let interval = Duration.seconds(2)

    init(_ reloader: PolicyReloader) { self.reloader = reloader }

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in signals.cancelOnGracefulShutdown() { try await reloader.reload() }
            }
            group.addTask {
                try? await cancelWhenGracefulShutdown {
                    while true {
                        try await Task.sleep(for: Self.interval)
                        try await reloader.reloadIfChanged()
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
