import DequeModule

/// What checks with an id were answered, for as long as an id lives. When there are too many, of all grants or of one, the
/// oldest is forgotten: a check that is asked again after that may be charged again, and `forgotten` tells how many could be.
///
/// What was answered without the store is owed to it, so that all replicas can give the same answer; until the store has
/// answered that it has it, or another that came first, it is told again with every connection. It takes the first it is told
/// of an id, and so may be told as often as one likes. A call that was cancelled is owed likewise, once the store may know of it.
struct IdempotencyCache {
    struct Idempotency {
        var argumentsHash: UInt64
        var decision: Decision
        var expiryNs: Int64
        /// Tells it from an earlier one of the same id.
        var number: Int64
        fileprivate var record: Record
        /// Whose part of the table it takes: see `Identity.owner`.
        fileprivate let owner: ByteString
        fileprivate(set) var writeBack: WriteBack
        /// Its reservation was committed: a cancel only frees slots from then on.
        fileprivate var isCommitted = false

        /// What it reserves under in the store, which may not have been asked for; empty if nothing.
        var reservation: String { record.reservation }
        /// Whether this replica knows more of it than the store may.
        var isUnsent: Bool { if case .none = writeBack { false } else { true } }
    }

    enum WriteBack {
        /// The store knows of the id, or there is none.
        case none
        /// It waits for a batch. Whether one took it before whose answer never came: then the store may have it.
        case waiting(mayBeStored: Bool)
        /// A batch is on its way with it.
        case sent
    }

    /// An answer as the store is told it.
    final class Record {
        let idempotency: Batch.Idempotency
        /// Whether it was admitted without the store.
        let isLocal: Bool
        /// By the time that cuts windows, ms since the epoch.
        let admittedMs: Int64
        let reservation: String
        /// As `Batch.Charge.usageCount` says, of all of its counters.
        let numbers: [Int64]

        init(idempotency: Batch.Idempotency, isLocal: Bool, admittedMs: Int64, reservation: String, numbers: [Int64]) {
            self.idempotency = idempotency
            self.isLocal = isLocal
            self.admittedMs = admittedMs
            self.reservation = reservation
            self.numbers = numbers
        }
    }

    /// Something that a batch tells the store.
    enum Owed {
        case answer(key: ByteString, number: Int64)
        /// A call that was cancelled.
        case cancel(key: ByteString, reservation: String)
    }

    private var idempotency: [ByteString: Idempotency] = [:]
    /// The keys of those that reserve, by the reservation.
    private var keys: [String: ByteString] = [:]
    private typealias Place = (key: ByteString, number: Int64)

    /// In the order in which they came, and so in that in which they go. One that was forgotten leaves its place behind.
    private var order: Deque<Place> = []
    /// The same of each grant.
    private var owners: [ByteString: Owner] = [:]
    /// No grant has more than one part in so many, nor more bytes than these.
    var grantParts = EngineBounds.grantParts
    var maxGrantBytes = Int.max

    private struct Owner {
        var order: Deque<Place> = []
        var count = 0
        var bytes = 0
    }

    private var lastNumber: Int64 = 0
    private(set) var forgotten: Int64 = 0
    /// What they take, with their keys and traces.
    private(set) var bytes = 0
    /// Those that wait for a batch. One that was forgotten, or that the store knows by now, leaves its place behind.
    private var owed: Deque<Place> = []
    /// The reservations of calls that were cancelled, by the key of the answer; they go before the answers.
    private var cancelled: [ByteString: [String]] = [:]
    private var cancelledCount = 0

    var count: Int { idempotency.count }

    /// How many places there are in its lists, those that were left behind among them.
    var placeCount: Int { order.count + owed.count + owners.values.reduce(0) { $0 + $1.order.count } }

    /// Whether the store is to be told anything.
    var owes: Bool { !owed.isEmpty || cancelledCount > 0 }

    func find(_ key: ByteString, now: ClockReading) -> Idempotency? {
        guard let idempotency = idempotency[key], idempotency.expiryNs > now.monotonicNs else { return nil }
        return idempotency
    }

