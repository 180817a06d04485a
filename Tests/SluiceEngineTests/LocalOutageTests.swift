import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Going local and coming back, for each algorithm: what replicas admit together during an outage, and what one with
/// repeated outages does.
@Suite struct LocalOutageTests {
    private static let algorithms: [Algorithm] = [
        .fixedWindow, .slidingWindow, .slidingLog, .tokenBucket, .concurrency,
    ]

    private static func limit(_ algorithm: Algorithm, max: Int64 = 20) -> Limit {
        StoreModel.limit(
            max: max, per: 3600, algorithm: algorithm, burst: algorithm == .tokenBucket ? 20 : nil,
            holdMs: algorithm == .concurrency ? 3_600_000 : nil)
    }

    private func question(_ algorithm: Algorithm, cost: Int64 = 1) -> LimiterRig.Question {
        LimiterRig.Question(cost: cost, reserves: algorithm == .concurrency)
    }

    /// How many more checks it admits at this moment.
    private func admitted(_ rig: inout LimiterRig, _ algorithm: Algorithm) -> Int {
        var admitted = 0
        while rig.decide(question(algorithm)).allowed { admitted += 1 }
        return admitted
    }

    // MARK: - Shares

    /// What was left is split over all replicas, and only the remainder is lost.
    @Test(arguments: algorithms) func whatWasLeftIsSplit(_ algorithm: Algorithm) {
        for replicas in 1...4 {
            var together = 0
            var store = ModelStore(clockMs: LimiterRig.startMs)
            for replica in 1...replicas {
                var rig = LimiterRig(
                    policy(Self.limit(algorithm)), replicas: replicas, connected: false, replica: UInt64(replica))
                if replica > 1 { rig.store = store }
                rig.connect()
                if replica == 1 {
                    for _ in 0..<5 { #expect(rig.decide(question(algorithm)).source == .shared) }
                    store = rig.store
                } else {
                    _ = rig.decide(LimiterRig.Question(isPeek: true))
                }
                rig.lose()
                together += admitted(&rig, algorithm)
            }
            #expect(together <= 15 && together > 15 - replicas, "\(algorithm), \(replicas) replicas: \(together)")
        }
    }

    /// Replicas that never reached the store share the maximum, again in every window.
    @Test(arguments: algorithms) func windowsThatBeginMeanwhile(_ algorithm: Algorithm) {
        for replicas in 1...4 {
            var rigs = (1...replicas).map { replica in
                LimiterRig(
                    policy(Self.limit(algorithm)), replicas: replicas, connected: false, replica: UInt64(replica))
            }
            for _ in 0..<3 {
                let together = rigs.indices.reduce(0) { $0 + admitted(&rigs[$1], algorithm) }
                #expect(together <= 20 && together > 20 - replicas, "\(algorithm), \(replicas) replicas: \(together)")
                for index in rigs.indices { rigs[index].pass(ms: 7_200_000) }
            }
        }
    }

    /// In every stretch of time all buckets together admit no more than one bucket would.
    @Test func bucketsTogether() {
        let limit = StoreModel.limit(max: 60, per: 60, algorithm: .tokenBucket, burst: 7)
        for replicas in 1...4 {
            var admissions: [Int64] = []
            for replica in 1...replicas {
                var rig = LimiterRig(
                    policy(limit), replicas: replicas, connected: false, replica: UInt64(replica))
                var random = SeededRandom(seed: UInt64(replica))
                while rig.now.wallMs < LimiterRig.startMs + 30_000 {
                    if rig.decide().allowed { admissions.append(rig.now.wallMs) }
                    rig.pass(ms: random.one(of: [0, 1, 100, 400, 3_000]))
                }
            }
            admissions.sort()
            for first in admissions.indices {
                for last in first..<admissions.count {
                    let most = 7 + (admissions[last] - admissions[first]) / 1_000
                    expectQuickly(Int64(last - first + 1) <= most, "\(replicas): \(last - first + 1) of \(most)")
                }
            }
            #expect(admissions.count >= 30, "\(replicas) replicas admit \(admissions.count)")
        }
    }

    // MARK: - Repeated outages

    /// A store that is available on and off gets each write-back once: all of it never exceeds the maximum.
    @Test(arguments: algorithms) func flapping(_ algorithm: Algorithm) {
        for replicas in [1, 3] {
            var rig = LimiterRig(policy(Self.limit(algorithm)), replicas: replicas)
            let share = 20 / replicas
            _ = rig.decide(LimiterRig.Question(isPeek: true))
            var local = 0
            for round in 0..<6 {
                rig.lose()
                // A third of it in the first round, the rest in the second.
                var wanted = round == 0 ? share / 3 : 100
                while wanted > 0, rig.decide(question(algorithm)).allowed {
                    local += 1
                    wanted -= 1
                }
                rig.connect()
                let peek = rig.decide(LimiterRig.Question(isPeek: true))
                let counted = algorithm == .concurrency ? 0 : local
                #expect(peek.source == .shared && peek.remaining == Int64(20 - counted), "\(algorithm) \(round)")
            }
            #expect(local <= 20 && (replicas > 1 || local == 20), "\(algorithm), \(replicas) replicas")
        }
    }

    /// After an outage, local admissions are written back before the store decides; slots stay each replica's own.
    @Test(arguments: algorithms) func backAgain(_ algorithm: Algorithm) {
        var rig = LimiterRig(policy(Self.limit(algorithm)))
        for _ in 0..<4 { #expect(rig.decide(question(algorithm)).allowed) }
        rig.lose()
        for _ in 0..<6 { #expect(rig.decide(question(algorithm)).source == .local) }
        #expect(rig.decide(LimiterRig.Question(isPeek: true)).remaining == 10)
        rig.connect()
        let decision = rig.decide(question(algorithm))
        #expect(decision.source == .shared && decision.remaining == (Self.limit(algorithm).isSlots ? 15 : 9))
        rig.lose()
        #expect(rig.decide(LimiterRig.Question(isPeek: true)).remaining == 9)
        #expect(admitted(&rig, algorithm) == 9)
    }

    // MARK: - Waiting

    /// One ms before the end of the reported wait a check is denied, and then it passes, if no other check came: also
    /// for shares of what the store reported.
    @Test func theTimeToWait() {
        var random = SeededRandom(seed: 5)
        var denials = 0
        for _ in 0..<300 {
            var limit = random.limit("c", of: "t")
            while limit.scope != .grant || limit.mode == .shadow { limit = random.limit("c", of: "t") }
            if limit.isSlots { continue }
            let replicas = random.one(of: [1, 2, 3])
            var rig = LimiterRig(policy(limit), replicas: replicas)
            rig.pass(ms: random.one(of: [1, 700, 20_000]))
            let large = max(1, limit.max / random.one(of: [2, 3, 7]))
            if large <= Quota(limit).capacity { _ = rig.decide(cost: large) }
            if random.once(in: 2) { rig.pass(ms: random.one(of: [1, 400, 1_000, 2_500])) }
            rig.lose()
            // More than a replica's share of an empty window never fits here.
            let most = max(1, Quota(limit).capacity / Int64(replicas))
            for cost in [1, most, most, most / 2 + 1] {
                let decision = rig.decide(cost: cost)
                guard decision.verdict == .limit, decision.source == .local else { continue }
                guard Quota(limit).capacity >= Int64(replicas) else { continue }
                denials += 1
                var before = rig
                before.pass(ms: decision.retryAfterMs - 1)
                let early = before.decide(cost: cost, isPeek: true)
                expectQuickly(!early.allowed, "\(limit) admits \(cost) 1 ms before \(decision)")
                rig.pass(ms: decision.retryAfterMs)
                let passes = rig.decide(cost: cost)
                expectQuickly(passes.allowed, "\(limit) denies \(cost) after \(decision): \(passes)")
            }
        }
        #expect(denials > 50)
    }
}
