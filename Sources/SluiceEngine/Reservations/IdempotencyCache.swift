import DequeModule

/// The answers to checks with an id, for as long as an id lives. If there are too many, of all grants or of one, the
/// oldest is dropped: a repeat of that check may be charged again, and `dropped` counts those that could be.
///
/// An answer given without the store is sent to it, so that all replicas can repeat it, and is sent again with every
/// connection until the store has confirmed it or an earlier one. The store keeps the first answer to an id, so
/// repeats are harmless. A cancelled call is sent likewise, if the store may know of it.
struct IdempotencyCache {
    struct Idempotency {
        var argumentsHash: UInt64
        var decision: Decision
        var expiryNs: Int64
        /// Distinguishes it from an earlier answer for the same id.
        var number: Int64
        fileprivate var record: Record
        /// The owner of its part of the table: see `Identity.owner`.
        fileprivate let owner: ByteString
        fileprivate(set) var writeBack: WriteBack
        /// Its reservation was committed: a later cancel only frees slots.
        fileprivate var isCommitted = false

        /// Its reservation in the store, which may not have been asked for; empty if none.
        var reservation: String { record.reservation }
        /// Whether this replica may know more about it than the store.
        var isUnsent: Bool { if case .none = writeBack { false } else { true } }
    }

    enum WriteBack {
        /// The store knows the id, or there is no store.
        case none
        /// It waits for a batch. `mayBeStored`: an earlier batch had it and was not answered, so the store may have
        /// it.
        case waiting(mayBeStored: Bool)
        /// A batch in flight has it.
        case sent
    }

    /// An answer in the form sent to the store.
    final class Record {
        let idempotency: Batch.Idempotency
        /// Whether it was admitted without the store.
        let isLocal: Bool
        /// The time of admission by the clock that cuts windows, ms since the epoch.
        let admittedMs: Int64
        let reservation: String
        /// The usage of all of its counters, as in `Batch.Charge.usageCount`.
        let numbers: [Int64]

        init(idempotency: Batch.Idempotency, isLocal: Bool, admittedMs: Int64, reservation: String, numbers: [Int64]) {
            self.idempotency = idempotency
            self.isLocal = isLocal
            self.admittedMs = admittedMs
            self.reservation = reservation
            self.numbers = numbers
        }
    }

    /// Something to send to the store.
    enum Unsent {
        case answer(key: ByteString, number: Int64)
        /// A cancelled call.
        case cancel(key: ByteString, reservation: String)
    }

    private var idempotency: [ByteString: Idempotency] = [:]
    /// The keys of the answers with a reservation, by the reservation.
    private var keys: [String: ByteString] = [:]
    private typealias Place = (key: ByteString, number: Int64)

    /// In order of arrival, which is the order of removal. A removed answer leaves a stale place.
    private var order: Deque<Place> = []
    /// The same for each grant.
    private var owners: [ByteString: Owner] = [:]
    /// A grant has at most one part in this many answers, and at most `maxGrantBytes`.
    var grantParts = EngineBounds.grantParts
    var maxGrantBytes = Int.max

    private struct Owner {
        var order: Deque<Place> = []
        var count = 0
        var bytes = 0
    }

    private var lastNumber: Int64 = 0
    private(set) var dropped: Int64 = 0
    /// Bytes held, with keys and traces.
    private(set) var bytes = 0
    /// Answers that wait for a batch. One that was removed, or that the store has by now, leaves a stale place.
    private var unsent: Deque<Place> = []
    /// The reservations of cancelled calls, by the key of the answer; sent before the answers.
    private var cancelled: [ByteString: [String]] = [:]
    private var cancelledCount = 0

    var count: Int { idempotency.count }

    /// The number of places in its lists, stale ones included.
    var placeCount: Int { order.count + unsent.count + owners.values.reduce(0) { $0 + $1.order.count } }

    /// Whether there is anything to send to the store.
    var hasUnsent: Bool { !unsent.isEmpty || cancelledCount > 0 }

    func find(_ key: ByteString, now: ClockReading) -> Idempotency? {
        guard let idempotency = idempotency[key], idempotency.expiryNs > now.monotonicNs else { return nil }
        return idempotency
    }

