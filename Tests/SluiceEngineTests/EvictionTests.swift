import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// Evictions from a full table: first rows that are no longer needed, then rows that the store knows, the least
/// recently used first. What is only here stays. No grant takes what others need.
@Suite struct EvictionTests {
    private static let sessions = policy(limit(max: 10, per: 3_600, scope: .session), limit("u", max: 5, of: "u"))

    /// - Parameter grantParts: 4 of 16 rows for each grant, unless said.
    private func rig(
        _ policy: Policy = sessions, usesStore: Bool = true, maxPlans: Int = 16, grantParts: Int = 4,
        replicas: Int = 1, keepsState: Bool = false
    ) -> LimiterRig {
        LimiterRig(
            policy, replicas: replicas, usesStore: usesStore, maxPlans: maxPlans, keepsState: keepsState,
            grantParts: grantParts)
    }

    private func cause(_ asked: LimiterRig.Asked) -> Busy? {
        if case .overloaded(let cause) = asked { cause } else { nil }
    }

    // MARK: - While the store counts

    @Test func nobodyIsBusyWhileTheStoreCounts() {
        var rig = rig()
        for number in 0..<1_000 {
            let decision = rig.decide(session: "s\(number % 400)")
            #expect(decision.allowed && decision.source == .shared && decision.remaining == 9 - Int64(number / 400))
            if number % 10 == 0 { #expect(rig.decide(grant: "g\(number % 7)", session: "x").source == .shared) }
        }
        #expect(rig.limiter.statistics.overloaded == 0 && rig.limiter.evictedCount > 900)
        #expect(rig.limiter.identityCount <= 16)
        #expect(rig.limiter.counterCount == rig.limiter.identityCount)
        // One grant's checks evicted only its own rows.
        #expect(rig.limiter.table.grant(of: identity(grant: "g3", session: "x")) != nil)
    }

    private func identity(grant: String, session: String) -> ByteString {
        var identity = Identity()
        identity.fill(grant: grant.utf8Span.span, tool: "t".utf8Span.span, approved: false)
        identity.append(session: session.utf8Span.span)
        return identity.key
    }

    @Test func theLeastRecentlyUsedGoesFirst() {
        var rig = rig(maxPlans: 64, grantParts: 8)
        for session in 0..<8 {
            _ = rig.decide(session: "s\(session)")
            rig.pass(ms: 1)
        }
        _ = rig.decide(session: "s0")
        for session in 8..<15 {
            _ = rig.decide(session: "s\(session)")
            rig.pass(ms: 1)
        }
        let kept = (0..<15).filter { rig.limiter.table.find(identity(grant: "g", session: "s\($0)")) != nil }
        #expect(kept == [0, 8, 9, 10, 11, 12, 13, 14])
        #expect(rig.limiter.evictedCount == 7)
    }

    @Test func aFullTableMakesRoomForANewGrant() {
        var rig = rig(maxPlans: 8, grantParts: 4)
        for grant in 0..<200 { #expect(rig.decide(grant: "g\(grant)", session: "s").source == .shared) }
        #expect(rig.limiter.identityCount <= 8 && rig.limiter.statistics.overloaded == 0)
        #expect(rig.limiter.grantCount == rig.limiter.identityCount)
    }

    /// The store is asked about an evicted counter again, and goes on counting it.
    @Test func nothingIsLostWithARow() {
        var rig = rig(policy(limit(max: 3, per: 3_600, scope: .session)))
        var allowed: [Int: Int] = [:]
        for round in 0..<6 {
            for session in 0..<40 where rig.decide(session: "s\(session)").allowed {
                allowed[session, default: 0] += 1
            }
            if round == 2 { rig.pass(ms: 500) }
        }
        #expect(allowed.count == 40 && allowed.values.allSatisfy { $0 == 3 })
    }

    /// A counter shared by a new row and the row evicted for it stays: its share is not taken again.
    @Test func whatTheNextRowSharesStays() {
        var rig = rig(
            policy(
                [limit(max: 10, per: 3_600, scope: .session)], allTools: [limit("all", max: 4, per: 3_600, of: nil)]),
            maxPlans: 4, grantParts: 4, replicas: 4)
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").source == .shared) }
        #expect(rig.limiter.identityCount == 1)
        rig.lose()
        #expect(rig.decide(session: "s3").verdict == .limit)
    }

    /// A plan that a batch refers to stays: its checks are answered by it.
    @Test func whatIsInFlightStays() {
        var rig = rig(maxPlans: 16, grantParts: 4)
        var tickets: [UInt64] = []
        for session in 0..<4 { tickets.append(rig.wait(session: "s\(session)")) }
        #expect(cause(rig.ask(session: "s4")) == .grant)
        #expect(rig.decide(grant: "h", session: "s").allowed)
        #expect(tickets.allSatisfy { rig.answers[$0]?.allowed == true })
        #expect(rig.decide(session: "s4").allowed)
    }

    // MARK: - During an outage

    @Test func oneGrantIsBusyAndNobodyElse() {
        var rig = rig()
        rig.lose()
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").source == .local) }
        for session in 4..<100 { #expect(cause(rig.ask(session: "s\(session)")) == .grant) }
        #expect(rig.decide(session: "s2").remaining == 8)
        #expect(rig.decide(grant: "h", session: "s").allowed)
        #expect(rig.limiter.statistics.busy(.grant) == 96 && rig.limiter.statistics.overloaded == 96)
        #expect(rig.limiter.takeNotices().filter { $0 == .busy(.grant) }.count == 1)
        #expect(rig.limiter.evictedCount == 0)
    }

    @Test func allGrantsTogetherFillTheTable() {
        var rig = rig(maxPlans: 8, grantParts: 4)
        rig.lose()
        for grant in 0..<8 { #expect(rig.decide(grant: "g\(grant)", session: "s").allowed) }
        #expect(cause(rig.ask(grant: "h", session: "s")) == .table)
        #expect(rig.limiter.takeNotices().contains(.busy(.table)))
    }

    /// A check that finds no room evicts nothing either.
    @Test func whoFindsNoRoomTakesNothing() {
        var rig = rig(
            policy(
                [limit(max: 10, per: 3_600, scope: .session), limit("u", max: 5, of: "u")],
                allTools: [limit("all", max: 1, per: 3_600, of: nil)]),
            maxPlans: 4, grantParts: 4)
        for grant in 0..<4 { #expect(rig.decide(grant: "g\(grant)", session: "s").allowed) }
        rig.lose()
        for grant in 0..<4 {
            #expect(cause(rig.ask(grant: "g\(grant)", session: "other")) == .grant)
            #expect(rig.decide(grant: "g\(grant)", session: "s").verdict == .limit)
        }
    }

    /// Local admissions are written back before their row may be evicted.
    @Test func whatIsToBeWrittenBackStays() {
        var rig = rig()
        rig.lose()
        for session in 0..<4 { for _ in 0..<3 { _ = rig.decide(session: "s\(session)") } }
        rig.connect()
        for session in 0..<200 { #expect(rig.decide(session: "n\(session)").source == .shared) }
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").remaining == 6) }
        #expect(rig.limiter.statistics.overloaded == 0 && rig.limiter.journalCount == 0)
    }

    /// While replicas wait for each other's write-backs shares continue, and so do the rows with shares.
    @Test func noRowGoesWhileReplicasComeBack() {
        var rig = rig(replicas: 2)
        rig.beat(2, 1)
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        for session in 0..<4 { for _ in 0..<4 { #expect(rig.decide(session: "s\(session)").source == .shared) } }
        rig.lose()
        for session in 0..<4 { _ = rig.decide(session: "s\(session)") }
        // The other has not written back yet.
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        rig.exchange()
        #expect(rig.limiter.reconciler.recovery != nil && rig.limiter.journalCount == 0)
        #expect(cause(rig.ask(session: "s4")) == .grant)
        rig.pass(ms: 2_100)
        rig.tick()
        #expect(rig.limiter.reconciler.recovery == nil)
        rig.exchange()
        #expect(rig.decide(session: "s4").source == .shared)
        #expect(rig.limiter.evictedCount == 1)
    }

    /// After a reload a batch may still refer to the plan of before, but it does not keep a counter for long: a row that
    /// has the counter, too, stays.
    @Test func aReplacedPlanKeepsNothing() {
        func policy(_ max: Int64) -> Policy {
            StoreModel.policy(
                [limit("c", max: 2, per: 3_600)],
                allTools: [limit("s", max: max, per: 1, of: nil, scope: .session)],
                tools: ["u": ToolRule(action: .allow, reason: nil, limits: [])])
        }
        var rig = rig(policy(10), maxPlans: 8, grantParts: 2)
        for _ in 0..<2 { #expect(rig.decide(session: "a").source == .shared) }
        _ = rig.wait(session: "a")
        #expect(rig.sent().count == 1)
        rig.lose()
        rig.limiter.replacePolicies(PolicySet(single: policy(11)))
        #expect(rig.decide(session: "a").verdict == .limit)
        rig.pass(ms: 1_100)
        // The row has no window of its own any more, but its grant's: room is made of others, or not at all.
        for session in 0..<4 { _ = rig.ask("u", session: "s\(session)") }
        // The store tells what became of the batch: nothing refers to the plan any more.
        let probe = rig.probe()
        rig.answer(probe, rig.run(probe))
        rig.exchange()
        rig.lose()
        #expect(rig.decide(session: "a").verdict == .limit)
    }

    /// A window that is over holds nothing: its row may be dropped, with or without a store.
    @Test func whatIsOverMakesRoom() {
        var rig = rig(policy(limit(max: 10, scope: .session)), usesStore: false)
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").allowed) }
        #expect(cause(rig.ask(session: "s4")) == .grant)
        rig.pass(ms: 60_000)
        #expect(rig.decide(session: "s4").allowed)
        #expect(rig.limiter.evictedCount == 0)
    }

    /// What has yet to be restored after a data loss stays until it is.
    @Test func whatIsToBeRestoredStays() {
        var rig = rig()
        for session in 0..<4 { for _ in 0..<4 { _ = rig.decide(session: "s\(session)") } }
        rig.store = ModelStore(clockMs: rig.store.clockMs)
        _ = rig.decide(grant: "h", session: "s")
        rig.exchange()
        for session in 0..<100 { _ = rig.decide(session: "n\(session)") }
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").remaining == 5) }
    }

    /// A counter reported without usage needs no restore.
    @Test func whatWasSeenEmptyNeedNotBeRestored() {
        var rig = rig()
        for session in 0..<4 { _ = rig.decide(session: "s\(session)", isPeek: true) }
        rig.store = ModelStore(clockMs: rig.store.clockMs)
        _ = rig.decide(grant: "h", session: "s")
        rig.exchange()
        for session in 0..<100 { #expect(rig.decide(session: "n\(session)").source == .shared) }
    }

    @Test func aReservationThatIsOpenHoldsItsRow() throws {
        var rig = rig(maxPlans: 16, grantParts: 4)
        rig.lose()
        let reserved = rig.decide(LimiterRig.Question(session: "s0", cost: 2, reserves: true))
        let id = try #require(reserved.reservation)
        rig.connect()
        for session in 0..<50 { _ = rig.decide(session: "n\(session)") }
        #expect(rig.settle(id, .commit(cost: 5)) == true)
        rig.exchange()
        #expect(rig.decide(session: "s0").remaining == 4)
    }

    /// A row whose change is yet to be recorded stays until then.
    @Test func whatIsToBeRecordedStays() {
        var rig = rig(keepsState: true)
        rig.lose()
        for session in 0..<4 { _ = rig.decide(session: "s\(session)") }
        var records: [StateRecord] = []
        rig.limiter.takeRecords(into: &records, now: rig.now)
        rig.connect()
        while rig.limiter.hasChanges { rig.limiter.takeRecords(into: &records, now: rig.now) }
        for session in 0..<20 { #expect(rig.decide(session: "n\(session)").allowed) }
        for session in 0..<4 { #expect(rig.decide(session: "s\(session)").remaining == 8) }
    }

    /// An earlier process's counter is kept without a plan; if the table needs the room, only until the store has it.
    @Test func whatIsRestoredMakesRoomToo() {
        let session = String(repeating: "s", count: 240)
        var rig = LimiterRig(Self.sessions, keepsState: true, maxTableBytes: 1_000_000)
        rig.lose()
        for number in 0..<1_000 where rig.limiter.table.bytes < 700_000 {
            _ = rig.decide(grant: "g\(number)", session: session)
        }
        let count = rig.limiter.counterCount
        rig.restart()
        #expect(rig.restoration.counters == count && rig.limiter.counterCount == count)
        rig.pass(ms: 1_000)
        rig.tick()
        #expect(rig.limiter.counterCount == count)
        rig.connect()
        rig.record()
        for number in 0..<3_000 { #expect(rig.decide(grant: "n\(number)", session: session).source == .shared) }
        #expect(rig.decide(grant: "g0", session: session).remaining == 8)
        for _ in 0..<3 {
            rig.pass(ms: 1_000)
            rig.tick()
            rig.exchange()
            rig.record()
        }
        #expect(rig.limiter.counterCount == rig.limiter.identityCount && rig.limiter.journalCount == 0)
        #expect(rig.limiter.statistics.overloaded == 0)
    }

    // MARK: - Checks without rows

    @Test(arguments: [true, false]) func whatCountsNothingTakesNoRow(isThere: Bool) {
        let open = Policy(
            defaultRuling: .deny, hidden: ["hidden"], allToolsLimits: [],
            tools: [
                "t": ToolRule(action: .allow, reason: nil, limits: [limit(max: 10, scope: .session)]),
                "free": ToolRule(action: .allow, reason: nil, limits: []),
            ])
        var rig = rig(open)
        if !isThere { rig.lose() }
        for session in 0..<4 { _ = rig.decide(session: "s\(session)") }
        for number in 0..<3_000 {
            let session = "x\(number)"
            #expect(rig.decide("tool\(number)", session: session).rule == "(default deny)")
            #expect(rig.decide("hidden", session: session).verdict == .deny)
            let free = rig.decide("free", session: session, wantsTrace: true)
            #expect(free.allowed && free.source == .policy && free.limit == -1 && free.trace == [])
            #expect(rig.decide("free", grant: "h\(number)", session: session).allowed)
        }
        #expect(rig.limiter.identityCount == 4 && rig.limiter.statistics.overloaded == 0)
        #expect(rig.limiter.rulebook.bytes < 400_000 && rig.limiter.heldBytes > rig.limiter.rulebook.bytes)
    }

    @Test func newPoliciesAreAskedAtOnce() {
        var rig = rig()
        #expect(rig.decide("x").verdict == .deny)
        rig.limiter.replacePolicies(PolicySet(single: policy(limit(max: 3, of: "x"))))
        #expect(rig.decide("x").remaining == 2)
        #expect(rig.decide("t").verdict == .deny)
        rig.limiter.replacePolicies(PolicySet(single: Self.sessions))
        #expect(rig.decide("x").verdict == .deny && rig.decide("t").allowed)
    }

    @Test func aReservationOfWhatCountsNothingHasAnID() {
        var rig = rig(
            Policy(
                defaultRuling: .deny, hidden: [], allToolsLimits: [],
                tools: ["free": ToolRule(action: .allow, reason: nil, limits: [])]))
        #expect(rig.reserve("free").reservation?.count == ReservationID.digitCount)
        #expect(rig.reserve("no").reservation == "")
    }

    // MARK: - Keys of CL.THROTTLE

    @Test func throttleKeysHaveAPartOfTheirOwn() throws {
        var rig = rig(maxPlans: 16, grantParts: 8)
        func ask(_ number: Int) throws -> Limiter.CheckOutcome {
            let throttle = try #require(
                Throttle(key: Array("k\(number)".utf8), maxBurst: 4, count: 1, periodSeconds: 3_600))
            var identity = Identity()
            identity.fill(throttle)
            return rig.limiter.check(
                identity, cost: 1, isPeek: false, wantsTrace: false, ticket: Ticket(rawValue: 0), now: rig.now)
        }
        rig.lose()
        for number in 0..<4 {
            guard case .answered(let decision) = try ask(number) else {
                Issue.record("there is room")
                return
            }
            #expect(decision.allowed)
        }
        guard case .overloaded(.throttle) = try ask(4) else {
            Issue.record("it has its part")
            return
        }
        #expect(rig.decide(session: "s").allowed && rig.limiter.grantCount == 2)
    }

    // MARK: - Beside identities

    @Test func reservationsOfOneGrant() {
        let most = EngineBounds.maxLocalReservations / 1_024
        var rig = rig(policy(limit(max: 1_000_000, per: 3_600)), maxPlans: 4_096, grantParts: 1_024)
        rig.lose()
        for _ in 0..<most { #expect(rig.reserve().allowed) }
        #expect(cause(rig.askToTheEnd(LimiterRig.Question(reserves: true))) == .grantReservations)
        #expect(rig.decide().allowed && rig.reserve(grant: "h").allowed)
        // Expired ones leave stale places.
        rig.pass(ms: 3_600_000)
        #expect(rig.reserve().allowed)
    }

    @Test func settledReservationsMakeRoom() throws {
        let most = EngineBounds.maxLocalReservations / 1_024
        var rig = rig(policy(limit(max: 1_000_000, per: 3_600)), maxPlans: 4_096, grantParts: 1_024)
        rig.lose()
        for _ in 0..<3 * most {
            let id = try #require(rig.reserve().reservation)
            #expect(rig.settle(id, .cancel) == true)
            rig.pass(ms: EngineBounds.fullReservationsPauseMs)
        }
        #expect(rig.limiter.reservations.local.count <= most)
    }

    /// A check that waited for the store and finds no room for its reservation is answered `BUSY`, too.
    @Test func aCheckThatWaitedIsBusyToo() {
        let most = EngineBounds.maxLocalReservations / 1_024
        var rig = rig(policy(limit(max: 1_000_000, per: 3_600)), maxPlans: 4_096, grantParts: 1_024)
        let tickets = (0..<most + 1).map { _ in rig.wait(LimiterRig.Question(reserves: true)) }
        rig.lose()
        #expect(tickets.compactMap { rig.answers[$0] }.count == most && Array(rig.busy.values) == [.grantReservations])
        #expect(rig.limiter.waitingCount == 0)
    }

    @Test func idsOfOneGrantPushOutItsOwn() {
        let most = EngineBounds.maxIdempotencyKeys / 1_024
        var rig = rig(policy(limit(max: 1_000_000, per: 3_600)), maxPlans: 4_096, grantParts: 1_024)
        rig.lose()
        let other = LimiterRig.Question(grant: "h", id: "mine")
        #expect(rig.decide(other).remaining == 999_999)
        for number in 0..<most * 20 { #expect(rig.decide(LimiterRig.Question(id: "id\(number)")).allowed) }
        #expect(
            rig.limiter.reservations.answers.count == most + 1
                && rig.limiter.reservations.answers.dropped == Int64(most * 19))
        #expect(rig.decide(other).remaining == 999_999)
        #expect(rig.limiter.reservations.answers.placeCount < 8 * most)
    }

    // MARK: - Rows of grants

    /// A random history: each grant's totals are exact, and its ring holds all of its rows.
    @Test func randomLife() throws {
        var random = SeededRandom(seed: 11)
        var rig = rig(maxPlans: 48, grantParts: 6)
        for step in 0..<20_000 {
            let grant = "g\(Int.random(in: 0..<12, using: &random))"
            let session = "s\(Int.random(in: 0..<20, using: &random))"
            _ = rig.decide(random.once(in: 5) ? "u" : "t", grant: grant, session: session)
            if random.once(in: 50) { rig.pass(ms: Int64.random(in: 0...2_000, using: &random)) }
            if random.once(in: 500) {
                rig.limiter.replacePolicies(PolicySet(single: Self.sessions))
            }
            if random.once(in: 300) { rig.tick() }
            guard step % 100 == 0 else { continue }
            let table = rig.limiter.table
            var plans = 0
            for number in 0..<12 {
                guard let row = table.grant(of: identity(grant: "g\(number)", session: "")) else { continue }
                guard let first = table.grants[row].first else { continue }
                var at = first
                var count: Int32 = 0
                repeat {
                    expectQuickly(
                        table[at].grant == row && !table[at].isReplaced && !table[at].isFree,
                        "a row of another")
                    count += 1
                    let next = table[at].nextOfGrant
                    expectQuickly(table[next].previousOfGrant == at, "a broken ring")
                    at = next
                } while at != first && count < 100
                expectQuickly(count == table.grants[row].planCount && count <= 8, "\(count) rows of one grant")
                plans += Int(count)
            }
            expectQuickly(plans == table.planCount, "\(plans) of \(table.planCount) rows")
        }
        #expect(rig.limiter.statistics.overloaded == 0 && rig.limiter.evictedCount > 1_000)
    }
}
