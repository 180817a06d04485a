import SluicePolicy

/// What the policy makes of one identity: decided outright, or counted under these limits.
struct Plan {
    struct LimitRef {
        var counter: Int
        var max: Int64
        var rule: String
        var message: String
        var messageTellsWait: Bool
    }

    var identity: ByteString
    /// The policy alone decides; then there are no limits.
    var ruled: Decision?
    var limits: [LimitRef]
    var smallestMax: Int64
    var lastUsedNs: Int64
    /// How many entries of pending batches name this plan: it must not be forgotten before they are done.
    var pins = 0
    /// Its first entry in the batch of that id.
    var batchID: Int64 = -1
    var firstEntry = -1
    /// Whether the store could not charge one of its counters when it was last asked.
    var isFaulty = false
    var isFree = false
    /// Which policies it was made by: see `PlanTable.outdate`.
    var edition = 0
    /// Another plan has its identity now; it goes when no batch names it any more.
    var isReplaced = false
}

/// What this replica knows of one counter: the window it last looked at, how much of it the store said was used, and
/// what was admitted here without the store.
struct Counter {
    /// The key in the store of the window at `windowStartMs`: the stem, which stays the same, and then that start. Kept
    /// whole, so that charging it again in the same window is one copy.
    private(set) var key: [UInt8]
    private let stemCount: Int
    let hash: UInt64
    let window: FixedWindow
    private let lengthMs: Int64
    /// How many plans use it; 0 frees it.
    var references = 0
    private(set) var windowStartMs: Int64 = -1
    /// The highest tally that the store told of this window; only if `isSeen`.
    var sharedUsed: Int64 = 0
    var isSeen = false
    /// Admitted locally in this window since the store went away.
    var localUsed: Int64 = 0
    /// What may be admitted locally while the store is away; -1 until the first check asks.
    var localShare: Int64 = -1
    /// The maximum of which that is the share.
    var shareMax: Int64 = -1
    /// Admitted locally in this window in outages that are over, and not added to the store.
    var unsettled: Int64 = 0

    init(stem: [UInt8], window: FixedWindow) {
        key = stem
        stemCount = stem.count
        hash = stableHash(stem)
        self.window = window
        lengthMs = window.lengthMs
    }

    /// The key without the window's start.
    var stem: ArraySlice<UInt8> { key[..<stemCount] }
    /// Exclusive.
    var windowEndMs: Int64 { windowStartMs + lengthMs }

    var openWindow: Range<Int64> { windowStartMs..<windowEndMs }

    /// When the window that holds `nowMs` starts. It mostly is the one that is open here: then that costs no division.
    func startMs(at nowMs: Int64) -> Int64 {
        windowStartMs >= 0 && nowMs >= windowStartMs && nowMs < windowEndMs
            ? windowStartMs : window.startMs(at: nowMs)
    }

    /// Turns to the window that holds `nowMs`, with nothing known of it if it is another.
    mutating func roll(at nowMs: Int64) {
        let startMs = startMs(at: nowMs)
        guard windowStartMs != startMs else { return }
        windowStartMs = startMs
        key.removeSubrange(stemCount...)
        appendDecimal(startMs, to: &key)
        sharedUsed = 0
        isSeen = false
        localUsed = 0
        localShare = -1
        unsettled = 0
    }

    /// The store told how much is used of the window that holds `cutMs`.
    mutating func observe(used: Int64, cutMs: Int64) {
        guard startMs(at: cutMs) == windowStartMs else { return }
        sharedUsed = used
        isSeen = true
        if localShare >= 0 {
            unsettled += localUsed
            localUsed = 0
            localShare = -1
        }
    }

    /// `amount` that was admitted here turned out to have been charged in the store as well, in the window that holds
    /// `cutMs`.
    mutating func settle(_ amount: Int64, cutMs: Int64) {
        guard startMs(at: cutMs) == windowStartMs else { return }
        unsettled -= min(unsettled, amount)
    }

    /// A batch whose answer never came turned out to have run: `amount` that was admitted here in its place, in the
    /// window that holds `cutMs`, is the store's from now on. What may still be admitted here stays the same.
    mutating func resolve(_ amount: Int64, cutMs: Int64) {
        guard startMs(at: cutMs) == windowStartMs else { return }
        let current = min(localUsed, amount)
        localUsed -= current
        localShare -= current
        let earlier = min(unsettled, amount - current)
        unsettled -= earlier
        sharedUsed += current + earlier
        isSeen = true
    }

    /// What may still be admitted here while the store is away.
    mutating func leftLocally(max: Int64, replicas: borrowing ReplicaView) -> Int64 {
        if localShare < 0 || shareMax != max {
            shareMax = max
            localShare = replicas.share(of: max - sharedUsed - unsettled, counterHash: hash)
        }
        return localShare - localUsed
    }

    /// All that is known here to be used.
    var knownUsed: Int64 { sharedUsed + unsettled + localUsed }

    /// Whether forgetting it loses anything that matters at `nowMs`: an open window's tally decides what may be
    /// admitted while the store is away.
    func isQuiet(nowMs: Int64) -> Bool {
        windowStartMs < 0 || nowMs >= windowEndMs || (!isSeen && localUsed == 0 && unsettled == 0)
    }
}
