/// What an operator decides of one replica, and the bounds of its tables.
package struct LimiterConfiguration: Sendable {
    /// What its keys begin with.
    package var keys: KeySpace
    /// The partitions of the counters, if they are in a cluster; nil: one server has them all.
    package var partitionTags: PartitionTags?
    /// Which of the partitions a limiter is.
    var place = PartitionPlace.alone
    /// Budget of a check from the socket to its answer, ms.
    package var budgetMs: Int64
    package var replicas: ReplicaView
    /// Whether there is a store that replicas share. Without one every answer is local.
    package var usesStore: Bool
    package var maxPlans = EngineBounds.maxPlans
    /// A grant takes at most one part in this many of a table.
    package var grantParts = EngineBounds.grantParts
    /// Most bytes that the tables of identities and counters may take. Above it a new identity finds them full.
    package var maxTableBytes = Int.max
    /// The most that one batch adds to a counter, in units of cost (for a token bucket, as `Usage.used`), at least 1.
    package var maxIncrement = EngineBounds.maxIncrement
    /// Whether the shell takes records, so that unsettled state survives a restart: see `Limiter.takeRecords`.
    package var keepsState = false
    /// Seeds pauses that must differ between replicas.
    package var seed: UInt64

    package init(keys: KeySpace, budgetMs: Int64, replicas: ReplicaView, usesStore: Bool, seed: UInt64) {
        precondition(budgetMs >= 1)
        self.keys = keys
        self.budgetMs = budgetMs
        self.replicas = replicas
        self.usesStore = usesStore
        self.seed = seed
    }
}

/// How long a check may take from the socket to its answer.
struct Budget {
    let totalNs: Int64
    /// How much of it may be spent waiting for the store. The rest is for delivering the answer.
    let storeWaitNs: Int64

    init(ms: Int64) {
        totalNs = ms * 1_000_000
        storeWaitNs = totalNs - min(EngineBounds.maxReserveNs, totalNs / 4)
    }
}
