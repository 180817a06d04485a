import StoreModel
import SluicePolicy
@testable import SluiceEngine

/// One limit, as a test makes it up: the part of `Quota` that does not depend on the time.
struct QuotaLimit: Sendable {
    var algorithm: Algorithm
    var max: Int64
    var burst: Int64 = 0
    var holdMs: Int64 = 0
    var lengthMs: Int64
    /// The length of every second window, because months and days differ in length; 0: as all others.
    var secondLengthMs: Int64 = 0

    var capacity: Int64 { algorithm == .tokenBucket ? burst : max }

    /// What one check takes of the capacity.
    func unit(cost: Int64) -> Int64 { algorithm == .concurrency ? 1 : cost }

    /// The window that contains a time.
    func window(at nowMs: Int64) -> Range<Int64> {
        let bothMs = lengthMs + (secondLengthMs > 0 ? secondLengthMs : lengthMs)
        let startMs = nowMs / bothMs * bothMs
        return nowMs < startMs + lengthMs ? startMs..<startMs + lengthMs : startMs + lengthMs..<startMs + bothMs
    }

    /// The window before the one that contains a time.
    func windowBefore(at nowMs: Int64) -> Range<Int64> { window(at: window(at: nowMs).lowerBound - 1) }

    func quota(at nowMs: Int64) -> Quota {
        let hasWindows = algorithm == .fixedWindow || algorithm == .slidingWindow
        guard hasWindows else {
            return Quota(
                algorithm: algorithm, max: max, burst: burst, holdMs: holdMs, windowStartMs: Quota.endless.lowerBound,
                windowEndMs: Quota.endless.upperBound, lengthMs: lengthMs)
        }
        let (before, window) = (windowBefore(at: nowMs), window(at: nowMs))
        return Quota(
            algorithm: algorithm, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
            lengthMs: window.upperBound - window.lowerBound,
            previousLengthMs: before.upperBound - before.lowerBound,
            nextEndMs: self.window(at: window.upperBound).upperBound)
    }
}

/// Computes what a limit must do in a simple way: it keeps every event, adds them all up for every question, and uses
/// integers that are wide enough for any product.
struct QuotaOracle {
    let limit: QuotaLimit
    /// When each event came, and what was admitted, in units of the capacity. The numbers are in arrays of their own,
    /// because without optimization an array of structures takes several times as long to scan.
    private(set) var timesMs: [Int64] = []
    private(set) var amounts: [Int64] = []
    /// What was charged then, whatever was settled later.
    private var charged: [Int64] = []
    /// Concurrency: when its slot expires; 0 once it was released, or found expired.
    private(set) var expiriesMs: [Int64] = []
    /// Token bucket: before this its level does not fall, for a time that steps back. Log: nothing is charged before
    /// this.
    private(set) var lastMs = Int64.min

    init(_ limit: QuotaLimit) { self.limit = limit }

    /// What counts as used at that time if nothing more comes, in units of the capacity, rounded up.
    func used(at nowMs: Int64) -> Int64 {
        switch limit.algorithm {
        case .fixedWindow:
            return sum(in: limit.window(at: nowMs))
        case .slidingWindow:
            let (window, before) = (limit.window(at: nowMs), limit.windowBefore(at: nowMs))
            // The part of the previous window that a window of the open one's length, ending now, overlaps.
            let lengthMs = Int128(before.upperBound - before.lowerBound)
            let share = Int128(sum(in: before)) * min(lengthMs, Int128(window.upperBound - nowMs))
            return sum(in: window) + Int64((share + lengthMs - 1) / lengthMs)
        case .tokenBucket:
            return Int64((level(at: nowMs) + Int128(limit.lengthMs) - 1) / Int128(limit.lengthMs))
        case .slidingLog:
            var sum: Int64 = 0
            for index in timesMs.indices where timesMs[index] + limit.lengthMs > nowMs { sum += amounts[index] }
            return sum
        case .concurrency:
            var count: Int64 = 0
            for expiryMs in expiriesMs where expiryMs > nowMs { count += 1 }
            return count
        }
    }

