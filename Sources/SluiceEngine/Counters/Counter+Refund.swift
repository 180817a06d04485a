import SluicePolicy

/// What is given back of a counter without the store: see `Credit`.
extension Counter {
    /// What was given back of a fixed window.
    var windowCredit: Int64 { rare?.value.credit.amount ?? 0 }

    /// The known usage of a fixed window.
    var windowUsed: Int64 { max(0, windowed.used - windowCredit) }

    /// As `localRemaining` of a fixed window: what was given back here may be admitted here.
    func windowRemaining(_ quota: Quota) -> Int64 {
        min(windowed.left + windowCredit, max(0, quota.max - windowUsed))
    }

    /// Gives back up to this much cost; `localRemaining` was called just before.
    ///
    /// - Parameter isShared: there is a store, which may have what is given back.
    mutating func refundLocally(_ quota: Quota, cost: Int64, isShared: Bool, nowMs: Int64) {
        guard algorithm == .fixedWindow else { return local.refund(cost, quota, isShared: isShared, nowMs: nowMs) }
        let amount = min(cost, windowUsed)
        guard isShared else { return windowed.adjust(by: -amount) }
        if amount > 0 { changeRare { $0.credit.add(amount) } }
    }

    /// No more can be given back of a fixed window than is used.
    mutating func boundCredit() {
        let used = windowed.used
        if windowCredit > used { changeRare { $0.credit.bound(by: used) } }
    }

    /// Keeps what was given back, in the window that contains `cutMs`, from being sent for now: a batch in flight may
    /// have given it back. A negative amount ends that.
    mutating func holdRefund(_ amount: Int64, cutMs: Int64) {
        guard place(ofWindowAt: cutMs) == .open else { return }
        guard algorithm == .fixedWindow else { return local.holdRefund(amount) }
        if rare != nil { changeRare { $0.credit.hold(amount) } }
    }

    /// A refund that was also applied here turned out to be in the store.
    ///
    /// - Parameters:
    ///   - isReported: whether the usage that the store reported last shows it.
    ///   - cutMs: the time that cut the window.
    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool, cutMs: Int64) {
        guard place(ofWindowAt: cutMs) == .open else { return }
        guard algorithm == .fixedWindow else { return local.gaveBack(cost, quota, isReported: isReported) }
        if rare != nil { changeRare { $0.credit.remove(cost) } }
        if !isReported { windowed.sharedUsed = max(0, windowed.sharedUsed - cost) }
    }

    /// The store has given back an amount that was written back.
    ///
    /// - Parameter numbers: the usage in the reply; nil if its answer never came.
    mutating func wroteBackRefund(_ amount: Int64, numbers: ArraySlice<Int64>?, decidedMs: Int64) {
        guard algorithm == .fixedWindow else {
            return local.wroteBackRefund(amount, numbers, decidedMs: decidedMs)
        }
        if rare != nil { changeRare { $0.credit.remove(amount) } }
        windowed.sharedUsed = numbers?.first ?? max(0, windowed.sharedUsed - amount)
    }

    /// What was given back and the store does not have yet, in units of its usage.
    var credit: Int64 { algorithm == .fixedWindow ? windowCredit : local.credit }

    /// Takes over what an earlier process gave back.
    mutating func restoreCredit(_ amount: Int64) {
        guard amount > 0 else { return }
        if algorithm == .fixedWindow { changeRare { $0.credit.add(amount) } } else { local.restoreCredit(amount) }
    }
}
