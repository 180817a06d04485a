/// A shell's name for one check that waits: it comes back with the answer, and means nothing to the engine.
package struct Ticket: Sendable, Hashable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Checks that wait for the store together: first gathered, then on their way as one `Batch`.
///
/// Equal checks share one entry. The waiters of an entry are linked through the array of all waiters, which keeps the
/// order of arrival, and with it that of the deadlines.
struct PendingBatch {
    /// What is out of the ordinary about an entry; such a one stands for itself alone.
    /// CopyOnWriteBox from the entry, which is copied for every check and mostly has none.
    indirect enum Operation {
        case check(TrackedCheck)
        /// The end of the reservation of that key; owed if it must go out though nobody waits for it.
        case settle(ByteString, Batch.Settlement, isUnsent: Bool)
        case heartbeat

        var bytes: Int {
            switch self {
            case .check(let check):
                HeldBytes.perObject + MemoryLayout<TrackedCheck>.size
                    + HeldBytes.apart(check.reservationKey.bytes.count)
                    + HeldBytes.apart(check.idempotencyKey?.bytes.count ?? 0)
            case .settle(let key, _, _): 2 * HeldBytes.perObject + HeldBytes.apart(key.bytes.count)
            case .heartbeat: HeldBytes.perObject
            }
        }
    }

    /// What the store is told for no check. Its counter is used by it as by a plan.
    struct SentWriteBack {
        var counter: Int
        var writeBack: WriteBack
    }

    struct Entry {
        /// -1 at the end of a reservation and of a sign of life.
        var plan: Int
        var cost: Int64
        var isPeek: Bool
        /// What it counts as in `EngineBounds.maxChargesPerBatch`.
        var chargeCount: Int
        /// Waiters that nobody has answered yet.
        var unanswered = 0
        var firstWaiter: Int
        var lastWaiter: Int
        /// The next entry of the same plan, with another cost; -1 if none.
        var nextOfPlan: Int32 = -1
        /// Whether it went into the batch that was sent, and how many checks it then stood for.
        var isSent = false
        var sentCount: Int64 = 0
        /// For how many checks it has taken from this replica's share: see `Limiter.takeShare`.
        var held: Int64 = 0
        /// What waiters that had been sent were then admitted to locally, in units of cost.
        var locallyAdmitted: Int64 = 0
        /// The entry, in the batch that goes out in place of this one, for its waiters; -1 if none.
        var repeated = -1
        var operation: Operation?

        var trackedCheck: TrackedCheck? {
            if case .check(let check)? = operation { check } else { nil }
        }

        /// Whether it is to go out.
        var isWanted: Bool {
            switch operation {
            case .settle(_, _, isUnsent: true)?, .heartbeat?: true
            case .settle?, .check?, nil: unanswered > 0
            }
        }

        var isHeartbeat: Bool { if case .heartbeat? = operation { true } else { false } }

        /// Whether a check of the same plan is equal to those that it stands for.
        func joins(cost: Int64, isPeek: Bool) -> Bool {
            self.cost == cost && self.isPeek == isPeek && operation == nil
        }
    }

    struct Waiter {
        enum State {
            case waiting
            /// Answered locally before the batch went out, or refused locally after that: it has no part in what the
            /// store admits, and its place goes to those behind it.
            case left
            /// Admitted locally while the store was still expected to answer: it keeps its place.
            case admittedLocally
        }

        var ticket: Ticket
        var deadlineNs: Int64
        var wantsTrace: Bool
        var entry: Int
        var next = -1
        var state = State.waiting
        /// When it was admitted locally, if it is overtaken, ms since the epoch.
        var admittedMs: Int64 = 0
    }

