import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// Costs that are known only afterwards: looks, limits that count calls, charges and refunds, with the store and without.
@Suite struct ChargeTests {
    static let algorithms: [Algorithm] = [.fixedWindow, .slidingWindow, .slidingLog, .tokenBucket]

    private static func tokens(
        _ algorithm: Algorithm = .fixedWindow, max: Int64 = 10, onOutage: Limit.OnOutage = .local
    ) -> Limit {
        limit(
            "tokens", max: max, per: 3_600, algorithm: algorithm, burst: algorithm == .tokenBucket ? max : nil,
            onOutage: onOutage)
    }

    private static let calls = limit("calls", max: 3, counts: .calls)

    // MARK: - A cost of 0

    @Test(arguments: algorithms, [true, false]) func aLookAsksWhetherAnythingIsLeft(
        _ algorithm: Algorithm, usesStore: Bool
    ) {
        var rig = LimiterRig(policy(Self.tokens(algorithm, max: 5)), usesStore: usesStore)
        let look = rig.decide(cost: 0)
        #expect(look.allowed && look.remaining == 5 && look.limit == 5)
        _ = rig.decide(cost: 4)
        #expect(rig.decide(cost: 0).allowed)
        _ = rig.decide(cost: 1)
        let denied = rig.decide(cost: 0)
        #expect(!denied.allowed && denied.verdict == .limit && denied.remaining == 0 && denied.retryAfterMs > 0)
        #expect(!rig.decide(cost: 0, isPeek: true).allowed)
        #expect(rig.limiter.statistics.total == 6)
    }

    /// A denied look proves that any check is denied; a denied check of 5 says nothing of a look.
    @Test func theDenialCacheKnowsLooks() {
        var rig = LimiterRig(policy(Self.tokens(max: 5)))
        rig.listen()
        _ = rig.decide(cost: 3)
        #expect(!rig.decide(cost: 5).allowed)
        #expect(rig.decide(cost: 5).source == .cache)
        #expect(rig.decide(cost: 0).source == .shared && rig.decide(cost: 0).allowed)
        _ = rig.decide(cost: 2)
        // The usage that a denied check reported is known by now to have grown.
        #expect(!rig.decide(cost: 0).allowed && rig.decide(cost: 0).source == .cache)
        #expect(!rig.decide(cost: 1).allowed && rig.decide(cost: 1).source == .cache)
    }

    /// A tool that counts calls in progress need not reserve for a look.
    @Test func aLookTakesNoSlot() {
        var rig = LimiterRig(policy(limit("slots", max: 1, algorithm: .concurrency, holdMs: 60_000)))
        #expect(rig.decide(cost: 0).allowed)
        _ = rig.reserve()
        #expect(!rig.decide(cost: 0).allowed)
    }

    // MARK: - Calls

    @Test(arguments: [true, false]) func callsAreCountedWhateverTheyCost(usesStore: Bool) {
        var rig = LimiterRig(policy(Self.calls, Self.tokens(max: 1_000)), usesStore: usesStore)
        for cost: Int64 in [400, 5, 1] { #expect(rig.decide(cost: cost).allowed) }
        let denied = rig.decide(cost: 1)
        #expect(!denied.allowed && denied.rule == "/tools/t/limits/calls" && denied.limit == 3)
        #expect(rig.decide(cost: 2_000).retryAfterMs == -1)
        #expect(rig.decide(cost: 2_000).rule == "/tools/t/limits/tokens")
    }

    @Test(arguments: [true, false]) func aSettlementKeepsTheCall(usesStore: Bool) throws {
        var rig = LimiterRig(policy(Self.calls, Self.tokens(max: 1_000)), usesStore: usesStore)
        let kept = try #require(rig.reserve(cost: 500).reservation)
        let cancelled = try #require(rig.reserve(cost: 400).reservation)
        #expect(rig.settle(kept, .commit(cost: 20)) == true && rig.settle(cancelled, .cancel) == true)
        let looks = rig.decide(isPeek: true, wantsTrace: true).trace ?? []
        #expect(looks.map(\.used) == [1, 20])
    }

    /// What was admitted in an outage is written back as calls.
    @Test func callsAreWrittenBack() {
        var rig = LimiterRig(policy(Self.calls, Self.tokens(max: 1_000)))
        _ = rig.decide(cost: 100)
        rig.lose()
        _ = rig.decide(cost: 200)
        _ = rig.decide(cost: 300)
        #expect(!rig.decide(cost: 1).allowed)
        rig.connect()
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.map(\.used) == [3, 600])
    }

    // MARK: - Charges and refunds

