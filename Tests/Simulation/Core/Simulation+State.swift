import StoreModel

@testable import SluiceEngine

/// Replicas with a state folder, as `LimiterHost` and its `StateWriter`: changes are written together every 20 ms,
/// writes take time, and batches of write-backs are sent only when their records are on the disk.
extension Simulation {
    struct Disk {
        /// The records on the disk, the latest of each subject last.
        var records: [StateRecord] = []
        /// The records being written, in this order.
        var writing: [StateRecord] = []
        /// Whether nothing may be sent before that is done.
        var isUrgent = false
        /// Whether a timer will write the changes.
        var isDue = false
        var held: [Batch] = []
        /// Since when batches are held, and for how long they were in all before.
        var heldSinceNs: Int64 = 0
        var heldNs: Int64 = 0
        /// Counts the processes that used it.
        var process = 0
        /// The process dies soon after its next write-back.
        var diesSettling = false
        /// It dies after this write-back; later processes may as well.
        var diedSettling = false
    }

    enum Writing {
        case isDue(replica: Int, process: Int)
        case isDone(replica: Int, process: Int)
    }

    private static let intervalNs: Int64 = 20_000_000

    /// Sends a batch, once the records that a crash needs are on the disk.
    mutating func leave(_ batch: Batch, from replica: Int) {
        let one = replicas[replica]
        if one.disk?.diesSettling ?? false, nowNs < SimulationScenario.calmNs + 500_000_000,
            batch.charges.contains(where: \.isUnlimited)
        {
            one.disk?.diesSettling = false
            one.disk?.diedSettling = true
            let diesNs = nowNs + Int64.random(in: 0...30_000_000, using: &random)
            events.push(.fault(.crash(replica: replica)), atNs: diesNs)
            // The next process may mistake its own admissions for those whose outcome it does not know yet.
            let awayNs: Int64 = random.one(of: [0, 100_000_000, 500_000_000])
            one.isCutOffUntilNs = max(diesNs, min(diesNs + awayNs, SimulationScenario.calmNs))
        }
        guard let disk = one.disk, disk.isUrgent || !disk.held.isEmpty || one.limiter.mustRecord else {
            return send(batch, from: replica)
        }
        one.limiter.batchHeld(sequence: batch.sequence)
        if disk.held.isEmpty { one.disk?.heldSinceNs = nowNs }
        one.disk?.held.append(batch)
        record(replica)
    }

    /// Something may have changed: it is written soon, with all changes until then.
    mutating func recordSoon(_ replica: Int) {
        guard let disk = replicas[replica].disk, !disk.isDue, replicas[replica].limiter.hasChanges else { return }
        replicas[replica].disk?.isDue = true
        events.push(.writing(.isDue(replica: replica, process: disk.process)), atNs: nowNs + Self.intervalNs)
    }

    /// - Returns: the replica that may have something to do; nil if the process is gone.
    mutating func handle(_ writing: Writing) -> Int? {
        switch writing {
        case .isDue(let replica, let process):
            guard replicas[replica].disk?.process == process else { return nil }
            replicas[replica].disk?.isDue = false
            record(replica)
            return replica
        case .isDone(let replica, let process):
            guard let disk = replicas[replica].disk, disk.process == process else { return nil }
            oracle.hasWritten(replica)
            replicas[replica].disk?.records += disk.writing
            replicas[replica].disk?.writing = []
            replicas[replica].disk?.isUrgent = false
            if replicas[replica].limiter.mustRecord { record(replica) } else { release(replica) }
            return replica
        }
    }

    private mutating func record(_ replica: Int) {
        let one = replicas[replica]
        guard let disk = one.disk, disk.writing.isEmpty else { return }
        guard one.limiter.hasChanges else { return release(replica) }
        one.disk?.isUrgent = one.limiter.mustRecord
        var records: [StateRecord] = []
        // A few at a time, as if very many had changed.
        let counterCount = random.one(of: [1, 4, EngineBounds.countersRecordedAtOnce])
        one.limiter.takeRecords(into: &records, atMost: counterCount, now: moment(replica))
        if one.limiter.unrecordedCount == 0 { oracle.writes(replica) }
        one.disk?.writing = records
        // A write-back waits for it, and so do the checks of its batch: in a gentle course that must not cause an
        // outage.
        let longestNs: Int64 = scenario.course == .gentle ? 500_000 : 8_000_000
        let doneNs = nowNs + Int64.random(in: 100_000...longestNs, using: &random)
        events.push(.writing(.isDone(replica: replica, process: disk.process)), atNs: doneNs)
    }

    /// Nothing has to be waited for any more.
    private mutating func release(_ replica: Int) {
        let one = replicas[replica]
        guard let disk = one.disk, !disk.held.isEmpty else { return }
        one.disk?.held = []
        one.disk?.heldNs += nowNs - disk.heldSinceNs
        for batch in disk.held {
            one.limiter.batchLeft(sequence: batch.sequence, now: moment(replica))
            send(batch, from: replica)
        }
    }

    /// How long a replica's batches have waited for its disk in all.
    func heldNs(_ replica: Int) -> Int64 {
        guard let disk = replicas[replica].disk else { return 0 }
        return disk.heldNs + (disk.held.isEmpty ? 0 : nowNs - disk.heldSinceNs)
    }

    /// The process ends in order: all waiting checks are answered, and everything is written.
    mutating func stop(_ index: Int) throws {
        replicas[index].limiter.drain(now: moment(index))
        replicas[index].limiter.giveBackLeases(now: moment(index))
        try pump(index)
        loseBlocks(of: index, keepsCredits: scenario.keepsState)
        if let connection = replicas[index].connection { breakOff(connection) }
        guard let disk = replicas[index].disk else { return }
        var records = disk.records + disk.writing
        while replicas[index].limiter.hasChanges {
            replicas[index].limiter.takeRecords(into: &records, now: moment(index))
        }
        replicas[index].disk?.records = records
        replicas[index].disk?.writing = []
    }

    /// Another process takes the place of one that ended, with what was on the disk. It finds all of what was being
    /// written, or nothing of it.
    mutating func start(_ index: Int, id: UInt64) {
        let one = replicas[index]
        one.connection = nil
        if let subscription = one.subscription { listen(index, .close, of: subscription) }
        one.id = id
        one.limiter = makeLimiter(id: id, now: moment(index))
        if let disk = one.disk {
            var next = Disk()
            next.records = disk.records + (Bool.random(using: &random) ? disk.writing : [])
            next.process = disk.process + 1
            next.diesSettling = disk.diedSettling && random.once(in: 2)
            one.disk = next
            _ = one.limiter.restore(next.records, now: moment(index))
        }
        one.tickNs = nowNs
        events.push(.tick(replica: index, dueNs: nowNs), atNs: nowNs)
    }
}
