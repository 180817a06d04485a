/// One thing that a replica must not lose in a restart. Records are absolute: the later of two records with the same
/// subject counts, and nothing is added up.
package enum StateRecord: Sendable, Equatable {
    case replica(ReplicaState)
    case counter(CounterState)
    case flight(FlightState)

    /// What a record is about.
    package enum Subject: Hashable, Sendable {
        case replica(String)
        case counter([UInt8])
        case flight(Int64, keys: String)

        /// Hashes names as whole byte strings, not byte by byte: there may be hundreds of thousands.
        package func hash(into hasher: inout Hasher) {
            switch self {
            case .replica(let keys): hasher.combine(keys)
            case .counter(let baseKey): baseKey.withUnsafeBytes { hasher.combine(bytes: $0) }
            case .flight(let sequence, _): hasher.combine(sequence)
            }
        }
    }

    package var subject: Subject {
        switch self {
        case .replica(let state): .replica(state.keys)
        case .counter(let state): .counter(state.baseKey)
        case .flight(let state): .flight(state.sequence, keys: state.keys)
        }
    }

    /// Whether it has no information: its subject is over, or never existed.
    ///
    /// - Parameter nowMs: ms since the epoch.
    package func isVoid(nowMs: Int64) -> Bool {
        switch self {
        case .replica: false
        case .counter(let state): state.isVoid(nowMs: nowMs)
        case .flight(let state): state.isOver
        }
    }
}

/// The progress of a replica.
package struct ReplicaState: Sendable, Equatable {
    /// See `KeySpace.name`: a replica restarted with other keys does not use these counters. Earlier layouts of keys had
    /// only the prefix here.
    package var keys: String
    package var lastSequence: Int64
    package var acknowledgedSequence: Int64
    /// The highest time that the store has reported, ms since the epoch; 0: none.
    package var highestStoreMs: Int64
    /// How far the time that cuts windows was ahead of this machine's wall clock, ms; negative if it was behind.
    package var aheadMs: Int64
    /// The other replicas last known to be live.
    package var others: [UInt64]
}

/// The state of one counter.
package struct CounterState: Sendable, Equatable {
    /// As `Counter.baseKey`, which contains the algorithm and the window's length as well.
    package var baseKey: [UInt8]
    /// The open window, half-open, ms since the epoch; all time if the algorithm has no windows.
    package var startMs: Int64
    /// When nothing of it counts any more: for a sliding window, at the end of the next one.
    package var countsUntilMs: Int64
    /// Whether the store has reported it.
    package var isSeen: Bool
    /// Whether the store has lost it since, and it was not restored yet.
    package var needsRestore: Bool
    /// What was given back and the store does not have yet, in units of its usage.
    package var credit: Int64 = 0
    package var usage: Usage

    package enum Usage: Sendable, Equatable {
        case window(WindowState)
        case bucket(BucketState)
        case log(LogState)
    }

    func isVoid(nowMs: Int64) -> Bool { nowMs >= countsUntilMs || (usage.saved.isVoid && credit == 0) }

    /// Whether it has anything to write back or restore.
    var isUnsent: Bool { usage.saved.isUnsent || credit > 0 }
}

extension CounterState.Usage {
    /// The form that its algorithm gives it.
    var saved: any SavedUsage {
        switch self {
        case .window(let window): window
        case .bucket(let bucket): bucket
        case .log(let log): log
        }
    }
}

/// A batch whose outcome must become known. A flight without items is over.
package struct FlightState: Sendable, Equatable {
    /// See `KeySpace.name`; empty on one server, which needs no more than the sequence.
    package var keys = ""
    package var sequence: Int64
    /// Its write-backs and restores, in order: they are sent again if the marker shows that it did not run.
    package var writeBacks: [Item] = []
    /// Checks admitted locally while the batch was in flight: the marker shows whether they were charged.
    package var unconfirmed: [Item] = []

    var isOver: Bool { writeBacks.isEmpty && unconfirmed.isEmpty }

    package struct Item: Sendable, Equatable {
        package var baseKey: [UInt8]
        /// Whether it is a restore; else a write-back.
        package var isRestore: Bool
        /// Whether it gives back.
        package var isRefund = false
        package var amount: Int64
        package var windowMs: Int64
    }
}
