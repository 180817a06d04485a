import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// An operator gives one grant another maximum of one limit for a time, through this replica or another one.
@Suite struct OverrideTests {
    private static let ten = limit(max: 10)
    private static let hourMs: Int64 = 3_600_000

    private static func change(_ max: Int64, forMs: Int64 = hourMs, of limit: Limit = ten, grant: String = "g")
        -> OverrideChange
    {
        OverrideChange(grant: grant, rule: limit.rule, max: max, forMs: forMs)
    }

    /// Another replica changes one.
    private static func changeElsewhere(_ rig: inout LimiterRig, _ change: OverrideChange, sequence: Int64 = 1) throws {
        var batch = Batch()
        batch.sequence = sequence
        batch.appendKey(KeySpace("sluice").overrides)
        batch.operations = [.overrides(known: 0, change: change)]
        batch.entries = [Batch.Entry(cost: 0, count: 0, firstCharge: 0, chargeCount: 0, operation: 0)]
        let reply = try rig.store.run(batch, replica: 99).get()
        #expect(reply.status == .ran && reply.results[0] == 1)
    }

    private static func admitted(_ rig: inout LimiterRig, of asked: Int = 60, grant: String = "g") -> Int {
        var admitted = 0
        for _ in 0..<asked where rig.decide(grant: grant).allowed { admitted += 1 }
        return admitted
    }

    @Test(arguments: [true, false]) func aRaisedMaximumHoldsAtOnceAndEndsByItself(usesStore: Bool) {
        var rig = usesStore ? LimiterRig.listening(policy(Self.ten)) : LimiterRig(policy(Self.ten), usesStore: false)
        #expect(Self.admitted(&rig) == 10 && Self.admitted(&rig, grant: "h") == 10)
        #expect(rig.override(Self.change(50)) == .done)
        #expect(rig.decide().limit == 50)
        #expect(Self.admitted(&rig) == 39 && Self.admitted(&rig, grant: "h") == 0)
        #expect(rig.limiter.overrides(now: rig.now).map(\.max) == [50])
        rig.pass(ms: Self.hourMs - 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.decide().limit == 50)
        rig.pass(ms: 2_000)
        rig.tick()
        rig.exchange()
        #expect(rig.decide().limit == 10 && rig.limiter.overrides(now: rig.now).isEmpty)
    }

    @Test func aLoweredMaximumDenies() {
        var rig = LimiterRig.listening(policy(Self.ten))
        #expect(Self.admitted(&rig, of: 5) == 5)
        #expect(rig.override(Self.change(3)) == .done)
        #expect(Self.admitted(&rig) == 0)
        #expect(rig.override(Self.change(0)) == .done)
        let blocked = rig.decide()
        #expect(!blocked.allowed && blocked.retryAfterMs == -1)
        #expect(rig.override(Self.change(0, forMs: 0)) == .done && rig.override(Self.change(0, forMs: 0)) == .notFound)
        #expect(Self.admitted(&rig) == 5)
    }

    /// A denial is not cached over a change that another replica made.
    @Test func whatAnotherReplicaChangesIsReadWhenItIsAnnounced() throws {
        var rig = LimiterRig.listening(policy(Self.ten))
        #expect(Self.admitted(&rig) == 10 && rig.decide().source == .cache)
        try Self.changeElsewhere(&rig, Self.change(50))
        #expect(rig.decide().source == .cache)
        rig.hearChanges()
        rig.exchange()
        #expect(Self.admitted(&rig) == 40)
        try Self.changeElsewhere(&rig, Self.change(0, forMs: 0), sequence: 2)
        rig.hearChanges()
        rig.exchange()
        #expect(rig.decide().limit == 10)
    }

    @Test func withoutTheFeedTheyAreReadWithEveryHeartbeat() throws {
        var rig = LimiterRig(policy(Self.ten))
        try Self.changeElsewhere(&rig, Self.change(50))
        rig.pass(ms: 1_100)
        rig.tick()
        rig.exchange()
        #expect(Self.admitted(&rig) == 50)
    }

    @Test func aReplicaThatStartsReadsThem() throws {
        var rig = LimiterRig(policy(Self.ten), connected: false)
        try Self.changeElsewhere(&rig, Self.change(50))
        rig.connect()
        #expect(Self.admitted(&rig) == 50)
    }

    /// During an outage the share is a part of the other maximum, until it ends.
    @Test func duringAnOutageItGoesOnTillItsEnd() {
        var rig = LimiterRig.listening(policy(Self.ten), replicas: 2)
        #expect(rig.override(Self.change(50, forMs: 90_000)) == .done)
        rig.close()
        #expect(rig.override(Self.change(90)) == nil)
        rig.pass(ms: 60_000)
        rig.tick()
        #expect(Self.admitted(&rig) == 25)
        rig.pass(ms: 60_000)
        rig.tick()
        #expect(Self.admitted(&rig) == 5)
    }

    @Test func aLeasedLimitSpendsNoBlockOfAnotherMaximum() {
        let leased = limit(max: 1_000, precision: .leased)
        var rig = LimiterRig.listening(policy(leased))
        for _ in 0..<100 {
            #expect(rig.decide().allowed)
            rig.exchange()
        }
        #expect(rig.decide().source == .lease)
        #expect(rig.override(Self.change(100, of: leased)) == .done)
        #expect(Self.admitted(&rig) == 0)
        rig.exchange()
        #expect(rig.override(Self.change(150, of: leased)) == .done)
        var admitted = 0
        for _ in 0..<100 {
            if rig.decide().allowed { admitted += 1 }
            rig.exchange()
        }
        #expect(admitted == 49)
    }

