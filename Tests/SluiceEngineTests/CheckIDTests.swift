import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Checks with an id are charged once, however often they are repeated.
@Suite struct CheckIDTests {
    private let ten = limit(max: 10)
    private static func question(_ id: String = "1", cost: Int64 = 1, reserves: Bool = false) -> LimiterRig.Question {
        LimiterRig.Question(cost: cost, reserves: reserves, id: id)
    }

    /// Another replica's limiter over the same store.
    private func other(_ rig: LimiterRig, _ policy: Policy) -> LimiterRig {
        var other = LimiterRig(policy, replica: rig.replica + 1)
        other.store = rig.store
        other.now = rig.now
        other.limiter.ledger.acknowledgedSequence = 0
        return other
    }

    @Test(arguments: [true, false]) func replays(usesStore: Bool) {
        var rig = LimiterRig(policy(ten), usesStore: usesStore)
        let first = rig.decide(Self.question(cost: 3, reserves: true))
        rig.pass(ms: 1_000)
        for _ in 0..<3 { #expect(rig.decide(Self.question(cost: 3, reserves: true)) == first) }
        guard case .otherArguments = rig.askToTheEnd(Self.question(cost: 2, reserves: true)) else {
            return #expect(Bool(false), "another check under the same id")
        }
        // An id belongs to a grant and a tool.
        #expect(rig.decide(LimiterRig.Question(tool: "t", grant: "h", id: "1")).remaining == 9)
        #expect(rig.limiter.statistics.total == 5)
        rig.pass(ms: 599_000)
        #expect(rig.decide(Self.question(cost: 2)).remaining == 8)
    }

    /// Denials are not cached under an id: the next try may pass.
    @Test(arguments: [true, false]) func denialsAreNotReplayed(usesStore: Bool) {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: usesStore)
        #expect(rig.decide().allowed)
        #expect(!rig.decide(Self.question()).allowed)
        rig.pass(ms: 60_000)
        #expect(rig.decide(Self.question()).allowed && rig.decide(Self.question()).allowed)
        #expect(!rig.decide(Self.question("2")).allowed)
    }

    @Test func anotherReplicaReplaysWhatTheStoreKnows() {
        let policy = policy(ten, limit("s", max: 3, algorithm: .concurrency, holdMs: 5_000))
        var rig = LimiterRig(policy)
        let first = rig.decide(Self.question(cost: 2, reserves: true))
        var other = other(rig, policy)
        other.pass(ms: 2_000)
        #expect(other.decide(Self.question(cost: 2, reserves: true)) == first)
        guard case .otherArguments = other.askToTheEnd(Self.question(cost: 1, reserves: true)) else {
            return #expect(Bool(false), "another check under the same id")
        }
        #expect(other.settle(first.reservation ?? "", .cancel) == true)
        #expect(other.store.usage(of: key(ten)) == 0)
    }

    /// The policy changed in between: the answer stays, without numbers of limits that no longer apply. Also if only
    /// the count of the numbers differs.
    @Test func anotherPolicyInBetween() {
        let before = [limit(max: 10), limit("d", max: 5, algorithm: .slidingWindow)]
        let others: [[Limit]] = [
            [limit(max: 10)], [limit(max: 10, mode: .shadow), before[1]], [before[1], before[0]],
            [limit(max: 10, algorithm: .slidingWindow), limit("d", max: 5)],
            before.map { limit($0.counter, max: $0.max, algorithm: $0.algorithm, mode: .shadow) },
            [limit("s", max: 1, algorithm: .concurrency, holdMs: 1_000)],
        ]
        for after in others {
            var rig = LimiterRig(policy(before))
            let first = rig.decide(Self.question(reserves: true))
            #expect(first.limit == 5)
            var other = other(rig, policy(after))
            let replayed = other.decide(Self.question(reserves: true))
            #expect(replayed.allowed && replayed.reservation == first.reservation && replayed.source == .shared)
            #expect(replayed.limit == -1 && replayed.remaining == -1 && replayed.rule == "/tools/t")
        }
        // A maximum is not part of a counter's identity.
        var rig = LimiterRig(policy(before))
        _ = rig.decide(Self.question())
        var other = other(rig, policy(limit(max: 10), limit("d", max: 2, algorithm: .slidingWindow)))
        #expect(other.decide(Self.question()).remaining == 1)
    }

    // MARK: - Faults

    /// Both wait when the store becomes unavailable: one is charged here, and the other gets the same answer.
    @Test(arguments: [true, false]) func twoThatWait(areSent: Bool) throws {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait(Self.question(reserves: true))
        if areSent { _ = rig.sent() }
        let second = rig.wait(Self.question(reserves: true))
        let third = rig.wait(Self.question(cost: 5, reserves: true))
        rig.lose()
        #expect(rig.answers[first]?.source == .local && rig.answers[first] == rig.answers[second])
        #expect(rig.otherArguments == [third] && rig.limiter.reservations.local.count == 1)
        #expect(rig.decide(isPeek: true).remaining == 9 && rig.limiter.waitingCount == 0)
    }

    @Test func twoThatWaitForAFaultyKey() throws {
        var rig = LimiterRig(policy(ten))
        rig.store.set(key(ten), .foreign)
        let first = rig.wait(Self.question(reserves: true))
        let second = rig.wait(Self.question(reserves: true))
        rig.exchange()
        #expect(rig.answers[first] == rig.answers[second] && rig.limiter.reservations.local.count == 1)
    }

