/// Every charge with its time, which counts for `lengthMs`: exact in any stretch of that length. See `UsageLog`.
enum SlidingLog: AlgorithmRules {
    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { quota.max - usage.used }

    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        max(1, usage.firstExpiryMs - nowMs)
    }

    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { max(0, usage.lastExpiryMs - nowMs) }

    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        nowMs + quota.lengthMs
    }

    static let usageCount = Batch.logUsageCount

    /// The other numbers are read by `LogUsage`.
    static func read(_ numbers: ArraySlice<Int64>, into usage: inout Usage) {
        usage.firstExpiryMs = numbers[numbers.startIndex + 1]
        usage.lastExpiryMs = numbers[numbers.startIndex + 2]
    }

    static func append(_ usage: Usage, to numbers: inout [Int64]) {
        numbers += [usage.firstExpiryMs, usage.lastExpiryMs]
        numbers += repeatElement(0, count: usageCount - 3)
    }

    static func usage(_ quota: Quota, of stored: StoredCounter, nowMs: Int64) -> Usage {
        var usage = stored.usage
        usage.used = stored.log.used(nowMs: nowMs, lengthMs: quota.lengthMs)
        usage.lastExpiryMs = usage.used > 0 ? stored.log.newestMs + quota.lengthMs : 0
        return usage
    }

    static func keeps(_ usage: CounterState.Usage) -> Bool { if case .log = usage { true } else { false } }

    static func localUsage(lengthMs: Int64) -> (any LocalUsage)? { LogUsage(lengthMs: lengthMs) }
}
