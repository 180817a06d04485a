import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

@Suite struct CounterTests {
    private func counter() -> Counter {
        var counter = Counter(baseKey: [1])
        counter.roll(at: 60_000)
        return counter
    }
    private let alone = ReplicaView(own: 1, assumed: 1)

    @Test func rollingForgetsTheWindowBefore() {
        var counter = counter()
        counter.observe(used: 4, cutMs: 61_000)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 6)
        counter.localUsed = 2
        counter.roll(at: 60_000)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 4 && counter.isSeen)
        counter.roll(at: 120_000)
        #expect(!counter.isSeen && counter.sharedUsed == 0 && counter.localUsed == 0)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 10)
        #expect(counter.windowEndMs == 180_000)
    }

    @Test func theStoreEndsLocalCounting() {
        var counter = counter()
        #expect(counter.localRemaining(max: 10, replicas: alone) == 10)
        counter.localUsed = 3
        counter.observe(used: 5, cutMs: 119_999)
        #expect(counter.localUsed == 3 && counter.localShare == -1)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 2)
    }

    @Test func anAnswerOfAnotherWindowIsNoNews() {
        var counter = counter()
        counter.observe(used: 9, cutMs: 59_999)
        counter.observe(used: 9, cutMs: 120_000)
        #expect(!counter.isSeen && counter.sharedUsed == 0)
        counter.localUsed = 3
        counter.markStored(2, cutMs: 59_999)
        #expect(counter.localUsed == 3)
        counter.markStored(2, cutMs: 60_000)
        #expect(counter.localUsed == 1)
        counter.markStored(2, cutMs: 60_000)
        #expect(counter.localUsed == 0)
    }

    /// The reply to a write-back reports a bucket's level, so it is restored if the store loses its data before a check.
    @Test func aWriteBackReportsABucket() {
        var counter = Counter(baseKey: [1], window: .seconds(60), algorithm: .tokenBucket)
        let quota = Quota(limit(max: 60, algorithm: .tokenBucket, burst: 20))
        counter.roll(at: 0)
        #expect(counter.localRemaining(quota, replicas: alone, nowMs: 0) == 20)
        counter.admitLocally(quota, cost: 5, reservation: nil, nowMs: 0)
        let level = quota.charge(cost: 5, count: 1)
        #expect(counter.writeBacks(nowMs: 0, epoch: 0) == [WriteBack(.increment, level, windowMs: 0)])
        counter.wroteBack(
            WriteBack(.increment, level, windowMs: 0), numbers: [level], decidedMs: 0, epoch: 0, keepsShare: false)
        #expect(counter.isSeen && counter.writeBacks(nowMs: 0, epoch: 0).isEmpty)
        #expect(counter.writeBacks(nowMs: 0, epoch: 1) == [WriteBack(.restore, level, windowMs: 0)])
    }

    /// A batch turns out to have run before the store has reported this counter's usage again: local admissions
    /// meanwhile count once, as the store's.
    @Test func chargesThatTurnOutToHaveRun() {
        var counter = counter()
        counter.observe(used: 4, cutMs: 60_000)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 6)
        counter.localUsed = 3
        counter.confirm(2, cutMs: 60_000)
        #expect(counter.sharedUsed == 6)
        #expect(counter.localUsed == 1)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 3)
        counter.confirm(2, cutMs: 59_000)
        #expect(counter.sharedUsed == 6)
    }

    @Test func sharesOfWhatIsLeft() {
        var counter = counter()
        counter.observe(used: 4, cutMs: 60_000)
        #expect(counter.localRemaining(max: 10, replicas: ReplicaView(own: 1, assumed: 3)) == 2)
        counter.roll(at: 120_000)
        counter.observe(used: 12, cutMs: 120_000)
        #expect(counter.localRemaining(max: 10, replicas: alone) == 0)
    }

    @Test func quietOnceNothingIsLost() {
        var fresh = Counter(baseKey: [1])
        #expect(fresh.isQuiet(nowMs: 0))
        fresh.roll(at: 60_000)
        #expect(fresh.isQuiet(nowMs: 70_000))
        fresh.observe(used: 1, cutMs: 60_000)
        #expect(!fresh.isQuiet(nowMs: 119_999))
        #expect(fresh.isQuiet(nowMs: 120_000))
        fresh.roll(at: 120_000)
        fresh.localUsed = 1
        #expect(!fresh.isQuiet(nowMs: 120_000))
    }
}

