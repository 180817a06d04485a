import SluicePolicy

/// What of a counter is still to be written back or restored.
extension Counter {
    enum Place { case open, before }

    /// Which window contains `cutMs`; nil if nothing of that window counts any more.
    func place(ofWindowAt cutMs: Int64) -> Place? {
        let window = bounds(at: cutMs)
        if window.startMs == windowStartMs { return .open }
        return algorithm == .slidingWindow && window.endMs == windowStartMs ? .before : nil
    }

    /// Whether two times lie in the same window.
    func isOneWindow(_ oneMs: Int64, _ otherMs: Int64) -> Bool {
        bounds(at: oneMs).startMs == bounds(at: otherMs).startMs
    }

    /// Keeps `amount` of the local admissions, in the window that contains `cutMs`, from being written back for now;
    /// if negative, releases it.
    mutating func markUnconfirmed(_ amount: Int64, cutMs: Int64) {
        switch other?.value {
        case nil, .before:
            switch place(ofWindowAt: cutMs) {
            case .open?: addUnconfirmed(amount)
            case .before?: before.own.markUnconfirmed(amount)
            case nil: break
            }
        case .bucket(var bucket):
            bucket.markUnconfirmed(amount)
            other?.value = .bucket(bucket)
        case .log:
            changeLog { $0.markUnconfirmed(amount, atMs: cutMs) }
        case .slots:
            break
        }
    }

    /// The next write-backs and restores of the windows that still count.
    ///
    /// - Parameters:
    ///   - epoch: the store's present epoch. Usage seen in an earlier one is restored.
    ///   - maxIncrement: the most that one write-back adds; later batches add the rest.
    /// - Returns: restores first, then write-backs.
    mutating func writeBacks(nowMs: Int64, epoch: Int16, maxIncrement: Int64 = EngineBounds.maxIncrement) -> [WriteBack]
    {
        var writeBacks: [WriteBack] = []
        let forgotten = isSeen && seenEpoch != epoch
        switch other?.value {
        case nil, .before:
            let before = before
            let beforeMs = algorithm == .slidingWindow ? windowStartMs - 1 : -1
            if forgotten, before.sharedUsed > 0, beforeMs >= 0 {
                writeBacks.append(WriteBack(.restore, before.sharedUsed, windowMs: beforeMs))
            }
            if forgotten {
                writeBacks.append(WriteBack(.restore, windowed.sharedUsed, windowMs: windowStartMs))
            }
            if beforeMs >= 0 {
                writeBacks.append(WriteBack(.increment, min(maxIncrement, before.own.unwritten), windowMs: beforeMs))
            }
            let unwritten = max(0, windowed.own - windowUnconfirmed)
            writeBacks.append(WriteBack(.increment, min(maxIncrement, unwritten), windowMs: windowStartMs))
        case .bucket(let bucket):
            guard let quota = bucket.quota else { return [] }
            if forgotten {
                writeBacks.append(WriteBack(.restore, bucket.sharedLevel(quota, nowMs: nowMs), windowMs: windowStartMs))
            }
            let unwritten = bucket.unwrittenLevel(quota, nowMs: nowMs)
            writeBacks.append(WriteBack(.increment, min(maxIncrement, unwritten), windowMs: windowStartMs))
        case .log:
            var unwritten: [UsageLog.Step] = []
            changeLog { unwritten = $0.unwritten(atMost: EngineBounds.maxLogStepsWrittenBack, nowMs: nowMs) }
            if forgotten, let log { writeBacks = log.restores.map { WriteBack(.restore, $0.units, windowMs: $0.ms) } }
            writeBacks += unwritten.map { WriteBack(.increment, $0.units, windowMs: $0.ms) }
        case .slots:
            break
        }
        return writeBacks.filter { $0.amount > 0 }
    }

    /// The quota that a write-back is charged with: it passes whatever the usage is.
    func quota(of writeBack: WriteBack) -> Quota {
        if case .bucket(let bucket)? = other?.value, let quota = bucket.quota { return quota.unlimitedLevel }
        if let log {
            return Quota(
                algorithm: .slidingLog, max: Quota.maxExact, holdMs: writeBack.windowMs,
                windowStartMs: Quota.endless.lowerBound, windowEndMs: Quota.endless.upperBound, lengthMs: log.lengthMs)
        }
        let window = bounds(at: writeBack.windowMs)
        return .fixedWindow(max: Quota.maxExact, window: window.startMs..<window.nextEndMs)
    }

    /// Marks a write-back as in flight, so that it is not sent twice.
    mutating func send(_ writeBack: WriteBack) {
        if writeBack.kind == .increment { markUnconfirmed(writeBack.amount, cutMs: writeBack.windowMs) }
    }

    /// The outcome of a write-back is known.
    mutating func clear(_ writeBack: WriteBack) {
        if writeBack.kind == .increment { markUnconfirmed(-writeBack.amount, cutMs: writeBack.windowMs) }
    }

    /// Sets the limit of a token bucket.
    mutating func updateQuota(_ quota: Quota) {
        guard case .bucket(var bucket)? = other?.value, bucket.quota != quota else { return }
        bucket.updateQuota(quota)
        other?.value = .bucket(bucket)
    }

    /// Whether it has local admissions that still count and are not known to be in the store's usage.
    func holdsUnsettled(nowMs: Int64) -> Bool {
        switch other?.value {
        case nil: windowed.own > 0
        case .before(let before): windowed.own > 0 || before.own.used > 0
        case .bucket(let bucket): bucket.holdsUnsettled(nowMs: nowMs)
        case .log(let log): log.locallyUsed(nowMs: nowMs) > 0
        case .slots: false
        }
    }

    /// The store has answered a write-back or restore, or turned out to have run it.
    ///
    /// - Parameters:
    ///   - numbers: the usage in the reply; nil if its answer never came.
    ///   - keepsShare: as in `observe`.
    mutating func wroteBack(
        _ writeBack: WriteBack, numbers: ArraySlice<Int64>?, decidedMs: Int64, epoch: Int16, keepsShare: Bool
    ) {
        let usage = numbers?.first
        guard let place = place(ofWindowAt: writeBack.windowMs) else { return }
        let amount = writeBack.kind == .increment ? writeBack.amount : 0
        switch other?.value {
        case nil, .before:
            guard let usage else { return confirmWindow(amount, place) }
            markWindowStored(amount, place)
            if place == .open {
                var reported = Usage(used: usage)
                reported.previous = before.sharedUsed
                reported.denials = rare?.value.sharedDenials ?? 0
                observe(reported, cutMs: writeBack.windowMs, decidedMs: decidedMs, epoch: epoch, keepsShare: keepsShare)
            } else {
                before.sharedUsed = usage
            }
        case .bucket(var bucket):
            if let usage {
                bucket.markStored(level: amount)
                bucket.observe(level: usage, atMs: decidedMs)
            } else {
                bucket.confirm(level: amount)
            }
            other?.value = .bucket(bucket)
            if usage != nil {
                seenEpoch = epoch
                if !keepsShare { endShare() }
            }
        case .log:
            let steps = [UsageLog.Step(ms: writeBack.windowMs, units: amount)]
            guard let numbers else { return confirmLog(steps, chargedMs: writeBack.windowMs) }
            markLogStored(steps)
            observeLog(numbers)
            isSeen = true
            seenEpoch = epoch
            if !keepsShare { endShare() }
        case .slots:
            break
        }
    }
}
