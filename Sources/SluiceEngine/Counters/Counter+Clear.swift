import SluicePolicy

/// An operator has cleared a counter, here or through another replica.
extension Counter {
    /// The store's counter was cleared. What was known of it stays, as a maximum, until it is read again: admissions that
    /// came after the clear are in no report yet.
    ///
    /// - Returns: whether it must be read.
    mutating func noteCleared() -> Bool {
        guard isSeen, canBeRead else { return false }
        isCleared = true
        forgetReport()
        return true
    }

    private var canBeRead: Bool {
        switch algorithm {
        case .fixedWindow, .slidingWindow, .slidingLog: true
        case .tokenBucket: bucketQuota != nil
        case .concurrency: false
        }
    }

    /// Restores that raise nothing, and so only report the usage.
    func readings(nowMs: Int64) -> [WriteBack] {
        guard canBeRead else { return [] }
        let now = WriteBack(.restore, 0, windowMs: algorithm.hasWindows ? windowStartMs : nowMs)
        guard algorithm.slides, windowStartMs > 0 else { return [now] }
        return [WriteBack(.restore, 0, windowMs: windowStartMs - 1), now]
    }

    /// Clears it where there is no store. Slots are left.
    mutating func clearLocally(_ quota: Quota, nowMs: Int64) {
        refundLocally(quota, cost: Quota.maxExact, isShared: false, nowMs: nowMs)
        if algorithm != .fixedWindow { local.clearBefore() }
    }
}
