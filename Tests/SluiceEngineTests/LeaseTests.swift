import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// Blocks that are charged ahead of time, and checks that are answered from them.
@Suite struct LeaseTests {
    private static let leased = limit(max: 1_000, precision: .leased)

    private var rig = LimiterRig(policy(leased))

    /// Checks until the store has granted a block.
    @discardableResult
    private mutating func lease(_ count: Int = 8, cost: Int64 = 1) -> Int64 {
        _ = rig.decide(cost: cost)
        for _ in 0..<count { _ = rig.ask(cost: cost) }
        rig.exchange()
        return block
    }

    private var block: Int64 { rig.limiter.table.liveCounters.reduce(0) { $0 + $1.block } }
    private var stored: Int64 { rig.store.usage(of: key(Self.leased)) }

    @Test mutating func aBlockAnswersChecksWithoutTheStore() {
        #expect(lease() == 16)
        #expect(stored == 9 + 16)
        let decision = rig.decide()
        #expect(decision.source == .lease && decision.allowed)
        #expect(decision.remaining == 990 && decision.limit == 1_000)
        #expect(block == 15 && rig.sent().isEmpty)
    }

    @Test mutating func theFirstCheckOfAWindowAsksTheStore() {
        lease()
        rig.pass(ms: 60_000)
        rig.tick()
        #expect(block == 0)
        #expect(rig.decide().source == .shared)
    }

