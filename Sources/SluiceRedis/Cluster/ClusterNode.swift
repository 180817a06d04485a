internal import NIOCore
internal import SluiceEngine

/// The connection to one node of a cluster, which the partitions that have batches there share. Used once.
///
/// Replies come in the order of the wire, over all partitions: it knows whose the next one is. A partition that has given
/// up gets none of what it was waiting for; others are not disturbed by that.
final class ClusterNode: RedisConnectionOwner {
    private enum Awaited {
        /// The answer to a batch. It is dropped if the link has given up since, and so has another `attempt` by now.
        case batch(PartitionLink, attempt: Int, slot: Int)
        case asking
    }

    let place: RedisAddress.HostPort
    private let eventLoop: any EventLoop
    private weak var cluster: RedisCluster?
    private var connection: RedisConnection?
    /// nil until the connection is open and the handshake done.
    private(set) var server: RedisServer?
    private var awaited = CircularBuffer<Awaited>()
    /// Partitions that send their batches here, wait for it to open, or were sent here with one batch.
    private(set) var users: [PartitionLink] = []
    /// It takes no new users: a partition waited in vain for an answer. It is closed with its last user.
    private var isRetired = false
    private var willFlush = false

    /// Begins to open the connection.
    init(_ place: RedisAddress.HostPort, of cluster: RedisCluster) {
        self.place = place
        self.cluster = cluster
        eventLoop = cluster.eventLoop
        connection = cluster.connection(to: place, isForCharging: true, owner: self)
        watch()
    }

    /// A node that hangs takes connections and is silent: the others are asked whether it was replaced meanwhile.
    private func watch() {
        eventLoop.assumeIsolated().scheduleTask(in: RedisBounds.slowNodeInterval) { [weak self] in
            guard let self, self.connection != nil, !self.isReady else { return }
            self.cluster?.nodeIsSlow(self)
            self.watch()
        }
    }

    var isReady: Bool { server != nil }

    // MARK: - Users

    /// From now on, this partition is notified when the connection is ready, and when it closes. It must not be a user yet.
    func add(_ link: PartitionLink) { users.append(link) }

    func remove(_ link: PartitionLink) {
        users.removeAll { $0 === link }
        if users.isEmpty && isRetired { close() }
    }

    /// See `isRetired`.
    func retire() {
        isRetired = true
        if users.isEmpty { close() }
    }

    /// Closes it without notifying its users.
    func close() {
        connection?.close()
        connection = nil
        server = nil
        awaited.removeAll()
    }

    /// Closes it, and notifies every user.
    func fail(_ reason: String) { connection?.fail(reason) }

    // MARK: - Batches

    private static let asking: ByteBuffer = {
        var command = ByteBuffer()
        command.writeCommand("ASKING")
        return command
    }()

    /// Sends a batch; only while it is ready. All that is sent in one turn of the event loop leaves together.
    /// - Parameter asking: whether the node is to run it though the slot is not its own yet.
    func send(_ call: ByteBuffer, of link: PartitionLink, slot: Int, asking: Bool) {
        if asking {
            connection?.enqueue(Self.asking)
            awaited.append(.asking)
        }
        connection?.enqueue(call)
        awaited.append(.batch(link, attempt: link.attempt, slot: slot))
        guard !willFlush else { return }
        willFlush = true
        eventLoop.assumeIsolated().execute {
            self.willFlush = false
            self.connection?.flush()
        }
    }

    // MARK: - Events of the connection

    func connectionReady(_ server: RedisServer) {
        guard !server.isReplica else {
            return fail("this node is a replica by now: the cluster is asked for its master")
        }
        self.server = server
        cluster?.nodeReady(self, server)
        for link in users { link.nodeReady(self) }
    }

    func connectionClosed(_ reason: String) {
        connection = nil
        server = nil
        awaited.removeAll()
        let closed = users
        users = []
        cluster?.nodeClosed(self)
        for link in closed { link.nodeClosed(self, reason) }
    }

    func connectionReceived(_ reply: FlatReply) {
        switch awaited.popFirst() {
        case .batch(let link, let attempt, let slot):
            if link.attempt == attempt { link.received(reply, slot: slot, from: self) }
        // If it was refused, so is the batch behind it.
        case .asking: break
        case nil: fail("Redis answered without being asked")
        }
    }
}
