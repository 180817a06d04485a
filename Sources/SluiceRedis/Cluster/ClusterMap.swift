internal import SluiceEngine

/// Which master has which slots, and which nodes there are: what one node of a cluster answered.
struct ClusterMap: Equatable {
    typealias HostPort = RedisAddress.HostPort

    struct Shard: Equatable {
        var slots: [ClosedRange<Int>]
        var master: HostPort
    }

    /// In one sentence: the answer is not one that a node gives.
    struct Fault: Error, Equatable {
        var reason: String
    }

    private(set) var shards: [Shard] = []
    /// All of them, masters first, each once.
    private(set) var nodes: [HostPort] = []

    /// nil if no master has it.
    func master(ofSlot slot: Int) -> HostPort? {
        shards.first { $0.slots.contains { $0.contains(slot) } }?.master
    }

    init() {}

    /// Reads the answer to `CLUSTER SHARDS` (Redis 7.0 and newer): for each shard its slots, and its nodes with their
    /// roles.
    /// - Parameters:
    ///   - asked: the node that answered, for those whose host it does not know.
    ///   - isTLS: whether connections use the port for TLS.
    init(shards reply: RedisReply?, asked: HostPort, isTLS: Bool) throws(Fault) {
        guard case .array(let shards) = reply, shards.count <= RedisBounds.maxClusterNodes else {
            throw Fault(reason: "it answered CLUSTER SHARDS with other than a list of shards")
        }
        var replicas: [HostPort] = []
        for shard in shards {
            guard case .array(let bounds)? = Self.value("slots", of: shard),
                case .array(let members)? = Self.value("nodes", of: shard)
            else { throw Fault(reason: "it answered CLUSTER SHARDS with a shard without slots or nodes") }
            var masters: [(node: HostPort, isOnline: Bool)] = []
            for member in members {
                guard let node = Self.node(member, asked: asked, isTLS: isTLS) else { continue }
                if Self.text("role", of: member) == "master" {
                    masters.append((node, Self.text("health", of: member) == "online"))
                } else {
                    replicas.append(node)
                }
            }
            // A master that was replaced may still be listed.
            guard let master = (masters.first(where: \.isOnline) ?? masters.first)?.node else { continue }
            let slots = try Self.ranges(bounds)
            if !slots.isEmpty { self.shards.append(Shard(slots: slots, master: master)) }
        }
        try collectNodes(replicas)
        guard !isTLS || !nodes.isEmpty || shards.isEmpty else {
            throw Fault(reason: "it names no port for TLS: set tls-cluster to yes")
        }
    }

    /// Reads the answer to `CLUSTER SLOTS`: for each range of slots its bounds, its master, and the replicas.
    init(slots reply: RedisReply?, asked: HostPort) throws(Fault) {
        guard case .array(let rows) = reply, rows.count <= HashSlot.count else {
            throw Fault(reason: "it answered CLUSTER SLOTS with other than a list of slots")
        }
        var replicas: [HostPort] = []
        for row in rows {
            guard case .array(let parts) = row, parts.count >= 3 else {
                throw Fault(reason: "it answered CLUSTER SLOTS with a range without a node")
            }
            let slots = try Self.ranges(Array(parts[..<2]))
            let members = parts[2...].map { member -> HostPort? in
                guard case .array(let fields) = member, fields.count >= 2, case .integer(let port) = fields[1] else {
                    return nil
                }
                return HostPort(host: fields[0], port: port, asked: asked)
            }
            guard let master = members[0] else { continue }
            if let index = shards.firstIndex(where: { $0.master == master }) {
                shards[index].slots += slots
            } else {
                guard shards.count < RedisBounds.maxClusterNodes else { throw Self.tooMany }
                shards.append(Shard(slots: slots, master: master))
            }
            replicas += members.dropFirst().compactMap { $0 }
        }
        try collectNodes(replicas)
    }

    private static let tooMany = Fault(reason: "it names more than \(RedisBounds.maxClusterNodes) nodes")

    private mutating func collectNodes(_ replicas: [HostPort]) throws(Fault) {
        var seen: Set<HostPort> = []
        nodes = (shards.map(\.master) + replicas).filter { seen.insert($0).inserted }
        guard nodes.count <= RedisBounds.maxClusterNodes else { throw Self.tooMany }
    }

    /// First and last slot of each range, in turn.
    private static func ranges(_ bounds: [RedisReply]) throws(Fault) -> [ClosedRange<Int>] {
        var ranges: [ClosedRange<Int>] = []
        for index in stride(from: 0, to: bounds.count, by: 2) {
            guard index + 1 < bounds.count, case .integer(let first) = bounds[index],
                case .integer(let last) = bounds[index + 1], first >= 0, last >= first, last < HashSlot.count
            else { throw Fault(reason: "it names slots that are not from 0 to \(HashSlot.count - 1)") }
            ranges.append(Int(first)...Int(last))
        }
        return ranges
    }

    /// nil if it does not say where it is.
    private static func node(_ fields: RedisReply, asked: HostPort, isTLS: Bool) -> HostPort? {
        guard case .integer(let port)? = value(isTLS ? "tls-port" : "port", of: fields) else { return nil }
        // The endpoint is what clients are to use. It is `?` if that is to be a name, and the node has none.
        var endpoint = value("endpoint", of: fields) ?? .null
        if endpoint == .string(Array("?".utf8)) { endpoint = value("ip", of: fields) ?? endpoint }
        return HostPort(host: endpoint, port: port, asked: asked)
    }

    /// The value of a key, in a list of keys and values in turn.
    private static func value(_ key: String, of reply: RedisReply) -> RedisReply? {
        guard case .array(let fields) = reply else { return nil }
        for index in stride(from: 0, to: fields.count - 1, by: 2) where fields[index] == .string(Array(key.utf8)) {
            return fields[index + 1]
        }
        return nil
    }

    private static func text(_ key: String, of reply: RedisReply) -> String? {
        guard case .string(let bytes)? = value(key, of: reply) else { return nil }
        return String(decoding: bytes.prefix(RedisBounds.maxErrorBytes), as: UTF8.self)
    }
}

extension RedisAddress.HostPort {
    /// As a node names another one; nil if that is no place.
    /// - Parameters:
    ///   - host: nothing if the node does not know it: then it is that of the node itself.
    ///   - asked: the node.
    init?(host: RedisReply, port: Int64, asked: RedisAddress.HostPort) {
        switch host {
        case .null: self.init(host: [], port: port, asked: asked)
        case .string(let bytes): self.init(host: bytes, port: port, asked: asked)
        case .integer, .status, .error, .array: return nil
        }
    }

    init?(host: [UInt8], port: Int64, asked: RedisAddress.HostPort) {
        guard (1...65_535).contains(port), host.count <= RedisBounds.maxHostBytes, host != Array("?".utf8),
            host.allSatisfy({ (33...126).contains($0) })
        else { return nil }
        self.init(host: host.isEmpty ? asked.host : String(decoding: host, as: UTF8.self), port: Int(port))
    }
}
