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
    /// Other replicas that were known when it began, and those of them that have not offered yet.
    private let known: Set<UInt64>
    private var awaited: Set<UInt64>
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
        known = Set(others)
        awaited = known
        unknown = max(0, assumed - 1 - known.count)
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
        guard seenMs >= forgotMs else { return }
        if known.contains(replica) { awaited.remove(replica) } else { strangers.insert(replica) }
    }
}
