import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Counting in the store, as long as it works.
@Suite struct LimiterStoreTests {
    private static let start = LimiterRig.startMs

    @Test func startsWithAConnectionAndAProbe() throws {
        var rig = LimiterRig(policy(limit(max: 5)), connected: false)
        #expect(rig.limiter.nextTickNs() == rig.now.monotonicNs && rig.limiter.storeState == "open")
        #expect(rig.commands().isEmpty)
        rig.tick()
        #expect(rig.commands() == [.connect])
        #expect(rig.limiter.storeState == "connecting")
        #expect(rig.decide().source == .local)
        rig.limiter.linkConnected(now: rig.now)
        let probe = try #require(rig.sent().first)
        #expect(probe.operations == [.heartbeat(lifeMs: 30_000), .overrides(known: -1, change: nil)])
        #expect(probe.charges.isEmpty && probe.chargesNothing)
        #expect(probe.sequence == 1 && probe.acknowledgedSequence == 0 && probe.minTimeMs == 0)
        #expect(rig.limiter.storeState == "probing" && rig.decide().source == .local)
        rig.answer(probe, rig.run(probe))
        #expect(rig.limiter.takeNotices() == [.storeReached])
        #expect(rig.limiter.isShared && rig.limiter.storeState == "closed")
        // The two that were admitted here are added.
        #expect(rig.sent().map { $0.entries.map(\.cost) } == [[2]])
        #expect(rig.limiter.isShared)
    }

