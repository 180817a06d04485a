import SluicePolicy

/// One limit as it was found, for one check.
struct LimitFinding {
    /// Among the plan's limits.
    var index: Int
    var capacity: Int64
    /// What may still be admitted after this check.
    var left: Int64
    /// Whether this limit has room for the check.
    var fits: Bool
    /// How long until it would have, ms; -1: never. 0 if it does.
    var waitMs: Int64
    var resetMs: Int64

    /// Whether this one is told rather than `other`.
    func binds(more other: LimitFinding, allowed: Bool) -> Bool {
        guard allowed else {
            // Of a denied check's limits one at least does not fit; if none does that (the store's tallies are no more
            // to be trusted than whoever else writes to it), any may be told.
            if fits != other.fits { return other.fits }
            let (never, otherNever) = (waitMs < 0, other.waitMs < 0)
            // What admits nothing at all is told first: that is known without asking anybody.
            return (never ? .max : waitMs, never && capacity == 0 ? 1 : 0, resetMs)
                > (otherNever ? .max : other.waitMs, otherNever && other.capacity == 0 ? 1 : 0, other.resetMs)
        }
        // left / capacity < other.left / other.capacity, without leaving the integers.
        let mine = max(0, left).multipliedFullWidth(by: other.capacity)
        let others = max(0, other.left).multipliedFullWidth(by: capacity)
        return (mine.high, mine.low) < (others.high, others.low)
    }
}

/// Gathers what was found of a check's limits, and keeps the binding one: when denied the one that makes the caller wait
/// longest, when allowed the one with the smallest share left. Shadow limits never bind.
struct Findings {
    let allowed: Bool
    private(set) var binding: LimitFinding?
    /// Only if the check asked for it.
    private(set) var trace: [Decision.Look]?

    init(allowed: Bool, wantsTrace: Bool) {
        self.allowed = allowed
        trace = wantsTrace ? [] : nil
    }

    var wantsTrace: Bool { trace != nil }

    mutating func add(_ finding: LimitFinding, of limit: borrowing Rules.LimitRule) {
        guard !limit.isShadow else { return }
        if let other = binding, !finding.binds(more: other, allowed: allowed) { return }
        binding = finding
    }

    mutating func add(_ look: Decision.Look) { trace?.append(look) }
}

/// What makes a check that reserves, or that has an id, more than a plain one.
struct SpecialCheck {
    var reservation: ReservationID?
    /// Whether the gateway asked for it; a shadow limit that counts calls that are going on needs one as well.
    var tellsReservation: Bool
    /// The key of the reservation's record in the store.
    var reservationKey: ByteString
    var memoKey: ByteString?
    var argumentsHash: UInt64
}

/// Limits are walked by index, and their numbers read one by one: a copy of one would retain its words for nothing.
///
/// What each check calls is mutating even where it changes nothing. The limiter then is passed by its address; for a method
/// that does not change it, the compiler copies all of it, a kilobyte, to be safe from changes meanwhile.
extension Limiter {
    /// The terms of one limit of a plan in the window that its counter last looked at.
    mutating func terms(plan: Int, _ index: Int) -> Terms {
        let counter = table.counter(ofPlan: plan, index)
        return table[rulesOf: plan].limits[index].terms.at(table.open(ofCounter: counter))
    }

    enum LocalOutcome {
        case decided(Decision)
        /// It was to be a reservation, and no more can be remembered: nothing was charged.
        case busy(Busy)
    }

    /// As `decideLocally`, for one that is answered at once.
    mutating func answerLocally(
        plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, special: SpecialCheck?, now: Moment
    ) -> CheckOutcome {
        switch decideLocally(
            plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, special: special, now: now)
        {
        case .decided(let decision):
            statistics.count(decision)
            return .answered(decision)
        case .busy(let cause): return refuse(cause, now: now)
        }
    }

    /// The same for one that has waited.
    mutating func finish(_ ticket: Ticket, _ outcome: consuming LocalOutcome, deadlineNs: Int64, now: Moment) {
        switch outcome {
        case .decided(let decision): finish(ticket, decision, deadlineNs: deadlineNs, now: now)
        case .busy(let cause):
            noteBusy(cause, now: now)
            finish(ticket, .overloaded(cause), deadlineNs: deadlineNs, now: now)
        }
    }

