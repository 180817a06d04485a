import SluiceEngine
import SluicePolicy

/// Batches of everything that a batch may hold, over few counters, so that they meet often; and time that passes in steps
/// which like the edges of windows.
struct RandomBatches {
    /// A limit of a policy that does not change, but for its maximum now and then.
    private struct Counter {
        var name: String
        var algorithm: Algorithm
        var max: Int64
        var burst: Int64 = 0
        var lengthMs: Int64
    }

    private static let trillion: Int64 = 1_000_000_000_000
    private static let counters = [
        Counter(name: "f1", algorithm: .fixedWindow, max: 10, lengthMs: 1_000),
        Counter(name: "f2", algorithm: .fixedWindow, max: 40, lengthMs: 60_000),
        Counter(name: "f3", algorithm: .fixedWindow, max: trillion, lengthMs: 86_400_000),
        Counter(name: "s1", algorithm: .slidingWindow, max: 12, lengthMs: 1_000),
        Counter(name: "s2", algorithm: .slidingWindow, max: 50, lengthMs: 60_000),
        Counter(name: "s3", algorithm: .slidingWindow, max: trillion, lengthMs: 9_000),
        Counter(name: "b1", algorithm: .tokenBucket, max: 6, burst: 3, lengthMs: 1_000),
        Counter(name: "b2", algorithm: .tokenBucket, max: 7, burst: 30, lengthMs: 60_001),
        Counter(name: "b3", algorithm: .tokenBucket, max: trillion, burst: trillion, lengthMs: 9_007),
        Counter(name: "b4", algorithm: .tokenBucket, max: 0, burst: 9, lengthMs: 500),
        Counter(name: "l1", algorithm: .slidingLog, max: 5, lengthMs: 500),
        Counter(name: "l2", algorithm: .slidingLog, max: 60, lengthMs: 2_000),
        Counter(name: "l3", algorithm: .slidingLog, max: 1_024, lengthMs: 60_000),
        Counter(name: "c1", algorithm: .concurrency, max: 1, lengthMs: 400),
        Counter(name: "c2", algorithm: .concurrency, max: 4, lengthMs: 5_000),
    ]

    private var random: SeededRandom
    private(set) var nowMs: Int64
    private var sequence: Int64 = 0
    private var reservations: [String] = []
    /// Every key of a counter that was ever named.
    private(set) var keys: Set<String> = []
    private(set) var recordKeys: Set<String> = []

    /// - Parameter startMs: later than the store's clock will get while the test runs.
    init(seed: UInt64, startMs: Int64) {
        random = SeededRandom(seed: seed)
        nowMs = startMs
    }

    mutating func roll(_ sides: Int) -> Int { Int.random(in: 0..<sides, using: &random) }

    private mutating func pick<T>(_ choices: [T]) -> T { choices[roll(choices.count)] }

    /// Key of some counter, to be spoilt.
    mutating func anyKey() -> String? { keys.sorted().randomElement(using: &random) }

    mutating func next() -> Batch {
        passTime()
        sequence += 1
        var batch = Batch(sequence: sequence, acknowledged: sequence - 1, minTimeMs: nowMs)
        for _ in 0..<1 + roll(8) {
            switch roll(10) {
            case 0...1: addSettlement(to: &batch)
            case 2: addPlain(to: &batch)
            case 3: addToLog(of: &batch)
            case 4: addAccounting(to: &batch)
            default: addCheck(to: &batch)
            }
        }
        return batch
    }

    private mutating func passTime() {
        switch roll(12) {
        case 0: nowMs = (nowMs / 1_000 + 1) * 1_000 - 1
        case 1: nowMs = (nowMs / 1_000 + 1) * 1_000
        case 2: nowMs = (nowMs / 60_000 + 1) * 60_000 - Int64(roll(2))
        case 3: nowMs += Int64(roll(70_000))
        case 4: nowMs -= Int64(roll(1_500))
        case 5...7: nowMs += Int64(roll(700))
        default: nowMs += Int64(roll(3))
        }
    }

    private mutating func addPlain(to batch: inout Batch) {
        let charge = charge(of: Self.counters[roll(3)])
        batch.add(cost: cost(), count: Int64(roll(5)), charge)
    }

