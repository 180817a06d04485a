internal import NIOCore
internal import SluiceEngine

/// The link of one partition to the master that has its slot, over a connection that it shares with the other partitions
/// of that master.
///
/// It follows redirections by itself: what a node answers instead of running a batch charged nothing, so the batch is
/// sent to where it belongs.
///
/// One batch of a partition is on its way at a time, and the others wait here. A node may turn one away and run the next
/// one, while their slot is moved; if the answers of both were lost, the marker would wrongly show that both had run. The
/// connection does not stand idle for that: it has the batches of other partitions.
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

    /// Where the oldest batch is.
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
    /// nil if there is no batch.
    private var flight: Flight?
    /// Whether the link is about to close: nothing more is sent.
    private var isEnding = false
    /// How often the oldest batch was sent on.
    private var redirections = 0
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
        if case .sent(let node, _) = flight { cluster.retire(node) }
        reset()
    }

    func send(_ batch: Batch) {
        eventLoop.preconditionInEventLoop()
        guard case .connected = state else {
            let sequence = batch.sequence
            return eventLoop.assumeIsolated().execute {
                self.delegate?.linkAnswered(sequence: sequence, .failure(.rejected("not connected to Redis")))
            }
        }
        guard !exchange.isFull else {
            return later { $0.end("\(RedisBounds.maxBatchesInFlight) batches are without an answer") }
        }
        _ = exchange.add(batch)
        sendOldest()
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
            delegate?.linkConnected(server: "\(server) at \(node.place)")
        case .connected(let master):
            if master === node { exchange.use(server, markerKey: markerKey) }
            if case .held(let place, let asking) = flight, place === node { dispatch(to: node, asking: asking) }
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
            guard let flight, flight.isAt(node) else { return }
            if flight.isSent { return end(reason) }
            reject(reason)
            goOn()
        }
    }

    // MARK: - Sending

    private func join(_ node: ClusterNode) {
        guard !joined.contains(where: { $0 === node }) else { return }
        joined.append(node)
        node.add(self)
    }

    /// Sends the next batch, unless one is on its way.
    private func sendOldest() {
        guard flight == nil, !isEnding, exchange.oldest != nil, case .connected(let master) = state else { return }
        redirections = 0
        dispatch(to: master)
    }

    private func dispatch(to node: ClusterNode, asking: Bool = false) {
        guard let slot = exchange.oldest else { return }
        join(node)
        guard node.isReady else { return flight = .held(node, asking: asking) }
        flight = .sent(node, asking: asking)
        node.send(exchange.call(slot), of: self, slot: slot, asking: asking)
    }

    /// Sends the oldest batch again after a pause.
    private func pause() {
        let exponent = min(redirections - 1, 20)
        let length = min(RedisBounds.firstClusterPause * Int64(1 << exponent), RedisBounds.longestClusterPause)
        flight = .paused(
            eventLoop.assumeIsolated().scheduleTask(in: length) { [weak self] in
                guard let self, case .connected(let master) = self.state else { return }
                self.dispatch(to: master)
            })
    }

    // MARK: - Answers

    /// A reply to the batch in this slot, of this attempt.
    func received(_ reply: FlatReply, slot: Int, from node: ClusterNode) {
        guard case .sent(_, let asking) = flight, slot == exchange.oldest, case .connected(let master) = state else {
            return
        }
        if let error = reply.error, let redirection = ClusterRedirection(error, asked: node.place) {
            flight = nil
            guard redirection != .unavailable else {
                // Another node may have become the master: the next connection goes to whichever the cluster names.
                cluster.hint()
                exchange.finish(slot, error.failure)
                return end(error.reason)
            }
            follow(redirection, error, slot, from: master)
        } else {
            switch exchange.receive(reply, for: slot) {
            case .answered: flight = nil
            case .sendAgain: return dispatch(to: node, asking: asking)
            // Without an answer: the link ends with the connection.
            case .fail(let reason): return node.fail(reason)
            case .leave(let reason):
                flight = nil
                deliver()
                return node.fail(reason)
            }
        }
        leaveIfDone(node)
        goOn()
    }

    /// The oldest batch did not run: sends it on, or rejects it.
    private func follow(_ redirection: ClusterRedirection, _ error: RedisError, _ slot: Int, from master: ClusterNode) {
        redirections += 1
        func reject() { exchange.finish(slot, error.failure) }
        let ownSlot = cluster.slot(ofPartition: partition)
        switch redirection {
        case _ where redirections > RedisBounds.maxRedirections: reject()
        case .tryAgain: pause()
        case .ask(ownSlot, let place?): dispatch(to: cluster.node(at: place), asking: true)
        case .moved(ownSlot, let place):
            cluster.moved(partition, to: place)
            guard let place else { return reject() }
            dispatch(to: place == master.place ? master : move(to: place, from: master))
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
        return next
    }

    /// A node that is not the master is left once it has nothing more of this partition.
    private func leaveIfDone(_ node: ClusterNode) {
        if case .connected(let master) = state, master === node { return }
        if let flight, flight.isAt(node) { return }
        joined.removeAll { $0 === node }
        node.remove(self)
    }

    /// The oldest batch did not run, and will not.
    private func reject(_ reason: String) {
        if case .paused(let task) = flight { task.cancel() }
        flight = nil
        if let slot = exchange.oldest { exchange.finish(slot, .rejected(reason)) }
    }

    private func goOn() {
        if deliver() { sendOldest() }
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
        if flight?.isSent != true {
            // None of them has left, so none has run, which is worth knowing.
            guard deliver() else { return }
            if case .paused(let task) = flight { task.cancel() }
            flight = nil
            for slot in exchange.inOrder { exchange.finish(slot, .rejected(reason)) }
            guard deliver() else { return }
        }
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
        if case .paused(let task) = flight { task.cancel() }
        flight = nil
        exchange.close()
        leaveNodes()
        state = .idle
        cluster.left(self)
    }
}
