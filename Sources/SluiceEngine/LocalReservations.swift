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
        // The clock may have gone back since.
        guard isFull && abs(nowMs - lastExpiredMs) >= EngineBounds.fullReservationsPauseMs else { return [] }
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
