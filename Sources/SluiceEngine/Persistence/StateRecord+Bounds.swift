internal import SluicePolicy

/// Whether a record's numbers are plausible. Any program may have written the file, and amounts must stay within what
/// is counted exactly.
extension StateRecord {
    package var isPlausible: Bool {
        switch self {
        case .replica(let state): state.isPlausible
        case .counter(let state): state.isPlausible
        case .flight(let state): state.isPlausible
        }
    }

    fileprivate static func isTime(_ ms: Int64) -> Bool { 0...EngineBounds.latestMs ~= ms }
    fileprivate static func isAmount(_ amount: Int64) -> Bool { 0...Quota.maxExact ~= amount }
}

extension ReplicaState {
    fileprivate var isPlausible: Bool {
        0...EngineBounds.maxSequence ~= lastSequence && 0...EngineBounds.maxSequence ~= acknowledgedSequence
            && StateRecord.isTime(highestStoreMs) && -EngineBounds.latestMs...EngineBounds.latestMs ~= aheadMs
            && others.count <= EngineBounds.maxReplicas
    }
}

extension CounterState {
    /// A window that was never used starts before the epoch.
    fileprivate var isPlausible: Bool {
        guard startMs == -1 || StateRecord.isTime(startMs) else { return false }
        return switch usage {
        case .window(let window): window.isPlausible
        case .bucket(let bucket): bucket.isPlausible
        case .log(let log): log.isPlausible
        }
    }
}

extension CounterState.WindowState {
    fileprivate var isPlausible: Bool {
        let shares = share.map { [$0.base, $0.taken, $0.previousBase, $0.previousTaken] } ?? []
        return ([sharedUsed, sharedPrevious, own, ownPrevious] + shares).allSatisfy(StateRecord.isAmount)
    }
}

extension CounterState.LogState {
    fileprivate var isPlausible: Bool {
        [shared, own, base ?? [], taken].allSatisfy { steps in
            steps.count <= EngineBounds.maxLogEntries
                && steps.allSatisfy { StateRecord.isTime($0.ms) && 1...Quota.maxExact ~= $0.units }
                && zip(steps, steps.dropFirst()).allSatisfy { $0.ms < $1.ms }
        }
    }
}

extension CounterState.BucketState {
    fileprivate var isPlausible: Bool {
        // The time of a bucket that was never used is 0.
        guard StateRecord.isAmount(sharedLevel), StateRecord.isTime(sharedMs), StateRecord.isTime(localMs),
            BucketUsage.levels ~= localLevel || localLevel == -1,
            [ownLevel, confirmedLevel, localCapacity].allSatisfy({ BucketUsage.levels ~= $0 }),
            1...Int64(EngineBounds.maxReplicas + 1) ~= replicaCount,
            0...PolicyBounds.maxLimit ~= max, 0...PolicyBounds.maxLimit ~= burst,
            0...PolicyBounds.maxWindowSeconds * 1000 ~= lengthMs
        else { return false }
        // No more than the capacity of the replica's own bucket.
        guard ownLevel <= Quota.maxExact * replicaCount, confirmedLevel <= ownLevel else { return false }
        return lengthMs == 0 || Swift.max(max, burst) <= Quota.maxExact / lengthMs
    }
}

extension FlightState {
    fileprivate var isPlausible: Bool {
        1...EngineBounds.maxSequence ~= sequence
            && (writeBacks + unconfirmed).allSatisfy {
                StateRecord.isAmount($0.amount) && StateRecord.isTime($0.windowMs)
            }
    }
}
