import SluicePolicy
import StoreModel

@testable import SluiceEngine

/// A store that drops single counters, as one that evicts does. Only some seeds have it, and draw from a stream of their
/// own: all other seeds are as they were.
struct SimulationDrops {
    /// A replica knew that a counter held this much, and can know that nothing was given back.
    struct Expectation {
        var replica: Int
        var baseKey: [UInt8]
        var key: [UInt8]
        var endMs: Int64
        var used: Int64
        var seenAt: SentTime
    }

    var random: SeededRandom
    let atNs: Int64
    var expectations: [Expectation] = []

    /// nil for most seeds.
    init?(seed: UInt64, _ scenario: SimulationScenario) {
        guard seed % 8 == 3, !scenario.isMixed, !scenario.stepsClock, !scenario.forgets, !scenario.restarts,
            scenario.course != .ending, scenario.table == nil
        else { return nil }
        random = SeededRandom(seed: seed ^ 0xD209)
        // While no other fault is active: what a replica has seen then must be restored.
        let times =
            scenario.course == .gentle
            ? 1_200_000_000...2_500_000_000
            : SimulationScenario.healedNs + 100_000_000...SimulationScenario.healedNs + 700_000_000
        atNs = Int64.random(in: times, using: &random)
    }
}

extension Simulation {
    mutating func drop() {
        guard var drops else { return }
        noteForgotten()
        let open = replicas.flatMap { replica in
            replica.limiter.table.counters.filter { $0.references > 0 && $0.span.holds(store.clockMs) }.map(\.key)
        }
        let keys = Set(open).sorted { $0.lexicographicallyPrecedes($1) }
        for key in keys where drops.random.once(in: 2) {
            coverage.add(.dropped)
            for index in replicas.indices {
                let limiter = replicas[index].limiter
                for counter in limiter.table.counters
                where counter.references > 0 && counter.isSeen && counter.span.holds(store.clockMs)
                    && counter.seenEpoch == limiter.reconciler.storeEpoch && counter.key == key
                    && limiter.denials.isSteady(sinceNs: counter.seenAt.ns, slot: counter.changeSlot)
                {
                    drops.expectations.append(
                        SimulationDrops.Expectation(
                            replica: index, baseKey: counter.baseKey, key: key, endMs: counter.windowEndMs,
                            used: counter.sharedUsed, seenAt: counter.seenAt))
                }
            }
            store.drop(key)
        }
        self.drops = drops
    }

    /// A dropped counter holds again what a replica knew of it, once that has asked for it.
    mutating func judgeDrops() throws {
        guard let drops else { return }
        for (index, replica) in replicas.enumerated() where !replica.limiter.losses.isEmpty {
            throw SimulationFailure(description: "replica \(index) never judged \(replica.limiter.losses.suspects)")
        }
        for known in drops.expectations where known.endMs > store.clockMs {
            let limiter = replicas[known.replica].limiter
            guard
                let counter = limiter.table.counters.first(where: {
                    $0.references > 0 && $0.baseKey == known.baseKey
                })
            else { continue }
            let stored = store.usage(of: known.key)
            // It has not asked since.
            if counter.seenAt == known.seenAt && counter.sharedUsed == known.used && stored < known.used { continue }
            guard stored >= known.used else {
                throw SimulationFailure(description: "\(stored) stored, replica \(known.replica) knew of \(known)")
            }
            coverage.add(.restoredDrop)
        }
    }
}
