/// A counter's lease: a block that was charged in the store ahead of time, and from which checks are answered without
/// asking it.
///
/// What is in a block is part of the usage that the store reports, so nothing else need know of it: a restore after a data
/// loss, a share in an outage and other replicas take it for used. A block is spent here, or given back as a `Credit`, or it
/// ends with its window. If a process dies, what is left of it stays charged until then.
struct Lease {
    /// What may be spent, in units of cost: charged in the store, in the open window.
    private(set) var block: Int64 = 0
    /// What batches without an answer ask for. None of it may be spent before.
    private(set) var asked: Int64 = 0
    /// The maximum of its limit, as last checked.
    private(set) var max: Int64 = 0
    /// Below this the next block is asked for.
    private var lowWater: Int64 = 0
    /// What checks took in the present stretch of time, and in the one before it.
    private var demand: Int64 = 0
    private var demandBefore: Int64 = 0
    private var stretch: Int64 = 0
    /// What they took since the last review, and between that and the one before it.
    private var used: Int64 = 0
    private var usedBefore: Int64 = 0
    /// The policies that its block was charged under: see `Leases.edition`.
    private(set) var edition: Int32 = 0
    /// How many reviews leave its block alone, because it is new.
    private var grace: UInt8 = 0
    /// Whether what is asked for now may not be spent: see `forfeit`.
    private var isForfeit = false
    /// Whether it is in `Leases.wanted`.
    var isWanted = false

    /// A stretch is 2^27 ns: the present and the last one together are 134 to 268 ms.
    private static let stretchShift: Int64 = 27
    private static let newGrace: UInt8 = 2

    private static func sum(_ one: Int64, _ other: Int64) -> Int64 { min(Quota.maxExact, one + other) }

    // MARK: - Checks

    /// Checks took this much, from the block or from the store.
    ///
    /// - Parameter max: that of their limit.
    mutating func note(_ units: Int64, max: Int64, nowNs: Int64) {
        self.max = max
        turn(nowNs: nowNs)
        demand = Self.sum(demand, units)
        used = Self.sum(used, units)
    }

    private mutating func turn(nowNs: Int64) {
        let now = nowNs >> Self.stretchShift
        guard now != stretch else { return }
        demandBefore = now == stretch + 1 ? demand : 0
        demand = 0
        stretch = now
    }

    /// Takes from the block, which has so much.
    ///
    /// - Parameter isNoted: whether `note` was called for these checks already.
    /// - Returns: whether the next block must be asked for.
    mutating func spend(_ units: Int64, max: Int64, isNoted: Bool, nowNs: Int64) -> Bool {
        block -= units
        if !isNoted { note(units, max: max, nowNs: nowNs) }
        return block < lowWater && asked == 0 && !isWanted
    }

    // MARK: - Blocks

    /// How much to ask for: so that the block lasts for twice what checks took lately, and no more than this replica's
    /// part of what is left. 0 if it is too little to be worth it: then checks are counted one by one.
    ///
    /// - Parameters:
    ///   - left: what is left of the maximum, as last seen.
    ///   - replicas: how many may want it.
    mutating func next(left: Int64, replicas: Int64, nowNs: Int64) -> Int64 {
        turn(nowNs: nowNs)
        let target = min(2 * Self.sum(demand, demandBefore), EngineBounds.maxLeaseUnits)
        let amount = min(target - block - asked, left / Swift.max(1, replicas))
        // Not before the window ends, or something is given back.
        lowWater = 0
        return asked == 0 && amount >= EngineBounds.minLeaseUnits ? amount : 0
    }

    mutating func ask(_ amount: Int64) { asked = Self.sum(asked, amount) }

    /// The store has granted a part of what was asked for.
    ///
    /// - Returns: how much of that nobody may spend.
    mutating func grant(_ amount: Int64, edition: Int32) -> Int64 {
        self.edition = edition
        if isForfeit { return amount }
        block = Self.sum(block, amount)
        lowWater = block / 2
        if amount > 0 { grace = Self.newGrace }
        return 0
    }

