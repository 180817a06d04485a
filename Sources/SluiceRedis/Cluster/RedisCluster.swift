package import Logging
package import NIOCore
package import SluiceEngine

/// A Redis Cluster, as the partitions of one replica use it: which master has which partition, one connection for each
/// master, one subscription for all partitions.
///
/// Each partition has a link of its own, a `CounterStore`. Everything runs on one event loop. Before the links are
/// released, disconnect them and end their change feeds.
package final class RedisCluster {
    typealias HostPort = RedisAddress.HostPort

    let configuration: RedisLink.Configuration
    let eventLoop: any EventLoop
    private let logger: Logger
    private let tags: PartitionTags
    private let slots: [Int]
    private var topology: ClusterTopology
    /// Those that a partition may join.
    private var nodes: [HostPort: ClusterNode] = [:]
    /// Partitions that are not idle.
    private var active: [ObjectIdentifier: PartitionLink] = [:]
    private var query: RedisQuery?
    private var timer: Scheduled<Void>?
    /// Redis before 7.0 has no `CLUSTER SHARDS`.
    private var asksForSlots = false
    /// What a node does not let Sluice do: each is logged once.
    private var logged: [RedisLimitation] = []
    private(set) lazy var changeFeed = ClusterChangeFeed(of: self)
    private(set) lazy var scans = ClusterScans(of: self)

    /// - Parameters:
    ///   - configuration: its address is that of a cluster.
    ///   - partitions: how many, 1 to `EngineBounds.maxPartitions`.
    ///   - eventLoop: the one that owns the engine.
    ///   - logger: gets one line for each change of state, never a secret.
    package init(
        _ configuration: RedisLink.Configuration, partitions: Int, eventLoop: any EventLoop, logger: Logger
    ) {
        guard case .cluster(let seeds) = configuration.address.endpoint else {
            preconditionFailure("the address is that of a cluster")
        }
        self.configuration = configuration
        self.eventLoop = eventLoop
        var logger = logger
        logger[metadataKey: "redis"] = "\(configuration.address)"
        self.logger = logger
        let tags = PartitionTags(count: partitions)
        self.tags = tags
        slots = (0..<partitions).map { HashSlot.of(tag: tags[$0]) }
        topology = ClusterTopology(seeds: seeds, slots: slots, seed: configuration.replica)
    }

    /// A link for each partition. To be called once; they keep the cluster.
    package func makeLinks() -> [any CounterStore] { slots.indices.map { PartitionLink($0, of: self) } }

    var partitionCount: Int { slots.count }
    func slot(ofPartition partition: Int) -> Int { slots[partition] }
    func tag(ofPartition partition: Int) -> [UInt8] { tags[partition] }

    func keys(ofPartition partition: Int) -> KeySpace {
        KeySpace(prefix: configuration.keyPrefix, tag: tags[partition])
    }

    // MARK: - Links

    /// Finds the master of a link's partition; not from inside this call.
    func search(_ link: PartitionLink) {
        active[ObjectIdentifier(link)] = link
        if let master = topology.master(ofPartition: link.partition) {
            link.found(node(at: master))
        } else {
            topology.hint()
        }
        goOn()
    }

    /// The link is idle.
    func left(_ link: PartitionLink) {
        active[ObjectIdentifier(link)] = nil
        guard active.isEmpty else { return }
        timer?.cancel()
        closeUnused()
    }

    /// The connection to a node; begins to open it if there is none.
    func node(at place: HostPort) -> ClusterNode {
        if let node = nodes[place] { return node }
        let node = ClusterNode(place, of: self)
        nodes[place] = node
        return node
    }

    /// A partition has waited for an answer of this node in vain. Those that come next get a new connection, since
    /// this one may be dead, and the others stay for as long as they hope.
    func retire(_ node: ClusterNode) {
        if nodes[node.place] === node { nodes[node.place] = nil }
        node.retire()
        topology.lost(node.place)
        goOn()
    }

    private func closeUnused() {
        for (place, node) in nodes where node.users.isEmpty {
            node.close()
            nodes[place] = nil
        }
    }

    // MARK: - Events of connections

    func nodeReady(_ node: ClusterNode, _ server: RedisServer) {
        topology.reached(node.place)
        logger.debug("connected to a node of the cluster", metadata: ["node": "\(node.place)", "server": "\(server)"])
        for limitation in server.limitations where !logged.contains(limitation) {
            logger.warning("\(limitation.loss)", metadata: ["reason": "\(limitation.reason)"])
            if logged.count < RedisBounds.maxClusterNodes { logged.append(limitation) }
        }
    }

    func nodeClosed(_ node: ClusterNode) {
        if nodes[node.place] === node { nodes[node.place] = nil }
        topology.lost(node.place)
        goOn()
    }

    func nodeIsSlow(_ node: ClusterNode) {
        topology.lost(node.place)
        goOn()
    }

    func moved(_ partition: Int, to master: HostPort?) {
        topology.moved(partition, to: master)
        goOn()
    }

    func hint() {
        topology.hint()
        goOn()
    }

    // MARK: - The map

    private var nowNs: Int64 { Int64(clamping: NIODeadline.now().uptimeNanoseconds) }

    /// Sees to it that the next question is asked when it is due, for as long as a partition wants to be connected.
    private func goOn() {
        guard query == nil, !active.isEmpty, let dueNs = topology.nextTickNs else { return }
        timer?.cancel()
        timer = eventLoop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(UInt64(max(dueNs, 0)))) {
            [weak self] in
            guard let self, self.query == nil else { return }
            if let place = self.topology.tick(nowNs: self.nowNs) { self.ask(place) } else { self.goOn() }
        }
    }

    /// A connection of its own, so that no batch waits for the answer, and no answer for a batch.
    private func ask(_ place: HostPort) {
        let query = RedisQuery(
            [["CLUSTER", "INFO"], ["CLUSTER", asksForSlots ? "SLOTS" : "SHARDS"]],
            timeLimit: configuration.limits.cluster,
            eventLoop: eventLoop)
        self.query = query
        query.start(connection(to: place, isForCharging: false, owner: query)) { answer in
            self.query = nil
            self.answered(answer, by: place)
        }
    }

    private func answered(_ answer: Result<[FlatReply], RedisQuery.Failure>, by place: HostPort) {
        switch answer {
        case .failure(let failure): perform(topology.failed(failure.reason, nowNs: nowNs))
        case .success(let replies):
            if let error = replies[1].error, !asksForSlots, error.isForbidden || error.isUnknownSubcommand {
                asksForSlots = true
                return ask(place)
            }
            // `CLUSTER INFO` may be forbidden: then each node is believed.
            let isServing =
                replies[0].error != nil || replies[0].text.contains(Array("cluster_state:ok".utf8))
            do throws(ClusterMap.Fault) {
                perform(topology.answered(try map(in: replies[1], by: place), isServing: isServing, nowNs: nowNs))
            } catch {
                perform(topology.failed(error.reason, nowNs: nowNs))
            }
        }
    }

    private func map(in reply: FlatReply, by place: HostPort) throws(ClusterMap.Fault) -> ClusterMap {
        if let error = reply.error {
            throw ClusterMap.Fault(
                reason: error.isAboutClusters
                    ? "this is no node of a Redis Cluster (cluster-enabled is no): use redis://" : error.reason)
        }
        return asksForSlots
            ? try ClusterMap(slots: reply.tree(), asked: place)
            : try ClusterMap(shards: reply.tree(), asked: place, isTLS: configuration.address.isTLS)
    }

    private func perform(_ step: ClusterTopology.Step) {
        switch step {
        case .ask(let place): return ask(place)
        case .renewed:
            for link in inOrder { link.found(topology.master(ofPartition: link.partition).map(node(at:))) }
            closeUnused()
            changeFeed.stay(at: topology.nodes)
        case .failed(let reason):
            for link in inOrder { link.notFound(reason) }
        }
        goOn()
    }

    private var inOrder: [PartitionLink] { active.values.sorted { $0.partition < $1.partition } }

    // MARK: - Connections

    /// Begins to open a connection to a node.
    func connection(
        to place: HostPort, isForCharging: Bool, owner: any RedisConnectionOwner
    ) -> RedisConnection {
        RedisConnection(
            to: target(place, isOneOfSeveral: isForCharging),
            handshake: handshake(isForCharging: isForCharging, rightsKey: rightsKey(of: place)),
            limits: configuration.limits, eventLoop: eventLoop, owner: owner)
    }

    func target(_ place: HostPort, isOneOfSeveral: Bool = true) -> RedisTarget {
        var address = configuration.address
        address.endpoint = .tcp(host: place.host, port: place.port)
        return RedisTarget(
            address: address, access: configuration.access, sentinels: nil, isOneOfSeveral: isOneOfSeveral)
    }

    func handshake(isForCharging: Bool, rightsKey: String? = nil) -> RedisTarget.MakeHandshake {
        { [configuration] credentials in
            RedisHandshake(
                address: configuration.address, credentials: credentials,
                clientName: "sluice-\(String(configuration.replica, radix: 16))", keyPrefix: configuration.keyPrefix,
                rightsKey: rightsKey, isForCharging: isForCharging)
        }
    }

    /// A key that this node should have, to try commands with.
    private func rightsKey(of place: HostPort) -> String {
        let partition = slots.indices.first { topology.master(ofPartition: $0) == place } ?? 0
        return String(decoding: keys(ofPartition: partition).rights, as: UTF8.self)
    }

    /// Where something may be subscribed to: nodes that answer first.
    var nodesInOrder: [HostPort] {
        let ready = nodes.values.filter(\.isReady).map(\.place).sorted { "\($0)" < "\($1)" }
        if !ready.isEmpty { return ready }
        if !topology.nodes.isEmpty { return topology.nodes }
        guard case .cluster(let seeds) = configuration.address.endpoint else { return [] }
        return seeds
    }

    func master(ofPartition partition: Int) -> HostPort? { topology.master(ofPartition: partition) }
}

extension RedisError {
    /// What a server says that is no node of a cluster.
    fileprivate var isAboutClusters: Bool { message.firstRange(of: "cluster support disabled") != nil }

    /// Redis 6.2: `ERR Unknown subcommand or wrong number of arguments for 'SHARDS'`.
    fileprivate var isUnknownSubcommand: Bool { message.firstRange(of: "nknown subcommand") != nil }
}
