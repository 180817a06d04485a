/// Refusals that the store need not be asked for: it refused a check of the same identity a moment ago, and what it told
/// then shows that this one cannot pass either.
extension Limiter {
    /// Whether it is heard when some replica lowers a counter; nothing is remembered otherwise.
    package var hearsChanges: Bool { denials.isListening }

    /// The store refused some checks of an entry: what it told of all of its counters is kept in mind.
    mutating func rememberDenial(_ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch) {
        guard denials.isListening else { return }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            // What was told of another window than the open one was passed over.
            guard table[counter: counter].algorithm != .concurrency,
                table.isOpen(counter: counter, at: batch.cutMs)
            else { continue }
            // From when it was sent: the store decided no earlier.
            table[counter: counter].provenNs = batch.sentNs
            table[plan: entry.plan].wasRefused = true
        }
    }

    /// Refuses a check by what the store told a moment ago; nil where that does not prove that it would refuse as well, or
    /// not for how long.
    ///
    /// Slots are never proof: one may be free at any moment, and nobody is told. What fills evenly emptying limits longer is
    /// not heard of either: how long one takes to have room is only known while it has none for anybody.
    mutating func denyFromCache(plan: Int, cost: Int64, wantsTrace: Bool, now: ClockReading) -> Decision? {
        let nowMs = clock.nowMs(now)
        var isProven = false
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let algorithm = table[counter: counter].algorithm
            if algorithm == .concurrency { continue }
            // Without any one of them it is not known which one binds.
            guard table.isOpen(counter: counter, at: nowMs),
                denials.holds(
                    provenNs: table[counter: counter].provenNs, slot: table[counter: counter].changeSlot,
                    nowNs: now.monotonicNs)
            else {
                table[plan: plan].wasRefused = false
                return nil
            }
            // A fixed window has room again when it ends, whatever is charged until then.
            if isProven && algorithm == .fixedWindow || table[rulesOf: plan].limits[index].isShadow { continue }
            let quota = quota(plan: plan, index)
            // By the store's clock it may be so late already.
            let latestMs = nowMs + clock.lagMs
            let told = table.told(ofCounter: counter, quota, cost: cost, nowMs: latestMs)
            let left = quota.left(told, nowMs: latestMs)
            guard left < cost else { continue }
            // Of a log only its first steps are known as they are; beyond them it may have room sooner.
            if algorithm == .slidingLog, quota.canEverPass(cost: cost),
                told.firstExpiryMs > table[counter: counter].log?.exactUntilMs ?? 0
            {
                return nil
            }
            if left > 0 && algorithm != .fixedWindow && quota.canEverPass(cost: cost) { return nil }
            isProven = true
        }
        guard isProven else { return nil }
        var evaluation = Evaluation(allowed: false, wantsTrace: wantsTrace)
        for index in table[rulesOf: plan].limits.indices {
            findProven(plan: plan, index, cost: cost, nowMs: nowMs, into: &evaluation)
        }
        let decision = conclude(plan: plan, &evaluation, source: .cache)
        // This clock may be a little behind: whoever waited as long as it was told finds room.
        if decision.retryAfterMs >= 0 && decision.retryAfterMs <= clock.lagMs { return nil }
        return decision
    }

    private mutating func findProven(
        plan: Int, _ index: Int, cost: Int64, nowMs: Int64, into evaluation: inout Evaluation
    ) {
        let counter = table.counter(ofPlan: plan, index)
        let quota = quota(plan: plan, index)
        let usage = table.told(ofCounter: counter, quota, cost: cost, nowMs: nowMs)
        let left = quota.left(usage, nowMs: nowMs)
        let fits = left >= quota.units(ofCost: cost)
        let limitEvaluation = LimitEvaluation(
            index: index, capacity: quota.capacity, left: left, fits: fits,
            waitMs: fits ? 0 : quota.retryAfterMs(cost: cost, usage, nowMs: nowMs),
            resetMs: quota.resetMs(usage, nowMs: nowMs))
        if evaluation.wantsTrace { evaluation.add(look(plan: plan, quota, usage, limitEvaluation, nowMs: nowMs)) }
        if quota.algorithm != .concurrency { evaluation.add(limitEvaluation, of: table[rulesOf: plan].limits[index]) }
    }

    /// A reservation was settled in the store: what it had charged may have been lowered.
    mutating func forgetDenials(settledBy entry: borrowing PendingBatch.Entry, now: ClockReading) {
        guard case .settle(let key, _, _)? = entry.operation else { return }
        denials.settled(reservationKey: key.bytes, now: now)
    }

    // MARK: - Hearing of changes

    package mutating func linkChangeFeed(_ event: ChangeFeedEvent, now: ClockReading) {
        denials.hear(event, now: now)
        reportChangeFeed()
    }

    /// Time has passed.
    mutating func listen(lookedNs: Int64?, now: ClockReading) {
        denials.tick(isStoreThere: breaker.isClosed, lookedNs: lookedNs, now: now)
        reportChangeFeed()
    }

    /// A first failure may be a hiccup, or the store's own.
    private mutating func reportChangeFeed() {
        if denials.isListening {
            if reportedUnheard { notify(.changesHeard) }
            reportedUnheard = false
        } else if denials.changeFeed.failures > 1, breaker.isClosed, !reportedUnheard {
            notify(.changesUnheard(reason: denials.changeFeed.reason))
            reportedUnheard = true
        }
    }
}

extension PendingBatch.Entry {
    /// Whether the store, which admitted so many, refused any of its checks.
    func hasDenied(admitted: Int64) -> Bool {
        isPeek ? admitted == 0 : admitted < max(sentCount, Int64(unanswered))
    }
}