    /// Names this batch among all that this engine has gathered.
    var id: Int64 = 0
    /// The id of the batch in which its checks came first: less means that they have waited longer.
    var firstID: Int64 = 0
    /// The sequence under which it was sent last; 0 if it was not.
    var sequence: Int64 = 0
    var sentNs: Int64 = 0
    /// The time by which its windows were cut, ms since the epoch.
    var cutMs: Int64 = 0
    /// The least time by which the store then decides, ms since the epoch.
    var minTimeMs: Int64 = 0
    var resends = 0
    /// Of which outage the share is from which its entries have taken.
    var shareEpoch: Int16 = 0
    var chargeCount = 0
    /// How many entries go out again in another batch.
    var repeatedCount = 0
    /// Whether any of its waiters was admitted locally while the store was still expected to answer.
    private(set) var hasAdmittedLocally = false
    /// What goes out ahead of the entries, in that order.
    var writeBacks: [SentWriteBack] = []
    /// Whether there are additions among them: nothing may leave behind it before it is known whether it ran.
    var settles = false
    /// What the store is told of ids, after the payments and ahead of the entries.
    var answers: [IdempotencyCache.Owed] = []
    /// Whether it goes out under the sequence of an earlier one, to do what that was to do if that did not.
    var isRepeat = false
    /// Whether its payments are none, but what it may have charged for checks of an earlier process.
    var isQuestion = false
    var entries: [Entry] = []
    var waiters: [Waiter] = []
    /// Every waiter before this one has been answered.
    private var firstWaiting = 0
    /// The keys of what is out of the ordinary.
    private var specialBytes = 0

    /// What it takes in memory.
    var bytes: Int {
        entries.capacity * MemoryLayout<Entry>.stride + waiters.capacity * MemoryLayout<Waiter>.stride
            + writeBacks.capacity * MemoryLayout<SentWriteBack>.stride + specialBytes
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
        shareEpoch = 0
        chargeCount = 0
        repeatedCount = 0
        hasAdmittedLocally = false
        firstWaiting = 0
        specialBytes = 0
        writeBacks.removeAll(keepingCapacity: true)
        answers.removeAll(keepingCapacity: true)
        settles = false
        isRepeat = false
        isQuestion = false
        entries.removeAll(keepingCapacity: true)
        waiters.removeAll(keepingCapacity: true)
    }

    /// Starts an entry with no waiter.
    mutating func addEntry(plan: Int, cost: Int64, isPeek: Bool, chargeCount: Int, operation: Operation? = nil) -> Int {
        entries.append(
            Entry(
                plan: plan, cost: cost, isPeek: isPeek, chargeCount: chargeCount, firstWaiter: -1, lastWaiter: -1,
                operation: operation))
        self.chargeCount += chargeCount
        if let operation { specialBytes += operation.bytes }
        return entries.count - 1
    }

    /// The end of a reservation.
    mutating func addEntry(operation: Operation) -> Int {
        addEntry(
            plan: -1, cost: 0, isPeek: false, chargeCount: EngineBounds.chargesOfUnusualWork, operation: operation)
    }

    mutating func addWaiter(_ ticket: Ticket, deadlineNs: Int64, wantsTrace: Bool, toEntry entry: Int) {
        let index = waiters.count
        waiters.append(Waiter(ticket: ticket, deadlineNs: deadlineNs, wantsTrace: wantsTrace, entry: entry))
        if entries[entry].lastWaiter >= 0 {
            waiters[entries[entry].lastWaiter].next = index
        } else {
            entries[entry].firstWaiter = index
        }
        entries[entry].lastWaiter = index
        entries[entry].unanswered += 1
    }

    /// Takes the oldest waiter that nobody has answered and whose deadline is not after `nowNs`; it has `left` from
    /// here on.
    /// - Returns: its index.
    mutating func takeExpired(nowNs: Int64) -> Int? {
        guard let index = oldestWaiting(), waiters[index].deadlineNs <= nowNs else { return nil }
        leave(index)
        return index
    }

    /// A waiter is being answered locally.
    mutating func leave(_ index: Int) {
        waiters[index].state = .left
        entries[waiters[index].entry].unanswered -= 1
    }

    /// A waiter that was taken has been admitted locally.
    mutating func admitLocally(_ index: Int, atMs: Int64) {
        guard isSent else { return }
        waiters[index].state = .admittedLocally
        waiters[index].admittedMs = atMs
        hasAdmittedLocally = true
        entries[waiters[index].entry].locallyAdmitted += entries[waiters[index].entry].cost
    }

    /// Whether it matters to nobody if it ran.
    var tellsNothing: Bool { writeBacks.isEmpty && entries.allSatisfy(\.isHeartbeat) }

    /// When the oldest waiter that nobody has answered must have its answer.
    mutating func oldestDeadlineNs() -> Int64? {
        oldestWaiting().map { waiters[$0].deadlineNs }
    }

    private mutating func oldestWaiting() -> Int? {
        while firstWaiting < waiters.count, waiters[firstWaiting].state != .waiting { firstWaiting += 1 }
        return firstWaiting < waiters.count ? firstWaiting : nil
    }
}