    /// A replica's local admissions, or the usage it saw before the store lost its data.
    private mutating func addToLog(of batch: inout Batch) {
        var charge = charge(of: pick(Self.counters.filter { $0.algorithm == .slidingLog }))
        charge.max = Quota.maxExact
        charge.holdMs = nowMs + 50 - Int64(roll(roll(3) == 0 ? 70_000 : 700))
        if roll(2) == 0 { batch.restore(cost(), charge) } else { batch.add(cost: cost(), count: 1, charge) }
    }

    private mutating func charges() -> [TestCharge] {
        var charges: [TestCharge] = []
        for counter in Self.counters.shuffled(using: &random).prefix(1 + roll(4)) {
            charges.append(charge(of: counter))
            if roll(4) == 0 { charges[charges.count - 1].isShadow = true }
        }
        charges.forEach { keys.formUnion($0.keys) }
        return charges
    }

    private mutating func idempotency(_ charges: [TestCharge]) -> (key: String, idempotency: Batch.Idempotency)? {
        guard roll(4) == 0 else { return nil }
        let names = charges.map { "\($0.keys.count)\($0.algorithm.rawValue)" }.joined()
        return (
            "id:\(roll(40))",
            Batch.Idempotency(
                argumentsHash: "000000000000000\(min(roll(8), 1))",
                countersHash: String(repeating: "0", count: 16 - names.count) + names)
        )
    }

    /// A charge whatever the maxima say, or a refund.
    private mutating func addAccounting(to batch: inout Batch) {
        let charges = charges()
        batch.account(cost: cost(), charges, isRefund: roll(3) > 0, idempotency: idempotency(charges))
    }

    private mutating func addCheck(to batch: inout Batch) {
        let charges = charges()
        let cost = cost()
        guard roll(6) > 0 else { return batch.add(cost: cost, count: 0, charges) }
        let idempotency = idempotency(charges)
        let takesSlots = charges.contains { $0.algorithm == .concurrency }
        guard takesSlots || roll(3) == 0 else {
            return batch.add(
                cost: cost, count: idempotency == nil ? Int64(1 + roll(5)) : 1, charges, idempotency: idempotency)
        }
        let reservation = String(reservations.count + 1, radix: 16)
        reservations.append(reservation)
        recordKeys.insert(recordKey(reservation))
        batch.add(cost: cost, charges, reserve: reservation, idempotency: idempotency)
    }

    private mutating func addSettlement(to batch: inout Batch) {
        // Mostly a late one; now and then one that never was.
        let late = reservations.suffix(12)
        let reservation = roll(15) == 0 || late.isEmpty ? "ffff" : pick(Array(late))
        switch roll(5) {
        case 0...1: batch.settle(.commit(cost: roll(6) == 0 ? 0 : cost()), reservation)
        case 2...3: batch.settle(.cancel, reservation)
        default: batch.settle(.release, reservation)
        }
    }

    private mutating func cost() -> Int64 {
        switch roll(12) {
        case 0: Self.trillion
        case 1: Self.trillion / 3
        case 2: Int64(10 + roll(20))
        default: Int64(1 + roll(4))
        }
    }

    private mutating func charge(of counter: Counter) -> TestCharge {
        var charge = TestCharge(key: counter.name, max: counter.max)
        charge.algorithm = counter.algorithm
        charge.verifies = roll(4) == 0
        charge.countsCalls = roll(5) == 0
        charge.isUneven = roll(8) == 0
        // A replica may have another document, or have read its clock a while ago.
        if roll(10) == 0 { charge.max = pick([0, 1, counter.max / 2]) }
        let cutMs = nowMs + (roll(12) == 0 ? Int64(roll(4_000)) - 2_000 : 0)
        switch counter.algorithm {
        case .fixedWindow, .slidingWindow:
            let startMs = cutMs / counter.lengthMs * counter.lengthMs
            charge.window = startMs..<startMs + counter.lengthMs
            charge.key += ":\(startMs)"
            charge.previousKey = "\(counter.name):\(startMs - counter.lengthMs)"
        case .tokenBucket:
            charge.window = Quota.endless
            charge.burst = roll(20) == 0 ? counter.burst / 2 : counter.burst
            charge.lengthMs = counter.lengthMs
        case .slidingLog:
            charge.window = Quota.endless
            charge.lengthMs = counter.lengthMs
        case .concurrency:
            charge.window = Quota.endless
            charge.holdMs = roll(6) == 0 ? counter.lengthMs * 2 : counter.lengthMs
        }
        keys.formUnion(charge.keys)
        return charge
    }
}
