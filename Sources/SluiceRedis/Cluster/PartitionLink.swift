internal import NIOCore
internal import SluiceEngine

/// The link of one partition to the master that has its slot, over a connection that it shares with the other partitions
/// of that master.
///
/// It follows redirections by itself: what a node answers instead of running a batch charged nothing, so the batch is
/// sent to where it belongs.
///
/// While their slot is moved, a node may turn a batch away and be ready for the one behind it: that names the first as
/// required and charges nothing, so the engine sends it again.
final class PartitionLink: CounterStore {
    private enum State {
        /// Not connected, and not to be. Becomes `searching` or `connecting`.
        case idle
        /// Waits for the cluster to know the master. Becomes `connecting`, or `idle` with `linkClosed` or through
        /// `disconnect`.
        case searching
        /// Waits for the connection to the master. Becomes `connected`, or `idle` as above.
        case connecting(ClusterNode)
        /// Batches go to this node. After a redirection it may still be opening: then they are held. Becomes `idle` as
        /// above.
        case connected(ClusterNode)
    }

    /// Where a batch without an answer is.
    private enum Flight {
        case sent(ClusterNode, asking: Bool)
        /// Leaves once the node is ready.
        case held(ClusterNode, asking: Bool)
        /// Leaves once the pause is over.
        case paused(Scheduled<Void>)

        func isAt(_ node: ClusterNode) -> Bool {
            switch self {
            case .sent(let place, _), .held(let place, _): place === node
            case .paused: false
            }
        }

        var isSent: Bool { if case .sent = self { true } else { false } }
    }

    package weak var delegate: (any CounterStoreDelegate)?

    let partition: Int
    private let cluster: RedisCluster
    private let eventLoop: any EventLoop
    private let markerKey: [UInt8]
    private var state = State.idle
    private var exchange = BatchExchange()
    /// By slot; nil if it has no batch, or its answer.
    private var flights = [Flight?](repeating: nil, count: RedisBounds.maxBatchesInFlight)
    /// How often the batch in each slot was sent on.
    private var redirections = [Int](repeating: 0, count: RedisBounds.maxBatchesInFlight)
    /// Whether the link is about to close: nothing more is sent.
    private var isEnding = false
    /// Counts the connections of this partition: answers to an earlier one are dropped.
    private(set) var attempt = 0
    /// Nodes of which this partition is a user.
    private var joined: [ClusterNode] = []

    init(_ partition: Int, of cluster: RedisCluster) {
        self.partition = partition
        self.cluster = cluster
        eventLoop = cluster.eventLoop
        markerKey = cluster.keys(ofPartition: partition).marker(ofReplica: cluster.configuration.replica)
    }

    var limitations: [String] {
        guard case .connected(let master) = state else { return [] }
        return master.server?.limitations.map(\.description) ?? []
    }

    var announcesChanges: Bool {
        guard case .connected(let master) = state else { return true }
        return master.server?.announcesChanges ?? true
    }

    var serverPlace: String? { cluster.master(ofPartition: partition).map { "\($0)" } }

    // MARK: - What the engine asks for

    func connect() {
        eventLoop.preconditionInEventLoop()
        guard case .idle = state else { return }
        state = .searching
        cluster.search(self)
    }

    func disconnect() {
        eventLoop.preconditionInEventLoop()
        if case .idle = state { return }
        // What was sent and not answered for so long holds up whatever comes behind it.
        for case .sent(let node, _)? in flights { cluster.retire(node) }
        reset()
    }

    func send(_ batch: Batch) {
        eventLoop.preconditionInEventLoop()
        guard case .connected(let master) = state, !isEnding else {
            let sequence = batch.sequence
            return eventLoop.assumeIsolated().execute {
                self.delegate?.linkAnswered(sequence: sequence, .failure(.rejected("not connected to Redis")))
            }
        }
        guard !exchange.isFull else {
            return later { $0.end("\(RedisBounds.maxBatchesInFlight) batches are without an answer") }
        }
        let slot = exchange.add(batch)
        redirections[slot] = 0
        dispatch(slot, to: master)
    }

    func listen(_ command: ChangeFeedCommand) {
        eventLoop.preconditionInEventLoop()
        cluster.changeFeed.listen(command, for: self)
    }

    func scan(_ query: CounterQuery, completion: @escaping (Result<StoredCounters, BatchFailure>) -> Void) {
        eventLoop.preconditionInEventLoop()
        cluster.scans.add(query, partition: partition, completion: completion)
    }

    // MARK: - What the cluster finds

    /// The partition has this master, or none.
    func found(_ master: ClusterNode?) {
        switch state {
        case .searching: break
        // The cluster has another master for it than the one that does not open.
        case .connecting(let node): if node === master { return }
        case .idle, .connected: return
        }
        guard let master else {
            return notFound("no master of the cluster has the slot \(cluster.slot(ofPartition: partition))")
        }
        leaveNodes()
        state = .connecting(master)
        join(master)
        // `connecting` is left as soon as the connection is open, if it is not yet.
        if master.isReady { later { $0.nodeReady(master) } }
    }

    /// No node of the cluster answers.
    func notFound(_ reason: String) {
        guard case .searching = state else { return }
        end(reason)
    }

    func nodeReady(_ node: ClusterNode) {
        guard let server = node.server else { return }
        switch state {
        case .connecting(let master) where master === node:
            exchange.use(server, markerKey: markerKey)
            state = .connected(master)
            delegate?.linkConnected(server: "\(server)")
        case .connected(let master):
            if master === node { exchange.use(server, markerKey: markerKey) }
            for slot in exchange.inOrder {
                if case .held(let place, let asking)? = flights[slot], place === node {
                    dispatch(slot, to: node, asking: asking)
                }
            }
        case .idle, .searching, .connecting: break
        }
    }

