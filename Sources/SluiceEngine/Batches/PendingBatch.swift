/// Identifies a waiting check to the shell: it is returned with the answer, and the engine does not interpret it.
package struct Ticket: Sendable, Hashable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Checks that wait for the store together: first gathered, then in flight as one `Batch`.
///
/// Equal checks share one entry. An entry's waiters are linked through the array of all waiters, which is in order of
/// arrival and so of deadlines.
struct PendingBatch {
    /// What makes an entry more than a plain check; such an entry is not shared. It is boxed, because entries are
    /// copied when their batch is answered, and mostly have none.
    indirect enum Operation {
        case check(TrackedCheck)
        /// The settlement of that key's reservation. If `isUnsent`, it is sent even though no client waits for it.
        case settle(ByteString, Batch.Settlement, isUnsent: Bool)
        case heartbeat
        /// Clears those of the counters that have no outcome yet.
        case clear([CounterClearing])
        /// Reads the overrides, after a change if there is one.
        case overrides(OverrideChange?)

        var bytes: Int {
            switch self {
            case .check(let check):
                HeldBytes.perObject + MemoryLayout<TrackedCheck>.size
                    + HeldBytes.array(check.reservationKey.bytes.count)
                    + HeldBytes.array(check.idempotencyKey?.bytes.count ?? 0)
            case .settle(let key, _, _): 2 * HeldBytes.perObject + HeldBytes.array(key.bytes.count)
            case .heartbeat: HeldBytes.perObject
            case .overrides(let change):
                HeldBytes.perObject + MemoryLayout<OverrideChange>.size
                    + HeldBytes.array((change?.grant.utf8.count ?? 0) + (change?.rule.utf8.count ?? 0))
            case .clear(let counters): HeldBytes.perObject + counters.count * EngineBounds.bytesPerClearing
            }
        }
    }

    /// A write-back or restore in this batch. It holds a reference to its counter, as a plan does.
    struct SentWriteBack {
        var counter: CounterID
        var writeBack: WriteBack
    }

    /// A block that this batch asks for. It holds a reference to its counter, too.
    struct SentLease {
        var counter: CounterID
        /// In units of cost. The store grants what is left of it.
        var amount: Int64
        /// See `Leases.edition`.
        var edition: Int32
    }

    struct Entry {
        /// None for a settlement and a heartbeat.
        var plan: PlanID
        var cost: Int64
        var isPeek: Bool
        /// Its weight against `EngineBounds.maxChargesPerBatch`.
        var chargeCount: Int
        /// Waiters without an answer.
        var unanswered = 0
        var firstWaiter: Int
        var lastWaiter: Int
        /// The next entry of the same plan that checks share, with another cost, if any.
        var nextOfPlan = EntryIndex.none
        /// Whether it was sent, and for how many checks.
        var isSent = false
        var sentCount: Int64 = 0
        /// How many checks it holds of this replica's share: see `Limiter.takeShare`.
        var held: Int64 = 0
        /// How many waiters were sent and then admitted locally.
        var locallyAdmitted: Int64 = 0
        /// Its waiters' entry in the batch that replaces this one, if any.
        var repeated = EntryIndex.none
        var operation: Operation?

        var hasPlan: Bool { plan != .none }

        var trackedCheck: TrackedCheck? {
            if case .check(let check)? = operation { check } else { nil }
        }

        /// Whether it must be sent.
        var isWanted: Bool {
            switch operation {
            case .settle(_, _, isUnsent: true)?, .heartbeat?, .overrides(nil)?: true
            case .settle?, .clear?, .overrides?, .check?, nil: unanswered > 0
            }
        }

        /// What it does: see `CheckAction`.
        var action: CheckAction { trackedCheck?.action ?? .check }

        var isHeartbeat: Bool { if case .heartbeat? = operation { true } else { false } }

        /// Whether it belongs to no client and charges nothing.
        var isUpkeep: Bool {
            switch operation {
            case .heartbeat?, .overrides(nil)?: true
            default: false
            }
        }
    }

    struct Waiter {
        enum State {
            case waiting
            /// Answered locally before the batch was sent, or denied locally after that: what the store admits goes to
            /// the waiters behind it.
            case gaveUp
            /// Admitted locally while the store's answer was outstanding: it keeps its place.
            case admittedLocally
        }

        var ticket: Ticket
        var deadlineNs: Int64
        var wantsTrace: Bool
        var entry: EntryIndex
        var next = -1
        var state = State.waiting
        /// When it was admitted locally, ms since the epoch.
        var admittedMs: Int64 = 0
    }

