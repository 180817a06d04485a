/// Which replicas are live, by their heartbeats in the store. The list does not change during an outage.
struct LiveReplicas {
    private(set) var view: ReplicaView
    /// When each other replica's last heartbeat was read, by this replica's monotonic clock.
    private var heardNs: [UInt64: Int64] = [:]

    init(_ view: ReplicaView, now: ClockReading) {
        self.view = view
        for replica in view.live where replica != view.own { heardNs[replica] = now.monotonicNs }
    }

    /// The other replicas.
    var others: some Sequence<UInt64> { heardNs.keys }

    /// Takes the store's list of replicas with a recent heartbeat. A replica that is missing still counts as live
    /// until its heartbeat expires: a store that has just come back lists few.
    mutating func update(_ replicas: some Sequence<UInt64>, now: ClockReading) {
        for replica in replicas
        where replica != view.own && (heardNs.count < EngineBounds.maxReplicas || heardNs[replica] != nil) {
            heardNs[replica] = now.monotonicNs
        }
        heardNs = heardNs.filter { now.monotonicNs - $0.value < EngineBounds.heartbeatTTLNs }
        let live = heardNs.isEmpty ? [] : [view.own] + heardNs.keys
        guard live.count != view.live.count || !Set(live).isSubset(of: view.live) else { return }
        view = ReplicaView(own: view.own, live: live, assumed: view.assumed)
    }

    /// The store is available again: heartbeats missing during the outage prove nothing.
    mutating func storeReached(now: ClockReading) {
        for replica in heardNs.keys { heardNs[replica] = now.monotonicNs }
    }
}