    /// A check was admitted: what was known of its id is of another call.
    ///
    /// - Parameters:
    ///   - owner: the grant.
    ///   - isUnsent: the store does not know of it.
    ///   - mayGrow: whether there is room for one more; else the oldest goes for it.
    mutating func insert(
        _ key: ByteString, owner: ByteString, argumentsHash: UInt64, _ decision: Decision, _ record: Record,
        isUnsent: Bool, mayGrow: Bool = true, now: ClockReading
    ) {
        expire(now: now)
        remove(key)
        if isFull(of: owner) {
            forgotten += 1
            removeOldest(of: owner)
        } else if idempotency.count >= EngineBounds.maxIdempotencyKeys || !mayGrow, !idempotency.isEmpty {
            forgotten += 1
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
        if isUnsent { owed.append((key, lastNumber)) }
        dropPlaces(of: owner)
    }

    /// Places that were left behind go when they are most of all: between the others, none goes by itself.
    private mutating func dropPlaces(of owner: ByteString) {
        let most = 2 * idempotency.count + Self.fewPlaces
        if order.count > most { order = Deque(order.filter { isThere($0) }) }
        if owed.count > most { owed = Deque(owed.filter { isWaiting($0) }) }
        guard let (places, count) = owners[owner].map({ ($0.order.count, $0.count) }),
            places > 2 * count + Self.fewPlaces
        else { return }
        let live = (owners[owner]?.order ?? []).filter { isThere($0) }
        owners[owner]?.order = Deque(live)
    }

    /// A grant has its part. A function of its own: what is looked at is not held while it is changed, and so not copied.
    private func isFull(of owner: ByteString) -> Bool {
        guard let part = owners[owner] else { return false }
        return part.count >= EngineBounds.maxIdempotencyKeys / grantParts || part.bytes >= maxGrantBytes
    }

    private static let fewPlaces = 64

    /// A call that was admitted was never made.
    ///
    /// - Parameter isShared: there is a store, which must not replay it either.
    mutating func forget(_ key: ByteString, reservation: String, isShared: Bool) {
        guard let idempotency = idempotency[key], idempotency.reservation == reservation else { return }
        remove(key)
        if case .waiting(mayBeStored: false) = idempotency.writeBack { return }
        if isShared { owe(key, reservation) }
    }

    /// The store has settled a reservation.
    mutating func settled(_ reservation: String, _ settlement: Batch.Settlement) {
        guard let key = keys[reservation] else { return }
        switch settlement {
        case .commit: idempotency[key]?.isCommitted = true
        case .cancel:
            guard let idempotency = idempotency[key], !idempotency.isCommitted else { return }
            // The store forgot it in the same script, unless the call was committed by another replica: it is asked again.
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
        HeldBytes.perRow(of: [ByteString: Idempotency].self) + HeldBytes.apart(key.bytes.count)
            + HeldBytes.apart((idempotency.decision.trace?.count ?? 0) * MemoryLayout<Decision.LimitTrace>.stride)
            + HeldBytes.apart(idempotency.record.numbers.count * MemoryLayout<Int64>.stride)
            + HeldBytes.apart(idempotency.reservation.utf8.count) * 2
            + MemoryLayout<Place>.stride * 4
    }

    private mutating func owe(_ key: ByteString, _ reservation: String) {
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
        while let first = owed.first, !isWaiting(first) { owed.removeFirst() }
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

    // MARK: - What the store is owed

    /// The store has lost its data: it is told of all again.
    mutating func markAllUnsent() {
        for place in order where isThere(place) {
            guard case .none? = idempotency[place.key]?.writeBack else { continue }
            idempotency[place.key]?.writeBack = .waiting(mayBeStored: true)
            owed.append(place)
        }
    }

    /// Takes a call of this id that was cancelled, so that it is told before the id is asked for again.
    mutating func takeCancelled(_ key: ByteString) -> Owed? {
        guard let reservation = cancelled[key]?.popLast() else { return nil }
        if cancelled[key]?.isEmpty ?? false { cancelled[key] = nil }
        cancelledCount -= 1
        return .cancel(key: key, reservation: reservation)
    }

    /// Takes something for a batch: what was cancelled first.
    mutating func takeUnsent() -> Owed? {
        if let key = cancelled.keys.first, let cancel = takeCancelled(key) { return cancel }
        while let place = owed.popFirst() {
            guard isWaiting(place) else { continue }
            idempotency[place.key]?.writeBack = .sent
            return .answer(key: place.key, number: place.number)
        }
        return nil
    }

    /// What a batch is to write of it; nil if its call was cancelled since, or its life is over.
    func writing(_ owed: Owed, now: ClockReading) -> Batch.Operation? {
        switch owed {
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

    /// The store has answered: it has it, or what came first.
    mutating func isStored(_ owed: Owed) {
        guard case .answer(let key, let number) = owed, idempotency[key]?.number == number else { return }
        idempotency[key]?.writeBack = .none
    }

    /// It is not known whether the store has it: it is told again.
    mutating func isUnknown(_ owed: Owed) {
        switch owed {
        case .cancel(let key, let reservation): owe(key, reservation)
        case .answer(let key, let number):
            guard idempotency[key]?.number == number, case .sent? = idempotency[key]?.writeBack else { return }
            idempotency[key]?.writeBack = .waiting(mayBeStored: true)
            self.owed.append((key, number))
        }
    }
}
