package import SluicePolicy

package struct LimiterConfiguration: Sendable {
    /// What the keys of all counters begin with.
    package var keyPrefix: String
    /// How long a check may take, from the socket to its answer, ms.
    package var budgetMs: Int64
    package var replicas: ReplicaView
    /// Whether there is a store that replicas share; without one every answer is local.
    package var usesStore: Bool
    package var maxPlans = EngineBounds.maxPlans
    /// No grant takes more of a table than one part in so many.
    package var grantParts = EngineBounds.grantParts
    /// Most bytes that the tables of identities and counters may take; above it a new identity finds them full.
    package var maxTableBytes = Int.max
    /// Most that one batch adds to a counter, in units of cost (of a token bucket, as `Usage.used`), at least 1.
    package var maxIncrement = EngineBounds.maxIncrement
    /// Whether the shell takes records, so that what is not settled outlives the process: see `Limiter.takeRecords`.
    package var keepsState = false
    /// For pauses that must differ from one replica to the next.
    package var seed: UInt64

    package init(keyPrefix: String, budgetMs: Int64, replicas: ReplicaView, usesStore: Bool, seed: UInt64) {
        precondition(budgetMs >= 1)
        self.keyPrefix = keyPrefix
        self.budgetMs = budgetMs
        self.replicas = replicas
        self.usesStore = usesStore
        self.seed = seed
    }
}

