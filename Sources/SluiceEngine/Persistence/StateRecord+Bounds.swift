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

    static func isTime(_ ms: Int64) -> Bool { 0...EngineBounds.latestMs ~= ms }
    static func isAmount(_ amount: Int64) -> Bool { 0...Quota.maxExact ~= amount }
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
        return StateRecord.isAmount(credit) && usage.saved.isPlausible
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
