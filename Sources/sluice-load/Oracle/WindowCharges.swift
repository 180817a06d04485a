/// What the store must have charged to one window, according to the answers.
struct WindowCharges: Sendable {
    /// Costs of shared admissions.
    private(set) var admitted: Int64 = 0
    /// The amounts by which the sent settlements lower admissions, and raise them.
    private(set) var givenBack: Int64 = 0
    private(set) var addedLater: Int64 = 0
    /// What charges added and refunds gave back, and what they may have.
    private(set) var charged: Int64 = 0
    private(set) var refunded: Int64 = 0
    private(set) var perhapsCharged: Int64 = 0
    private(set) var perhapsRefunded: Int64 = 0
    /// The least usage before an admission; `Int64.max` without any. In a window that began before the run, it is what
    /// others had charged.
    private(set) var lowestBefore = Int64.max
    /// The highest usage that was reported.
    private(set) var highestReported: Int64 = 0
    /// `admitted`, with the times of reading.
    private var sightings = UsageHistory()

    /// A shared answer reported this usage.
    mutating func see(used: Int64, admittedCost: Int64?, receivedNs: Int64) {
        highestReported = max(highestReported, used)
        guard let admittedCost else { return }
        admitted += admittedCost
        lowestBefore = min(lowestBefore, max(0, used - admittedCost))
        sightings.add(admitted, seenNs: receivedNs)
    }

    mutating func settle(cost: Int64, to committed: Int64) {
        givenBack += max(0, cost - committed)
        addedLater += max(0, committed - cost)
    }

    enum Account { case charge, refund }

    mutating func account(_ account: Account, _ cost: Int64, isCertain: Bool) {
        switch (account, isCertain) {
        case (.charge, true): charged += cost
        case (.charge, false): perhapsCharged += cost
        case (.refund, true): refunded += cost
        case (.refund, false): perhapsRefunded += cost
        }
    }

    /// What a refund may have given back, it has.
    mutating func confirmRefund(_ cost: Int64) {
        perhapsRefunded -= cost
        refunded += cost
    }

    /// The least usage, before its own charge, in an answer to a check sent at this time: the admissions read before that,
    /// less all that callers wanted to give back.
    func leastKnown(sentNs: Int64) -> Int64 {
        sightings.value(before: sentNs) - givenBack - refunded - perhapsRefunded
    }

    /// The most that was ever charged, as if nothing had been given back.
    var most: Int64 { admitted + addedLater + charged + perhapsCharged }

    /// The expected usage, above what others had charged before.
    /// - Parameter isSettled: whether all settlements were done in the window: then there is exactly one correct
    /// number.
    func expected(isSettled: Bool) -> ClosedRange<Int64> {
        let base = admitted + charged - refunded
        let settled = isSettled ? base - givenBack + addedLater : base + addedLater
        let least = isSettled ? settled : base - givenBack
        return max(0, least - perhapsRefunded)...max(0, settled + perhapsCharged)
    }
}
