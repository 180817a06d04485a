import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// An operator clears counters, through this replica or another one.
@Suite struct ClearTests {
    private static let ten = limit(max: 10)

    private static func baseKey(_ limit: Limit) -> [UInt8] {
        CounterKey.baseKey(
            in: "sluice", limit: limit, identity: Identity.Parts(grant: [103], tool: "t", approved: false))
    }

    private static func storedKey(_ limit: Limit) -> [UInt8] {
        limit.algorithm.hasWindows ? key(limit) : baseKey(limit)
    }

    private static func counterKey(_ limit: Limit) throws -> CounterKey {
        try #require(CounterKey(storedKey(limit), in: "sluice"))
    }

    /// Another replica clears a counter.
    private static func clearElsewhere(_ rig: inout LimiterRig, _ limit: Limit = ten, sequence: Int64 = 1) throws {
        let counter = try counterKey(limit)
        var batch = Batch()
        batch.sequence = sequence
        batch.appendKey(storedKey(limit))
        if limit.algorithm == .slidingWindow { batch.appendKey(counter.previous.bytes(in: "sluice")) }
        let bounds = Counter.bounds(of: limit.window, limit.algorithm, at: LimiterRig.startMs)
        batch.charges = [Batch.Charge(quota: Quota(limit).at(bounds), verifiesTimeToLive: false)]
        batch.operations = [.clear]
        batch.entries = [Batch.Entry(cost: 1, count: 1, firstCharge: 0, chargeCount: 1, operation: 0)]
        let reply = try rig.store.run(batch, replica: 99).get()
        #expect(reply.status == .ran)
    }

