import SluiceEngine

/// One of the servers that have the partitions of a cluster, for operators.
struct StoreServer {
    /// Its host and port; nil: the cluster has no server for these partitions.
    let place: String?
    private(set) var partitionCount = 0
    /// How many of them are counted in the store.
    private(set) var sharedCount = 0
    /// Of the first partition that is not counted there: the breaker's state, and the last error.
    private(set) var state = "closed"
    private(set) var lastError = ""
    /// Since when the first of them has not been counted there; nil: all are.
    private(set) var unsharedSince: ClockReading?

    var isShared: Bool { sharedCount == partitionCount }

    fileprivate init(place: String?) { self.place = place }

    fileprivate mutating func add(_ partition: borrowing Limiter, since: ClockReading?) {
        partitionCount += 1
        guard !partition.isShared else { return sharedCount += 1 }
        if sharedCount + 1 == partitionCount || lastError.isEmpty {
            (state, lastError) = (partition.storeState, partition.storeError)
        }
        if let since, since.monotonicNs < unsharedSince?.monotonicNs ?? .max { unsharedSince = since }
    }

    /// For how long it has been so, ms.
    func unavailableMs(now: ClockReading) -> Int64 {
        unsharedSince.map { (now.monotonicNs - $0.monotonicNs) / 1_000_000 } ?? 0
    }
}

extension LimiterHost {
    /// Every server of a cluster that has partitions, by place, and last those partitions that have no server. Empty
    /// without a cluster, and until one of its nodes has said what there is.
    var storeServers: [StoreServer] {
        let places = links.map(\.serverPlace)
        guard places.contains(where: { $0 != nil }) else { return [] }
        var servers: [String?: StoreServer] = [:]
        for (partition, place) in places.enumerated() {
            servers[place, default: StoreServer(place: place)].add(
                limiter[partition], since: limiter.unsharedSince(partition) ?? unsharedSince)
        }
        return servers.values.sorted { one, other in
            guard let name = one.place, let otherName = other.place else { return one.place != nil }
            return name < otherName
        }
    }

    /// Where checks are counted, in a word or two.
    var counting: String {
        limiter.isShared ? "shared" : limiter.isPartlyShared ? "partly local" : "local"
    }
}
