/// What the store must have charged to one window, as far as answers tell.
struct WindowCharges: Sendable {
    /// Costs of shared admissions.
    private(set) var admitted: Int64 = 0
    /// What settlements that were sent give back of admissions, and charge beyond them.
    private(set) var givenBack: Int64 = 0
    private(set) var addedLater: Int64 = 0
    /// The least that the tally was before an admission; `Int64.max` without any. In a window that began before the run,
    /// it is what others had charged.
    private(set) var lowestBefore = Int64.max
    /// The highest tally that was told.
    private(set) var highestTold: Int64 = 0
    /// `admitted`, when it had been read.
    private var sightings = UsageHistory()

    /// A shared answer told this tally.
    mutating func see(used: Int64, admittedCost: Int64?, receivedNs: Int64) {
        highestTold = max(highestTold, used)
        guard let admittedCost else { return }
        admitted += admittedCost
        lowestBefore = min(lowestBefore, max(0, used - admittedCost))
        sightings.add(admitted, seenNs: receivedNs)
    }

    mutating func settle(cost: Int64, to committed: Int64) {
        givenBack += max(0, cost - committed)
        addedLater += max(0, committed - cost)
    }

    /// The least that a tally tells that answers a check sent at this time, before its own charge: what had been read to
    /// be admitted, as if everything that was to be given back had been.
    func leastKnown(sentNs: Int64) -> Int64 { sightings.value(before: sentNs) - givenBack }

    /// The most that was ever charged, as if nothing had been given back.
    var most: Int64 { admitted + addedLater }

    /// What the tally is to be, above what others had charged before.
    /// - Parameter isSettled: whether all settlements were done in the window: then there is one right number.
    func expected(isSettled: Bool) -> ClosedRange<Int64> {
        guard !isSettled else {
            let exact = max(0, admitted - givenBack + addedLater)
            return exact...exact
        }
        return max(0, admitted - givenBack)...most
    }
}
