import DequeModule

/// Reservations that were made here while the store was away, until they are settled or what they charged no longer
/// counts. Those of the store are the store's.
struct LocalReservations {
    /// One counter that was charged.
    struct Item {
        var stem: ByteString
        /// Of the window in which it was charged.
        var terms: Terms
        var chargedMs: Int64
        /// Of a token bucket: as `Counter.admitLocally` returned it.
        var mark: BucketTally.Mark?
    }

    struct Record {
        var items: [Item]
        /// What it charged, and after a commit or a cancel what it was settled to.
        var cost: Int64
        var id: ReservationID
        var expiryMs: Int64
        /// What remembers the check, if it has an id.
        var memoKey: ByteString?
        /// Whether a batch with the same check may have run in the store as well.
        var mayBeStored: Bool
        /// Whether what it charged is kept from the store: see `Unsettled.inDoubt`.
        var isInDoubt = true
        var isCostSpent = false
        var areSlotsFreed = false

        /// Nothing of it is left to be settled.
        var isSpent: Bool { isCostSpent && (areSlotsFreed || !takesSlots) }

        func bytes(_ key: ByteString) -> Int {
            HeldBytes.perRow(of: [ByteString: Record].self) + HeldBytes.apart(key.bytes.count)
                + HeldBytes.apart(memoKey?.bytes.count ?? 0)
                + items.reduce(HeldBytes.perArray) {
                    $0 + MemoryLayout<Item>.stride + HeldBytes.apart($1.stem.bytes.count)
                }
        }

        var takesSlots: Bool { items.contains { $0.terms.algorithm == .concurrency } }
    }

    /// By the key that the record would have in the store, which names the grant and the reservation.
    private var records: [ByteString: Record] = [:]
    /// When what had expired was removed last, ms since the epoch.
    private var lastExpiredMs: Int64 = 0

    var count: Int { records.count }

    subscript(key: ByteString) -> Record? {
        get { records[key] }
        set {
            if let old = records[key] { bytes -= old.bytes(key) }
            records[key] = newValue
            if let newValue { bytes += newValue.bytes(key) }
        }
    }

    /// What they take, with their keys.
    private(set) var bytes = 0

    private mutating func countBytes() { bytes = records.reduce(0) { $0 + $1.value.bytes($1.key) } }

    /// No more can be made: see `EngineBounds.maxLocalReservations`.
    var isFull: Bool { records.count >= EngineBounds.maxLocalReservations }

    /// Of those that are spent it is only known that they were: they go first. Looking through all of them takes a
    /// millisecond: not for every check while none has expired.
    ///
    /// - Returns: what had expired.
    mutating func makeRoom(nowMs: Int64) -> [Record] {
        guard isFull && nowMs - lastExpiredMs >= EngineBounds.fullReservationsPauseMs else { return [] }
        let expired = expire(nowMs: nowMs)
        if isFull {
            records = records.filter { !$0.value.isSpent || $0.value.mayBeStored }
            countBytes()
        }
        return expired
    }

    /// - Returns: what was removed.
    mutating func expire(nowMs: Int64) -> [Record] {
        lastExpiredMs = nowMs
        guard records.contains(where: { $0.value.expiryMs <= nowMs }) else { return [] }
        defer {
            records = records.filter { $0.value.expiryMs > nowMs }
            countBytes()
        }
        return records.values.filter { $0.expiryMs <= nowMs }
    }
}

/// What checks with an id were answered, for as long as an id lives. When there are too many, the oldest is forgotten:
/// a check that is asked again after that may be charged again, and `forgotten` tells how many could be.
struct MemoTable {
    struct Memo {
        var argumentsHash: UInt64
        var decision: Decision
        var expiryNs: Int64
        /// Tells it from an earlier one of the same id.
        var number: Int64
    }

    private var memos: [ByteString: Memo] = [:]
    /// In the order in which they came, and so in that in which they go. One that was forgotten leaves its place behind.
    private var order: Deque<(key: ByteString, number: Int64)> = []
    private var lastNumber: Int64 = 0
    private(set) var forgotten: Int64 = 0
    /// What they take, with their keys and traces.
    private(set) var bytes = 0

    var count: Int { memos.count }

    private static func bytes(_ key: ByteString, _ memo: Memo) -> Int {
        HeldBytes.perRow(of: [ByteString: Memo].self) + HeldBytes.apart(key.bytes.count)
            + HeldBytes.apart((memo.decision.trace?.count ?? 0) * MemoryLayout<Decision.Look>.stride)
            + HeldBytes.apart(memo.decision.reservation?.utf8.count ?? 0)
            + MemoryLayout<(key: ByteString, number: Int64)>.stride * 2
    }

    private mutating func remove(_ key: ByteString) {
        guard let memo = memos.removeValue(forKey: key) else { return }
        bytes -= Self.bytes(key, memo)
    }

    func find(_ key: ByteString, now: Moment) -> Memo? {
        guard let memo = memos[key], memo.expiryNs > now.monotonicNs else { return nil }
        return memo
    }

    /// - Parameter mayGrow: whether there is room for one more; else the oldest goes for it.
    mutating func insert(
        _ key: ByteString, argumentsHash: UInt64, _ decision: Decision, mayGrow: Bool = true, now: Moment
    ) {
        expire(now: now)
        guard memos[key] == nil else { return }
        if order.count >= EngineBounds.maxMemos || !mayGrow, let oldest = order.first, isThere(oldest) {
            forgotten += 1
            removeOldest()
        }
        lastNumber += 1
        memos[key] = Memo(
            argumentsHash: argumentsHash, decision: decision, expiryNs: now.monotonicNs + EngineBounds.memoLifeNs,
            number: lastNumber)
        if let memo = memos[key] { bytes += Self.bytes(key, memo) }
        order.append((key, lastNumber))
    }

    /// A call that was admitted was never made.
    mutating func forget(_ key: ByteString) { remove(key) }

    mutating func expire(now: Moment) {
        while let oldest = order.first,
            !isThere(oldest) || memos[oldest.key].map({ $0.expiryNs <= now.monotonicNs }) ?? true
        {
            removeOldest()
        }
    }

    private func isThere(_ place: (key: ByteString, number: Int64)) -> Bool {
        memos[place.key]?.number == place.number
    }

    private mutating func removeOldest() {
        let oldest = order.removeFirst()
        if isThere(oldest) { remove(oldest.key) }
    }
}
