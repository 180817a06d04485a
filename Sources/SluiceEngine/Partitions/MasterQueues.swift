import DequeModule

/// Which partitions may send their checks now: of each master's at most half at a time, in the order in which they began
/// to wait.
///
/// A batch costs a master as much as several checks. A partition that sent again as soon as it has its answers would send
/// what few checks came meanwhile. While it waits until it is its turn, more gather, and the master works on the batches of
/// others. A lone check finds a free place, and is not delayed.
///
/// A partition gives its place up when it has its answer, when its breaker opens, or after `placeTTLNs`: so one that hangs,
/// or whose batch was sent on to another master, keeps no other waiting for longer.
///
/// A value-type state machine. Partitions are numbered from 0, and so are masters, by when they were first named.
struct MasterQueues {
    private struct Partition {
        /// nil: not known, and nothing keeps it waiting.
        var master: Int?
        /// Whether it is in a queue. It may have nothing to send any more.
        var isQueued = false
        /// Whether it has something to send, and may.
        var waits = false
        /// Since when it has a place; nil if it has none.
        var placeNs: Int64?
        /// When the batch was sent that has lost its place. It gets no other.
        var overdueNs: Int64?
    }

    private struct Master {
        var name: String
        var partitionCount = 0
        var takenPlaces = 0
        /// No place is overdue before.
        var overdueNs = Int64.max
        /// Partitions, in the order in which they began to wait.
        var queue: Deque<Int> = []

        var hasPlace: Bool {
            let places = partitionCount - partitionCount / EngineBounds.masterPlaceParts
            return takenPlaces < max(EngineBounds.minMasterPlaces, places)
        }
    }

    private var partitions: [Partition]
    private var masters: [Master] = []
    /// Partitions without a master that want to send.
    private var unplaced: Deque<Int> = []
    private var queuedCount = 0
    private let placeTTLNs: Int64

    /// - Parameter placeTTLNs: how long a batch may keep others waiting.
    init(partitions count: Int, placeTTLNs: Int64) {
        partitions = Array(repeating: Partition(), count: count)
        self.placeTTLNs = placeTTLNs
    }

    // MARK: - Events

    /// From now on, the batches of a partition go to this master; nil: not known.
    mutating func moved(_ partition: Int, to name: String?) {
        let master = name.map { number($0) }
        let last = partitions[partition].master
        guard master != last else { return }
        let (wasQueued, placeNs) = (partitions[partition].isQueued, partitions[partition].placeNs)
        if wasQueued { leaveQueue(partition) }
        if placeNs != nil { leavePlace(partition) }
        if let last { masters[last].partitionCount -= 1 }
        partitions[partition].master = master
        if let master { masters[master].partitionCount += 1 }
        if let placeNs { takePlace(partition, sinceNs: placeNs) }
        if wasQueued { enqueue(partition) }
    }

    /// What a partition is about, after all its commands were taken.
    ///
    /// - Parameters:
    ///   - sentNs: when its oldest batch without an answer was sent; nil: none is expected in time.
    ///   - waits: whether it has checks to send, and may.
    mutating func note(_ partition: Int, sentNs: Int64?, waits: Bool) {
        if let sentNs {
            if partitions[partition].placeNs != nil {
                partitions[partition].placeNs = sentNs
            } else if partitions[partition].overdueNs != sentNs {
                takePlace(partition, sinceNs: sentNs)
            }
        } else {
            if partitions[partition].placeNs != nil { leavePlace(partition) }
            partitions[partition].overdueNs = nil
        }
        partitions[partition].waits = waits
        if waits, !partitions[partition].isQueued { enqueue(partition) }
    }

    /// The next partition to send its checks, which now has a place; nil: none may.
    mutating func takeNext(now: ClockReading) -> Int? {
        guard queuedCount > 0 else { return nil }
        while let partition = unplaced.popFirst() {
            if takeFromQueue(partition) { return partition }
        }
        for master in masters.indices {
            while let partition = masters[master].queue.first {
                if partitions[partition].waits, !hasPlace(master, now: now) { break }
                masters[master].queue.removeFirst()
                guard takeFromQueue(partition) else { continue }
                takePlace(partition, sinceNs: now.monotonicNs)
                return partition
            }
        }
        return nil
    }

    /// When a partition may get the place of another that has had it for too long.
    var nextTickNs: Int64 {
        guard queuedCount > 0 else { return .max }
        var next = Int64.max
        for master in masters where !master.queue.isEmpty { next = min(next, master.overdueNs) }
        return next
    }

    // MARK: - Masters

    /// Those that were named lately; for tests.
    var masterCount: Int { masters.count }

    private mutating func number(_ name: String) -> Int {
        if let known = masters.firstIndex(where: { $0.name == name }) { return known }
        // There are never more than partitions.
        if let unused = masters.firstIndex(where: { $0.partitionCount == 0 }) {
            masters[unused].name = name
            return unused
        }
        masters.append(Master(name: name))
        return masters.count - 1
    }

    // MARK: - Places

    private mutating func hasPlace(_ master: Int, now: ClockReading) -> Bool {
        if masters[master].hasPlace { return true }
        guard now.monotonicNs >= masters[master].overdueNs else { return false }
        masters[master].overdueNs = .max
        for partition in partitions.indices where partitions[partition].master == master {
            guard let placeNs = partitions[partition].placeNs else { continue }
            if now.monotonicNs - placeNs >= placeTTLNs {
                leavePlace(partition)
                partitions[partition].overdueNs = placeNs
            } else {
                masters[master].overdueNs = min(masters[master].overdueNs, placeNs + placeTTLNs)
            }
        }
        return masters[master].hasPlace
    }

    private mutating func takePlace(_ partition: Int, sinceNs: Int64) {
        partitions[partition].placeNs = sinceNs
        guard let master = partitions[partition].master else { return }
        masters[master].takenPlaces += 1
        masters[master].overdueNs = min(masters[master].overdueNs, sinceNs + placeTTLNs)
    }

    private mutating func leavePlace(_ partition: Int) {
        partitions[partition].placeNs = nil
        if let master = partitions[partition].master { masters[master].takenPlaces -= 1 }
    }

    // MARK: - Queues

    private mutating func enqueue(_ partition: Int) {
        partitions[partition].isQueued = true
        queuedCount += 1
        if let master = partitions[partition].master {
            masters[master].queue.append(partition)
        } else {
            unplaced.append(partition)
        }
    }

    private mutating func leaveQueue(_ partition: Int) {
        partitions[partition].isQueued = false
        queuedCount -= 1
        if let master = partitions[partition].master {
            masters[master].queue.removeAll { $0 == partition }
        } else {
            unplaced.removeAll { $0 == partition }
        }
    }

    /// It was taken from its queue. Returns whether it still waits.
    private mutating func takeFromQueue(_ partition: Int) -> Bool {
        partitions[partition].isQueued = false
        queuedCount -= 1
        defer { partitions[partition].waits = false }
        return partitions[partition].waits
    }
}
