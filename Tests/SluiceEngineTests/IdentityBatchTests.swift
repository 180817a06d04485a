import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// Checks that are looked up together are decided as if they came one by one, whatever happens to the table meanwhile.
@Suite struct IdentityBatchTests {
    private static let grants = 60

    private func ask(_ limiter: inout Limiter, _ run: borrowing IdentityBatch, _ index: Int, now: ClockReading)
        -> String
    {
        let outcome = limiter.check(
            run, index, cost: 1, isPeek: false, wantsTrace: true, extras: nil, ticket: Ticket(rawValue: 1), now: now)
        return "\(outcome)"
    }

    /// - Parameter maxPlans: either fewer than identities, so that rows are evicted all the time, or enough.
    @Test(arguments: [24, 1_000]) func oneByOneOrTogether(maxPlans: Int) {
        let limits = policy(limit(max: 40, per: 1))
        var together = LimiterRig(limits, usesStore: false, maxPlans: maxPlans)
        var single = LimiterRig(limits, usesStore: false, maxPlans: maxPlans)
        var random = SeededRandom(seed: 5)
        var run = IdentityBatch()
        var differences = 0
        var answered = 0
        for round in 0..<600 {
            run.removeAll()
            let tool = random.once(in: 10) ? "forbidden" : "t"
            while !run.isFull && !random.once(in: 12) {
                let grant = "g\(random.next() % UInt64(Self.grants))"
                run.append { $0.fill(grant: grant.utf8Span.span, tool: tool.utf8Span.span, approved: false) }
            }
            together.limiter.find(&run, now: together.now)
            for index in 0..<run.count {
                // Policies never change between checks that were read together, and yet nothing depends on that.
                if random.once(in: 40) {
                    let next = policy(limit(max: 30 + Int64(round % 3), per: 1))
                    together.limiter.replacePolicies(PolicySet(single: next))
                    single.limiter.replacePolicies(PolicySet(single: next))
                }
                let outcome = single.limiter.check(
                    run[index], cost: 1, isPeek: false, wantsTrace: true, ticket: Ticket(rawValue: 1), now: single.now)
                if ask(&together.limiter, run, index, now: together.now) != "\(outcome)" { differences += 1 }
                answered += 1
            }
            together.pass(ms: 70)
            single.pass(ms: 70)
        }
        #expect(differences == 0 && answered > 3_000)
        #expect(together.limiter.statistics == single.limiter.statistics)
        #expect(together.limiter.statistics.total > 1_000)
    }

    @Test func aRunIsOfOneTime() throws {
        var rig = LimiterRig(policy(limit(max: 2)), usesStore: false)
        var run = IdentityBatch()
        for grant in ["a", "b", "a"] {
            run.append { $0.fill(grant: grant.utf8Span.span, tool: "t".utf8Span.span, approved: false) }
        }
        for _ in 0..<2 {
            rig.limiter.find(&run, now: rig.now)
            for index in 0..<3 { _ = ask(&rig.limiter, run, index, now: rig.now) }
        }
        #expect(rig.limiter.identityCount == 2 && rig.decide(grant: "b").allowed == false)
        #expect(rig.limiter.statistics.total == 7)
        run.removeAll()
        #expect(run.count == 0)
    }
}
