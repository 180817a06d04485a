import StoreModel
import Foundation
import Testing
import SluicePolicy

@testable import SluiceEngine

/// What is left of a counter after reservations were settled, over random histories.
///
/// `SLUICE_PROPERTY_ROUNDS` multiplies the number of histories; `SLUICE_PROPERTY_SEED` is the seed of the first one.
@Suite struct ModelStoreSettlementTests {
    private static func setting(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    @Test(arguments: [Algorithm.fixedWindow, .slidingWindow, .tokenBucket, .slidingLog])
    func settlesWhatStillCountsOnce(_ algorithm: Algorithm) throws {
        let first = Self.setting("SLUICE_PROPERTY_SEED") ?? 1
        for seed in first..<first + 80 * (Self.setting("SLUICE_PROPERTY_ROUNDS") ?? 1) {
            var history = SettlementHistory(algorithm, seed: seed)
            try history.run()
        }
    }
}

/// Random reservations of one limit, and random settlements of them.
private struct SettlementHistory {
    struct Reservation {
        var cost: Int64
        var chargedMs: Int64
        /// Until when its charge counts. The store knows it for longer.
        var untilMs: Int64
        var isSpent = false
    }

    private let limit: QuotaLimit
    private let seed: UInt64
    private var random: SeededRandom
    private var store: ModelCounter
    /// As if every check had had its settled cost from the start, if that was less; and what was settled to more came
    /// when it was settled.
    private var oracle: QuotaOracle
    private var nowMs: Int64
    /// In order of admission; with the index of each among the oracle's events.
    private var reservations: [(Reservation, event: Int)] = []
    /// How many there were when something was last given back.

    init(_ algorithm: Algorithm, seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        let lengths: [Int64] = [1000, 60_000, 3_600_000]
        let lengthMs = lengths[Int(random.number(0, 2))]
        let most = random.number(0, 3) == 0 ? Quota.maxExact / 4 / lengthMs : 20
        limit = QuotaLimit(
            algorithm: algorithm, max: random.number(1, min(most, 1_000_000_000_000)),
            burst: algorithm == .tokenBucket ? random.number(1, min(most, 1_000_000_000_000)) : 0, lengthMs: lengthMs)
        store = ModelCounter(limit)
        store.reservesAll = true
        oracle = QuotaOracle(limit)
        nowMs = 1_800_000_000_000 + random.number(0, lengthMs)
    }

    mutating func run() throws {
        for _ in 0..<random.number(1, 50) {
            advance()
            if reservations.isEmpty || random.number(0, 2) == 0 { try reserve() } else { try settle() }
            try compare()
        }
    }

    private mutating func advance() {
        switch random.number(0, 7) {
        case 0...2: break
        case 3, 4: nowMs += random.number(1, max(1, limit.lengthMs / limit.max))
        case 5: nowMs += random.number(1, limit.lengthMs / 10)
        case 6: nowMs = limit.window(at: nowMs).upperBound - random.number(0, 1)
        default: nowMs += random.number(1, 2 * limit.lengthMs)
        }
    }

    private mutating func reserve() throws {
        let cost = min(1_000_000_000_000, random.number(1, max(1, limit.capacity / 2)))
        let (admitted, usage) = store.check(cost: cost, count: 1, nowMs: nowMs)
        let mayPass = oracle.fits(cost: cost, at: nowMs)
        // A bucket may be fuller than with settlements known from the start, but never emptier.
        guard admitted == 1 ? mayPass : (!mayPass || limit.algorithm == .tokenBucket) else {
            throw failure("admits \(admitted) of cost \(cost)")
        }
        guard admitted == 1 else { return }
        let untilMs =
            switch limit.algorithm {
            case .fixedWindow: limit.window(at: nowMs).upperBound
            case .slidingWindow: limit.window(at: limit.window(at: nowMs).upperBound).upperBound
            case .slidingLog: nowMs + limit.lengthMs
            case .tokenBucket, .concurrency:
                nowMs + max(limit.lengthMs, (usage.used + limit.max - 1) / limit.max)
            }
        reservations.append(
            (Reservation(cost: cost, chargedMs: nowMs, untilMs: untilMs), event: oracle.timesMs.count))
        oracle.admit(cost: cost, count: 1, at: nowMs)
    }

    private mutating func settle() throws {
        let index = Int(random.number(0, Int64(reservations.count) - 1))
        let (reservation, event) = reservations[index]
        let isKnown = !reservation.isSpent && nowMs < reservation.untilMs + EngineBounds.settleSlackMs
        let settlement: Batch.Settlement =
            switch random.number(0, 5) {
            case 0, 1: .cancel
            case 2, 3: .commit(cost: random.number(0, reservation.cost))
            case 4: .commit(cost: reservation.cost + random.number(0, max(1, limit.capacity / 2)))
            default: .release
            }
        let isDone = store.settle(index, settlement, nowMs: nowMs)
        let cost: Int64
        switch settlement {
        case .release:
            guard !isDone else { throw failure("releases what holds no slot") }
            return
        case .cancel: cost = 0
        case .commit(let settled): cost = settled
        }
        guard isDone == isKnown else { throw failure("\(settlement) of \(reservation): \(isDone)") }
        guard isDone else { return }
        reservations[index].0.isSpent = true
        if cost <= reservation.cost {
            oracle.settle(event, to: cost)
        } else if limit.algorithm == .tokenBucket || nowMs >= reservation.untilMs {
            oracle.admit(cost: cost - reservation.cost, count: 1, at: nowMs)
        } else {
            oracle.settle(event, to: cost)
        }
    }

    private mutating func compare() throws {
        let usage = store.usage(nowMs: nowMs)
        guard limit.algorithm == .tokenBucket else {
            let used = limit.quota(at: nowMs).used(usage, nowMs: nowMs)
            if used != oracle.used(at: nowMs) { throw failure("\(usage) instead of \(oracle.used(at: nowMs))") }
            return
        }
        if Int128(usage.used) < oracle.level(at: nowMs) {
            throw failure("level \(usage.used), below \(oracle.level(at: nowMs))")
        }
    }

    private func failure(_ what: String) -> QuotaHistory<ModelCounter>.Failure {
        .init(description: "seed \(seed): \(limit) at \(nowMs), after \(oracle.amounts) at \(oracle.timesMs): \(what)")
    }
}
