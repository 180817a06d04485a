/// Refusals that the store need not be asked for: it refused a check of the same identity a moment ago, and what it told
/// then shows that this one cannot pass either.
extension Limiter {
    /// Whether it is heard when some replica lowers a counter; nothing is remembered otherwise.
    package var hearsChanges: Bool { refusals.isListening }

    /// The store refused some checks of an entry: what it told of all of its counters is kept in mind.
    mutating func rememberRefusal(_ entry: borrowing PendingBatch.Entry, of batch: borrowing PendingBatch) {
        guard refusals.isListening else { return }
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
    mutating func refuseAgain(plan: Int, cost: Int64, wantsTrace: Bool, now: Moment) -> Decision? {
        let nowMs = clock.nowMs(now)
        var isProven = false
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let algorithm = table[counter: counter].algorithm
            if algorithm == .concurrency { continue }
            // Without any one of them it is not known which one binds.
            guard table.isOpen(counter: counter, at: nowMs),
                refusals.holds(
                    provenNs: table[counter: counter].provenNs, slot: table[counter: counter].changeSlot,
                    nowNs: now.monotonicNs)
            else {
                table[plan: plan].wasRefused = false
                return nil
            }
            // A fixed window has room again when it ends, whatever is charged until then.
            if isProven && algorithm == .fixedWindow || table[rulesOf: plan].limits[index].isShadow { continue }
            let terms = terms(plan: plan, index)
            // By the store's clock it may be so late already.
            let latestMs = nowMs + clock.lagMs
            let told = table.told(ofCounter: counter, terms, cost: cost, nowMs: latestMs)
            let left = terms.left(told, nowMs: latestMs)
            guard left < cost else { continue }
            // Of a log only its first steps are known as they are; beyond them it may have room sooner.
            if algorithm == .slidingLog, terms.canEverPass(cost: cost),
                told.firstExpiryMs > table[counter: counter].log?.exactUntilMs ?? 0
            {
                return nil
            }
            if left > 0 && algorithm != .fixedWindow && terms.canEverPass(cost: cost) { return nil }
            isProven = true
        }
        guard isProven else { return nil }
        var findings = Findings(allowed: false, wantsTrace: wantsTrace)
        for index in table[rulesOf: plan].limits.indices {
            findProven(plan: plan, index, cost: cost, nowMs: nowMs, into: &findings)
        }
        let decision = conclude(plan: plan, &findings, source: .cache)
        // This clock may be a little behind: whoever waited as long as it was told finds room.
        if decision.retryAfterMs >= 0 && decision.retryAfterMs <= clock.lagMs { return nil }
        return decision
    }

    private mutating func findProven(plan: Int, _ index: Int, cost: Int64, nowMs: Int64, into findings: inout Findings)
    {
        let counter = table.counter(ofPlan: plan, index)
        let terms = terms(plan: plan, index)
        let tally = table.told(ofCounter: counter, terms, cost: cost, nowMs: nowMs)
        let left = terms.left(tally, nowMs: nowMs)
        let fits = left >= terms.units(ofCost: cost)
        let finding = LimitFinding(
            index: index, capacity: terms.capacity, left: left, fits: fits,
            waitMs: fits ? 0 : terms.retryAfterMs(cost: cost, tally, nowMs: nowMs),
            resetMs: terms.resetMs(tally, nowMs: nowMs))
        if findings.wantsTrace { findings.add(look(plan: plan, terms, tally, finding, nowMs: nowMs)) }
        if terms.algorithm != .concurrency { findings.add(finding, of: table[rulesOf: plan].limits[index]) }
    }

    /// A reservation was settled in the store: what it had charged may have been lowered.
    mutating func forgetRefusals(settledBy entry: borrowing PendingBatch.Entry, now: Moment) {
        guard case .settle(let key, _, _)? = entry.special else { return }
        refusals.settled(reservationKey: key.bytes, now: now)
    }

    // MARK: - Hearing of changes

    package mutating func linkListening(_ event: ListeningEvent, now: Moment) {
        refusals.hear(event, now: now)
        reportListening()
    }

    /// Time has passed.
    mutating func listen(lookedNs: Int64?, now: Moment) {
        refusals.tick(isStoreThere: breaker.isClosed, lookedNs: lookedNs, now: now)
        reportListening()
    }

    /// A first failure may be a hiccup, or the store's own.
    private mutating func reportListening() {
        if refusals.isListening {
            if reportedUnheard { notify(.changesHeard) }
            reportedUnheard = false
        } else if refusals.listener.failures > 1, breaker.isClosed, !reportedUnheard {
            notify(.changesUnheard(reason: refusals.listener.reason))
            reportedUnheard = true
        }
    }
}

extension PendingBatch.Entry {
    /// Whether the store, which admitted so many, refused any of its checks.
    func hasRefused(admitted: Int64) -> Bool {
        isPeek ? admitted == 0 : admitted < max(sentCount, Int64(unanswered))
    }
}
