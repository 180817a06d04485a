import SluicePolicy

/// What of a counter is still to be written back or restored.
extension Counter {
    enum Place { case open, before }

    /// Which window contains `cutMs`; nil if nothing of that window counts any more.
    func place(ofWindowAt cutMs: Int64) -> Place? {
        let window = bounds(at: cutMs)
        if window.startMs == windowStartMs { return .open }
        return algorithm.slides && window.endMs == windowStartMs ? .before : nil
    }

    /// Which window a quota was of; nil if nothing of it counts any more.
    func place(of quota: Quota) -> Place? {
        if quota.windowStartMs == windowStartMs { return .open }
        return algorithm.slides && quota.windowEndMs == windowStartMs ? .before : nil
    }

    /// Whether two times lie in the same window.
    func isOneWindow(_ oneMs: Int64, _ otherMs: Int64) -> Bool {
        bounds(at: oneMs).startMs == bounds(at: otherMs).startMs
    }

    /// Keeps `amount` of the local admissions, in the window that contains `cutMs`, from being written back for now;
    /// if negative, releases it.
    mutating func markUnconfirmed(_ amount: Int64, cutMs: Int64) {
        let place = place(ofWindowAt: cutMs)
        if algorithm != .fixedWindow {
            local.markUnconfirmed(amount, place, cutMs: cutMs)
        } else if place != nil {
            changeRare { $0.unconfirmed = max(0, min(Quota.maxExact, $0.unconfirmed + amount)) }
        }
    }

    /// Whether some local admissions must not be written back yet.
    func isUnconfirmed(nowMs: Int64) -> Bool {
        algorithm == .fixedWindow ? windowUnconfirmed > 0 : local.isUnconfirmed(nowMs: nowMs)
    }

    private var windowUnconfirmed: Int64 { rare?.value.unconfirmed ?? 0 }

    /// The next write-backs and restores of the windows that still count.
    ///
    /// - Parameters:
    ///   - epoch: the store's present epoch. Usage seen in an earlier one is restored.
    ///   - maxIncrement: the most that one write-back adds; later batches add the rest.
    /// - Returns: restores first, then write-backs.
    mutating func writeBacks(nowMs: Int64, epoch: Int16, maxIncrement: Int64 = EngineBounds.maxIncrement) -> [WriteBack]
    {
        let restores = isSeen && seenEpoch != epoch && !isCleared
        // Mostly there are none, and then this allocates nothing.
        var writeBacks = isCleared ? readings(nowMs: nowMs) : []
        guard algorithm == .fixedWindow else {
            return writeBacks
                + local.writeBacks(
                    restores: restores, atMost: maxIncrement, windowStartMs: windowStartMs, nowMs: nowMs
                ).filter { $0.amount > 0 }
        }
        if restores && windowed.sharedUsed > 0 {
            writeBacks.append(WriteBack(.restore, windowed.sharedUsed, windowMs: windowStartMs))
        }
        let unwritten = min(maxIncrement, windowed.own - windowUnconfirmed)
        if unwritten > 0 { writeBacks.append(WriteBack(.increment, unwritten, windowMs: windowStartMs)) }
        // A restore that came after it would undo it.
        if !restores, let unsent = rare?.value.credit.unsent, unsent > 0 {
            writeBacks.append(WriteBack(.decrement, min(maxIncrement, unsent), windowMs: windowStartMs))
        }
        return writeBacks
    }

    /// The quota that a write-back is charged with: it passes whatever the usage is.
    func quota(of writeBack: WriteBack) -> Quota {
        if algorithm != .fixedWindow, let quota = local.quota(of: writeBack) { return quota }
        let window = bounds(at: writeBack.windowMs)
        return .fixedWindow(max: Quota.maxExact, window: window.startMs..<window.nextEndMs)
    }

    /// Marks a write-back as in flight, so that it is not sent twice.
    mutating func send(_ writeBack: WriteBack) {
        hold(writeBack, by: writeBack.amount)
    }

    /// The outcome of a write-back is known.
    mutating func clear(_ writeBack: WriteBack) {
        hold(writeBack, by: -writeBack.amount)
    }

    private mutating func hold(_ writeBack: WriteBack, by amount: Int64) {
        switch writeBack.kind {
        case .increment: markUnconfirmed(amount, cutMs: writeBack.windowMs)
        case .decrement: holdRefund(amount, cutMs: writeBack.windowMs)
        case .restore: break
        }
    }

    /// Sets the limit of a token bucket.
    mutating func updateQuota(_ quota: Quota) {
        if algorithm != .fixedWindow { local.updateQuota(quota) }
    }

    /// The limit of a token bucket as last checked.
    var bucketQuota: Quota? { other?.value.quota }

    /// Whether it has local admissions or refunds that still count and are not known to be in the store's usage.
    func hasLocalAdmissions(nowMs: Int64) -> Bool {
        algorithm == .fixedWindow ? windowed.own > 0 || windowCredit > 0 : local.hasLocalAdmissions(nowMs: nowMs)
    }

    /// The store has answered a write-back or restore, or turned out to have run it.
    ///
    /// - Parameters:
    ///   - numbers: the usage in the reply; nil if its answer never came.
    ///   - keepsShare: as in `observe`.
    mutating func wroteBack(
        _ writeBack: WriteBack, numbers: ArraySlice<Int64>?, decidedMs: Int64, epoch: Int16, keepsShare: Bool
    ) {
        guard let place = place(ofWindowAt: writeBack.windowMs) else { return }
        let amount = writeBack.kind == .increment ? writeBack.amount : 0
        if writeBack.kind == .decrement {
            wroteBackRefund(writeBack.amount, numbers: numbers, decidedMs: decidedMs)
        } else if algorithm == .fixedWindow {
            windowed.wroteBack(amount, numbers?.first)
        } else if !local.wroteBack(amount, of: writeBack, numbers, place, decidedMs: decidedMs) {
            return
        }
        isSeen = true
        guard numbers != nil else { return forgetReport() }
        if writeBack.kind == .restore { isCleared = false }
        seenEpoch = epoch
        if !keepsShare { endShare() }
    }
}
