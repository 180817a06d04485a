import Foundation
import SluiceEngine
import SluiceEnvoy
import SluicePolicy
import SluiceRedis
import SluiceServer

/// Everything that a start reads before it opens anything, and `--check` as well. All faults come at once.
struct Preparation: Sendable {
    let settings: Settings
    /// Taken before the policies were read.
    let fingerprint: PolicySource.Fingerprint
    let policies: PolicySet
    let gateways: GatewaysFile?
    let socketGroupID: UInt32?
    let store: Store?
    /// Sockets that a service manager made, by the paths of the settings.
    let handedOver: [String: Int32]

    /// Where counters are shared, and with which credentials.
    struct Store: Sendable {
        let address: RedisAddress
        let access: RedisAccess
        let sentinelAccess: RedisAccess
    }

    init(_ settings: Settings) throws(StartFailure) {
        var faults: [String] = []
        func attempt<Value>(_ body: () throws -> Value) -> Value? {
            do { return try body() } catch {
                faults += "\(error)".split(separator: "\n").map(String.init)
                return nil
            }
        }
        self.settings = settings
        fingerprint = settings.policySource.fingerprint()
        let policies = attempt { try settings.policySource.read(features: settings.policyFeatures) }
        gateways = attempt { try settings.gatewaysFile.map { try GatewaysFile($0) } } ?? nil
        store = attempt { try Self.store(settings) } ?? nil
        socketGroupID = attempt { try settings.socketGroup.map(Self.groupID) } ?? nil
        handedOver = attempt { try Self.handedOver(settings) } ?? [:]
        if let policies, let fault = Self.clusterFault(settings, policies) { faults.append(fault) }
        guard let policies, faults.isEmpty else { throw StartFailure(EX_CONFIG, faults) }
        self.policies = policies
    }

    /// Why the policies cannot be counted in a cluster; nil if they can.
    static func clusterFault(_ settings: Settings, _ policies: PolicySet) -> String? {
        guard let url = settings.redisURL, let address = try? RedisAddress(url), address.isCluster else { return nil }
        return PartitionedLimiter.fault(of: policies)
    }

    private static func handedOver(_ settings: Settings) throws(HandedOverSocket.Failure) -> [String: Int32] {
        let sockets = try HandedOverSocket.all(environment: ProcessInfo.processInfo.environment)
        let paths = [
            ("socket", settings.socketPath), ("http-socket", settings.httpSocketPath),
            ("grpc-socket", settings.grpcSocketPath),
        ]
        return try HandedOverSocket.assign(sockets, to: paths.compactMap { name, path in path.map { (name, $0) } })
    }

    private static func store(_ settings: Settings) throws -> Store? {
        guard let url = settings.redisURL else { return nil }
        let address: RedisAddress
        do {
            address = try RedisAddress(url)
        } catch {
            throw SettingFaults(["--redis: \(error)"])
        }
        let user = settings.redisUser ?? address.credentials?.user
        let password = settings.redisPassword ?? address.credentials?.password
        let tls =
            address.isTLS
            ? RedisTLS(
                authorities: settings.redisAuthorities, certificate: settings.redisCertificate,
                key: settings.redisKey, serverName: settings.redisServerName) : nil
        let access = RedisAccess(
            credentials: .given(user: user, password: password), user: user,
            passwordFile: settings.redisPasswordFile, tls: tls, readFile: readSecret)
        try access.check()
        let sentinelUser = settings.sentinelUser
        let sentinelAccess = RedisAccess(
            credentials: .given(user: sentinelUser, password: settings.sentinelPassword), user: sentinelUser,
            passwordFile: settings.sentinelPasswordFile, tls: tls, readFile: readSecret)
        return Store(address: address, access: access, sentinelAccess: sentinelAccess)
    }

    /// Certificates of all usual authorities have some 220 KB.
    @Sendable private static func readSecret(_ path: String) throws -> [UInt8] {
        try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes).bytes
    }

    private static func groupID(_ text: String) throws(SettingFaults) -> UInt32 {
        if let id = UInt32(text) { return id }
        guard let group = getgrnam(text) else {
            throw SettingFaults(["--socket-group: there is no group \"\(text)\", name one or give its id"])
        }
        return group.pointee.gr_gid
    }
}