    /// Denied here, admitted there: a repeat under the id is answered as admitted, so it stays charged.
    @Test(arguments: [true, false]) func deniedHereAndAdmittedThere(isAnswered: Bool) throws {
        let two = limit(max: 2)
        var rig = LimiterRig(policy(two), replicas: 3)
        let ticket = rig.wait(Self.question(reserves: true))
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 15)
        rig.tick()
        #expect(rig.answers[ticket]?.verdict == .limit)
        let result = rig.run(batch)
        if isAnswered {
            rig.answer(batch, result)
            rig.connectAgain()
        } else {
            rig.lose()
            rig.connect()
        }
        let again = rig.decide(Self.question(reserves: true))
        #expect(again.allowed && again.source == .shared && rig.store.usage(of: key(two)) == 1)
        #expect(rig.settle(again.reservation ?? "", .cancel) == true && rig.store.usage(of: key(two)) == 0)
    }

    /// Admitted here while the store was silent, and replayed by the store: charged there once, and no more.
    @Test func lateReplays() throws {
        var rig = LimiterRig(policy(ten))
        let first = rig.wait(Self.question(reserves: true))
        let one = try #require(rig.sent().first)
        let second = rig.wait(Self.question(reserves: true))
        let two = try #require(rig.sent().first)
        rig.pass(ms: 15)
        rig.tick()
        #expect(rig.answers[first] == rig.answers[second])
        rig.answer(one, rig.run(one))
        rig.answer(two, rig.run(two))
        rig.connectAgain()
        #expect(rig.store.usage(of: key(ten)) == 1)
        rig.lose()
        #expect(rig.decide(isPeek: true).remaining == 9)
    }

    // MARK: - Bounds and memory

    @Test func memosAreBounded() {
        var rig = LimiterRig(policy(limit(max: 1_000_000)), usesStore: false)
        func question(_ number: Int) -> LimiterRig.Question {
            LimiterRig.Question(grant: "g\(number % (2 * EngineBounds.grantParts))", id: "\(number)")
        }
        for number in 0...EngineBounds.maxIdempotencyKeys { _ = rig.decide(question(number)) }
        #expect(
            rig.limiter.reservations.answers.dropped == 1
                && rig.limiter.reservations.answers.count == EngineBounds.maxIdempotencyKeys)
        let before = [rig.decide(grant: "g0", isPeek: true), rig.decide(grant: "g1", isPeek: true)].map(\.remaining)
        _ = rig.decide(question(1))
        #expect(rig.decide(grant: "g1", isPeek: true).remaining == before[1])
        _ = rig.decide(question(0))  // the oldest, which was dropped
        #expect(rig.decide(grant: "g0", isPeek: true).remaining == before[0] - 1)
    }

    @Test func reservationsAreBounded() {
        let limits = [limit("s", max: 1, mode: .shadow), limit(max: 1_000_000)]
        var rig = LimiterRig(policy(limits), usesStore: false)
        for number in 0..<EngineBounds.maxLocalReservations {
            _ = rig.reserve(grant: "g\(number % (2 * EngineBounds.grantParts))")
        }
        let before = rig.decide(grant: "g0", isPeek: true).remaining
        guard case .overloaded(.reservations) = rig.ask(LimiterRig.Question(grant: "g0", reserves: true)) else {
            Issue.record("there are too many")
            return
        }
        #expect(rig.decide(grant: "g0", isPeek: true).remaining == before && rig.decide(grant: "g0").allowed)
        rig.pass(ms: 60_000)
        #expect(rig.reserve(grant: "g0").allowed && rig.limiter.reservations.local.count == 1)
    }

    /// When everything has expired nothing of it is left, for any algorithm, with or without a store.
    @Test(arguments: [true, false]) func nothingStays(usesStore: Bool) {
        var random = SeededRandom(seed: 21)
        for _ in 0..<20 {
            let policy = random.policy()
            var rig = LimiterRig(policy, usesStore: usesStore)
            for step in 0..<60 {
                if usesStore && step == 30 { rig.lose() }
                var question = LimiterRig.Question(tool: random.one(of: ["t", "u"]), grant: "g\(step % 7)")
                question.session = random.one(of: [nil, "s\(step)"])
                question.attributes = ["team": "\(step)"]
                question.reserves = true
                question.id = random.one(of: [nil, "\(step)"])
                _ = rig.askToTheEnd(question)
                rig.pass(ms: 100)
            }
            if usesStore { rig.connect() }
            for _ in 0..<3 {
                rig.pass(ms: 6_000_000_000)
                for _ in 0..<3 {
                    rig.pass(ms: 1_000)
                    rig.tick()
                    rig.exchange()
                }
            }
            let limiter = rig.limiter
            #expect(limiter.identityCount == 0 && limiter.counterCount == 0, "\(policy)")
            #expect(
                limiter.reservations.local.count == 0 && limiter.reservations.answers.count == 0
                    && limiter.reservations.unsentSettlements.isEmpty)
            #expect(
                limiter.ledger.queue.isEmpty && limiter.ledger.inFlight.isEmpty && limiter.ledger.unconfirmed.isEmpty)
            #expect(limiter.waitingCount == 0)
        }
    }
}
