import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// What ends a cached denial early: changes of counters, here and elsewhere, and a change feed that is down.
@Suite struct DenialChangeTests {
    private static let kinds = [
        limit(max: 2), limit(max: 2, algorithm: .slidingWindow), limit(max: 2, algorithm: .tokenBucket, burst: 2),
        limit(max: 2, scope: .global),
    ]

    /// A limiter whose check was denied, and the reservation that takes everything.
    private func denied(_ limit: Limit) throws -> (rig: LimiterRig, reservation: String) {
        var rig = LimiterRig.listening(policy(limit))
        let reservation = try #require(rig.reserve(cost: 2).reservation)
        #expect(rig.decide().source == .shared && rig.decide().source == .cache)
        rig.pass(ms: 1)
        return (rig, reservation)
    }

    /// Another replica's batch, which the store runs without this limiter.
    private func elsewhere(_ rig: inout LimiterRig, settle reservation: String, _ settlement: Batch.Settlement) {
        var batch = Batch()
        batch.sequence = 1
        batch.appendKey(KeySpace("sluice").grantPrefix("g".utf8) + "!r:\(reservation)".utf8)
        batch.operations.append(.settle(settlement))
        batch.entries.append(Batch.Entry(cost: 0, count: 0, firstCharge: 0, chargeCount: 0, operation: 0))
        guard case .success(let reply) = rig.store.run(batch, replica: 99) else { preconditionFailure("refused") }
        #expect(reply.results == [1])
    }

    @Test(arguments: kinds, [Batch.Settlement.cancel, .commit(cost: 1)])
    func settlingHereDropsItAtOnce(_ limit: Limit, _ settlement: Batch.Settlement) throws {
        var (rig, reservation) = try denied(limit)
        #expect(rig.settle(reservation, settlement) == true)
        rig.pass(ns: 1)
        #expect(rig.decide().allowed, "although no change was published")
    }

    @Test(arguments: kinds, [Batch.Settlement.cancel, .commit(cost: 1)])
    func settlingElsewhereDropsItWithTheNotification(_ limit: Limit, _ settlement: Batch.Settlement) throws {
        var (rig, reservation) = try denied(limit)
        elsewhere(&rig, settle: reservation, settlement)
        #expect(rig.decide().source == .cache, "on its way")
        rig.hearChanges()
        #expect(rig.decide().allowed)
    }

    @Test(arguments: [Batch.Settlement.commit(cost: 2), .commit(cost: 3), .release])
    func whatLowersNothingIsNotPublished(_ settlement: Batch.Settlement) throws {
        var (rig, reservation) = try denied(limit(max: 2))
        if settlement != .release { elsewhere(&rig, settle: reservation, settlement) }
        #expect(rig.store.takePublished() == [])
        #expect(rig.decide().source == .cache)
    }

    @Test func anothersChangeLeavesItAlone() throws {
        var (rig, _) = try denied(limit(max: 2))
        let other = try #require(rig.reserve(grant: "h").reservation)
        #expect(rig.settle(other, .cancel, grant: "h") == true)
        rig.hearChanges()
        #expect(rig.decide().source == .cache)
    }

    /// A denial that was asked for before a change, and arrives after its notification, is delivered and not cached.
    @Test func anAnswerFromBeforeTheChangeIsNotCached() throws {
        var (rig, reservation) = try denied(limit(max: 2))
        rig.pass(ms: 1_001)
        rig.exchange()
        let ticket = rig.wait()
        let batch = try #require(rig.sent().first)
        let result = rig.run(batch)
        elsewhere(&rig, settle: reservation, .cancel)
        rig.pass(ns: 1)
        rig.hearChanges()
        rig.answer(batch, result)
        #expect(rig.answers[ticket]?.allowed == false)
        #expect(rig.decide().allowed)
    }

    // MARK: - The feed is down

