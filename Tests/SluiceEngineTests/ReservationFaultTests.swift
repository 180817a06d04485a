import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Checks that reserve, or have an id, while the store is slow, unavailable or loses its data.
@Suite struct ReservationFaultTests {
    private let ten = limit(max: 10)
    private let slots = limit("s", max: 2, algorithm: .concurrency, holdMs: 60_000)
    private let bucket = limit("b", max: 60, algorithm: .tokenBucket, burst: 10)
    private static let reserving = LimiterRig.Question(reserves: true)

    private func used(_ rig: LimiterRig, _ limit: Limit) -> Int64 {
        switch limit.algorithm {
        case .concurrency: Int64(rig.store.slots(of: baseKey(limit)).count)
        case .tokenBucket:
            rig.store.bucket(of: baseKey(limit)).map { bucket in
                let quota = Quota(limit)
                let level = quota.drained(bucket.level, sinceMs: bucket.lastMs, nowMs: rig.store.clockMs)
                return (level + 59_999) / 60_000
            } ?? 0
        case .slidingLog:
            if case .log(let log)? = rig.store.value(of: baseKey(limit)) {
                log.used(nowMs: rig.store.clockMs, lengthMs: limit.window.longestLengthMs)
            } else {
                0
            }
        case .fixedWindow, .slidingWindow: rig.store.usage(of: key(limit))
        }
    }

    private func baseKey(_ limit: Limit) -> [UInt8] {
        CounterKey.baseKey(
            in: "sluice", limit: limit, identity: Identity.Parts(grant: [103], tool: "t", approved: false))
    }

    /// The combined usage of this replica.
    private func known(_ rig: LimiterRig, _ limit: Limit) -> Int64 {
        let counter = rig.limiter.table.liveCounters.first { $0.baseKey.elementsEqual(baseKey(limit)) }
        guard let counter else { return -1 }
        let nowMs = rig.limiter.clock.nowMs(rig.now)
        let quota = Quota(limit).at(counter.bounds(at: nowMs))
        return quota.used(counter.combinedUsage(quota, nowMs: nowMs), nowMs: nowMs)
    }

