internal import NIOCore
internal import SluiceEngine

/// The change feed of all partitions: one subscription, at any node that answers, since a message reaches every node of a
/// cluster.
final class ClusterChangeFeed {
    private unowned let cluster: RedisCluster
    private var subscription: ChangeSubscription?
    /// Where that is.
    private var place: RedisAddress.HostPort?
    private var isOpen = false
    /// Those whose feed is opening or open, by partition.
    private var listeners: [Int: PartitionLink] = [:]
    /// Those that wait for the answer to the probe, by partition. There is one probe for all of them.
    private var probing: [Int: PartitionLink] = [:]
    /// Those that asked since it was sent: its answer says nothing of what came after that.
    private var probingNext: [Int: PartitionLink] = [:]
    /// Which node is next.
    private var turn = 0
    private lazy var partitions = Dictionary(
        uniqueKeysWithValues: (0..<cluster.partitionCount).map { (cluster.tag(ofPartition: $0), $0) })

    init(of cluster: RedisCluster) { self.cluster = cluster }

    func listen(_ command: ChangeFeedCommand, for link: PartitionLink) {
        switch command {
        case .open:
            listeners[link.partition] = link
            probing[link.partition] = nil
            probingNext[link.partition] = nil
            if isOpen { later { $0.notify(link, .opened) } }
            if subscription == nil { subscribe() }
        case .probe:
            guard isOpen, listeners[link.partition] != nil else { return }
            guard probing.isEmpty else { return probingNext[link.partition] = link }
            probing[link.partition] = link
            subscription?.probe()
        case .close:
            listeners[link.partition] = nil
            probingNext[link.partition] = nil
            // It is silent, for the others too.
            if probing.removeValue(forKey: link.partition) != nil { return leave("the subscription did not answer") }
            if listeners.isEmpty { stop() }
        }
    }

    /// Messages do not reach a node that has left the cluster.
    func stay(at nodes: [RedisAddress.HostPort]) {
        if let place, !nodes.contains(place) { leave("\(place) is no node of the cluster any more") }
    }

    private func subscribe() {
        let places = cluster.nodesInOrder
        turn += 1
        let place = places[turn % places.count]
        self.place = place
        subscription = ChangeSubscription(
            channel: KeySpace(prefix: cluster.configuration.keyPrefix).changeChannel,
            target: cluster.target(place), handshake: cluster.handshake(isForCharging: false),
            limits: cluster.configuration.limits, eventLoop: cluster.eventLoop
        ) { [weak self] in self?.report($0) }
    }

    private func report(_ event: ChangeFeedEvent) {
        switch event {
        case .opened:
            isOpen = true
            for link in inOrder(listeners) { notify(link, event) }
        case .alive:
            let waiting = inOrder(probing)
            probing = probingNext
            probingNext = [:]
            if !probing.isEmpty { subscription?.probe() }
            for link in waiting { notify(link, event) }
        case .changed(let beginning):
            if let partition = KeySpace.tag(in: beginning).flatMap({ partitions[$0] }) {
                if let link = listeners[partition] { notify(link, event) }
            } else {
                // Nothing is known of it but that something changed.
                for link in inOrder(listeners) { notify(link, event) }
            }
        case .closed:
            let closed = inOrder(listeners)
            listeners = [:]
            stop()
            for link in closed { link.delegate?.linkChangeFeed(event) }
        }
    }

    /// The subscription is useless: its listeners are notified, and open it again.
    private func leave(_ reason: String) {
        stop()
        later { $0.report(.closed(reason: reason)) }
    }

    private func stop() {
        subscription?.close()
        subscription = nil
        place = nil
        isOpen = false
        probing = [:]
        probingNext = [:]
    }

    private func inOrder(_ links: [Int: PartitionLink]) -> [PartitionLink] {
        links.sorted { $0.key < $1.key }.map(\.value)
    }

    /// A listener may stop while others are notified.
    private func notify(_ link: PartitionLink, _ event: ChangeFeedEvent) {
        if listeners[link.partition] === link { link.delegate?.linkChangeFeed(event) }
    }

    private func later(_ body: @escaping (ClusterChangeFeed) -> Void) {
        cluster.eventLoop.assumeIsolated().execute { [weak self] in if let self { body(self) } }
    }
}
