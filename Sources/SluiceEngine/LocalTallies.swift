/// What is counted of fixed and sliding windows; the former never have anything of a window before.
struct WindowTally {
    /// The highest tally that the store told of the open window, and what it told of the one before.
    var sharedUsed: Int64 = 0
    var sharedPrevious: Int64 = 0
    /// Admitted locally in the open window since the store went away.
    var localUsed: Int64 = 0
    /// Admitted locally in this window in outages that are over, and not added to the store.
    var unsettled: Int64 = 0
    /// Admitted locally in the window before.
    var localPrevious: Int64 = 0
    /// What may be admitted locally while the store is away, of a fixed window; -1 until the first check asks.
    var localShare: Int64 = -1
    /// The maximum of which that is the share.
    var shareMax: Int64 = -1

    /// - Parameter isNext: the window that was open counts as the one before.
    mutating func roll(isNext: Bool) {
        var next = WindowTally()
        if isNext {
            next.sharedPrevious = sharedUsed
            next.localPrevious = localUsed + unsettled
        }
        self = next
    }

    mutating func observe(_ tally: Tally) {
        sharedUsed = tally.used
        sharedPrevious = tally.previous
        unsettled += localUsed
        localUsed = 0
        localShare = -1
    }

    mutating func resolve(_ amount: Int64) {
        let current = min(localUsed, amount)
        localUsed -= current
        if localShare >= 0 { localShare -= current }
        let earlier = min(unsettled, amount - current)
        unsettled -= earlier
        sharedUsed += current + earlier
    }

    mutating func left(_ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        if terms.algorithm == .slidingWindow { return slidingLeft(terms, replicas: replicas, hash: hash, nowMs: nowMs) }
        if localShare < 0 || shareMax != terms.max {
            shareMax = terms.max
            localShare = replicas.share(of: terms.max - sharedUsed - unsettled, counterHash: hash)
        }
        return localShare - localUsed
    }

    /// The share grows while the window before moves out of reach; what was admitted here is taken from it alone.
    private func slidingLeft(
        _ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        let shared = terms.max - sharedUsed - unsettled - terms.reach(of: sharedPrevious, nowMs: nowMs)
        return replicas.share(of: shared, counterHash: hash) - localUsed
            - terms.reach(of: localPrevious, nowMs: nowMs)
    }

    func retryAfterMs(
        _ terms: Terms, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64 {
        guard terms.algorithm == .slidingWindow else { return terms.retryAfterMs(cost: cost, known, nowMs: nowMs) }
        var tally = self
        var terms = terms
        for _ in 0..<2 {
            // The share grows while time passes: the first time at which it suffices is found by halving.
            var low = max(nowMs, terms.windowStartMs)
            var high = terms.windowEndMs - 1
            if tally.slidingLeft(terms, replicas: replicas, hash: hash, nowMs: high) >= cost {
                while low < high {
                    let middle = low + (high - low) / 2
                    if tally.slidingLeft(terms, replicas: replicas, hash: hash, nowMs: middle) >= cost {
                        high = middle
                    } else {
                        low = middle + 1
                    }
                }
                return max(1, low - nowMs)
            }
            tally.roll(isNext: true)
            terms.windowStartMs = terms.windowEndMs
            terms.windowEndMs = terms.nextEndMs
            terms.lengthMs = terms.windowEndMs - terms.windowStartMs
            terms.nextEndMs += terms.lengthMs
        }
        // More than this replica's share: not before the store is back, or both windows are over.
        return max(1, terms.windowEndMs - terms.lengthMs - nowMs)
    }

    /// - Parameter isCurrent: it was admitted in the open window, else in the one before.
    mutating func adjust(by amount: Int64, isCurrent: Bool) {
        guard isCurrent else {
            localPrevious = max(0, localPrevious + amount)
            return
        }
        if amount >= 0 {
            localUsed += amount
        } else {
            let current = min(localUsed, -amount)
            localUsed -= current
            unsettled -= min(unsettled, -amount - current)
        }
    }

    var known: Tally {
        var tally = Tally(used: sharedUsed + unsettled + localUsed)
        tally.previous = sharedPrevious + localPrevious
        return tally
    }

    var isTouched: Bool { localUsed > 0 || unsettled > 0 || localPrevious > 0 || sharedPrevious > 0 }
}

/// What is counted of a token bucket. While the store is away this replica has a bucket of its own, which holds its share
/// of what all hold and leaks one part in as many as there are replicas. To stay with integers its level is kept times
/// the number of replicas ("fine").
struct BucketTally {
    /// As the store told, and when that was true, by the store's clock.
    private var sharedLevel: Int64 = 0
    private var sharedMs: Int64 = 0
    /// The level of this replica's own bucket, fine; -1 while the store counts.
    private var localLevel: Int64 = -1
    /// What of it was admitted here, fine: it stays counted when the store is back, for the next outage.
    private var ownLevel: Int64 = 0
    private var localMs: Int64 = 0
    private var replicaCount: Int64 = 1
    /// This replica's share of the bucket, fine.
    private var localCapacity: Int64 = 0

    /// Beyond every level that means anything, with room for sums.
    private static let most: Int64 = 1 << 61

    mutating func observe(level: Int64, atMs: Int64) {
        sharedLevel = level
        sharedMs = atMs
        localLevel = -1
    }

