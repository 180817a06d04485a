import SluicePolicy

/// Reservations made locally during an outage, until they are settled or their charges no longer count. Reservations
/// made in the store are not here.
struct LocalReservations {
    /// One charged counter.
    struct Item {
        var baseKey: ByteString
        /// The quota of the window in which it was charged.
        var quota: Quota
        var chargedMs: Int64
        /// For a token bucket: as `Counter.admitLocally` returned it.
        var receipt: BucketUsage.ChargeReceipt?
    }

    struct Record {
        var items: [Item]
        /// What it charged; after a commit or a cancel, the settled cost.
        var cost: Int64
        /// Whether its call was never made: then limits that count calls do not count it either.
        var isCancelled = false
        var id: ReservationID
        /// The owner of its part of the table: see `Identity.owner`.
        var owner: ByteString
        /// When the last of its charges stops to count, ms since the epoch; and until when it can be settled.
        var countsUntilMs: Int64
        var expiryMs: Int64
        /// The idempotency key, if the check has an id.
        var idempotencyKey: ByteString?
        /// Whether a batch with the same check may also have run in the store.
        var mayBeStored: Bool
        /// Whether that batch turned out to have run: then the charge is the store's, unless it denied it.
        var isStored = false
        /// Whether its charge is kept from being written back: see `UnwrittenUsage.unconfirmed`.
        var isUnconfirmed = true
        var isCostSpent = false
        var areSlotsFreed = false

        /// What it charges to one of its counters.
        func charge(_ item: Item) -> Int64 { charge(item.quota) }

        func charge(_ quota: Quota) -> Int64 { quota.countsCalls ? (isCancelled ? 0 : 1) : cost }

        /// Nothing of it is left to settle.
        var isSpent: Bool { isCostSpent && (areSlotsFreed || !takesSlots) }

        func bytes(_ key: ByteString) -> Int {
            HeldBytes.perRow(of: [ByteString: Record].self) + HeldBytes.array(key.bytes.count)
                + HeldBytes.array(idempotencyKey?.bytes.count ?? 0)
                + items.reduce(HeldBytes.perArray) {
                    $0 + MemoryLayout<Item>.stride + HeldBytes.array($1.baseKey.bytes.count)
                }
        }

        var takesSlots: Bool { items.contains { $0.quota.algorithm == .concurrency } }
    }

    /// By the key that the record would have in the store, which contains the grant and the reservation.
    private var records: [ByteString: Record] = [:]
    /// The number and bytes of each grant's reservations.
    private var owners: [ByteString: (count: Int, bytes: Int)] = [:]
    /// A grant has at most one part in this many reservations, and at most `maxGrantBytes`.
    var grantParts = EngineBounds.grantParts
    var maxGrantBytes = Int.max
    /// When expired reservations were last removed, ms since the epoch.
    private var lastExpiredMs: Int64 = 0

    var count: Int { records.count }

    subscript(key: ByteString) -> Record? {
        get { records[key] }
        set {
            if let old = records[key] { count(old, key, by: -1) }
            records[key] = newValue
            if let newValue { count(newValue, key, by: 1) }
        }
    }

    private mutating func count(_ record: Record, _ key: ByteString, by sign: Int) {
        let size = record.bytes(key)
        bytes += sign * size
        var owner = owners[record.owner] ?? (0, 0)
        owner.count += sign
        owner.bytes += sign * size
        owners[record.owner] = owner.count == 0 ? nil : owner
    }

    /// Bytes held, with keys.
    private(set) var bytes = 0

    private mutating func remove(where isGone: (Record) -> Bool) {
        records = records.filter { key, record in
            guard isGone(record) else { return true }
            count(record, key, by: -1)
            return false
        }
    }

    /// Whether no more can be made: see `EngineBounds.maxLocalReservations`.
    var isFull: Bool { records.count >= EngineBounds.maxLocalReservations }

    /// Whether a grant can make no more.
    func isFull(of owner: ByteString) -> Bool {
        guard let part = owners[owner] else { return false }
        return part.count >= EngineBounds.maxLocalReservations / grantParts || part.bytes >= maxGrantBytes
    }

    /// Removes expired reservations, but not on every check: a scan of all takes a millisecond, for nothing while none
    /// has expired.
    ///
    /// - Returns: the expired ones.
    mutating func makeRoom(for owner: ByteString, nowMs: Int64) -> [Record] {
        // The clock may have gone back since.
        guard isFull || isFull(of: owner), abs(nowMs - lastExpiredMs) >= EngineBounds.fullReservationsPauseMs
        else { return [] }
        // Late settlements give way to new reservations.
        let expired = expire(nowMs: nowMs, keepsLate: false)
        if isFull {
            remove { $0.isSpent && !$0.mayBeStored }
        } else if isFull(of: owner) {
            remove { $0.owner == owner && $0.isSpent && !$0.mayBeStored }
        }
        return expired
    }

    /// - Parameter keepsLate: keeps those whose charges no longer count and that can still be settled.
    /// - Returns: what was removed.
    mutating func expire(nowMs: Int64, keepsLate: Bool = true) -> [Record] {
        lastExpiredMs = nowMs
        let isOver = { (record: Record) in (keepsLate ? record.expiryMs : record.countsUntilMs) <= nowMs }
        let expired = records.values.filter(isOver)
        if !expired.isEmpty { remove(where: isOver) }
        return expired
    }
}
