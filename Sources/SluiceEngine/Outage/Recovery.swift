/// How shared counting resumes after an outage or a data loss. Until every live replica has brought the store up to
/// date, its usage is too low, and no replica may admit what others have already spent.
///
/// A value-type state machine; the limiter feeds it with the heartbeats of others.
struct Recovery: Equatable {
    enum Phase: Equatable {
        /// The store lost its data. Waits until every live replica has restored what it last saw; meanwhile checks are
        /// answered locally, and nothing is written back: a restore sets a maximum, so an earlier increment would be lost.
        /// Becomes `writingBack`, or ends when its time is up.
        case restoring
        /// Waits until every live replica has written back what it admitted locally; meanwhile checks are decided by the
        /// store, and this replica admits no more than its share. Ends then, or when its time is up.
        case writingBack
    }

    private(set) var phase: Phase
    /// When it began, by the monotonic clock.
    private let startedNs: Int64
    /// Heartbeats count from this time of the store on, ms since the epoch: when the store was found to be available
    /// again, or to have lost its data.
    private let sinceMs: Int64
    /// The other replicas known when it began, and those of them that are still awaited.
    private let known: Set<UInt64>
    private var awaited: Set<UInt64>
    /// How many more than those are assumed to be live: a replica that has just started may not be listed yet.
    let unknown: Int
    /// Replicas that were not known then, and have reported.
    private var unlistedReplicas: Set<UInt64> = []

    /// - Parameters:
    ///   - others: the known ones.
    ///   - assumed: the minimum number of live replicas, this one included.
    init(_ phase: Phase, awaiting others: some Sequence<UInt64>, assumed: Int, sinceMs: Int64, now: ClockReading) {
        self.phase = phase
        startedNs = now.monotonicNs
        self.sinceMs = sinceMs
        known = Set(others)
        awaited = known
        unknown = max(0, assumed - 1 - known.count)
    }

    /// Whether any replica is still awaited.
    var isAwaiting: Bool { !awaited.isEmpty || unlistedReplicas.count < unknown }

    /// Its latest end, even if replicas are still awaited.
    var endNs: Int64 { startedNs + EngineBounds.maxRecoveryNs }

    enum Action: Equatable {
        case none
        /// All have restored: now local admissions may be written back.
        case writeBack
        /// All count in the store again.
        case end
    }

    /// Something has changed, or time has passed.
    ///
    /// - Parameter isDone: whether this replica has finished restoring, or writing back.
    mutating func advance(isDone: Bool, now: ClockReading) -> Action {
        if now.monotonicNs >= endNs { return .end }
        guard isDone && !isAwaiting else { return .none }
        guard phase == .restoring else { return .end }
        phase = .writingBack
        awaited = known
        unlistedReplicas = []
        return .writeBack
    }

    /// Another replica's heartbeat: it has restored what it last saw.
    mutating func heard(_ heartbeat: Heartbeat) {
        let doneMs = phase == .restoring ? heartbeat.seenMs : heartbeat.writtenBackMs
        guard doneMs >= sinceMs else { return }
        if known.contains(heartbeat.replica) {
            awaited.remove(heartbeat.replica)
        } else {
            unlistedReplicas.insert(heartbeat.replica)
        }
    }
}

/// What the store lists of one replica.
struct Heartbeat: Equatable {
    var replica: UInt64
    /// When its last heartbeat came, by the store's clock, ms since the epoch. It sends none while it has counters to
    /// restore.
    var seenMs: Int64
    /// When it last had nothing to write back and counted in the store, ms since the epoch; 0: never. This is its own
    /// reading of the store's clock at the time of sending, because the store may receive it only after an outage.
    var writtenBackMs: Int64
}
