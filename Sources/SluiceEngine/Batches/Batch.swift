import SluicePolicy

/// What one script call charges: entries in order of first arrival, each with one or more counters.
///
/// Plain arrays, so that a codec walks them once without lookups. The engine builds it, a `CounterStore` sends it to
/// the store, and the answer comes back as a `BatchReply` in the same order.
package struct Batch: Sendable, Equatable {
    /// Equal checks (the same counters, the same cost), or one operation such as the settlement of a reservation.
    package struct Entry: Sendable, Equatable {
        /// What one of the checks charges, 1 to 10^12, or up to 2^53 for a token bucket whose `lengthMs` is 1; for a
        /// restore, the amount; 0 for a settlement and a heartbeat.
        package var cost: Int64
        /// How many equal checks are asked for; 0 for a peek, which charges nothing.
        package var count: Int64
        /// Its charges are `charges[firstCharge..<firstCharge + chargeCount]`: at least one, but none for a settlement
        /// and a heartbeat.
        package var firstCharge: Int
        package var chargeCount: Int
        /// Index of its operation in `operations`; -1 for a plain check.
        package var operation: Int

        package init(cost: Int64, count: Int64, firstCharge: Int, chargeCount: Int, operation: Int = -1) {
            self.cost = cost
            self.count = count
            self.firstCharge = firstCharge
            self.chargeCount = chargeCount
            self.operation = operation
        }
    }

    /// Most steps in which the store reports when parts of a log become free. They are few, because every reply
    /// carries them. A replica uses them to compute when a denied check fits, and what it may admit during an outage.
    package static let maxLogSteps = 8
    /// How many of those are single charges, if a log has more charges than steps. Each other step merges several.
    package static let exactLogSteps = 4
    /// How many numbers report a log: `used`, `firstExpiryMs` and `lastExpiryMs` of `Usage`, the number of exact
    /// steps, and `maxLogSteps` pairs of time and units, 0 where there are fewer.
    package static let logUsageCount = 4 + 2 * maxLogSteps

    /// One counter that an entry is checked against.
    package struct Charge: Sendable, Equatable {
        package var quota: Quota
        /// A shadow limit never denies a check. Of the checks that the other limits admit it counts those that it has
        /// room for, and reports how many it had no room for.
        package var isShadow: Bool
        /// Whether the store must check that the key still has a time to live: asked once per window and replica, and
        /// in some batches, so that a key that lost it is repaired without a second command for every charge. Denied
        /// checks and peeks do this in any case.
        package var verifiesTimeToLive: Bool

        package init(quota: Quota, isShadow: Bool = false, verifiesTimeToLive: Bool) {
            self.quota = quota
            self.isShadow = isShadow
            self.verifiesTimeToLive = verifiesTimeToLive
        }

        /// How many keys it has, in this order: the counter's; for a sliding window, that of the previous window; for
        /// a shadow limit, that of its denials.
        package var keyCount: Int { (quota.algorithm.slides ? 2 : 1) + (isShadow ? 1 : 0) }

        /// How many numbers report its usage: `used`; then, for a sliding window, `previous`; for concurrency,
        /// `firstExpiryMs` and `lastExpiryMs`; for a log, `Batch.logUsageCount` numbers in all; for a shadow limit,
        /// `denials` at the end. See `Usage`.
        package var usageCount: Int {
            let count = quota.algorithm == .fixedWindow ? 1 : quota.algorithm.rules.usageCount
            return count + (isShadow ? 1 : 0)
        }
    }

    /// What makes an entry more than a plain check. The key of the reservation's record follows the keys of the
    /// charges, and the idempotency key follows that.
    package enum Operation: Sendable, Equatable {
        /// A check (`count` is 1) that is recorded, so that it can be settled later, or cached, so that repeats charge
        /// it once, or both.
        case check(isReserved: Bool, idempotency: Idempotency?)
        /// Charges `cost` whatever the maxima say: what a call cost that was made already. It is admitted if it fitted.
        /// Limits that count calls are only read.
        case charge(idempotency: Idempotency?)
        /// Gives up to `cost` back of the open window, the bucket, or the newest charges of the log.
        case refund(idempotency: Idempotency?)
        /// The settlement of a reservation. Its record's key is the only key.
        case settle(Settlement)
        /// Raises the one charge's counter to at least `cost`, what a replica last saw of it, and never lowers it.
        /// Used after a data loss.
        case restore
        /// Gives back all that the one charge's counter holds, of a sliding window also what the window before holds, and
        /// reports what that was. Slots are only read.
        case clear
        /// Stores the answer to a check with an id, for other replicas to repeat, unless one is stored under the only
        /// key already.
        case remember(Answer)
        /// The call with this reservation was never made: deletes the answer under the only key, if it is that
        /// reservation's.
        case forget(reservation: String)
        /// A heartbeat of this replica, which also asks for those of all others. It counts for `lifeMs`.
        /// `writtenBackMs` is when the replica sent it, ms since the epoch, if it had nothing to write back then, else
        /// 0. Its keys are the lists of replicas by heartbeat, and by `writtenBackMs`.
        case heartbeat(lifeMs: Int64, writtenBackMs: Int64 = 0)
        /// Changes an override, if there is a change, and then reads all of them, unless their version is the known one.
        /// Its key is that of their list.
        case overrides(known: Int64, change: OverrideChange?)

        package var keyCount: Int {
            switch self {
            case .check(let isReserved, let idempotency): (isReserved ? 1 : 0) + (idempotency == nil ? 0 : 1)
            case .charge(let idempotency), .refund(let idempotency): idempotency == nil ? 0 : 1
            case .settle, .remember, .forget, .overrides: 1
            case .heartbeat: 2
            case .restore, .clear: 0
            }
        }
    }

    /// What makes two checks with the same id the same check.
    package struct Idempotency: Sendable, Equatable {
        /// Hash of all arguments of the check; other arguments under the same id are an error. 16 hexadecimal digits.
        package var argumentsHash: String
        /// Hash of the counters. If the policy changed in between, the cached usage belongs to other limits.
        package var countersHash: String

        package init(argumentsHash: String, countersHash: String) {
            self.argumentsHash = argumentsHash
            self.countersHash = countersHash
        }
    }

    /// The answer to a check with an id that was admitted.
    package struct Answer: Sendable, Equatable {
        package var idempotency: Idempotency
        /// Whether this replica alone admitted it.
        package var isLocal: Bool
        /// When it was admitted, ms since the epoch.
        package var admittedMs: Int64
        /// Empty if it reserved nothing.
        package var reservation: String
        /// The usage of its counters then, as in `BatchReply.results`.
        package var numbers: [Int64]
        /// For how much longer it is cached, ms: 1 to ten minutes.
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
        /// Settles to the actual cost of the call: 0 to 10^12. Slots are kept.
        case commit(cost: Int64)
        /// Gives back the charge and the slots.
        case cancel
        /// Frees the slots.
        case release
    }

    /// Whether nothing in it charges anything. Then it does not matter whether it ran, and the script keeps its record
    /// of the last batch that did charge.
    package var chargesNothing: Bool {
        entries.allSatisfy { entry in
            guard entry.operation >= 0 else { return entry.count == 0 }
            switch operations[entry.operation] {
            case .heartbeat, .overrides(_, change: nil): return true
            default: return false
            }
        }
    }

    /// Counts this replica's batches from 1. The script records it, see `BatchReply.previousSequence`.
    package var sequence: Int64 = 0
    /// The highest sequence that this replica knows to have run; 0 if none. If the store no longer has it, the store
    /// lost its data, and the script charges nothing.
    package var acknowledgedSequence: Int64 = 0
    /// The last batch before this one that may have charged and has no answer; 0 if none. Unless it ran, the script
    /// charges nothing: the answers of both could be lost, and then the sequence of this one would show that both ran.
    package var requiredSequence: Int64 = 0
    /// The last `BatchReply.forgotSinceMs` that this replica received; 0 if none, or if a batch of its ran since. It
    /// acknowledges that reply.
    package var forgotSinceMs: Int64 = 0
    /// The highest time of the store that this replica has seen, ms since the epoch. The script's clock never goes
    /// below it.
    package var minTimeMs: Int64 = 0
    /// Whether the store's clock is known to be behind `minTimeMs`: then token buckets do not leak for the difference.
    package var isStoreBehind = false
    package var entries: [Entry] = []
    package var charges: [Charge] = []
    package var operations: [Operation] = []
    /// The keys of all entries, one after the other: for each entry those of its charges, then those of its operation.
    package var keyBytes: [UInt8] = []
    /// Where in `keyBytes` each key ends; it starts where the one before it ends.
    package var keyEnds: [Int] = []
    /// Whether it has only plain checks of fixed windows, which are the cheapest to decide.
    package var isPlain: Bool {
        operations.isEmpty
            && charges.allSatisfy { $0.quota.algorithm == .fixedWindow && !$0.isShadow && !$0.quota.countsCalls }
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

    /// Reserves storage for keys of this many bytes in all.
    mutating func reserve(keyByteCount: Int) { keyBytes.reserveCapacity(keyByteCount) }

    /// Appends a key.
    package mutating func appendKey(_ key: some Sequence<UInt8>) {
        keyBytes.append(contentsOf: key)
        endKey()
    }

    /// Ends a key whose bytes were appended to `keyBytes`.
    mutating func endKey() { keyEnds.append(keyBytes.count) }

    package func key(_ index: Int) -> ArraySlice<UInt8> {
        keyBytes[(index == 0 ? 0 : keyEnds[index - 1])..<keyEnds[index]]
    }
}