    /// Decides by local counters, and charges them.
    ///
    /// - Parameter mayBeStored: a batch with this check may run in the store as well.
    mutating func decideLocally(
        plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, special: SpecialCheck? = nil, mayBeStored: Bool = false,
        now: Moment
    ) -> LocalOutcome {
        clock.observeWall(now: now)
        let nowMs = clock.nowMs(now)
        var allFit = true
        termsAtHand.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table[counter: counter].roll(at: nowMs)
            table[counter: counter].beginShare(shareEpoch)
            termsAtHand.append(terms(plan: plan, index))
            if table[rulesOf: plan].limits[index].isShadow { continue }
            switch configuration.usesStore ? table[rulesOf: plan].limits[index].onOutage : .local {
            case .local:
                if !fitsLocally(counter, termsAtHand[index], cost: cost, nowMs: nowMs) { allFit = false }
            case .allow:
                // What can never pass does not pass for want of a store.
                if !table[rulesOf: plan].limits[index].terms.canEverPass(cost: cost) { allFit = false }
            case .deny:
                return .decided(
                    unavailable(plan: plan, index, special: special, wantsTrace: wantsTrace, now: now))
            }
        }
        if allFit, !isPeek, let special, special.reservation != nil {
            if let cause = makeRoomForReservation(plan: plan, nowMs: nowMs) { return .busy(cause) }
        }
        if allFit && !isPeek {
            let charged = chargeLocally(plan: plan, cost: cost, reservation: special?.reservation, nowMs: nowMs)
            if let special, special.reservation != nil {
                keep(special, plan: plan, cost: cost, charged: charged, mayBeStored: mayBeStored, nowMs: nowMs)
            }
        }
        return .decided(
            concludeLocally(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, special: special, allFit: allFit,
                nowMs: nowMs, now: now))
    }

    /// - Returns: why no more can be made here; nil if one can.
    private mutating func makeRoomForReservation(plan: Int, nowMs: Int64) -> Busy? {
        let owner = owner(ofPlan: plan)
        undoubt(reservations.makeRoom(for: owner, nowMs: nowMs))
        if reservations.isFull(of: owner) { return .grantReservations }
        return reservations.isFull || isBesideFull ? .reservations : nil
    }

    /// The answer by local counters; `termsAtHand` are those of the plan's limits.
    mutating func concludeLocally(
        plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, special: SpecialCheck?, allFit: Bool, nowMs: Int64,
        now: Moment
    ) -> Decision {
        var findings = Findings(allowed: allFit, wantsTrace: wantsTrace || special?.memoKey != nil)
        for index in table[rulesOf: plan].limits.indices {
            findLocally(plan: plan, index, cost: cost, nowMs: nowMs, into: &findings)
        }
        var decision = conclude(plan: plan, &findings, source: .local)
        if let recovery, breaker.isClosed, !decision.allowed, decision.retryAfterMs > 0 {
            // Sooner than its share says, all is counted in the store again, and there may be room.
            let endMs = max(1, (recovery.endNs - now.monotonicNs + 999_999) / 1_000_000)
            decision.retryAfterMs = min(decision.retryAfterMs, endMs)
        }
        if let special {
            complete(
                &decision, special, plan: plan, isPeek: isPeek, wantsTrace: wantsTrace, told: nil, atMs: nowMs, now: now
            )
        }
        return decision
    }

    private mutating func fitsLocally(_ counter: Int, _ terms: Terms, cost: Int64, nowMs: Int64) -> Bool {
        table[counter: counter].leftLocally(terms, replicas: live.view, nowMs: nowMs)
            >= terms.units(ofCost: cost)
    }

    /// - Returns: the counters that were charged: all but those of shadow limits that had no room.
    private mutating func chargeLocally(
        plan: Int, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> [LocalReservations.Item] {
        var charged: [LocalReservations.Item] = []
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            let terms = termsAtHand[index]
            if table[rulesOf: plan].limits[index].isShadow, !fitsLocally(counter, terms, cost: cost, nowMs: nowMs) {
                table[counter: counter].refuseLocally()
                continue
            }
            let mark = table[counter: counter].admitLocally(
                terms, cost: cost, reservation: reservation, nowMs: nowMs)
            if terms.algorithm == .slidingLog { table.countBytes(ofLog: counter) }
            if configuration.usesStore && terms.algorithm != .concurrency { enterJournal(counter) }
            if reservation != nil {
                charged.append(
                    LocalReservations.Item(
                        stem: ByteString(bytes: table[counter: counter].stem), terms: terms, chargedMs: nowMs,
                        mark: mark))
            }
        }
        return charged
    }

    private mutating func findLocally(
        plan: Int, _ index: Int, cost: Int64, nowMs: Int64, into findings: inout Findings
    ) {
        let counter = table.counter(ofPlan: plan, index)
        let terms = termsAtHand[index]
        let left = table[counter: counter].leftLocally(terms, replicas: live.view, nowMs: nowMs)
        let passesAll =
            table[rulesOf: plan].limits[index].onOutage == .allow && configuration.usesStore
            && terms.canEverPass(cost: cost)
        let isShadow = table[rulesOf: plan].limits[index].isShadow
        let fits = (!isShadow && (findings.allowed || passesAll)) || left >= terms.units(ofCost: cost)
        let waitMs =
            fits
            ? 0
            : table[counter: counter].retryAfterLocally(
                terms, cost: cost, replicas: live.view, nowMs: nowMs)
        let known = table.known(ofCounter: counter, terms, nowMs: nowMs)
        let finding = LimitFinding(
            index: index, capacity: terms.capacity, left: left, fits: fits, waitMs: waitMs,
            resetMs: terms.resetMs(known, nowMs: nowMs))
        if findings.wantsTrace { findings.add(look(plan: plan, terms, known, finding, nowMs: nowMs)) }
        findings.add(finding, of: table[rulesOf: plan].limits[index])
    }

    /// A limit that wants nothing admitted while the store is away.
    private mutating func unavailable(
        plan: Int, _ index: Int, special: SpecialCheck?, wantsTrace: Bool, now: Moment
    ) -> Decision {
        var decision = Decision(
            verdict: .unavailable, source: .local, words: table[rulesOf: plan].limits[index].wordsWhenUnavailable)
        decision.limit = table[rulesOf: plan].limits[index].terms.capacity
        decision.remaining = 0
        decision.retryAfterMs = max(1, (breaker.nextTryNs(now: now) - now.monotonicNs + 999_999) / 1_000_000)
        if wantsTrace { decision.trace = [] }
        if let special { decision.reservation = special.tellsReservation ? "" : nil }
        return decision
    }

    /// A check that costs more than some limit's maximum: no window can ever admit it. nil where only the store knows what
    /// is left of its limits: then it is asked, and charges nothing.
    mutating func neverDecision(plan: Int, wantsTrace: Bool, cost: Int64, now: Moment) -> Decision? {
        let asksNobody = table[rulesOf: plan].isBlocked && !wantsTrace
        if asksStore && !asksNobody { return nil }
        let nowMs = clock.nowMs(now)
        var findings = Findings(allowed: false, wantsTrace: wantsTrace)
        termsAtHand.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table[counter: counter].roll(at: nowMs)
            termsAtHand.append(terms(plan: plan, index))
            if !asksNobody {
                table[counter: counter].beginShare(shareEpoch)
                findLocally(plan: plan, index, cost: cost, nowMs: nowMs, into: &findings)
            } else if termsAtHand[index].capacity == 0 {
                let finding = LimitFinding(
                    index: index, capacity: 0, left: 0, fits: false, waitMs: -1,
                    resetMs: termsAtHand[index].resetMs(Tally(used: 0), nowMs: nowMs))
                findings.add(finding, of: table[rulesOf: plan].limits[index])
            }
        }
        let decision = conclude(plan: plan, &findings, source: asksNobody ? .policy : .local)
        statistics.count(decision)
        return decision
    }

    /// Puts a decision together. Findings are passed by their address, too.
    mutating func conclude(plan: Int, _ findings: inout Findings, source: Decision.Source) -> Decision {
        let allowed = findings.allowed
        guard let binding = findings.binding else {
            // Nothing but shadow limits.
            return Decision(
                verdict: .allow, source: source, limit: -1, remaining: -1, retryAfterMs: 0, resetMs: -1,
                words: table[rulesOf: plan].words, trace: findings.trace)
        }
        return Decision(
            verdict: allowed ? .allow : .limit, source: source, limit: binding.capacity,
            remaining: min(max(0, binding.left), binding.capacity),
            retryAfterMs: allowed ? 0 : (binding.fits ? max(1, binding.resetMs) : binding.waitMs),
            resetMs: binding.resetMs, words: table[rulesOf: plan].limits[binding.index].words, trace: findings.trace)
    }

    mutating func look(plan: Int, _ terms: Terms, _ tally: Tally, _ finding: LimitFinding, nowMs: Int64)
        -> Decision.Look
    {
        Decision.Look(
            rule: table[rulesOf: plan].limits[finding.index].words.rule, windowStartMs: terms.windowStartMs,
            used: terms.used(tally, nowMs: nowMs), max: terms.capacity, left: finding.left, fits: finding.fits,
            waitMs: finding.waitMs, resetMs: finding.resetMs,
            isShadow: table[rulesOf: plan].limits[finding.index].isShadow,
            refusals: tally.refusals,
            localUsed: table[counter: table.counter(ofPlan: plan, finding.index)].locallyUsed(terms, nowMs: nowMs))
    }

    /// The part of an answer that only such a check has; an admitted one with an id is remembered, with its trace:
    /// whoever asks again may want one.
    ///
    /// - Parameters:
    ///   - told: the tallies of its limits as the store told them; nil where it was decided here.
    ///   - atMs: the time by which it was decided.
    mutating func complete(
        _ decision: inout Decision, _ special: SpecialCheck, plan: Int, isPeek: Bool, wantsTrace: Bool,
        told: ArraySlice<Int64>?, atMs: Int64, now: Moment
    ) {
        if special.tellsReservation {
            decision.reservation = decision.allowed ? special.reservation?.description ?? "" : ""
        }
        if decision.allowed, !isPeek, let key = special.memoKey {
            let isLocal = told == nil
            let record = MemoTable.Record(
                memo: memo(special, plan: plan), isLocal: isLocal, admittedMs: atMs,
                reservation: special.reservation?.description ?? "",
                numbers: told.map { Array($0) } ?? knownNumbers(plan: plan, nowMs: atMs))
            let isOwed = isLocal && configuration.usesStore
            memos.insert(
                key, owner: owner(ofPlan: plan), argumentsHash: special.argumentsHash, decision, record,
                isOwed: isOwed, mayGrow: !isBesideFull, now: now)
            if isOwed { wantsPayments = true }
        }
        if !wantsTrace { decision.trace = nil }
    }

    /// See `Identity.owner`.
    func owner(ofPlan plan: Int) -> ByteString {
        ByteString(bytes: Array(Identity.owner(ofKey: table.identity(ofPlan: plan).bytes)))
    }

    /// What this replica knows of a plan's limits, in the numbers in which the store would tell it; `termsAtHand` are its terms.
    private mutating func knownNumbers(plan: Int, nowMs: Int64) -> [Int64] {
        var numbers: [Int64] = []
        for index in table[rulesOf: plan].limits.indices {
            let counter = table.counter(ofPlan: plan, index)
            table.known(ofCounter: counter, termsAtHand[index], nowMs: nowMs).append(
                to: &numbers, of: termsAtHand[index].algorithm, isShadow: table[rulesOf: plan].limits[index].isShadow)
        }
        return numbers
    }
}

extension Terms {
    /// What a check takes of what is left: its cost, or one slot.
    func units(ofCost cost: Int64) -> Int64 { algorithm == .concurrency ? 1 : cost }
}
