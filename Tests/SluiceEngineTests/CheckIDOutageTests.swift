import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Checks with an id that were answered during an outage, and are repeated after it.
@Suite struct CheckIDOutageTests {
    private typealias Question = LimiterRig.Question
    private let ten = limit(max: 10)

    private func question(_ id: String = "1", cost: Int64 = 4, reserves: Bool = false) -> Question {
        Question(cost: cost, reserves: reserves, id: id)
    }

    private func idempotencyKey(_ id: String = "1") -> [UInt8] { Array("sluice:2:{g}:!id:t:\(id)".utf8) }

    /// Another replica's limiter over the same store.
    private func other(_ rig: LimiterRig, _ policy: Policy) -> LimiterRig {
        var other = LimiterRig(policy, replicas: 2, replica: rig.replica + 1)
        other.store = rig.store
        other.now = rig.now
        other.limiter.ledger.acknowledgedSequence = 0
        other.random = SeededRandom(seed: 100)
        return other
    }

    /// A limiter that counted one check by itself, and its answer.
    private func admitted(
        _ limits: [Limit], _ question: Question, usedBefore: Int64 = 0
    ) -> (rig: LimiterRig, first: Decision) {
        var rig = LimiterRig(policy(limits), replicas: 2)
        if usedBefore > 0 { #expect(rig.decide(cost: usedBefore).allowed) }
        rig.lose()
        let first = rig.decide(question)
        #expect(first.allowed && first.source == .local)
        return (rig, first)
    }

    @Test(arguments: [true, false]) func isReplayedByTheReplicaThatKnowsIt(reserves: Bool) {
        var (rig, first) = admitted([ten], question(reserves: reserves))
        rig.connect()
        for _ in 0..<3 { #expect(rig.decide(question(reserves: reserves)) == first) }
        rig.exchange()
        for _ in 0..<3 { #expect(rig.decide(question(reserves: reserves)) == first) }
        if reserves { #expect(rig.settle(first.reservation ?? "", .commit(cost: 4)) == true) }
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.store.usage(of: key(ten)) == 4)
    }

    /// The window is full now, and yet it was admitted.
    @Test func isNotDeniedWhereOthersTookTheRest() {
        var (rig, first) = admitted([ten], question())
        var other = other(rig, policy(ten))
        #expect(other.decide(cost: 10).allowed)
        rig.store = other.store
        rig.connect()
        #expect(rig.decide(question()) == first)
        guard case .otherArguments = rig.askToTheEnd(question(cost: 3)) else {
            return #expect(Bool(false), "another check under the same id")
        }
    }

    @Test(arguments: [true, false]) func isReplayedByOthersOnceItIsWritten(reserves: Bool) {
        let limits = [
            ten, limit("s", max: 8, algorithm: .slidingWindow), limit("b", max: 9, algorithm: .tokenBucket, burst: 9),
            limit("w", max: 1, mode: .shadow),
        ]
        var (rig, first) = admitted(limits, question(cost: 3, reserves: reserves), usedBefore: 2)
        rig.pass(ms: 5_000)
        rig.connect()
        rig.exchange()
        var other = other(rig, policy(limits))
        let again = other.decide(question(cost: 3, reserves: reserves))
        #expect(again.allowed && again.source == .local && again.reservation == first.reservation)
        // It was counted locally, and is now counted for all replicas: `remaining` is that of all.
        #expect(again.limit == 8 && again.remaining == 3 && again.resetMs > 0)
        guard case .otherArguments = other.askToTheEnd(question(cost: 2, reserves: reserves)) else {
            return #expect(Bool(false), "another check under the same id")
        }
        if !reserves { #expect(other.store.usage(of: key(ten)) == 5) }
        // For the rest of its ten minutes.
        let left = other.store.timeToLiveMs(of: idempotencyKey()) ?? 0
        #expect(left > 590_000 && left <= 595_000)
        other.pass(ms: 595_000)
        #expect(other.decide(question(cost: 1)).source == .shared)
    }

    /// Two replicas admitted it separately: the answer written first is repeated by all from then on.
    @Test func theFirstThatIsWrittenStays() {
        let policy = policy(ten)
        var (one, first) = admitted([ten], question(reserves: true))
        var two = other(one, policy)
        two.lose()
        let second = two.decide(question(reserves: true))
        #expect(second.allowed && second.reservation != first.reservation)
        #expect(two.decide(question(reserves: true)) == second)
        one.connect()
        one.exchange()
        two.store = one.store
        two.connect()
        two.exchange()
        for _ in 0..<2 { #expect(two.decide(question(reserves: true)).reservation == first.reservation) }
        one.store = two.store
        #expect(one.decide(question(reserves: true)) == first)
        // The other call is given back, which does not concern the first.
        #expect(two.settle(second.reservation ?? "", .cancel) == true)
        two.exchange()
        #expect(two.decide(question(reserves: true)).reservation == first.reservation)
    }

    /// A call that was never made may be made again under its id, on any replica.
    @Test(arguments: [true, false]) func aCancelFreesTheId(isWritten: Bool) {
        var (rig, first) = admitted([ten], question(reserves: true))
        if isWritten {
            rig.connect()
            rig.exchange()
            #expect(rig.store.idempotency(of: idempotencyKey()) != nil)
        }
        #expect(rig.settle(first.reservation ?? "", .cancel) == true)
        if !isWritten { rig.connect() }
        let again = rig.decide(question(reserves: true))
        #expect(again.allowed && again.source == .shared && again.reservation != first.reservation)
        #expect(rig.store.usage(of: key(ten)) == 4)
        var other = other(rig, policy(ten))
        #expect(other.decide(question(reserves: true)).reservation == again.reservation)
    }

    /// It is cancelled before it is known whether it was written, and again after another outage.
    @Test(arguments: [true, false]) func aCancelWhileItIsBeingWritten(hasRun: Bool) throws {
        var (rig, first) = admitted([ten], question(reserves: true))
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        let batches = rig.sent()
        if hasRun { for batch in batches { _ = rig.run(batch) } }
        #expect((rig.store.idempotency(of: idempotencyKey()) != nil) == hasRun)
        #expect(rig.settle(first.reservation ?? "", .cancel) != nil)
        rig.lose()
        rig.connect()
        rig.exchange()
        #expect(rig.store.idempotency(of: idempotencyKey()) == nil)
        #expect(rig.decide(question(reserves: true)).source == .shared && rig.store.usage(of: key(ten)) == 4)
    }

    /// Its batch was not answered in time, so it was answered locally, and then turned out to have run.
    @Test(arguments: [true, false]) func whatWasUnconfirmedIsOneCall(isAnswered: Bool) throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        let ticket = rig.wait(question(reserves: true))
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 15)
        rig.tick()
        let first = try #require(rig.answers[ticket])
        #expect(first.allowed && first.source == .local)
        let result = rig.run(batch)
        if isAnswered {
            rig.answer(batch, result)
            rig.connectAgain()
        } else {
            rig.lose()
            rig.connect()
        }
        #expect(rig.decide(question(reserves: true)) == first)
        rig.exchange()
        #expect(rig.decide(question(reserves: true)) == first && rig.store.usage(of: key(ten)) == 4)
        #expect(rig.settle(first.reservation ?? "", .cancel) == true && rig.store.usage(of: key(ten)) == 0)
        #expect(rig.store.idempotency(of: idempotencyKey()) == nil)
        #expect(rig.decide(question(reserves: true)).reservation != first.reservation)
    }

    /// What the store knew before a data loss is sent to it again.
    @Test func isSentAgainAfterADataLoss() {
        var rig = LimiterRig(policy(ten))
        let first = rig.decide(question(reserves: true))
        rig.lose()
        #expect(rig.decide(question(reserves: true)) == first)
        rig.store.flush()
        rig.connect()
        #expect(rig.decide(question(reserves: true)) == first && rig.store.usage(of: key(ten)) == 4)
        rig.exchange()
        var other = other(rig, policy(ten))
        #expect(other.decide(question(reserves: true)).reservation == first.reservation)
    }

    /// However many there are, each batch carries only some, and all are written in the end.
    @Test func manyAreWrittenInSmallParts() {
        var rig = LimiterRig(policy(limit(max: 1_000_000)), replicas: 2)
        rig.lose()
        for number in 0..<1_000 { #expect(rig.decide(question("\(number)", cost: 1)).allowed) }
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        var most = 0
        while true {
            let batches = rig.sent()
            if batches.isEmpty { break }
            for batch in batches {
                most = max(most, batch.keyEnds.count)
                rig.answer(batch, rig.run(batch))
            }
        }
        #expect(most <= 130)
        #expect((0..<1_000).allSatisfy { rig.store.idempotency(of: idempotencyKey("\($0)")) != nil })
    }
}
