import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// Checks whose limits are counted in several partitions.
@Suite struct CrossPartitionTests {
    private let own = limit("own", max: 10)
    private let all = limit("all", max: 12, scope: .global)

    /// Two replicas and many grants: exactly what the shared limit admits, whatever the order.
    @Test func aGlobalLimitIsExact() {
        var rig = PartitionRig(policy(own, all), replicas: 2)
        var admitted = 0
        for index in 0..<40 {
            let decision = rig.decide(CheckQuestion(grant: "g\(index)"), of: index % 2)
            if decision.allowed { admitted += 1 }
            #expect([.shared, .cache].contains(decision.source))
        }
        #expect(admitted == 12 && rig.used(all) == 12)
        #expect((0..<40).map { rig.used(own, grant: "g\($0)") }.reduce(0, +) == 12)
        let total = rig.replicas[0].statistics.total + rig.replicas[1].statistics.total
        #expect(total == 40)
        #expect(rig.replicas.allSatisfy { $0.crossChecks.count == 0 })
    }

    /// Denied at home: what the shared counter was charged is given back.
    @Test func whatTheHomeDeniesIsGivenBack() {
        var rig = PartitionRig(policy(limit("own", max: 2), all))
        let grant = rig.foreignGrant
        for _ in 0..<5 { _ = rig.decide(CheckQuestion(grant: grant)) }
        #expect(rig.used(own, grant: grant) == 2 && rig.used(all) == 2)
        let denied = rig.decide(CheckQuestion(grant: grant))
        #expect(denied.verdict == .limit && denied.rule == own.rule && denied.limit == 2 && denied.remaining == 0)
    }

    /// Denied by the shared limit: the home is charged nothing.
    @Test func whatOthersDenyIsNotCharged() {
        var rig = PartitionRig(policy(own, limit("all", max: 3, scope: .global)))
        let grant = rig.foreignGrant
        for _ in 0..<5 { _ = rig.decide(CheckQuestion(grant: grant)) }
        #expect(rig.used(own, grant: grant) == 3)
        let denied = rig.decide(CheckQuestion(grant: grant, wantsTrace: true))
        #expect(denied.rule == all.rule && denied.retryAfterMs > 0)
        #expect(denied.trace?.map(\.rule) == [own.rule, all.rule] && denied.trace?.map(\.used) == [3, 3])
    }

