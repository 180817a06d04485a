import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// Token buckets that are counted locally, and their reservations.
@Suite struct LocalBucketTests {
    private static func bucket(_ counter: String, max: Int64, per seconds: Int64, mode: Limit.Mode = .enforce) -> Limit
    {
        Limit(
            container: .tool("t"), counter: counter, window: .seconds(seconds), max: max, scope: .grant,
            rule: "/tools/t/limits/\(counter)", onDeny: nil, algorithm: .tokenBucket, burst: max, mode: mode)
    }

    private static func reserve(_ rig: inout LimiterRig, cost: Int64) throws -> ReservationID {
        var identity = Identity()
        identity.fill(grant: "g".utf8Span.span, tool: "t".utf8Span.span, approved: false)
        var random = SeededRandom(seed: 3)
        let id = ReservationID(using: &random)
        let outcome = rig.limiter.check(
            identity, cost: cost, isPeek: false, wantsTrace: false,
            extras: CheckOptions(reservation: id, id: nil, argumentsHash: 0), ticket: Ticket(rawValue: 1), now: rig.now)
        guard case .answered(let decision) = outcome, decision.allowed else {
            Issue.record("not reserved: \(outcome)")
            return id
        }
        return id
    }

    private static func settle(
        _ rig: inout LimiterRig, _ id: ReservationID, _ settlement: Batch.Settlement
    ) -> Bool {
        let outcome = rig.limiter.settle(
            grant: Array("g".utf8), reservation: id.description.utf8, settlement, ticket: Ticket(rawValue: 2),
            now: rig.now)
        if case .answered(true) = outcome { return true }
        return false
    }

    private static func isTooMuch(_ rig: inout LimiterRig, _ id: ReservationID, _ cost: Int64) -> Bool {
        let outcome = rig.limiter.settle(
            grant: Array("g".utf8), reservation: id.description.utf8, .commit(cost: cost), ticket: Ticket(rawValue: 2),
            now: rig.now)
        if case .notSettled(.tooMuch) = outcome { return true }
        return false
    }

    /// What has leaked of it was available again, and has been used.
    @Test func whatHasLeakedIsNotGivenBack() throws {
        var rig = LimiterRig(policy(Self.bucket("c", max: 10, per: 1)), usesStore: false)
        let id = try Self.reserve(&rig, cost: 10)
        rig.pass(ms: 600)
        #expect(rig.decide(cost: 6).allowed)
        #expect(Self.settle(&rig, id, .cancel))
        #expect(rig.decide(isPeek: true).remaining == 4)
        #expect(!Self.settle(&rig, id, .cancel))
    }

    /// No number that the protocol accepts overflows the arithmetic.
    @Test func absurdCostsStayInBounds() throws {
        let highest: Int64 = 1_000_000_000_000
        var rig = LimiterRig(policy(Self.bucket("c", max: 10, per: 31_622_400)), usesStore: false)
        let id = try Self.reserve(&rig, cost: 10)
        // More than can be counted is rejected, and nothing changes.
        #expect(Self.isTooMuch(&rig, id, highest) && Self.isTooMuch(&rig, id, 284_837))
        #expect(!rig.decide(isPeek: true).allowed && rig.decide(isPeek: true).retryAfterMs == 3_162_240_000)
        #expect(Self.settle(&rig, id, .commit(cost: 284_836)))
        #expect(rig.decide().retryAfterMs == (284_836 - 9) * 3_162_240_000)

        // A shadow limit does not deny more than it can ever hold.
        var tried = LimiterRig(
            policy(limit(max: highest), Self.bucket("tried", max: 10, per: 31_622_400, mode: .shadow)),
            usesStore: false)
        for isAllowed in [true, false] {
            let decision = tried.decide(cost: highest, wantsTrace: true)
            #expect(decision.allowed == isAllowed && decision.trace?.count == 2)
        }
    }

    /// In an outage one of several replicas admits its share of what fits, and then the rate divided by their number: never more
    /// in any time from the start on, and at most one call less, however unevenly it is asked.
    @Test(arguments: [(10 as Int64, 3), (5, 3), (1000, 4), (90, 32)])
    func leaksItsShareOfTheRate(max: Int64, replicas: Int) throws {
        let lengthMs: Int64 = 60_000
        let quota = Quota(Self.bucket("c", max: max, per: lengthMs / 1000))
        let view = ReplicaView(own: 1, assumed: replicas)
        var bucket = BucketUsage()
        bucket.observe(Usage(used: 0), decidedMs: 0)
        bucket.beginShare()
        var random = SeededRandom(seed: 7)
        var admitted: Int64 = 0
        var nowMs: Int64 = 0
        while nowMs < 100 * lengthMs {
            while bucket.left(quota, replicas: view, hash: 5, nowMs: nowMs) >= 1 {
                _ = bucket.admit(quota, cost: 1, reservation: nil, nowMs: nowMs)
                admitted += 1
            }
            let fits = Double(max * (lengthMs + nowMs)) / Double(lengthMs * Int64(replicas))
            #expect(Double(admitted) <= fits && Double(admitted) > fits - 1.01, "\(nowMs) ms")
            nowMs += Int64.random(in: 1...200, using: &random)
        }
    }
}
