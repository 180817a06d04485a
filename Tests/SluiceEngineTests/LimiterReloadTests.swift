import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// Policies that are replaced while checks continue.
@Suite struct LimiterReloadTests {
    private static func set(_ limits: Limit...) -> PolicySet { PolicySet(single: policy(limits)) }

    @Test(arguments: [true, false])
    func anotherMaximumKeepsTheCount(usesStore: Bool) {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: usesStore)
        for _ in 0..<3 { _ = rig.decide() }
        rig.limiter.replacePolicies(Self.set(limit(max: 4)))
        let last = rig.decide()
        #expect(last.allowed && last.limit == 4 && last.remaining == 0)
        #expect(!rig.decide().allowed)
        rig.limiter.replacePolicies(Self.set(limit(max: 6)))
        #expect(rig.decide().remaining == 1)
        #expect(rig.limiter.identityCount == 1 && rig.limiter.counterCount == 1)
    }

    /// Of an hour's 18000, five leak in a second: by the later maximum of 1 they take five hours.
    @Test(arguments: [true, false])
    func aBucketIsNotForgottenWhenItsMaximumIsLowered(usesStore: Bool) {
        func bucket(_ max: Int64) -> Limit { limit(max: max, per: 3600, algorithm: .tokenBucket, burst: 5) }
        for asksAtOnce in [true, false] {
            var rig = LimiterRig(policy(bucket(18_000)), usesStore: usesStore)
            for _ in 0..<5 { #expect(rig.decide().allowed) }
            rig.limiter.replacePolicies(Self.set(bucket(1)))
            if asksAtOnce { #expect(rig.decide().retryAfterMs == 3_600_000) }
            for _ in 0..<(asksAtOnce ? 200 : 150) {
                rig.pass(ms: 20_000)
                rig.tick()
                if usesStore { rig.exchange() }
            }
            // 4000 s later one of five has leaked; or 3000 s later none has, if no check used the lower maximum.
            #expect(rig.decide().allowed == asksAtOnce)
            #expect(!rig.decide().allowed)
        }
    }

    @Test func anotherWindowIsAnotherCounter() {
        var rig = LimiterRig(policy(limit(max: 2)))
        for _ in 0..<2 { _ = rig.decide() }
        rig.limiter.replacePolicies(Self.set(limit(max: 2, per: 3600)))
        #expect(rig.decide().remaining == 1)
        rig.limiter.replacePolicies(Self.set(limit(max: 2)))
        #expect(!rig.decide().allowed, "the store remembers the first")
    }

    @Test func whatWaitsIsDecidedAsItWasAsked() throws {
        var rig = LimiterRig(policy(limit(max: 1)))
        let first = rig.wait()
        let second = rig.wait()
        rig.limiter.replacePolicies(Self.set(limit(max: 9), limit("d", max: 9, per: 1)))
        let third = rig.wait(wantsTrace: true)
        rig.exchange()
        #expect(rig.answers[first]?.limit == 1 && rig.answers[first]?.allowed == true)
        #expect(rig.answers[second]?.allowed == false)
        let trace = try #require(rig.answers[third]?.trace)
        #expect(trace.map(\.used) == [2, 1] && trace.map(\.max) == [9, 9])
        #expect(rig.limiter.waitingCount == 0 && rig.limiter.identityCount == 1 && rig.limiter.counterCount == 2)
    }

    @Test func aToolMayAppearAndGo() {
        var rig = LimiterRig(policy(limit(max: 5)))
        #expect(rig.decide("u").verdict == .deny)
        rig.limiter.replacePolicies(Self.set(limit(max: 5, of: "u")))
        #expect(rig.decide("u").allowed && rig.decide().verdict == .deny)
    }

    @Test func sessionsCountFromNowOn() {
        var rig = LimiterRig(policy(limit(max: 5)))
        _ = rig.decide(session: "s")
        #expect(!rig.limiter.counted.sessions)
        rig.limiter.replacePolicies(Self.set(limit(max: 5, scope: .session)))
        #expect(rig.limiter.counted.sessions)
        #expect(rig.decide(session: "s").remaining == 4 && rig.decide(session: "r").remaining == 4)
    }

    @Test func eachGrantHasItsOwnDocument() throws {
        let files = [
            ("a.json", #"{"version":"1","default":"allow"}"#), ("b.json", #"{"version":"1","default":"deny"}"#),
            ("grants.json", #"{"one":"a","two":"b"}"#),
        ]
        var rig = LimiterRig(policy(limit(max: 5)))
        rig.limiter.replacePolicies(try PolicySet.parse(files: files.map { ($0.0, Array($0.1.utf8)) }))
        #expect(rig.decide(grant: "one").rule == "(default allow)")
        #expect(rig.decide(grant: "two").rule == "(default deny)")
        #expect(rig.decide(grant: "three").rule == "(no policy)")
    }

    /// Over a thousand reloads between checks, each check is answered once and the store's usage is what was admitted.
    @Test func aThousandReplacementsLoseNothing() {
        var rig = LimiterRig(policy(limit(max: 100_000)))
        var admitted = 0
        for round in 0..<1_000 {
            let before = (0..<3).map { _ in rig.wait() }
            let batches = rig.sent()
            rig.limiter.replacePolicies(Self.set(limit(max: 100_000 + Int64(round))))
            let after = (0..<2).map { _ in rig.wait() }
            for batch in batches { rig.answer(batch, rig.run(batch)) }
            rig.exchange()
            admitted += (before + after).count { rig.answers[$0]?.allowed == true }
        }
        #expect(admitted == 5_000)
        #expect(rig.decide(wantsTrace: true).trace?.first?.used == 5_001)
        #expect(rig.limiter.waitingCount == 0 && rig.limiter.identityCount == 1 && rig.limiter.counterCount == 1)
        #expect(rig.limiter.table.plans.count <= 4)
    }
}
