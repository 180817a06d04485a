import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// What limits do with checks in an outage: `local` is in `LocalOutageTests`, the others are here.
@Suite struct OnOutageTests {
    private let denying = limit("d", max: 10, onOutage: .deny)
    private let allowing = limit("a", max: 2, onOutage: .allow)

    /// Nothing is admitted or charged, and a caller is asked to come back after the next try.
    @Test func denyIsUnavailable() {
        var rig = LimiterRig(policy(denying, limit("l", max: 5)))
        #expect(rig.decide().remaining == 4)
        rig.lose()
        for _ in 0..<3 {
            let decision = rig.decide(wantsTrace: true)
            #expect(decision.verdict == .unavailable && decision.source == .local && !decision.allowed)
            #expect(decision.rule == "/tools/t/limits/d" && !decision.message.isEmpty && decision.remaining == 0)
            let retryNs = rig.limiter.link.breaker.nextTryNs(now: rig.now) - rig.now.monotonicNs
            #expect(decision.retryAfterMs >= 1 && decision.retryAfterMs == (retryNs + 999_999) / 1_000_000)
            #expect(decision.retryAfterMs <= EngineBounds.maxBackoffNs / 1_000_000)
        }
        #expect(rig.decide(isPeek: true).verdict == .unavailable)
        let reserving = rig.decide(LimiterRig.Question(reserves: true, id: "1"))
        #expect(reserving.verdict == .unavailable && reserving.reservation == "")
        #expect(rig.limiter.reservations.local.count == 0)
        // The reported wait ends when the store is tried again.
        let waitMs = rig.decide().retryAfterMs
        rig.pass(ms: waitMs)
        rig.tick()
        #expect(rig.commands() == [.connect])
        rig.limiter.linkConnected(now: rig.now)
        #expect(rig.decide().retryAfterMs == 15)
        rig.exchange()
        // Nothing of it was charged; and the id is still free.
        let back = rig.decide(LimiterRig.Question(id: "1"))
        #expect(back.source == .shared && back.remaining == 3)
    }

    @Test(arguments: [false, true]) func retryWhileItStallsOrRests(isRefused: Bool) throws {
        var rig = LimiterRig(policy(denying))
        let ticket = rig.wait()
        let batch = try #require(rig.sent().first)
        if isRefused {
            rig.store.rejection = "LOADING"
            rig.answer(batch, rig.run(batch))
            #expect(rig.limiter.storeState == "resting")
        } else {
            rig.pass(ms: 15)
            rig.tick()
            #expect(rig.limiter.storeState == "stalled")
        }
        #expect(rig.answers[ticket]?.verdict == .unavailable)
        let decision = rig.decide()
        let tickNs = try #require(rig.limiter.link.breaker.nextTickNs(oldestUnansweredNs: nil))
        #expect(decision.retryAfterMs == (tickNs - rig.now.monotonicNs + 999_999) / 1_000_000)
    }

    /// One check alone is late: the breaker is still closed, and the store may have a charge that was reported to no
    /// client.
    @Test func aTimeoutWhileTheBreakerIsClosed() throws {
        var rig = LimiterRig(policy(denying, limit("e", max: 2, of: "u", onOutage: .allow)))
        let first = rig.wait()
        rig.pass(ms: 4)
        let second = rig.wait()
        let third = rig.wait("u")
        let batch = try #require(rig.sent().first)
        rig.pass(ms: 11)
        rig.limiter.answerExpired(now: rig.now)
        rig.collect()
        #expect(rig.limiter.isShared && rig.answers[first]?.verdict == .unavailable)
        #expect(rig.answers[first]?.retryAfterMs == 15)
        rig.answer(batch, rig.run(batch))
        #expect(rig.answers[second]?.source == .shared && rig.answers[third]?.source == .shared)
    }

    /// No waiting helps a check that costs more than a maximum, with an id or without.
    @Test func whatNeverPassesIsNotUnavailable() throws {
        var rig = LimiterRig(policy(denying))
        let waiting = rig.wait(cost: 11)
        _ = rig.sent()
        rig.lose()
        let decisions = [
            try #require(rig.answers[waiting]), rig.decide(cost: 11), rig.decide(cost: 11, wantsTrace: true),
            rig.decide(LimiterRig.Question(cost: 11, id: "1")),
        ]
        for decision in decisions {
            #expect(decision.verdict == .limit && decision.source == .local && decision.retryAfterMs == -1)
        }
        #expect(rig.decide().verdict == .unavailable)
    }

