import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// What the engine answers by itself: from the policy, and from local counters.
@Suite struct LimiterCheckTests {
    private static let start = LimiterRig.startMs

    @Test func thePolicyAloneDecides() {
        let tools: [String: ToolRule] = [
            "free": ToolRule(action: .allow, reason: nil, limits: []),
            "no": ToolRule(action: .deny, reason: "Ask Bob.", limits: []),
            "maybe": ToolRule(action: .requireApproval, reason: nil, limits: []),
        ]
        var rig = LimiterRig(policy(tools: tools), usesStore: false)
        #expect(rig.decide("free") == Decision(verdict: .allow, source: .policy, rule: "/tools/free"))
        var denial = Decision(verdict: .deny, source: .policy, rule: "/tools/no/action", message: "Ask Bob.")
        denial.retryAfterMs = -1
        #expect(rig.decide("no") == denial)
        #expect(rig.decide("unlisted").rule == "(default deny)")
        #expect(rig.decide("unlisted").verdict == .deny)
        let approval = rig.decide("maybe")
        #expect(approval.verdict == .approve && approval.retryAfterMs == -1 && !approval.allowed)
        #expect(approval.limit == -1 && approval.remaining == -1 && approval.resetMs == -1)
        #expect(rig.decide("maybe", approved: true).allowed)
        #expect(rig.decide("no", approved: true).verdict == .deny)
        #expect(rig.decide("free").trace == nil)
        #expect(rig.decide("free", wantsTrace: true).trace == [])
        #expect(rig.limiter.statistics.total == 9)
        #expect(rig.limiter.identityCount == 0 && rig.limiter.counterCount == 0)
    }

    /// A month's usage counts in the next month as far as a window of the present month's length reaches back.
    @Test(arguments: [true, false]) func slidingMonthsOfUnequalLength(usesStore: Bool) {
        let monthly = limit(max: 1000, algorithm: .slidingWindow, window: .calendar(.month, in: .utc))
        var rig = LimiterRig(policy(monthly), usesStore: usesStore, connected: false)
        rig.pass(ms: 1_740_614_400_000 - rig.now.wallMs)  // 2025-02-27
        if usesStore { rig.connect() }
        #expect(rig.decide(cost: 1000).allowed)
        // 2025-03-04 at noon: 27.5 days of February's 28 still count.
        let noonMs: Int64 = 1_741_046_400_000 + 43_200_000
        while rig.now.wallMs < noonMs {
            rig.pass(ms: min(1_800_000, noonMs - rig.now.wallMs))
            rig.tick()
            if usesStore { rig.exchange() }
        }
        let denied = rig.decide(cost: 60)
        #expect(!denied.allowed && denied.remaining == 17)
        #expect(!rig.decide(cost: 18).allowed && rig.decide(cost: 17).allowed)
        // 60 more fit once 60 + 17 of the 1000 no longer count: 923 / 1000 of 28 days before March ends.
        rig.pass(ms: denied.retryAfterMs)
        #expect(!rig.decide(cost: 60, isPeek: true).allowed && rig.decide(cost: 43, isPeek: true).allowed)
    }

