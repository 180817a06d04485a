/// Which replicas are live, by their heartbeats in the store, and when this replica's own is due. The list does not
/// change during an outage.
struct Membership {
    private(set) var view: ReplicaView
    /// When each other replica's last heartbeat was read, by this replica's monotonic clock.
    private var heardNs: [UInt64: Int64] = [:]
    /// When this replica last sent one.
    private var sentNs = Int64.min / 2

    init(_ view: ReplicaView, now: ClockReading) {
        self.view = view
        for replica in view.live where replica != view.own { heardNs[replica] = now.monotonicNs }
    }

    /// The other replicas.
    var others: some Sequence<UInt64> { heardNs.keys }

    // MARK: - Its own heartbeat

    /// When the next heartbeat is due, by the monotonic clock; nil while this replica still has counters to restore.
    ///
    /// - Parameter hasRestored: whether every counter seen before a data loss was restored.
    func nextHeartbeatNs(_ phase: Recovery.Phase?, hasRestored: Bool) -> Int64? {
        switch phase {
        case nil: sentNs + EngineBounds.heartbeatIntervalNs
        case .writingBack?: sentNs + EngineBounds.recoveryPollNs
        case .restoring?: hasRestored ? sentNs + EngineBounds.recoveryPollNs : nil
        }
    }

    mutating func sentHeartbeat(now: ClockReading) { sentNs = now.monotonicNs }

    /// Others wait for the next one: it is due at once.
    mutating func hurryHeartbeat() { sentNs = .min / 2 }

    // MARK: - Heartbeats of others

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
