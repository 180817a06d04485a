/// What one script call charges: entries in order of first arrival, each over one or more counters.
///
/// Plain arrays, so that a codec walks it once without a lookup. The engine builds it, a `CounterStore` carries it to
/// the store, and the answer comes back as a `BatchReply` in the same order.
package struct Batch: Sendable, Equatable {
    /// Some equal checks: the same counters, the same cost. Or the end of one reservation.
    package struct Entry: Sendable, Equatable {
        /// What one of the checks charges, 1 to 10^12, and of a token bucket whose `lengthMs` is 1 up to 2^53; what is
        /// offered; 0 at the end of a reservation and of a sign of life.
        package var cost: Int64
        /// How many equal checks want to pass; 0 for a peek, which charges nothing.
        package var count: Int64
        /// Its charges are `charges[firstCharge..<firstCharge + chargeCount]`; at least one, but none at the end of a
        /// reservation and of a sign of life.
        package var firstCharge: Int
        package var chargeCount: Int
        /// What is out of the ordinary about it, in `operations`; -1 if nothing.
        package var operation: Int

        package init(cost: Int64, count: Int64, firstCharge: Int, chargeCount: Int, operation: Int = -1) {
            self.cost = cost
            self.count = count
            self.firstCharge = firstCharge
            self.chargeCount = chargeCount
            self.operation = operation
        }
    }

    /// In so many steps at most the store tells of a log what of it becomes free when. They are few, since they come with every
    /// answer; a replica reckons by them when a refused check fits, and what it may admit while the store is away.
    package static let maxLogSteps = 8
    /// How many of those are charges as they are, where it has more charges than steps; each other one stands for several.
    package static let exactLogSteps = 4
    /// In how many numbers a log is told: `used`, `firstExpiryMs` and `lastExpiryMs` of `Usage`, how many steps are exact, and
    /// `maxLogSteps` times and units, 0 where there are fewer.
    package static let logUsageCount = 4 + 2 * maxLogSteps

    /// One counter that an entry is held to.
    package struct Charge: Sendable, Equatable {
        package var quota: Quota
        /// A shadow limit never holds back a check. Of those that the other limits admit it counts the ones that it has
        /// room for, and tells how many it had none for.
        package var isShadow: Bool
        /// Whether the store must look if the key still has a time to live: asked once a window and replica, and in some
        /// batches of all, so that a key which lost it is repaired without a second command for every charge. What is
        /// denied or only peeked at is looked at in any case.
        package var verifiesTimeToLive: Bool

        package init(quota: Quota, isShadow: Bool = false, verifiesTimeToLive: Bool) {
            self.quota = quota
            self.isShadow = isShadow
            self.verifiesTimeToLive = verifiesTimeToLive
        }

        /// How many keys it has, in this order: the counter's; of a sliding window, the one of the window before; of a
        /// shadow limit, the one of the checks that it would have denied.
        package var keyCount: Int { (quota.algorithm == .slidingWindow ? 2 : 1) + (isShadow ? 1 : 0) }

        /// In how many numbers the store tells its tally: `used`; of a sliding window then `previous`, of concurrency
        /// `firstExpiryMs` and `lastExpiryMs`; of a log `Batch.logUsageCount`; of a shadow limit at last `denials`. See `Usage`.
        package var usageCount: Int {
            let count =
                switch quota.algorithm {
                case .fixedWindow, .tokenBucket: 1
                case .slidingWindow: 2
                case .concurrency: 3
                case .slidingLog: Batch.logUsageCount
                }
            return count + (isShadow ? 1 : 0)
        }
    }

    /// What is out of the ordinary about an entry. The key of the reservation's record comes after the keys of the
    /// charges, and after that the key of the memo.
    package enum Operation: Sendable, Equatable {
        /// A check (`count` is 1) that is recorded, so that it can be settled later, or remembered, so that it is
        /// charged once however often it is asked, or both.
        case check(isReserved: Bool, idempotency: Idempotency?)
        /// The end of a reservation; its record's key is the only key.
        case settle(Settlement)
        /// What a replica last saw of the one charge's counter, `cost` in all: the counter is raised to that, and never
        /// lowered. For a store that has forgotten.
        case restore
        /// What a check with an id was answered, for other replicas to give again; if something is remembered under its key
        /// already, that stays. That key is the only key.
        case remember(Answer)
        /// The call with this reservation was never made: if what is remembered under the only key is of it, it is forgotten.
        case forget(reservation: String)
        /// A heartbeat of this replica, which asks for those of all others. It counts for so long; `writtenBackMs` is when
        /// the replica sent it, ms since the epoch, if it had nothing to write back then, else 0. Its keys are those of the
        /// lists of replicas by their heartbeats, and by `writtenBackMs`.
        case heartbeat(lifeMs: Int64, writtenBackMs: Int64 = 0)

        package var keyCount: Int {
            switch self {
            case .check(let isReserved, let idempotency): (isReserved ? 1 : 0) + (idempotency == nil ? 0 : 1)
            case .settle, .remember, .forget: 1
            case .heartbeat: 2
            case .restore: 0
            }
        }
    }

    /// What makes the second of two checks with the same id the same check.
    package struct Idempotency: Sendable, Equatable {
        /// Of everything that the gateway said; another one under the same id is an error. 16 hexadecimal digits.
        package var argumentsHash: String
        /// Of the counters: if the policy changed in between, tallies are not those of the limits that now apply.
        package var countersHash: String

        package init(argumentsHash: String, countersHash: String) {
            self.argumentsHash = argumentsHash
            self.countersHash = countersHash
        }
    }

    /// What a check with an id was answered when it was admitted.
    package struct Answer: Sendable, Equatable {
        package var idempotency: Idempotency
        /// Whether it was admitted by this replica alone.
        package var isLocal: Bool
        /// When it was, ms since the epoch.
        package var admittedMs: Int64
        /// Empty if it reserved nothing.
        package var reservation: String
        /// The tallies of its counters then, as `BatchReply.results` tells them.
        package var numbers: [Int64]
        /// For how long it is still to be remembered, ms: 1 to ten minutes.
        package var lifeMs: Int64

        package init(
            idempotency: Idempotency, isLocal: Bool, admittedMs: Int64, reservation: String, numbers: [Int64],
            lifeMs: Int64
        ) {
            self.idempotency = idempotency
            self.isLocal = isLocal
            self.admittedMs = admittedMs
            self.reservation = reservation
            self.numbers = numbers
            self.lifeMs = lifeMs
        }
    }

    package enum Settlement: Sendable, Equatable {
        /// Settles to the cost that the call really had: 0 to 10^12. Slots are kept.
        case commit(cost: Int64)
        /// Gives back what was charged, and the slots.
        case cancel
        /// Frees the slots.
        case release
    }

    /// Whether nothing of it charges anything, so that it is no matter whether it ran: what the script has recorded of
    /// those that do stays on record.
    package var chargesNothing: Bool {
        entries.allSatisfy { entry in
            guard entry.operation >= 0 else { return entry.count == 0 }
            if case .heartbeat = operations[entry.operation] { return true } else { return false }
        }
    }

    /// Counts this replica's batches from 1; the script records it, see `BatchReply.previousSequence`.
    package var sequence: Int64 = 0
    /// The highest sequence of which this replica knows that it ran; 0 if none. If the store has forgotten it, the
    /// store has lost its memory, and the script charges nothing.
    package var acknowledgedSequence: Int64 = 0
    /// The `BatchReply.forgotSinceMs` that this replica was told last, 0 if none or if something of its ran since: it shows
    /// that it knows.
    package var forgotSinceMs: Int64 = 0
    /// The highest time of the store that this replica has seen, ms since the epoch: the script's clock never goes
    /// below it.
    package var minTimeMs: Int64 = 0
    /// Whether the store's clock is known to be behind `minTimeMs`: then no token bucket leaks by that.
    package var isStoreBehind = false
    package var entries: [Entry] = []
    package var charges: [Charge] = []
    package var operations: [Operation] = []
    /// The keys of all entries, one after the other: for each those of its charges, then those of its special.
    package var keyBytes: [UInt8] = []
    /// Where in `keyBytes` each key ends; it starts where the one before it ends.
    package var keyEnds: [Int] = []
    /// Whether there is nothing but plain checks of fixed windows, which are the cheapest to decide.
    package var isPlain: Bool {
        operations.isEmpty && charges.allSatisfy { $0.quota.algorithm == .fixedWindow && !$0.isShadow }
    }

    package init() {}

    /// Empties it and keeps its storage.
    package mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
        charges.removeAll(keepingCapacity: true)
        operations.removeAll(keepingCapacity: true)
        keyBytes.removeAll(keepingCapacity: true)
        keyEnds.removeAll(keepingCapacity: true)
    }

    /// Makes room for keys of so many bytes in all.
    mutating func reserve(keyByteCount: Int) { keyBytes.reserveCapacity(keyByteCount) }

    /// The next key, after all that are there.
    package mutating func appendKey(_ key: some Sequence<UInt8>) {
        keyBytes.append(contentsOf: key)
        endKey()
    }

    /// What was appended to `keyBytes` is the next key.
    mutating func endKey() { keyEnds.append(keyBytes.count) }

    package func key(_ index: Int) -> ArraySlice<UInt8> {
        keyBytes[(index == 0 ? 0 : keyEnds[index - 1])..<keyEnds[index]]
    }
}