    /// A day of 23 hours, and one of 25.
    @Test(arguments: [(1_743_372_000_000, 23), (1_761_519_600_000, 25)] as [(Int64, Int64)])
    func slidingDaysOfUnequalLength(startMs: Int64, hoursBefore: Int64) throws {
        let day = Window.calendar(.day, in: try #require(Zone(name: "Europe/Berlin")))
        let open = Counter.bounds(of: day, .slidingWindow, at: startMs + 1)
        #expect(open.startMs == startMs && open.endMs == startMs + 86_400_000)
        #expect(open.previousLengthMs == hoursBefore * 3_600_000 && open.nextEndMs == startMs + 2 * 86_400_000)
        let quota = Quota(limit(max: 100, algorithm: .slidingWindow, window: day)).at(open)
        var usage = Usage(used: 0)
        usage.previous = 100
        let left = quota.left(usage, nowMs: startMs + 3_599_999)
        #expect(left == (hoursBefore == 23 ? 0 : 7))
    }

    @Test func approvedChecksAreCounted() {
        let rule = ToolRule(action: .requireApproval, reason: nil, limits: [limit(max: 1)])
        var rig = LimiterRig(policy(tools: ["t": rule]), usesStore: false)
        #expect(rig.decide().verdict == .approve)
        #expect(rig.decide(approved: true).allowed)
        #expect(rig.decide(approved: true).verdict == .limit)
        #expect(rig.decide().verdict == .approve)
    }

    @Test func localCountersFillUpAndReset() {
        var rig = LimiterRig(policy(limit(max: 3)), usesStore: false)
        for left in [2, 1, 0] as [Int64] {
            let decision = rig.decide()
            #expect(decision.allowed && decision.source == .local && decision.remaining == left)
            #expect(decision.limit == 3 && decision.resetMs == 60_000 && decision.retryAfterMs == 0)
            #expect(decision.rule == "/tools/t/limits/c" && decision.message.isEmpty && !decision.messageHasWait)
        }
        rig.pass(ms: 59_999)
        let denied = rig.decide()
        #expect(denied.verdict == .limit && denied.remaining == 0 && denied.limit == 3)
        #expect(denied.retryAfterMs == 1 && denied.resetMs == 1)
        #expect(denied.message == "t is limited to 3 calls per minute for this grant." && denied.messageHasWait)
        rig.pass(ms: 1)
        #expect(rig.decide().remaining == 2)
    }

    /// A denial of one cost says nothing about a smaller one.
    @Test func costs() {
        var rig = LimiterRig(policy(limit(max: 10)), usesStore: false)
        #expect(rig.decide(cost: 7).remaining == 3)
        let denied = rig.decide(cost: 4)
        #expect(!denied.allowed && denied.remaining == 3)
        #expect(rig.decide(cost: 3).remaining == 0)
    }

    @Test func peeksChargeNothing() {
        var rig = LimiterRig(policy(limit(max: 2)), usesStore: false)
        for _ in 0..<5 {
            #expect(rig.decide(isPeek: true).allowed)
            #expect(rig.decide(cost: 2, isPeek: true).remaining == 2)
        }
        #expect(rig.decide(cost: 2).allowed)
        #expect(!rig.decide(isPeek: true).allowed)
    }

    /// No window can ever admit it: `remaining` is reported as in any other check, and nothing is charged.
    @Test(arguments: [true, false])
    func moreThanTheMaximumIsDeniedForEver(usesStore: Bool) {
        var rig = LimiterRig(
            policy(limit(max: 5), limit("day", max: 100, per: 86_400)), usesStore: usesStore)
        for isPeek in [true, false] {
            let denied = rig.decide(cost: 6, isPeek: isPeek, wantsTrace: true)
            #expect(denied.verdict == .limit && denied.retryAfterMs == -1 && !denied.messageHasWait)
            #expect(denied.rule == "/tools/t/limits/c" && denied.limit == 5 && denied.remaining == 5)
            #expect(denied.source == (usesStore ? .shared : .local) && denied.resetMs == 60_000)
            #expect(denied.trace?.map(\.used) == [0, 0])
        }
        #expect(rig.decide(cost: 5).allowed)
        #expect(rig.decide(cost: 6).remaining == 0)
        #expect(rig.decide(cost: 1_000_000_000_000).retryAfterMs == -1)
    }

    @Test func aMaximumOfNothingBlocks() {
        var rig = LimiterRig(policy(limit(max: 0)))
        let denied = rig.decide()
        #expect(denied.verdict == .limit && denied.retryAfterMs == -1 && denied.limit == 0 && denied.remaining == 0)
        #expect(denied.message == "t is blocked by this policy." && !denied.messageHasWait)
        #expect(rig.store.runs == 1)  // the probe
    }

    /// What other replicas admitted is reported for a check that can never pass as for any other, and as for a peek.
    @Test(arguments: [
        limit(max: 10), limit(max: 10, algorithm: .slidingWindow), limit(max: 10, algorithm: .tokenBucket, burst: 10),
    ])
    func moreThanTheMaximumIsReportedAsTheStoreKnowsIt(one: Limit) throws {
        let policy = policy(one, limit("day", max: 100, per: 86_400))
        var rig = LimiterRig.listening(policy)
        var other = LimiterRig(policy, replica: rig.replica + 1)
        other.store = rig.store
        other.limiter.ledger.acknowledgedSequence = 0
        #expect(rig.decide().allowed)
        other.store = rig.store
        #expect(other.decide(cost: 6).allowed)
        rig.store = other.store
        for (isPeek, reserves) in [(true, false), (false, false), (false, true)] {
            let question = LimiterRig.Question(cost: 11, isPeek: isPeek, wantsTrace: true, reserves: reserves)
            let denied = rig.decide(question)
            #expect(denied.verdict == .limit && denied.retryAfterMs == -1 && denied.limit == 10)
            #expect(denied.remaining == 3 && denied.trace?.map(\.used) == [7, 7], "\(question)")
            #expect(denied.trace?.map(\.waitMs) == [-1, 0] && denied.trace?.map(\.left) == [3, 93])
            #expect(denied.reservation == (reserves ? "" : nil))
        }
        // It charged nothing, and for a second the cache answers the same.
        let runs = rig.store.runs
        #expect(rig.decide(cost: 11).source == .cache && rig.store.runs == runs)
        #expect(rig.decide(cost: 3).allowed)
    }

    /// In an outage, what this replica would still admit is reported.
    @Test func moreThanTheMaximumInAnOutage() {
        var rig = LimiterRig(policy(limit(max: 10)), replicas: 2)
        #expect(rig.decide(cost: 4).allowed)
        rig.lose()
        let denied = rig.decide(cost: 11)
        #expect(denied.source == .local && denied.remaining == rig.decide(isPeek: true).remaining)
        #expect(denied.remaining == 3 && denied.retryAfterMs == -1)
    }

    /// A blocked call is answered without the store, and with a trace as without one.
    @Test func blockedBesideOthers() {
        var rig = LimiterRig(policy(limit(max: 0), limit("d", max: 5, per: 3_600), limit("s", max: 9)))
        for cost: Int64 in [1, 6] {
            let runs = rig.store.runs
            let denied = rig.decide(cost: cost)
            #expect(denied.source == .policy && denied.limit == 0 && rig.store.runs == runs)
            var traced = rig.decide(cost: cost, wantsTrace: true)
            #expect(traced.source == .shared && traced.trace?.map(\.used) == [0, 0, 0])
            traced.trace = nil
            traced.source = .policy
            #expect(traced == denied)
        }
    }

    /// The wait has the place that a policy's own message gives it, or follows the message.
    @Test func ownWordsTellTheWait() {
        var rig = LimiterRig(
            policy(
                limit(max: 1, onDeny: "Slow down."), limit(max: 1, of: "u", onDeny: "In {retry_after}, please."),
                limit(max: 0, of: "v", onDeny: "In {retry_after}.")), usesStore: false)
        #expect(rig.decide().allowed && rig.decide("u").allowed)
        let denied = rig.decide()
        #expect(denied.message == "Slow down." && denied.messageHasWait && denied.messageWaitRange == nil)
        let placed = rig.decide("u")
        #expect(placed.message == "In {retry_after}, please." && placed.messageHasWait)
        #expect(placed.messageWaitRange == 3..<16)
        // Nothing to wait for.
        #expect(rig.decide("u", cost: 2).message == "In never, please.")
        let blocked = rig.decide("v")
        #expect(blocked.message == "In never." && !blocked.messageHasWait)
    }

    @Test(arguments: [true, false])
    func sessionsAreCountedSeparately(usesStore: Bool) {
        var rig = LimiterRig(policy(limit(max: 1, scope: .session)), usesStore: usesStore)
        #expect(rig.decide(session: "a").allowed)
        #expect(!rig.decide(session: "a").allowed)
        #expect(rig.decide(session: "b").allowed)
        // A check without a session counts for its grant alone, and grants never share.
        #expect(rig.decide().allowed)
        #expect(!rig.decide().allowed)
        #expect(rig.decide(grant: "h", session: "a").allowed)
        #expect(rig.limiter.counterCount == 4)
    }

    @Test func sessionsDoNotMatterWhereNoLimitCountsThem() {
        var rig = LimiterRig(policy(limit(max: 2)), usesStore: false)
        #expect(!rig.limiter.counted.sessions)
        #expect(rig.decide(session: "a").allowed && rig.decide(session: "b").allowed)
        #expect(!rig.decide(session: "c").allowed)
        #expect(rig.limiter.identityCount == 1)
    }

    /// All limits or none: what one limit denies is not charged to the others.
    @Test(arguments: [true, false])
    func severalLimitsAllOrNothing(usesStore: Bool) {
        let all = limit("all", max: 5, per: 3600, of: nil)
        var rig = LimiterRig(policy(limit(max: 2), limit(max: 9, of: "u"), allTools: [all]), usesStore: usesStore)
        #expect(rig.decide().allowed && rig.decide().allowed)
        for _ in 0..<5 { #expect(rig.decide().rule == "/tools/t/limits/c") }
        for left in [2, 1, 0] as [Int64] {
            let decision = rig.decide("u")
            #expect(decision.allowed && decision.rule == "/all_tools/limits/all" && decision.remaining == left)
        }
        let denied = rig.decide("u", wantsTrace: true)
        #expect(!denied.allowed && denied.rule == "/all_tools/limits/all")
        #expect(denied.trace?.map(\.used) == [3, 5])
        // Both deny: the one with the longest wait is reported.
        #expect(rig.decide().rule == "/all_tools/limits/all")
        #expect(rig.decide().retryAfterMs == rig.decide().resetMs)
    }

    /// Of an admitted check the limit with the smallest part left is reported: 1 of 2 is more than 4 of 10.
    @Test(arguments: [true, false])
    func theBindingLimitOfAnAllowedCheck(usesStore: Bool) {
        var rig = LimiterRig(
            policy(limit("a", max: 10), limit("b", max: 4), limit("c", max: 1_000_000_000_000)), usesStore: usesStore)
        let first = rig.decide(cost: 1, wantsTrace: true)
        #expect(first.rule == "/tools/t/limits/b" && first.remaining == 3 && first.limit == 4)
        #expect(
            first.trace?.map(\.reported) == [
                Decision.LimitTrace.Reported(rule: "/tools/t/limits/a", windowStartMs: Self.start, used: 1, max: 10),
                Decision.LimitTrace.Reported(rule: "/tools/t/limits/b", windowStartMs: Self.start, used: 1, max: 4),
                Decision.LimitTrace.Reported(
                    rule: "/tools/t/limits/c", windowStartMs: Self.start, used: 1, max: 1_000_000_000_000),
            ])
    }

    /// Limits whose windows start at different times.
    @Test func traceShowsEveryWindow() {
        var rig = LimiterRig(policy(limit("m", max: 3), limit("h", max: 9, per: 3600)), usesStore: false)
        rig.pass(ms: 61_000)
        let hour = (Self.start + 61_000) / 3_600_000 * 3_600_000
        let trace = rig.decide(wantsTrace: true).trace
        #expect(trace?.map(\.windowStartMs) == [Self.start + 60_000, hour])
        #expect(trace?.map(\.used) == [1, 1])
        #expect(rig.decide().trace == nil)
    }

    @Test(arguments: [true, false])
    func theLargestNumbers(usesStore: Bool) {
        let most: Int64 = 1_000_000_000_000
        var rig = LimiterRig(policy(limit(max: most), limit("d", max: most - 1)), usesStore: usesStore)
        #expect(rig.decide(cost: most - 1).remaining == 0)
        #expect(rig.decide().rule == "/tools/t/limits/d")
        #expect(rig.decide(cost: most).retryAfterMs == -1)
        rig.pass(ms: 60_000)
        #expect(rig.decide().remaining == most - 2)
    }

    @Test func sharesOfALocalWindow() {
        var rig = LimiterRig(policy(limit(max: 10)), replicas: 4, usesStore: false)
        #expect(rig.decide().remaining == 1)
        #expect(rig.decide().remaining == 0)
        let denied = rig.decide()
        #expect(!denied.allowed && denied.limit == 10 && denied.remaining == 0)
    }

    /// Without a store the wall clock may step back: the window that had ended is not opened again.
    @Test func aWallClockThatStepsBackReopensNothing() {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: false)
        #expect(rig.decide().allowed)
        rig.pass(ms: 60_000)
        rig.tick()
        #expect(rig.decide().allowed)
        rig.now.wallMs -= 60_000
        #expect(!rig.decide().allowed)
        rig.pass(ms: 1_000)
        rig.tick()
        #expect(!rig.decide().allowed)
    }