    @Test func nothingIsCachedUntilTheFeedIsOpen() {
        var rig = LimiterRig(policy(limit(max: 1)))
        _ = rig.decide()
        for _ in 0..<3 { #expect(rig.decide().source == .shared) }
        rig.tick()
        _ = rig.commands()
        #expect(rig.listening == [.open] && !rig.limiter.hearsChanges)
        for _ in 0..<3 { #expect(rig.decide().source == .shared) }
        let ticket = rig.wait()
        let batches = rig.sent()
        rig.pass(ns: 1)
        // What it sends then comes behind them.
        rig.limiter.linkChangeFeed(.opened, now: rig.now)
        for batch in batches { rig.answer(batch, rig.run(batch)) }
        #expect(rig.answers[ticket]?.allowed == false)
        #expect(rig.decide().source == .shared, "that was asked before")
    }

    @Test func theCacheIsDroppedWithTheConnection() throws {
        var (rig, reservation) = try denied(limit(max: 2))
        rig.hear(.closed(reason: "reset"))
        #expect(!rig.limiter.hearsChanges)
        for _ in 0..<2 { #expect(rig.decide().source == .shared) }
        elsewhere(&rig, settle: reservation, .cancel)
        _ = rig.store.takePublished()
        rig.listen()
        #expect(rig.decide().allowed, "what was missed while it was down is not believed")
    }

    @Test func silenceClosesTheFeed() throws {
        var (rig, _) = try denied(limit(max: 2))
        rig.listening = []
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.listening == [.probe])
        rig.pass(ms: 999)
        rig.tick()
        #expect(rig.limiter.hearsChanges)
        #expect(rig.decide().source == .shared && rig.decide().source == .cache)
        rig.pass(ms: 1)
        rig.tick()
        rig.exchange()
        #expect(rig.listening == [.probe, .close] && !rig.limiter.hearsChanges)
        #expect(rig.decide().source == .shared)
        rig.listen()
        #expect(rig.decide().source == .shared && rig.decide().source == .cache)
    }

    @Test(arguments: [ChangeFeedEvent.alive, .changed(Array("sluice:2:{x}".utf8))])
    func aWordKeepsItGoing(_ event: ChangeFeedEvent) throws {
        var (rig, _) = try denied(limit(max: 2))
        for _ in 0..<10 {
            rig.pass(ms: 1_000)
            rig.tick()
            rig.hear(event)
        }
        #expect(rig.limiter.hearsChanges && !rig.listening.contains(.close))
    }

    @Test func isReportedOnceWhenTheFeedIsDown() {
        var rig = LimiterRig(policy(limit(max: 1)))
        var notices: [Limiter.Notice] = []
        var pauses: [Int64] = []
        var lastNs = rig.now.monotonicNs
        for _ in 0..<12 {
            while rig.listening.isEmpty {
                rig.tick()
                rig.exchange()
                if rig.listening.isEmpty { rig.pass(ms: 10) }
            }
            #expect(rig.listening == [.open])
            rig.listening = []
            pauses.append((rig.now.monotonicNs - lastNs) / 1_000_000)
            lastNs = rig.now.monotonicNs
            rig.hear(.closed(reason: "NOPERM"))
            notices += rig.limiter.takeNotices()
        }
        #expect(notices == [.changeFeedDown(reason: "NOPERM")])
        #expect(pauses.suffix(2).allSatisfy { (5_000...10_010).contains($0) })
        rig.listen()
        #expect(rig.limiter.takeNotices() == [.changeFeedUp])
    }

    @Test func withoutAStoreThereIsNoFeed() {
        var rig = LimiterRig(policy(limit(max: 1)), usesStore: false)
        for _ in 0..<5 {
            rig.pass(ms: 1_000)
            rig.tick()
            _ = rig.commands()
        }
        #expect(rig.listening == [])
    }

    @Test func itIsLookedForAgainAsSoonAsTheStoreIsBack() {
        var rig = LimiterRig.listening(policy(limit(max: 1)))
        rig.listening = []
        rig.hear(.closed(reason: "gone"))
        rig.lose()
        rig.tick()
        _ = rig.commands()
        #expect(rig.listening == [])
        rig.connect()
        rig.tick()
        _ = rig.commands()
        #expect(rig.listening == [.open])
    }

    // MARK: - Slots

    @Test func keysOfOneTagShareAPlace() {
        func slot(_ key: String) -> UInt16 { DenialCache.slot(of: Array(key.utf8)[...], in: "sluice") }
        let place = slot("sluice:2:{g}")
        #expect(place == slot("sluice:2:{g}:t:c:f60:0") && place == slot("sluice:2:{g}:!r:ab"))
        #expect(place != slot("sluice:2:{h}") && place < UInt16(EngineBounds.changeSlots))
        _ = (slot(""), slot("}"), slot("{"), slot("}{=}"))
    }
}