/// Decides every check of one replica.
///
/// A value-type state machine. Events go in, each with the time: a check, an answer of the store, a tick. What comes
/// out: a decision at once, or later through `takeCompletions`; what the link to the store must do through
/// `nextCommand`; when to tick next through `nextTickNs`; what a person should know through `takeNotices`. After any
/// event a shell asks for all four, and does nothing else.
package struct Limiter {
    package enum CheckOutcome {
        case answered(Decision)
        /// The answer comes as a completion, within the budget.
        case waiting
        /// Nothing was decided and nothing charged.
        case overloaded(Busy)
        /// A limit counts the calls that are going on: the check must reserve, so that its end can be told.
        case mustReserve
        /// The id was used before, for a check with other arguments.
        case otherArguments
    }

    /// Why a reservation was not settled.
    package enum SettleFault: Sendable, Equatable {
        /// What it would be settled to is more than can be counted: see `Quota.maxExact`.
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
            /// Whether there was such a reservation that was not spent.
            case settled(Bool)
            /// A reservation was not settled, and nothing of it changed.
            case notSettled(SettleFault)
            /// The store went away before it could settle a reservation: it may or may not have.
            case storeAway
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

    /// A change that a person should know of: each comes once per change.
    package enum Notice: Sendable, Equatable {
        case storeReached
        case storeLost(reason: String)
        /// It has not come back, and there is another reason for that than was reported before.
        case storeStillAway(reason: String)
        /// The store no longer remembers what this replica had charged.
        case storeLostData
        case storeClockBehind(byMs: Int64)
        /// It stayed behind, and windows are cut by it again.
        case storeClockFollowed(byMs: Int64)
        case keyFault(reason: String)
        /// It cannot be heard when counters are lowered: refusals are not remembered.
        case changesUnheard(reason: String)
        case changesHeard
        /// Checks are answered `BUSY`, for the first time in a while.
        case busy(Busy)
        /// A table, or a grant's part of it, is full, and what the store knows is forgotten to make room.
        case evicting
    }

    package let configuration: LimiterConfiguration
    package private(set) var policies: PolicySet
    package internal(set) var statistics = Statistics()

    var table: PlanTable
    var ruled = RuledCache()
    private var busyEpisodes = BusyEpisodes()
    var clock: WindowClock
    var breaker: Breaker

    /// Batches that are being gathered: the last takes new checks.
    var queue: [PendingBatch] = []
    /// Batches that the store was sent and has not answered, oldest first.
    var inFlight: [PendingBatch] = []
    /// Batches whose answer will not come: whether they ran shows in the next answer.
    var unconfirmed: [PendingBatch] = []
    var recycledBatches: [PendingBatch] = []
    var outgoing = Batch()
    /// Most counters of a batch count windows that began together.
    var lastStart = LastDecimal()
    var lastBatchID: Int64 = 0
    var lastSequence: Int64 = 0
    var acknowledgedSequence: Int64 = 0
    /// See `Batch.forgotSinceMs`.
    var forgotSinceMs: Int64 = 0
    var waitingChecks = 0
    /// Of the limits of the checks that are being decided, each in its window: they are asked for several times.
    var quotasAtHand: [Quota] = []

    var denials: DenialCache
    var reservations = LocalReservations()
    var idempotency = IdempotencyCache()
    /// Counters that hold what the store is to be told: see `addToJournal`.
    var journal = Journal()
    /// What is to be recorded, where the shell takes records.
    var changes = UnsavedChanges()
    /// Whether there may be payments for a batch that carries nothing else.
    var wantsWriteBacks = false
    /// Counts how often the store was found to have forgotten; counters of which it told before are offered to it.
    var storeEpoch: Int16 = 0
    /// Every counter of the table before this one has been looked at for something to offer; none from `restoreEnd` on has any.
    var restorePosition = 0
    var restoreEnd = 0
    /// The batches up to this one were sent before it was known that the store had forgotten.
    var forgotSequence: Int64 = 0
    /// Set until every live replica has brought the store up to date, after an outage and after a data loss.
    var recovery: Recovery?
    /// Counts the recoveries that are over: a share of what was left is taken once for each outage, see
    /// `Counter.beginShare`. Never 0.
    var shareEpoch: Int16 = 1
    var live: LiveReplicas
    var lastHeartbeatNs = Int64.min / 2
    /// Whether the store could not note the last one.
    var isHeartbeatFaulty = false
    /// Whether the store could not settle a reservation last time, or not one of its counters.
    var isSettlementFaulty = false
    /// Ends of reservations that the store must be told of when it is back, in order.
    var owed: [(key: ByteString, settlement: Batch.Settlement)] = []
    /// What they take, with their keys.
    var unsentBytes = 0
    /// For what nobody has to guess.
    var random: SeededRandom

    var completions: [Completion] = []
    var notices: [Notice] = []
    var wantsConnect = false
    var wantsDisconnect = false
    var wantsProbe = false
    /// Whether the store's time seems to be over, and the sockets must be looked at before that is said: see `tick`.
    package internal(set) var wantsLook = false
    var reportsClock = true
    /// Answers in a row that told that nothing ran.
    var unrunAnswers = 0
    /// Of keys that are at fault, and of a store that forgot.
    var faultPace = NoticePace()
    var forgotPace = NoticePace()
    /// Why the store could not be used when that last was so; empty if it always could.
    package internal(set) var storeError = ""
    /// The reasons that were reported since it was last used.
    var reportedReasons: [String] = []
    /// Whether a person has been told that changes of counters are not heard of.
    var reportedUnheard = false
    var lastSweepNs: Int64

    /// How much of the budget may be spent on waiting for the store, ns; the rest is for the answer's own way.
    let storeWaitNs: Int64
    private let budgetNs: Int64

    package init(configuration: LimiterConfiguration, policies: PolicySet, now: ClockReading) {
        self.configuration = configuration
        self.policies = policies
        counted = IdentityFields(policies)
        random = SeededRandom(seed: ~configuration.seed)
        budgetNs = configuration.budgetMs * 1_000_000
        storeWaitNs = budgetNs - min(EngineBounds.maxReserveNs, budgetNs / 4)
        table = PlanTable(
            maxPlans: configuration.maxPlans, maxBytes: configuration.maxTableBytes,
            grantParts: configuration.grantParts)
        reservations.grantParts = configuration.grantParts
        idempotency.grantParts = configuration.grantParts
        let maxGrantBytes = configuration.maxTableBytes / EngineBounds.besideParts / EngineBounds.besideGrantParts
        reservations.maxGrantBytes = maxGrantBytes
        idempotency.maxGrantBytes = maxGrantBytes
        clock = WindowClock(now: now)
        breaker = Breaker(overdueAfterNs: storeWaitNs, seed: configuration.seed, now: now)
        denials = DenialCache(seed: configuration.seed, now: now)
        live = LiveReplicas(configuration.replicas, now: now)
        lastSweepNs = now.monotonicNs
    }

    /// What the identity of a check should name beside its grant and tool.
    package private(set) var counted: IdentityFields

    /// Replaces the policies between two checks. Counters whose identity stays keep their count, whatever their maximum
    /// is now; checks that already wait are decided as they were asked.
    package mutating func replacePolicies(_ policies: PolicySet) {
        self.policies = policies
        counted = IdentityFields(policies)
        table.outdate()
        ruled.removeAll()
    }

    // MARK: - Checks

    /// Decides one check, or lets it wait for the store.
    ///
    /// - Parameters:
    ///   - cost: what it charges, 1 to 10^12.
    ///   - isPeek: charges nothing, and tells what a check would find; then there are no extras.
    ///   - ticket: comes back with the completion if the outcome is `waiting`.
    ///   - now: its budget counts from `waitedNs` before.
    package mutating func check(
        _ identity: borrowing Identity, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions? = nil,
        ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        if let plan = table.find(identity.key) {
            return check(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        if let ruled = ruled.find(identity.key) { return answer(ruled, wantsTrace: wantsTrace, extras: extras) }
        switch makePlan(identity, now: now) {
        case .plan(let plan):
            return check(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        case .ruled(let decision): return answer(decision, wantsTrace: wantsTrace, extras: extras)
        case .full(let cause): return refuse(cause, now: now)
        }
    }

    /// The policies alone decide.
    private mutating func answer(_ ruled: Decision, wantsTrace: Bool, extras: CheckOptions?) -> CheckOutcome {
        var decision = ruled
        if wantsTrace { decision.trace = [] }
        if let extras, let id = extras.reservation { decision.reservation = decision.allowed ? "\(id)" : "" }
        statistics.count(decision)
        return .answered(decision)
    }

    /// A check is answered `BUSY`; what a person should know of it is told once in a while.
    mutating func refuse(_ cause: Busy, now: ClockReading) -> CheckOutcome {
        noteBusy(cause, now: now)
        return .overloaded(cause)
    }

    mutating func noteBusy(_ cause: Busy, now: ClockReading) {
        statistics.count(cause)
        if busyEpisodes.begins(cause, now: now) { notify(.busy(cause)) }
    }

    /// The same for one of a run, which `find` looked up just before.
    package mutating func check(
        _ run: borrowing IdentityBatch, _ index: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool,
        extras: CheckOptions?,
        ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        guard let plan = run.plan(index, in: table) else {
            return check(
                run[index], cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        return check(
            plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now)
    }

    /// Looks up the plans of checks that came together.
    package mutating func find(_ run: inout IdentityBatch, now: ClockReading) {
        run.find(in: &table, nowMs: clock.nowMs(now))
    }

    private mutating func check(
        plan: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions?, ticket: Ticket, now: ClockReading
    ) -> CheckOutcome {
        table[plan: plan].lastUsedNs = now.monotonicNs
        if extras != nil || (table[rulesOf: plan].countsSlots && !isPeek) {
            return checkTracked(
                plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        if cost > table[rulesOf: plan].smallestMax,
            let decision = denyOversized(plan: plan, wantsTrace: wantsTrace, cost: cost, now: now)
        {
            return .answered(decision)
        }
        guard asksStore else {
            return answerLocally(plan: plan, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, tracked: nil, now: now)
        }
        // A traced peek explains what counts now: `EXPLAIN` shows what the store holds.
        if table[plan: plan].wasRefused, !(isPeek && wantsTrace),
            let decision = denyFromCache(plan: plan, cost: cost, wantsTrace: wantsTrace, now: now)
        {
            statistics.count(decision)
            return .answered(decision)
        }
        guard waitingChecks < EngineBounds.maxWaitingChecks else { return refuse(.waiting, now: now) }
        let entry = gather(plan: plan, cost: cost, isPeek: isPeek)
        wait(ticket, wantsTrace: wantsTrace, entry: entry, now: now)
        return .waiting
    }

    /// Somebody waits for an entry of the batch that is being gathered.
    mutating func wait(_ ticket: Ticket, wantsTrace: Bool, entry: Int, now: ClockReading) {
        queue[queue.count - 1].addWaiter(
            ticket, deadlineNs: now.monotonicNs - now.waitedNs + storeWaitNs, wantsTrace: wantsTrace, toEntry: entry)
        waitingChecks += 1
    }

    /// The batch that is being gathered, with room for so many charges more.
    mutating func openBatch(charges: Int) -> Int {
        if queue.isEmpty || queue[queue.count - 1].chargeCount + charges > EngineBounds.maxChargesPerBatch {
            queue.append(newBatch())
        }
        return queue.count - 1
    }

    /// The entry, in the batch that is being gathered, which checks of this plan and cost share.
    private mutating func gather(plan: Int, cost: Int64, isPeek: Bool) -> Int {
        var first: Int32 = -1
        if queue.isEmpty {
            queue.append(newBatch())
        } else if table[plan: plan].batchID == queue[queue.count - 1].id {
            first = table[plan: plan].firstEntry
            var entry = first
            while entry >= 0 {
                if queue[queue.count - 1].entries[Int(entry)].joins(cost: cost, isPeek: isPeek) { return Int(entry) }
                entry = queue[queue.count - 1].entries[Int(entry)].nextOfPlan
            }
        }
        let charges = table[rulesOf: plan].chargeWeight
        let last = openBatch(charges: charges)
        if table[plan: plan].batchID != queue[last].id { first = -1 }
        let entry = queue[last].addEntry(plan: plan, cost: cost, isPeek: isPeek, chargeCount: charges)
        queue[last].entries[entry].nextOfPlan = first
        table[plan: plan].batchID = queue[last].id
        table[plan: plan].firstEntry = Int32(entry)
        table[plan: plan].pins += 1
        return entry
    }

    private enum Learned {
        case plan(Int)
        /// Nothing is counted.
        case ruled(Decision)
        case full(Busy)
    }

    /// Meets an identity for the first time under these policies: asks them, and names the counters.
    private mutating func makePlan(_ identity: borrowing Identity, now: ClockReading) -> Learned {
        let ruling: CallRuling
        let baseKeys: [[UInt8]]
        if let throttle = identity.throttle {
            ruling = CallRuling(rule: "", limits: [throttle.limit])
            baseKeys = [throttle.baseKey(prefix: configuration.keyPrefix)]
        } else {
            let parts = identity.parts
            ruling = self.ruling(parts)
            if let decision = ruling.decision {
                ruled.insert(identity.key, decision)
                return .ruled(decision)
            }
            baseKeys = ruling.limits.map {
                CounterKey.baseKey(prefix: configuration.keyPrefix, limit: $0, identity: parts)
            }
        }
        table.maxBytes = identityBytes
        let evicted = table.evicted
        defer {
            if table.evicted > evicted && busyEpisodes.begins(nil, now: now) { notify(.evicting) }
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

    /// While the store counts, and all replicas with it, rows may go of which it knows all: those that it told of since it
    /// last lost its data. While it is away what was last seen decides what may still be admitted.
    var sharedEpoch: Int16? {
        configuration.usesStore && breaker.isClosed && recovery == nil ? storeEpoch : nil
    }

    private func ruling(_ identity: Identity.Parts) -> CallRuling {
        switch policies.ruling(forGrant: String(decoding: identity.grant, as: UTF8.self), tool: identity.tool) {
        case .deny(let rule, let message):
            CallRuling(.deny, rule: rule, message: message)
        case .approve(let rule, let message, _) where !identity.approved:
            CallRuling(.approve, rule: rule, message: message)
        case .approve(let rule, _, let limits), .count(let rule, let limits):
            CallRuling(rule: rule, limits: limits)
        }
    }

    // MARK: - What the shell asks after an event

    /// Swaps the finished checks for an empty array of the shell's, so that both keep their storage.
    package mutating func takeCompletions(into finished: inout [Completion]) {
        finished.removeAll(keepingCapacity: true)
        swap(&finished, &completions)
    }

    package mutating func takeNotices() -> [Notice] {
        defer { notices.removeAll() }
        return notices
    }

    /// When `tick` must be called at the latest, by the monotonic clock.
    package mutating func nextTickNs() -> Int64 {
        var next = lastSweepNs + EngineBounds.sweepIntervalNs
        guard configuration.usesStore else { return next }
        if let deadline = oldestDeadlineNs() { next = min(next, deadline) }
        // What wants a look is due after that, not by time.
        if !wantsLook {
            if let tick = breaker.nextTickNs(oldestUnansweredNs: inFlight.first?.sentNs) { next = min(next, tick) }
            if let tick = denials.nextTickNs(isStoreThere: breaker.isClosed) { next = min(next, tick) }
        }
        if breaker.isClosed, mayFly, let heartbeatNs = nextHeartbeatNs {
            next = min(next, heartbeatNs)
        }
        if let recovery, breaker.isClosed { next = min(next, recovery.endNs) }
        return next
    }

    // MARK: - Time

    static let noAnswer = "no answer in time"

    /// Time has passed: answers whoever has waited long enough, and looks after the link and the tables.
    ///
    /// - Parameter lookedNs: when the sockets were last looked at, all that was found then having been handled; nil: just
    ///   now. What the store is blamed for is judged by it. If `wantsLook` is set afterwards, the shell looks at them, and
    ///   ticks again.
    package mutating func tick(now: ClockReading, lookedNs: Int64? = nil) {
        if configuration.usesStore {
            answerExpired(now: now)
            let (wasClosed, wasProbing) = (breaker.isClosed, breaker.state == .probing)
            let oldestNs = inFlight.first?.sentNs
            perform(breaker.tick(oldestUnansweredNs: oldestNs, lookedNs: lookedNs, now: now), now: now)
            wantsLook = breaker.wantsLook(oldestUnansweredNs: oldestNs, now: now)
            if wasClosed && !breaker.isClosed {
                leaveStore(reason: Self.noAnswer, now: now)
            } else if wasProbing, case .stalled = breaker.state {
                reportAway(reason: Self.noAnswer)
            }
            advanceRecovery(now: now)
            listen(lookedNs: lookedNs, now: now)
            wantsLook = wantsLook || denials.changeFeed.wantsLook(now: now)
        }
        if now.monotonicNs - lastSweepNs >= EngineBounds.sweepIntervalNs {
            lastSweepNs = now.monotonicNs
            clock.observeWall(now: now)
            table.sweep(
                EngineBounds.plansSweptPerTick, idleNs: EngineBounds.planIdleNs, nowMs: clock.nowMs(now),
                nowNs: now.monotonicNs)
            confirm(reservations.expire(nowMs: clock.nowMs(now)))
            sweepJournal(nowMs: clock.nowMs(now))
            sweepState(nowMs: clock.nowMs(now))
            idempotency.expire(now: now)
        }
    }

    /// Everything that waits is answered locally: the replica is going.
    package mutating func drain(now: ClockReading) {
        answerAllLocally(now: now)
    }

    // MARK: - Shared helpers

    mutating func finish(_ ticket: Ticket, _ decision: consuming Decision, deadlineNs: Int64, now: ClockReading) {
        statistics.count(decision)
        finish(ticket, .decision(decision), deadlineNs: deadlineNs, now: now)
    }

    mutating func finish(_ ticket: Ticket, _ answer: consuming Completion.Answer, deadlineNs: Int64, now: ClockReading)
    {
        waitingChecks -= 1
        if now.monotonicNs > deadlineNs - storeWaitNs + budgetNs { statistics.late += 1 }
        completions.append(Completion(ticket: ticket, answer: answer))
    }

    /// So many checks were answered as soon as they were asked; if they had waited for longer than their budget before
    /// that, they are late.
    package mutating func noteAnswered(_ count: Int, now: ClockReading) {
        if now.waitedNs > budgetNs { statistics.late += Int64(count) }
    }

    mutating func newBatch() -> PendingBatch {
        lastBatchID += 1
        var batch = recycledBatches.popLast() ?? PendingBatch()
        batch.reset(id: lastBatchID)
        return batch
    }

    /// Nothing refers to this batch any more.
    mutating func recycle(_ batch: consuming PendingBatch) {
        clearWriteBacks(&batch)
        tellAgain(&batch)
        if batch.hasAdmittedLocally {
            journal.markUnsettled()
            for waiter in batch.waiters where waiter.state == .admittedLocally {
                markUnconfirmed(waiter, of: batch, isOver: true)
            }
        }
        for entry in batch.entries where entry.plan >= 0 { table.unpin(entry.plan) }
        guard recycledBatches.count <= EngineBounds.maxBatchesInFlight else { return }
        recycledBatches.append(batch)
    }

    /// A key in the store is at fault. Whoever asks of it again and again fills no log.
    mutating func notifyFault(_ reason: String, now: ClockReading) {
        if faultPace.allows(now: now) { notify(.keyFault(reason: reason)) }
    }

    mutating func notify(_ notice: Notice) {
        if notices.count < EngineBounds.maxNotices { notices.append(notice) }
    }
}
