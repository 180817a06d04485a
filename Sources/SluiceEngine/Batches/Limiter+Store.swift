import SluicePolicy

/// The limiter's side towards the store: batches to send, replies, and checks whose reply does not come.
extension Limiter {
    // MARK: - Events of the link

    package mutating func linkConnected(now: ClockReading) {
        perform(breaker.connected(), now: now)
    }

    /// The connection could not be opened, or broke.
    package mutating func linkClosed(reason: String, now: ClockReading) {
        let wasClosed = breaker.isClosed
        breaker.disconnected(now: now)
        if wasClosed {
            leaveStore(reason: reason, now: now)
        } else {
            reportOutage(reason: reason)
        }
        dropConnection()
    }

    /// - Parameter arrivedNs: when the answer can have arrived at the earliest; nil: just now.
    package mutating func linkAnswered(
        sequence: Int64, _ result: Result<BatchReply, BatchFailure>, arrivedNs: Int64? = nil, now: ClockReading
    ) {
        guard let index = inFlight.firstIndex(where: { $0.sequence == sequence }) else { return }
        var batch = inFlight.remove(at: index)
        noteOutcome(ofSequence: sequence)
        switch result {
        case .success(let reply):
            answered(batch, reply, arrivedNs: arrivedNs, now: now)
        case .failure(.refused(let reason)):
            reject(batch, reason: reason, now: now)
        case .failure(.unknown(let reason)):
            // It may have run, and stays unconfirmed until the next reply's marker shows that.
            answerAllLocally(&batch, now: now)
            keepUnconfirmed(batch)
            pauseStore(reason: reason, now: now)
        }
    }

    /// The link's next command; nil if there is none. The shell asks until it is nil.
    package mutating func nextCommand(now: ClockReading) -> LinkCommand? {
        if wantsDisconnect {
            wantsDisconnect = false
            return .disconnect
        }
        if wantsConnect {
            wantsConnect = false
            return .connect
        }
        if let command = denials.takeCommand() { return .listening(command) }
        // No probe may be in flight behind write-backs. If those were sent again after it (the store had lost its
        // scripts), and their answer lost, the marker would say the same whether they ran or not.
        if wantsProbe, !(inFlight.last?.hasIncrements ?? false) {
            wantsProbe = false
            return sendHeartbeat(now: now)
        }
        if breaker.isClosed, maySend, let nextHeartbeatNs, now.monotonicNs >= nextHeartbeatNs {
            return sendHeartbeat(now: now)
        }
        while breaker.isClosed, maySend, !queue.isEmpty {
            var batch = queue.removeFirst()
            guard write(&batch, now: now) else {
                recycle(batch)
                continue
            }
            inFlight.append(batch)
            return .send(outgoing)
        }
        if wantsWriteBacks, breaker.isClosed, inFlight.isEmpty { return sendWriteBacks(now: now) }
        return nil
    }

    // MARK: - Sending

    /// Whether another batch may be sent. None may follow a batch of write-backs, so that the marker shows whether
    /// that ran.
    var maySend: Bool { inFlight.count < EngineBounds.maxBatchesInFlight && !(inFlight.last?.hasIncrements ?? false) }

    /// Encodes a pending batch into `outgoing`, with windows cut by the current time; false if nothing waits for it
    /// any more.
    @discardableResult
    mutating func write(_ batch: inout PendingBatch, now: ClockReading) -> Bool {
        let nowMs = clock.nowMs(now)
        outgoing.removeAll()
        // A separate pass: in a loop that does little else the processor fetches many counters from memory at once,
        // instead of waiting for one after the other.
        var keyByteCount = 0
        for index in batch.entries.indices where batch.entries[index].plan >= 0 {
            table.roll(countersOf: batch.entries[index].plan, at: nowMs)
            keyByteCount += table.baseKeyByteCount(ofPlan: batch.entries[index].plan) + LastDecimal.maxBytes
        }
        outgoing.reserve(keyByteCount: keyByteCount)
        if batch.isRepeat {
            for sent in batch.writeBacks { write(sent) }
        } else if breaker.isClosed, journal.count > 0 || hasRestores {
            addWriteBacks(in: &batch, nowMs: nowMs)
        }
        let verifiesAll = lastSequence % EngineBounds.batchesPerVerification == 0
        if !batch.isRepeat && breaker.isClosed && idempotency.hasUnsent { addAnswers(in: &batch, now: now) }
        for index in batch.entries.indices where batch.entries[index].isWanted {
            if isWithinShare {
                takeShare(forEntry: index, of: &batch, nowMs: nowMs, now: now)
                guard batch.entries[index].isWanted else { continue }
            }
            writeEntry(&batch.entries[index], verifiesAll: verifiesAll, nowMs: nowMs)
        }
        if !batch.entries.isEmpty && outgoing.entries.isEmpty { return false }
        if !batch.isRepeat {
            lastSequence += 1
            batch.sequence = lastSequence
        }
        noteDeparture(batch)
        batch.sentNs = now.monotonicNs
        batch.cutMs = nowMs
        outgoing.sequence = batch.sequence
        outgoing.acknowledgedSequence = acknowledgedSequence
        outgoing.forgotSinceMs = forgotSinceMs
        outgoing.minTimeMs = clock.highestStoreMs
        outgoing.isStoreBehind = clock.behindMs > 0
        batch.minTimeMs = outgoing.minTimeMs
        statistics.batches += 1
        return true
    }

