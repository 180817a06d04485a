import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct FiguresTests {
    private func row(_ rule: String, _ rig: LimiterRig) -> RuleFigures.Row? {
        rig.limiter.statistics.figures.rules.rows.first { $0.rule == rule }
    }

    private static let rule = "/tools/t/limits/c"

    // MARK: - By rule

    @Test func decisionsAreCountedByTheirRuleSourceAndVerdict() throws {
        var rig = LimiterRig(policy(limit(max: 2)))
        for _ in 0..<3 { _ = rig.decide() }
        _ = rig.decide("unlisted")
        let counted = try #require(row(Self.rule, rig))
        #expect(
            counted.cells == [
                .init(source: .shared, verdict: .allow, count: 2), .init(source: .shared, verdict: .limit, count: 1),
            ])
        #expect(counted.count(.limit) == 1)
        let denied = try #require(row("(default deny)", rig))
        #expect(denied.cells == [.init(source: .policy, verdict: .deny, count: 1)])
        #expect(rig.limiter.statistics.total == 4)
    }

    /// A rule keeps its row when the policies are replaced, so that its counter never falls.
    @Test func aReloadKeepsTheFiguresOfARule() throws {
        var rig = LimiterRig(policy(limit(max: 5)), usesStore: false)
        _ = rig.decide()
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 6), limit("d", max: 1, of: "u"))))
        _ = rig.decide("u")
        _ = rig.decide()
        #expect(row(Self.rule, rig)?.count(.allow) == 2)
        #expect(row("/tools/u/limits/d", rig)?.count(.allow) == 1)
    }

    @Test func aCheckIsNearItsLimitWhenLessThanAFifthIsLeft() {
        var rig = LimiterRig(policy(limit(max: 10)), usesStore: false)
        for _ in 0..<8 { _ = rig.decide() }
        #expect(row(Self.rule, rig)?.nearLimit == 0)
        for _ in 0..<3 { _ = rig.decide() }
        #expect(row(Self.rule, rig)?.nearLimit == 2)
        #expect(row(Self.rule, rig)?.count(.allow) == 10)
        #expect(row(Self.rule, rig)?.count(.limit) == 1)
    }

    @Test func whatHasNoLimitIsNotNearOne() {
        var rig = LimiterRig(
            policy([], tools: ["free": ToolRule(action: .allow, reason: nil, limits: [])]), usesStore: false)
        _ = rig.decide("free")
        #expect(rig.limiter.statistics.figures.rules.rows.map(\.nearLimit) == [0])
    }

    @Test func beyondTheBoundRulesAreCountedTogether() {
        var figures = RuleFigures()
        let count = EngineBounds.maxCountedRules + 10
        for index in 0..<count {
            for _ in 0..<2 { figures.count(Decision(verdict: .deny, source: .policy, rule: "/\(index)")) }
        }
        #expect(figures.rows.count == EngineBounds.maxCountedRules + 1)
        #expect(figures.rows.first?.rule == RuleFigures.others)
        #expect(figures.rows.first?.count(.deny) == 20)
        #expect(figures.rows.reduce(0) { $0 + $1.count(.deny) } == Int64(2 * count))
    }

    /// Two limiters give the same rule different rows.
    @Test func figuresOfLimitersAddUpByName() {
        func decision(_ rule: String) -> Decision { Decision(verdict: .allow, source: .local, rule: rule) }
        var (one, other) = (RuleFigures(), RuleFigures())
        one.count(decision("/a"))
        one.count(decision("/b"))
        let b = decision("/b")
        other.count(b)
        // Its texts know the other's row.
        one.countByName(b)
        one.add(other)
        #expect(one.rows.map(\.rule) == ["/a", "/b"])
        #expect(one.rows.map { $0.count(.allow) } == [1, 3])
        one.uncount(b)
        #expect(one.rows.map { $0.count(.allow) } == [1, 2])
    }

    // MARK: - Shadows

    private static let shadowed = policy(limit(max: 100), limit("s", max: 2, mode: .shadow))

    @Test func whatAShadowLimitWouldDenyIsCountedWhereverItIsDecided() {
        for usesStore in [true, false] {
            var rig = LimiterRig(Self.shadowed, usesStore: usesStore)
            for _ in 0..<5 { #expect(rig.decide().allowed) }
            #expect(row("/tools/t/limits/s", rig)?.shadowDenials == 3, "store: \(usesStore)")
            _ = rig.decide(isPeek: true)
            #expect(row("/tools/t/limits/s", rig)?.shadowDenials == 3)
        }
    }

    /// What other replicas would have been denied is theirs.
    @Test func equalChecksThatShareAnEntryAreEachCounted() {
        var rig = LimiterRig(Self.shadowed)
        _ = rig.decide()
        for _ in 0..<4 { _ = rig.wait() }
        rig.exchange()
        #expect(row("/tools/t/limits/s", rig)?.shadowDenials == 3)
        rig.pass(ms: 60_000)
        for _ in 0..<3 { _ = rig.decide() }
        #expect(row("/tools/t/limits/s", rig)?.shadowDenials == 4)
    }

    // MARK: - Durations

    @Test func durationsAreCountedBySource() {
        var rig = LimiterRig(policy(limit(max: 5)))
        _ = rig.wait()
        rig.pass(ms: 3)
        rig.exchange()
        let shared = rig.limiter.statistics.figures.durations(.shared)
        #expect(shared.count == 1)
        #expect(shared.sum == 3_000_000)
        #expect(shared.counts[shared.bounds.firstIndex(of: 5_000_000) ?? 0] == 1)
        #expect(rig.limiter.statistics.figures.durations(.local).count == 0)
        rig.now.waitedNs = 60_000
        for _ in 0..<15 { _ = rig.decide("unlisted") }
        rig.limiter.noteAnswered(15, now: rig.now)
        rig.limiter.noteAnswered(0, now: rig.now)
        #expect(rig.limiter.statistics.figures.durations(.policy).counts[1] == 15)
        #expect(rig.limiter.statistics.figures.durations(.policy).sum == 900_000)
        #expect(rig.limiter.statistics.figures.durations(.shared).count == 1)
    }

    /// Every decision of a check has one duration, however it comes.
    @Test func aHistogramCountsWhatIsAtMostItsBounds() {
        var histogram = Histogram(bounds: [1, 10])
        for value: Int64 in [0, 1, 2, 10, 11, .max] { histogram.add(value) }
        #expect(histogram.counts == [2, 2, 2])
        #expect(histogram.sum == .max)
        var other = Histogram(bounds: [1, 10])
        other.add(5, times: 3)
        #expect(other.sum == 15)
        histogram.add(other)
        #expect(histogram.counts == [2, 5, 2])
        #expect(histogram.count == 9)
        #expect(histogram.sum == .max)
    }

    @Test func batchesAreCountedBySizeAndTime() {
        var rig = LimiterRig(policy(limit(max: 50)))
        let before = rig.limiter.statistics.figures
        for grant in ["a", "b", "c"] { _ = rig.ask(grant: grant) }
        let batches = rig.sent()
        rig.pass(ms: 2)
        #expect(rig.limiter.oldestBatchNs(now: rig.now) == 2_000_000)
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        let after = rig.limiter.statistics.figures
        #expect(after.batchEntries.sum - before.batchEntries.sum == 3)
        #expect(after.batchDurations.sum - before.batchDurations.sum == 2_000_000)
        #expect(rig.limiter.oldestBatchNs(now: rig.now) == 0)
    }

    // MARK: - The store

    @Test func errorsOfTheStoreAreCountedByKind() {
        var rig = LimiterRig(policy(limit(max: 50)))
        func errors() -> [Int64] { StoreErrorKind.allCases.map { rig.limiter.statistics.figures.storeErrors($0) } }
        let before = errors()
        _ = rig.wait()
        let batch = rig.sent()[0]
        rig.answer(batch, .failure(.rejected("LOADING")))
        rig.close()
        #expect(zip(errors(), before).map { $0 - $1 } == [1, 0, 1, 0, 0])
        #expect(rig.limiter.statistics.figures.lastStoreErrorMs == rig.now.wallMs)
    }

    @Test func anOverdueAnswerIsATimeout() {
        var rig = LimiterRig(policy(limit(max: 50)))
        _ = rig.wait()
        _ = rig.sent()
        rig.pass(ms: 100)
        rig.tick()
        #expect(rig.limiter.statistics.figures.storeErrors(.timeout) == 1)
    }
}