    @Test func aCheckThroughTheStore() throws {
        var rig = LimiterRig(policy(limit(max: 5)))
        let ticket = rig.wait(cost: 2)
        #expect(rig.limiter.waitingCount == 1)
        let batch = try #require(rig.sent().first)
        #expect(batch.entries == [Batch.Entry(cost: 2, count: 1, firstCharge: 0, chargeCount: 1)])
        #expect(Array(batch.key(0)) == key(limit(max: 5)))
        #expect(
            batch.charges == [
                Batch.Charge(
                    quota: .fixedWindow(max: 5, window: Self.start..<Self.start + 60_000), verifiesTimeToLive: true)
            ])
        #expect(batch.sequence == 2 && batch.acknowledgedSequence == 1 && batch.minTimeMs == Self.start)
        rig.pass(ms: 3)
        rig.answer(batch, rig.run(batch))
        let decision = try #require(rig.answers[ticket])
        #expect(decision.allowed && decision.source == .shared && decision.remaining == 3 && decision.limit == 5)
        #expect(decision.resetMs == 60_000 - 3 && decision.retryAfterMs == 0)
        #expect(rig.limiter.waitingCount == 0)
        // The time to live has been checked in this window.
        _ = rig.wait()
        #expect(rig.sent().first?.charges.first?.verifiesTimeToLive == false)
    }

    /// Two batches are in flight, and everything else waits for one of them.
    @Test func atMostTwoAreInFlight() throws {
        var rig = LimiterRig(policy(limit(max: 100)))
        var batches: [Batch] = []
        for _ in 0..<6 {
            _ = rig.wait()
            batches += rig.sent()
        }
        #expect(batches.map { $0.entries[0].count } == [1, 1])
        rig.answer(batches[0], rig.run(batches[0]))
        let third = rig.sent()
        #expect(third.map { $0.entries[0].count } == [4])
        rig.answer(batches[1], rig.run(batches[1]))
        rig.answer(third[0], rig.run(third[0]))
        #expect(rig.order == [1, 2, 3, 4, 5, 6])
        #expect(rig.order.compactMap { rig.answers[$0]?.remaining } == [99, 98, 97, 96, 95, 94])
        #expect(rig.limiter.waitingCount == 0 && rig.limiter.statistics.batches == 4)
    }

    @Test func equalChecksAreOneEntryInOrderOfArrival() throws {
        var rig = LimiterRig(policy(limit(max: 7)))
        let tickets = (0..<4).map { _ in rig.wait(cost: 2, wantsTrace: true) }
        let batch = try #require(rig.sent().first)
        #expect(batch.entries == [Batch.Entry(cost: 2, count: 3, firstCharge: 0, chargeCount: 1)])
        rig.answer(batch, rig.run(batch))
        #expect(rig.order == tickets)
        let decisions = tickets.compactMap { rig.answers[$0] }
        #expect(decisions.map(\.allowed) == [true, true, true, false])
        #expect(decisions.map(\.remaining) == [5, 3, 1, 1])
        #expect(decisions.map { $0.trace?.first?.used } == [2, 4, 6, 6])
        #expect(decisions.allSatisfy { $0.source == .shared })
        #expect(decisions[3].message == "t is limited to 7 calls per minute for this grant.")
        #expect(rig.store.usage(of: key(limit(max: 7))) == 6)
        #expect(rig.limiter.statistics.coalesced == 4 && rig.limiter.statistics.entries == 1)
    }

    @Test func differentCostsAndPeeksInOneBatch() throws {
        var rig = LimiterRig(policy(limit(max: 10)))
        let one = rig.wait(cost: 1)
        let five = rig.wait(cost: 5)
        let again = rig.wait(cost: 1)
        let peek = rig.wait(cost: 4, isPeek: true)
        let peekToo = rig.wait(cost: 4, isPeek: true)
        let four = rig.wait(cost: 4)
        let never = rig.wait(cost: 3, isPeek: true)
        let batch = try #require(rig.sent().first)
        #expect(batch.entries.map(\.cost) == [1, 5, 4, 4, 3] && batch.entries.map(\.count) == [2, 1, 0, 1, 0])
        rig.answer(batch, rig.run(batch))
        #expect(rig.order == [one, again, five, peek, peekToo, four, never])
        let decisions = rig.order.compactMap { rig.answers[$0] }
        // 1 + 1 + 5 leave 3: a cost of 4 does not fit, and one of 3 does.
        #expect(decisions.map(\.allowed) == [true, true, true, false, false, false, true])
        #expect(decisions.map(\.remaining) == [9, 8, 3, 3, 3, 3, 3])
        #expect(rig.store.usage(of: key(limit(max: 10))) == 7)
    }

    @Test func aBatchOfManyGrants() throws {
        var rig = LimiterRig(policy(limit("a", max: 3), limit("b", max: 2)))
        var tickets: [UInt64] = []
        for _ in 0..<3 { for grant in 0..<50 { tickets.append(rig.wait(grant: "g\(grant)")) } }
        let batch = try #require(rig.sent().first)
        #expect(batch.entries.count == 50 && batch.charges.count == 100)
        #expect(Set((0..<100).map { Array(batch.key($0)) }).count == 100)
        rig.answer(batch, rig.run(batch))
        #expect(tickets.filter { rig.answers[$0]?.allowed == true } == Array(tickets[..<100]))
        let denied = rig.answers[tickets[149]]
        #expect(denied?.rule == "/tools/t/limits/b" && denied?.remaining == 0)
    }

    /// More charges than one script should carry go into the next batch; equal checks still join their entry.
    @Test func longBatchesAreCut() throws {
        var rig = LimiterRig(policy(limit("a", max: 3), limit("b", max: 5)))
        for grant in 0..<256 { _ = rig.wait(grant: "g\(grant)") }
        _ = rig.wait(grant: "g0")
        _ = rig.wait(grant: "h")
        _ = rig.wait(grant: "g0", cost: 2)
        let batches = rig.sent()
        #expect(batches.map(\.charges.count) == [512, 4])
        #expect(batches[0].entries[0].count == 2)
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        #expect(rig.limiter.waitingCount == 0)
        #expect(rig.answers.count == 259)
        #expect(rig.answers.values.count { $0.allowed } == 258)
    }

    @Test func tooManyWait() {
        var rig = LimiterRig(policy(limit(max: 100_000)))
        for _ in 0..<EngineBounds.maxWaitingChecks { _ = rig.wait() }
        if case .overloaded = rig.ask() {} else { Issue.record("one more than may wait") }
        rig.exchange()
        #expect(rig.answers.count == EngineBounds.maxWaitingChecks && rig.limiter.waitingCount == 0)
        #expect(rig.answers.values.allSatisfy { $0.allowed })
        #expect(rig.decide().remaining == 100_000 - Int64(EngineBounds.maxWaitingChecks) - 1)
    }

    @Test func countsTogetherWithOthers() {
        var rig = LimiterRig(policy(limit(max: 10)))
        rig.store.set(key(limit(max: 10)), .integer(8))
        #expect(rig.decide().remaining == 1)
        // The key that another wrote without a time to live has one again.
        #expect(rig.store.timeToLiveMs(of: key(limit(max: 10))) == 120_000)
        #expect(!rig.decide(cost: 2).allowed)
        #expect(rig.decide().remaining == 0)
        #expect(!rig.decide().allowed)
    }

    /// Another client wrote a value that no script writes: nothing is admitted by it, and this limit is counted here.
    @Test(arguments: [-5, -(1 << 53), .max - 5, (1 << 53) + 1] as [Int64]) func anImpossibleTally(_ value: Int64) throws
    {
        var rig = LimiterRig(policy(limit(max: 3), limit(max: 9, of: "u")))
        rig.store.set(key(limit(max: 3)), .integer(value))
        let tickets = (0..<6).map { _ in rig.wait() }
        let other = rig.wait("u")
        rig.exchange()
        #expect(tickets.compactMap { rig.answers[$0]?.allowed } == [true, true, true, false, false, false])
        #expect(tickets.allSatisfy { rig.answers[$0]?.source == .local } && rig.answers[other]?.source == .shared)
        #expect(!rig.decide().allowed)
        #expect(rig.store.value(of: key(limit(max: 3))) == .integer(value) && rig.limiter.isShared)
    }

    // MARK: - Windows

    @Test func windowsAreCutByTheStoresClock() {
        for skewMs in [-3_600_000, -1_000, 0, 1_000, 3_600_000] as [Int64] {
            var rig = LimiterRig(policy(limit(max: 2)), wallSkewMs: skewMs)
            let decision = rig.decide(wantsTrace: true)
            #expect(decision.trace?.first?.windowStartMs == Self.start && decision.source == .shared)
            #expect(decision.resetMs == 60_000 - (rig.store.clockMs - Self.start))
            rig.pass(ms: 60_000)
            #expect(rig.decide(wantsTrace: true).trace?.first?.windowStartMs == Self.start + 60_000)
        }
    }

    /// The window ended while the batch was in flight: it is cut and sent again, and counts in the next.
    @Test func aWindowThatEndedOnTheWay() throws {
        var rig = LimiterRig(policy(limit(max: 2), limit(max: 9, per: 3600, of: "u")))
        rig.pass(ms: 59_990)
        rig.exchange()
        let tickets = [rig.wait(wantsTrace: true), rig.wait("u"), rig.wait(), rig.wait()]
        let batch = try #require(rig.sent().first)
        rig.store.clockMs += 15
        rig.answer(batch, rig.run(batch))
        #expect(rig.order == [tickets[1]])
        let again = try #require(rig.sent().first)
        #expect(again.entries == [Batch.Entry(cost: 1, count: 2, firstCharge: 0, chargeCount: 1)])
        #expect(again.charges[0].quota.windowStartMs == Self.start + 60_000)
        rig.answer(again, rig.run(again))
        #expect(rig.order == [tickets[1], tickets[0], tickets[2], tickets[3]])
        #expect(rig.order.compactMap { rig.answers[$0]?.allowed } == [true, true, true, false])
        #expect(rig.answers[tickets[0]]?.trace?.first?.windowStartMs == Self.start + 60_000)
        #expect(rig.answers[tickets[3]]?.resetMs == 59_995)
        #expect(rig.limiter.statistics.resends == 1)
        #expect(rig.store.usage(of: key(limit(max: 2))) == 0)
        #expect(rig.commands().isEmpty)
    }

    @Test func resendsAreBounded() throws {
        var rig = LimiterRig(policy(limit(max: 2)))
        let ticket = rig.wait()
        for _ in 0...EngineBounds.maxResends {
            let batch = try #require(rig.sent().first)
            rig.store.clockMs += 60_000
            rig.answer(batch, rig.run(batch))
        }
        #expect(rig.answers[ticket]?.source == .local)
        #expect(rig.sent().isEmpty && rig.limiter.waitingCount == 0 && rig.limiter.isShared)
        #expect(rig.decide().source == .shared)
    }

    /// Checks that are sent again keep their deadlines, whichever entries they are in.
    @Test func resentChecksKeepTheirDeadlines() throws {
        var rig = LimiterRig(policy(limit(max: 9), limit(max: 9, of: "u")))
        let first = rig.wait()
        rig.pass(ms: 2)
        let second = rig.wait("u")
        rig.pass(ms: 2)
        let third = rig.wait()
        let batch = try #require(rig.sent().first)
        rig.store.clockMs += 60_000
        rig.answer(batch, rig.run(batch))
        #expect(rig.sent().count == 1)
        for ticket in [first, second, third] {
            let before = rig.now.monotonicNs
            rig.pass(ns: rig.limiter.nextTickNs() - before)
            rig.tick()
            #expect(rig.answers[ticket]?.source == .local)
            #expect(rig.answers.count == Int(ticket))
            if ticket == first { #expect(rig.now.monotonicNs - before == 11_000_000) }
        }
        #expect(rig.limiter.statistics.late == 0)
    }

    /// A store whose clock is behind its earlier time keeps the window that was open; its time counts.
    @Test func aStoreWhoseClockSteppedBack() {
        var rig = LimiterRig(policy(limit(max: 2)))
        rig.pass(ms: 59_000)
        #expect(rig.decide().allowed)
        rig.store.clockMs -= 50_000
        #expect(rig.decide(wantsTrace: true).trace?.first?.windowStartMs == Self.start)
        #expect(!rig.decide().allowed)
        // This machine's clock runs on into the next minute; the store's has stood still.
        rig.now.monotonicNs += EngineBounds.storeFollowedAfterNs - 1
        let denied = rig.decide(wantsTrace: true)
        #expect(denied.source == .shared && denied.trace?.first?.windowStartMs == Self.start && !denied.allowed)
        #expect(rig.limiter.takeNotices().isEmpty)
        rig.now.monotonicNs += 1
        _ = rig.decide()
        #expect(rig.limiter.takeNotices() == [.storeClockFollowed(byMs: 50_000)])
    }

    @Test func aClockFarBehindIsReportedOnce() {
        var rig = LimiterRig(policy(limit(max: 9)))
        rig.store.clockMs -= 100_000
        for _ in 0..<3 { #expect(rig.decide().source == .shared) }
        #expect(rig.limiter.takeNotices() == [.storeClockBehind(byMs: 100_000)])
        rig.store.clockMs += 100_000
        _ = rig.decide()
        rig.store.clockMs -= 70_000
        _ = rig.decide()
        #expect(rig.limiter.takeNotices() == [.storeClockBehind(byMs: 70_000)])
    }

    // MARK: - Time

    @Test func aSilentLinkIsKeptAlive() throws {
        var rig = LimiterRig(policy(limit(max: 9)))
        rig.pass(ms: 990)
        rig.tick()
        #expect(rig.commands().isEmpty)
        rig.pass(ms: 10)
        rig.tick()
        let probe = try #require(rig.sent().first)
        #expect(
            probe.operations == [
                .heartbeat(lifeMs: 30_000, writtenBackMs: LimiterRig.startMs + 1_000),
                .overrides(known: 0, change: nil),
            ],
            "there is nothing to write back")
        rig.answer(probe, rig.run(probe))
        rig.tick()
        #expect(rig.commands().isEmpty && rig.limiter.isShared)
    }

    @Test func theNextTickIsTheOldestDeadline() {
        var rig = LimiterRig(policy(limit(max: 9)))
        rig.tick()
        let asked = rig.now.monotonicNs
        _ = rig.wait()
        #expect(rig.limiter.budget.storeWaitNs == 15_000_000)
        #expect(rig.limiter.nextTickNs() == asked + 15_000_000)
        rig.pass(ms: 3)
        #expect(rig.sent().count == 1)
        _ = rig.wait()
        #expect(rig.limiter.nextTickNs() == asked + 15_000_000)
    }

    @Test func drainingAnswersEverybody() throws {
        var rig = LimiterRig(policy(limit(max: 9)))
        let first = rig.wait()
        let batch = try #require(rig.sent().first)
        let second = rig.wait()
        rig.limiter.drain(now: rig.now)
        rig.collect()
        #expect(rig.order == [first, second] && rig.limiter.waitingCount == 0)
        #expect(rig.answers.values.allSatisfy { $0.source == .local && $0.allowed })
        #expect(rig.limiter.statistics.timedOut == 0)
        rig.answer(batch, rig.run(batch))
        #expect(rig.answers.count == 2)
    }
}
