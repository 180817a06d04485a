package import SluicePolicy

/// Sums and states of all partitions, for operators and for the shell.
extension PartitionedLimiter {
    private func sum<Number: AdditiveArithmetic>(_ field: (borrowing Limiter) -> Number) -> Number {
        var sum = field(self[0])
        for partition in 1..<max(1, partitionCount) { sum += field(self[partition]) }
        return sum
    }

    private func all(_ field: (borrowing Limiter) -> Bool) -> Bool {
        (0..<partitionCount).allSatisfy { field(self[$0]) }
    }

    // MARK: - The store

    /// Whether all checks are counted in the store right now.
    package var isShared: Bool { partitionCount == 1 ? self[0].isShared : all { $0.isShared } }

    /// Whether every store that counts has all that was given back to it, or admitted without it.
    package var hasWrittenBack: Bool { all { $0.hasWrittenBack || !$0.isShared } }

    /// How many counters have a lease, with or without a block.
    package var leaseCount: Int { sum { $0.leaseCount } }

    /// How many partitions count in the store.
    package var sharedPartitionCount: Int { (0..<partitionCount).count { self[$0].isShared } }

    /// Whether some partitions count in the store and others do not.
    package var isPartlyShared: Bool { (1..<partitionCount).contains(sharedPartitionCount) }

    /// Since when a partition of several has not counted in the store; nil if it does.
    package func unsharedSince(_ partition: Int) -> ClockReading? { unshared[partition] }

    /// The first partition that does not count in the store; else the first.
    private var worst: Int { (0..<partitionCount).first { !self[$0].isShared } ?? 0 }

    package var storeState: String { self[worst].storeState }
    package var storeError: String {
        let error = self[worst].storeError
        return error.isEmpty ? firstText { $0.storeError } : error
    }
    package var keyFault: String { firstText { $0.keyFault } }
    /// Of the partitions that count in the store, if there are any: the others do not listen.
    package var hearsChanges: Bool {
        let isNoneShared = sharedPartitionCount == 0
        return all { $0.hearsChanges || !($0.isShared || isNoneShared) }
    }
    package var changeFeedError: String { hearsChanges ? "" : firstText { $0.changeFeedError } }

    private func firstText(_ field: (borrowing Limiter) -> String) -> String {
        for partition in 0..<partitionCount {
            let text = field(self[partition])
            if !text.isEmpty { return text }
        }
        return ""
    }

    /// Of the partition whose server is furthest behind.
    package var storeBehindMs: Int64 { (0..<partitionCount).map { self[$0].storeBehindMs }.max() ?? 0 }
    package var replicaCount: Int64 { (0..<partitionCount).map { self[$0].replicaCount }.max() ?? 1 }

    // MARK: - Sums

    package func oldestBatchNs(now: ClockReading) -> Int64 {
        (0..<partitionCount).map { self[$0].oldestBatchNs(now: now) }.max() ?? 0
    }

    package var statistics: Statistics {
        if partitionCount == 1 { return self[0].statistics }
        var sum = correction
        for partition in 0..<partitionCount { sum.add(self[partition].statistics) }
        (sum.outages, sum.dataLosses) = (outages.count, dataLosses.count)
        return sum
    }

    package var identityCount: Int { sum { $0.identityCount } }
    package var grantCount: Int { sum { $0.grantCount } }
    package var maxPlansOfGrant: Int { self[0].maxPlansOfGrant }
    package var evictedCount: Int64 { sum { $0.evictedCount } }
    package var counterCount: Int { sum { $0.counterCount } }
    /// Parts of checks count each.
    package var waitingCount: Int { sum { $0.waitingCount } }
    package var journalCount: Int { sum { $0.journalCount } }
    package var heldBytes: Int {
        partitionCount == 1
            ? self[0].heldBytes
            : sum { $0.heldBytes } + crossChecks.count * MemoryLayout<CrossPartitionCheck>.stride
                + routes.bytes
    }

