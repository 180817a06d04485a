/// Which replicas live, by the list of their signs of life in the store. While the store is away it stands still.
struct LiveReplicas {
    private(set) var view: ReplicaView
    /// When each other replica's last sign of life was heard of, by this replica's monotonic clock.
    private var heardNs: [UInt64: Int64] = [:]

    init(_ view: ReplicaView, now: ClockReading) {
        self.view = view
        for replica in view.live where replica != view.own { heardNs[replica] = now.monotonicNs }
    }

    /// The other ones.
    var others: some Sequence<UInt64> { heardNs.keys }

    /// The store told which replicas gave a sign of life lately. One that it does not tell of is believed to live for as
    /// long as a sign of life counts: a store that has just come back has heard of few.
    mutating func told(_ replicas: some Sequence<UInt64>, now: ClockReading) {
        for replica in replicas
        where replica != view.own && (heardNs.count < EngineBounds.maxReplicas || heardNs[replica] != nil) {
            heardNs[replica] = now.monotonicNs
        }
        heardNs = heardNs.filter { now.monotonicNs - $0.value < EngineBounds.heartbeatTTLNs }
        let live = heardNs.isEmpty ? [] : [view.own] + heardNs.keys
        guard live.count != view.live.count || !Set(live).isSubset(of: view.live) else { return }
        view = ReplicaView(own: view.own, live: live, assumed: view.assumed)
    }

    /// The store is back: that nobody was heard of while it was away says nothing.
    mutating func storeReached(now: ClockReading) {
        for replica in heardNs.keys { heardNs[replica] = now.monotonicNs }
    }
}
