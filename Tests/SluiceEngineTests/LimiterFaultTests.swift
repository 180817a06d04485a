import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Checks when the store is slow, silent, unavailable, or has changed.
@Suite struct LimiterFaultTests {
    private static let start = LimiterRig.startMs
    private let ten = limit(max: 10)

    // MARK: - Slow and silent

    /// The wait is over: a local answer in time, and the store's late answer counts it once.
    @Test func aDeadlineThenALateAnswer() throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide().remaining == 9)
        let ticket = rig.wait()
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 14)
        rig.tick()
        #expect(rig.answers[ticket] == nil)
        rig.pass(ms: 1)
        rig.tick()
        let local = try #require(rig.answers[ticket])
        #expect(local.source == .local && local.allowed && local.remaining == 8)
        #expect(rig.limiter.statistics.timedOut == 1 && rig.limiter.statistics.late == 0)
        #expect(rig.limiter.storeState == "stalled")
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "no answer in time")])
        // While the store is silent, answers come at once.
        #expect(rig.decide().remaining == 7)
        rig.pass(ms: 100)
        rig.answer(batch, rig.run(batch))
        #expect(rig.limiter.storeState == "probing")
        // The store has two of the three; the third was admitted here alone.
        let counter = try #require(rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).first)
        #expect(counter.sharedUsed == 2 && counter.localUsed == 1)
        #expect(rig.decide().remaining == 6)
        rig.exchange()
        #expect(rig.limiter.isShared && rig.limiter.takeNotices() == [.storeReached])
        #expect(rig.decide().remaining == 5)  // with what was admitted here
    }

    /// Of equal checks in one batch some are answered locally before the answer comes: the store's admissions go to
    /// the others.
    @Test func someAreOvertaken() throws {
        var rig = LimiterRig(policy(limit(max: 3)))
        let early = rig.wait()
        rig.pass(ms: 4)
        let late = (0..<4).map { _ in rig.wait() }
        rig.pass(ms: 2)
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 9)
        rig.tick()
        #expect(rig.answers[early]?.source == .local && rig.answers[early]?.remaining == 2)
        rig.answer(batch, rig.run(batch))
        #expect(late.compactMap { rig.answers[$0]?.allowed } == [true, true, false, false])
        #expect(late.compactMap { rig.answers[$0]?.remaining } == [1, 0, 0, 0])
        #expect(late.compactMap { rig.answers[$0]?.source } == [.shared, .shared, .shared, .shared])
        let counter = try #require(rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).first)
        #expect(counter.sharedUsed == 3 && counter.localUsed == 0)
    }

    /// A check that was denied locally has no part in what the store charged: its place goes to those behind it.
    @Test func lateAndDeniedLocally() throws {
        var rig = LimiterRig(policy(limit(max: 2)), replicas: 3)
        let early = rig.wait()
        rig.pass(ms: 4)
        let late = (0..<3).map { _ in rig.wait() }
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 11)
        rig.limiter.answerExpired(now: rig.now)
        rig.collect()
        #expect(rig.answers[early]?.verdict == .limit && rig.answers[early]?.source == .local)
        rig.answer(batch, rig.run(batch))
        #expect(late.compactMap { rig.answers[$0]?.allowed } == [true, true, false])
        #expect(rig.store.usage(of: key(limit(max: 2))) == 2)
    }

    /// A check that was answered before its batch was sent is not part of it.
    @Test func leavingBeforeTheBatchGoesOut() throws {
        var rig = LimiterRig(policy(ten))
        var batches: [Batch] = []
        for _ in 0..<2 {
            _ = rig.wait()
            batches += rig.sent()
        }
        let early = rig.wait()
        rig.pass(ms: 10)
        let late = rig.wait()
        rig.pass(ms: 5)
        rig.limiter.answerExpired(now: rig.now)
        rig.collect()
        #expect(rig.answers[early]?.source == .local && rig.answers[late] == nil)
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        let third = try #require(rig.sent().first)
        // First the local admission, then the check that still waits.
        #expect(third.entries.map(\.count) == [1, 1] && third.charges.map(\.quota.max) == [Quota.maxExact, 10])
        rig.answer(third, rig.run(third))
        #expect(rig.answers[late]?.source == .shared && rig.answers[late]?.remaining == 6)
    }

    @Test func everybodyLeftBeforeTheBatchGoesOut() {
        var rig = LimiterRig(policy(ten))
        var batches: [Batch] = []
        for _ in 0..<2 {
            _ = rig.wait()
            batches += rig.sent()
        }
        _ = rig.wait()
        rig.pass(ms: 15)
        rig.limiter.answerExpired(now: rig.now)
        rig.collect()
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        #expect(rig.limiter.waitingCount == 0)
        #expect(rig.sent().map { $0.charges.map(\.quota.max) } == [[Quota.maxExact]], "what was admitted here")
    }

    @Test func aStallEndsInANewConnection() throws {
        var rig = LimiterRig(policy(ten))
        let ticket = rig.wait()
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 15)
        rig.tick()
        #expect(rig.answers[ticket]?.source == .local)
        rig.pass(ms: 999)
        rig.tick()
        #expect(rig.commands().isEmpty)
        rig.pass(ms: 1)
        rig.tick()
        #expect(rig.commands() == [.disconnect])
        // Events of the old connection are ignored.
        rig.answer(batch, rig.run(batch))
        #expect(rig.limiter.storeState == "open" && rig.answers.count == 1)
        rig.connect()
        #expect(rig.decide().source == .shared)
        #expect(rig.limiter.statistics.outages == 1)
    }

    @Test func aProbeThatIsOverdue() throws {
        var rig = LimiterRig(policy(ten), connected: false)
        rig.tick()
        #expect(rig.commands() == [.connect])
        rig.limiter.linkConnected(now: rig.now)
        let probe = try #require(rig.sent().first)
        #expect(rig.limiter.nextTickNs() == rig.now.monotonicNs + 15_000_000)
        rig.pass(ms: 15)
        rig.tick()
        #expect(rig.limiter.storeState == "stalled")
        // The store never answered at all: that is reported as well.
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "no answer in time")])
        rig.answer(probe, rig.run(probe))
        #expect(rig.limiter.storeState == "resting" || rig.limiter.storeState == "probing")
        rig.exchange()
        rig.connectAgain()
        #expect(rig.decide().source == .shared)
    }

    // MARK: - Rejected and disconnected

    @Test func aRejectionIsAnsweredLocallyAtOnce() throws {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait()
        let one = try #require(rig.sent().first)
        let second = rig.wait()
        let two = try #require(rig.sent().first)
        let third = rig.wait()
        rig.store.rejection = "LOADING"
        rig.answer(one, rig.run(one))
        // In order of arrival, the rejected batch first.
        #expect(rig.order == [first, second, third])
        #expect(rig.order.compactMap { rig.answers[$0]?.remaining } == [9, 8, 7])
        #expect(rig.answers.values.allSatisfy { $0.source == .local })
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "LOADING")])
        #expect(rig.limiter.storeState == "resting")
        rig.answer(two, rig.run(two))
        #expect(rig.decide().source == .local && rig.commands().isEmpty)
        rig.store.rejection = nil
        rig.connectAgain()
        #expect(rig.decide().remaining == 5)  // nothing had been charged but what was admitted here
        #expect(rig.limiter.statistics.timedOut == 0 && rig.limiter.statistics.outages == 1)
    }

    @Test func aLostConnectionIsAnsweredLocallyAtOnce() {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait()
        #expect(rig.sent().count == 1)
        let second = rig.wait()
        rig.close("reset by peer")
        #expect(rig.order == [first, second])
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "reset by peer")])
        #expect(rig.limiter.storeState == "open" && rig.commands().isEmpty)
        rig.connect()
        #expect(rig.decide().source == .shared)
    }

    /// The next answer shows whether the lost batch ran, before any counter has been read again.
    @Test(arguments: [true, false])
    func anUnresolvedBatch(ran: Bool) throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide().remaining == 9)
        let ticket = rig.wait(cost: 3)
        let batch = try #require(rig.sent().first)
        if ran { _ = rig.run(batch) }
        rig.close()
        #expect(rig.answers[ticket]?.remaining == 6)
        #expect(rig.decide().remaining == 5)
        rig.connect()
        let counter = try #require(rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).first)
        // What ran is not added again.
        #expect(counter.localUsed == 0 && counter.sharedUsed == 5)
        // Another outage before the counter was read: what is left is what it was.
        rig.close()
        #expect(rig.decide().remaining == 4)
        rig.connect()
        #expect(rig.decide().remaining == 3)
        let known = try #require(rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).first)
        #expect(known.sharedUsed == 7 && known.localUsed == 0)
    }

    /// The batch runs only after the next connection was up: the store treats it as late and charges nothing.
    @Test func anUnresolvedBatchThatComesTooLate() throws {
        var rig = LimiterRig(policy(ten))
        _ = rig.wait(cost: 3)
        let batch = try #require(rig.sent().first)
        rig.close()
        rig.connect()
        guard case .success(let reply) = rig.run(batch) else { return }
        #expect(reply.status == .outOfOrder)
        #expect(rig.decide().remaining == 6)
    }

    /// Only the store's record of charging batches shows whether it ran, however many unanswered probes ran in
    /// between.
    @Test(arguments: [false, true], [1, 3]) func unansweredProbesProveNothing(ran: Bool, probes: Int) {
        var rig = LimiterRig(policy(ten))
        let ticket = rig.wait(cost: 3)
        for batch in rig.sent() where ran { _ = rig.run(batch) }
        rig.close()
        #expect(rig.answers[ticket]?.source == .local && rig.answers[ticket]?.allowed == true)
        for _ in 0..<probes {
            _ = rig.run(rig.probe())
            rig.close()
        }
        rig.connect()
        #expect(rig.decide(isPeek: true).remaining == 7 && rig.limiter.journalCount == 0)
    }

    /// A store that rejects from the first batch on: the reason is reported once, although it was never used; and
    /// again for another reason, or after it was used.
    @Test func whyTheStoreIsNotUsed() throws {
        var rig = LimiterRig(policy(ten), connected: false)
        #expect(rig.limiter.storeError == "")
        func rejectOnce(_ reason: String) {
            rig.store.rejection = reason
            for _ in 0..<200 {
                rig.tick()
                let commands = rig.commands()
                if commands == [.connect] { rig.limiter.linkConnected(now: rig.now) }
                let batches = (commands + rig.commands()).compactMap {
                    if case .send(let batch) = $0 { batch } else { nil }
                }
                for batch in batches { rig.answer(batch, rig.run(batch)) }
                if !batches.isEmpty { return }
                rig.pass(ms: 20)
            }
            Issue.record("nothing was sent")
        }
        rejectOnce("NOPERM evalsha")
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "NOPERM evalsha")])
        rejectOnce("NOPERM evalsha")
        #expect(rig.limiter.takeNotices().isEmpty)
        rejectOnce("LOADING")
        #expect(rig.limiter.takeNotices() == [.storeStillUnavailable(reason: "LOADING")])
        rig.close("reset by peer")
        #expect(rig.limiter.takeNotices() == [.storeStillUnavailable(reason: "reset by peer")])
        rejectOnce("NOPERM evalsha")
        #expect(rig.limiter.takeNotices().isEmpty && rig.limiter.storeError == "NOPERM evalsha")
        // A store that finds a new reason each time does not fill the log.
        for number in 1...30 { rejectOnce("reason \(number)") }
        #expect(rig.limiter.takeNotices().count == EngineBounds.maxReportedReasons - 3)
        #expect(rig.limiter.storeError == "reason 30" && rig.limiter.statistics.outages == 0)
        rig.store.rejection = nil
        rig.connectAgain()
        rig.close("reset by peer")
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "reset by peer")])
        #expect(rig.limiter.statistics.outages == 1)
    }

    /// A reply that made no sense: its batch may have run.
    @Test func anUnknownFate() throws {
        var rig = LimiterRig(policy(ten))
        let ticket = rig.wait(cost: 3)
        let batch = try #require(rig.sent().first)
        _ = rig.run(batch)
        rig.answer(batch, .failure(.unknown("garbage")))
        #expect(rig.answers[ticket]?.source == .local)
        #expect(rig.limiter.takeNotices() == [.storeLost(reason: "garbage")] && rig.limiter.storeState == "resting")
        rig.connectAgain()
        let counter = try #require(rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).first)
        #expect(counter.localUsed == 0 && counter.sharedUsed == 3)
    }

    @Test func localCountersGoOnFromWhatWasShared() {
        var rig = LimiterRig(policy(ten), replicas: 3)
        rig.store.set(key(ten), .integer(3))
        #expect(rig.decide().remaining == 6)
        rig.close()
        // A third of 6, and never more.
        #expect(rig.decide().remaining == 1)
        #expect(rig.decide().remaining == 0)
        let denied = rig.decide(wantsTrace: true)
        #expect(denied.verdict == .limit && denied.source == .local && denied.limit == 10)
        #expect(denied.trace?.first?.used == 6)
        // In the next window it is a third of all.
        rig.pass(ms: 60_000)
        #expect(rig.decide().remaining == 2)
    }

    // MARK: - Data loss and order

    @Test func isAskedAgainAfterADataLoss() throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide(cost: 4).remaining == 6)
        rig.store.flush()
        let first = rig.wait()
        let second = rig.wait("t", grant: "h")
        let batch = try #require(rig.sent().first)
        rig.answer(batch, rig.run(batch))
        #expect(rig.answers[first] == nil)
        #expect(rig.limiter.takeNotices() == [.storeLostData] && rig.limiter.isShared)
        rig.exchange()
        #expect(rig.order.suffix(2) == [first, second])
        // What it had reported before is restored first.
        #expect(rig.answers[first]?.remaining == 5 && rig.answers[first]?.source == .shared)
        #expect(rig.limiter.statistics.dataLosses == 1 && rig.limiter.statistics.resends == 1)
    }

    /// The copy was made just after the store had reported a data loss: it lacks what was sent since, and must not be
    /// treated as if it had that.
    @Test func aCopyThatReportsTheSameAgain() throws {
        var rig = LimiterRig(policy(ten))
        rig.store.flush()
        _ = rig.wait(cost: 4)
        let batch = try #require(rig.sent().first)
        rig.answer(batch, rig.run(batch))
        let copy = rig.store
        rig.exchange()
        #expect(rig.decide(cost: 2).remaining == 4)
        rig.close()
        rig.store = copy
        rig.connect()
        #expect(rig.limiter.statistics.dataLosses == 2)
        #expect(rig.decide().remaining == 3)
    }

    @Test func aForgottenProbeIsNotSentTwice() throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide().allowed)
        rig.close()
        rig.store.flush()
        rig.connect()
        // The fourth restores what was counted.
        #expect(rig.store.runs == 4)
        #expect(rig.commands().isEmpty && rig.decide().source == .shared)
    }

    @Test func aStoreThatKeepsLosingItsData() throws {
        var rig = LimiterRig(policy(ten))
        let ticket = rig.wait()
        for _ in 0...EngineBounds.maxResends {
            rig.store.flush()
            let batch = try #require(rig.sent().first)
            rig.answer(batch, rig.run(batch))
        }
        #expect(rig.answers[ticket]?.source == .local && rig.limiter.waitingCount == 0)
        #expect(rig.sent().map { $0.charges.map(\.quota.max) } == [[Quota.maxExact]], "what was admitted here")
    }

    /// The second batch arrives before the first (as when the script had to be loaded between): it is sent again.
    @Test func aBatchOutOfOrderIsSentAgain() throws {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait()
        let one = try #require(rig.sent().first)
        let second = rig.wait()
        let two = try #require(rig.sent().first)
        let ranTwo = rig.run(two)
        let ranOne = rig.run(one)
        rig.answer(one, ranOne)
        rig.answer(two, ranTwo)
        #expect(rig.answers[first]?.remaining == 9 && rig.answers[second] == nil)
        rig.exchange()
        #expect(rig.answers[second]?.remaining == 8 && rig.answers[second]?.source == .shared)
    }

    /// A marker that is ahead of this replica, for whatever reason, must not lock it out.
    @Test func aMarkerThatIsAhead() {
        var rig = LimiterRig(policy(ten), connected: false)
        var batch = Batch()
        batch.sequence = 1_000
        _ = rig.run(batch)
        rig.connect()
        #expect(rig.decide().source == .shared)
        #expect(rig.decide().remaining == 8)
    }

    /// Batches that are sent again go out before younger ones, in their own order.
    @Test func resentBatchesKeepTheirOrder() throws {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait()
        let one = try #require(rig.sent().first)
        let second = rig.wait("t", cost: 2)
        let two = try #require(rig.sent().first)
        let third = rig.wait("t", cost: 3)
        rig.store.flush()
        let ranOne = rig.run(one)
        rig.store.flush()
        let ranTwo = rig.run(two)
        rig.answer(one, ranOne)
        rig.answer(two, ranTwo)
        rig.exchange()
        #expect(rig.order == [first, second, third])
        #expect(rig.order.compactMap { rig.answers[$0]?.remaining } == [9, 7, 4])
    }

    /// The marker, which records the last batch that ran, is the only proof that write-backs ran. A probe sent behind
    /// them does not hide that: the store may have lost its scripts and run the probe first, and the answers be lost.
    @Test func aProbeLeavesBehindWhatSettles() throws {
        let bad = limit("bad", max: 4, of: "u")
        var rig = LimiterRig(policy(ten, bad))
        rig.store.set(key(bad), .foreign)
        _ = rig.wait("u")
        let first = try #require(rig.sent().first)
        let waiting = rig.wait()
        let second = try #require(rig.sent().first)
        // Admitted here, and written back once its key is no longer faulty.
        rig.answer(first, rig.run(first))
        rig.store.delete(key(bad))
        _ = rig.wait("u")
        let settling = try #require(rig.sent().first)
        #expect(settling.charges.count == 2)
        rig.answer(second, .failure(.rejected("LOADING")))
        #expect(rig.answers[waiting]?.source == .local)
        var probe: Batch?
        for _ in 0..<20 where probe == nil {
            rig.pass(ms: 5)
            rig.tick()
            probe = rig.sent().first
        }
        _ = rig.run(try #require(probe))
        let late = try rig.run(settling).get()
        #expect(late.status == .outOfOrder)
        // The connection is lost with it. It never ran, and is written back again.
        rig.close()
        let again = rig.probe()
        #expect(again.chargesNothing && rig.store.usage(of: key(bad)) == 0)
        rig.answer(again, rig.run(again))
        rig.exchange()
        #expect(rig.store.usage(of: key(bad)) >= 1 && rig.limiter.journalCount == 0)
    }

    // MARK: - Faults of a key

    /// A fault affects its own entry alone, is reported once, and ends with its cause.
    @Test func aFaultyKey() throws {
        let bad = limit("bad", max: 4, of: "u")
        var rig = LimiterRig(policy(ten, bad, allTools: [limit("all", max: 100, of: nil)]), replicas: 2)
        rig.store.set(key(bad), .foreign)
        for round in 0..<3 {
            let good = rig.wait()
            let faulty = rig.wait("u")
            rig.exchange()
            #expect(rig.answers[good]?.source == .shared && rig.answers[good]?.remaining == 9 - Int64(round))
            #expect(rig.answers[faulty]?.source == .local && rig.answers[faulty]?.allowed == (round < 2))
        }
        let notices = rig.limiter.takeNotices()
        #expect(notices.count == 1 && rig.limiter.isShared && rig.limiter.statistics.faults == 3)
        if case .keyFault(let reason)? = notices.first { #expect(reason.hasPrefix("WRONGTYPE")) }
        rig.store.set(key(bad), .integer(0))
        #expect(rig.decide("u").source == .shared)
        rig.store.set(key(bad), .foreign)
        #expect(rig.decide("u", isPeek: true).source == .local)
        #expect(rig.limiter.takeNotices().count == 1)
    }
}

extension LimiterRig {
    /// As `connect`, for a link that is still up: waits for the next probe.
    mutating func connectAgain() {
        for _ in 0..<200 where !limiter.isShared {
            pass(ms: 20)
            tick()
            exchange()
        }
        precondition(limiter.isShared)
        _ = limiter.takeNotices()
    }
}
