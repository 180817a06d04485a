import ArgumentParser
import Foundation
import Logging
import NIOPosix
import ServiceLifecycle
import SluiceEngine
import SluiceEnvoy
import SluicePolicy
import SluiceProtocol
import SluiceRedis
import SluiceServer
import SluiceTerminal
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
              sluiced --check --socket sluice.sock --policy policy.json

            Exit codes: 0 after SIGTERM, SIGINT or SIGQUIT, or if --check finds nothing wrong, 64 wrong usage, 69 the socket is in use or its folder locked, \
            or Redis cannot be used and is required (--require-redis), 78 a wrong setting, path or policy, 1 anything else.
            """,
        version: SluiceVersion.current)

    @OptionGroup var options: SettingOptions
    @Option(help: "JSON file with any of these settings (default: none).")
    var config: String?
    @Flag(help: "Examine settings, policies and files, print what sluiced would run with or what is wrong, and end.")
    var check = false

    /// As `AsyncParsableCommand` does it, but for faults in the command line, which are written in the log's format.
    static func main() async {
        do {
            var command = try parseAsRoot()
            guard var asynchronous = command as? any AsyncParsableCommand else { return try command.run() }
            try await asynchronous.run()
        } catch {
            if earlyLogFormat == .json, exitCode(for: error) == .validationFailure {
                StartFailure(EX_USAGE, [message(for: error)]).report(.json)
                exit(withError: ExitCode(EX_USAGE))
            }
            exit(withError: error)
        }
    }

    /// The log's format while the settings are not known: the command line's or the environment's.
    private static var earlyLogFormat: Settings.LogFormat {
        let flag = "--\(Settings.table.logFormat.name)"
        let words = CommandLine.arguments
        let following = zip(words, words.dropFirst()).reversed().first { $0.0 == flag }?.1
        let joined = words.last { $0.hasPrefix("\(flag)=") }?.dropFirst(flag.count + 1)
        let variable = ProcessInfo.processInfo.environment[Settings.table.logFormat.environmentName]
        return (following ?? joined.map { String($0) } ?? variable).flatMap { Settings.LogFormat(rawValue: $0) }
            ?? .text
    }

    func run() async throws {
        var format = Self.earlyLogFormat
        do {
            let settings = try resolveSettings()
            format = settings.logFormat
            if check { try report(settings) } else { try await serve(settings) }
        } catch let failure as StartFailure {
            failure.report(format)
            throw ExitCode(failure.code)
        }
    }

    private func report(_ settings: Settings) throws(StartFailure) {
        let report = try CheckReport(settings)
        let style = Style(
            isTerminal: Style.isTerminal(descriptor: STDOUT_FILENO), environment: ProcessInfo.processInfo.environment)
        StandardStream.write(settings.logFormat == .json ? report.json : report.text(style), to: STDOUT_FILENO)
    }

    private func serve(_ settings: Settings) async throws {
        let preparation = try Preparation(settings)
        let logger = makeLogger(settings)
        for warning in settings.warnings {
            logger.warning("a setting should be changed", metadata: ["setting": "\(warning)"])
        }
        let state = try openState(settings)
        let server = try await makeServer(preparation, state: state, logger: logger)
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: SidecarService(server: server, settings: settings, logger: logger),
                        successTerminationBehavior: .gracefullyShutdownGroup),
                    .init(
                        service: ReloadService(
                            reloaders(preparation, server: server, logger: logger), server: server)),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint, .sigquit],
                logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() }))
        do {
            try await group.run()
        } catch let failure as SocketFile.Failure {
            throw StartFailure("\(failure)", isInUse: failure.isInUse)
        } catch let failure as DoorSocketFailure {
            throw StartFailure("\(failure)", isInUse: failure.isInUse)
        } catch let failure as ListenFailure {
            throw StartFailure("\(failure)", isInUse: failure.isInUse)
        } catch let failure as StoreUnavailable {
            throw StartFailure("\(failure)", isInUse: true)
        }
    }

    // MARK: - Parts

    private func resolveSettings() throws(StartFailure) -> Settings {
        do {
            return try SettingsResolver.resolve(
                flags: options.texts, environment: ProcessInfo.processInfo.environment,
                configurationPath: config
            ) { path throws(FileReadError) in try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes) }
        } catch {
            throw StartFailure(EX_CONFIG, error.lines)
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

    private func reloaders(_ preparation: Preparation, server: Server, logger: Logger) -> [any Reloader] {
        let settings = preparation.settings
        var reloaders: [any Reloader] = [
            PolicyReloader(
                source: settings.policySource, features: settings.policyFeatures,
                policies: preparation.policies, fingerprint: preparation.fingerprint, server: server, logger: logger
            ) { Preparation.clusterFault(settings, $0) },
            DecisionLogReopener(server: server),
        ]
        if let gateways = preparation.gateways {
            reloaders.append(GatewaysReloader(gateways, server: server, logger: logger))
        }
        return reloaders
    }

    /// Opening takes a while, and nothing can start before.
    private func openState(_ settings: Settings) throws(StartFailure) -> SavedState? {
        guard let folder = settings.stateFolder else { return nil }
        do {
            return try SavedState(folder: folder, newReplica: UInt64.random(in: 1...UInt64.max))
        } catch {
            throw StartFailure("\(error)", isInUse: false)
        }
    }

    private func makeServer(
        _ preparation: Preparation, state: SavedState?, logger: Logger
    ) async throws -> Server {
        let settings = preparation.settings
        let replica = state?.contents.replica ?? UInt64.random(in: 1...UInt64.max)
        let store = preparation.store.map { store in
            RedisLink.Configuration(
                address: store.address, access: store.access, sentinelAccess: store.sentinelAccess, replica: replica,
                keyPrefix: settings.keyPrefix)
        }
        var configuration = ServerConfiguration(
            socketPath: settings.socketPath, socketMode: settings.socketMode,
            socketGroupID: preparation.socketGroupID, operatorUserIDs: settings.operatorUserIDs,
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
        configuration.handedOver = preparation.handedOver
        configuration.takesOver = settings.takesOver
        do {
            configuration.manager = try ServiceManager(environment: ProcessInfo.processInfo.environment)
        } catch {
            logger.warning("the service manager cannot be told anything", metadata: ["reason": "\(error)"])
        }
        configuration.memoryBytes = settings.memoryBytes
        configuration.answersThrottle = settings.answersThrottle
        configuration.http.socketPath = settings.httpSocketPath
        configuration.http.address = settings.httpAddress
        configuration.facts.gatewaysFile = settings.gatewaysFile
        configuration.facts.requiresStore = settings.requiresRedis
        configuration.grpc = GRPCConfiguration(
            socketPath: settings.grpcSocketPath, address: settings.grpcAddress, budgetMs: settings.grpcBudgetMs)
        configuration.grpc.gateways = preparation.gateways?.gateways ?? Gateways()
        configuration.decisionLog = try openDecisionLog(settings)
        return try await Server.make(
            configuration, policies: preparation.policies,
            eventLoop: MultiThreadedEventLoopGroup(numberOfThreads: 1).next(), logger: logger
        ) { eventLoop in
            guard let store else { return [] }
            guard isCluster else { return [RedisLink(store, eventLoop: eventLoop, logger: logger)] }
            return RedisCluster(store, partitions: partitions, eventLoop: eventLoop, logger: logger).makeLinks()
        }
    }

    private func openDecisionLog(_ settings: Settings) throws(StartFailure) -> DecisionLogConfiguration? {
        guard let path = settings.decisionLog else { return nil }
        do {
            let key = settings.decisionLogGrants == .hash ? settings.decisionLogKey.flatMap { IdentityKey($0) } : nil
            return DecisionLogConfiguration(
                file: try LineFile(path), sample: settings.decisionLogSample, identityKey: key)
        } catch {
            throw StartFailure("--decision-log: \(error)", isInUse: false)
        }
    }
}