    @Test mutating func theNextBlockIsAskedForBeforeTheLastOneIsUsedUp() {
        lease()
        for _ in 0..<9 { #expect(rig.decide().source == .lease) }
        #expect(block == 7)
        rig.exchange()
        #expect(block > 20)
        #expect(stored == 18 + block)
    }

    @Test mutating func aBlockThatIsAskedForIsNotSpentBeforeItsAnswer() {
        _ = rig.decide()
        for _ in 0..<8 { _ = rig.ask() }
        let batch = rig.sent()
        let result = rig.run(batch[0])
        #expect(stored > 9 && block == 0)
        guard case .waiting = rig.ask() else { return _ = Issue.record("it was answered") }
        rig.answer(batch[0], result)
        #expect(block > 0)
    }

    @Test mutating func aBlockWithoutAnAnswerIsNeverSpent() {
        _ = rig.decide()
        for _ in 0..<8 { _ = rig.ask() }
        _ = rig.run(rig.sent()[0])
        rig.close()
        rig.connect()
        #expect(block == 0)
        #expect(rig.limiter.statistics.lostLeaseUnits == 16)
        #expect(stored == 9 + 16)
    }

    /// It is no longer charged: it is neither spent nor given back. So is what was asked for before that was heard.
    @Test mutating func aClearEndsABlock() {
        lease()
        let cleared = key(Self.leased)
        for _ in 0..<9 { _ = rig.decide() }
        let asking = rig.sent()
        let result = rig.run(asking[0])
        rig.store.set(cleared, .integer(0))
        rig.limiter.linkChangeFeed(.changed(cleared), now: rig.now)
        #expect(block == 0)
        rig.answer(asking[0], result)
        #expect(block == 0 && rig.limiter.statistics.lostLeaseUnits > 0)
        let decision = rig.decide()
        #expect(decision.source == .shared)
        // The next one may be spent, and nothing is given back of what others charge.
        #expect(block > 0 && stored == 1 + block)
    }

    @Test mutating func aBlockThatIsNotUsedGoesBack() {
        lease()
        for _ in 0..<17 {
            rig.pass(ms: 100)
            rig.tick()
            rig.exchange()
        }
        #expect(block == 0 && stored == 9)
        for _ in 0..<10 {
            rig.pass(ms: 500)
            rig.tick()
            rig.exchange()
        }
        #expect(rig.limiter.leaseCount == 0 && rig.limiter.journalCount == 0)
    }

    @Test mutating func whatRemainsOfABlockGoesBackWhenTheProcessEnds() {
        lease()
        _ = rig.decide()
        rig.limiter.giveBackLeases(now: rig.now)
        #expect(!rig.limiter.hasWrittenBack)
        rig.exchange()
        #expect(stored == 10 && rig.limiter.hasWrittenBack)
        #expect(rig.decide().source == .shared)
    }

    @Test mutating func theLastUnitsAreCountedExactlyAndNeverMoreThanTheMaximum() {
        rig = LimiterRig(policy(limit(max: 40, precision: .leased)), replicas: 3)
        var admitted = 0
        for _ in 0..<100 where rig.decide().allowed { admitted += 1 }
        #expect(admitted == 40 && block == 0)
        #expect(rig.store.usage(of: key(limit(max: 40))) == 40)
    }

    @Test mutating func aCheckThatCostsMoreThanABlockTakesItAlong() {
        rig = LimiterRig(policy(limit(max: 30, precision: .leased)))
        #expect(lease() == 16)
        let decision = rig.decide(cost: 20)
        #expect(decision.allowed && decision.source == .shared && decision.remaining == 1)
    }

    @Test mutating func aPeekChargesNothing() {
        lease()
        let peek = rig.decide(isPeek: true)
        #expect(peek.source == .lease && peek.allowed && peek.remaining == 991)
        #expect(block == 16)
    }

    @Test mutating func inAnOutageTheBlockIsSpentFirstThenTheShareOfTheRest() {
        rig = LimiterRig(policy(limit(max: 100, precision: .leased)), replicas: 2)
        let leased = lease()
        #expect(leased == 16)
        rig.close()
        var sources: [Decision.Source] = []
        while true {
            let decision = rig.decide()
            guard decision.allowed else { break }
            sources.append(decision.source)
        }
        // 9 were counted, 16 are leased; of 75 this replica has 38 or 37.
        #expect(sources.prefix(16).allSatisfy { $0 == .lease } && sources.dropFirst(16).allSatisfy { $0 == .local })
        #expect((53...54).contains(sources.count))
        rig.connect()
        rig.exchange()
        #expect(rig.store.usage(of: key(limit(max: 100))) == 9 + Int64(sources.count))
    }

    @Test mutating func inAnOutageABlockThatIsTooSmallIsGivenBackOnceTheStoreIsThere() {
        rig = LimiterRig(policy(limit(max: 100, precision: .leased)))
        #expect(lease() == 16)
        rig.close()
        #expect(rig.decide(cost: 20).source == .local)
        rig.connect()
        rig.exchange()
        #expect(rig.store.usage(of: key(limit(max: 100))) == 29)
    }

    @Test mutating func aStoreThatLostItsDataHasTheBlockAgain() {
        lease()
        rig.store.flush()
        for _ in 0..<3 { #expect(rig.decide().source == .lease) }
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.limiter.statistics.dataLosses == 1)
        #expect(stored == 12 + block)
    }

    @Test mutating func aBlockOfAnEarlierPolicyIsGivenBack() {
        lease()
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 10, precision: .leased))))
        #expect(rig.decide().allowed)
        #expect(!rig.decide().allowed)
        #expect(stored == 10)
    }

    @Test mutating func aLimitThatIsCountedExactlyAgainHasItsBlockBack() {
        lease()
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 25))))
        rig.pass(ms: 600)
        rig.tick()
        rig.exchange()
        #expect(stored == 9)
        #expect(rig.decide().source == .shared)
    }

    @Test mutating func withAnExactLimitBesideItEveryCheckAsksTheStore() {
        rig = LimiterRig(policy(Self.leased, limit("d", max: 500)))
        lease()
        #expect(block == 0 && rig.decide().source == .shared)
    }

    @Test mutating func twoLimitsNeedABlockEach() {
        rig = LimiterRig(policy(Self.leased, limit("d", max: 500, precision: .leased)))
        #expect(lease() == 32)
        let decision = rig.decide()
        #expect(decision.source == .lease && decision.limit == 500 && decision.remaining == 490)
        #expect(block == 30)
    }

    @Test mutating func reservationsAndIdsAskTheStoreAndChargeIt() {
        lease()
        let decision = rig.decide(CheckQuestion(reserves: true))
        #expect(decision.source == .shared && decision.allowed)
        #expect(block == 16 && stored == 9 + 16 + 1)
    }

    @Test mutating func aRefundDoesNotGiveBackWhatIsChargedInAdvance() {
        lease()
        _ = rig.decide(CheckQuestion(cost: 1_000, action: .refund))
        #expect(stored == 0 && block == 0)
        var admitted = 0
        for _ in 0..<1_100 where rig.decide().allowed { admitted += 1 }
        #expect(admitted == 1_000)
    }

    @Test mutating func anEvictedRowLeavesItsBlockToBeGivenBack() {
        rig = LimiterRig(policy(Self.leased), maxPlans: 1)
        #expect(lease() == 16)
        #expect(rig.decide(grant: "h").allowed)
        for _ in 0..<17 {
            rig.pass(ms: 100)
            rig.tick()
            rig.exchange()
        }
        #expect(stored == 9)
    }

    @Test mutating func countingCallsACheckTakes1OfTheBlock() {
        rig = LimiterRig(policy(limit(max: 100, counts: .calls, precision: .leased)))
        #expect(lease(cost: 50) == 16)
        #expect(rig.decide(cost: 70).source == .lease)
        #expect(block == 15)
    }
}
