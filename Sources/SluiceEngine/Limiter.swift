package import SluicePolicy

/// Decides every check of one replica.
///
/// A value-type state machine. Each event (a check, a reply of the store, a tick) comes with the time. A decision
/// comes out at once, or later through `takeCompletions`; `nextCommand` says what the link must do, `nextTickNs` when
/// to tick next, `takeNotices` what to log. After every event the shell asks for all four, and does nothing else.
package struct Limiter {
    package enum CheckOutcome {
        case answered(Decision)
        /// The answer comes as a completion, within the budget.
        case waiting
        /// Nothing was decided and nothing charged.
        case overloaded(Busy)
        /// A limit counts calls in progress: the check must reserve, so that the end of its call can be reported.
        case mustReserve
        /// The id was used before, for a check with other arguments.
        case otherArguments
    }

    /// Why a reservation was not settled.
    package enum SettleFault: Sendable, Equatable {
        /// The settled cost exceeds what can be counted: see `Quota.maxExact`.
        case tooMuch
        /// The store could not read its record, or free its slots.
        case storeFault
    }

    package struct Completion {
        package enum Answer {
            case decision(Decision)
            /// As `CheckOutcome.otherArguments`.
            case otherArguments
            /// As `CheckOutcome.overloaded`.
            case overloaded(Busy)
            /// Whether there was such a reservation, not settled before.
            case settled(Bool)
            /// The reservation was not settled, and nothing about it changed.
            case notSettled(SettleFault)
            /// The store became unavailable before it answered a settlement: it may or may not have run.
            case storeUnavailable
            /// As `ClearOutcome.cleared`.
            case cleared([CounterClearing])
            case overridden(OverrideOutcome)
        }

        package var ticket: Ticket
        package var answer: Answer
    }

    package enum LinkCommand: Equatable {
        case connect
        case disconnect
        case send(Batch)
        case listening(ChangeFeedCommand)
    }

    package let configuration: LimiterConfiguration
    var rulebook: Rulebook
    package internal(set) var statistics = Statistics()

    var table: PlanTable
    var clock: WindowClock
    var link: StoreLink

    var ledger: BatchLedger
    var writer = BatchWriter()
    /// The quotas of the check being decided, each for its window: computed once and read several times.
    var currentQuotas: [Quota] = []

    var denials: DenialCache
    var losses: LossWatch
    /// Whether the store lets scripts publish what they lower.
    var announcesChanges = true
    var reservations: Reservations
    var reconciler: Reconciler
    var membership: Membership
    var recorder: StateRecorder
    var leases = Leases()
    var overrides = Overrides()

    var completions: [Completion] = []
    var notices = Notices()
    /// Whether the store seems overdue, and the sockets must be read before that is concluded: see `tick`.
    package internal(set) var wantsLook = false
    var lastSweepNs: Int64

    let budget: Budget

    package init(configuration: LimiterConfiguration, policies: PolicySet, now: ClockReading) {
        self.init(configuration: configuration, rulebook: Rulebook(policies), now: now)
    }

    init(configuration: LimiterConfiguration, rulebook: Rulebook, now: ClockReading) {
        self.configuration = configuration
        self.rulebook = rulebook
        ledger = BatchLedger(
            maxInFlight: configuration.keys.tag == nil
                ? EngineBounds.maxBatchesInFlight : EngineBounds.maxPartitionBatchesInFlight)
        reservations = Reservations(configuration)
        budget = Budget(ms: configuration.budgetMs)
        table = PlanTable(
            keys: configuration.keys, maxPlans: configuration.maxPlans, maxBytes: configuration.maxTableBytes,
            grantParts: configuration.grantParts)
        recorder = StateRecorder(isOn: configuration.keepsState)
        clock = WindowClock(now: now)
        link = StoreLink(Breaker(overdueAfterNs: budget.storeWaitNs, seed: configuration.seed, now: now))
        denials = DenialCache(keys: configuration.keys, seed: configuration.seed, now: now)
        losses = LossWatch(lagNs: configuration.keys.tag == nil ? 0 : EngineBounds.clusterMessageNs)
        reconciler = Reconciler(usesStore: configuration.usesStore, maxIncrement: configuration.maxIncrement)
        membership = Membership(configuration.replicas, now: now)
        lastSweepNs = now.monotonicNs
    }

    package var policies: PolicySet { rulebook.policies }

    /// Which fields the identity of a check must have, beside grant and tool.
    package var counted: IdentityFields { rulebook.counted }

    /// Replaces the policies between two checks. A counter whose identity stays keeps its count, even if its maximum
    /// changed. Checks that already wait are decided by the old policies.
    package mutating func replacePolicies(_ policies: PolicySet) { replace(Rulebook(policies)) }

    mutating func replace(_ rulebook: Rulebook) {
        self.rulebook = rulebook
        table.outdate()
        // Their maxima may be others now.
        leases.outdate()
    }

    // MARK: - Checks

    /// Decides one check, or queues it for the store.
    ///
    /// - Parameters:
    ///   - cost: what it charges, 1 to 10^12; 0 asks whether any unit is left, and charges nothing.
    ///   - isPeek: charges nothing, and reports what a check would find. A peek has no extras.
    ///   - ticket: returned with the completion if the outcome is `waiting`.
    ///   - now: the budget counts from `waitedNs` before this.
    package mutating func check(
        _ identity: borrowing Identity, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions? = nil,
        ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        if let plan = table.find(identity.key), isValid(plan, now: now) {
            return check(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        if let ruled = rulebook.cached(identity.key, nowMs: clock.nowMs(now)) {
            return answer(ruled, wantsTrace: wantsTrace, extras: extras)
        }
        switch makePlan(identity, now: now) {
        case .plan(let plan):
            return check(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        case .ruled(let decision): return answer(decision, wantsTrace: wantsTrace, extras: extras)
        case .full(let cause): return answerBusy(cause, now: now)
        }
    }

    /// Whether the hours of the day leave a plan as it was made.
    @inline(__always)
    private func isValid(_ plan: PlanID, now: ClockReading) -> Bool {
        !table[rulesOf: plan].isTimed || table[rulesOf: plan].ruling.validMs.contains(clock.nowMs(now))
    }

    /// Answers a check that the policies decide alone.
    private mutating func answer(_ ruled: Decision, wantsTrace: Bool, extras: CheckOptions?) -> CheckOutcome {
        var decision = ruled
        if wantsTrace { decision.trace = [] }
        if let extras, let id = extras.reservation { decision.reservation = decision.allowed ? "\(id)" : "" }
        statistics.count(decision)
        return .answered(decision)
    }

    /// Answers a check with `BUSY`, and reports that once in a while.
    mutating func answerBusy(_ cause: Busy, now: ClockReading) -> CheckOutcome {
        noteBusy(cause, now: now)
        return .overloaded(cause)
    }

    mutating func noteBusy(_ cause: Busy, now: ClockReading) {
        statistics.count(cause)
        notices.busy(cause, now: now)
    }

    /// Decides a check of a run, which `find` has just looked up.
    package mutating func check(
        _ run: borrowing IdentityBatch, _ index: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool,
        extras: CheckOptions?,
        ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        guard let plan = run.plan(index, in: table), isValid(plan, now: now) else {
            return check(
                run[index], cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        return check(
            plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now)
    }

    /// Looks up the plans of checks that arrived together.
    package mutating func find(_ run: inout IdentityBatch, now: ClockReading) {
        run.find(in: &table, nowMs: clock.nowMs(now))
    }

    private mutating func check(
        plan: PlanID, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?, ticket: Ticket,
        now: ClockReading
    ) -> CheckOutcome {
        // What has a unit left has room for a check of 1.
        let (isPeek, cost) = (isPeek || cost == 0, max(1, cost))
        table[plan].lastUsedNs = now.monotonicNs
        if extras != nil || (table[rulesOf: plan].countsSlots && !isPeek) {
            return checkTracked(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        if table[rulesOf: plan].isBlocked && !wantsTrace { return .answered(denyBlocked(plan: plan, now: now)) }
        if table[rulesOf: plan].hasLeasedLimit {
            if let decision = decideFromLease(plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, now: now)
            {
                statistics.count(decision)
                return .answered(decision)
            }
            if !isPeek { missLease(plan: plan, cost: cost, now: now) }
        }
        guard asksStore else {
            return answerLocally(plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, tracked: nil, now: now)
        }
        // A traced peek explains what counts now: `EXPLAIN` shows what the store holds.
        if table[plan].wasDenied, !(isPeek && wantsTrace),
            let decision = denyFromCache(plan: plan, cost: cost, wantsTrace: wantsTrace, now: now)
        {
            statistics.count(decision)
            return .answered(decision)
        }
        guard !ledger.isFull else { return answerBusy(.waiting, now: now) }
        let entry = ledger.gather(plan: plan, cost: cost, isPeek: isPeek, in: &table)
        wait(ticket, wantsTrace: wantsTrace, entry: entry, now: now)
        return .waiting
    }

    /// Adds a waiter to an entry of the batch that is being gathered.
    mutating func wait(_ ticket: Ticket, wantsTrace: Bool, entry: EntryIndex, now: ClockReading) {
        ledger.wait(
            ticket, deadlineNs: now.monotonicNs - now.waitedNs + budget.storeWaitNs, wantsTrace: wantsTrace,
            entry: entry)
    }

    private enum PlanOutcome {
        case plan(PlanID)
        /// Nothing is counted.
        case ruled(Decision)
        case full(Busy)
    }

    /// Makes the plan of an identity that is new under these policies, and finds or creates its counters.
    private mutating func makePlan(_ identity: borrowing Identity, now: ClockReading) -> PlanOutcome {
        var ruling: CallRuling
        let baseKeys: [[UInt8]]
        if let throttle = identity.throttle {
            ruling = CallRuling(rule: "", limits: [throttle.limit])
            baseKeys = [throttle.baseKey(in: configuration.keys)]
        } else {
            let parts = identity.parts
            let nowMs = clock.nowMs(now)
            ruling = configuration.place.part(of: rulebook.ruling(parts, nowMs: nowMs), for: parts)
            if let decision = ruling.decision(atMs: nowMs) {
                rulebook.cache(ruling, decision, for: identity.key)
                return .ruled(decision)
            }
            if !overrides.isEmpty { applyOverrides(to: &ruling, grant: parts.grant, nowMs: nowMs) }
            baseKeys = ruling.limits.map {
                CounterKey.baseKey(in: configuration.keys, limit: $0, identity: parts)
            }
        }
        table.maxBytes = identityBytes
        let evicted = table.evicted
        defer {
            if table.evicted > evicted { notices.evicting(now: now) }
        }
        do throws(Full) {
            return .plan(
                try table.insert(
                    identity.key, ruling, baseKeys: baseKeys, sharedEpoch: sharedEpoch, nowMs: clock.nowMs(now),
                    nowNs: now.monotonicNs))
        } catch {
            return .full(error.cause)
        }
    }

    // MARK: - What the shell asks after an event

    /// Swaps the finished checks with an empty array of the shell's, so that both keep their storage.
    package mutating func takeCompletions(into finished: inout [Completion]) {
        statistics.dateWaited()
        finished.removeAll(keepingCapacity: true)
        swap(&finished, &completions)
    }

    package mutating func takeNotices() -> [Notice] { notices.take() }

    /// The latest time for the next `tick`, by the monotonic clock.
    package mutating func nextTickNs() -> Int64 {
        var next = lastSweepNs + EngineBounds.sweepIntervalNs
        guard configuration.usesStore else { return next }
        if let deadline = ledger.oldestDeadlineNs() { next = min(next, deadline) }
        // A pending look makes the next tick due right after it, not at a fixed time.
        if !wantsLook {
            if let tick = link.breaker.nextTickNs(oldestUnansweredNs: ledger.inFlight.first?.sentNs) {
                next = min(next, tick)
            }
            if let tick = denials.nextTickNs(isStoreThere: link.isClosed) { next = min(next, tick) }
            if let probe = losses.nextProbeNs, denials.isListening { next = min(next, probe) }
        }
        if let nextHeartbeatNs { next = min(next, nextHeartbeatNs) }
        if let review = leases.nextReviewNs { next = min(next, review) }
        if let recovery = reconciler.recovery, link.isClosed { next = min(next, recovery.endNs) }
        return next
    }

    // MARK: - Time

    static let noAnswer = "no answer in time"

    /// Time has passed: answers checks whose wait is over, and maintains the link and the tables.
    ///
    /// - Parameter lookedNs: when the sockets were last read, with everything found then handled; nil: just now. The
    ///   store's delay is measured up to it. If `wantsLook` is set afterwards, the shell reads the sockets and ticks
    ///   again.
    package mutating func tick(now: ClockReading, lookedNs: Int64? = nil) {
        if configuration.usesStore {
            answerExpired(now: now)
            let (wasClosed, wasProbing) = (link.isClosed, link.breaker.state == .probing)
            let oldestNs = ledger.inFlight.first?.sentNs
            let isGivenUp = link.tick(oldestUnansweredNs: oldestNs, lookedNs: lookedNs, now: now)
            if isGivenUp { dropConnection() }
            wantsLook = link.breaker.wantsLook(oldestUnansweredNs: oldestNs, now: now)
            if wasClosed && !link.isClosed {
                statistics.figures.count(.timeout, now: now)
                leaveStore(reason: Self.noAnswer, now: now)
            } else if wasProbing, case .stalled = link.breaker.state {
                statistics.figures.count(.timeout, now: now)
                notices.storeUnavailable(reason: Self.noAnswer)
            }
            advanceRecovery(now: now)
            listen(lookedNs: lookedNs, now: now)
            wantsLook = wantsLook || denials.changeFeed.wantsLook(now: now)
            reviewLeases(now: now)
        }
        if now.monotonicNs - lastSweepNs >= EngineBounds.sweepIntervalNs {
            lastSweepNs = now.monotonicNs
            clock.observeWall(now: now)
            table.sweep(
                max(EngineBounds.plansSweptPerTick, table.plans.count / EngineBounds.sweepsPerTable),
                idleNs: EngineBounds.planIdleNs, nowMs: clock.nowMs(now), nowNs: now.monotonicNs)
            reservations.expire(&table, &reconciler, nowMs: clock.nowMs(now), now: now)
            reconciler.sweep(&table, nowMs: clock.nowMs(now))
            recorder.sweep(
                &table, lastSequence: ledger.lastSequence, sharedEpoch: sharedEpoch, nowMs: clock.nowMs(now))
        }
    }

    /// Answers every waiting check locally, because the replica is shutting down.
    package mutating func drain(now: ClockReading) {
        answerAllLocally(now: now)
    }

    // MARK: - Shared helpers

    mutating func finish(_ ticket: Ticket, _ decision: consuming Decision, deadlineNs: Int64, now: ClockReading) {
        statistics.count(decision, tookNs: now.monotonicNs - (deadlineNs - budget.storeWaitNs))
        finish(ticket, .decision(decision), deadlineNs: deadlineNs, now: now)
    }

    mutating func finish(_ ticket: Ticket, _ answer: consuming Completion.Answer, deadlineNs: Int64, now: ClockReading)
    {
        ledger.endWait()
        if now.monotonicNs > deadlineNs - budget.storeWaitNs + budget.totalNs { statistics.late += 1 }
        completions.append(Completion(ticket: ticket, answer: answer))
    }

    /// Counts checks that were answered at once. They are late if they had already waited for longer than their
    /// budget.
    package mutating func noteAnswered(_ count: Int, now: ClockReading) {
        statistics.date(tookNs: now.waitedNs)
        if now.waitedNs > budget.totalNs { statistics.late += Int64(count) }
    }

    /// Takes back a batch that nothing refers to any more.
    mutating func recycle(_ batch: consuming PendingBatch) {
        reconciler.clearWriteBacks(&batch, in: &table)
        reservations.resendAnswers(&batch)
        if batch.hasAdmittedLocally {
            reconciler.noteConfirmed()
            for waiter in batch.waiters where waiter.state == .admittedLocally {
                markUnconfirmed(waiter, of: batch, isOver: true)
            }
        }
        for sent in batch.leases { endLeaseRequest(sent, of: batch) }
        for entry in batch.entries where entry.hasPlan { table.unpin(entry.plan) }
        ledger.recycle(batch)
    }
}
