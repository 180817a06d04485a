import SluicePolicy
import StoreModel
import Support
import Testing

@testable import SluiceEngine

/// `CL.THROTTLE`, with the cases of redis-cell's own test (`it_rate_limits`, MIT): five at once, one back a second.
@Suite struct ThrottleTests {
    private struct Case: Sendable {
        var atMs: Int64
        var quantity: Int64
        var remaining: Int64
        var resetMs: Int64
        var retryMs: Int64
        var isLimited: Bool
    }

    private static let cases = [
        Case(atMs: 0, quantity: 1, remaining: 4, resetMs: 1000, retryMs: 0, isLimited: false),
        Case(atMs: 0, quantity: 1, remaining: 3, resetMs: 2000, retryMs: 0, isLimited: false),
        Case(atMs: 0, quantity: 1, remaining: 2, resetMs: 3000, retryMs: 0, isLimited: false),
        Case(atMs: 0, quantity: 1, remaining: 1, resetMs: 4000, retryMs: 0, isLimited: false),
        Case(atMs: 0, quantity: 1, remaining: 0, resetMs: 5000, retryMs: 0, isLimited: false),
        Case(atMs: 0, quantity: 1, remaining: 0, resetMs: 5000, retryMs: 1000, isLimited: true),
        Case(atMs: 3000, quantity: 1, remaining: 2, resetMs: 3000, retryMs: 0, isLimited: false),
        Case(atMs: 3100, quantity: 1, remaining: 1, resetMs: 3900, retryMs: 0, isLimited: false),
        Case(atMs: 4000, quantity: 1, remaining: 1, resetMs: 4000, retryMs: 0, isLimited: false),
        Case(atMs: 8000, quantity: 1, remaining: 4, resetMs: 1000, retryMs: 0, isLimited: false),
        Case(atMs: 9500, quantity: 1, remaining: 4, resetMs: 1000, retryMs: 0, isLimited: false),
        // A quantity of 0 reports and takes nothing.
        Case(atMs: 9500, quantity: 0, remaining: 4, resetMs: 1000, retryMs: 0, isLimited: false),
        Case(atMs: 9500, quantity: 2, remaining: 2, resetMs: 3000, retryMs: 0, isLimited: false),
        Case(atMs: 9500, quantity: 5, remaining: 2, resetMs: 3000, retryMs: 3000, isLimited: true),
    ]

    @Test(arguments: [true, false])
    func redisCellsCases(usesStore: Bool) throws {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: usesStore)
        let throttle = try #require(Throttle(key: Array("foo".utf8), maxBurst: 4, count: 1, periodSeconds: 1))
        let startMs = rig.now.wallMs
        for one in Self.cases {
            rig.pass(ms: startMs + one.atMs - rig.now.wallMs)
            var identity = Identity()
            identity.fill(throttle)
            let decision = rig.decide(identity, cost: max(1, one.quantity), isPeek: one.quantity == 0)
            #expect(decision.allowed == !one.isLimited && decision.limit == 5, "\(one)")
            #expect(decision.remaining == one.remaining && decision.resetMs == one.resetMs, "\(one)")
            #expect(decision.retryAfterMs == one.retryMs, "\(one)")
        }
    }

    /// Keys, and periods of one key, are separate; burst and count may change from call to call.
    @Test func whatACounterIsKnownBy() throws {
        func baseKey(_ key: String, _ burst: Int64, _ count: Int64, _ period: Int64) throws -> [UInt8] {
            try #require(Throttle(key: Array(key.utf8), maxBurst: burst, count: count, periodSeconds: period))
                .baseKey(in: "p")
        }
        #expect(try baseKey("a", 1, 2, 3) == baseKey("a", 9, 9, 3))
        #expect(try baseKey("a", 1, 2, 3) != baseKey("a", 1, 2, 4))
        #expect(try baseKey("a", 1, 2, 3) != baseKey("b", 1, 2, 3))
        #expect(
            try String(decoding: baseKey("a b", 1, 1, 60), as: UTF8.self)
                == "p:2:{t=a%20b}:*:throttle:b60")
    }

    @Test func numbersThatAreNotExactAreRejected() {
        func takes(_ burst: Int64, _ count: Int64, _ period: Int64) -> Bool {
            Throttle(key: [97], maxBurst: burst, count: count, periodSeconds: period) != nil
        }
        #expect(takes(0, 1, 1) && takes(999_999_999_999, 1, 1) && takes(0, 1_000_000_000_000, 1))
        #expect(!takes(1_000_000_000_000, 1, 1) && !takes(0, 1, 366 * 86_400 + 1))
        #expect(takes(0, 1, 366 * 86_400) && !takes(0, 1_000_000_000_000, 60))
    }

    @Test(arguments: [true, false])
    func aRequestMayBringAWindowAlong(usesStore: Bool) throws {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: usesStore)
        let limit = try #require(Throttle(key: Array("foo".utf8), max: 2, windowSeconds: 60))
        var identity = Identity()
        identity.fill(limit)
        let decisions = (0..<3).map { _ in rig.decide(identity, cost: 1, isPeek: false) }
        #expect(decisions.map(\.allowed) == [true, true, false])
        #expect(decisions.map(\.remaining) == [1, 0, 0])
        #expect(decisions[0].rule == "(descriptor)")
        #expect(decisions[0].bindingLimit?.window == .seconds(60))
        #expect(String(decoding: limit.baseKey(in: "p"), as: UTF8.self).hasSuffix(":throttle:f60:"))
        #expect(identity.throttle == limit)
        #expect(Throttle(key: [97], max: 0, windowSeconds: 1) != nil)
        #expect(Throttle(key: [97], max: -1, windowSeconds: 1) == nil)
        #expect(Throttle(key: [97], max: 1, windowSeconds: 0) == nil)
    }

    @Test func suchAWindowMayBeReservedAndGivenBack() throws {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: false)
        var identity = Identity()
        identity.fill(try #require(Throttle(key: Array("foo".utf8), max: 2, windowSeconds: 60)))
        var random = SystemRandomNumberGenerator()
        let outcome = rig.limiter.check(
            identity, cost: 2, isPeek: false, wantsTrace: false,
            extras: CheckOptions(reservation: ReservationID(using: &random), id: nil, argumentsHash: 0),
            ticket: Ticket(rawValue: 1), now: rig.now)
        guard case .answered(let decision) = outcome, let id = decision.reservation else {
            Issue.record("it was not reserved: \(outcome)")
            return
        }
        #expect(decision.allowed && decision.remaining == 0)
        let settled = rig.limiter.settle(
            grant: Throttle.owner, reservation: Array(id.utf8), .cancel, ticket: Ticket(rawValue: 2), now: rig.now)
        guard case .answered(true) = settled else {
            Issue.record("it was not given back: \(settled)")
            return
        }
        #expect(rig.decide(identity, cost: 1, isPeek: false).remaining == 1)
    }
}
