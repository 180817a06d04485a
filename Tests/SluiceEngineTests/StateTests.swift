import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A restarted replica goes on where it was: no admission is lost, and nothing is written back twice.
@Suite struct StateTests {
    private let ten = limit(max: 10)

    private func used(_ rig: LimiterRig, _ limit: Limit, startMs: Int64 = LimiterRig.startMs) -> Int64 {
        rig.store.usage(of: key(limit, startMs: startMs))
    }

    // MARK: - What was admitted

    @Test func whatWasAdmittedIsSettledByTheNextProcess() {
        var rig = LimiterRig(policy(ten), replicas: 2, keepsState: true)
        #expect(rig.decide(cost: 4).source == .shared)
        rig.lose()
        #expect(rig.decide(cost: 2).allowed)
        rig.restart()
        #expect(rig.limiter.journalCount == 1)
        // Half of what was left is three, and two of that are used up.
        #expect(rig.decide().allowed && !rig.decide().allowed)
        rig.restart()
        #expect(!rig.decide().allowed)
        rig.connect()
        #expect(used(rig, ten) == 7 && rig.limiter.journalCount == 0)
        rig.restart()
        rig.connect()
        #expect(used(rig, ten) == 7)
    }

    /// Usage that was only seen counts on as well: otherwise each restart would hand out the window again.
    @Test func whatWasSeenIsKept() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        #expect(rig.decide(cost: 7).source == .shared)
        rig.lose()
        rig.restart()
        #expect(rig.decide(isPeek: true).remaining == 3)
        // There is nothing to write back for it; but after a data loss it is restored.
        #expect(rig.limiter.journalCount == 0)
        rig.store.flush()
        rig.connect()
        rig.exchange()
        #expect(used(rig, ten) == 7 && rig.limiter.statistics.dataLosses == 1)
    }

    /// The process ends after a data loss was found, and before anything was restored.
    @Test func whatIsToBeRestoredIsRestoredByTheNextProcess() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        #expect(rig.decide(cost: 7).source == .shared)
        rig.lose()
        rig.store.flush()
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        rig.lose()
        rig.restart()
        rig.connect()
        rig.exchange()
        // No check used it. That it was restored before is lost with the process, so it is restored once more.
        #expect(used(rig, ten) == 7 && rig.limiter.statistics.dataLosses == 1)
    }

    @Test func theOtherReplicasAreKept() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.beat(99, 1)
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        rig.lose()
        rig.restart()
        #expect(rig.limiter.replicaCount == 2)
    }

    @Test func aWindowThatIsOverIsDropped() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.record()
        rig.pass(ms: 60_000)
        rig.restart(recording: false)
        #expect(rig.limiter.journalCount == 0 && rig.restoration.dropped == 1)
        #expect(rig.decide(cost: 10).allowed)
    }

    /// By the store's clock, not by this machine's.
    @Test func aSkewedMachine() {
        var rig = LimiterRig(policy(ten), wallSkewMs: 3_600_000, keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.restart()
        rig.connect()
        #expect(used(rig, ten) == 4)
    }

    @Test func windowsThatSlide() {
        let sliding = limit(max: 10, algorithm: .slidingWindow)
        var rig = LimiterRig(policy(sliding), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.pass(ms: 60_000)
        rig.restart()
        #expect(rig.decide(cost: 3).allowed)
        rig.restart()
        rig.connect()
        #expect(used(rig, sliding) == 4 && used(rig, sliding, startMs: LimiterRig.startMs + 60_000) == 3)
    }

    @Test func buckets() {
        let bucket = limit(max: 60, algorithm: .tokenBucket, burst: 20)
        var rig = LimiterRig(policy(bucket), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 10).allowed)
        rig.pass(ms: 2_000)
        rig.restart()
        let here = rig.decide(isPeek: true).remaining
        #expect((11...12).contains(here))
        rig.connect()
        #expect((12...13).contains(rig.decide(isPeek: true).remaining))
        #expect(rig.limiter.journalCount == 0)
    }

    /// The policy changed meanwhile: what was admitted before counts, by the limits that now apply.
    @Test func otherLimitsApply() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.restart(policy(limit(max: 6)))
        #expect(rig.decide(cost: 2).allowed && !rig.decide().allowed)
        rig.restart(policy(limit("other", max: 5)))
        #expect(rig.decide(cost: 5).allowed)
        rig.connect()
        #expect(used(rig, ten) == 6)
    }

    @Test func otherKeysAreNobodysBusiness() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.record()
        var configuration = rig.limiter.configuration
        configuration.keys = "another"
        var limiter = Limiter(configuration: configuration, policies: PolicySet(single: policy(ten)), now: rig.now)
        let expected = Limiter.Restoration(dropped: 1, otherKeys: "sluice:2:{")
        #expect(limiter.restore(rig.records, now: rig.now) == expected)
    }

    /// An earlier layout of keys had the prefix alone in its records. Nothing of it is used, and that is told.
    @Test func anEarlierLayoutIsNotUsed() {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.record()
        let earlier = rig.records.map { record in
            switch record {
            case .replica(var state):
                state.keys = "sluice"
                return StateRecord.replica(state)
            case .counter(var state):
                state.baseKey = Array("sluice:1:{g}:t:c:fixed_window:60s:".utf8)
                return .counter(state)
            case .flight: return record
            }
        }
        var limiter = Limiter(
            configuration: rig.limiter.configuration, policies: PolicySet(single: policy(ten)), now: rig.now)
        #expect(limiter.restore(earlier, now: rig.now) == Limiter.Restoration(dropped: 1, otherKeys: "sluice"))
        // A counter of the earlier layout among newer records.
        var mixed = Limiter(
            configuration: rig.limiter.configuration, policies: PolicySet(single: policy(ten)), now: rig.now)
        let counters = earlier.filter { if case .counter = $0 { true } else { false } }
        let replica = rig.records.filter { if case .replica = $0 { true } else { false } }
        #expect(mixed.restore(replica + counters, now: rig.now) == Limiter.Restoration(dropped: 1))
    }

    // MARK: - Batches in flight

    /// The process ends between sending and answer: it is added once, whether it ran or not, however often that
    /// happens.
    @Test(arguments: [true, false], [1, 3]) func whatWasInFlightIsWrittenBackOnce(ran: Bool, times: Int) throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        for _ in 0..<times {
            // The first batch asks whether the one before it ran; if not, the next writes back.
            let probe = rig.probe()
            rig.answer(probe, rig.run(probe))
            let batches = rig.sent()
            #expect(!batches.isEmpty && rig.mustRecord || ran && used(rig, ten) == 4)
            rig.record()
            if ran { for batch in batches { _ = rig.run(batch) } }
            rig.restart(recording: false)
        }
        rig.connect()
        #expect(used(rig, ten) == 4 && rig.limiter.journalCount == 0)
        #expect(rig.limiter.ledger.unconfirmed.isEmpty && rig.limiter.recorder.recorded.count <= 1)
        rig.record()
        #expect(rig.limiter.recorder.recorded.isEmpty && !rig.hasChanges)
        #expect(rig.decide(isPeek: true).remaining == 6)
    }

    /// Answers are lost in a row: nothing is written back until it is known what ran.
    @Test(arguments: [true, false], [true, false]) func answersAreLostInARow(firstRan: Bool, restarts: Bool) throws {
        var rig = LimiterRig(policy(ten), keepsState: restarts)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        if restarts { rig.record() }
        if firstRan { _ = rig.run(paying) }
        for _ in 0..<3 {
            if restarts { rig.restart() } else { rig.close() }
            let again = rig.probe()
            #expect(again.sequence > paying.sequence && again.chargesNothing)
            _ = rig.run(again)
        }
        if restarts { rig.restart() } else { rig.close() }
        rig.connect()
        #expect(used(rig, ten) == 4 && rig.limiter.journalCount == 0)
        #expect(rig.decide(isPeek: true).remaining == 6)
    }

    /// A check that is sent behind it charges nothing unless it ran.
    @Test(arguments: [true, false]) func whatLeavesBehindASettlement(ran: Bool) throws {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        let ticket = rig.wait()
        let behind = try #require(rig.sent().first)
        #expect(behind.requiredSequence == paying.sequence)
        let paid = ran ? rig.run(paying) : .failure(.rejected("OOM"))
        let answer = rig.run(behind)
        rig.answer(paying, paid)
        rig.answer(behind, answer)
        rig.connectAgain()
        rig.exchange()
        #expect(rig.answers[ticket]?.remaining == (ran ? 5 : 5) && used(rig, ten) == 5)
        #expect(rig.answers[ticket]?.source == (ran ? .shared : .local))
    }

    /// A batch that waits for the disk does not make the store look as if it hung.
    @Test func aBatchThatIsHeldIsNotOverdue() throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        rig.limiter.batchHeld(sequence: paying.sequence)
        rig.pass(ms: 300)
        rig.tick()
        #expect(rig.limiter.isShared && rig.limiter.nextTickNs() > rig.now.monotonicNs)
        rig.limiter.batchLeft(sequence: paying.sequence, now: rig.now)
        rig.pass(ms: 14)
        rig.tick()
        #expect(rig.limiter.isShared)
        rig.pass(ms: 2)
        rig.tick()
        #expect(!rig.limiter.isShared)
    }

    /// A rejected batch did not run: that is recorded before anything else is sent, and another batch writes it back.
    @Test func aRejectedOneIsWrittenBackByAnother() throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        rig.record()
        rig.answer(paying, .failure(.rejected("OOM")))
        #expect(rig.mustRecord)
        rig.restart()
        #expect(rig.limiter.ledger.unconfirmed.isEmpty)
        rig.connect()
        #expect(used(rig, ten) == 4)
    }

    /// If it is rejected when it is sent again, the first one may still have run.
    @Test(arguments: [true, false]) func aRepeatIsRejected(ran: Bool) throws {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        if ran { _ = rig.run(paying) }
        rig.close()
        rig.answer(rig.probe(), .failure(.rejected("LOADING")))
        rig.connect()
        #expect(used(rig, ten) == 4 && rig.limiter.journalCount == 0)
    }

    /// The store lost its data while a batch was in flight.
    @Test func aDataLossWhileABatchIsInFlight() throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        #expect(rig.decide(cost: 3).allowed)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        rig.record()
        _ = rig.run(paying)
        rig.store.flush()
        rig.restart()
        rig.connect()
        rig.exchange()
        #expect(used(rig, ten) == 7 && rig.limiter.journalCount == 0)
    }

    /// A check was admitted here while its batch was in flight, and the process ended: the marker shows the next
    /// process whether the store had counted it.
    @Test(arguments: [true, false], [nil, 20]) func aCheckIsUnconfirmed(ran: Bool, burst: Int64?) throws {
        let one = burst.map { limit(max: 60, algorithm: .tokenBucket, burst: $0) } ?? ten
        var rig = LimiterRig(policy(one), keepsState: true)
        _ = rig.decide(isPeek: true)
        let ticket = rig.wait(cost: 4)
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 16)
        rig.tick()
        #expect(rig.answers[ticket]?.source == .local)
        if ran { _ = rig.run(batch) }
        rig.restart()
        #expect(rig.limiter.ledger.unconfirmed.count == 1)
        rig.connect()
        rig.exchange()
        rig.record()
        #expect(rig.limiter.ledger.unconfirmed.isEmpty && rig.limiter.recorder.recorded.isEmpty)
        #expect(rig.decide(isPeek: true).remaining == (burst ?? 10) - 4)
    }

    /// The process ends between two writes while it writes back: a counter that was written back is not treated as
    /// still in flight, nor what the next process admits as written back.
    @Test(arguments: 0...8) func itEndsAmongTheRecordsOfASettlement(taken: Int) throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        let grants = (1...10).map { "g\($0)" }
        for grant in grants { #expect(rig.decide(grant: grant).allowed) }
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let paying = try #require(rig.sent().first)
        rig.record()
        rig.answer(paying, rig.run(paying))
        for _ in 0..<taken { rig.recordSome(atMost: 2) }
        rig.restart(recording: false)
        rig.lose()
        for grant in grants { #expect(rig.decide(grant: grant).allowed) }
        rig.connect()
        rig.exchange()
        for grant in grants { #expect(rig.store.usage(of: key(ten, grant: grant)) == 2, "\(grant)") }
    }

    /// A batch wrote back, and a check in it was admitted here meanwhile: the process ends before the outcome of either
    /// is known.
    @Test func itEndsWhenNothingOfABatchIsKnown() throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        #expect(rig.decide(grant: "paid").allowed)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let ticket = rig.wait(grant: "asked")
        let paying = try #require(rig.sent().first)
        rig.record()
        #expect(paying.charges.count == 2)
        _ = rig.run(paying)
        rig.close()
        #expect(rig.answers[ticket]?.source == .local)
        rig.record()
        let again = rig.probe()
        #expect(again.chargesNothing && rig.limiter.ledger.unconfirmed.count == 1)
        rig.restart()
        rig.lose()
        #expect(rig.decide(grant: "paid").allowed)
        #expect(rig.decide(grant: "asked").allowed)
        rig.connect()
        rig.exchange()
        for grant in ["paid", "asked"] { #expect(rig.store.usage(of: key(ten, grant: grant)) == 2, "\(grant)") }
    }

    // MARK: - Records

    @Test func nothingIsNotedWhereNobodyTakesIt() {
        var rig = LimiterRig(policy(ten))
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        #expect(!rig.hasChanges && rig.limiter.recorder.dirty.isEmpty)
    }

    /// However many counters have changed: all are recorded in the end, and those written back before that they were.
    @Test func manyAreTakenSomeAtATime() throws {
        var rig = LimiterRig(policy(ten), keepsState: true)
        rig.lose()
        let grants = (1...EngineBounds.countersRecordedAtOnce + 100).map { "g\($0)" }
        for grant in grants { #expect(rig.decide(grant: grant, cost: 2).allowed) }
        var first: [StateRecord] = []
        rig.limiter.takeRecords(into: &first, now: rig.now)
        #expect(first.count == EngineBounds.countersRecordedAtOnce + 1 && rig.hasChanges)
        rig.records += first
        rig.restart()
        #expect(rig.restoration.unsettled == grants.count)
        rig.connect()
        rig.restart()
        #expect(rig.restoration.unsettled == 0 && rig.limiter.ledger.unconfirmed.isEmpty)
        for grant in grants { expectQuickly(rig.store.usage(of: key(ten, grant: grant)) == 2, grant) }
    }

    /// A counter that is no longer used is recorded as it was left.
    @Test func whatIsEvictedIsRecordedFirst() {
        var rig = LimiterRig(policy(ten), maxPlans: 1, keepsState: true)
        rig.lose()
        #expect(rig.decide(cost: 4).allowed)
        rig.record()
        rig.pass(ms: 60_000)
        #expect(rig.decide(grant: "h", cost: 3).allowed)
        rig.tick()
        rig.restart()
        #expect(rig.restoration.counters == 1 && rig.limiter.counterCount == 1)
        rig.connect()
        rig.pass(ms: 120_000)
        for _ in 0..<3 {
            rig.tick()
            rig.record()
            rig.pass(ms: 1_000)
        }
        #expect(rig.limiter.counterCount == 0, "nothing is kept that no longer counts")
    }

    @Test func recordsAreReadAsWritten() {
        let window = CounterState.WindowState(sharedUsed: 1, sharedPrevious: 0, own: 1 << 53, ownPrevious: 2)
        var shared = window
        shared.share = CounterState.ShareState(base: 3, taken: 1 << 53, previousBase: 4, previousTaken: 5)
        let bucket = CounterState.BucketState(
            sharedLevel: 5, sharedMs: 6, localLevel: -1, ownLevel: 1 << 61, confirmedLevel: 7, localMs: 8,
            replicaCount: 2, localCapacity: 9, max: 10, burst: 11, lengthMs: 12)
        let item = FlightState.Item(baseKey: [0, 255], isRestore: true, amount: 300, windowMs: 1 << 40)
        let records: [StateRecord] = [
            .replica(
                ReplicaState(
                    keys: "é", lastSequence: .max, acknowledgedSequence: 0, highestStoreMs: 1, aheadMs: .min,
                    others: [.max, 0])),
            .counter(
                CounterState(
                    baseKey: [], startMs: -1, countsUntilMs: .max, isSeen: true, needsRestore: false,
                    usage: .window(window))),
            .counter(
                CounterState(
                    baseKey: [1], startMs: 0, countsUntilMs: 2, isSeen: true, needsRestore: false,
                    usage: .window(shared))),
            .counter(
                CounterState(
                    baseKey: [58], startMs: 0, countsUntilMs: 1, isSeen: false, needsRestore: true,
                    usage: .bucket(bucket))),
            .flight(FlightState(sequence: 7, writeBacks: [item, item], unconfirmed: [item])),
            .flight(FlightState(sequence: 8)),
        ]
        for record in records {
            var bytes: [UInt8] = []
            record.append(to: &bytes)
            #expect(StateRecord.all(in: bytes[...]) == [record])
            for count in bytes.indices.dropFirst() { #expect(StateRecord.all(in: bytes[..<count]) == nil) }
            #expect(StateRecord.all(in: (bytes + [0])[...]) == nil)
            #expect(StateRecord.all(in: (bytes + bytes)[...]) == [record, record])
        }
        var random = SeededRandom(seed: 5)
        for _ in 0..<20_000 {
            let noise = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = StateRecord.all(in: noise[...])
        }
    }

    /// A window as earlier versions wrote it: 20 in the store, 4 more that turned out to be there, and 3 of the window before;
    /// 2 and 1 were admitted locally.
    @Test func aWindowOfAnEarlierVersionIsRead() {
        let bytes: [UInt8] = [4, 2, 58, 0, 40, 2, 0, 2, 40, 6, 4, 2, 8]
        let window = CounterState.WindowState(
            sharedUsed: 24, sharedPrevious: 3, own: 2, ownPrevious: 1,
            share: CounterState.ShareState(base: 20, taken: 6, previousBase: 3, previousTaken: 1))
        let state = CounterState(
            baseKey: [58], startMs: 0, countsUntilMs: 20, isSeen: true, needsRestore: false, usage: .window(window))
        #expect(StateRecord.all(in: bytes[...]) == [.counter(state)])
    }
}
