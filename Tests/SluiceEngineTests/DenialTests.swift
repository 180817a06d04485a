import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Denials that follow from an earlier one.
@Suite struct DenialTests {
    private typealias Question = LimiterRig.Question

    /// A limiter whose store has this usage of each limit, and that was denied a check of this cost.
    private func denied(_ limits: Limit..., used: Int64, cost: Int64 = 1) -> LimiterRig {
        var rig = LimiterRig.listening(policy(limits))
        for _ in 0..<used { #expect(rig.decide().allowed) }
        let decision = rig.decide(cost: cost)
        #expect(!decision.allowed && decision.source == .shared)
        return rig
    }

    // MARK: - What is proved

    @Test func aSecondDenialDoesNotAskTheStore() throws {
        var rig = denied(limit(max: 3), used: 3)
        let shared = rig.decide(cost: 2, wantsTrace: true)
        #expect(shared.source == .cache)
        let runs = rig.store.runs
        rig.pass(ms: 400)
        let again = rig.decide(wantsTrace: true)
        #expect(rig.store.runs == runs && again.source == .cache && again.verdict == .limit)
        #expect(again.limit == 3 && again.remaining == 0 && again.rule == "/tools/t/limits/c")
        #expect(again.retryAfterMs == again.resetMs && again.resetMs == shared.resetMs - 400)
        #expect(!again.message.isEmpty && again.messageHasWait)
        let look = try #require(again.trace?.first)
        #expect(look.used == 3 && look.max == 3 && !look.fits && look.windowStartMs == LimiterRig.startMs)
        #expect(rig.limiter.statistics.answers(.cache, .limit) == 2)
        #expect(rig.limiter.statistics.answers(.cache) == 2)
    }

    /// What explains a denial shows what the store holds, also while the cache would deny.
    @Test func aTracedPeekAsksTheStore() {
        var rig = denied(limit(max: 3), used: 3)
        #expect(rig.decide().source == .cache && rig.decide(isPeek: true).source == .cache)
        let explained = rig.decide(isPeek: true, wantsTrace: true)
        #expect(explained.source == .shared && !explained.allowed && explained.trace?.first?.used == 3)
    }

    /// A cached denial has every field as the store would have answered at that moment.
    @Test(arguments: [1, 5, 17, 300, 900] as [Int64])
    func saysWhatTheStoreWouldSay(afterMs: Int64) {
        let limits = [
            limit(max: 4), limit("s", max: 6, algorithm: .slidingWindow),
            limit("b", max: 5, algorithm: .tokenBucket, burst: 5),
            limit("w", max: 2, mode: .shadow),
        ]
        for limits in [limits] + limits.dropLast().map({ [$0] }) {
            var rig = LimiterRig.listening(policy(limits))
            rig.pass(ms: 20_000)
            while rig.decide().allowed {}
            rig.pass(ms: afterMs)
            var other = rig
            other.hear(.closed(reason: "reset"))
            var cached = rig.decide(wantsTrace: true)
            let shared = other.decide(wantsTrace: true)
            #expect(cached.source == .cache && shared.source == .shared)
            cached.source = .shared
            // The store counts what a shadow limit would have denied of the checks that pass.
            #expect(cached == shared, "\(limits)")
        }
    }

    @Test func aDeniedFiveSaysNothingAboutOne() {
        var rig = denied(limit(max: 10), used: 7, cost: 5)
        #expect(rig.decide(cost: 4).source == .cache)
        let one = rig.decide(cost: 1)
        #expect(one.allowed && one.source == .shared && one.remaining == 2)
        // Usage reported since then proves more.
        #expect(rig.decide(cost: 3).source == .cache)
        #expect(rig.decide(cost: 2).allowed)
    }

    @Test func aPeekProvesAndIsProved() {
        var rig = LimiterRig.listening(policy(limit(max: 1)))
        _ = rig.decide()
        #expect(rig.decide(isPeek: true).source == .shared)
        #expect(rig.decide(isPeek: true).source == .cache)
        #expect(rig.decide().source == .cache)
    }

    /// Of equal checks in one batch some passed: the others prove the denial.
    @Test func aPartOfABatchProves() {
        var rig = LimiterRig.listening(policy(limit(max: 2)))
        let tickets = (0..<5).map { _ in rig.wait() }
        rig.exchange()
        #expect(tickets.map { rig.answers[$0]?.allowed } == [true, true, false, false, false])
        #expect(rig.decide().source == .cache)
    }

    @Test func anAdmittedCheckProvesNothing() {
        var rig = LimiterRig.listening(policy(limit(max: 2)))
        for _ in 0..<2 { #expect(rig.decide().source == .shared) }
        #expect(rig.decide().source == .shared)
    }

    // MARK: - How long

    @Test func itIsAtMostOneSecondOld() {
        var rig = LimiterRig.listening(policy(limit(max: 1)))
        _ = rig.decide()
        let ticket = rig.wait()
        let batches = rig.sent()
        // It is as old as the batch: when the store decided is not known.
        rig.pass(ms: 10)
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        #expect(rig.answers[ticket]?.allowed == false)
        rig.pass(ms: 990)
        #expect(rig.decide().source == .cache)
        rig.pass(ns: 1)
        #expect(rig.decide().source == .shared)
        #expect(rig.decide().source == .cache, "asked again, it is remembered again")
    }

    @Test(arguments: [Algorithm.fixedWindow, .slidingWindow])
    func itEndsWithItsWindow(_ algorithm: Algorithm) {
        var rig = LimiterRig.listening(policy(limit(max: 2, per: 2, algorithm: algorithm)))
        rig.pass(ms: 1_500 - (rig.store.clockMs - LimiterRig.startMs) % 2_000)
        for _ in 0..<2 { #expect(rig.decide().allowed) }
        #expect(!rig.decide().allowed)
        rig.pass(ms: 498)
        #expect(rig.decide().source == .cache)
        rig.pass(ms: 1)
        let last = rig.decide()
        // A fixed window may have ended by the store's clock; a sliding one still counts in the next.
        #expect(!last.allowed && last.source == (algorithm == .fixedWindow ? .shared : .cache))
        rig.pass(ms: 1)
        #expect(rig.decide().source == .shared, "another window is open")
    }

    /// The time that cuts windows steps back: the open window is another one then.
    @Test func theClockThatCutsWindowsCounts() {
        var rig = denied(limit(max: 1), used: 1)
        rig.now.wallMs += 3_600_000
        #expect(rig.decide().source == .cache, "this machine's wall clock does not")
        rig.limiter.clock.observeStore(timeMs: rig.store.clockMs + 60_000, now: rig.now)
        #expect(rig.decide().source == .shared)
    }

    @Test func aSlidingWindowMakesRoomInTime() {
        // 10 in the previous window, 4 in this one: what still counts shrinks by one in 200 ms.
        var rig = LimiterRig.listening(policy(limit(max: 10, per: 2, algorithm: .slidingWindow)))
        rig.pass(ms: 1_900 - (rig.store.clockMs - LimiterRig.startMs) % 2_000)
        for _ in 0..<10 { #expect(rig.decide().allowed) }
        rig.pass(ms: 200)
        let denied = rig.decide()
        #expect(!denied.allowed && denied.source == .shared)
        rig.pass(ms: denied.retryAfterMs - 2)
        let last = rig.decide()
        #expect(last.source == .cache && last.retryAfterMs == 2)
        rig.pass(ms: 1)
        let asked = rig.decide()
        #expect(!asked.allowed && asked.source == .shared && asked.retryAfterMs == 1)
        rig.pass(ms: 1)
        let passed = rig.decide()
        #expect(passed.allowed && passed.source == .shared)
    }

    @Test func aBucketMakesRoomInTime() {
        // One leaks in 100 ms.
        var rig = LimiterRig.listening(policy(limit(max: 10, per: 1, algorithm: .tokenBucket, burst: 3)))
        for _ in 0..<3 { #expect(rig.decide().allowed) }
        let denied = rig.decide()
        #expect(!denied.allowed && denied.retryAfterMs == 100)
        rig.pass(ms: 98)
        let last = rig.decide()
        #expect(last.source == .cache && last.retryAfterMs == 2)
        #expect(rig.decide(cost: 3).retryAfterMs == 202)
        rig.pass(ms: 1)
        let asked = rig.decide()
        #expect(!asked.allowed && asked.source == .shared && asked.retryAfterMs == 1)
        rig.pass(ms: 1)
        #expect(rig.decide().allowed)
    }

    // MARK: - For how long

    /// Another replica may have taken the room that is left for a smaller cost: then the wait is longer, so Redis is
    /// asked.
    @Test(arguments: [
        limit(max: 10, algorithm: .slidingWindow), limit(max: 10, algorithm: .tokenBucket, burst: 10),
    ])
    func othersTakeWhatWasLeft(one: Limit) {
        var rig = LimiterRig.listening(policy(one))
        rig.pass(ms: 1)
        #expect(rig.decide(cost: 8).allowed)
        let first = rig.decide(cost: 3)
        #expect(!first.allowed && first.source == .shared)
        rig.pass(ms: 300)
        var other = LimiterRig(policy(one), replica: rig.replica + 1)
        other.store = rig.store
        other.now = rig.now
        other.limiter.ledger.acknowledgedSequence = 0
        #expect(other.decide(cost: 2).allowed)
        rig.store = other.store
        let reported = rig.decide(cost: 3)
        var asked = rig
        asked.hear(.closed(reason: "reset"))
        let shared = asked.decide(cost: 3)
        #expect(
            !reported.allowed && reported.retryAfterMs == shared.retryAfterMs && reported.remaining == shared.remaining)
        // Without room for any cost nothing changes until something has leaked.
        rig.pass(ms: 300)
        let again = rig.decide(cost: 3)
        #expect(again.source == .cache && again.retryAfterMs == reported.retryAfterMs - 300)
    }

    /// Answers take time, so this replica's clock is behind the store's: a caller that waited exactly the reported
    /// time, by the store's clock, passes.
    @Test(arguments: [
        limit(max: 3, per: 1), limit(max: 3, per: 1, algorithm: .slidingWindow),
        limit(max: 3, per: 1, algorithm: .tokenBucket, burst: 3),
    ])
    func waitingTheReportedTimePasses(one: Limit) {
        var fromMemory = 0
        for phase in Int64(0)..<60 {
            var rig = LimiterRig.listening(policy(one))
            rig.pass(ns: 20_000_000 + phase * 1_371_000)
            while rig.decide().allowed {}
            rig.pass(ns: 150_000)
            let reported = rig.decide()
            if reported.source == .cache { fromMemory += 1 }
            let untilNs = rig.now.monotonicNs + reported.retryAfterMs * 1_000_000
            rig.pass(ns: 5_000_000)
            // An answer that took some milliseconds: this replica reads the store's clock from it.
            _ = rig.wait(grant: "other")
            let batches = rig.sent()
            let results = batches.map { rig.run($0) }
            rig.pass(ns: 4_300_000 + phase * 13_000)
            for (batch, result) in zip(batches, results) { rig.answer(batch, result) }
            rig.pass(ns: untilNs - rig.now.monotonicNs)
            let passed = rig.decide()
            #expect(passed.allowed && passed.source == .shared, "\(phase): \(reported) \(passed)")
        }
        #expect(fromMemory == 60)
    }

    // MARK: - Which limits

    @Test func oneFullLimitOfSeveralIsEnough() throws {
        var rig = LimiterRig.listening(policy(limit(max: 9), limit("d", max: 2), limit("e", max: 3, per: 3600)))
        for _ in 0..<2 { _ = rig.decide() }
        #expect(!rig.decide().allowed)
        let denied = rig.decide(wantsTrace: true)
        #expect(denied.source == .cache && denied.rule == "/tools/t/limits/d")
        #expect(denied.trace?.map(\.fits) == [true, false, true] && denied.trace?.map(\.used) == [2, 2, 2])
        // Of two limits the one with the longer wait binds.
        #expect(!rig.decide(cost: 2).allowed)
        #expect(rig.decide(cost: 2).rule == "/tools/t/limits/e")
    }

    /// Another tool under the same limit learns it by one check of its own.
    @Test func aSharedLimitIsProvedForEachTool() {
        var rig = LimiterRig.listening(
            policy([limit(max: 9), limit(max: 9, of: "u")], allTools: [limit("all", max: 1, of: nil)]))
        #expect(rig.decide("t").allowed)
        #expect(rig.decide("t").source == .shared && rig.decide("t").source == .cache)
        #expect(rig.decide("u").source == .shared && rig.decide("u").source == .cache)
        #expect(rig.decide("u", grant: "h").allowed)
    }

    @Test func shadowLimitsNeverDeny() {
        var rig = LimiterRig.listening(policy(limit(max: 1, mode: .shadow), limit("d", max: 5)))
        for _ in 0..<5 { #expect(rig.decide().allowed) }
        #expect(rig.decide().source == .shared && rig.decide().source == .cache)
        var shadows = LimiterRig.listening(policy(limit(max: 1, mode: .shadow)))
        for _ in 0..<5 { #expect(shadows.decide().source == .shared) }
    }

    @Test func slotsAreNeverProof() {
        let slots = limit("s", max: 1, algorithm: .concurrency, holdMs: 60_000)
        var rig = LimiterRig.listening(policy(slots))
        let first = rig.reserve()
        #expect(first.allowed)
        for _ in 0..<3 { #expect(rig.reserve().source == .shared) }
        #expect(rig.settle(first.reservation ?? "", .release) == true)
        #expect(rig.reserve().allowed)
        // A window beside them proves it, and binds then.
        var both = LimiterRig.listening(policy(slots, limit(max: 1, per: 1)))
        _ = both.reserve()
        #expect(both.reserve().source == .shared)
        let denied = both.decide(Question(wantsTrace: true, reserves: true))
        #expect(denied.source == .cache && denied.rule == "/tools/t/limits/c" && denied.reservation == "")
        #expect(denied.trace?.map(\.fits) == [false, false])
    }

    @Test func reservingIsDeniedAndAnIdIsAskedFor() throws {
        var rig = LimiterRig.listening(policy(limit(max: 2)))
        let named = rig.reserve(id: "a")
        _ = rig.decide()
        #expect(rig.reserve().source == .shared, "the first denial")
        let plain = rig.reserve()
        #expect(plain.source == .cache && plain.reservation == "" && !plain.allowed)
        let replayed = rig.reserve(id: "a")
        #expect(replayed.allowed && replayed.source == .shared && replayed.reservation == named.reservation)
        #expect(rig.reserve(id: "b").source == .shared)
    }

    // MARK: - Without a store

    @Test func localCountersAnswerInAnOutage() {
        var rig = denied(limit(max: 1), used: 1)
        rig.lose()
        #expect(rig.decide().source == .local)
        rig.connect()
        #expect(rig.decide().source == .shared)
    }

    @Test func aDataLossEmptiesTheCache() {
        var rig = denied(limit(max: 1), used: 1)
        rig.store.flush()
        let ticket = rig.wait(Question(grant: "other"))
        rig.exchange()
        #expect(rig.answers[ticket]?.allowed == true && rig.limiter.statistics.dataLosses == 1)
        // The store is asked again, after its earlier usage was restored.
        let denied = rig.decide()
        #expect(!denied.allowed && denied.source == .shared)
    }

    @Test func aReloadDropsWhatItChanges() {
        var rig = denied(limit(max: 2), used: 2)
        #expect(rig.decide().source == .cache)
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 3))))
        #expect(rig.decide().allowed)
        #expect(rig.decide().source == .shared && rig.decide().source == .cache)
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 1))))
        let denied = rig.decide()
        #expect(!denied.allowed && denied.limit == 1)
        #expect(rig.decide().source == .cache)
    }
}