@Suite struct PlanTableTests {
    private func name(_ number: Int) -> ByteString { ByteString(bytes: Array("plan\(number)".utf8)) }
    private func baseKey(_ number: Int) -> [UInt8] { Array("baseKey\(number)".utf8) }
    private let limit = StoreModel.limit(max: 5)

    private func insert(_ number: Int, baseKeys: [Int], into table: inout PlanTable, nowNs: Int64 = 0) -> PlanID? {
        try? table.insert(
            name(number), CallRuling(rule: "", limits: baseKeys.map { _ in limit }),
            baseKeys: baseKeys.map { baseKey($0) },
            nowMs: 60_000, nowNs: nowNs)
    }

    @Test func findsWhatWasReported() throws {
        var table = PlanTable(keys: "sluice", maxPlans: 10)
        let first = insert(1, baseKeys: [1, 2], into: &table)
        let one = try #require(first)
        let second = insert(2, baseKeys: [2, 3], into: &table)
        let two = try #require(second)
        #expect(table.find(name(1)) == one && table.find(name(2)) == two && table.find(name(3)) == nil)
        #expect(table.planCount == 2 && table.counterCount == 3)
        #expect(table.counter(ofPlan: one, 1) == table.counter(ofPlan: two, 0))
        #expect(table[rulesOf: one].smallestMax == 5)
        #expect(Array(table.liveCounters).count == 3)
    }

    @Test func theSmallestMaximumCounts() throws {
        var table = PlanTable(keys: "sluice", maxPlans: 10)
        let ruling = CallRuling(rule: "", limits: [StoreModel.limit(max: 9), limit])
        let inserted = try? table.insert(name(1), ruling, baseKeys: [baseKey(1), baseKey(2)], nowMs: 0, nowNs: 0)
        let plan = try #require(inserted)
        #expect(table[rulesOf: plan].smallestMax == 5)
    }