/// The store's answer to one `Batch`.
package struct BatchReply: Sendable, Equatable {
    package enum Status: Int64, Sendable {
        /// The entries were decided.
        case ran = 1
        /// The store has no memory of the acknowledged sequence. Nothing was charged.
        case forgot = 0
        /// A later batch of this replica ran before this one. Nothing was charged.
        case superseded = -1
    }

    package var status: Status = .ran
    /// The store's own clock, ms since the epoch.
    package var timeMs: Int64 = 0
    /// The sequence that the store had recorded for this replica before this batch, of the last one that may have charged;
    /// 0 if none. A batch that may, and whose answer never came, ran if, and only if, its sequence is not above this. If
    /// `superseded`, of the last one that ran at all, which does not tell that.
    package var previousSequence: Int64 = 0
    /// If the store `forgot`, since when it tells this replica so, ms since the epoch; else 0.
    package var forgotSinceMs: Int64 = 0
    /// For each entry in turn: how many of its checks were admitted (for a peek: 1 if it would be), then the tally of
    /// each of its charges after that, in `Batch.Charge.usageCount` numbers; or one of the codes below with what it
    /// says that follows. For the end of a reservation: 1 if it was done, 0 if there is no such reservation or it is
    /// spent. For an answer to be remembered: 1, or 0 if something was; for one to be forgotten: 1 if it was. For what was
    /// offered: 1, then the tally. For a heartbeat: 1, how many replicas are listed, then for each its
    /// number (as a bit pattern), when its last heartbeat came, and its last `writtenBackMs` (0: none), ms since the epoch;
    /// then how much else was in their lists. Empty unless `status` is `ran`.
    package var results: [Int64] = []
    /// The store's words for each `fault` and `passedOver`, and the reservation for each `replayed`, in order. If the store
    /// `forgot` because something else lay in the place of this replica's marker: what.
    package var words: [String] = []

    /// In place of an entry's results: one of its windows does not hold the store's time. Nothing was charged.
    package static let windowIsOver: Int64 = -1
    /// In place of an entry's results: a counter could not be charged (a key of the wrong type, say). Whatever the
    /// entry had charged was taken back.
    package static let fault: Int64 = -2
    /// In place of an entry's results: this id was admitted before, and nothing was charged now. Then come the time, ms,
    /// at which it was, negated if some replica admitted it alone, the number of numbers that follow, and those: the tallies as they were told then, or none if
    /// its counters were others. In `words`: the id of its reservation, or nothing.
    package static let replayed: Int64 = -3
    /// In place of an entry's results: this id was admitted before, with other arguments. Nothing was charged.
    package static let otherArguments: Int64 = -4
    /// In place of the results of a reservation's end: what it would be settled to is more than can be counted (2^53).
    /// Nothing was done.
    package static let tooMuch: Int64 = -5
    /// In place of the results of a reservation's end: it was done, but for a counter that holds what does not belong
    /// there. In `words`: what is wrong with it.
    package static let passedOver: Int64 = -6

    package init() {}
}

/// Why a batch has no `BatchReply`.
package enum BatchFailure: Error, Sendable, Equatable {
    /// The store refused it before it ran (`LOADING`, `READONLY`, `OOM`, `NOAUTH` and their like): nothing was charged.
    case refused(String)
    /// The connection broke, or what came back made no sense: it may have run, and it may yet run.
    case unknown(String)
}
