import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct LocalShareTests {
    @Test func sharesOfNothing() {
        let view = ReplicaView(own: 1, live: [1, 2, 3], assumed: 3)
        #expect(view.share(of: 0, counterHash: 5) == 0)
        #expect(view.share(of: -7, counterHash: 5) == 0)
        #expect(view.share(of: .min, counterHash: 5) == 0)
    }

    @Test func aloneItIsEverything() {
        #expect(ReplicaView(own: 9, assumed: 1).share(of: 1_000_000_000_000, counterHash: 1) == 1_000_000_000_000)
        #expect(ReplicaView(own: 9, live: [9], assumed: 1).share(of: 7, counterHash: 1) == 7)
    }

    @Test func moreAreAssumedThanKnown() {
        // No replica gets the remainder, because the ranks are unknown.
        for own in [UInt64(1), 2] {
            #expect(ReplicaView(own: own, live: [1, 2], assumed: 3).share(of: 11, counterHash: 1) == 3)
        }
        #expect(ReplicaView(own: 1, assumed: 3).share(of: 2, counterHash: 1) == 0)
    }

    /// Whatever the total and the live replicas, the shares add up to it exactly, and differ by one at most.
    @Test func sharesAddUp() {
        var random = SeededRandom(seed: 42)
        for _ in 0..<20_000 {
            let count = Int.random(in: 1...9, using: &random)
            let live = (0..<count).map { _ in random.next() }
            let total =
                [Int64.random(in: 0...20, using: &random), Int64.random(in: 0...1_000_000_000_000, using: &random)]
                .randomElement(using: &random) ?? 0
            let assumed = Int.random(in: 1...count, using: &random)
            let hash = random.next()
            let shares = live.map {
                ReplicaView(own: $0, live: live.shuffled(using: &random), assumed: assumed)
                    .share(of: total, counterHash: hash)
            }
            expectQuickly(shares.reduce(0, +) == total, "\(shares) of \(total)")
            expectQuickly((shares.max() ?? 0) - (shares.min() ?? 0) <= 1, "\(shares) of \(total)")
        }
    }

    /// If the live replicas are unknown, the shares never add up to more.
    @Test func blindSharesNeverAddUpToMore() {
        var random = SeededRandom(seed: 43)
        for _ in 0..<5_000 {
            let assumed = Int.random(in: 1...9, using: &random)
            let total = Int64.random(in: 0...1_000, using: &random)
            let share = ReplicaView(own: random.next(), assumed: assumed).share(of: total, counterHash: random.next())
            let lost = total - share * Int64(assumed)
            expectQuickly(lost >= 0 && lost < Int64(assumed), "\(assumed) times \(share) of \(total)")
        }
    }

    /// A list that has a replica twice, or that misses this one, must not make shares that add up to more.
    @Test func oddListsOfReplicas() {
        for total in Int64(0)...12 {
            let doubled = [UInt64(1), 2].map {
                ReplicaView(own: $0, live: [1, 2, 1], assumed: 1).share(of: total, counterHash: 3)
            }
            #expect(doubled.reduce(0, +) == total)
            let missing = ReplicaView(own: 3, live: [1, 2], assumed: 1).share(of: total, counterHash: 3)
            let others = [UInt64(1), 2].map {
                ReplicaView(own: $0, live: [1, 2, 3], assumed: 1).share(of: total, counterHash: 3)
            }
            #expect(missing + others.reduce(0, +) == total)
        }
    }

    /// The units of the remainder do not always go to the same replica.
    @Test func theFirstOneDiffersFromCounterToCounter() {
        let live: [UInt64] = [1, 2, 3]
        var wins = [Int64](repeating: 0, count: 3)
        for counter in 0..<3_000 {
            let hash = stableHash(Array("counter\(counter)".utf8))
            for (index, own) in live.enumerated() {
                wins[index] += ReplicaView(own: own, live: live, assumed: 3).share(of: 1, counterHash: hash)
            }
        }
        #expect(wins.reduce(0, +) == 3_000)
        #expect(wins.allSatisfy { $0 > 850 && $0 < 1_150 })
    }

    @Test func hashesAreTheSameEverywhere() {
        // FNV-1a's own test vectors, and SplitMix64's.
        #expect(stableHash([]) == 0xCBF2_9CE4_8422_2325)
        #expect(stableHash(Array("foobar".utf8)) == 0x8594_4171_F739_67E8)
        var random = SeededRandom(seed: 1_234_567)
        #expect(random.next() == 6_457_827_717_110_365_317)
        #expect(random.next() == 3_203_168_211_198_807_973)
    }
}