    /// Token bucket: its level, times `lengthMs`. For any stretch of time ending now, its charges less what could leak
    /// in it; the maximum of these is the level.
    func level(at nowMs: Int64) -> Int128 {
        let (timesMs, amounts, nowMs) = (timesMs, amounts, Swift.max(nowMs, lastMs))
        let (max, lengthMs) = (Int128(limit.max), Int128(limit.lengthMs))
        var (level, came) = (Int128(0), Int64(0))
        var index = timesMs.count - 1
        while index >= 0 {
            came += amounts[index]
            let left = Int128(came) * lengthMs - max * Int128(nowMs - timesMs[index])
            if left > level { level = left }
            index -= 1
        }
        return level
    }

    func fits(cost: Int64, at nowMs: Int64) -> Bool { used(at: nowMs) + limit.unit(cost: cost) <= limit.capacity }

    /// How many of these checks must be admitted at this usage.
    func room(cost: Int64, used: Int64) -> Int64 { Swift.max(0, limit.capacity - used) / limit.unit(cost: cost) }

    mutating func admit(cost: Int64, count: Int64, at nowMs: Int64) {
        if limit.algorithm == .concurrency { forgetExpired(at: nowMs) }
        guard count > 0 else { return }
        // A charge of a log drops what no longer counts, for good.
        if limit.algorithm == .slidingLog {
            for index in timesMs.indices where timesMs[index] + limit.lengthMs <= nowMs { amounts[index] = 0 }
        }
        let hasLast = limit.algorithm == .tokenBucket || limit.algorithm == .slidingLog
        if hasLast { lastMs = Swift.max(lastMs, nowMs) }
        timesMs.append(hasLast ? lastMs : nowMs)
        charged.append(limit.unit(cost: cost) * count)
        amounts.append(limit.unit(cost: cost) * count)
        expiriesMs.append(nowMs + limit.holdMs)
    }

    /// A check removes what has expired, for good.
    private mutating func forgetExpired(at nowMs: Int64) {
        for index in expiriesMs.indices where expiriesMs[index] <= nowMs { expiriesMs[index] = 0 }
    }

    /// Gives back the slot of one event.
    mutating func release(_ index: Int) { expiriesMs[index] = 0 }

    /// As if this had been admitted then.
    mutating func settle(_ index: Int, to amount: Int64) { amounts[index] = amount }

    private func sum(in window: Range<Int64>) -> Int64 {
        let (timesMs, amounts, startMs, endMs) = (timesMs, amounts, window.lowerBound, window.upperBound)
        var sum: Int64 = 0
        var index = timesMs.count - 1
        while index >= 0 {
            if timesMs[index] >= startMs && timesMs[index] < endMs { sum += amounts[index] }
            index -= 1
        }
        return sum
    }

    /// What must hold for any history in which time does not step back; nil if it does.
    func brokenPromise() -> String? {
        switch limit.algorithm {
        case .fixedWindow:
            for atMs in timesMs where used(at: atMs) > limit.max { return "\(used(at: atMs)) at \(atMs)" }
        case .slidingWindow:
            var past = QuotaOracle(limit)
            for (index, atMs) in timesMs.enumerated() {
                past.admit(cost: 1, count: amounts[index], at: atMs)
                if past.used(at: atMs) > limit.max { return "\(past.used(at: atMs)) at \(atMs)" }
            }
        case .tokenBucket:
            let (max, burst, lengthMs) = (Int128(limit.max), Int128(limit.burst), Int128(limit.lengthMs))
            for last in timesMs.indices {
                var came = Int64(0)
                for first in (0...last).reversed() {
                    came += amounts[first]
                    let passedMs = timesMs[last] - timesMs[first]
                    if Int128(came) * lengthMs > burst * lengthMs + max * Int128(passedMs) {
                        return "\(came) in \(passedMs) ms until \(timesMs[last])"
                    }
                }
            }
        case .slidingLog:
            for last in timesMs.indices {
                var came = Int64(0)
                for first in (0...last).reversed() where timesMs[first] + limit.lengthMs > timesMs[last] {
                    came += charged[first]
                }
                if came > limit.max { return "\(came) within \(limit.lengthMs) ms until \(timesMs[last])" }
            }
        case .concurrency:
            // A slot counts until it ends, which only the present shows: that is compared check by check.
            break
        }
        return nil
    }
}
