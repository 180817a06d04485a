package import SluiceEngine
import SluicePolicy

/// A model of a Redis that runs the scripts, in plain Swift: for tests that want a store without a process.
///
/// Its clock stands still until the test moves it. `run` does what one call of a script does, atomically. What an entry
/// does is in `ModelStore+Check.swift` and `ModelStore+Settle.swift`.
package struct ModelStore: Sendable {
    /// What a key holds.
    package enum Value: Sendable, Equatable {
        /// The tally of a window, or a number of refusals.
        case integer(Int64)
        /// A token bucket: its level at a time, ms since the epoch, and what was given back of it so far.
        case bucket(level: Int64, lastMs: Int64, credited: Int64)
        /// A sliding log.
        case log(UsageLog)
        /// Slots that are taken: when each expires, ms since the epoch, by the reservation that holds it.
        case slots([String: Int64])
        case record(Record)
        case idempotency(StoredAnswer)
        /// A string that is none of these.
        case text(String)
        /// Something of a wrong type: a list, say.
        case foreign
    }

    /// What a reservation charged, and what of it has been settled.
    package struct Record: Sendable, Equatable {
        package struct Charge: Sendable, Equatable {
            package var key: [UInt8]
            package var quota: Quota
            /// A token bucket's level right after the charge, and what had been given back of it by then.
            package var levelAfter: Int64
            package var creditedBefore: Int64
            /// When it was charged, ms since the epoch.
            package var chargedMs: Int64
        }

        package var cost: Int64
        package var charges: [Charge]
        /// Of the check's memo, if it has one.
        package var idempotencyKey: [UInt8]?
        package var isCostSpent = false
        package var areSlotsFreed = false

        package var hasSlots: Bool { charges.contains { $0.quota.algorithm == .concurrency } }
    }

    /// What is remembered of a check that was admitted.
    package struct StoredAnswer: Sendable, Equatable {
        package var idempotency: Batch.Idempotency
        package var admittedMs: Int64
        /// Whether a replica admitted it alone.
        package var isLocal = false
        /// Empty if it reserved nothing.
        package var reservation: String
        package var numbers: [Int64]
    }

    /// How far a replica's batches got.
    fileprivate struct Marker {
        /// Something else lies in its place.
        var strange: String?
        /// The sequence of the last batch that ran and may have charged; negated, since when the replica hears that the
        /// store forgot, ms since the epoch; 0 if none.
        var charged: Int64 = 0
        /// Of the last batch that ran; or the same.
        var newest: Int64 = 0
    }

    struct Item {
        var value: Value
        /// By the store's clock, ms; nil: it lives for ever.
        var expiresAtMs: Int64?
    }

    /// The store's own clock, ms since the epoch. May be set back, as a failover would.
    package var clockMs: Int64
    /// While it is set, every call is refused with it before it runs (`LOADING`, say).
    package var rejection: String?
    /// How many calls ran, whatever they answered.
    package private(set) var runs = 0
    var items = ByteTable<Item>()
    private var markers: [UInt64: (marker: Marker, expiresAtMs: Int64)] = [:]
    /// Whether something else lies where the list of replicas should.
    package var areHeartbeatsFaulty = false
    /// When each replica gave its last heartbeat, and when it last had nothing to write back, ms since the epoch.
    private var heartbeats: [UInt64: Int64] = [:]
    private var writtenBack: [UInt64: Int64] = [:]
    /// The scores of members of their list that name no replica.
    private var unnamedHeartbeats: [Double] = []
    /// Whether it has the keys of a partition of a cluster.
    package var isPartition = false
    /// What was published of counters that were lowered, oldest first; see `takePublished`.
    var published: [[UInt8]] = []
    /// What is wrong with a counter that the settlement at hand should have changed, if anything is.
    var passedOver: KeyFault?
    /// Whether the replica of the batch at hand knows that this clock is behind: then no bucket leaks.
    var isBehind = false
    /// How far ahead a bucket's time may be, and is waited for, ms.
    private static let clockStepMs: Int64 = 60_000
    /// The keys that the batch at hand has lowered.
    var lowered: [[UInt8]] = []
    /// Counters that the current batch has cleared, the list of overrides if it changed that, and all that clears ever took of each key.
    var cleared: [[UInt8]] = []
    package internal(set) var clearedUnits: [[UInt8]: Int64] = [:]

    private static let markerTimeToLiveMs: Int64 = 3_600_000
    /// How far a replica follows a marker that is ahead of it.
    private static let maxSequence: Int64 = 1 << 52

    package init(clockMs: Int64) { self.clockMs = clockMs }

    // MARK: - The script

    package mutating func run(_ batch: Batch, replica: UInt64) -> Result<BatchReply, BatchFailure> {
        if let rejection { return .failure(.rejected(rejection)) }
        runs += 1
        var reply = BatchReply()
        reply.timeMs = clockMs
        var marker = marker(of: replica)
        if marker.newest > Self.maxSequence && marker.newest >= batch.sequence {
            marker = Marker(strange: marker.text)
        }
        reply.previousSequence = max(0, marker.charged)
        if marker.newest >= batch.sequence {
            reply.status = .outOfOrder
            reply.previousSequence = marker.newest
            setMarker(of: replica, marker)
            return .success(reply)
        }
        let isFence = batch.chargesNothing
        setMarker(
            of: replica,
            Marker(charged: isFence ? max(0, marker.charged) : batch.sequence, newest: batch.sequence))
        let isTold = marker.newest < 0
        let isUnknown = isTold ? batch.forgotSinceMs != -marker.newest : batch.acknowledgedSequence > marker.newest
        if isUnknown || marker.strange != nil {
            // An answer can get lost, so it is repeated until a batch shows that the replica knows.
            reply.status = .forgot
            reply.previousSequence = 0
            reply.forgotSinceMs = isTold ? -marker.newest : clockMs
            if let strange = marker.strange { reply.words.append(strange) }
            setMarker(of: replica, Marker(charged: -reply.forgotSinceMs, newest: -reply.forgotSinceMs))
            return .success(reply)
        }
        if isTold { reply.previousSequence = 0 }
        if batch.requiredSequence > reply.previousSequence {
            reply.status = .outOfOrder
            reply.previousSequence = max(0, marker.newest)
            setMarker(of: replica, marker)
            return .success(reply)
        }
        let nowMs = max(clockMs, batch.minTimeMs)
        isBehind = batch.isStoreBehind
        var firstKey = 0
        for entry in batch.entries {
            let keys = EntryKeys(of: entry, in: batch, from: &firstKey)
            do throws(KeyFault) {
                switch entry.operation >= 0 ? batch.operations[entry.operation] : nil {
                case .settle(let settlement):
                    try settle(settlement, record: keys.operation[0], nowMs: nowMs, into: &reply)
                case .restore:
                    try restore(entry, keys, of: batch, nowMs: nowMs, into: &reply)
                case .clear: try clear(entry, keys, of: batch, nowMs: nowMs, into: &reply)
                case .remember(let answer): reply.results.append(remember(answer, at: keys.operation[0]) ? 1 : 0)
                case .forget(let reservation):
                    reply.results.append(forget(reservation, at: keys.operation[0]) ? 1 : 0)
                case .heartbeat(let lifeMs, let writtenBackMs):
                    if areHeartbeatsFaulty { throw KeyFault.wrongType }
                    note(replica, lifeMs: lifeMs, writtenBackMs: writtenBackMs, nowMs: nowMs, into: &reply)
                case .overrides(let known, let change):
                    try overrides(change, known: known, at: keys.operation[0], nowMs: nowMs, into: &reply)
                case .charge(let idempotency):
                    try account(entry, keys, idempotency, isRefund: false, of: batch, nowMs: nowMs, into: &reply)
                case .refund(let idempotency):
                    try account(entry, keys, idempotency, isRefund: true, of: batch, nowMs: nowMs, into: &reply)
                case .check, nil:
                    try check(entry, keys, of: batch, nowMs: nowMs, into: &reply)
                }
            } catch {
                reply.results.append(BatchReply.fault)
                reply.words.append(error.words)
            }
        }
        reply.lowered = publishLowerings()
        return .success(reply)
    }

    private mutating func note(
        _ replica: UInt64, lifeMs: Int64, writtenBackMs: Int64, nowMs: Int64, into reply: inout BatchReply
    ) {
        heartbeats[replica] = nowMs
        heartbeats = heartbeats.filter { $0.value > nowMs - lifeMs && $0.value <= nowMs + lifeMs }
        if writtenBackMs > 0 { writtenBack[replica] = writtenBackMs }
        writtenBack = writtenBack.filter { $0.value > nowMs - lifeMs && $0.value <= nowMs + lifeMs }
        let latestFirst = heartbeats.sorted { ($0.value, $0.key) > ($1.value, $1.key) }
        reply.results += [1, Int64(heartbeats.count)]
        for (replica, seenMs) in latestFirst {
            reply.results += [Int64(bitPattern: replica), seenMs, writtenBack[replica] ?? 0]
        }
        reply.results.append(Int64(unnamedHeartbeats.count { $0 > Double(nowMs - lifeMs) }))
        unnamedHeartbeats = []
    }

    /// The keys of one entry.
    package struct EntryKeys {
        /// For each charge, in the order of `Batch.Charge.keyCount`.
        package var charges: [[[UInt8]]] = []
        package var operation: [[UInt8]] = []

        /// - Parameter next: the first of its keys; afterwards that of the next entry.
        package init(of entry: Batch.Entry, in batch: Batch, from next: inout Int) {
            func take(_ count: Int) -> [[UInt8]] {
                next += count
                return (next - count..<next).map { Array(batch.key($0)) }
            }
            for charge in batch.charges[entry.firstCharge..<entry.firstCharge + entry.chargeCount] {
                charges.append(take(charge.keyCount))
            }
            if entry.operation >= 0 { operation = take(batch.operations[entry.operation].keyCount) }
        }
    }

    /// Why an entry cannot be decided.
    enum KeyFault: Error {
        case wrongType, notANumber, notOverrides

        var words: String {
            switch self {
            case .wrongType: "WRONGTYPE Operation against a key holding the wrong kind of value"
            case .notANumber: "ERR value is not an integer or out of range"
            case .notOverrides: "ERR value is no list of overrides"
            }
        }
    }

    // MARK: - Keys

    private func marker(of replica: UInt64) -> Marker {
        guard let (marker, expiresAtMs) = markers[replica], expiresAtMs > clockMs else { return Marker() }
        return marker
    }

    private mutating func setMarker(of replica: UInt64, _ marker: Marker) {
        markers[replica] = (marker, clockMs + Self.markerTimeToLiveMs)
    }

    private func isExpired(_ item: Item) -> Bool { item.expiresAtMs.map { $0 <= clockMs } ?? false }

    /// What lies under a key that has not expired.
    func item(_ key: [UInt8]) -> Item? { items[key].flatMap { isExpired($0) ? nil : $0 } }

    /// The log under a key as far as it counts, by this store's own clock where the replica's is ahead of it; what lies far
    /// ahead counts from now on.
    mutating func log(
        _ key: [UInt8], lengthMs: Int64, nowMs: Int64
    ) throws(KeyFault) -> (log: UsageLog, logNowMs: Int64, exists: Bool) {
        let logNowMs = isBehind ? clockMs : nowMs
        var log: UsageLog
        switch value(of: key) {
        case nil: return (UsageLog(), logNowMs, false)
        case .log(let stored): log = stored
        case .integer, .bucket, .record, .idempotency, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
        log.trim(nowMs: logNowMs, lengthMs: lengthMs)
        let trimmed = log
        log.turnBack(toMs: logNowMs)
        if log != trimmed { writeLog(log, at: key, lengthMs: lengthMs) }
        return (log, logNowMs, true)
    }

    /// Without charges there is no key.
    mutating func writeLog(_ log: UsageLog, at key: [UInt8], lengthMs: Int64) {
        items[key] =
            log.isEmpty
            ? nil : Item(value: .log(log), expiresAtMs: log.newestMs + lengthMs + Self.expirySlackMs)
    }

    /// A bucket's level, and since when it has that.
    ///
    /// - Parameter level: what it was at `lastMs`. Where that is far ahead the clock has come back, and it leaks on from now.
    mutating func leaked(
        _ level: Int64, _ lastMs: Int64, _ quota: Quota, of key: [UInt8], nowMs: Int64
    ) -> (level: Int64, lastMs: Int64) {
        let sinceMs = Self.believed(lastMs, nowMs: nowMs)
        if sinceMs < lastMs {
            if case .bucket(_, _, let credited) = item(key)?.value {
                items[key]?.value = .bucket(level: level, lastMs: nowMs, credited: credited)
            }
        }
        return (isBehind ? level : quota.drained(level, sinceMs: sinceMs, nowMs: nowMs), max(nowMs, sinceMs))
    }

    /// A bucket's time; one that is far ahead is that of a clock that has come back since.
    static func believed(_ lastMs: Int64, nowMs: Int64) -> Int64 { lastMs > nowMs + clockStepMs ? nowMs : lastMs }

    // MARK: - What a test arranges and looks up

    /// nil if there is no such key, or it has expired.
    package func value(of key: [UInt8]) -> Value? { item(key)?.value }

    /// The tally of a window; 0 if there is none.
    package func usage(of key: [UInt8]) -> Int64 {
        if case .integer(let usage) = value(of: key) { usage } else { 0 }
    }

    /// A token bucket as it was left.
    package func bucket(of key: [UInt8]) -> (level: Int64, lastMs: Int64)? {
        if case .bucket(let level, let lastMs, _) = value(of: key) { (level, lastMs) } else { nil }
    }

    /// When each slot expires, ms since the epoch, by the reservation that holds it; also of those that have expired
    /// and that nobody has removed yet.
    package func slots(of key: [UInt8]) -> [String: Int64] {
        if case .slots(let slots) = value(of: key) { slots } else { [:] }
    }

    package func record(of key: [UInt8]) -> Record? {
        if case .record(let record) = value(of: key) { record } else { nil }
    }

    package func idempotency(of key: [UInt8]) -> StoredAnswer? {
        if case .idempotency(let idempotency) = value(of: key) { idempotency } else { nil }
    }

    package func expiresAtMs(of key: [UInt8]) -> Int64? { item(key)?.expiresAtMs }

    package func timeToLiveMs(of key: [UInt8]) -> Int64? { expiresAtMs(of: key).map { $0 - clockMs } }

    /// Writes a key as another client would, with no time to live.
    package mutating func set(_ key: [UInt8], _ value: Value) { items[key] = Item(value: value, expiresAtMs: nil) }

    /// `SET`: the string is taken for what a script takes it.
    package mutating func set(_ key: [UInt8], text: String) {
        let numbers = text.split(separator: " ", omittingEmptySubsequences: false).map { Int64($0) }
        if numbers.count == 1, let number = numbers[0] {
            set(key, .integer(number))
        } else if (2...3).contains(numbers.count), numbers.allSatisfy({ $0.map { $0 >= 0 } ?? false }) {
            let bucket = numbers.map { $0 ?? 0 } + [0]
            set(key, .bucket(level: bucket[0], lastMs: bucket[1], credited: bucket[2]))
        } else {
            set(key, .text(text))
        }
    }

    /// `PERSIST`.
    package mutating func persist(_ key: [UInt8]) { items[key]?.expiresAtMs = nil }

    /// `DEL`.
    package mutating func delete(_ key: [UInt8]) { items[key] = nil }

    /// The counters that match, as a scan finds them.
    package func stored(_ query: CounterQuery) -> StoredCounters {
        var found: [StoredCounter] = []
        var seen: Set<CounterKey> = []
        for bytes in items.keys where query.mayMatch(bytes[...]) {
            guard value(of: bytes) != nil, let key = CounterKey(bytes, in: query.keys), query.matches(key),
                let open = key.open(atMs: clockMs), seen.insert(open).inserted
            else { continue }
            if let counter = stored(open, in: query.keys) { found.append(counter) }
            if found.count >= query.limit { break }
        }
        return StoredCounters(counters: found, timeMs: clockMs)
    }

    private func stored(_ key: CounterKey, in keys: KeySpace) -> StoredCounter? {
        func integer(_ key: CounterKey) -> Int64? {
            if case .integer(let number) = value(of: key.bytes(in: keys)) { number } else { nil }
        }
        var usage: Usage?
        var lastMs: Int64 = 0
        switch key.algorithm {
        case .fixedWindow: usage = integer(key).map { Usage(used: $0) }
        case .slidingWindow:
            let (used, previous) = (integer(key), integer(key.previous))
            if used != nil || previous != nil {
                usage = Usage(used: used ?? 0)
                usage?.previous = previous ?? 0
            }
        case .tokenBucket:
            if let bucket = bucket(of: key.bytes(in: keys)) {
                usage = Usage(used: bucket.level)
                lastMs = bucket.lastMs
            }
        case .slidingLog:
            if case .log(let log) = value(of: key.bytes(in: keys)) {
                var usage = Usage(used: 0)
                usage.denials = integer(key.denials) ?? 0
                return StoredCounter(key: key, usage: usage, log: log)
            }
        case .concurrency:
            let expiries = slots(of: key.bytes(in: keys)).values.filter { $0 > clockMs }
            if let first = expiries.min(), let last = expiries.max() {
                usage = Usage(used: Int64(expiries.count))
                usage?.firstExpiryMs = first
                usage?.lastExpiryMs = last
            }
        }
        let denials = integer(key.denials)
        guard var usage = usage ?? denials.map({ _ in Usage(used: 0) }) else { return nil }
        usage.denials = denials ?? 0
        return StoredCounter(key: key, usage: usage, lastMs: lastMs)
    }

    /// What was published since the last call: it goes to all who listen.
    package mutating func takePublished() -> [[UInt8]] {
        defer { published = [] }
        return published
    }

    /// `FLUSHALL`.
    package mutating func flush() {
        items.removeAll()
        markers = [:]
        heartbeats = [:]
        writtenBack = [:]
        unnamedHeartbeats = []
    }

    /// Deletes one key, as an eviction does.
    package mutating func drop(_ key: [UInt8]) { items[key] = nil }

    /// The sequence of the last batch of a replica that ran; 0 if none is remembered.
    package func newestSequence(of replica: UInt64) -> Int64 { max(0, marker(of: replica).newest) }

    /// Since when the store has reported to a replica that it forgot, as long as nothing of that one has run since, ms; else 0.
    package func forgotSinceMs(of replica: UInt64) -> Int64 { max(0, -marker(of: replica).newest) }

    /// `SET` of a replica's marker, as another client would: taken for what a script takes it.
    package mutating func setMarker(of replica: UInt64, text: String) { setMarker(of: replica, Marker(text)) }

    /// Makes a replica's marker a list.
    package mutating func spoilMarker(of replica: UInt64) {
        setMarker(of: replica, Marker(strange: "WRONGTYPE Operation against a key holding the wrong kind of value"))
    }

    /// `ZADD` to the list of replicas, as another client would.
    package mutating func addHeartbeat(_ member: String, score: Double) {
        let isNamed = member.utf8.count == 16 && member.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) }
        guard isNamed, let replica = UInt64(member, radix: 16) else { return unnamedHeartbeats.append(score) }
        // What is no time is as good as one too late.
        heartbeats[replica] = Int64(exactly: score) ?? .max
    }

    /// Forgets the last batch of a replica, as if its marker had been evicted.
    package mutating func forgetMarker(of replica: UInt64) { markers[replica] = nil }
}

extension ModelStore.Marker {
    /// Reads what a script, or anybody, has written.
    fileprivate init(_ text: String) {
        let parts = text.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        let digits = parts.map { $0.hasPrefix("-") && $0 == parts[0] ? $0.dropFirst() : $0 }
        let isNumeric = digits.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (48...57).contains($0) } }
        let numbers = parts.map { Int64($0) ?? .max }
        let (charged, newest) = (numbers[0], numbers[numbers.count - 1])
        if isNumeric, newest.magnitude < 1 << 53, charged <= newest, charged >= 0 || numbers.count == 1 {
            self.init(charged: charged, newest: newest)
        } else {
            self.init(strange: String(text.prefix(64)))
        }
    }

    fileprivate var text: String { charged == newest ? "\(charged)" : "\(charged) \(newest)" }
}
