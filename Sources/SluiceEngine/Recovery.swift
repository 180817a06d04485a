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
    private(set) var awaited: Set<UInt64>
    /// How many more than those are assumed to live: one that has just started may not have been heard of yet.
    let unknown: Int
    /// Who of the unknown ones has offered.
    private var strangers: Set<UInt64> = []

    /// - Parameters:
    ///   - others: those that are known.
    ///   - assumed: how many live at least, this one included.
    init(awaiting others: some Sequence<UInt64>, assumed: Int, forgotMs: Int64, now: Moment) {
        startedNs = now.monotonicNs
        self.forgotMs = forgotMs
        awaited = Set(others)
        unknown = max(0, assumed - 1 - awaited.count)
    }

    /// Whether anybody else is to be heard.
    var isAwaiting: Bool { !awaited.isEmpty || strangers.count < unknown }

    /// The last moment of it, whoever is still awaited.
    var endNs: Int64 { startedNs + EngineBounds.maxRecoveryNs }

    func isOver(hasOffered: Bool, now: Moment) -> Bool {
        now.monotonicNs >= endNs || (hasOffered && !isAwaiting)
    }

    /// - Parameter replica: another one.
    mutating func told(_ replica: UInt64, seenMs: Int64) {
        guard seenMs >= forgotMs, awaited.remove(replica) == nil else { return }
        strangers.insert(replica)
    }
}
