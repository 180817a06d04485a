import StoreModel
import SluicePolicy
@testable import SluiceEngine

/// A random limit and a random history of checks, compared with the oracle at every step. Everything follows from the
/// seed.
struct QuotaHistory<Subject: QuotaSubject> {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let limit: QuotaLimit
    private let seed: UInt64
    private let stepsBack: Bool
    private var random: SeededRandom
    private var subject: Subject
    private var oracle: QuotaOracle
    private var nowMs: Int64
    private var highestMs: Int64 = 0
    /// Concurrency: the slots that were not released.
    private var held: [Int] = []

    init(_ algorithm: Algorithm, seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        limit = QuotaLimit(algorithm, random: &random)
        stepsBack = random.number(0, 3) == 0
        subject = Subject(limit)
        oracle = QuotaOracle(limit)
        // Around the start of a window.
        nowMs = limit.lengthMs * (1_800_000_000_000 / limit.lengthMs + 2) + random.number(-2, 2)
    }

    /// - Returns: the number of events.
    mutating func run() throws -> Int {
        let events = random.number(1, 60)
        for _ in 0..<events { try step() }
        if !stepsBack, let promise = oracle.brokenPromise() { throw failure("over: \(promise)") }
        return Int(events)
    }

    private mutating func step() throws {
        advance()
        highestMs = max(highestMs, nowMs)
        if limit.algorithm == .concurrency, !held.isEmpty, random.number(0, 3) == 0 {
            let number = held.remove(at: Int(random.number(0, Int64(held.count) - 1)))
            if oracle.expiriesMs[number] > nowMs {
                subject.release(number, nowMs: nowMs)
                oracle.release(number)
            }
        }
        let used = oracle.used(at: nowMs)
        let cost = randomCost(used: used)
        let usage = subject.usage(cost: cost, nowMs: nowMs)
        try look(cost: cost, usage, used: used)
        let count = randomCount()
        let expected = min(count, oracle.room(cost: cost, used: used))
        let (admitted, after) = subject.check(cost: cost, count: count, nowMs: nowMs)
        guard admitted == expected else {
            throw failure("\(usage) admits \(admitted) of \(count) of cost \(cost) instead of \(expected)")
        }
        if admitted > 0 { held.append(oracle.timesMs.count) }
        oracle.admit(cost: cost, count: admitted, at: nowMs)
        // The numbers of an answer are those that the next check would find.
        guard after == subject.usage(cost: cost, nowMs: nowMs) else {
            throw failure("reports \(after) after \(count) of \(cost)")
        }
    }

    /// Compares all numbers reported for this moment.
    private func look(cost: Int64, _ usage: Usage, used: Int64) throws {
        let quota = limit.quota(at: nowMs)
        let fits = used + limit.unit(cost: cost) <= limit.capacity
        guard quota.used(usage, nowMs: nowMs) == used, quota.left(usage, nowMs: nowMs) == limit.capacity - used,
            quota.room(cost: cost, usage, nowMs: nowMs) == oracle.room(cost: cost, used: used)
        else { throw failure("\(usage): used \(quota.used(usage, nowMs: nowMs)) instead of \(used), cost \(cost)") }
        // After a step back into a window, its usage lacks later charges.
        guard used <= limit.capacity || (stepsBack && limit.algorithm == .slidingWindow) else {
            throw failure("used \(used)")
        }
        guard quota.canEverPass(cost: cost) == (limit.unit(cost: cost) <= limit.capacity) else {
            throw failure("whether \(cost) can ever pass")
        }
        // After a step back, a later window may have charges already: then "if no other check comes" does not hold.
        if stepsBack, limit.algorithm != .tokenBucket, oracle.timesMs.contains(where: { $0 >= quota.windowEndMs }) {
            return
        }
        if !fits { try lookAtRetry(cost: cost, quota, usage) }
        try lookAtReset(quota, usage, used: used)
    }

    private func lookAtRetry(cost: Int64, _ quota: Quota, _ usage: Usage) throws {
        let retryMs = quota.retryAfterMs(cost: cost, usage, nowMs: nowMs)
        if limit.unit(cost: cost) > limit.capacity {
            guard retryMs == -1 else { throw failure("retry of \(cost), which never passes: \(retryMs)") }
            return
        }
        let isCut = limit.algorithm == .concurrency && retryMs == Concurrency.pollMs
        guard retryMs >= 1, !oracle.fits(cost: cost, at: nowMs + retryMs - 1),
            isCut || oracle.fits(cost: cost, at: leaksFromMs + retryMs)
        else { throw failure("\(usage): retry of \(cost) after \(retryMs)") }
    }

    private func lookAtReset(_ quota: Quota, _ usage: Usage, used: Int64) throws {
        let resetMs = quota.resetMs(usage, nowMs: nowMs)
        let endsWithWindow = limit.algorithm == .fixedWindow || (limit.algorithm == .slidingWindow && used == 0)
        guard resetMs >= (endsWithWindow ? 1 : 0), oracle.used(at: leaksFromMs + resetMs) == 0,
            endsWithWindow
                ? nowMs + resetMs == quota.windowEndMs : used == 0 || oracle.used(at: nowMs + resetMs - 1) > 0
        else { throw failure("\(usage): reset in \(resetMs)") }
    }

