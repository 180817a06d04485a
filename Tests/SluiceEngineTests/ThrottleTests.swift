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
}