    /// The outcome of a batch is known.
    mutating func endAsking(_ amount: Int64) {
        asked = Swift.max(0, asked - amount)
        if asked == 0 { isForfeit = false }
    }

    /// The store's counter was cleared, and with it what was charged ahead of time: it may neither be spent nor be given back,
    /// for what is charged now is others'. A batch that asks for more may have run before the clear.
    mutating func forfeit() {
        block = 0
        lowWater = 0
        isForfeit = asked > 0
    }

    /// Its window is over.
    mutating func dropBlock() {
        block = 0
        asked = 0
        lowWater = 0
        isForfeit = false
    }

    mutating func takeBlock(_ amount: Int64) { block -= min(block, amount) }

    // MARK: - Reviews

    /// Time has passed.
    ///
    /// - Parameter edition: that of the present policies.
    /// - Returns: what of the block must be given back: all of one that was charged under other policies, else what
    ///   exceeds the use since the last but one review.
    mutating func review(edition: Int32) -> Int64 {
        defer {
            usedBefore = used
            used = 0
        }
        guard edition == self.edition else { return block }
        guard grace == 0 else {
            grace -= 1
            return 0
        }
        return Swift.max(0, block - Self.sum(used, usedBefore))
    }

    /// Whether nothing of it is needed any more; after a review.
    var isOver: Bool { block == 0 && asked == 0 && !isWanted && used == 0 && usedBefore == 0 }
}

/// The counters with a lease, each with a reference held by this list.
struct Leases {
    private var counters: [CounterID] = []
    /// Counters that need a block, each once.
    private var wanted: [CounterID] = []
    /// Counts the policies; blocks of earlier ones are not spent.
    private(set) var edition: Int32 = 0
    /// The next one to review.
    private var position = 0
    /// When some were last reviewed, by the monotonic clock.
    private var reviewedNs = Int64.min / 2

    var hasWanted: Bool { !wanted.isEmpty }
    var count: Int { counters.count }
    var all: [CounterID] { counters }

    var bytes: Int {
        (counters.capacity + wanted.capacity) * MemoryLayout<CounterID>.stride
            + counters.count * (HeldBytes.perObject + MemoryLayout<Counter.RareUsage>.stride)
    }

    /// - Returns: whether there is room for the counter.
    mutating func add(_ counter: CounterID, in table: inout PlanTable, now: ClockReading) -> Bool {
        guard counters.count < EngineBounds.maxLeases else { return false }
        if counters.isEmpty { reviewedNs = now.monotonicNs }
        table[counter].isLeased = true
        table[counter].references += 1
        counters.append(counter)
        return true
    }

    mutating func want(_ counter: CounterID) { wanted.append(counter) }

    mutating func takeWanted() -> CounterID? { wanted.popLast() }

    /// The policies have changed.
    mutating func outdate() { edition &+= 1 }

    // MARK: - Reviews

    /// When the next reviews are due, by the monotonic clock; nil if there are no leases.
    var nextReviewNs: Int64? { counters.isEmpty ? nil : reviewedNs + EngineBounds.leaseReviewPauseNs }

    /// How many must be reviewed now, so that each is once in `EngineBounds.leaseReviewNs`.
    mutating func beginReviews(now: ClockReading) -> Int {
        guard let nextReviewNs, now.monotonicNs >= nextReviewNs else { return 0 }
        let passedNs = min(now.monotonicNs - reviewedNs, EngineBounds.leaseReviewNs)
        reviewedNs = now.monotonicNs
        let share = (Int64(counters.count) * passedNs + EngineBounds.leaseReviewNs - 1) / EngineBounds.leaseReviewNs
        return min(Int(share), counters.count, EngineBounds.leasesReviewedAtOnce)
    }

    mutating func next() -> CounterID {
        if position >= counters.count { position = 0 }
        return counters[position]
    }

    /// That one was reviewed.
    ///
    /// - Parameter isOver: whether it is dropped.
    mutating func reviewed(isOver: Bool, in table: inout PlanTable) {
        guard isOver else { return position += 1 }
        let counter = counters[position]
        counters.swapAt(position, counters.count - 1)
        counters.removeLast()
        table[counter].endLease()
        table.release(counter: counter)
    }
}
