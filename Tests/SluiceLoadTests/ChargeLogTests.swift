@testable import sluice_load
import Testing

@Suite struct ChargeLogTests {
    @Test func joinsNeighbours() {
        var log = ChargeLog()
        for used: Int64 in [1, 2, 5, 9, 4, 3] { #expect(log.insert(used: used, cost: 1) == .new) }
        #expect(log.stretchCount == 2)
        #expect(log.insert(used: 8, cost: 3) == .new)
        #expect(log.stretchCount == 1)
    }

    @Test(arguments: [1, 2, 3, 6, 7] as [Int64])
    func findsOverlaps(used: Int64) {
        var log = ChargeLog()
        #expect(log.insert(used: 3, cost: 3) == .new)
        #expect(log.insert(used: 7, cost: 2) == .new)
        #expect(log.insert(used: used, cost: 1) == .overlaps)
        #expect(log.stretchCount == 2)
    }

    @Test func aStretchThatCoversAnotherOverlaps() {
        var log = ChargeLog()
        #expect(log.insert(used: 5, cost: 1) == .new)
        #expect(log.insert(used: 9, cost: 9) == .overlaps)
    }

    @Test func isBounded() {
        var log = ChargeLog(maxStretches: 2)
        #expect(log.insert(used: 1, cost: 1) == .new)
        #expect(log.insert(used: 10, cost: 1) == .new)
        #expect(log.insert(used: 20, cost: 1) == .unknown)
        #expect(log.insert(used: 5, cost: 1) == .unknown)
        #expect(log.insert(used: 2, cost: 1) == .new)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func agreesWithASetOfUnits(seed: UInt64) {
        var random = SplitMix(state: seed)
        var log = ChargeLog()
        var taken: Set<Int64> = []
        for _ in 0..<300 {
            let cost = Int64.random(in: 1...3, using: &random)
            let used = Int64.random(in: cost...200, using: &random)
            let units = Set(used - cost + 1...used)
            let expected: ChargeLog.Outcome = taken.isDisjoint(with: units) ? .new : .overlaps
            #expect(log.insert(used: used, cost: cost) == expected)
            taken.formUnion(expected == .new ? units : [])
        }
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
