import SluicePolicy

/// The store's side of the limiter: batches that go out, answers that come in, and what becomes of checks when none come.
extension Limiter {
    // MARK: - Events of the link

    package mutating func linkConnected(now: Moment) {
        perform(breaker.connected(), now: now)
    }

    /// The connection could not be opened, or broke.
    package mutating func linkClosed(reason: String, now: Moment) {
        let wasClosed = breaker.isClosed
        breaker.disconnected(now: now)
        if wasClosed {
            leaveStore(reason: reason, now: now)
        } else {
            reportAway(reason: reason)
        }
        dropConnection()
    }

    /// - Parameter arrivedNs: when the answer can have arrived at the earliest; nil: just now.
    package mutating func linkAnswered(
        sequence: Int64, _ result: Result<BatchReply, BatchFailure>, arrivedNs: Int64? = nil, now: Moment
    ) {
        guard let index = flying.firstIndex(where: { $0.sequence == sequence }) else { return }
        var batch = flying.remove(at: index)
        noteOutcome(ofSequence: sequence)
        switch result {
        case .success(let reply):
            answered(batch, reply, arrivedNs: arrivedNs, now: now)
        case .failure(.refused(let reason)):
            refused(batch, reason: reason, now: now)
        case .failure(.unknown(let reason)):
            // It may have run: it counts as unresolved until the marker tells.
            answerAllLocally(&batch, now: now)
            keepUnresolved(batch)
            standBack(reason: reason, now: now)
        }
    }

    /// What the link must do next; nil if nothing. Asked again until it is nil.
    package mutating func nextCommand(now: Moment) -> LinkCommand? {
        if wantsDisconnect {
            wantsDisconnect = false
            return .disconnect
        }
        if wantsConnect {
            wantsConnect = false
            return .connect
        }
        if let command = refusals.takeCommand() { return .listening(command) }
        // Nor may a probe leave behind a batch that settles: were that sent again after it (the store had lost its scripts)
        // and its answer lost, the marker would say the same whether it ran or not.
        if wantsProbe, !(flying.last?.settles ?? false) {
            wantsProbe = false
            return sendHeartbeat(now: now)
        }
        if breaker.isClosed, mayFly, let nextHeartbeatNs, now.monotonicNs >= nextHeartbeatNs {
            return sendHeartbeat(now: now)
        }
        while breaker.isClosed, mayFly, !queue.isEmpty {
            var batch = queue.removeFirst()
            guard write(&batch, now: now) else {
                recycle(batch)
                continue
            }
            flying.append(batch)
            return .send(wire)
        }
        if wantsPayments, breaker.isClosed, flying.isEmpty { return sendPayments(now: now) }
        return nil
    }

    // MARK: - Sending

    /// Whether another batch may leave. Behind one that settles none may: its marker tells of it alone.
    var mayFly: Bool { flying.count < EngineBounds.maxBatchesInFlight && !(flying.last?.settles ?? false) }