    package func overrideCount(now: ClockReading) -> Int { sum { $0.overrideCount(now: now) } }

    /// The overrides that hold now, by grant and rule.
    ///
    /// - Parameter grant: nil: of all grants.
    package func overrides(ofGrant grant: String?, now: ClockReading) -> [Override] {
        partitions(ofGrant: grant).flatMap { self[$0].overrides(now: now) }
            .filter { grant == nil || $0.grant == grant }
            .sorted { ($0.grant, $0.rule) < ($1.grant, $1.rule) }
    }

    /// See `Limiter.override`.
    package func override(of limit: Limit, forGrant grant: String, now: ClockReading) -> Override? {
        self[map.partition(ofOwner: grant.utf8)].override(of: limit, forGrant: grant, now: now)
    }

    // MARK: - Counters

    /// The partitions that may have counters of a grant's: all, if it is nil.
    package func partitions(ofGrant grant: String?) -> [Int] {
        grant.map { [map.partition(ofOwner: $0.utf8)] } ?? Array(0..<partitionCount)
    }

    // MARK: - State

    package var unrecordedCount: Int { sum { $0.unrecordedCount } }

    package var hasChanges: Bool {
        mutating get {
            for partition in 0..<partitionCount where self[partition].hasChanges { return true }
            return false
        }
    }

    /// Whether changes must be recorded before a batch may be sent.
    package var mustRecord: Bool {
        mutating get {
            for partition in 0..<partitionCount where self[partition].mustRecord { return true }
            return false
        }
    }

    /// The time of the partition that is furthest behind, ms since the epoch: what has expired by it has everywhere.
    package func nowMs(_ now: ClockReading) -> Int64 {
        (0..<partitionCount).map { self[$0].nowMs(now) }.min() ?? now.wallMs
    }

    /// See `Limiter.takeRecords`.
    package mutating func takeRecords(
        into records: inout [StateRecord], seenToo: Bool = true,
        atMost counterCount: Int = EngineBounds.countersRecordedAtOnce, now: ClockReading
    ) {
        for partition in 0..<partitionCount where records.count < counterCount || self[partition].mustRecord {
            self[partition].takeRecords(
                into: &records, seenToo: seenToo, atMost: max(1, counterCount / partitionCount), now: now)
        }
    }

    /// See `Limiter.restore`: each partition gets what is its own.
    package mutating func restore(_ records: [StateRecord], now: ClockReading) -> Limiter.Restoration {
        if partitionCount == 1 { return self[0].restore(records, now: now) }
        var groups: [String: [StateRecord]] = [:]
        for record in records { groups[record.keys ?? "", default: []].append(record) }
        var result = Limiter.Restoration()
        var others = groups
        for partition in 0..<partitionCount {
            let name = self[partition].configuration.keys.name
            guard let own = groups[name] else { continue }
            others[name] = nil
            result.add(self[partition].restore(own, now: now))
        }
        for (name, foreign) in others {
            result.dropped += foreign.count
            if !name.isEmpty { result.otherKeys = name }
        }
        return result
    }
}

extension Limiter.Restoration {
    fileprivate mutating func add(_ other: Limiter.Restoration) {
        counters += other.counters
        unsettled += other.unsettled
        dropped += other.dropped
        implausible += other.implausible
        droppedStoreMs = max(droppedStoreMs, other.droppedStoreMs)
    }
}

extension StateRecord {
    /// The keys that it belongs to, see `KeySpace.name`; nil if they are not those of a partition.
    fileprivate var keys: String? {
        switch self {
        case .replica(let state): state.keys
        case .flight(let state): state.keys.isEmpty ? nil : state.keys
        case .counter(let state):
            state.baseKey.firstIndex(of: UInt8(ascii: "}")).map {
                String(decoding: state.baseKey[...$0] + [UInt8(ascii: ":")], as: UTF8.self)
            }
        }
    }
}
