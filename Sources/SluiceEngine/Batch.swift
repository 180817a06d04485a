/// What one script call charges: entries in order of first arrival, each over one or more counters.
///
/// Plain arrays, so that a codec walks it once without a lookup. The engine builds it, a `CounterLink` carries it to
/// the store, and the answer comes back as a `BatchReply` in the same order.
package struct Batch: Sendable, Equatable {
    /// Some equal checks: the same counters, the same cost.
    package struct Entry: Sendable, Equatable {
        /// What one of the checks charges, 1 to 10^12.
        package var cost: Int64
        /// How many equal checks want to pass; 0 for a peek, which charges nothing.
        package var count: Int64
        /// Its charges are `charges[firstCharge..<firstCharge + chargeCount]`; at least one.
        package var firstCharge: Int
        package var chargeCount: Int

        package init(cost: Int64, count: Int64, firstCharge: Int, chargeCount: Int) {
            self.cost = cost
            self.count = count
            self.firstCharge = firstCharge
            self.chargeCount = chargeCount
        }
    }

    /// One counter that an entry is held to.
    package struct Charge: Sendable, Equatable {
        /// Where the counter's key ends in `keyBytes`; it starts where the charge before it ends.
        package var keyEnd: Int
        package var windowStartMs: Int64
        /// Exclusive.
        package var windowEndMs: Int64
        package var max: Int64
        /// Whether the store must look if the key still has a time to live: asked once a window and replica, so that
        /// a key which lost it is repaired without a second command for every charge.
        package var verifiesTimeToLive: Bool

        package init(
            keyEnd: Int, windowStartMs: Int64, windowEndMs: Int64, max: Int64, verifiesTimeToLive: Bool
        ) {
            self.keyEnd = keyEnd
            self.windowStartMs = windowStartMs
            self.windowEndMs = windowEndMs
            self.max = max
            self.verifiesTimeToLive = verifiesTimeToLive
        }
    }

    /// Counts this replica's batches from 1; the script records it, see `BatchReply.previousSequence`.
    package var sequence: Int64 = 0
    /// The highest sequence of which this replica knows that it ran; 0 if none. If the store has forgotten it, the
    /// store has lost its memory, and the script charges nothing.
    package var acknowledgedSequence: Int64 = 0
    /// The highest time of the store that this replica has seen, ms since the epoch: the script's clock never goes
    /// below it.
    package var floorMs: Int64 = 0
    package var entries: [Entry] = []
    package var charges: [Charge] = []
    /// The keys of all charges, one after the other.
    package var keyBytes: [UInt8] = []

    package init() {}

    /// Empties it and keeps its storage.
    package mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
        charges.removeAll(keepingCapacity: true)
        keyBytes.removeAll(keepingCapacity: true)
    }

    /// The key of `charges[index]`.
    package func key(ofCharge index: Int) -> ArraySlice<UInt8> {
        let start = index == 0 ? 0 : charges[index - 1].keyEnd
        return keyBytes[start..<charges[index].keyEnd]
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
    /// The sequence that the store had recorded for this replica before this batch; 0 if none. A batch whose answer
    /// never came ran if, and only if, its sequence is not above this.
    package var previousSequence: Int64 = 0
    /// For each entry in turn: how many of its checks were admitted (for a peek: 1 if it would be), then the tally of
    /// each of its charges after that; or `windowIsOver` or `fault` alone. Empty unless `status` is `ran`.
    package var results: [Int64] = []
    /// The store's words for each `fault`, in order.
    package var faults: [String] = []

    /// In place of an entry's results: one of its windows does not hold the store's time. Nothing was charged.
    package static let windowIsOver: Int64 = -1
    /// In place of an entry's results: a counter could not be charged (a key of the wrong type, say). Whatever the
    /// entry had charged was taken back.
    package static let fault: Int64 = -2

    package init() {}
}

/// Why a batch has no `BatchReply`.
package enum BatchFailure: Error, Sendable, Equatable {
    /// The store refused it before it ran (`LOADING`, `READONLY`, `OOM`, `NOAUTH` and their like): nothing was charged.
    case refused(String)
    /// The connection broke, or what came back made no sense: it may have run, and it may yet run.
    case unknown(String)
}