    @Test func aClockThatStepsBackBetweenTwoChecksReopensNothing() {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: false)
        rig.now.wallMs += 60_000
        #expect(rig.decide().allowed)
        rig.now.wallMs -= 60_000
        #expect(!rig.decide().allowed)
    }

    // MARK: - Bounds

    @Test func tooManyIdentities() {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: false, maxPlans: 8)
        for number in 0..<8 { #expect(rig.decide(grant: "g\(number)").allowed) }
        if case .overloaded = rig.ask(grant: "g8") {} else { Issue.record("all are live") }
        #expect(rig.limiter.statistics.overloaded == 1 && rig.limiter.identityCount == 8)
        #expect(rig.decide(grant: "g3").remaining == 3)
        rig.pass(ms: 60_000)
        #expect(rig.decide(grant: "g8").allowed)
        #expect(rig.limiter.identityCount <= 8)
    }

    /// Invented tools under a default that allows them share one counter: they must not fill the table.
    @Test func madeUpToolsPushNobodyOut() {
        let open = Policy(
            defaultRuling: .allow, hidden: ["x"], allToolsLimits: [limit("all", max: 1_000, of: nil)], tools: [:])
        var rig = LimiterRig(open, usesStore: false, maxPlans: 32)
        for number in 0..<500 { #expect(rig.decide("tool\(number)").remaining == 999 - Int64(number)) }
        #expect(rig.limiter.identityCount <= 32 && rig.limiter.counterCount == 1)
    }

    @Test func idlePlansGo() {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: false)
        for number in 0..<10 { #expect(rig.decide(grant: "g\(number)").allowed) }
        for _ in 0..<119 {
            rig.pass(ms: 1_000)
            rig.tick()
        }
        #expect(rig.limiter.identityCount == 10)
        for _ in 0..<3 {
            rig.pass(ms: 1_000)
            rig.tick()
        }
        #expect(rig.limiter.identityCount == 0 && rig.limiter.counterCount == 0)
    }

    @Test func everyAnswerIsCounted() {
        var rig = LimiterRig(policy(limit(max: 1), limit(max: 0, of: "blocked")), usesStore: false)
        _ = rig.decide()
        _ = rig.decide()
        _ = rig.decide(isPeek: true)
        _ = rig.decide(cost: 2)
        _ = rig.decide("blocked")
        _ = rig.decide("other")
        let statistics = rig.limiter.statistics
        #expect(statistics.answers(.local, .allow) == 1 && statistics.answers(.local, .limit) == 3)
        #expect(statistics.answers(.policy, .limit) == 1 && statistics.answers(.policy, .deny) == 1)
        #expect(statistics.answers(.local) == 4 && statistics.total == 6)
    }

    @Test func withoutAStoreNothingIsWantedOfALink() {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: false)
        _ = rig.decide()
        rig.pass(ms: 5_000)
        rig.tick()
        #expect(rig.commands().isEmpty)
        #expect(rig.limiter.storeState == "none" && !rig.limiter.isShared)
        #expect(rig.limiter.nextTickNs() == rig.now.monotonicNs + 1_000_000_000)
    }
}
