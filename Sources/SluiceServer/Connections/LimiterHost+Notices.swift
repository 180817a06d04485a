import Logging
import NIOCore
import SluiceEngine
import SluicePolicy

extension LimiterHost {
    /// For the log: how many partitions count in the store, of how many.
    private var sharedPartitions: String { "\(limiter.sharedPartitionCount) of \(limiter.partitionCount) partitions" }

    /// Logs a notice, unless the store flaps and it is one of the changes that are then only counted.
    func log(_ notice: Limiter.Notice, now: ClockReading) {
        switch notice {
        case .storeReached:
            switch flaps.change(nowNs: now.monotonicNs) {
            case .log: log(notice)
            case let action: log(action, reason: limiter.storeError)
            }
            scheduleFlapTick()
        case .storeLost(let reason):
            switch flaps.change(nowNs: now.monotonicNs) {
            case .log: log(notice)
            case .count: log(.storeStillUnavailable(reason: reason), now: now)
            case let action:
                _ = flaps.logs(reason: reason)
                log(action, reason: reason)
            }
            scheduleFlapTick()
        case .storeStillUnavailable(let reason):
            if flaps.logs(reason: reason) { log(notice) }
        // They come and go with the store.
        case .changeFeedUp, .changeFeedDown:
            if !flaps.isFlapping { log(notice) }
        case .storeLostData, .storeLostCounters, .storeClockBehind, .storeClockFollowed, .keyFault, .busy, .evicting,
            .overrides:
            log(notice)
        }
    }

    private func scheduleFlapTick() {
        flapTick?.cancel()
        flapTick = flaps.nextTickNs.map { next in
            let delay = TimeAmount.nanoseconds(max(0, next - SystemClock.monotonicNs()))
            return eventLoop.assumeIsolated().scheduleTask(in: delay) { [self] in
                if let action = flaps.tick(nowNs: SystemClock.monotonicNs()) {
                    log(action, reason: limiter.storeError)
                }
                scheduleFlapTick()
            }
        }
    }

    private func log(_ action: FlapDamper.Action, reason: String) {
        switch action {
        case .log, .count: break
        case .logFlapping(let changes):
            logger.warning(
                "redis flaps: single changes are not logged until it is stable",
                metadata: ["changes_in_the_last_minute": "\(changes)", "reason": "\(reason.onOneLine)"])
        case .logStable(let changes):
            logger.log(
                level: limiter.isShared ? .info : .warning, "redis is stable again",
                metadata: ["counting": "\(counting)", "changes": "\(changes)"].merging(
                    limiter.isShared ? [:] : ["reason": "\(reason.onOneLine)"]
                ) { $1 })
        }
    }

    private func log(_ notice: Limiter.Notice) {
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
        case .overrides(let count):
            logger.info("other overrides of maxima hold", metadata: ["overrides": "\(count)"])
        case .changeFeedUp:
            logger.info("redis notifications available; denial cache on")
        }
    }
}
