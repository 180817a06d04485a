import SluicePolicy

/// Denials without asking the store: it denied a check of the same identity a moment ago, and the usage it reported
/// proves that this one cannot pass either.
extension Limiter {
    /// Whether changes of counters are received; the denial cache is off otherwise.
    package var hearsChanges: Bool { denials.isListening }

    /// The store denied checks of an entry: notes that the usage it reported for their counters can prove denials.
    mutating func rememberDenial(_ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch) {
        guard denials.isListening else { return }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            // Usage of another window than the open one was ignored.
            guard table[counter].algorithm != .concurrency,
                table.isOpen(counter: counter, at: batch.cutMs),
                // What is known of a lost counter is not what was reported.
                losses.isEmpty || losses.index(of: counter) == nil
            else { continue }
            // The time of sending, because the store decided no earlier.
            table[counter].provenNs = batch.sentNs
            table[entry.plan].wasDenied = true
        }
    }

    /// Denies a check by the last reported usage; nil if that does not prove a denial, or not for how long.
    ///
    /// Slots prove nothing, because one may become free at any moment without a notification. Nor does a limit that
    /// drains evenly and still has room for a smaller cost: another check may take that room, which makes the wait
    /// longer, without a notification.
    mutating func denyFromCache(plan: PlanID, cost: Int64, wantsTrace: Bool, now: ClockReading) -> Decision? {
        let nowMs = clock.nowMs(now)
        var isProven = false
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let algorithm = table[counter].algorithm
            if algorithm == .concurrency { continue }
            // The binding limit is known only if the usage of all limits is.
            guard table.isOpen(counter: counter, at: nowMs),
                denials.holds(
                    provenNs: table[counter].provenNs, slot: table[counter].changeSlot,
                    nowNs: now.monotonicNs)
            else {
                table[plan].wasDenied = false
                return nil
            }
            // A fixed window has room again when it ends, whatever is charged until then.
            if isProven && algorithm == .fixedWindow || table[rulesOf: plan].limits[index].isShadow { continue }
            let quota = table.quota(ofPlan: plan, index)
            // The store's clock may be this far ahead.
            let latestMs = nowMs + clock.lagMs
            let reported = table.reported(ofCounter: counter, quota, cost: cost, nowMs: latestMs)
            let left = quota.left(reported, nowMs: latestMs)
            guard left < quota.units(ofCost: cost) else { continue }
            // Only the first steps of a log are exact; beyond them it may have room sooner.
            if algorithm == .slidingLog, quota.canEverPass(cost: cost),
                reported.firstExpiryMs > table[counter].exactUntilMs
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
        // This clock may be a little behind: a caller that waited for the reported time finds room.
        if decision.retryAfterMs >= 0 && decision.retryAfterMs <= clock.lagMs { return nil }
        return decision
    }

    private mutating func findProven(
        plan: PlanID, _ index: Int, cost: Int64, nowMs: Int64, into evaluation: inout Evaluation
    ) {
        let counter = table.counter(ofPlan: plan, index)
        let quota = table.quota(ofPlan: plan, index)
        let usage = table.reported(ofCounter: counter, quota, cost: cost, nowMs: nowMs)
        let left = quota.left(usage, nowMs: nowMs)
        let fits = left >= quota.units(ofCost: cost)
        let limitEvaluation = LimitEvaluation(
            index: index, capacity: quota.capacity, left: left, fits: fits,
            waitMs: fits ? 0 : quota.retryAfterMs(cost: cost, usage, nowMs: nowMs),
            resetMs: quota.resetMs(usage, nowMs: nowMs))
        if evaluation.wantsTrace { evaluation.add(trace(plan: plan, quota, usage, limitEvaluation, nowMs: nowMs)) }
        if quota.algorithm != .concurrency { evaluation.add(limitEvaluation, of: table[rulesOf: plan].limits[index]) }
    }

    // MARK: - The change feed

    package mutating func linkChangeFeed(_ event: ChangeFeedEvent, now: ClockReading) {
        denials.hear(event, now: now)
        switch event {
        case .alive: judgeLosses(losses.answeredProbe(), now: now)
        case .opened, .closed: giveUpLosses(now: now)
        case .changed(let key): noteCleared(key)
        }
        noteOverrides(event)
        notices.changeFeed(denials.changeFeed, isStoreThere: link.isClosed)
    }

    /// The next command for the change feed; nil if there is none.
    mutating func nextFeedCommand(now: ClockReading) -> ChangeFeedCommand? {
        if let dueNs = losses.nextProbeNs, now.monotonicNs >= dueNs { denials.probe(now: now) }
        let command = denials.takeCommand()
        switch command {
        case .probe: losses.probes(now: now)
        case .close: giveUpLosses(now: now)
        case .open, nil: break
        }
        return command
    }

    /// Time has passed.
    mutating func listen(lookedNs: Int64?, now: ClockReading) {
        denials.tick(isStoreThere: link.isClosed, lookedNs: lookedNs, now: now)
        notices.changeFeed(denials.changeFeed, isStoreThere: link.isClosed)
    }
}

extension PendingBatch.Entry {
    /// Whether the store, which admitted this many, denied any of the entry's checks.
    func hasDenied(admitted: Int64) -> Bool {
        isPeek ? admitted == 0 : admitted < max(sentCount, Int64(unanswered))
    }
}