    /// Writes a pending batch into `wire`, cutting windows by the time that it is; false if nobody waits for it any more.
    @discardableResult
    mutating func write(_ batch: inout PendingBatch, now: Moment) -> Bool {
        let nowMs = clock.nowMs(now)
        wire.removeAll()
        // A pass of its own: in a loop that does little else the processor fetches many counters at a time from memory,
        // instead of waiting for one after the other.
        var keyByteCount = 0
        for index in batch.entries.indices where batch.entries[index].plan >= 0 {
            table.roll(countersOf: batch.entries[index].plan, at: nowMs)
            keyByteCount += table.stemByteCount(ofPlan: batch.entries[index].plan) + LastDecimal.maxBytes
        }
        wire.reserve(keyByteCount: keyByteCount)
        if batch.isRepeat {
            for payment in batch.payments { write(payment) }
        } else if breaker.isClosed, journal.count > 0 || owesOffers {
            payDebts(in: &batch, nowMs: nowMs)
        }
        let verifiesAll = lastSequence % EngineBounds.batchesPerVerification == 0
        if !batch.isRepeat && breaker.isClosed && memos.owes { tellAnswers(in: &batch, now: now) }
        for index in batch.entries.indices where batch.entries[index].isWanted {
            if isWithinShare {
                takeShare(forEntry: index, of: &batch, nowMs: nowMs, now: now)
                guard batch.entries[index].isWanted else { continue }
            }
            writeEntry(&batch.entries[index], verifiesAll: verifiesAll, nowMs: nowMs)
        }
        if !batch.entries.isEmpty && wire.entries.isEmpty { return false }
        if !batch.isRepeat {
            lastSequence += 1
            batch.sequence = lastSequence
        }
        noteDeparture(batch)
        batch.sentNs = now.monotonicNs
        batch.cutMs = nowMs
        wire.sequence = batch.sequence
        wire.acknowledgedSequence = acknowledgedSequence
        wire.forgotSinceMs = forgotSinceMs
        wire.floorMs = clock.highestStoreMs
        wire.isStoreBehind = clock.behindMs > 0
        batch.floorMs = wire.floorMs
        statistics.batches += 1
        return true
    }

