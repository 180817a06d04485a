import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct PartitionedLimiterTests {
    private let ten = limit(max: 10)

    /// Each grant has its partition, the same in every replica, and the others are not asked.
    @Test func aGrantIsCountedInOnePartition() {
        var rig = PartitionRig(policy(ten), replicas: 2)
        #expect(Set((0..<200).map { rig.home("g\($0)") }).count == 8)
        for grant in ["a", "b", "c", "d"] {
            rig.sent = []
            for replica in [0, 1, 0] { #expect(rig.decide(CheckQuestion(grant: grant), of: replica).source == .shared) }
            #expect(rig.sent == Array(repeating: rig.home(grant), count: 3))
            #expect(rig.used(ten, grant: grant) == 3)
        }
        #expect(rig.replicas[0].statistics.total == 8 && rig.replicas[1].statistics.total == 4)
    }

    /// While a master works on half of its partitions, the checks of the others gather; another master does not wait for it.
    @Test func partitionsOfAMasterTakeTurns() {
        var rig = PartitionRig(policy(ten), masters: (0..<8).map { $0 < 6 ? "a" : "b" })
        // Past the heartbeats.
        rig.pass(ms: 1_000)
        let grants = (0..<8).map { partition in (0...).lazy.map { "g\($0)" }.first { rig.home($0) == partition } ?? "" }
        var ticket: UInt64 = 10_000
        func check(_ partition: Int) {
            ticket += 1
            let question = CheckQuestion(grant: grants[partition])
            let outcome = rig.replicas[0].check(
                question.identity(rig.replicas[0].counted), cost: 1, isPeek: false, wantsTrace: false,
                ticket: Ticket(rawValue: ticket), now: rig.now)
            guard case .waiting = outcome else {
                Issue.record("\(outcome)")
                return
            }
        }
        for partition in 0..<8 { check(partition) }
        let first = rig.departures()
        #expect(first.count == 5 && first.map(\.partition).filter { $0 < 6 }.count == 3)
        let waiting = (0..<6).filter { !first.map(\.partition).contains($0) }
        for partition in waiting { check(partition) }
        #expect(rig.departures().isEmpty)
        // One of its batches was refused before it ran: its place is free.
        let refused = first.first { $0.partition < 6 }
        rig.replicas[0].linkAnswered(
            refused?.partition ?? 0, sequence: refused?.sequence ?? 0, .failure(.rejected("OOM")), now: rig.now)
        #expect(rig.departures().count == 1)
        // The others hang: those that wait leave before their checks run out of time.
        rig.now.monotonicNs = rig.replicas[0].nextTickNs()
        rig.replicas[0].tick(now: rig.now)
        #expect(rig.now.monotonicNs - 5_000_000_000 > 0)
        #expect(Set(rig.departures().map(\.partition)).isSubset(of: Set(waiting)))
    }

    /// A server that is away makes the counters of its partitions local, and no others.
    @Test func onePartitionIsAway() {
        var rig = PartitionRig(policy(ten))
        let grants = (0..<40).map { "g\($0)" }
        let lost = rig.home("g0")
        rig.notices = []
        rig.lose(lost)
        #expect(rig.replicas[0].sharedPartitionCount == 7 && !rig.replicas[0].isShared)
        for grant in grants {
            #expect(rig.decide(CheckQuestion(grant: grant)).source == (rig.home(grant) == lost ? .local : .shared))
        }
        #expect(rig.replicas[0].storeError == "reset")
        let lostAt = rig.replicas[0].unsharedSince(lost)
        #expect(lostAt != nil && (0..<8).allSatisfy { $0 == lost || rig.replicas[0].unsharedSince($0) == nil })
        rig.isUp[lost] = true
        rig.connect()
        rig.pass(ms: 3_000)
        #expect(rig.replicas[0].isShared && rig.replicas[0].unsharedSince(lost) == nil)
        #expect(grants.allSatisfy { rig.used(ten, grant: $0) == 1 })
        #expect(rig.notices.first == .storeLost(reason: "reset") && rig.notices.last == .storeReached)
    }

    /// What changes in all partitions is one line of the log.
    @Test func noticesOfAllPartitionsAreOne() {
        var rig = PartitionRig(policy(ten), partitions: 64)
        #expect(rig.notices == [.storeReached])
        rig.notices = []
        for partition in 0..<64 { rig.lose(partition) }
        #expect(rig.notices.filter { $0 == .storeLost(reason: "reset") }.count == 1)
        #expect(rig.replicas[0].statistics.outages == 1)
        #expect(rig.notices.allSatisfy { if case .storeReached = $0 { false } else { true } })
        rig.notices = []
        rig.isUp = rig.isUp.map { _ in true }
        rig.connect()
        #expect(rig.notices.filter { $0 == .storeReached }.count == 1)
    }

    @Test func throttledKeysHavePartitions() throws {
        var rig = PartitionRig(policy(ten))
        for key in ["a", "b", "c"] {
            let throttle = try #require(Throttle(key: Array(key.utf8), maxBurst: 1, count: 1, periodSeconds: 60))
            var identity = Identity()
            identity.fill(throttle)
            rig.sent = []
            let outcome = rig.replicas[0].check(
                identity, cost: 1, isPeek: false, wantsTrace: false, ticket: Ticket(rawValue: 900), now: rig.now)
            guard case .waiting = outcome else {
                Issue.record("\(outcome)")
                return
            }
            rig.exchange()
            #expect(rig.sent == [rig.replicas[0].map.partition(of: identity)])
            rig.answers[900] = nil
        }
    }

    /// What was admitted locally in one partition survives a restart, and is written back there once.
    @Test func stateOfPartitionsSurvives() {
        var rig = PartitionRig(policy(ten), keepsState: true)
        for grant in ["a", "b", "c", "d", "e"] { _ = rig.decide(CheckQuestion(grant: grant)) }
        let lost = rig.home("a")
        rig.lose(lost)
        #expect(rig.decide(CheckQuestion(grant: "a", cost: 3)).allowed)
        let restoration = rig.restart(0)
        #expect(restoration.unsettled == 1 && restoration.dropped == 0 && restoration.otherKeys.isEmpty)
        rig.isUp[lost] = true
        rig.connect()
        rig.pass(ms: 3_000)
        #expect(rig.used(ten, grant: "a") == 4 && rig.used(ten, grant: "b") == (rig.home("b") == lost ? 1 : 1))
        // Another number of partitions has other keys.
        var other = PartitionedLimiter(
            configuration: PartitionRig.configuration(4, 1, of: 1, true), policies: rig.replicas[0].policies,
            now: rig.now)
        var records: [StateRecord] = []
        rig.lose(lost)
        _ = rig.decide(CheckQuestion(grant: "a"))
        while rig.replicas[0].hasChanges { rig.replicas[0].takeRecords(into: &records, now: rig.now) }
        let kept = other.restore(records, now: rig.now)
        #expect(kept.counters + kept.dropped > 0)
    }

    /// Reloads keep the counts.
    @Test func policiesAreReplacedInAllPartitions() {
        var rig = PartitionRig(policy(ten))
        for grant in ["a", "b", "c"] { _ = rig.decide(CheckQuestion(grant: grant, cost: 4)) }
        rig.replicas[0].replacePolicies(PolicySet(single: policy(limit(max: 6))))
        for grant in ["a", "b", "c"] { #expect(rig.decide(CheckQuestion(grant: grant)).remaining == 1) }
    }
}