    /// Identifies this batch among all batches of this engine.
    var id: Int64 = 0
    /// The id of the batch that its checks first joined; a lower one has waited longer.
    var firstID: Int64 = 0
    /// The sequence under which it was last sent; 0 if it was not.
    var sequence: Int64 = 0
    var sentNs: Int64 = 0
    /// The time that cut its windows, ms since the epoch.
    var cutMs: Int64 = 0
    /// The earliest time by which the store then decides, ms since the epoch.
    var minTimeMs: Int64 = 0
    var resends = 0
    /// The outage of the share that its entries took from.
    var outage: Int16 = 0
    /// Whether it may have charged something, and the marker shows whether it ran.
    var mayCharge = true
    var chargeCount = 0
    /// How many entries are sent again in another batch.
    var repeatedCount = 0
    /// Whether a waiter was admitted locally while the store's answer was outstanding.
    private(set) var hasAdmittedLocally = false
    /// Write-backs and restores, sent ahead of the entries in this order.
    var writeBacks: [SentWriteBack] = []
    /// Answers to store under idempotency keys, sent after the write-backs and ahead of the entries.
    var answers: [IdempotencyCache.Unsent] = []
    var entries: [Entry] = []
    /// Blocks that it asks for, sent after the entries, so that no check is denied for a block of the same batch.
    var leases: [SentLease] = []
    var waiters: [Waiter] = []
    /// All waiters before this one have an answer.
    private var firstWaiting = 0
    /// The latest deadline of a waiter.
    private var latestDeadlineNs = Int64.min
    /// Waiters whose deadline is before that of an earlier one: parts of checks that waited for other partitions before.
    private var urgent: [Int] = []
    /// Bytes of the operations' keys.
    private var operationBytes = 0

    /// Bytes that it holds.
    var bytes: Int {
        entries.capacity * MemoryLayout<Entry>.stride + waiters.capacity * MemoryLayout<Waiter>.stride
            + writeBacks.capacity * MemoryLayout<SentWriteBack>.stride
            + leases.capacity * MemoryLayout<SentLease>.stride + urgent.capacity * MemoryLayout<Int>.stride
            + operationBytes
    }

    var isSent: Bool { sequence != 0 }

    mutating func reset(id: Int64) {
        self.id = id
        firstID = id
        sequence = 0
        sentNs = 0
        cutMs = 0
        minTimeMs = 0
        resends = 0
        outage = 0
        mayCharge = true
        chargeCount = 0
        repeatedCount = 0
        hasAdmittedLocally = false
        firstWaiting = 0
        latestDeadlineNs = .min
        urgent.removeAll(keepingCapacity: true)
        operationBytes = 0
        writeBacks.removeAll(keepingCapacity: true)
        answers.removeAll(keepingCapacity: true)
        entries.removeAll(keepingCapacity: true)
        leases.removeAll(keepingCapacity: true)
        waiters.removeAll(keepingCapacity: true)
    }

    /// Adds an entry without waiters.
    mutating func addEntry(plan: PlanID, cost: Int64, isPeek: Bool, chargeCount: Int, operation: Operation? = nil)
        -> EntryIndex
    {
        entries.append(
            Entry(
                plan: plan, cost: cost, isPeek: isPeek, chargeCount: chargeCount, firstWaiter: -1, lastWaiter: -1,
                operation: operation))
        self.chargeCount += chargeCount
        if let operation { operationBytes += operation.bytes }
        return EntryIndex(entries.count - 1)
    }

    /// Adds an entry that is not a check.
    mutating func addEntry(operation: Operation) -> EntryIndex {
        addEntry(
            plan: .none, cost: 0, isPeek: false, chargeCount: EngineBounds.chargesOfUnusualWork, operation: operation)
    }

    mutating func addWaiter(_ ticket: Ticket, deadlineNs: Int64, wantsTrace: Bool, toEntry entry: EntryIndex) {
        let index = waiters.count
        waiters.append(Waiter(ticket: ticket, deadlineNs: deadlineNs, wantsTrace: wantsTrace, entry: entry))
        if entries[entry].lastWaiter >= 0 {
            waiters[entries[entry].lastWaiter].next = index
        } else {
            entries[entry].firstWaiter = index
        }
        entries[entry].lastWaiter = index
        entries[entry].unanswered += 1
        if deadlineNs + EngineBounds.deadlineSlackNs < latestDeadlineNs {
            urgent.append(index)
        } else {
            latestDeadlineNs = max(latestDeadlineNs, deadlineNs)
        }
    }

    /// Takes the oldest waiter without an answer whose deadline is not after `nowNs`, and marks it as `left`.
    /// - Returns: its index.
    mutating func takeExpired(nowNs: Int64) -> Int? {
        guard let index = oldestWaiting(), waiters[index].deadlineNs <= nowNs else { return nil }
        leave(index)
        return index
    }

    /// Marks a waiter as answered locally.
    mutating func leave(_ index: Int) {
        waiters[index].state = .gaveUp
        entries[waiters[index].entry].unanswered -= 1
    }

    /// Marks a taken waiter as admitted locally.
    mutating func admitLocally(_ index: Int, atMs: Int64) {
        guard isSent else { return }
        waiters[index].state = .admittedLocally
        waiters[index].admittedMs = atMs
        hasAdmittedLocally = true
        entries[waiters[index].entry].locallyAdmitted += 1
    }

    /// Whether it does not matter if it ran.
    var hasOnlyUpkeep: Bool { writeBacks.isEmpty && leases.isEmpty && entries.allSatisfy(\.isUpkeep) }

    /// The deadline of the oldest waiter without an answer.
    mutating func oldestDeadlineNs() -> Int64? {
        oldestWaiting().map { waiters[$0].deadlineNs }
    }

    private mutating func oldestWaiting() -> Int? {
        while firstWaiting < waiters.count, waiters[firstWaiting].state != .waiting { firstWaiting += 1 }
        var oldest = firstWaiting < waiters.count ? firstWaiting : nil
        for index in urgent where waiters[index].state == .waiting {
            if waiters[index].deadlineNs < oldest.map({ waiters[$0].deadlineNs }) ?? .max { oldest = index }
        }
        return oldest
    }
}