    /// The time has passed; if the store has just gone, the bucket is divided.
    mutating func turnLocal(_ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) {
        ownLevel = terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs)
        let share = Self.fine(replicas.share(of: terms.burst * terms.lengthMs, counterHash: hash), replicas.count)
        if localLevel < 0 {
            let free = terms.burst * terms.lengthMs - terms.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs)
            let freeShare = Self.fine(replicas.share(of: free, counterHash: hash), replicas.count)
            localLevel = min(Self.most, share - freeShare + ownLevel)
        } else {
            localLevel = terms.drained(localLevel, sinceMs: localMs, nowMs: nowMs)
        }
        replicaCount = replicas.count
        localCapacity = share
        localMs = max(localMs, nowMs)
    }

    func left(_ terms: Terms) -> Int64 {
        let free = localCapacity - localLevel
        let unit = terms.lengthMs * replicaCount
        return free < 0 ? -1 : free / unit
    }

    mutating func admit(_ terms: Terms, cost: Int64) { adjust(by: cost, terms) }

    mutating func adjust(by cost: Int64, _ terms: Terms) {
        let level = cost * terms.lengthMs
        let fine = level < 0 ? -Self.fine(-level, replicaCount) : Self.fine(level, replicaCount)
        ownLevel = max(0, min(Self.most, ownLevel + fine))
        if localLevel >= 0 { localLevel = max(0, min(Self.most, localLevel + fine)) }
    }

    func retryAfterMs(_ terms: Terms, cost: Int64) -> Int64 {
        let missing = localLevel + Self.fine(cost * terms.lengthMs, replicaCount) - localCapacity
        guard terms.max > 0 else { return -1 }
        return max(1, (min(missing, Self.most) + terms.max - 1) / terms.max)
    }

    func knownLevel(_ terms: Terms, nowMs: Int64) -> Int64 {
        let own = terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) / replicaCount
        return min(Terms.maxExact, sharedLevel(terms, nowMs: nowMs) + own)
    }

    /// - Parameter terms: nil where the policy no longer has the limit: then nothing is known to have leaked.
    func sharedLevel(_ terms: Terms?, nowMs: Int64) -> Int64 {
        terms?.drained(sharedLevel, sinceMs: sharedMs, nowMs: nowMs) ?? sharedLevel
    }

    /// In units of cost, rounded up.
    func locallyUsed(_ terms: Terms?, nowMs: Int64) -> Int64 {
        guard let terms else { return 0 }
        let unit = terms.lengthMs * replicaCount
        return (terms.drained(ownLevel, sinceMs: localMs, nowMs: nowMs) + unit - 1) / unit
    }

    var isTouched: Bool { sharedLevel > 0 || ownLevel > 0 }

    private static func fine(_ level: Int64, _ replicas: Int64) -> Int64 {
        let (product, overflow) = level.multipliedReportingOverflow(by: replicas)
        return overflow ? most : min(product, most)
    }
}

/// What is counted of concurrency: slots that the store told of, and those that were taken here.
struct SlotTally {
    private var sharedUsed: Int64 = 0
    private var sharedFirstMs: Int64 = 0
    /// When all that the store told of have expired.
    private var sharedLastMs: Int64 = 0
    /// Taken here while the store was away, in the order of taking; as many at most as the limit has slots, and
    /// `EngineBounds.maxLocalReservations`.
    private var own: [(id: ReservationID, expiryMs: Int64)] = []

    mutating func observe(_ tally: Tally) {
        sharedUsed = tally.used
        sharedFirstMs = tally.firstExpiryMs
        sharedLastMs = tally.lastExpiryMs
    }

    mutating func expire(nowMs: Int64) {
        if own.contains(where: { $0.expiryMs <= nowMs }) { own.removeAll { $0.expiryMs <= nowMs } }
    }

    func left(_ terms: Terms, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64 {
        let shared = nowMs < sharedLastMs ? sharedUsed : 0
        return replicas.share(of: terms.max - shared, counterHash: hash) - Int64(own.count)
    }

    mutating func take(_ id: ReservationID, expiryMs: Int64) { own.append((id, expiryMs)) }

    mutating func release(_ id: ReservationID) { own.removeAll { $0.id == id } }

    func retryAfterMs(nowMs: Int64) -> Int64 {
        let first = own.map(\.expiryMs).min() ?? sharedLastMs
        return max(1, min(Terms.slotPollMs, first - nowMs))
    }

    func shared(nowMs: Int64) -> Tally {
        guard nowMs < sharedLastMs else { return Tally(used: 0) }
        var tally = Tally(used: sharedUsed)
        tally.firstExpiryMs = sharedFirstMs
        tally.lastExpiryMs = sharedLastMs
        return tally
    }

    func locallyUsed(nowMs: Int64) -> Int64 { Int64(own.count { $0.expiryMs > nowMs }) }

    func known(nowMs: Int64) -> Tally {
        let live = own.lazy.filter { $0.expiryMs > nowMs }.map(\.expiryMs)
        let shared = nowMs < sharedLastMs ? sharedUsed : 0
        var tally = Tally(used: shared + Int64(live.count))
        tally.firstExpiryMs = min(live.min() ?? .max, shared > 0 ? max(sharedFirstMs, nowMs + 1) : .max)
        tally.lastExpiryMs = max(live.max() ?? 0, shared > 0 ? sharedLastMs : 0)
        if tally.used == 0 { tally.firstExpiryMs = 0 }
        return tally
    }

    var isTouched: Bool { sharedUsed > 0 || !own.isEmpty }
}