    /// Every check passes; it is counted here, and only shown.
    @Test func allowPassesAll() {
        var rig = LimiterRig(policy(allowing))
        #expect(rig.decide().remaining == 1)
        rig.lose()
        for _ in 0..<5 {
            let decision = rig.decide()
            #expect(decision.allowed && decision.source == .local && decision.retryAfterMs == 0)
        }
        #expect(rig.decide().remaining == 0 && rig.decide(isPeek: true).allowed)
        // A check that can never pass does not pass now.
        #expect(rig.decide(cost: 3).retryAfterMs == -1)
        rig.connect()
        #expect(rig.decide().remaining == 0 && !rig.decide().allowed)
    }

    /// The usage of an allowing limit has no maximum: it must not overflow.
    @Test func allowingWithoutEnd() throws {
        let limits = [
            limit("f", max: 1_000_000_000_000, per: 9, onOutage: .allow),
            limit("s", max: 1_000_000_000_000, per: 9, algorithm: .slidingWindow, onOutage: .allow),
            limit(
                "b", max: 1_000_000_000_000, per: 9, algorithm: .tokenBucket, burst: 1_000_000_000_000, onOutage: .allow
            ),
        ]
        var rig = LimiterRig(policy(limits), connected: false)
        let ids = (0..<100).compactMap { _ in rig.reserve(cost: 1_000_000_000_000).reservation }
        #expect(ids.count == 100)
        for counter in rig.limiter.table.liveCounters {
            let quota = Quota(limits.first { CounterKey.baseKey(of: $0) == Array(counter.baseKey) } ?? limits[0])
            let known = counter.combinedUsage(quota.at(counter.bounds(at: rig.now.wallMs)), nowMs: rig.now.wallMs)
            #expect(known.used <= Quota.maxExact)
        }
        for id in ids { #expect(rig.settle(id, .commit(cost: 1_000_000_000_000)) == true) }
        rig.pass(ms: 10_000)
        #expect(rig.decide(cost: 1_000_000_000_000).allowed)
    }

    /// All enforced limits decide together; a shadow limit never decides, whatever its `on_outage`.
    @Test func mixedLimits() {
        let shadow = limit("s", max: 1, onOutage: .deny, mode: .shadow)
        var rig = LimiterRig(policy(shadow, allowing, limit("l", max: 4)), connected: false)
        for used in 1...4 {
            let decision = rig.decide(wantsTrace: true)
            #expect(decision.allowed && decision.source == .local)
            #expect(decision.trace?.first?.isShadow == true && decision.trace?.first?.denials == Int64(used - 1))
        }
        let denied = rig.decide(wantsTrace: true)
        #expect(denied.verdict == .limit && denied.rule == "/tools/t/limits/l" && denied.trace?[0].denials == 3)
        rig.limiter.replacePolicies(PolicySet(single: policy(shadow, allowing, denying)))
        #expect(rig.decide().rule == "/tools/t/limits/d")
    }

    /// Without any store configured there is no outage: all limits count.
    @Test func withoutAStore() {
        var rig = LimiterRig(policy(denying, allowing), usesStore: false)
        #expect([rig.decide().allowed, rig.decide().allowed, rig.decide().allowed] == [true, true, false])
    }

    /// A shadow limit alone: all pass, nothing binds, and what it would have denied is counted in the outage too.
    @Test(arguments: [Limit.OnOutage.local, .allow, .deny]) func shadowsAlone(_ onOutage: Limit.OnOutage) {
        var rig = LimiterRig(policy(limit("s", max: 2, onOutage: onOutage, mode: .shadow)))
        for _ in 0..<3 { #expect(rig.decide().limit == -1) }
        rig.lose()
        for denials in 2...3 {
            let decision = rig.decide(cost: 11, wantsTrace: true)
            #expect(decision.allowed && decision.source == .local && decision.rule == "/tools/t")
            #expect(decision.trace?.first?.denials == Int64(denials) && decision.remaining == -1)
        }
        rig.connect()
        #expect(rig.decide(wantsTrace: true).trace?.first?.denials == 2)
    }
}

extension CounterKey {
    fileprivate static func baseKey(of limit: Limit) -> [UInt8] {
        baseKey(in: "sluice", limit: limit, identity: Identity.Parts(grant: [103], tool: "t", approved: false))
    }
}
