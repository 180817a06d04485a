/// What becomes of counting after the store has forgotten: until every replica has offered what it last saw, counters in
/// the store may be too low, and so every check is answered locally.
///
/// A replica gives a sign of life only once its own offers are made. So one that lived before and has given one since the
/// store forgot has made them.
struct Recovery: Equatable {
    /// When it began, by the monotonic clock.
    var startedNs: Int64
    /// The store's time when it was found to have forgotten, ms since the epoch.
    var forgotMs: Int64
    /// Replicas that have not offered yet.
    var awaited: Set<UInt64>

    init(awaiting others: some Sequence<UInt64>, forgotMs: Int64, now: Moment) {
        startedNs = now.monotonicNs
        self.forgotMs = forgotMs
        awaited = Set(others)
    }

    /// The last moment of it, whoever is still awaited.
    var endNs: Int64 { startedNs + EngineBounds.maxRecoveryNs }

    func isOver(hasOffered: Bool, now: Moment) -> Bool {
        now.monotonicNs >= endNs || (hasOffered && awaited.isEmpty)
    }

    mutating func told(_ replica: UInt64, seenMs: Int64) { if seenMs >= forgotMs { awaited.remove(replica) } }
}