    /// Caches the answer to an admitted check. An earlier answer under its id belongs to another call, and is removed.
    ///
    /// - Parameters:
    ///   - owner: the grant.
    ///   - isUnsent: the store does not have it.
    ///   - mayGrow: whether there is room for one more; else the oldest is removed.
    mutating func insert(
        _ key: ByteString, owner: ByteString, argumentsHash: UInt64, _ decision: Decision, _ record: Record,
        isUnsent: Bool, mayGrow: Bool = true, now: ClockReading
    ) {
        expire(now: now)
        remove(key)
        if isFull(of: owner) {
            dropped += 1
            removeOldest(of: owner)
        } else if idempotency.count >= EngineBounds.maxIdempotencyKeys || !mayGrow, !idempotency.isEmpty {
            dropped += 1
            removeOldest()
        }
        lastNumber += 1
        if !record.reservation.isEmpty { keys[record.reservation] = key }
        idempotency[key] = Idempotency(
            argumentsHash: argumentsHash, decision: decision, expiryNs: now.monotonicNs + EngineBounds.idempotencyTTLNs,
            number: lastNumber, record: record, owner: owner, writeBack: isUnsent ? .waiting(mayBeStored: false) : .none
        )
        let size = idempotency[key].map { Self.bytes(key, $0) } ?? 0
        bytes += size
        order.append((key, lastNumber))
        owners[owner, default: Owner()].order.append((key, lastNumber))
        owners[owner]?.count += 1
        owners[owner]?.bytes += size
        if isUnsent { unsent.append((key, lastNumber)) }
        dropPlaces(of: owner)
    }

    /// Removes stale places once they are the majority: between live ones they do not go by themselves.
    private mutating func dropPlaces(of owner: ByteString) {
        let most = 2 * idempotency.count + Self.fewPlaces
        if order.count > most { order = Deque(order.filter { isThere($0) }) }
        if unsent.count > most { unsent = Deque(unsent.filter { isWaiting($0) }) }
        guard let (places, count) = owners[owner].map({ ($0.order.count, $0.count) }),
            places > 2 * count + Self.fewPlaces
        else { return }
        let live = (owners[owner]?.order ?? []).filter { isThere($0) }
        owners[owner]?.order = Deque(live)
    }

    /// Whether a grant has its full part. A separate function, so that the dictionary's value is not held, and so
    /// copied, when it changes.
    private func isFull(of owner: ByteString) -> Bool {
        guard let part = owners[owner] else { return false }
        return part.count >= EngineBounds.maxIdempotencyKeys / grantParts || part.bytes >= maxGrantBytes
    }

    private static let fewPlaces = 64

    /// A call that was admitted was never made.
    ///
    /// - Parameter isShared: there is a store, which must not replay the answer either.
    mutating func forget(_ key: ByteString, reservation: String, isShared: Bool) {
        guard let idempotency = idempotency[key], idempotency.reservation == reservation else { return }
        remove(key)
        if case .waiting(mayBeStored: false) = idempotency.writeBack { return }
        if isShared { addCancelled(key, reservation) }
    }

    /// The store has settled a reservation.
    mutating func settled(_ reservation: String, _ settlement: Batch.Settlement) {
        guard let key = keys[reservation] else { return }
        switch settlement {
        case .commit: idempotency[key]?.isCommitted = true
        case .cancel:
            guard let idempotency = idempotency[key], !idempotency.isCommitted else { return }
            // The store removed the answer in the same script, unless another replica committed the call: the next
            // check asks the store.
            if case .none = idempotency.writeBack {
                remove(key)
            } else {
                forget(key, reservation: reservation, isShared: true)
            }
        case .release: break
        }
    }

    private mutating func remove(_ key: ByteString) {
        guard let idempotency = idempotency.removeValue(forKey: key) else { return }
        let size = Self.bytes(key, idempotency)
        bytes -= size
        owners[idempotency.owner]?.count -= 1
        owners[idempotency.owner]?.bytes -= size
        if owners[idempotency.owner]?.count == 0 { owners[idempotency.owner] = nil }
        if !idempotency.reservation.isEmpty { keys[idempotency.reservation] = nil }
    }