    private mutating func writeEntry(_ entry: inout PendingBatch.Entry, verifiesAll: Bool, nowMs: Int64) {
        let firstCharge = wire.charges.count
        entry.isSent = true
        if !entry.isHeartbeat { statistics.entries += 1 }
        guard entry.plan >= 0 else { return writeUncharged(entry, nowMs: nowMs) }
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            table.appendStem(ofCounter: counter, to: &wire.keyBytes)
            if table[counter: counter].algorithm.hasWindows {
                lastStart.append(table[counter: counter].span.startMs, to: &wire.keyBytes)
            }
            wire.endKey()
            if table[counter: counter].algorithm == .slidingWindow {
                wire.appendKey(table[counter: counter].previousKey())
            }
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            if isShadow { wire.appendKey(CounterKey.refusals(of: table[counter: counter].key)) }
            wire.charges.append(
                Batch.Charge(
                    terms: terms(plan: entry.plan, index), isShadow: isShadow,
                    verifiesTimeToLive: verifiesAll || !table[counter: counter].isSeen))
        }
        // More than an empty window can hold need not be asked for: those behind cannot pass.
        let most = table[rulesOf: entry.plan].smallestMax / entry.cost
        entry.sentCount = entry.isPeek ? 0 : entry.special == nil ? min(Int64(entry.unanswered), most) : 1
        statistics.coalesced += Int64(entry.unanswered)
        wire.entries.append(
            Batch.Entry(
                cost: entry.cost, count: entry.sentCount, firstCharge: firstCharge,
                chargeCount: wire.charges.count - firstCharge, special: writeSpecial(of: entry)))
    }

    /// - Returns: its place in the batch, -1 if there is nothing special about the entry.
    private mutating func writeSpecial(of entry: PendingBatch.Entry) -> Int {
        guard case .check(let special)? = entry.special, !entry.isPeek else { return -1 }
        if special.reservation != nil { wire.appendKey(special.reservationKey.bytes) }
        if let key = special.memoKey { wire.appendKey(key.bytes) }
        let memo = special.memoKey == nil ? nil : self.memo(special, plan: entry.plan)
        wire.specials.append(.check(isReserved: special.reservation != nil, memo: memo))
        return wire.specials.count - 1
    }

    /// An entry that is for no check.
    private mutating func writeUncharged(_ entry: PendingBatch.Entry, nowMs: Int64) {
        switch entry.special {
        case .settle(let key, let settlement, _)?:
            wire.appendKey(key.bytes)
            wire.specials.append(.settle(settlement))
        case .heartbeat?:
            wire.appendKey(CounterKey.replicas(prefix: configuration.keyPrefix))
            wire.appendKey(CounterKey.writtenBack(prefix: configuration.keyPrefix))
            let lifeMs = EngineBounds.heartbeatLifeNs / 1_000_000
            wire.specials.append(.heartbeat(lifeMs: lifeMs, writtenBackMs: hasWrittenBack ? nowMs : 0))
        case .check?, nil: preconditionFailure("has no plan")
        }
        wire.entries.append(
            Batch.Entry(
                cost: 0, count: 0, firstCharge: wire.charges.count, chargeCount: 0, special: wire.specials.count - 1))
    }

    // MARK: - Answers

    private mutating func answered(
        _ batch: consuming PendingBatch, _ reply: BatchReply, arrivedNs: Int64?, now: Moment
    ) {
        observeClock(reply.timeMs, sentNs: batch.sentNs, now: now)
        if reply.status == .ran {
            acknowledgedSequence = batch.sequence
            // From now on the sequence shows what the store remembers. An older copy of it that tells the same again is to
            // be noticed.
            forgotSinceMs = 0
        }
        // What was superseded shows only that nothing before it runs any more.
        if reply.status != .superseded { resolve(upTo: reply.status == .forgot ? nil : reply.previousSequence) }
        let (wasClosed, wasProbing) = (breaker.isClosed, breaker.state == .probing)
        let wasAway =
            statistics.outages > 0 || breaker.failures > 0 || !reportedReasons.isEmpty
            || (journal.count > 0 && !changes.restored.isEmpty)
        if !pauseIfUnrun(reply, now: now) {
            perform(
                breaker.answered(sentNs: batch.sentNs, owesMore: !flying.isEmpty, arrivedNs: arrivedNs, now: now),
                now: now)
            if wasProbing && !breaker.isClosed { reportAway(reason: "its answers come too late") }
        }
        if !wasClosed && breaker.isClosed { storeReached(wasAway: wasAway, timeMs: reply.timeMs, now: now) }
        if !batch.payments.isEmpty || owesOffers || memos.owes { wantsPayments = true }
        // It had run before. Where the store forgot, it is told again like all that is in doubt then.
        if batch.isRepeat && reply.status == .superseded { resolvePayments(of: batch) }
        switch reply.status {
        case .ran:
            settle(batch, reply, now: now)
        case .forgot:
            // The marker was written: from here on the store remembers this replica again.
            acknowledgedSequence = batch.sequence
            forgotSinceMs = reply.forgotSinceMs
            refusals.forgetAll(now: now)
            if let found = reply.words.first {
                notifyFault("in the place of this replica's marker lay \(found.quoted): written anew", now: now)
            }
            if batch.sequence > forgotSequence { storeForgot(timeMs: reply.timeMs, now: now) }
            sendAgain(batch, now: now)
            // Until all replicas have offered, nobody counts on what the store holds.
            if !asksStore { answerAllLocally(now: now) }
        case .superseded:
            // The marker may be ahead of all that was ever sent from here (it is kept for longer than a process may
            // live): without going beyond it no batch would ever run.
            lastSequence = max(lastSequence, reply.previousSequence)
            sendAgain(batch, now: now)
        }
    }

    /// One answer that nothing ran is made up for at once. A store that goes on answering so, or a key of this replica's that
    /// somebody else writes to, is left alone for longer and longer.
    private mutating func pauseIfUnrun(_ reply: BatchReply, now: Moment) -> Bool {
        unrunAnswers = reply.status == .ran ? 0 : min(unrunAnswers + 1, EngineBounds.maxUnrunAnswers)
        guard unrunAnswers == EngineBounds.maxUnrunAnswers else { return false }
        standBack(reason: "it does not keep how far this replica got: nothing runs", now: now)
        return true
    }

    private mutating func observeClock(_ timeMs: Int64, sentNs: Int64, now: Moment) {
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
        // What it proved, it proved of windows that are no longer open.
        refusals.forgetAll(now: now)
        // A restart is not to go on from the time that was given up.
        if configuration.keepsState { changes.wantsReplica = true }
    }

    /// The marker told how far this replica's batches got: those up to `sequence` ran, the others never will.
    ///
    /// - Parameter sequence: nil if the store has forgotten that. Then the store is told again, for nothing is to be lost:
    ///   what was admitted is counted twice if another replica saw it counted and offers that. Its counters may still be
    ///   there, and so what was refused here is taken back in any case.
    private mutating func resolve(upTo sequence: Int64?) {
        guard !unresolved.isEmpty else { return }
        for batch in unresolved {
            noteOutcome(ofSequence: batch.sequence)
            if let sequence, batch.sequence <= sequence {
                resolve(batch)
                resolvePayments(of: batch)
            } else {
                oweAgain(batch)
                if sequence == nil { takeBack(batch) }
            }
            recycle(batch)
        }
        unresolved.removeAll(keepingCapacity: true)
    }

    /// A batch that was not answered turned out to have run.
    private mutating func resolve(_ batch: borrowing PendingBatch) {
        takeBack(batch)
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted > 0 {
            for (index, limit) in table[rulesOf: entry.plan].limits.enumerated() {
                let counter = table.counter(ofPlan: entry.plan, index)
                if limit.terms.algorithm == .slidingLog {
                    table[counter: counter].resolveLog(
                        chargedTwice(entry, of: batch, charged: entry.locallyAdmitted), chargedMs: clock.highestStoreMs)
                } else {
                    let amount = chargedTwice(entry, of: batch, index, charged: entry.locallyAdmitted)
                    table[counter: counter].resolve(amount, terms: limit.terms, cutMs: batch.cutMs)
                }
                noteOutcome(counter)
            }
            if let special = entry.specialCheck, var record = reservations[special.reservationKey] {
                undoubt(&record)
                reservations[special.reservationKey] = record
            }
        }
    }

    /// What was refused here and reserves: if the store admitted it, then for nobody.
    private mutating func takeBack(_ batch: borrowing PendingBatch) {
        for entry in batch.entries where entry.isSent && entry.locallyAdmitted == 0 && !entry.isPeek {
            if let special = entry.specialCheck { overtake(special, wasAdmitted: false) }
        }
    }

    /// The store decided: tells every waiter, in order of arrival.
    private mutating func settle(_ batch: consuming PendingBatch, _ reply: BatchReply, now: Moment) {
        let decidedMs = max(reply.timeMs, batch.floorMs)
        var words = reply.words.makeIterator()
        var at = 0
        paid(&batch, reply, &at, words: &words, decidedMs: decidedMs)
        told(&batch, reply, &at, words: &words)
        // Apart, as when it was written: so the rows come from memory many at a time.
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
                // Nobody waits for what is owed: a person is told.
                if entry.firstWaiter < 0 {
                    settlementFailed(reason: "a reservation was settled to more than can be counted")
                }
                finishAll(entry, of: batch, .notSettled(.tooMuch), now: now)
            case BatchReply.passedOver:
                statistics.faults += 1
                settlementFailed(reason: words.next() ?? "")
                forgetRefusals(settledBy: entry, now: now)
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
                        forgetRefusals(settledBy: entry, now: now)
                        noteSettled(entry)
                    }
                    isSettlementFaulty = false
                    finishAll(entry, of: batch, .settled(outcome == 1), now: now)
                    continue
                }
                let numbers = reply.results[at..<at + table[rulesOf: entry.plan].tallyCount]
                at = numbers.endIndex
                table[plan: entry.plan].isFaulty = false
                answer(entry, of: batch, admitted: outcome, numbers: numbers, decidedMs: decidedMs, now: now)
            }
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// The store could not charge one of the entry's counters, or read its record: nobody else is concerned.
    private mutating func fail(_ entry: PendingBatch.Entry, of batch: PendingBatch, reason: String, now: Moment) {
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

    /// What a person should know is told once, until one is settled again.
    private mutating func settlementFailed(reason: String) {
        if !isSettlementFaulty { notify(.keyFault(reason: reason)) }
        isSettlementFaulty = true
    }

    private mutating func answer(
        _ entry: PendingBatch.Entry, of batch: PendingBatch, admitted: Int64, numbers: ArraySlice<Int64>,
        decidedMs: Int64, now: Moment
    ) {
        let charged = entry.isPeek ? 0 : admitted * entry.cost
        let nowMs = clock.nowMs(now)
        observe(entry, of: batch, numbers: numbers, charged: charged, decidedMs: decidedMs)
        if entry.hasRefused(admitted: admitted) { rememberRefusal(entry, of: batch) }
        let special = entry.specialCheck
        takeTerms(plan: entry.plan, atMs: batch.cutMs)
        var position: Int64 = 0
        var index = entry.firstWaiter
        while index >= 0 {
            let waiter = batch.waiters[index]
            index = waiter.next
            if waiter.state == .left {
                if admitted > 0, let special { overtake(special, wasAdmitted: false) }
                continue
            }
            position += 1
            if waiter.state == .overtaken {
                if admitted > 0, let special { overtake(special, wasAdmitted: true) }
                continue
            }
            let allowed = entry.isPeek ? admitted == 1 : position <= admitted
            var findings = Findings(allowed: allowed, wantsTrace: waiter.wantsTrace || special?.memoKey != nil)
            findShared(
                entry, numbers: numbers, laterOnes: allowed && !entry.isPeek ? admitted - position : 0,
                decidedMs: decidedMs, nowMs: nowMs, into: &findings)
            if let special {
                var decision = conclude(plan: entry.plan, &findings, source: .shared)
                complete(
                    &decision, special, plan: entry.plan, isPeek: entry.isPeek, wantsTrace: waiter.wantsTrace,
                    told: numbers, atMs: decidedMs, now: now)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            } else {
                let decision = conclude(plan: entry.plan, &findings, source: .shared)
                finish(waiter.ticket, decision, deadlineNs: waiter.deadlineNs, now: now)
            }
        }
    }

    /// Remembers what the store told of an entry's counters.
    private mutating func observe(
        _ entry: PendingBatch.Entry, of batch: borrowing PendingBatch, numbers: ArraySlice<Int64>, charged: Int64,
        decidedMs: Int64
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let counter = table.counter(ofPlan: entry.plan, index)
            let first = at
            let tally = tally(plan: entry.plan, index, numbers, &at)
            table[counter: counter].observe(
                tally, cutMs: batch.cutMs, decidedMs: decidedMs, epoch: storeEpoch, keepsShare: keepsShare)
            if table[counter: counter].algorithm == .slidingLog {
                table[counter: counter].observeLog(numbers[first...])
                table.countBytes(ofLog: counter)
            }
            if table[counter: counter].algorithm == .tokenBucket {
                table[counter: counter].learn(table[rulesOf: entry.plan].limits[index].terms)
            }
            if entry.locallyAdmitted > 0 {
                if table[counter: counter].algorithm == .slidingLog {
                    table[counter: counter].settleLog(chargedTwice(entry, of: batch, charged: charged))
                } else {
                    let amount = chargedTwice(entry, of: batch, index, charged: charged)
                    let terms = table[rulesOf: entry.plan].limits[index].terms
                    table[counter: counter].settle(amount, terms: terms, cutMs: batch.cutMs)
                }
                noteOutcome(counter)
            }
        }
    }

    /// The next of the tallies that the store told of a plan's limits.
    private mutating func tally(plan: Int, _ index: Int, _ numbers: ArraySlice<Int64>, _ at: inout Int) -> Tally {
        let count = table[rulesOf: plan].limits[index].tallyCount
        defer { at += count }
        return Tally(
            numbers[at..<at + count], of: table[rulesOf: plan].limits[index].terms.algorithm,
            isShadow: table[rulesOf: plan].limits[index].isShadow)
    }

    /// Takes the terms of a plan's limits to hand, in the windows that hold `atMs`.
    mutating func takeTerms(plan: Int, atMs: Int64) {
        termsAtHand.removeAll(keepingCapacity: true)
        for index in table[rulesOf: plan].limits.indices {
            let window = table.bounds(ofCounter: table.counter(ofPlan: plan, index), at: atMs)
            termsAtHand.append(table[rulesOf: plan].limits[index].terms.at(window))
        }
    }

    /// What the store found of an entry's limits, for one of its checks; `takeTerms` was called for the time by which the
    /// windows were cut.
    ///
    /// - Parameters:
    ///   - laterOnes: how many checks of this entry were admitted after this one: their charges are not in its tally.
    ///   - decidedMs: the time by which the store decided; `nowMs` is when the answer leaves.
    mutating func findShared(
        _ entry: borrowing PendingBatch.Entry, numbers: ArraySlice<Int64>, laterOnes: Int64, decidedMs: Int64,
        nowMs: Int64, into findings: inout Findings
    ) {
        var at = numbers.startIndex
        for index in table[rulesOf: entry.plan].limits.indices {
            let terms = termsAtHand[index]
            let isShadow = table[rulesOf: entry.plan].limits[index].isShadow
            var tally = tally(plan: entry.plan, index, numbers, &at)
            if laterOnes > 0 && !isShadow {
                tally.used -= terms.charge(cost: entry.cost, count: laterOnes)
            }
            let left = terms.left(tally, nowMs: decidedMs)
            let fits = (findings.allowed && !isShadow) || left >= terms.units(ofCost: entry.cost)
            let finding = LimitFinding(
                index: index, capacity: terms.capacity, left: left, fits: fits,
                waitMs: fits ? 0 : terms.retryAfterMs(cost: entry.cost, tally, nowMs: nowMs),
                resetMs: terms.resetMs(tally, nowMs: nowMs))
            if findings.wantsTrace { findings.add(look(plan: entry.plan, terms, tally, finding, nowMs: decidedMs)) }
            findings.add(finding, of: table[rulesOf: entry.plan].limits[index])
        }
    }

    // MARK: - Again

    /// A batch that did not run goes out again, in its place among the others.
    private mutating func sendAgain(_ batch: consuming PendingBatch, now: Moment) {
        for index in batch.entries.indices {
            returnShare(ofEntry: index, admitted: 0, of: &batch, now: now)
            repeatEntry(index, of: &batch)
        }
        sendRepeated(of: batch, now: now)
        recycle(batch)
    }

    /// Marks an entry for the batch that goes out in place of this one, if somebody still waits for it.
    private mutating func repeatEntry(_ index: Int, of batch: inout PendingBatch) {
        guard batch.entries[index].isWanted else { return }
        batch.entries[index].repeated = batch.repeatedCount
        batch.repeatedCount += 1
    }

    /// Puts the waiters of the entries that were marked into another batch, in order of arrival: their deadlines keep
    /// their order with it. After too many times they are answered locally.
    private mutating func sendRepeated(of batch: borrowing PendingBatch, now: Moment) {
        guard batch.repeatedCount > 0 else { return }
        var again = newBatch()
        again.firstID = batch.firstID
        again.resends = batch.resends + 1
        for entry in batch.entries where entry.repeated >= 0 {
            _ = again.addEntry(
                plan: entry.plan, cost: entry.cost, isPeek: entry.isPeek, chargeCount: entry.chargeCount,
                special: entry.special)
            if entry.plan >= 0 { table[plan: entry.plan].pins += 1 }
        }
        for waiter in batch.waiters where waiter.state == .waiting && batch.entries[waiter.entry].repeated >= 0 {
            again.addWaiter(
                waiter.ticket, deadlineNs: waiter.deadlineNs, wantsTrace: waiter.wantsTrace,
                toEntry: batch.entries[waiter.entry].repeated)
        }
        guard asksStore, again.resends <= EngineBounds.maxResends else {
            answerAllLocally(&again, now: now)
            oweAgain(again)
            recycle(again)
            return
        }
        statistics.resends += 1
        queue.insert(again, at: queue.firstIndex { $0.firstID > again.firstID } ?? queue.endIndex)
    }
}