    @Test func whatACounterHeldIsReportedAndItIsEmpty() throws {
        var rig = LimiterRig.listening(policy(Self.ten))
        for _ in 0..<10 { #expect(rig.decide().allowed) }
        #expect(!rig.decide().allowed && rig.decide().source == .cache)
        let cleared = rig.clear([try Self.counterKey(Self.ten)])
        #expect(cleared == [.held(10)] && rig.limiter.statistics.clearedCounters == 1)
        // Without its own notification.
        for _ in 0..<10 { #expect(rig.decide().allowed) }
        #expect(!rig.decide().allowed)
    }

    /// Only what a window held is reported, and a counter that the store never had.
    @Test func everyAlgorithmIsCleared() throws {
        let limits = [
            limit("f", max: 10), limit("s", max: 10, algorithm: .slidingWindow),
            limit("b", max: 10, algorithm: .tokenBucket, burst: 10), limit("l", max: 10, algorithm: .slidingLog),
        ]
        for usesStore in [true, false] {
            var rig = LimiterRig(policy(limits), usesStore: usesStore)
            #expect(rig.decide(cost: 9).allowed && !rig.decide(cost: 9).allowed)
            let keys = try limits.map { try Self.counterKey($0) }
            let cleared = rig.clear(keys)
            #expect(cleared == [.held(9), .held(9), .held(9), .held(9)])
            #expect(rig.decide(cost: 10).allowed && !rig.decide().allowed)
        }
    }

    @Test func theWindowBeforeASlidingOneIsClearedToo() throws {
        let sliding = limit(max: 10, algorithm: .slidingWindow)
        for usesStore in [true, false] {
            var rig = LimiterRig(policy(sliding), usesStore: usesStore)
            #expect(rig.decide(cost: 10).allowed)
            rig.pass(ms: 60_000)
            // Listed before the window ended.
            let cleared = rig.clear([try Self.counterKey(sliding)])
            #expect(cleared == [.held(10)])
            #expect(rig.decide(cost: 10).allowed)
        }
    }

    /// A fixed window that has ended meanwhile holds nothing.
    @Test func aWindowThatIsOverIsNoFault() throws {
        var rig = LimiterRig(policy(Self.ten))
        #expect(rig.decide(cost: 10).allowed)
        rig.pass(ms: 60_000)
        let cleared = rig.clear([try Self.counterKey(Self.ten)])
        #expect(cleared == [.held(0)])
    }

    @Test func aKeyThatIsNoCounterIsReportedAndTheOthersAreCleared() throws {
        let other = limit("d", max: 10)
        var rig = LimiterRig(policy(Self.ten, other))
        #expect(rig.decide(cost: 3).allowed)
        rig.store.set(key(Self.ten), text: "many")
        let cleared = rig.clear([try Self.counterKey(Self.ten), try Self.counterKey(other)])
        #expect(cleared == [.fault("ERR value is not an integer or out of range"), .held(3)])
    }

    /// What this replica saw is no loss, and is not restored after one.
    @Test func aReplicaThatHearsOfItForgetsWhatItSaw() throws {
        for limit in [Self.ten, limit(max: 10, algorithm: .slidingWindow)] {
            var rig = LimiterRig.listening(policy(limit))
            rig.pass(ms: 200)
            #expect(rig.decide(cost: 9).allowed)
            try Self.clearElsewhere(&rig, limit)
            rig.hearChanges()
            rig.exchange()
            let counter = try #require(rig.limiter.table.counter(named: ByteString(bytes: Self.baseKey(limit))))
            #expect(rig.limiter.table[counter].sharedUsed == 0 && !rig.limiter.table[counter].isCleared)
            rig.hear(.alive)
            #expect(rig.store.usage(of: key(limit)) == 0 && rig.limiter.statistics.counterLosses == 0)
            #expect(rig.limiter.statistics.figures.restores == 0)
            rig.store.flush()
            #expect(rig.decide(cost: 2).allowed)
            rig.exchange()
            #expect(rig.store.usage(of: key(limit)) == 2)
            // In an outage it has the whole maximum again, less that.
            rig.lose()
            #expect(rig.decide(cost: 8).allowed && !rig.decide().allowed)
        }
    }

    @Test func aReplicaReadsBucketsAndLogsAgain() throws {
        for limit in [
            limit(max: 10, algorithm: .tokenBucket, burst: 10), limit(max: 10, algorithm: .slidingLog),
        ] {
            var rig = LimiterRig.listening(policy(limit))
            #expect(rig.decide(cost: 9).allowed)
            try Self.clearElsewhere(&rig, limit)
            rig.hearChanges()
            rig.exchange()
            let counter = try #require(rig.limiter.table.counter(named: ByteString(bytes: Self.baseKey(limit))))
            #expect(rig.limiter.table[counter].sharedUsed == 0 && !rig.limiter.table[counter].isCleared)
            rig.lose()
            #expect(rig.decide(cost: 10).allowed && !rig.decide().allowed)
        }
    }

    /// If the store is lost before the usage was read again, the higher one still bounds what is admitted, and is not restored.
    @Test func untilItIsReadTheUsageSeenIsAMaximum() throws {
        var rig = LimiterRig.listening(policy(Self.ten))
        #expect(rig.decide(cost: 9).allowed)
        try Self.clearElsewhere(&rig)
        for payload in rig.store.takePublished() { rig.limiter.linkChangeFeed(.changed(payload), now: rig.now) }
        rig.close()
        #expect(rig.decide().allowed && !rig.decide().allowed)
        rig.store.flush()
        rig.connect()
        rig.exchange()
        #expect(rig.store.usage(of: key(Self.ten)) == 1)
    }

    @Test func withoutTheStoreNothingIsCleared() throws {
        var rig = LimiterRig(policy(Self.ten))
        #expect(rig.decide(cost: 9).allowed)
        rig.lose()
        let cleared = rig.clear([try Self.counterKey(Self.ten)])
        #expect(cleared == nil)
        #expect(rig.decide().allowed && !rig.decide().allowed)
    }

    /// The store is lost while it is asked.
    @Test func withoutAnAnswerItIsUnclear() throws {
        var rig = LimiterRig(policy(Self.ten))
        #expect(rig.decide(cost: 9).allowed)
        let ticket = rig.nextTicket()
        guard
            case .waiting = rig.limiter.clear(
                [try Self.counterKey(Self.ten)], ticket: Ticket(rawValue: ticket), now: rig.now)
        else { Issue.record("it does not wait"); return }
        let batch = rig.sent()[0]
        _ = rig.run(batch)
        rig.close()
        #expect(rig.settled[ticket] == .some(nil))
        rig.connect()
        rig.exchange()
        #expect(rig.store.usage(of: key(Self.ten)) == 0 && rig.decide(cost: 10).allowed)
    }

    /// In a cluster, in the partition of the grant, and the other replica hears of it.
    @Test func inACluster() throws {
        var rig = PartitionRig(policy(Self.ten), replicas: 2)
        for replica in 0..<2 { _ = rig.decide(CheckQuestion(grant: "a", cost: 5), of: replica) }
        let home = rig.home("a")
        let stored = rig.stores[home].stored(rig.replicas[0][home].counterQuery(grant: "a", tool: nil, limit: 9))
        #expect(stored.counters.map(\.usage.used) == [10])
        let cleared = rig.clear(stored.counters.map(\.key), "a")
        #expect(cleared == [.held(10)] && rig.used(Self.ten, grant: "a") == 0)
        #expect(rig.decide(CheckQuestion(grant: "a", cost: 10), of: 1).allowed)
        rig.lose(home)
        let unavailable = rig.clear(stored.counters.map(\.key), "a")
        #expect(unavailable == nil)
    }

    /// What an outage admitted is written back after a clear by another replica.
    @Test func whatIsWrittenBackLaterStays() throws {
        var rig = LimiterRig(policy(Self.ten), replicas: 2)
        #expect(rig.decide(cost: 4).allowed)
        rig.lose()
        #expect(rig.decide(cost: 3).allowed)
        try Self.clearElsewhere(&rig)
        rig.connect()
        rig.exchange()
        #expect(rig.store.usage(of: key(Self.ten)) == 3)
    }
}

extension LimiterRig {
    /// nil if the store is unavailable.
    mutating func clear(_ keys: [CounterKey]) -> [CounterClearing.Outcome]? {
        let ticket = nextTicket()
        switch limiter.clear(keys, ticket: Ticket(rawValue: ticket), now: now) {
        case .cleared(let counters): return counters.compactMap(\.outcome)
        case .storeUnavailable: return nil
        case .overloaded: preconditionFailure("overloaded")
        case .waiting:
            exchange()
            return cleared[ticket]?.compactMap(\.outcome)
        }
    }
}