    func nodeClosed(_ node: ClusterNode, _ reason: String) {
        joined.removeAll { $0 === node }
        switch state {
        case .idle, .searching: return
        case .connecting(let master): if master === node { end(reason) }
        case .connected(let master):
            if master === node { return end(reason) }
            let slots = flights.indices.filter { flights[$0]?.isAt(node) ?? false }
            if slots.contains(where: { flights[$0]?.isSent ?? false }) { return end(reason) }
            for slot in slots { finish(slot, .rejected(reason)) }
            deliver()
        }
    }

    // MARK: - Sending

    private func join(_ node: ClusterNode) {
        guard !joined.contains(where: { $0 === node }) else { return }
        joined.append(node)
        node.add(self)
    }

    private func dispatch(_ slot: Int, to node: ClusterNode, asking: Bool = false) {
        join(node)
        guard node.isReady else { return flights[slot] = .held(node, asking: asking) }
        flights[slot] = .sent(node, asking: asking)
        node.send(exchange.call(slot), of: self, slot: slot, asking: asking)
    }

    /// Sends a batch again after a pause.
    private func pause(_ slot: Int) {
        let exponent = min(redirections[slot] - 1, 20)
        let length = min(RedisBounds.firstClusterPause * Int64(1 << exponent), RedisBounds.longestClusterPause)
        flights[slot] = .paused(
            eventLoop.assumeIsolated().scheduleTask(in: length) { [weak self] in
                guard let self, case .connected(let master) = self.state else { return }
                self.dispatch(slot, to: master)
            })
    }

    // MARK: - Answers

    /// A reply to the batch in this slot, of this attempt.
    func received(_ reply: FlatReply, slot: Int, from node: ClusterNode) {
        guard case .sent(_, let asking)? = flights[slot], case .connected(let master) = state else { return }
        if let error = reply.error, let redirection = ClusterRedirection(error, asked: node.place) {
            guard redirection != .unavailable else {
                // Another node may have become the master: the next connection goes to whichever the cluster names.
                cluster.hint()
                finish(slot, error.failure)
                return end(error.reason)
            }
            follow(redirection, error, slot, from: master)
        } else {
            switch exchange.receive(reply, for: slot) {
            case .answered: flights[slot] = nil
            case .sendAgain: return dispatch(slot, to: node, asking: asking)
            // Without an answer: the link ends with the connection.
            case .fail(let reason): return node.fail(reason)
            case .leave(let reason):
                flights[slot] = nil
                deliver()
                return node.fail(reason)
            }
        }
        leaveIfDone(node)
        deliver()
    }

    /// A batch did not run: sends it on, or rejects it.
    private func follow(_ redirection: ClusterRedirection, _ error: RedisError, _ slot: Int, from master: ClusterNode) {
        redirections[slot] += 1
        func reject() { finish(slot, error.failure) }
        let ownSlot = cluster.slot(ofPartition: partition)
        switch redirection {
        case _ where redirections[slot] > RedisBounds.maxRedirections: reject()
        case .tryAgain: pause(slot)
        case .ask(ownSlot, let place?): dispatch(slot, to: cluster.node(at: place), asking: true)
        case .moved(ownSlot, let place):
            cluster.moved(partition, to: place)
            guard let place else { return reject() }
            dispatch(slot, to: place == master.place ? master : move(to: place, from: master))
        case .ask, .moved, .unavailable:
            cluster.hint()
            reject()
        }
    }

    /// From now on, batches go to another master.
    private func move(to place: RedisAddress.HostPort, from master: ClusterNode) -> ClusterNode {
        let next = cluster.node(at: place)
        state = .connected(next)
        join(next)
        if let server = next.server { exchange.use(server, markerKey: markerKey) }
        leaveIfDone(master)
        delegate?.linkMoved()
        return next
    }

    /// A node that is not the master is left once it has nothing more of this partition.
    private func leaveIfDone(_ node: ClusterNode) {
        if case .connected(let master) = state, master === node { return }
        if flights.contains(where: { $0?.isAt(node) ?? false }) { return }
        joined.removeAll { $0 === node }
        node.remove(self)
    }

    /// A batch gets no other answer than this failure.
    private func finish(_ slot: Int, _ failure: BatchFailure) {
        if case .paused(let task)? = flights[slot] { task.cancel() }
        flights[slot] = nil
        exchange.finish(slot, failure)
    }

    /// Delivers what is answered. The delegate may send, or disconnect, from inside this call.
    /// - Returns: false if the link was disconnected.
    @discardableResult
    private func deliver() -> Bool {
        let attempt = attempt
        while attempt == self.attempt, let answer = exchange.takeAnswered() {
            delegate?.linkAnswered(sequence: answer.sequence, answer.result)
        }
        return attempt == self.attempt
    }

    // MARK: - The end

    /// Calls with this attempt, but not from inside a call of the engine.
    private func later(_ body: @escaping (PartitionLink) -> Void) {
        let attempt = attempt
        eventLoop.assumeIsolated().execute { if attempt == self.attempt { body(self) } }
    }

    private func end(_ reason: String) {
        isEnding = true
        // What has not left has not run, which is worth knowing.
        for slot in flights.indices where flights[slot].map({ !$0.isSent }) ?? false { finish(slot, .rejected(reason)) }
        guard deliver() else { return }
        reset()
        delegate?.linkClosed(reason: reason)
    }

    private func leaveNodes() {
        for node in joined { node.remove(self) }
        joined = []
    }

    private func reset() {
        attempt += 1
        isEnding = false
        for case .paused(let task)? in flights { task.cancel() }
        flights = [Flight?](repeating: nil, count: flights.count)
        exchange.close()
        leaveNodes()
        state = .idle
        cluster.left(self)
    }
}