    /// A reserving check whose answer is late: it is answered locally, and the batch is still in flight.
    private func timedOut(_ limits: Limit..., replicas: Int = 1, cost: Int64 = 1) throws
        -> (rig: LimiterRig, local: Decision, batch: Batch)
    {
        var rig = LimiterRig(policy(limits), replicas: replicas)
        let ticket = rig.wait(LimiterRig.Question(cost: cost, reserves: true))
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 15)
        rig.tick()
        let local = try #require(rig.answers[ticket])
        #expect(local.source == .local && rig.limiter.storeState == "stalled")
        return (rig, local, batch)
    }

    // MARK: - Late answers

    /// Admitted here and there: it is the store's from then on, counted once, and any replica can settle it.
    @Test func lateAndAdmittedTwice() throws {
        var (rig, local, batch) = try timedOut(ten, slots, bucket, cost: 3)
        let id = try #require(local.reservation)
        #expect(local.allowed && known(rig, ten) == 3 && known(rig, slots) == 1 && known(rig, bucket) == 3)
        rig.answer(batch, rig.run(batch))
        #expect(known(rig, ten) == 3 && known(rig, slots) == 1 && known(rig, bucket) == 3)
        #expect(rig.limiter.reservations.local.count == 0)
        rig.connectAgain()
        #expect(rig.settle(id, .commit(cost: 5)) == true && rig.settle(id, .commit(cost: 5)) == false)
        #expect(used(rig, ten) == 5 && used(rig, slots) == 1)
        #expect(rig.settle(id, .release) == true && rig.settle(id, .release) == false && used(rig, slots) == 0)
    }

    /// Denied here beyond the share, and admitted there: no client knows that, so it is given back.
    @Test func lateAndDeniedHere() throws {
        var (rig, local, batch) = try timedOut(limit(max: 2), slots, replicas: 3)
        #expect(local.verdict == .limit && local.reservation == "")
        rig.answer(batch, rig.run(batch))
        #expect(used(rig, ten) == 1 && used(rig, slots) == 1)
        rig.connectAgain()
        #expect(used(rig, ten) == 0 && used(rig, slots) == 0)
        #expect(rig.limiter.ledger.queue.isEmpty && rig.limiter.reservations.unsentSettlements.isEmpty)
    }

    /// Settled here before the store's answer came: the store is sent the settlement as well, once.
    @Test(arguments: [Batch.Settlement.commit(cost: 7), .cancel, .release])
    func settledWhileItWasLate(_ settlement: Batch.Settlement) throws {
        var (rig, local, batch) = try timedOut(ten, slots, bucket, cost: 3)
        let id = try #require(local.reservation)
        #expect(rig.settle(id, settlement) == true && rig.settle(id, settlement) == false)
        rig.answer(batch, rig.run(batch))
        rig.connectAgain()
        let (cost, isHeld): (Int64, Int64) =
            switch settlement {
            case .commit(let cost): (cost, 1)
            case .cancel: (0, 0)
            case .release: (3, 0)
            }
        #expect(used(rig, ten) == cost && used(rig, slots) == isHeld && used(rig, bucket) == cost)
        #expect(rig.settle(id, settlement) == false)
        #expect(used(rig, ten) == cost && used(rig, slots) == isHeld && used(rig, bucket) == cost)
    }

    /// The same, but the answer was lost with its connection: the batch turns out to have run, or not.
    @Test(arguments: [true, false], [Batch.Settlement.commit(cost: 7), .cancel, .release])
    func settledWithoutAnAnswer(ran: Bool, _ settlement: Batch.Settlement) throws {
        var (rig, local, batch) = try timedOut(ten, slots, bucket, cost: 3)
        let id = try #require(local.reservation)
        if ran { _ = rig.run(batch) }
        rig.lose()
        #expect(rig.settle(id, settlement) == true)
        rig.connect()
        rig.exchange()
        let (cost, isHeld): (Int64, Int64) =
            switch settlement {
            case .commit(let cost): (cost, 1)
            case .cancel: (0, 0)
            case .release: (3, 0)
            }
        // What did not run is written back once its cost is known; slots are counted by this replica alone.
        let reported = ran || settlement != .release ? cost : 0
        #expect(used(rig, ten) == reported && used(rig, slots) == (ran ? isHeld : 0))
        #expect(used(rig, bucket) == reported)
        #expect(rig.settle(id, settlement) == false && rig.limiter.reservations.unsentSettlements.isEmpty)
        // Here it is counted once, however often there is an outage.
        rig.lose()
        #expect(known(rig, ten) == cost && known(rig, bucket) == cost)
    }

    /// It is settled after its batch, which got no answer, turned out to have run: the store has its charge. What is
    /// committed above it counts once, and what is given back is no other call's.
    @Test(arguments: [true, false], [Batch.Settlement.commit(cost: 7), .commit(cost: 1), .cancel, .release])
    func settledAfterItTurnedOutToHaveRun(whileLost: Bool, _ settlement: Batch.Settlement) throws {
        var (rig, local, batch) = try timedOut(ten, slots, bucket, cost: 3)
        let id = try #require(local.reservation)
        _ = rig.run(batch)
        rig.lose()
        rig.connect()
        rig.exchange()
        #expect(used(rig, ten) == 3)
        if whileLost { rig.lose() }
        let other = whileLost ? rig.reserve(cost: 2).reservation : nil
        #expect(rig.settle(id, settlement) == true && rig.settle(id, settlement) == false)
        if let other { #expect(rig.settle(other, .commit(cost: 2)) == true) }
        if whileLost { rig.connect() }
        rig.exchange()
        let cost: Int64 =
            switch settlement {
            case .commit(let cost): cost
            case .cancel: 0
            case .release: 3
            }
        let others: Int64 = whileLost ? 2 : 0
        #expect(used(rig, ten) == cost + others && used(rig, bucket) == cost + others)
        rig.lose()
        #expect(known(rig, ten) >= cost + others, "what the store gave back is known once it reports it")
    }

    /// Denied here; the answer, which would have shown that the store admitted it, was lost.
    @Test(arguments: [true, false]) func deniedHereWithoutAnAnswer(isMarkerLost: Bool) throws {
        var (rig, local, batch) = try timedOut(limit(max: 2), slots, replicas: 3)
        #expect(!local.allowed)
        _ = rig.run(batch)
        rig.lose()
        #expect(used(rig, slots) == 1)
        if isMarkerLost {
            rig.store.forgetMarker(of: LimiterRig.replica)
            rig.limiter.ledger.acknowledgedSequence = 1
        }
        rig.connect()
        rig.exchange()
        #expect(used(rig, ten) == 0 && used(rig, slots) == 0)
    }

    /// An unsent settlement is not lost with a connection, a rejection or the store's data.
    @Test(arguments: 0..<4) func unsentSettlementsAreSent(fault: Int) throws {
        var (rig, _, batch) = try timedOut(limit(max: 2), slots, replicas: 3)
        _ = rig.run(batch)
        rig.lose()
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let cancelling = try #require(rig.sent().first)
        #expect(cancelling.operations == [.settle(.cancel)])
        switch fault {
        case 0:
            rig.lose()
        case 1:
            rig.store.rejection = "LOADING"
            rig.answer(cancelling, rig.run(cancelling))
            rig.store.rejection = nil
            rig.connectAgain()
        case 2:
            rig.answer(cancelling, .failure(.unknown("garbage")))
            rig.connectAgain()
        default:
            // The marker only: the counters are still there.
            rig.store.forgetMarker(of: LimiterRig.replica)
            rig.answer(cancelling, rig.run(cancelling))
        }
        if !rig.limiter.isShared { rig.connect() }
        rig.exchange()
        #expect(used(rig, ten) == 0 && used(rig, slots) == 0 && rig.limiter.reservations.unsentSettlements.isEmpty)
    }

    // MARK: - Settlements that wait

    @Test func settlingWhenTheStoreIsLost() throws {
        var rig = LimiterRig(policy(ten))
        let id = try #require(rig.reserve().reservation)
        guard case .waiting(let ticket) = rig.askToSettle(id, .cancel) else { return #expect(Bool(false)) }
        #expect(rig.limiter.waitingCount == 1)
        let batch = try #require(rig.sent().first)
        rig.lose()
        #expect(rig.settled[ticket] == .some(nil) && rig.limiter.waitingCount == 0)
        #expect(rig.askToSettle(id, .cancel) == .storeUnavailable)
        // No client waits any more for what has not run: it is not sent again by itself.
        rig.connect()
        #expect(rig.commands().isEmpty && used(rig, ten) == 1)
        guard case .success(let late) = rig.run(batch) else { return }
        #expect(late.status == .outOfOrder)
        #expect(rig.settle(id, .cancel) == true && used(rig, ten) == 0)
    }

    @Test func settlingIsSentAgainAfterADataLoss() throws {
        var rig = LimiterRig(policy(ten))
        let id = try #require(rig.reserve().reservation)
        guard case .waiting(let ticket) = rig.askToSettle(id, .commit(cost: 4)) else { return #expect(Bool(false)) }
        rig.store.forgetMarker(of: LimiterRig.replica)
        rig.exchange()
        #expect(rig.settled[ticket] == true && used(rig, ten) == 4)
    }

    @Test func nonsenseSettlesNothing() {
        var rig = LimiterRig(policy(ten))
        for nonsense in ["", "x", String(repeating: "0", count: 31), String(repeating: "A", count: 32)] {
            #expect(rig.askToSettle(nonsense, .cancel) == .answered(false))
        }
        #expect(rig.settle(String(repeating: "0", count: 32), .cancel) == false)
    }

    /// Only the reserving checks of a batch are in another window: they are sent again under the same reservation.
    @Test func aReservingCheckWhoseWindowIsOver() throws {
        var rig = LimiterRig(policy(ten, slots))
        let ticket = rig.wait(Self.reserving)
        let batch = try #require(rig.sent().first)
        rig.store.clockMs += 60_000
        rig.answer(batch, rig.run(batch))
        rig.exchange()
        let id = try #require(rig.answers[ticket]?.reservation)
        #expect(rig.answers[ticket]?.source == .shared && used(rig, slots) == 1)
        #expect(rig.settle(id, .cancel) == true && used(rig, slots) == 0)
    }

    /// A reserving check that timed out is not sent again when its batch did not run.
    @Test func aTimedOutReservationThatDidNotRun() throws {
        var (rig, local, batch) = try timedOut(ten, slots)
        rig.store.forgetMarker(of: LimiterRig.replica)
        rig.limiter.ledger.acknowledgedSequence = 1
        rig.answer(batch, rig.run(batch))
        rig.connectAgain()
        #expect(used(rig, ten) == 0 && used(rig, slots) == 0 && local.allowed)
        #expect(rig.settle(local.reservation ?? "", .cancel) == true)
        #expect(known(rig, ten) == 0 && known(rig, slots) == 0)
    }

    /// What the store cannot do is not reported as done; it is logged once, and can be done later.
    @Test func slotsThatCannotBeFreed() throws {
        var rig = LimiterRig(policy(ten, slots))
        let id = try #require(rig.reserve(cost: 3).reservation)
        let held = rig.store.slots(of: baseKey(slots))
        rig.store.set(baseKey(slots), .foreign)
        for settlement in [Batch.Settlement.release, .cancel] {
            #expect(rig.settleToTheEnd(id, settlement) == .notSettled(.storeFault))
        }
        #expect(used(rig, ten) == 3 && rig.limiter.takeNotices().count == 1 && rig.limiter.statistics.faults == 2)
        rig.store.set(baseKey(slots), .slots(held))
        #expect(rig.settleToTheEnd(id, .release) == .answered(true) && rig.store.slots(of: baseKey(slots)) == [:])
        #expect(rig.settleToTheEnd(id, .release) == .answered(false))
    }

    /// A counter with an unexpected value has nothing to give back: the others are settled, and it is logged.
    @Test func aCounterThatIsNoneAnyMore() throws {
        let other = limit("d", max: 10)
        var rig = LimiterRig(policy(ten, other))
        let id = try #require(rig.reserve(cost: 3).reservation)
        rig.store.set(key(other), .integer(-5))
        #expect(rig.settleToTheEnd(id, .cancel) == .answered(true))
        #expect(used(rig, ten) == 0 && rig.store.value(of: key(other)) == .integer(-5))
        #expect(rig.limiter.takeNotices().count == 1 && rig.limiter.statistics.faults == 1)
    }

    /// A commit of any cost does not overflow: what cannot be counted is rejected, and changes nothing.
    @Test(arguments: [true, false]) func hugeCommits(usesStore: Bool) throws {
        let limits = ["t", "u", "v"].map { tool in
            let algorithm: Algorithm = tool == "t" ? .fixedWindow : tool == "u" ? .slidingWindow : .tokenBucket
            let burst: Int64? = algorithm == .tokenBucket ? 3 : nil
            return limit(max: 3, per: 31_536_000, of: tool, algorithm: algorithm, burst: burst, onOutage: .allow)
        }
        var rig = LimiterRig(policy(limits), usesStore: usesStore, connected: false)
        for tool in ["t", "u", "v"] {
            let id = try #require(rig.reserve(tool).reservation)
            if tool == "v" {
                #expect(rig.settleToTheEnd(id, .commit(cost: 1_000_000_000_000)) == .notSettled(.tooMuch))
                #expect(rig.settleToTheEnd(id, .commit(cost: 286_000)) == .notSettled(.tooMuch))
                #expect(rig.decide(tool, isPeek: true).remaining > 0)
            }
            #expect(rig.settle(id, .commit(cost: tool == "v" ? 285_616 : 1_000_000_000_000)) == true)
            let after = rig.decide(tool, isPeek: true)
            #expect(after.remaining == 0 && after.allowed == usesStore)
        }
    }
}