    /// The answer is that of one partition with all limits: the binding limit, what is left, the wait, the trace.
    @Test func answersAreThoseOfOnePartition() {
        for (mine, shared) in [(10, 12), (12, 10), (3, 3), (0, 4), (4, 0), (2, 9)] {
            let limits = [
                limit("own", max: Int64(mine)), limit("all", max: Int64(shared), per: 3600, scope: .global),
                limit("more", max: 50, scope: .session, acrossGrants: true),
            ]
            var parted = PartitionRig(policy(limits))
            var whole = LimiterRig(policy(limits))
            // The same time in both.
            whole.pass(ms: (parted.now.wallMs - whole.now.wallMs))
            let grant = parted.foreignGrant
            for cost in [1, 2, 1, 3, 1] as [Int64] {
                for isPeek in [true, false] {
                    let question = CheckQuestion(
                        grant: grant, session: "s", cost: cost, isPeek: isPeek, wantsTrace: true)
                    var one = parted.decide(question)
                    let other = whole.decide(question)
                    if one.source == .cache || other.source == .cache { one.source = other.source }
                    #expect(one.verdict == other.verdict && one.rule == other.rule, "\(mine) \(shared) \(question)")
                    #expect(
                        one.limit == other.limit && one.remaining == other.remaining, "\(mine) \(shared) \(question)")
                    #expect(one.retryAfterMs == other.retryAfterMs && one.resetMs == other.resetMs)
                    #expect(one.trace?.map(\.rule) == other.trace?.map(\.rule), "\(mine) \(shared) \(question)")
                    #expect(one.trace?.map(\.used) == other.trace?.map(\.used))
                }
            }
        }
    }

    @Test func aPeekChargesNothing() {
        var rig = PartitionRig(policy(own, all))
        let grant = rig.foreignGrant
        for _ in 0..<20 { #expect(rig.decide(CheckQuestion(grant: grant, isPeek: true)).allowed) }
        #expect(rig.used(own, grant: grant) == 0 && rig.used(all) == 0)
    }

    /// A reservation is settled in all of its partitions, once, by any replica.
    @Test(arguments: [Batch.Settlement.cancel, .commit(cost: 2), .commit(cost: 7)])
    func settlementsReachAllPartitions(_ settlement: Batch.Settlement) {
        var rig = PartitionRig(policy(own, all), replicas: 2)
        let grant = rig.foreignGrant
        let reserved = rig.decide(CheckQuestion(grant: grant, cost: 5, reserves: true))
        #expect(reserved.allowed && rig.used(own, grant: grant) == 5 && rig.used(all) == 5)
        guard case .answered(true) = rig.settle(grant, reserved.reservation, settlement, of: 1) else {
            Issue.record("not settled")
            return
        }
        let left: Int64 = if case .commit(let cost) = settlement { cost } else { 0 }
        #expect(rig.used(own, grant: grant) == left && rig.used(all) == left)
        for replica in [0, 1] {
            guard case .answered(false) = rig.settle(grant, reserved.reservation, .cancel, of: replica) else {
                Issue.record("settled twice")
                return
            }
        }
        #expect(rig.used(own, grant: grant) == left && rig.used(all) == left)
        guard case .answered(false) = rig.settle("other", reserved.reservation, .cancel) else {
            Issue.record("another grant's")
            return
        }
    }

    /// A reservation that is denied at home is given back elsewhere, and has no id.
    @Test func aDeniedReservationLeavesNothing() {
        var rig = PartitionRig(policy(limit("own", max: 1), all))
        let grant = rig.foreignGrant
        #expect(rig.decide(CheckQuestion(grant: grant)).allowed)
        let denied = rig.decide(CheckQuestion(grant: grant, reserves: true))
        #expect(!denied.allowed && denied.reservation == "" && rig.used(all) == 1)
    }

    /// A repeat under an id is charged once, in every partition.
    @Test(arguments: [false, true])
    func repeatsAreChargedOnce(_ reserves: Bool) {
        var rig = PartitionRig(policy(own, all), replicas: 2)
        let grant = rig.foreignGrant
        let question = CheckQuestion(grant: grant, cost: 2, reserves: reserves, id: "1")
        let first = rig.decide(question)
        for replica in [0, 1, 0] {
            let again = rig.decide(question, of: replica)
            #expect(again.allowed && again.remaining == first.remaining && again.reservation == first.reservation)
        }
        #expect(rig.used(own, grant: grant) == 2 && rig.used(all) == 2)
        var other = question
        other.cost = 3
        #expect(rig.ask(other) == .otherArguments)
        #expect(rig.used(own, grant: grant) == 2 && rig.used(all) == 2)
    }

    /// Calls in progress that are counted across grants: a slot is taken in the shared partition and released there.
    @Test func slotsAcrossGrants() {
        let slots = limit("slots", max: 2, scope: .global, algorithm: .concurrency, holdMs: 60_000)
        var rig = PartitionRig(policy(own, slots))
        let grant = rig.foreignGrant
        #expect(rig.ask(CheckQuestion(grant: grant)) == .mustReserve)
        let first = rig.decide(CheckQuestion(grant: grant, reserves: true))
        #expect(first.allowed && rig.decide(CheckQuestion(grant: grant, reserves: true)).allowed)
        #expect(!rig.decide(CheckQuestion(grant: grant, reserves: true)).allowed)
        guard case .answered(true) = rig.settle(grant, first.reservation, .release) else {
            Issue.record("not released")
            return
        }
        #expect(rig.decide(CheckQuestion(grant: grant, reserves: true)).allowed)
        #expect(rig.used(own, grant: grant) == 3)
    }

    /// The server of a shared counter is away: that part is decided by this replica's share, and written back.
    @Test func aPartThatIsAwayIsLocal() {
        var rig = PartitionRig(policy(limit("own", max: 100), all), replicas: 2)
        let grant = rig.foreignGrant
        rig.lose(rig.global)
        var admitted = 0
        for index in 0..<40 {
            let decision = rig.decide(CheckQuestion(grant: grant), of: index % 2)
            #expect(decision.source == .local)
            if decision.allowed { admitted += 1 }
        }
        #expect(admitted == 12, "the shares of both")
        #expect(rig.used(own, grant: grant) == 12)
        rig.isUp[rig.global] = true
        rig.connect()
        rig.pass(ms: 3_000)
        #expect(rig.used(all) == 12 && rig.replicas.allSatisfy { $0.journalCount == 0 })
    }

    /// The home is away and denies: the shared counter is given back.
    @Test func aHomeThatIsAwayGivesBack() {
        var rig = PartitionRig(policy(limit("own", max: 3), all))
        let grant = rig.foreignGrant
        rig.lose(rig.home(grant))
        let decisions = (0..<6).map { _ in rig.decide(CheckQuestion(grant: grant)) }
        #expect(decisions.filter(\.allowed).count == 3 && decisions.allSatisfy { $0.source == .local })
        #expect(rig.used(all) == 3)
    }

    /// The server of the shared counter goes away between its answer and the home's: it gets back what it charged, once it
    /// is there again.
    @Test func whatWasChargedIsGivenBackLater() {
        var rig = PartitionRig(policy(limit("own", max: 1), all))
        let grant = rig.foreignGrant
        #expect(rig.decide(CheckQuestion(grant: grant)).allowed)
        let shared = rig.global
        let identity = CheckQuestion(grant: grant).identity(rig.replicas[0].counted)
        _ = rig.replicas[0].check(
            identity, cost: 1, isPeek: false, wantsTrace: false, ticket: Ticket(rawValue: 1 << 40), now: rig.now)
        // The shared partition's batch is answered, the home's is not yet.
        while let next = rig.replicas[0].nextCommand(now: rig.now) {
            guard case .send(let batch) = next.command, next.partition == shared else { continue }
            let result = rig.stores[shared].run(batch, replica: 1)
            rig.replicas[0].linkAnswered(shared, sequence: batch.sequence, result, now: rig.now)
        }
        #expect(rig.used(all) == 2)
        rig.lose(shared)
        rig.pass(ms: 30)
        guard case .decision(let decision)? = rig.answers[1 << 40] else {
            Issue.record("no answer")
            return
        }
        #expect(!decision.allowed)
        rig.isUp[shared] = true
        rig.connect()
        rig.pass(ms: 3_000)
        #expect(rig.used(all) == 1)
    }

    /// Nothing is charged twice or lost in random histories: the sum of all grants is what the shared counter holds.
    @Test func sumsAgree() {
        let wide = limit("all", max: 1_000_000, scope: .global)
        var random = SeededRandom(seed: 5)
        for _ in 0..<5 {
            var rig = PartitionRig(policy(limit("own", max: 7), wide), partitions: 4, replicas: 3)
            let grants = (0..<10).map { "g\($0)" }
            var open: [(grant: String, id: String)] = []
            for _ in 0..<150 {
                let grant = random.one(of: grants)
                switch random.next() % 4 {
                case 0 where !open.isEmpty:
                    let reservation = open.removeLast()
                    _ = rig.settle(
                        reservation.grant, reservation.id, random.once(in: 2) ? .cancel : .commit(cost: 1),
                        of: Int(random.next() % 3))
                case 1:
                    let decision = rig.decide(
                        CheckQuestion(grant: grant, cost: 2, reserves: true), of: Int(random.next() % 3))
                    if decision.allowed { open.append((grant, decision.reservation ?? "")) }
                default: _ = rig.decide(CheckQuestion(grant: grant), of: Int(random.next() % 3))
                }
            }
            let sum = grants.map { rig.used(own, grant: $0) }.reduce(0, +)
            #expect(rig.used(wide) == sum && sum > 0)
        }
    }
}