    @Test(arguments: algorithms, [true, false]) func aChargePassesTheMaximum(_ algorithm: Algorithm, usesStore: Bool) {
        var rig = LimiterRig(policy(Self.tokens(algorithm)), usesStore: usesStore)
        let fits = rig.charge(8)
        #expect(fits.allowed && fits.remaining == 2 && fits.limit == 10 && fits.retryAfterMs == 0)
        let exceeds = rig.charge(5)
        #expect(!exceeds.allowed && exceeds.verdict == .limit && exceeds.remaining == 0 && exceeds.retryAfterMs > 0)
        #expect(exceeds.message.contains("limited to") && exceeds.rule == "/tools/t/limits/tokens")
        #expect(!rig.decide().allowed)
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.first?.used == 13)
        let back = rig.refund(5)
        #expect(back.allowed && back.remaining == 2)
        #expect(rig.decide(cost: 2).allowed && !rig.decide().allowed)
        #expect(rig.refund(100).remaining == 10 && rig.decide(cost: 10).allowed)
    }

    @Test(arguments: [true, false]) func callsAndSlotsAreLeftAlone(usesStore: Bool) {
        let slots = limit("slots", max: 1, algorithm: .concurrency, holdMs: 60_000)
        var rig = LimiterRig(policy([Self.calls, slots, Self.tokens()]), usesStore: usesStore)
        _ = rig.reserve(cost: 2)
        for _ in 0..<5 { #expect(rig.charge(1).allowed) }
        #expect(rig.refund(3).remaining == 6)
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.map(\.used) == [1, 1, 4])
    }

    /// A gateway charges after each call, whatever the policy counts.
    @Test func nothingIsChargedWhereNoCostIsCounted() {
        var rig = LimiterRig(policy(Self.calls))
        let decision = rig.charge(5)
        #expect(decision.allowed && decision.source == .policy && decision.limit == -1)
        #expect(rig.refund(5).allowed && rig.decide(isPeek: true).remaining == 3)
    }

    @Test(arguments: [true, false]) func anIDChargesOnce(usesStore: Bool) {
        var rig = LimiterRig(policy(Self.tokens()), usesStore: usesStore)
        for _ in 0..<3 {
            let decision = rig.charge(12, id: "a")
            #expect(!decision.allowed && decision.remaining == 0)
        }
        #expect(rig.refund(2, id: "b").remaining == 0 && rig.refund(2, id: "b").remaining == 0)
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.first?.used == 10)
        guard case .otherArguments = rig.askToTheEnd(.init(cost: 11, id: "a", action: .charge)),
            case .otherArguments = rig.askToTheEnd(.init(cost: 12, id: "a", action: .refund)),
            case .otherArguments = rig.askToTheEnd(.init(cost: 12, id: "a"))
        else {
            Issue.record("the id belongs to a charge of 12")
            return
        }
    }

    /// From whichever replica it is sent again.
    @Test func anIDChargesOnceOverReplicas() {
        var one = LimiterRig(policy(Self.tokens()))
        #expect(!one.charge(12, id: "a").allowed)
        var other = LimiterRig(policy(Self.tokens()), connected: false, replica: 8)
        other.store = one.store
        other.connect()
        let repeated = other.charge(12, id: "a")
        #expect(!repeated.allowed && repeated.remaining == 0 && repeated.limit == 10)
        #expect(other.decide(isPeek: true, wantsTrace: true).trace?.first?.used == 12)
    }

    // MARK: - Outages

    @Test(arguments: algorithms) func chargesInAnOutageAreWrittenBackOnce(_ algorithm: Algorithm) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 4)
        rig.lose()
        #expect(!rig.charge(7).allowed && !rig.decide().allowed)
        rig.connect()
        #expect(rig.used == 11 && rig.limiter.journalCount == 0)
        rig.lose()
        rig.connect()
        #expect(rig.used == 11)
    }

    /// What was charged in the store before the outage is given back here at once, and there when it is back.
    @Test(arguments: algorithms) func refundsInAnOutageAreWrittenBackOnce(_ algorithm: Algorithm) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 10)
        rig.lose()
        #expect(!rig.decide().allowed)
        #expect(rig.refund(6).remaining == 6)
        #expect(rig.decide(cost: 2).allowed && rig.decide(cost: 4).allowed && !rig.decide().allowed)
        #expect(rig.limiter.journalCount == 1)
        rig.connect()
        #expect(rig.used == 10 && rig.limiter.journalCount == 0)
        rig.lose()
        #expect(rig.refund(100).remaining == 10)
        rig.connect()
        #expect(rig.used == 0 && rig.limiter.journalCount == 0)
    }

    /// The store has run the batch, and only its answer is lost: nothing is charged or given back again.
    @Test(arguments: algorithms, [true, false]) func anAnswerThatIsLost(_ algorithm: Algorithm, isRefund: Bool) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 4)
        let ticket = rig.wait(.init(cost: 3, action: isRefund ? .refund : .charge))
        for batch in rig.sent() { _ = rig.run(batch) }
        rig.close()
        #expect(rig.answers[ticket]?.source == .local)
        rig.connect()
        #expect(rig.used == (isRefund ? 1 : 7))
        rig.lose()
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.first?.used == (isRefund ? 1 : 7))
    }

    /// The same when the batch never arrived.
    @Test(arguments: algorithms, [true, false]) func aBatchThatIsLost(_ algorithm: Algorithm, isRefund: Bool) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 4)
        let ticket = rig.wait(.init(cost: 3, action: isRefund ? .refund : .charge))
        #expect(rig.sent().count == 1)
        rig.close()
        #expect(rig.answers[ticket]?.source == .local)
        rig.connect()
        #expect(rig.used == (isRefund ? 1 : 7) && rig.limiter.journalCount == 0)
    }

    /// The write-back of a refund is lost on its way back: the marker says that it ran.
    @Test(arguments: algorithms) func aWriteBackThatIsLost(_ algorithm: Algorithm) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 8)
        rig.lose()
        _ = rig.refund(3)
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        for batch in rig.sent() { _ = rig.run(batch) }
        rig.close()
        rig.connect()
        #expect(rig.used == 5 && rig.limiter.journalCount == 0)
    }

    @Test(arguments: algorithms) func aRefundSurvivesARestart(_ algorithm: Algorithm) throws {
        var rig = LimiterRig(policy(Self.tokens(algorithm)), keepsState: true)
        _ = rig.decide(cost: 8)
        rig.lose()
        _ = rig.refund(3)
        rig.restart()
        #expect(rig.decide(isPeek: true, wantsTrace: true).trace?.first?.used == 5)
        rig.connect()
        #expect(rig.used == 5 && rig.limiter.journalCount == 0)
    }

    /// A window that is over before the store is back stays as it was charged there.
    @Test func aRefundOfAWindowThatIsOver() {
        var rig = LimiterRig(policy(limit("tokens", max: 10)))
        _ = rig.decide(cost: 8)
        rig.lose()
        _ = rig.refund(3)
        rig.pass(ms: 60_000)
        #expect(rig.decide(isPeek: true).remaining == 10)
        rig.connect()
        #expect(rig.store.usage(of: key(limit("tokens", max: 10))) == 8 && rig.limiter.journalCount == 0)
    }

    /// After a data loss it is restored what was seen, and then given back.
    @Test(arguments: algorithms) func aRefundAcrossADataLoss(_ algorithm: Algorithm) {
        var rig = LimiterRig(policy(Self.tokens(algorithm)))
        _ = rig.decide(cost: 8)
        rig.lose()
        _ = rig.refund(3)
        rig.store = ModelStore(clockMs: rig.store.clockMs)
        rig.connect()
        #expect(rig.used == 5)
    }

    @Test(arguments: [Limit.OnOutage.allow, .deny]) func whateverAnOutageMeans(_ onOutage: Limit.OnOutage) {
        var rig = LimiterRig(policy(Self.tokens(onOutage: onOutage)))
        _ = rig.decide(cost: 4)
        rig.lose()
        #expect(rig.charge(9).allowed == (onOutage == .allow))
        rig.connect()
        #expect(rig.used == 13)
    }

    // MARK: - The denial cache

    @Test func aRefundEmptiesTheDenialCache() {
        var rig = LimiterRig(policy(Self.tokens()))
        rig.listen()
        _ = rig.decide(cost: 10)
        #expect(!rig.decide().allowed && rig.decide().source == .cache)
        _ = rig.refund(4)
        #expect(rig.decide().source == .shared && rig.decide().allowed)
    }

    @Test func storesTellOthersOfRefunds() {
        var rig = LimiterRig(policy(Self.tokens()))
        _ = rig.decide(cost: 10)
        _ = rig.store.takePublished()
        _ = rig.refund(4)
        #expect(rig.store.takePublished().count == 1)
        _ = rig.charge(1)
        #expect(rig.store.takePublished().isEmpty)
    }

    // MARK: - Settlements after the window

    @Test(arguments: [true, false]) func aCommitAboveItsReservationIsChargedToTheOpenWindow(usesStore: Bool) throws {
        let tokens = limit("tokens", max: 10)
        var rig = LimiterRig(policy(tokens), usesStore: usesStore)
        let id = try #require(rig.reserve(cost: 4).reservation)
        let lower = try #require(rig.reserve(cost: 4).reservation)
        rig.pass(ms: 150_000)
        if usesStore { rig.exchange() }
        #expect(rig.settle(id, .commit(cost: 7)) == true && rig.settle(lower, .commit(cost: 1)) == true)
        #expect(rig.settle(id, .commit(cost: 7)) == false)
        #expect(rig.decide(isPeek: true).remaining == 7)
    }

    @Test func theSameInAnOutage() throws {
        var rig = LimiterRig(policy(limit("tokens", max: 10)))
        rig.lose()
        let id = try #require(rig.reserve(cost: 4).reservation)
        rig.pass(ms: 60_000)
        #expect(rig.settle(id, .commit(cost: 7)) == true)
        #expect(rig.decide(isPeek: true).remaining == 7)
        rig.connect()
        #expect(rig.store.usage(of: key(limit("tokens", max: 10), startMs: LimiterRig.startMs + 60_000)) == 3)
    }
}

extension LimiterRig {
    fileprivate mutating func charge(_ cost: Int64, id: String? = nil) -> Decision {
        decide(.init(cost: cost, id: id, action: .charge))
    }

    fileprivate mutating func refund(_ cost: Int64, id: String? = nil) -> Decision {
        decide(.init(cost: cost, id: id, action: .refund))
    }

    /// What the store says is used of the last limit of `t`.
    fileprivate var used: Int64? {
        mutating get { decide(isPeek: true, wantsTrace: true).trace?.last?.used }
    }
}