    @Test func sweepsWhatIsIdleAndQuiet() throws {
        var table = PlanTable(keys: "sluice", maxPlans: 100)
        for number in 0..<10 { #expect(insert(number, baseKeys: [number], into: &table) != nil) }
        let seen = try #require(table.find(name(1)))
        table[table.counter(ofPlan: seen, 0)].roll(at: 60_000)
        table[table.counter(ofPlan: seen, 0)].observe(used: 1, cutMs: 60_000)
        table[try #require(table.find(name(2)))].pins = 1
        table[try #require(table.find(name(3)))].lastUsedNs = 50
        table.sweep(5, idleNs: 100, nowMs: 60_000, nowNs: 100)
        #expect(table.planCount >= 5)
        table.sweep(100, idleNs: 100, nowMs: 60_000, nowNs: 100)
        #expect((0..<10).filter { table.find(name($0)) != nil } == [1, 2, 3])
        #expect(table.counterCount == 3)
        // Its window over, its batch done, idle for long enough: nothing stays.
        table[try #require(table.find(name(2)))].pins = 0
        table.sweep(100, idleNs: 100, nowMs: 120_000, nowNs: 150)
        #expect(table.planCount == 0 && table.counterCount == 0)
        #expect(Array(table.liveCounters).isEmpty)
    }

    /// Dropping a plan loses nothing of a counter that another plan uses.
    @Test func plansThatShareABusyCounter() throws {
        var table = PlanTable(keys: "sluice", maxPlans: 100)
        for number in 0..<10 { #expect(insert(number, baseKeys: [0], into: &table) != nil) }
        let counter = table.counter(ofPlan: try #require(table.find(name(0))), 0)
        table[counter].roll(at: 60_000)
        table[counter].observe(used: 1, cutMs: 60_000)
        table.sweep(1_000, idleNs: 0, nowMs: 60_000, nowNs: 1)
        #expect(table.planCount == 1 && table.counterCount == 1)
        #expect(table[counter].sharedUsed == 1 && table[counter].references == 1)
    }

    @Test func places() throws {
        var table = PlanTable(keys: "sluice", maxPlans: 3)
        for number in 0..<3 { #expect(insert(number, baseKeys: [number], into: &table) != nil) }
        // All are quiet: one must go for the next.
        let inserted = insert(3, baseKeys: [3], into: &table)
        let fourth = try #require(inserted)
        #expect(table.planCount <= 3 && table.find(name(3)) == fourth)
        for number in 0..<4 {
            guard let plan = table.find(name(number)) else { continue }
            table[plan].pins = 1
        }
        while table.planCount < 3 {
            let inserted = insert(100 + table.planCount, baseKeys: [], into: &table)
            let plan = try #require(inserted)
            table[plan].pins = 1
        }
        #expect(insert(5, baseKeys: [5], into: &table) == nil)
        #expect(table.planCount == 3)
    }

    /// The rows of a burst are gone with it, and their memory; what is in use stays where it is.
    @Test func aBurstLeavesNothingBehind() throws {
        let burst = 3 * FreeRows.rowsPerChunk
        var table = PlanTable(keys: "sluice", maxPlans: 2 * burst)
        for number in 0..<burst { _ = insert(number, baseKeys: [number], into: &table) }
        let before = table.bytes
        let kept = [0, 5, FreeRows.rowsPerChunk + 7]
        for number in kept { table[try #require(table.find(name(number)))].pins = 1 }
        table.sweep(burst, idleNs: 0, nowMs: 60_000, nowNs: 1)
        #expect(table.planCount == 3 && table.counterCount == 3 && table.plans.count == 2 * FreeRows.rowsPerChunk)
        #expect(table.bytes < before * 3 / 4)
        // One row of the second chunk was in use; new ones are in the first.
        table[try #require(table.find(name(kept[2])))].pins = 0
        table.sweep(burst, idleNs: 0, nowMs: 60_000, nowNs: 1)
        #expect(table.plans.count == FreeRows.rowsPerChunk && table.counters.count == FreeRows.rowsPerChunk)
        #expect(table.bytes < before * 2 / 5 && table.grants.count == 2)
        for number in burst..<burst + 100 { _ = insert(number, baseKeys: [number], into: &table) }
        let found = (0..<burst + 100).filter { table.find(name($0)) != nil }
        #expect(found == [0, 5] + Array(burst..<burst + 100))
        #expect(table.plans.count == FreeRows.rowsPerChunk)
    }

    /// A random history: references are exact, and every plan finds its own counters.
    @Test func randomLife() throws {
        var random = SeededRandom(seed: 3)
        var table = PlanTable(keys: "sluice", maxPlans: 40)
        for step in 0..<20_000 {
            let number = Int.random(in: 0..<100, using: &random)
            if table.find(name(number)) == nil {
                let baseKeys = Set(
                    (0..<Int.random(in: 0...3, using: &random)).map { _ in
                        number % 7 + Int.random(in: 0...2, using: &random) * 10
                    })
                _ = insert(number, baseKeys: baseKeys.sorted(), into: &table, nowNs: Int64(step))
            }
            if step % 7 == 0 { table.sweep(3, idleNs: 20, nowMs: 60_000, nowNs: Int64(step)) }
            expectQuickly(table.planCount <= 40, "\(table.planCount) plans")
        }
        let live = (0..<100).compactMap { table.find(name($0)) }
        #expect(Set(live).count == table.planCount)
        var references: [CounterID: Int] = [:]
        for plan in live {
            for index in 0..<table[plan].counters.count {
                references[table.counter(ofPlan: plan, index), default: 0] += 1
            }
        }
        #expect(references.count == table.counterCount)
        for (counter, count) in references { #expect(table[counter].references == count) }
    }
}