    private static func bytes(_ key: ByteString, _ idempotency: Idempotency) -> Int {
        HeldBytes.perRow(of: [ByteString: Idempotency].self) + HeldBytes.array(key.bytes.count)
            + HeldBytes.array((idempotency.decision.trace?.count ?? 0) * MemoryLayout<Decision.LimitTrace>.stride)
            + HeldBytes.array(idempotency.record.numbers.count * MemoryLayout<Int64>.stride)
            + HeldBytes.array(idempotency.reservation.utf8.count) * 2
            + MemoryLayout<Place>.stride * 4
    }

    private mutating func addCancelled(_ key: ByteString, _ reservation: String) {
        guard cancelledCount < EngineBounds.maxUnsentCancels else { return }
        cancelled[key, default: []].append(reservation)
        cancelledCount += 1
    }

    mutating func expire(now: ClockReading) {
        while let oldest = order.first,
            !isThere(oldest) || idempotency[oldest.key].map({ $0.expiryNs <= now.monotonicNs }) ?? true
        {
            let oldest = order.removeFirst()
            if isThere(oldest) { remove(oldest.key) }
        }
        while let first = unsent.first, !isWaiting(first) { unsent.removeFirst() }
    }

    private func isThere(_ place: Place) -> Bool {
        idempotency[place.key]?.number == place.number
    }

    private func isWaiting(_ place: Place) -> Bool {
        if isThere(place), case .waiting? = idempotency[place.key]?.writeBack { true } else { false }
    }

    private mutating func removeOldest() {
        while let oldest = order.popFirst() {
            if isThere(oldest) { return remove(oldest.key) }
        }
    }

    private mutating func removeOldest(of owner: ByteString) {
        while let oldest = owners[owner]?.order.popFirst() {
            if isThere(oldest) { return remove(oldest.key) }
        }
    }

    // MARK: - Answers to send

    /// The store lost its data: all answers are sent again.
    mutating func markAllUnsent() {
        for place in order where isThere(place) {
            guard case .none? = idempotency[place.key]?.writeBack else { continue }
            idempotency[place.key]?.writeBack = .waiting(mayBeStored: true)
            unsent.append(place)
        }
    }

    /// Takes a cancelled call of this id, which is sent before the next check of the id.
    mutating func takeCancelled(_ key: ByteString) -> Unsent? {
        guard let reservation = cancelled[key]?.popLast() else { return nil }
        if cancelled[key]?.isEmpty ?? false { cancelled[key] = nil }
        cancelledCount -= 1
        return .cancel(key: key, reservation: reservation)
    }

    /// Takes something for a batch: cancelled calls first.
    mutating func takeUnsent() -> Unsent? {
        if let key = cancelled.keys.first, let cancel = takeCancelled(key) { return cancel }
        while let place = unsent.popFirst() {
            guard isWaiting(place) else { continue }
            idempotency[place.key]?.writeBack = .sent
            return .answer(key: place.key, number: place.number)
        }
        return nil
    }

    /// The operation to send; nil if the call was cancelled since, or the id has expired.
    func writing(_ unsent: Unsent, now: ClockReading) -> Batch.Operation? {
        switch unsent {
        case .cancel(_, let reservation): return .forget(reservation: reservation)
        case .answer(let key, let number):
            guard let idempotency = find(key, now: now), idempotency.number == number else { return nil }
            let record = idempotency.record
            return .remember(
                Batch.Answer(
                    idempotency: record.idempotency, isLocal: record.isLocal, admittedMs: record.admittedMs,
                    reservation: record.reservation, numbers: record.numbers,
                    lifeMs: max(1, (idempotency.expiryNs - now.monotonicNs) / 1_000_000)))
        }
    }

    /// The store has answered: it has this answer, or an earlier one.
    mutating func isStored(_ unsent: Unsent) {
        guard case .answer(let key, let number) = unsent, idempotency[key]?.number == number else { return }
        idempotency[key]?.writeBack = .none
    }

    /// It is not known whether the store has it: it is sent again.
    mutating func isUnknown(_ unsent: Unsent) {
        switch unsent {
        case .cancel(let key, let reservation): addCancelled(key, reservation)
        case .answer(let key, let number):
            guard idempotency[key]?.number == number, case .sent? = idempotency[key]?.writeBack else { return }
            idempotency[key]?.writeBack = .waiting(mayBeStored: true)
            self.unsent.append((key, number))
        }
    }
}
