import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import SluiceEngine
import SluiceEnvoy
import SluicePolicy
import SluiceProtocol
import SluiceRedis
import SluiceServer
import UnixSignals

@main
struct Sluiced: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluiced",
        abstract: "Answers gateways' rate-limit checks over a Unix socket, and counts in Redis for all replicas.",
        discussion: """
            Every setting can also come from the environment (SLUICE_SOCKET, SLUICE_REDIS, SLUICE_BUDGET, ...) and from a \
            JSON file (--config FILE, whose keys are the flags' names); flags go over the environment, and that over the \
            file. Redis' password comes from SLUICE_REDIS_PASSWORD or --redis-password-file.

            Example:
              sluiced --socket sluice.sock --policy policy.json --redis redis://127.0.0.1 &
              redis-cli -s sluice.sock CHECK alice-laptop opencode_run

            Exit codes: 0 after SIGTERM, SIGINT or SIGQUIT, 64 wrong usage, 69 the socket is in use or its folder locked, \
            or Redis cannot be used and is required (--require-redis), 78 a wrong setting, path or policy, 1 anything else.
            """,
        version: SluiceVersion.current)

    @OptionGroup var options: SettingOptions
    @Option(help: "JSON file with any of these settings (default: none).")
    var config: String?

    func run() async throws {
        let settings = try resolveSettings()
        let fingerprint = settings.policySource.fingerprint()
        let policies = try readPolicies(settings)
        let gateways = try readGateways(settings)
        let logger = makeLogger(settings)
        for warning in settings.warnings {
            logger.warning("a setting should be changed", metadata: ["setting": "\(warning)"])
        }
        let state = try openState(settings)
        if let fault = Self.clusterFault(settings, policies) { throw fail(EX_CONFIG, fault) }
        let replica = state?.contents.replica ?? UInt64.random(in: 1...UInt64.max)
        let store = try makeStore(settings, replica: replica)
        let server = try await makeServer(
            settings, policies: policies, gateways: gateways?.gateways ?? Gateways(), replica: replica, state: state,
            store: store, logger: logger)
        let service = SidecarService(server: server, settings: settings, logger: logger)
        var reloaders: [any Reloader] = [
            PolicyReloader(
                source: settings.policySource, features: settings.policyFeatures,
                policies: policies, fingerprint: fingerprint, server: server, logger: logger
            ) { Self.clusterFault(settings, $0) },
            DecisionLogReopener(server: server),
        ]
        if let gateways { reloaders.append(GatewaysReloader(gateways, server: server, logger: logger)) }
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(service: service, successTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: ReloadService(reloaders)),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint, .sigquit],
                logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() }))
        do {
            try await group.run()
        } catch let failure as SocketFile.Failure {
            throw fail(failure.isInUse ? EX_UNAVAILABLE : EX_CONFIG, "\(failure)")
        } catch let failure as DoorSocketFailure {
            throw fail(failure.isInUse ? EX_UNAVAILABLE : EX_CONFIG, "\(failure)")
        } catch let failure as ListenFailure {
            throw fail(failure.isInUse ? EX_UNAVAILABLE : EX_CONFIG, "\(failure)")
        } catch let failure as StoreUnavailable {
            throw fail(EX_UNAVAILABLE, "\(failure)")
        }
    }

    // MARK: - Parts

    private func resolveSettings() throws -> Settings {
        do {
            return try SettingsResolver.resolve(
                flags: options.texts, environment: ProcessInfo.processInfo.environment,
                configurationPath: config
            ) { path throws(FileReadError) in try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes) }
        } catch {
            throw fail(EX_CONFIG, "\(error)")
        }
    }

    private func readPolicies(_ settings: Settings) throws -> PolicySet {
        do {
            return try settings.policySource.read(features: settings.policyFeatures)
        } catch {
            throw fail(EX_CONFIG, "\(error)")
        }
    }

    /// Why the policies cannot be counted in a cluster; nil if they can.
    static func clusterFault(_ settings: Settings, _ policies: PolicySet) -> String? {
        guard let url = settings.redisURL, let address = try? RedisAddress(url), address.isCluster else { return nil }
        return PartitionedLimiter.fault(of: policies)
    }

    private func readGateways(_ settings: Settings) throws -> GatewaysFile? {
        guard let path = settings.gatewaysFile else { return nil }
        do {
            return try GatewaysFile(path)
        } catch {
            throw fail(EX_CONFIG, "\(error)")
        }
    }

    private func makeLogger(_ settings: Settings) -> Logger {
        let output = LogOutput(descriptor: STDERR_FILENO)
        var logger = Logger(label: "sluiced") { label in
            switch settings.logFormat {
            case .text: StreamLogHandler(label: label, stream: output)
            case .json: JSONLogHandler(label: label, output: output)
            }
        }
        logger.logLevel = settings.logLevel
        return logger
    }

    /// Opening takes a while, and nothing can start before.
    private func openState(_ settings: Settings) throws -> SavedState? {
        guard let folder = settings.stateFolder else { return nil }
        do {
            return try SavedState(folder: folder, newReplica: UInt64.random(in: 1...UInt64.max))
        } catch {
            throw fail(EX_CONFIG, "\(error)")
        }
    }

    private func makeStore(_ settings: Settings, replica: UInt64) throws -> RedisLink.Configuration? {
        guard let url = settings.redisURL else { return nil }
        do {
            let address = try RedisAddress(url)
            let access = try redisAccess(settings, address)
            return RedisLink.Configuration(
                address: address, access: access, sentinelAccess: sentinelAccess(settings, tls: access.tls),
                replica: replica, keyPrefix: settings.keyPrefix)
        } catch let fault as RedisAccessError {
            throw fail(EX_CONFIG, "\(fault)")
        } catch {
            throw fail(EX_CONFIG, "--redis: \(error)")
        }
    }

    private func redisAccess(
        _ settings: Settings, _ address: RedisAddress
    ) throws(RedisAccessError) -> RedisAccess {
        let user = settings.redisUser ?? address.credentials?.user
        let password = settings.redisPassword ?? address.credentials?.password
        let tls =
            address.isTLS
            ? RedisTLS(
                authorities: settings.redisAuthorities, certificate: settings.redisCertificate,
                key: settings.redisKey, serverName: settings.redisServerName) : nil
        let access = RedisAccess(
            credentials: .given(user: user, password: password), user: user,
            passwordFile: settings.redisPasswordFile, tls: tls, readFile: Self.readSecret)
        try access.check()
        return access
    }

    private func sentinelAccess(_ settings: Settings, tls: RedisTLS?) -> RedisAccess {
        let user = settings.sentinelUser
        return RedisAccess(
            credentials: .given(user: user, password: settings.sentinelPassword), user: user,
            passwordFile: settings.sentinelPasswordFile, tls: tls, readFile: Self.readSecret)
    }

    /// Certificates of all usual authorities have some 220 KB.
    @Sendable private static func readSecret(_ path: String) throws -> [UInt8] {
        try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes).bytes
    }

    private func makeServer(
        _ settings: Settings, policies: PolicySet, gateways: Gateways, replica: UInt64, state: SavedState?,
        store: RedisLink.Configuration?, logger: Logger
    ) async throws -> Server {
        var configuration = ServerConfiguration(
            socketPath: settings.socketPath, socketMode: settings.socketMode,
            socketGroupID: try settings.socketGroup.map(groupID), operatorUserIDs: settings.operatorUserIDs,
            limiter: LimiterConfiguration(
                keys: KeySpace(prefix: settings.keyPrefix), budgetMs: settings.budgetMs,
                replicas: ReplicaView(own: replica, assumed: settings.replicas), usesStore: store != nil,
                // A restarted replica must not repeat its random numbers.
                seed: UInt64.random(in: 0...UInt64.max)),
            state: state,
            facts: ServerFacts(
                version: SluiceVersion.current, policyDescription: "\(settings.policySource)",
                storeAddress: store.map { "\($0.address)" } ?? "none", replicaID: String(replica, radix: 16),
                startedAt: SystemClock.now()))
        let isCluster = store?.address.isCluster ?? false
        let partitions = isCluster ? settings.clusterBuckets : 1
        if isCluster { configuration.limiter.partitionTags = PartitionTags(count: partitions) }
        configuration.memoryBytes = settings.memoryBytes
        configuration.answersThrottle = settings.answersThrottle
        configuration.http.socketPath = settings.httpSocketPath
        configuration.http.address = settings.httpAddress
        configuration.facts.gatewaysFile = settings.gatewaysFile
        configuration.facts.requiresStore = settings.requiresRedis
        configuration.grpc = GRPCConfiguration(
            socketPath: settings.grpcSocketPath, address: settings.grpcAddress, budgetMs: settings.grpcBudgetMs)
        configuration.grpc.gateways = gateways
        configuration.decisionLog = try openDecisionLog(settings)
        return try await Server.make(
            configuration, policies: policies, eventLoop: MultiThreadedEventLoopGroup(numberOfThreads: 1).next(),
            logger: logger
        ) { eventLoop in
            guard let store else { return [] }
            guard isCluster else { return [RedisLink(store, eventLoop: eventLoop, logger: logger)] }
            return RedisCluster(store, partitions: partitions, eventLoop: eventLoop, logger: logger).makeLinks()
        }
    }

    private func openDecisionLog(_ settings: Settings) throws -> DecisionLogConfiguration? {
        guard let path = settings.decisionLog else { return nil }
        do {
            return DecisionLogConfiguration(file: try LineFile(path), sample: settings.decisionLogSample)
        } catch {
            throw fail(EX_CONFIG, "--decision-log: \(error)")
        }
    }

    private func groupID(_ text: String) throws -> UInt32 {
        if let id = UInt32(text) { return id }
        guard let group = getgrnam(text) else {
            throw fail(EX_CONFIG, "--socket-group: there is no group \"\(text)\", name one or give its id")
        }
        return group.pointee.gr_gid
    }

    /// Writes the fault to standard error, and returns the exit code.
    private func fail(_ code: Int32, _ lines: String) -> ExitCode {
        FileHandle.standardError.write(Data((lines + "\n").utf8))
        return ExitCode(code)
    }
}

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
        try await gracefulShutdown()
        try await drain()
    }

    private func drain() async throws {
        logger.info("draining")
        try await server.stop()
        logger.info("stopped")
    }
}
