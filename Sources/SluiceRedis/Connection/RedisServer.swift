/// What the handshake found out about the server.
struct RedisServer: Equatable, CustomStringConvertible {
    /// The lowest version that works: `SET` with `GET` and `PX` at once, which the scripts use, came with it.
    static let lowestVersion = (major: 6, minor: 2)

    var scriptHashes = BatchScriptHashes()
    /// What the handshake found that is forbidden, and what is lost by that.
    var foundLimitations: [RedisLimitation] = []
    /// Whether scripts may publish which counters they lower.
    var announcesChanges = true
    /// Whether scripts may not run commands that some of them need: what is answered for it is known then.
    var refusesRecords = false
    private var fields: [String: String] = [:]

    /// Reads the lines `field:value` of one section of `INFO`.
    mutating func read(info: ArraySlice<UInt8>) {
        let wanted: Set = [
            "valkey_version", "redis_version", "redis_mode", "server_mode", "role", "maxmemory_policy",
        ]
        for line in info.split(whereSeparator: { $0 == 13 || $0 == 10 }) {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let field = String(decoding: line[..<colon], as: UTF8.self)
            guard wanted.contains(field) else { continue }
            fields[field] = String(decoding: line[(colon + 1)...].prefix(RedisBounds.maxErrorBytes), as: UTF8.self)
        }
    }

    /// Reads the answer to `HELLO`, which needs no right: names and values in turn.
    mutating func read(hello reply: RedisReply?) {
        guard case .array(let elements) = reply else { return }
        var facts: [String: String] = [:]
        for index in stride(from: 0, to: elements.count - 1, by: 2) {
            guard case .string(let name) = elements[index], case .string(let value) = elements[index + 1] else {
                continue
            }
            facts[String(decoding: name, as: UTF8.self)] =
                String(decoding: value.prefix(RedisBounds.maxErrorBytes), as: UTF8.self)
        }
        fields[facts["server"] == "valkey" ? "valkey_version" : "redis_version"] = facts["version"]
        fields["redis_mode"] = facts["mode"]
        fields["role"] = facts["role"] == "replica" ? "slave" : facts["role"]
    }

    var isVersionKnown: Bool { version != nil }

    /// Why nothing can be counted in it, whatever the user may do; nil if it can.
    /// - Parameter ofCluster: whether it is to be a node of a Redis Cluster.
    func fault(ofCluster: Bool) -> String? {
        if let number = fields["redis_version"], let found = Self.numbers(of: number), found < Self.lowestVersion {
            let lowest = "\(Self.lowestVersion.major).\(Self.lowestVersion.minor)"
            return "this is Redis \(number), and Sluice needs \(lowest) or newer"
        }
        switch fields["redis_mode"] ?? fields["server_mode"] {
        case "cluster" where !ofCluster:
            return "this is a node of a Redis Cluster, where each node holds a part of the keys: use redis+cluster:// "
                + "with the same host and port, or connect to a Redis with cluster-enabled no"
        case "standalone" where ofCluster:
            return "this is no node of a Redis Cluster (cluster-enabled is no): use redis://"
        case "sentinel":
            return "this is a Redis Sentinel, which holds no keys: connect to the master that it watches"
        default: return nil
        }
    }

    /// What operators should know of it, though it can be used.
    var limitations: [RedisLimitation] {
        var limitations = foundLimitations
        if let policy = fields["maxmemory_policy"], policy != "noeviction" {
            limitations.append(
                RedisLimitation(
                    loss: "Redis may evict counters, and then limits are not kept: set maxmemory-policy to noeviction",
                    reason: "maxmemory-policy is \(policy)"))
        }
        if isReplica {
            limitations.append(
                RedisLimitation(
                    loss: "this Redis is a replica and takes no writes: connect to its master",
                    reason: "its role is replica"))
        }
        return limitations
    }

    var isReplica: Bool { fields["role"] == "slave" }

    private var version: String? { fields["valkey_version"] ?? fields["redis_version"] }

    /// The first two numbers of a version; nil if it has none.
    private static func numbers(of version: String) -> (Int, Int)? {
        let parts = version.split(separator: ".")
        guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return nil }
        return (major, minor)
    }

    /// Such as `Redis 7.0.15, master`.
    var description: String {
        let product = fields["valkey_version"] == nil ? "Redis" : "Valkey"
        let role = isReplica ? ", replica" : fields["role"].map { ", \($0)" } ?? ""
        return "\(product) \(version ?? "of unknown version")\(role)"
    }
}