    /// A bucket whose time stepped back begins to leak again only then.
    private var leaksFromMs: Int64 { limit.algorithm == .tokenBucket ? max(nowMs, oracle.lastMs) : nowMs }

    private func failure(_ what: String) -> Failure {
        Failure(
            description: """
                seed \(seed): \(limit) at \(nowMs), after \(oracle.amounts) at \(oracle.timesMs): \(what)
                """)
    }

    // MARK: - Random choices

    private mutating func advance() {
        let endMs = limit.window(at: nowMs).upperBound
        switch random.number(0, stepsBack ? 13 : 11) {
        case 0...2: break
        case 3, 4: nowMs += 1
        case 5, 6: nowMs += random.number(1, max(1, limit.lengthMs / max(1, limit.max)))
        case 7: nowMs += random.number(1, max(1, limit.lengthMs / 10))
        case 8: nowMs = max(nowMs, endMs - random.number(1, 2))
        case 9: nowMs = endMs + random.number(0, 1)
        case 10: nowMs += random.number(1, 2 * limit.lengthMs)
        case 11:
            // To the very moment at which a check could pass, or one ms before it.
            let cost = max(1, limit.capacity)
            let waitMs = limit.quota(at: nowMs).retryAfterMs(
                cost: cost, subject.usage(cost: cost, nowMs: nowMs), nowMs: nowMs)
            if waitMs < 10 * QuotaLimit.longestMs { nowMs += max(0, waitMs - random.number(0, 1)) }
        default:
            let backMs = Bool.random(using: &random) ? 2 : limit.lengthMs
            nowMs = max(
                nowMs - random.number(1, backMs),
                highestMs - min(highestMs, Subject.longestStepBackMs))
        }
    }

    /// Costs that pass, that just pass or just do not, and that never can.
    private mutating func randomCost(used: Int64) -> Int64 {
        let left = limit.capacity - used
        let cost =
            switch random.number(0, 7) {
            case 0, 1: Int64(1)
            case 2, 3: random.number(1, max(1, limit.capacity / 4))
            case 4: left
            case 5: left + 1
            case 6: random.number(1, max(1, limit.capacity))
            default: limit.capacity + random.number(0, 1)
            }
        return min(1_000_000_000_000, max(1, cost))
    }

    private mutating func randomCount() -> Int64 {
        if limit.algorithm == .concurrency { return 1 }
        return switch random.number(0, 7) {
        case 0...4: 1
        case 5, 6: random.number(2, 5)
        default: random.number(2, 1_000_000)
        }
    }
}

extension SeededRandom {
    /// A number of that range, both ends included. Without optimization the library's way takes microseconds.
    mutating func number(_ least: Int64, _ most: Int64) -> Int64 {
        precondition(least <= most)
        return least &+ Int64(truncatingIfNeeded: next() % (UInt64(bitPattern: most &- least) + 1))
    }
}

extension QuotaLimit {
    private static let maxLimit: Int64 = 1_000_000_000_000

    /// A leap year.
    static let longestMs: Int64 = 31_622_400_000

    /// A limit within the bounds of the policy language, often at one of them.
    init(_ algorithm: Algorithm, random: inout SeededRandom) {
        self.algorithm = algorithm
        switch algorithm {
        case .concurrency:
            max = random.number(0, 8)
            lengthMs = 60_000
            holdMs = [1000, 1500, 60_000, 86_400_000].randomElement(using: &random) ?? 1000
        case .slidingLog:
            let lengths = [1000, 9_007, 60_000, 3_600_000, 86_400_000, Self.longestMs]
            lengthMs = lengths.randomElement(using: &random) ?? 1000
            max = Self.some(upTo: 1_024, random: &random)
        case .fixedWindow, .slidingWindow, .tokenBucket:
            let (largest, lengthMs) = Self.extent(random: &random)
            self.lengthMs = lengthMs
            max = Self.some(upTo: largest, random: &random)
            // A day of 23 hours, a month of 28 days: shorter by a little, or by much.
            if algorithm == .slidingWindow, Bool.random(using: &random) {
                secondLengthMs = random.number(Bool.random(using: &random) ? lengthMs * 9 / 10 : 1, lengthMs)
            }
            guard algorithm == .tokenBucket else { return }
            burst = max == 0 ? 0 : Swift.max(1, Self.some(upTo: largest, random: &random))
        }
    }

    /// The product of both is 2^53 at most.
    private static func extent(random: inout SeededRandom) -> (largest: Int64, lengthMs: Int64) {
        if Bool.random(using: &random) {
            let lengths: [Int64] = [1000, 9_007, 60_000, 3_600_000, 86_400_000, longestMs]
            let lengthMs = lengths.randomElement(using: &random) ?? 1000
            return (min(maxLimit, Quota.maxExact / lengthMs), lengthMs)
        }
        let largest = random.number(Quota.maxExact / longestMs, maxLimit)
        return (largest, Quota.maxExact / largest)
    }

    private static func some(upTo largest: Int64, random: inout SeededRandom) -> Int64 {
        let number =
            switch random.number(0, 7) {
            case 0: Int64(1)
            case 1: largest
            case 2: largest - 1
            case 3: random.number(0, largest)
            default: random.number(0, 12)
            }
        return min(largest, Swift.max(0, number))
    }
}
