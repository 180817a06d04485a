/// The changes of all partitions, for the log: one line if many of them change in the same way.
///
/// That the store is lost is said once, by the first partition, with the reason; further reasons once each. That it is
/// back is said when all partitions are. Other changes of one kind are said at a limited pace.
struct PartitionNotices {
    private var untaken: [Limiter.Notice] = []
    /// Whether each partition has reported that the store is unavailable, and not yet that it is back.
    private var isLost: [Bool]
    private var isFeedDown: [Bool]
    private var reasons: Set<String> = []
    private var wasReached = false
    private var paces: [Int: NoticePace] = [:]

    init(count: Int) {
        isLost = Array(repeating: false, count: count)
        isFeedDown = Array(repeating: false, count: count)
    }

    mutating func take() -> [Limiter.Notice] {
        defer { untaken.removeAll() }
        return untaken
    }

    mutating func add(_ notices: [Limiter.Notice], of partition: Int, now: ClockReading) {
        for notice in notices { add(notice, of: partition, now: now) }
    }

    private mutating func add(_ notice: Limiter.Notice, of partition: Int, now: ClockReading) {
        switch notice {
        case .storeReached:
            isLost[partition] = false
            reached.insert(partition)
            guard reached.count == isLost.count, !isLost.contains(true) else { return }
            if !wasReached || !reasons.isEmpty { push(.storeReached) }
            wasReached = true
            reasons = []
        case .storeLost(let reason), .storeStillUnavailable(let reason):
            let isFirst = !isLost.contains(true)
            isLost[partition] = true
            guard reasons.count < EngineBounds.maxReportedReasons, reasons.insert(reason).inserted else { return }
            push(isFirst ? .storeLost(reason: reason) : .storeStillUnavailable(reason: reason))
        case .changeFeedDown:
            if !isFeedDown.contains(true) { push(notice) }
            isFeedDown[partition] = true
        case .changeFeedUp:
            isFeedDown[partition] = false
            if !isFeedDown.contains(true) { push(notice) }
        case .storeLostData: push(notice, kind: 0, now: now)
        case .storeLostCounters: push(notice, kind: -1, now: now)
        case .storeClockBehind: push(notice, kind: 1, now: now)
        case .storeClockFollowed: push(notice, kind: 2, now: now)
        case .keyFault: push(notice, kind: 3, now: now)
        case .evicting: push(notice, kind: 4, now: now)
        case .overrides: push(notice)
        case .busy(let cause): push(notice, kind: 5 + cause.rawValue, now: now)
        }
    }

    /// Partitions that have been reached at all.
    private var reached: Set<Int> = []

    private mutating func push(_ notice: Limiter.Notice, kind: Int, now: ClockReading) {
        if paces[kind, default: NoticePace()].allows(now: now) { push(notice) }
    }

    private mutating func push(_ notice: Limiter.Notice) {
        if untaken.count < EngineBounds.maxNotices { untaken.append(notice) }
    }
}