    private mutating func writeEntry(_ entry: inout PendingBatch.Entry, verifiesAll: Bool, nowMs: Int64) {
        let firstCharge = outgoing.charges.count
        entry.isSent = true
        if !entry.isHeartbeat { statistics.entries += 1 }
        guard entry.plan >= 0 else { return writeUncharged(entry, nowMs: nowMs) }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            table.appendBaseKey(ofCounter: counter, to: &outgoing.keyBytes)
            if table[counter: counter].algorithm.hasWindows {
                lastStart.append(table[counter: counter].span.startMs, to: &outgoing.keyBytes)
            }
            outgoing.endKey()
            if table[counter: counter].algorithm == .slidingWindow {
                outgoing.appendKey(table[counter: counter].previousKey())
            }
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            if isShadow { outgoing.appendKey(CounterKey.denials(of: table[counter: counter].key)) }
            outgoing.charges.append(
                Batch.Charge(
                    quota: quota(plan: entry.plan, index), isShadow: isShadow,
                    verifiesTimeToLive: verifiesAll || !table[counter: counter].isSeen))
        }
        // Asks for no more than an empty window can hold: checks beyond that cannot pass.
        let most = table[rulesOf: entry.plan].smallestMax / entry.cost
        entry.sentCount = entry.isPeek ? 0 : entry.operation == nil ? min(Int64(entry.unanswered), most) : 1
        statistics.coalesced += Int64(entry.unanswered)
        outgoing.entries.append(
            Batch.Entry(
                cost: entry.cost, count: entry.sentCount, firstCharge: firstCharge,
                chargeCount: outgoing.charges.count - firstCharge, operation: writeOperation(of: entry)))
    }

    /// - Returns: the operation's index in the batch; -1 for a plain check.
    private mutating func writeOperation(of entry: PendingBatch.Entry) -> Int {
        guard case .check(let operation)? = entry.operation, !entry.isPeek else { return -1 }
        if operation.reservation != nil { outgoing.appendKey(operation.reservationKey.bytes) }
        if let key = operation.idempotencyKey { outgoing.appendKey(key.bytes) }
        let idempotency = operation.idempotencyKey == nil ? nil : self.idempotency(operation, plan: entry.plan)
        outgoing.operations.append(.check(isReserved: operation.reservation != nil, idempotency: idempotency))
        return outgoing.operations.count - 1
    }

    /// Encodes an entry that is not a check.
    private mutating func writeUncharged(_ entry: PendingBatch.Entry, nowMs: Int64) {
        switch entry.operation {
        case .settle(let key, let settlement, _)?:
            outgoing.appendKey(key.bytes)
            outgoing.operations.append(.settle(settlement))
        case .heartbeat?:
            outgoing.appendKey(CounterKey.replicas(prefix: configuration.keyPrefix))
            outgoing.appendKey(CounterKey.writtenBack(prefix: configuration.keyPrefix))
            let lifeMs = EngineBounds.heartbeatTTLNs / 1_000_000
            outgoing.operations.append(.heartbeat(lifeMs: lifeMs, writtenBackMs: hasWrittenBack ? nowMs : 0))
        case .check?, nil: preconditionFailure("has no plan")
        }
        outgoing.entries.append(
            Batch.Entry(
                cost: 0, count: 0, firstCharge: outgoing.charges.count, chargeCount: 0,
                operation: outgoing.operations.count - 1))
    }

    // MARK: - Answers

    private mutating func answered(
        _ batch: consuming PendingBatch, _ reply: BatchReply, arrivedNs: Int64?, now: ClockReading
    ) {
        observeClock(reply.timeMs, sentNs: batch.sentNs, now: now)
        if reply.status == .ran {
            acknowledgedSequence = batch.sequence
            // From here on the sequence shows a data loss. An older copy of the store that repeats its earlier reply
            // must be noticed.
            forgotSinceMs = 0
        }
        // A `superseded` reply shows only that no earlier batch will run any more.
        if reply.status != .superseded { confirm(upTo: reply.status == .forgot ? nil : reply.previousSequence) }
        let (wasClosed, wasProbing) = (breaker.isClosed, breaker.state == .probing)
        let hadOutage =
            statistics.outages > 0 || breaker.failures > 0 || !reportedReasons.isEmpty
            || (journal.count > 0 && !changes.restored.isEmpty)
        if !pauseIfUnrun(reply, now: now) {
            perform(
                breaker.answered(sentNs: batch.sentNs, awaitsMore: !inFlight.isEmpty, arrivedNs: arrivedNs, now: now),
                now: now)
            if wasProbing && !breaker.isClosed { reportOutage(reason: "its answers are too late") }
        }
        if !wasClosed && breaker.isClosed { storeReached(hadOutage: hadOutage, timeMs: reply.timeMs, now: now) }
        if !batch.writeBacks.isEmpty || hasRestores || idempotency.hasUnsent { wantsWriteBacks = true }
        // The repeated batch had run before. After a data loss it is written back again, like everything unconfirmed.
        if batch.isRepeat && reply.status == .superseded { confirmWriteBacks(of: batch) }
        switch reply.status {
        case .ran:
            deliver(batch, reply, now: now)
        case .forgot:
            // The script wrote the marker: the store knows this replica again.
            acknowledgedSequence = batch.sequence
            forgotSinceMs = reply.forgotSinceMs
            denials.forgetAll(now: now)
            if let found = reply.words.first {
                notifyFault("unexpected value in this replica's marker, overwritten: \(found.quoted)", now: now)
            }
            if batch.sequence > forgotSequence { storeLostData(timeMs: reply.timeMs, now: now) }
            sendAgain(batch, now: now)
            // Until all replicas have restored, the store's counters are too low to decide by.
            if !asksStore { answerAllLocally(now: now) }
        case .superseded:
            // The marker outlives a process, so it may be ahead of every sequence sent from here. No batch runs until
            // the sequence exceeds it.
            lastSequence = max(lastSequence, reply.previousSequence)
            sendAgain(batch, now: now)
        }
    }

    /// Pauses the store after several replies in a row say that nothing ran; a single one is retried at once. The pauses
    /// grow if the store goes on, or if another client writes to this replica's key.
    private mutating func pauseIfUnrun(_ reply: BatchReply, now: ClockReading) -> Bool {
        unrunAnswers = reply.status == .ran ? 0 : min(unrunAnswers + 1, EngineBounds.maxUnrunAnswers)
        guard unrunAnswers == EngineBounds.maxUnrunAnswers else { return false }
        pauseStore(reason: "it does not keep this replica's marker: no batch runs", now: now)
        return true
    }

    private mutating func observeClock(_ timeMs: Int64, sentNs: Int64, now: ClockReading) {
        let behindMs = clock.highestStoreMs - timeMs
        if behindMs > EngineBounds.clockStepMs {
            if reportsClock { notify(.storeClockBehind(byMs: behindMs)) }
            reportsClock = false
        } else {
            reportsClock = true
        }
        guard let followedMs = clock.observeStore(timeMs: timeMs, sentNs: sentNs, now: now) else { return }
        statistics.clockFollows += 1
        notify(.storeClockFollowed(byMs: followedMs))
        reportsClock = true
        // These denials were proven for windows that are no longer open.
        denials.forgetAll(now: now)
        // A restart must not go on from the time that was given up.
        if configuration.keepsState { changes.wantsReplica = true }
    }

    /// Finds out by the marker which unconfirmed batches ran: those up to `sequence` did, and the others never will.
    ///
    /// - Parameter sequence: nil after a data loss. Then everything unconfirmed is written back again, so that nothing
    ///   is lost: an admission is counted twice if another replica saw it counted and restores that. The store's
    ///   counters may still exist, so reservations of checks that were denied here are cancelled in any case.
    private mutating func confirm(upTo sequence: Int64?) {
        guard !unconfirmed.isEmpty else { return }
        for batch in unconfirmed {
            noteOutcome(ofSequence: batch.sequence)
            if let sequence, batch.sequence <= sequence {
                confirm(batch)
                confirmWriteBacks(of: batch)
            } else {
                requeueSettlements(batch)
                if sequence == nil { takeBack(batch) }
            }
            recycle(batch)
        }
        unconfirmed.removeAll(keepingCapacity: true)
    }

    /// An unanswered batch turned out to have run.
    private mutating func confirm(_ batch: borrowing PendingBatch) {
        takeBack(batch)
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted > 0 {
            for (index, limit) in table[rulesOf: entry.plan].limits.enumerated() {
                let counter = table.counter(ofPlan: entry.plan, index)
                if limit.quota.algorithm == .slidingLog {
                    table[counter: counter].confirmLog(
                        chargedTwice(entry, of: batch, charged: entry.locallyAdmitted), chargedMs: clock.highestStoreMs)
                } else {
                    let amount = chargedTwice(entry, of: batch, index, charged: entry.locallyAdmitted)
                    table[counter: counter].confirm(amount, quota: limit.quota, cutMs: batch.cutMs)
                }
                noteOutcome(counter)
            }
            if let operation = entry.trackedCheck, var record = reservations[operation.reservationKey] {
                confirm(&record)
                reservations[operation.reservationKey] = record
            }
        }
    }

    /// Cancels reservations of checks that were denied here: if the store admitted them, no call uses them.
    private mutating func takeBack(_ batch: borrowing PendingBatch) {
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted == 0 && !entry.isPeek {
            if let operation = entry.trackedCheck { discardDuplicate(operation, wasAdmitted: false) }
        }
    }

    /// Delivers the reply to waiting checks in arrival order.
    private mutating func deliver(_ batch: consuming PendingBatch, _ reply: BatchReply, now: ClockReading) {
        let decidedMs = max(reply.timeMs, batch.minTimeMs)
        var words = reply.words.makeIterator()
        var at = 0
        readWriteBackResults(&batch, reply, &at, words: &words, decidedMs: decidedMs)
        readAnswerResults(&batch, reply, &at, words: &words)
        // A separate pass, as in `write`, so that many rows are fetched from memory at once.
        var firstMs = Int64.max
        for index in batch.entries.indices where batch.entries[index].plan >= 0 {
            firstMs = min(firstMs, table.firstStartMs(ofPlan: batch.entries[index].plan))
        }
        precondition(firstMs >= 0, "what was charged is counted in a window")
        for index in batch.entries.indices where batch.entries[index].isSent {
            let entry = batch.entries[index]
            let outcome = reply.results[at]
            at += 1
            if entry.held > 0 {
                returnShare(ofEntry: index, admitted: max(0, outcome), decidedMs: decidedMs, of: &batch, now: now)
            }
            switch outcome {
            case BatchReply.windowIsOver:
                clock.followStore()
                repeatEntry(index, of: &batch)
            case BatchReply.fault:
                fail(entry, of: batch, reason: words.next() ?? "", now: now)
            case BatchReply.tooMuch:
                // No client waits for an unsent settlement, so its fault is logged.
                if entry.firstWaiter < 0 {
                    settlementFailed(reason: "the settled cost of a reservation exceeds what can be counted")
                }
                finishAll(entry, of: batch, .notSettled(.tooMuch), now: now)
            case BatchReply.passedOver:
                statistics.faults += 1
                settlementFailed(reason: words.next() ?? "")
                forgetDenials(settledBy: entry, now: now)
                noteSettled(entry)
                finishAll(entry, of: batch, .settled(true), now: now)
            case BatchReply.otherArguments:
                finishAll(entry, of: batch, .otherArguments, now: now)
            case BatchReply.replayed:
                let numbers = reply.results[at + 2..<at + 2 + Int(reply.results[at + 1])]
                replay(
                    entry, of: batch, atMs: reply.results[at], numbers: numbers, reservation: words.next() ?? "",
                    now: now)
                at = numbers.endIndex
            default:
                if entry.isHeartbeat {
                    let numbers = reply.results[at + 1..<at + 1 + 3 * Int(reply.results[at])]
                    at = numbers.endIndex + 1
                    heard(numbers, unnamed: reply.results[at - 1], now: now)
                    continue
                }
                guard entry.plan >= 0 else {
                    if outcome == 1 {
                        forgetDenials(settledBy: entry, now: now)
                        noteSettled(entry)
                    }
                    isSettlementFaulty = false
                    finishAll(entry, of: batch, .settled(outcome == 1), now: now)
                    continue
                }
                let numbers = reply.results[at..<at + table[rulesOf: entry.plan].usageCount]
                at = numbers.endIndex
                table[plan: entry.plan].isFaulty = false
                answer(entry, of: batch, admitted: outcome, numbers: numbers, decidedMs: decidedMs, now: now)
            }
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// The store could not charge one of the entry's counters, or read its record. Other entries are not affected.
    private mutating func fail(_ entry: PendingBatch.Entry, of batch: PendingBatch, reason: String, now: ClockReading) {
        statistics.faults += 1
        if entry.isHeartbeat { return heartbeatFailed(reason: reason) }
        guard entry.plan >= 0 else {
            settlementFailed(reason: reason)
            return finishAll(entry, of: batch, .notSettled(.storeFault), now: now)
        }
        if !table[plan: entry.plan].isFaulty { notifyFault(reason, now: now) }
        table[plan: entry.plan].isFaulty = true
        answerLocally(entry, of: batch, now: now)
    }

    /// Reports a settlement's fault, once until a settlement succeeds.
    private mutating func settlementFailed(reason: String) {
        if !isSettlementFaulty { notify(.keyFault(reason: reason)) }
        isSettlementFaulty = true
    }

    private mutating func answer(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, admitted: Int64, numbers: ArraySlice<Int64>,
        decidedMs: Int64, now: ClockReading
    ) {
        let charged = entry.isPeek ? 0 : admitted * entry.cost
        let nowMs = clock.nowMs(now)
        observe(entry, of: batch, numbers: numbers, charged: charged, decidedMs: decidedMs)
        if entry.hasDenied(admitted: admitted) { rememberDenial(entry, of: batch) }
        let operation = entry.trackedCheck
        takeQuotas(plan: entry.plan, atMs: batch.cutMs)
        var position: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            if waiter.state == .left {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: false) }
                continue
            }
            position += 1
            if waiter.state == .admittedLocally {
                if admitted > 0, let operation { discardDuplicate(operation, wasAdmitted: true) }
                continue
            }
            let allowed = entry.isPeek ? admitted == 1 : position <= admitted
            var evaluation = Evaluation(
                allowed: allowed, wantsTrace: waiter.wantsTrace || operation?.idempotencyKey != nil)
            findShared(
                entry, numbers: numbers, laterOnes: allowed && !entry.isPeek ? admitted - position : 0,
                decidedMs: decidedMs, nowMs: nowMs, into: &evaluation)
            if let operation {
                var decision = conclude(plan: entry.plan, &evaluation, source: .shared)
                complete(
                    &decision, operation, plan: entry.plan, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                    reported: numbers, atMs: decidedMs, now: now)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            } else {
                let decision = conclude(plan: entry.plan, &evaluation, source: .shared)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            }
        }
    }

    /// Stores the usage that the reply reports for an entry's counters.
    private mutating func observe(
        _ entry: PendingBatch.Entry, of batch: borrowing PendingBatch, numbers: ArraySlice<Int64>, charged: Int64,
        decidedMs: Int64
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let first = at
            let usage = usage(plan: entry.plan, index, numbers, &at)
            table[counter: counter].observe(
                usage, cutMs: batch.cutMs, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
            if table[counter: counter].algorithm == .slidingLog {
                table[counter: counter].observeLog(numbers[first...])
                table.countBytes(ofLog: counter)
            }
            if table[counter: counter].algorithm == .tokenBucket {
                table[counter: counter].updateQuota(table[rulesOf: entry.plan].limits[index].quota)
            }
            if entry.locallyAdmitted > 0 {
                if table[counter: counter].algorithm == .slidingLog {
                    table[counter: counter].markLogStored(chargedTwice(entry, of: batch, charged: charged))
                } else {
                    let amount = chargedTwice(entry, of: batch, index, charged: charged)
                    let quota = table[rulesOf: entry.plan].limits[index].quota
                    table[counter: counter].markStored(amount, quota: quota, cutMs: batch.cutMs)
                }
                noteOutcome(counter)
            }
        }
    }

    /// Reads the next usage in the reply, for one of a plan's limits.
    @inline(__always)
    private mutating func usage(plan: Int, _ index: Int, _ numbers: ArraySlice<Int64>, _ at: inout Int) -> Usage {
        let count = table[rulesOf: plan].limits[index].usageCount
        defer { at += count }
        return Usage(
            numbers[at..<at + count], of: table[rulesOf: plan].limits[index].quota.algorithm,
            isShadow: table[rulesOf: plan].limits[index].isShadow)
    }

    /// Fills `quotasAtHand` with the quotas of a plan's limits, in the windows that contain `atMs`.
    mutating func takeQuotas(plan: Int, atMs: Int64) {
        quotasAtHand.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let window = table.bounds(ofCounter: table.counter(ofPlan: plan, index), at: atMs)
            quotasAtHand.append(table[rulesOf: plan].limits[index].quota.at(window))
        }
    }

    /// What the store found for an entry's limits, for one of its checks. `takeQuotas` must have been called with the
    /// time that cut the windows.
    ///
    /// - Parameters:
    ///   - laterOnes: how many later checks of this entry were admitted; their charges are not in this check's usage.
    ///   - decidedMs: the time by which the store decided; `nowMs` is when the answer is sent.
    mutating func findShared(
        _ entry: borrowing PendingBatch.Entry, numbers: ArraySlice<Int64>, laterOnes: Int64, decidedMs: Int64,
        nowMs: Int64, into evaluation: inout Evaluation
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let quota = quotasAtHand[index]
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            var usage = usage(plan: entry.plan, index, numbers, &at)
            if laterOnes > 0 && !isShadow {
                usage.used -= quota.charge(cost: entry.cost, count: laterOnes)
            }
            let left = quota.left(usage, nowMs: decidedMs)
            let fits = (evaluation.allowed && !isShadow) || left >= quota.units(ofCost: entry.cost)
            let limitEvaluation = LimitEvaluation(
                index: index, capacity: quota.capacity, left: left, fits: fits,
                waitMs: fits ? 0 : quota.retryAfterMs(cost: entry.cost, usage, nowMs: nowMs),
                resetMs: quota.resetMs(usage, nowMs: nowMs))
            if evaluation.wantsTrace {
                evaluation.add(look(plan: entry.plan, quota, usage, limitEvaluation, nowMs: decidedMs))
            }
            evaluation.add(limitEvaluation, of: table[rulesOf: entry.plan].limits[index])
        }
    }

    // MARK: - Again

    /// Sends a batch that did not run again, in its place among the others.
    private mutating func sendAgain(_ batch: consuming PendingBatch, now: ClockReading) {
        for index in batch.entries.indices {
            returnShare(ofEntry: index, admitted: 0, of: &batch, now: now)
            repeatEntry(index, of: &batch)
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Marks an entry to be sent again, if a check still waits for it.
    private mutating func repeatEntry(_ index: Int, of batch: inout PendingBatch) {
        guard batch.entries[index].isWanted else { return }
        batch.entries[index].repeated = batch.repeatedCount
        batch.repeatedCount += 1
    }

    /// Moves the waiters of the marked entries to a new batch, in arrival order, which keeps their deadlines in order.
    /// After too many resends they are answered locally.
    private mutating func sendRepeated(of batch: borrowing PendingBatch, now: ClockReading) {
        guard batch.repeatedCount > 0 else { return }
        var again = newBatch()
        again.firstID = batch.firstID
        again.resends = batch.resends + 1
        for entry in batch.entries where entry.repeated >= 0 {
            _ = again.addEntry(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, chargeCount: entry.chargeCount,
                operation: entry.operation)
            if entry.plan >= 0 { table[plan: entry.plan].pins += 1 }
        }
        for waiter in batch.waiters where waiter.state == .waiting && batch.entries[waiter.entry].repeated >= 0 {
            again.addWaiter(
                waiter.ticket, deadlineNs: waiter.deadlineNs, wantsTrace: waiter.wantsTrace,
                toEntry: batch.entries[waiter.entry].repeated)
        }
        guard asksStore, again.resends <= EngineBounds.maxResends else {
            answerAllLocally(&again, now: now)
            requeueSettlements(again)
            recycle(again)
            return
        }
        statistics.resends += 1
        queue.insert(again, at: queue.firstIndex { $0.firstID > again.firstID } ?? queue.endIndex)
    }
}
