import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

/// The memory of the tables is counted in bytes: their rows, and what is stored outside them.
@Suite struct HeldBytesTests {
    private static let longName = String(repeating: "é", count: 128)

    private func long(_ number: Int) -> String { String(Self.longName.dropLast(3)) + String(format6(number)) }
    private func format6(_ number: Int) -> String { String(100_000 + number) }

    /// The real sizes of rows and names are known: no estimate may be below their sum.
    @Test func everyIdentityCountsWithItsNames() {
        var rig = LimiterRig(policy(limit(max: 5, scope: .session)), usesStore: false)
        _ = rig.decide(session: "s")
        let before = rig.limiter.heldBytes
        for number in 0..<1_000 { _ = rig.decide(grant: Self.longName, session: long(number)) }
        let each = (rig.limiter.heldBytes - before) / 1_000
        // Grant and session in the identity, and both percent-encoded in the counter's key.
        let names = 2 * 256 + 2 * 3 * 256
        #expect(each > MemoryLayout<Plan>.stride + MemoryLayout<Counter>.stride + names)
        #expect(each < 2 * (MemoryLayout<Plan>.stride + MemoryLayout<Counter>.stride + names))
    }

    @Test func whatIsForgottenIsCountedNoMore() {
        var rig = LimiterRig(policy(limit(max: 5, scope: .session)), usesStore: false)
        func fill() {
            for number in 0..<500 { _ = rig.decide(grant: Self.longName, session: long(number)) }
        }
        fill()
        let full = rig.limiter.heldBytes
        for _ in 0..<200 {
            rig.pass(ms: 1_000)
            rig.tick()
        }
        #expect(rig.limiter.identityCount == 0)
        // Their rows are kept for the next; their names are gone.
        #expect(rig.limiter.heldBytes < full / 2)
        fill()
        #expect(rig.limiter.heldBytes <= full + full / 100)
    }

    /// Above the bound a new identity finds the table full, and known ones go on.
    @Test func aTableThatIsFullByBytesTakesNobodyIn() {
        let bound = 1_000_000
        var rig = LimiterRig(policy(limit(max: 5, scope: .session)), usesStore: false, maxTableBytes: bound)
        var taken = 0
        for number in 0..<2_000 {
            if case .answered = rig.ask(grant: long(number), session: long(number)) { taken += 1 }
        }
        #expect(taken > 200 && taken < 1_000)
        #expect(rig.limiter.statistics.busy(.memory) == Int64(2_000 - taken))
        #expect(rig.limiter.heldBytes < bound && rig.limiter.heldBytes > bound / 2)
        #expect(rig.limiter.statistics.overloaded == Int64(2_000 - taken))
        #expect(rig.decide(grant: long(0), session: long(0)).remaining == 3)
        rig.pass(ms: 60_000)
        #expect(rig.decide(grant: long(3_000), session: long(3_000)).allowed)
    }

    /// One grant takes no more than its part of the bytes, however long its names.
    @Test func oneGrantTakesItsPartOfTheBytes() {
        let bound = 4_000_000
        var rig = LimiterRig(policy(limit(max: 5, scope: .session)), usesStore: false, maxTableBytes: bound)
        var taken = 0
        for number in 0..<2_000 {
            if case .answered = rig.ask(grant: Self.longName, session: long(number)) { taken += 1 }
        }
        #expect(taken > 50 && rig.limiter.statistics.busy(.grant) == Int64(2_000 - taken))
        #expect(rig.limiter.table.bytes < bound / EngineBounds.grantParts * 5 / 4)
        #expect(rig.decide(grant: "other", session: "s").allowed)
    }

    /// With a store the rows that it knows are evicted, also by bytes, and whatever the names' lengths.
    @Test func bytesAreFreedForTheNext() {
        let bound = 1_000_000
        var rig = LimiterRig(policy(limit(max: 5, per: 3_600, scope: .session)), maxTableBytes: bound)
        for number in 0..<6_000 {
            let name = number % 3 == 0 ? long(number) : "g\(number)"
            #expect(rig.decide(grant: name, session: number % 2 == 0 ? long(number) : "s").source == .shared)
        }
        #expect(rig.limiter.heldBytes < bound + bound / 10 && rig.limiter.statistics.overloaded == 0)
        #expect(rig.limiter.evictedCount > 3_000)
    }

    /// Short names fit many times more into the same bytes.
    @Test func shortNamesTakeLess() {
        var rig = LimiterRig(policy(limit(max: 5, scope: .session)), usesStore: false, maxTableBytes: 1_000_000)
        var taken = 0
        for number in 0..<2_000 { if case .answered = rig.ask(grant: "\(number)", session: "s") { taken += 1 } }
        #expect(taken == 2_000)
    }

    /// Ids, reservations and unsent settlements have a part of the bytes that identities cannot take.
    @Test func identitiesLeaveRoomForReservationsAndIDs() {
        let bound = 1_000_000
        var rig = LimiterRig(policy(limit(max: 1_000, scope: .session)), usesStore: false, maxTableBytes: bound)
        for number in 0..<2_000 { _ = rig.ask(grant: long(number), session: long(number)) }
        #expect(rig.limiter.table.bytes <= bound - bound / EngineBounds.besideParts)
        #expect(!rig.limiter.isBesideFull)
        var last = rig.limiter.heldBytes
        for number in 0..<2_000 {
            let known = long(number % 100)
            let question = LimiterRig.Question(grant: known, session: known, reserves: true, id: "id\(number)")
            _ = rig.ask(question)
            #expect(rig.limiter.heldBytes < bound + 10_000)
            last = rig.limiter.heldBytes
        }
        #expect(last > bound / 2 && rig.limiter.isBesideFull)
    }

    @Test func waitingChecksCount() {
        var rig = LimiterRig(policy(limit(max: 1_000)))
        let before = rig.limiter.heldBytes
        for _ in 0..<1_000 { _ = rig.wait() }
        #expect(rig.limiter.heldBytes - before >= 1_000 * MemoryLayout<PendingBatch.Waiter>.stride)
    }
}
