import ArgumentParser
import NIOCore
import NIOPosix
import SluiceEngine
import SluicePolicy
import SluiceRedis
import SluiceTerminal

/// The Redis that is read where no sidecar is near.
struct RedisOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Ask no sidecar, read this Redis: redis://, rediss:// (TLS), redis+sentinel:// or unix:///path.",
            valueName: "url"))
    var redis: String?
    @Option(help: ArgumentHelp("With --redis: a file with its password.", valueName: "file"))
    var redisPasswordFile: String?
    @Option(
        help: ArgumentHelp("With rediss://: the certificates to trust, instead of the system's.", valueName: "file"))
    var redisCa: String?
    @Option(help: ArgumentHelp("With --redis: what the sidecars' keys begin with.", valueName: "prefix"))
    var keyPrefix = "sluice"
    @Option(help: ArgumentHelp("With --redis: the document or folder that says the maxima.", valueName: "path"))
    var policy: String?
    @OptionGroup var policies: PolicyOptions

    /// - Parameter needsPolicy: whether the maxima select.
    func validate(needsPolicy: Bool, hasCursor: Bool) throws {
        guard let redis else {
            guard redisPasswordFile == nil, redisCa == nil, policy == nil else {
                throw ValidationError("--redis-password-file, --redis-ca and --policy go with --redis")
            }
            return
        }
        if hasCursor { throw ValidationError("--cursor does not go with --redis, which reads on by itself") }
        if needsPolicy && policy == nil {
            throw ValidationError("with --redis this needs the maxima: add --policy")
        }
        if try address(redis).isCluster {
            throw ValidationError("--redis: a cluster is read by its sidecars: leave --redis out, at one of them")
        }
        if keyPrefix.isEmpty || keyPrefix.contains(where: { "{}".contains($0) }) {
            throw ValidationError("--key-prefix: expected a word without braces, as sluiced has it")
        }
    }

    private func address(_ text: String) throws(ValidationError) -> RedisAddress {
        do {
            return try RedisAddress(text)
        } catch {
            throw ValidationError("--redis: \(error)")
        }
    }

    /// Reads the counters that are wanted, at most `limit`, from Redis alone; nothing is written there.
    func read(_ wanted: CounterSelection) async throws -> CountersReport {
        let address = try address(redis ?? "")
        let access = RedisAccess(
            credentials: address.credentials, user: address.credentials?.user, passwordFile: redisPasswordFile,
            tls: address.isTLS ? RedisTLS(authorities: redisCa) : nil,
            readFile: { path in
                do throws(ControlFailure) {
                    return try PolicyFiles.read(path)
                } catch {
                    throw SecretFailure(description: error.line)
                }
            })
        do {
            try access.check()
        } catch {
            throw ControlFailure(TerminalText.visible("\(error)"), exitCode: .couldNotAsk)
        }
        let policies =
            try policy.map { try self.policies.read($0, faults: .couldNotAsk) }
            ?? PolicySet(single: Policy(defaultRuling: .deny, hidden: [], allToolsLimits: [], tools: [:]))
        let configuration = RedisLink.Configuration(
            address: address, access: access, replica: 0, keyPrefix: keyPrefix)
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        do {
            return try await loop.flatSubmit {
                let promise = loop.makePromise(of: CountersReport.self)
                RedisCounterReader(configuration, policies, wanted, promise, loop).readOn()
                return promise.futureResult
            }.get()
        } catch let failure as BatchFailure {
            throw ControlFailure(
                "\(TerminalText.visible("\(address)")): \(TerminalText.visible(failure.reason))", exitCode: .couldNotAsk
            )
        }
    }
}

/// Why a file with a secret cannot be read.
private struct SecretFailure: Error, CustomStringConvertible { let description: String }

extension BatchFailure {
    fileprivate var reason: String {
        switch self {
        case .rejected(let reason), .unknown(let reason): reason
        }
    }
}