    @Test func everyAlgorithmHasOverrides() {
        let limits = [
            limit("f", max: 10), limit("s", max: 10, algorithm: .slidingWindow),
            limit("b", max: 10, algorithm: .tokenBucket, burst: 10), limit("l", max: 10, algorithm: .slidingLog),
        ]
        for limit in limits {
            for usesStore in [true, false] {
                var rig = LimiterRig(policy(limit), usesStore: usesStore)
                #expect(Self.admitted(&rig) == 10)
                #expect(rig.override(Self.change(30, of: limit)) == .done)
                #expect(Self.admitted(&rig) == 20, "\(limit)")
            }
        }
    }

    /// Where grants share the counter, or the maximum is none that such a limit may have, nothing is overridden.
    @Test func otherLimitsAreLeftAsTheyAre() {
        for (limit, max) in [
            (limit(max: 10, scope: .global), 50), (limit(max: 10, scope: .session, acrossGrants: true), 50),
            (limit(max: 10, algorithm: .slidingLog), 2_000),
        ] {
            var rig = LimiterRig(policy(limit))
            #expect(rig.override(Self.change(Int64(max), of: limit)) == .done)
            #expect(Self.admitted(&rig) == 10)
        }
    }

    @Test func countersAreReportedWithTheOtherMaximum() {
        var rig = LimiterRig.listening(policy(Self.ten))
        #expect(rig.decide().allowed && rig.override(Self.change(50)) == .done)
        let stored = rig.store.stored(rig.limiter.counterQuery(grant: nil, tool: nil, limit: 10))
        let reports = rig.limiter.counters(stored: stored, grant: nil, tool: nil, now: rig.now)
        #expect(reports.map(\.max) == [50] && reports.map(\.remaining) == [49])
    }

    @Test func noMoreThanTheirBound() {
        let rule = String(decoding: KeyText.encoded(Self.ten.rule.utf8), as: UTF8.self)
        for usesStore in [true, false] {
            var rig = LimiterRig(policy(Self.ten), usesStore: usesStore)
            if usesStore {
                let untilMs = rig.store.clockMs + Self.hourMs
                let list = (0..<EngineBounds.maxOverrides).map { "g\($0):\(rule) 50 \(untilMs)" }
                rig.store.set(KeySpace("sluice").overrides, .text("7 " + list.joined(separator: " ")))
            } else {
                for number in 0..<EngineBounds.maxOverrides {
                    #expect(rig.override(Self.change(50, grant: "g\(number)")) == .done)
                }
            }
            #expect(rig.override(Self.change(50, grant: "another")) == .full)
            #expect(rig.override(Self.change(60, grant: "g1")) == .done)
            #expect(rig.limiter.overrideCount(now: rig.now) == EngineBounds.maxOverrides)
        }
    }

    /// In a cluster each grant's partition has its own, and a partition that is away keeps what holds.
    @Test func inAClusterTheyAreInTheGrantsPartition() {
        var rig = PartitionRig(policy(Self.ten), replicas: 2)
        let grants = (0..<20).map { "g\($0)" }
        for grant in grants { #expect(rig.override(Self.change(50, grant: grant)) == .done) }
        rig.hearChanges()
        for replica in 0..<2 {
            #expect(rig.replicas[replica].overrideCount(now: rig.now) == grants.count)
            #expect(rig.replicas[replica].overrides(ofGrant: "g7", now: rig.now).map(\.max) == [50])
            for grant in grants {
                #expect(rig.decide(CheckQuestion(grant: grant), of: replica).limit == 50)
                #expect(rig.decide(CheckQuestion(grant: grant + "x"), of: replica).limit == 10)
            }
        }
        let home = rig.replicas[0].partitions(ofGrant: "g7")[0]
        rig.lose(home)
        #expect(rig.override(Self.change(60, grant: "g7")) == nil)
        #expect(rig.decide(CheckQuestion(grant: "g7")).limit == 50)
    }

    /// Redis lost its data, and with it the overrides.
    @Test func whatTheStoreLostHoldsNoMore() {
        var rig = LimiterRig.listening(policy(Self.ten))
        #expect(rig.override(Self.change(50)) == .done && rig.decide().limit == 50)
        rig.store.flush()
        _ = rig.decide()
        for _ in 0..<100 {
            rig.pass(ms: 50)
            rig.tick()
            rig.exchange()
        }
        #expect(rig.decide().limit == 10)
    }

    @Test func anotherValueUnderTheirKeyIsAFault() {
        var rig = LimiterRig.listening(policy(Self.ten))
        rig.store.set(KeySpace("sluice").overrides, .foreign)
        guard case .fault? = rig.override(Self.change(50)) else {
            Issue.record("no fault")
            return
        }
        #expect(rig.decide().limit == 10)
    }

    @Test func namesOfAnyBytesSurviveTheStore() {
        let name = "a b%:é/\u{1}"
        let limit = limit(name, max: 10)
        var rig = LimiterRig(policy(limit))
        #expect(rig.override(Self.change(50, of: limit, grant: name)) == .done)
        #expect(rig.limiter.overrides(now: rig.now).map(\.grant) == [name])
        #expect(rig.decide(grant: name).limit == 50 && rig.decide().limit == 10)
    }
}

extension LimiterRig {
    /// - Returns: nil if the store was unavailable.
    mutating func override(_ change: OverrideChange) -> OverrideOutcome? {
        let ticket = nextTicket()
        switch limiter.override(change, ticket: Ticket(rawValue: ticket), now: now) {
        case .answered(let outcome): return outcome
        case .storeUnavailable: return nil
        case .overloaded: preconditionFailure("overloaded")
        case .waiting:
            exchange()
            return overridden[ticket]
        }
    }
}
