import SluicePolicy

/// What a counter admits locally, during an outage.
extension Counter {
    /// Takes a share of what the last reported usage left, unless it has the share of this outage already.
    ///
    /// - Parameter outage: see `Reconciler.outage`.
    @inline(__always)
    mutating func beginShare(_ outage: Int16) {
        if shareEpoch != outage { takeShare(of: outage) }
    }

    private mutating func takeShare(of outage: Int16) {
        shareEpoch = outage
        if algorithm == .fixedWindow { windowed.beginShare() } else { local.beginShare() }
    }

    /// Marks its share as the share of this outage.
    mutating func keepShare(_ outage: Int16) { shareEpoch = outage }

    /// The outage is over: all count in the store.
    mutating func endShare() { shareEpoch = 0 }

    /// Takes from the share what checks ask the store for; a negative amount returns it. Slots are not shared for
    /// checks that the store decides.
    ///
    /// - Parameter cutMs: the time that cut the window.
    mutating func takeShare(_ amount: Int64, _ quota: Quota, cutMs: Int64, nowMs: Int64) {
        let place = place(ofWindowAt: cutMs)
        if algorithm != .fixedWindow {
            local.takeShare(amount, quota, place, cutMs: cutMs, nowMs: nowMs)
        } else if place != nil {
            windowed.take(amount)
        }
    }

    /// The store charged what was spent of a log's share later than its windows were cut.
    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64) {
        local.moveShare(amount, fromMs: fromMs, toMs: toMs)
    }

    /// What may still be admitted locally, in units of cost; for concurrency, in slots.
    mutating func localRemaining(_ quota: Quota, replicas: borrowing ReplicaView, nowMs: Int64) -> Int64 {
        if algorithm == .fixedWindow {
            if !windowed.hasShare(quota) {
                windowed.setShare(quota, replicas.share(of: quota.max - windowed.shareBase, counterHash: hash))
            }
            guard rare == nil else { return windowRemaining(quota) }
            return min(windowed.left, max(0, quota.max - windowed.used))
        }
        return local.left(quota, replicas: replicas, hash: hash, nowMs: nowMs)
    }

    /// Charges a local admission; `localRemaining` was called just before.
    ///
    /// - Returns: for a token bucket, the receipt that `adjustLocally` needs.
    @discardableResult
    mutating func admitLocally(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt? {
        let cost = quota.units(ofCost: cost)
        guard algorithm != .fixedWindow else {
            boundCredit()
            windowed.admit(cost)
            return nil
        }
        return local.admit(quota, cost: cost, reservation: reservation, nowMs: nowMs)
    }

    /// Counts a local denial of a shadow limit, for a check that was admitted.
    mutating func denyLocally() { changeRare { $0.localDenials += 1 } }

    /// Adds to a local admission, or takes back some of it; what was written back is not changed. If its window no longer
    /// counts, nothing is taken back, and more is charged to the open one.
    mutating func adjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) {
        roll(at: nowMs)
        let place = place(of: item.quota)
        if algorithm != .fixedWindow {
            local.adjust(by: cost, of: item, place, nowMs: nowMs)
        } else if place != nil {
            windowed.adjust(by: cost)
            boundCredit()
        } else if cost > 0 {
            windowed.admit(cost)
        }
    }

    /// Whether `adjustLocally` can count this much.
    mutating func canAdjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) -> Bool {
        roll(at: nowMs)
        let place = place(of: item.quota)
        if algorithm != .fixedWindow { return local.canAdjust(by: cost, of: item, place, nowMs: nowMs) }
        // What no longer counts is not changed, and so never exceeds the bound.
        return cost <= Quota.maxExact - (place == nil ? 0 : windowed.own)
    }

    mutating func releaseLocally(_ reservation: ReservationID) {
        if algorithm != .fixedWindow { local.release(reservation) }
    }

    /// How long until a check that does not fit locally could, if the outage goes on and no other check comes, ms.
    func retryAfterLocally(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, nowMs: Int64
    ) -> Int64 {
        guard quota.canEverPass(cost: cost) else { return -1 }
        guard algorithm != .fixedWindow else {
            return quota.retryAfterMs(cost: cost, Usage(used: windowed.used), nowMs: nowMs)
        }
        return local.retryAfterMs(
            quota, cost: quota.units(ofCost: cost), replicas: replicas, hash: hash, nowMs: nowMs)
    }
}
