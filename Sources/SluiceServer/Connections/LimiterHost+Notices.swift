import Logging
import SluiceEngine

extension LimiterHost {
    /// For the log: how many partitions count in the store, of how many.
    private var sharedPartitions: String { "\(limiter.sharedPartitionCount) of \(limiter.partitionCount) partitions" }

    func log(_ notice: Limiter.Notice) {
        switch notice {
        case .storeReached:
            logger.info("redis answers, counting is shared", metadata: ["server": "\(storeDescription)"])
        case .storeLost(let reason) where limiter.isPartlyShared:
            logger.warning(
                "a part of redis is unavailable, its counters are local",
                metadata: ["reason": "\(reason)", "shared": "\(sharedPartitions)"])
        case .storeLost(let reason):
            logger.warning("redis is unavailable, counting is local", metadata: ["reason": "\(reason)"])
        case .storeStillUnavailable(let reason) where limiter.isPartlyShared:
            logger.warning(
                "a part of redis is still unavailable",
                metadata: ["reason": "\(reason)", "shared": "\(sharedPartitions)"])
        case .storeStillUnavailable(let reason):
            logger.warning("redis is still unavailable", metadata: ["reason": "\(reason)"])
        case .storeLostData:
            logger.warning("redis lost its data; restoring counters")
        case .storeLostCounters:
            logger.warning(
                "redis lost single counters, which it evicted or another client deleted; restoring them",
                metadata: ["advice": "maxmemory-policy noeviction, and enough maxmemory"])
        case .storeClockBehind(let byMs):
            logger.error("redis' clock has stepped back, windows are frozen", metadata: ["by_ms": "\(byMs)"])
        case .storeClockFollowed(let byMs):
            logger.warning(
                "redis' clock has stayed behind and is now used: windows that had already begun may open again",
                metadata: ["by_ms": "\(byMs)"])
        case .keyFault(let reason):
            logger.error("unexpected value in a redis key", metadata: ["reason": "\(reason)"])
        case .changeFeedDown(let reason):
            logger.warning(
                "redis notifications unavailable; denial cache off", metadata: ["reason": "\(reason)"])
        case .busy(let cause):
            logger.warning(
                "checks are answered BUSY", metadata: ["cause": "\(cause.figure)", "advice": "\(cause.advice)"])
        case .evicting:
            logger.notice(
                "a table is full: dropping the least recently used identities, which redis still holds",
                metadata: ["identities": "\(limiter.identityCount)", "max": "\(limiter.configuration.maxPlans)"])
        case .changeFeedUp:
            logger.info("redis notifications available; denial cache on")
        }
    }
}
