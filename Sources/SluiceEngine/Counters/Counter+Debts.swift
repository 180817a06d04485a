/// What the store is still to be told of a counter: what was admitted here without it, and what it has forgotten.
extension Counter {
    enum Place { case open, before }

    /// Where the window is counted that holds `cutMs`; nil if nothing of it counts any more.
    func place(ofWindowAt cutMs: Int64) -> Place? {
        let window = bounds(at: cutMs)
        if window.startMs == windowStartMs { return .open }
        return algorithm == .slidingWindow && window.endMs == windowStartMs ? .before : nil
    }

    /// Whether two times lie in one window.
    func isOneWindow(_ oneMs: Int64, _ otherMs: Int64) -> Bool {
        bounds(at: oneMs).startMs == bounds(at: otherMs).startMs
    }

    /// So much of what was admitted here, in the window that holds `cutMs`, must not be told to the store for now; less
    /// than 0: it may be told again.
    mutating func doubt(_ amount: Int64, cutMs: Int64) {
        switch other?.value {
        case nil, .before:
            switch place(ofWindowAt: cutMs) {
            case .open?: addWindowDoubt(amount)
            case .before?: before.own.doubt(amount)
            case nil: break
            }
        case .bucket(var bucket):
            bucket.doubt(amount)
            other?.value = .bucket(bucket)
        case .log:
            changeLog { $0.doubt(amount, atMs: cutMs) }
        case .slots:
            break
        }
    }

    /// What the store is to be told next of the windows that still count.
    ///
    /// - Parameters:
    ///   - epoch: of the store's present memory: what was seen before that is offered to it.
    ///   - maxAddition: the most of an addition; what is more is added by later batches.
    /// - Returns: additions come after offers.
    mutating func debts(nowMs: Int64, epoch: Int16, maxAddition: Int64 = EngineBounds.maxAddition) -> [Debt] {
        var debts: [Debt] = []
        let forgotten = isSeen && seenEpoch != epoch
        switch other?.value {
        case nil, .before:
            let before = before
            let beforeMs = algorithm == .slidingWindow ? windowStartMs - 1 : -1
            if forgotten, before.sharedUsed > 0, beforeMs >= 0 {
                debts.append(Debt(.offer, before.sharedUsed, windowMs: beforeMs))
            }
            if forgotten {
                debts.append(Debt(.offer, windowed.sharedUsed, windowMs: windowStartMs))
            }
            if beforeMs >= 0 {
                debts.append(Debt(.addition, min(maxAddition, before.own.owed), windowMs: beforeMs))
            }
            let owed = max(0, windowed.own - windowInDoubt)
            debts.append(Debt(.addition, min(maxAddition, owed), windowMs: windowStartMs))
        case .bucket(let bucket):
            guard let terms = bucket.terms else { return [] }
            if forgotten {
                debts.append(Debt(.offer, bucket.sharedLevel(terms, nowMs: nowMs), windowMs: windowStartMs))
            }
            let owed = bucket.owedLevel(terms, nowMs: nowMs)
            debts.append(Debt(.addition, min(maxAddition, owed), windowMs: windowStartMs))
        case .log:
            var owed: [UsageLog.Step] = []
            changeLog { owed = $0.owed(atMost: EngineBounds.maxLogStepsWrittenBack, nowMs: nowMs) }
            if forgotten, let log { debts = log.offers.map { Debt(.offer, $0.units, windowMs: $0.ms) } }
            debts += owed.map { Debt(.addition, $0.units, windowMs: $0.ms) }
        case .slots:
            break
        }
        return debts.filter { $0.amount > 0 }
    }

    /// What one window's key is charged to pay a debt: whatever is used, it passes.
    func terms(of debt: Debt) -> Terms {
        if case .bucket(let bucket)? = other?.value, let terms = bucket.terms { return terms.unlimitedLevel }
        if let log {
            return Terms(
                algorithm: .slidingLog, max: Terms.maxExact, holdMs: debt.windowMs,
                windowStartMs: Terms.endless.lowerBound, windowEndMs: Terms.endless.upperBound, lengthMs: log.lengthMs)
        }
        let window = bounds(at: debt.windowMs)
        return .fixedWindow(max: Terms.maxExact, window: window.startMs..<window.nextEndMs)
    }

    /// A debt is on its way: nobody pays it a second time until it is known what became of it.
    mutating func send(_ debt: Debt) { if debt.kind == .addition { doubt(debt.amount, cutMs: debt.windowMs) } }

    /// What became of it is known.
    mutating func recall(_ debt: Debt) { if debt.kind == .addition { doubt(-debt.amount, cutMs: debt.windowMs) } }

    /// Of a token bucket: the limit that it is for.
    mutating func learn(_ terms: Terms) {
        guard case .bucket(var bucket)? = other?.value, bucket.terms != terms else { return }
        bucket.learn(terms)
        other?.value = .bucket(bucket)
    }

    /// Whether anything that was admitted here is not known to be in the store's tally, and still counts there.
    func holdsUnsettled(nowMs: Int64) -> Bool {
        switch other?.value {
        case nil: windowed.own > 0
        case .before(let before): windowed.own > 0 || before.own.used > 0
        case .bucket(let bucket): bucket.holdsUnsettled(nowMs: nowMs)
        case .log(let log): log.locallyUsed(nowMs: nowMs) > 0
        case .slots: false
        }
    }

    /// The store was paid.
    ///
    /// - Parameters:
    ///   - numbers: in which it told its tally; nil if its answer never came.
    ///   - keepsShare: as of `observe`.
    mutating func paid(
        _ debt: Debt, numbers: ArraySlice<Int64>?, decidedMs: Int64, epoch: Int16, keepsShare: Bool
    ) {
        let tally = numbers?.first
        guard let place = place(ofWindowAt: debt.windowMs) else { return }
        let amount = debt.kind == .addition ? debt.amount : 0
        switch other?.value {
        case nil, .before:
            guard let tally else { return resolveWindow(amount, place) }
            settleWindow(amount, place)
            if place == .open {
                var told = Tally(used: tally)
                told.previous = before.sharedUsed
                told.refusals = rare?.value.sharedRefusals ?? 0
                observe(told, cutMs: debt.windowMs, decidedMs: decidedMs, epoch: epoch, keepsShare: keepsShare)
            } else {
                before.sharedUsed = tally
            }
        case .bucket(var bucket):
            if let tally {
                bucket.settle(level: amount)
                bucket.observe(level: tally, atMs: decidedMs)
            } else {
                bucket.resolve(level: amount)
            }
            other?.value = .bucket(bucket)
            if tally != nil {
                seenEpoch = epoch
                if !keepsShare { endShare() }
            }
        case .log:
            let steps = [UsageLog.Step(ms: debt.windowMs, units: amount)]
            guard let numbers else { return resolveLog(steps, chargedMs: debt.windowMs) }
            settleLog(steps)
            observeLog(numbers)
            isSeen = true
            seenEpoch = epoch
            if !keepsShare { endShare() }
        case .slots:
            break
        }
    }
}
