package import SluicePolicy

/// What one limit grants in one window: an algorithm and its numbers.
///
/// With a `Usage` this specifies every algorithm, as a pure function of usage and time. Local counters and the tests'
/// model of the store call it; the store's scripts do the same arithmetic in Lua, and one contract suite checks them
/// all. It uses integers only, none above 2^53.
package struct Quota: Sendable, Equatable {
    package var algorithm: Algorithm
    /// What a window admits, in units of cost; for concurrency, the number of slots. 0 to 10^12.
    package var max: Int64
    /// What a token bucket holds, in units of cost. 0 for other algorithms.
    package var burst: Int64
    /// How long a slot lives if it is not released, ms. For a log, when a write-back was charged, ms since the epoch;
    /// 0 (now) for every check. 0 for other algorithms.
    package var holdMs: Int64
    /// The open window, half-open, in ms since the epoch. All time, `Quota.endless`, for token buckets, concurrency
    /// and logs.
    package var windowStartMs: Int64
    package var windowEndMs: Int64
    /// For a token bucket, the time in which `max` leaks; else the length of the window, ms.
    package var lengthMs: Int64
    /// For sliding windows, the length of the previous window, ms, since days and months differ in length. Else as
    /// `lengthMs`.
    package var previousLengthMs: Int64
    /// For sliding windows, when the window after the open one ends, until when usage of the open one counts; it may
    /// have another length, as months do. Else the end of the open window.
    package var nextEndMs: Int64

    /// All time: up to the largest integer that is exact in a double.
    package static let endless: Range<Int64> = 0..<maxExact
    package static let maxExact: Int64 = 1 << 53
    /// The longest wait for a slot that is reported, ms: a slot may be released at any moment.
    package static let slotPollMs: Int64 = 1000

    package init(
        algorithm: Algorithm, max: Int64, burst: Int64 = 0, holdMs: Int64 = 0, windowStartMs: Int64, windowEndMs: Int64,
        lengthMs: Int64, previousLengthMs: Int64? = nil, nextEndMs: Int64? = nil
    ) {
        self.algorithm = algorithm
        self.max = max
        self.burst = burst
        self.holdMs = holdMs
        self.windowStartMs = windowStartMs
        self.windowEndMs = windowEndMs
        self.lengthMs = lengthMs
        self.previousLengthMs = algorithm == .slidingWindow ? previousLengthMs ?? lengthMs : lengthMs
        self.nextEndMs = algorithm == .slidingWindow ? nextEndMs ?? windowEndMs + lengthMs : windowEndMs
    }

    package static func fixedWindow(max: Int64, window: Range<Int64>) -> Quota {
        Quota(
            algorithm: .fixedWindow, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
            lengthMs: window.upperBound - window.lowerBound)
    }

    /// What may be used at once, in units of cost; for concurrency, in slots.
    package var capacity: Int64 { algorithm == .tokenBucket ? burst : max }

    /// Whether a check of this cost can pass when nothing is used. A slot costs 1, whatever the call costs.
    package func canEverPass(cost: Int64) -> Bool {
        algorithm == .concurrency ? max >= 1 : cost <= capacity
    }

    // MARK: - At one moment

    /// How much more may be used; negative if the limit is exceeded.
    package func left(_ usage: Usage, nowMs: Int64) -> Int64 {
        switch algorithm {
        case .fixedWindow, .concurrency, .slidingLog: max - usage.used
        case .slidingWindow: max - usage.used - reach(of: usage.previous, nowMs: nowMs)
        // Rounded down: a unit that has leaked only in part is not available.
        case .tokenBucket: floorDivide(burst * lengthMs - usage.used, lengthMs)
        }
    }

    /// How much is used now.
    package func used(_ usage: Usage, nowMs: Int64) -> Int64 { capacity - left(usage, nowMs: nowMs) }

    /// How many checks of this cost fit, one after the other.
    package func room(cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        Swift.max(0, left(usage, nowMs: nowMs)) / (algorithm == .concurrency ? 1 : cost)
    }

    /// How much of the previous window's usage still counts, rounded up.
    package func reach(of previous: Int64, nowMs: Int64) -> Int64 {
        guard previous > 0 else { return 0 }
        let reachingMs = Swift.max(0, windowEndMs - nowMs)
        // It counts at most once: the open window may be the longer one.
        guard reachingMs < previousLengthMs else { return previous }
        let (share, rest) = scale(previous, by: reachingMs, over: previousLengthMs)
        return rest > 0 ? share + 1 : share
    }

    /// A bucket's level after leaking.
    package func drained(_ level: Int64, sinceMs: Int64, nowMs: Int64) -> Int64 {
        guard nowMs > sinceMs else { return level }
        let (leaked, overflow) = max.multipliedReportingOverflow(by: nowMs - sinceMs)
        return overflow || leaked >= level ? 0 : level - leaked
    }

    /// What `count` checks of this cost add to `Usage.used`.
    package func charge(cost: Int64, count: Int64) -> Int64 {
        switch algorithm {
        case .fixedWindow, .slidingWindow, .slidingLog: cost * count
        case .tokenBucket: cost * count * lengthMs
        case .concurrency: count
        }
    }

    // MARK: - Waits

    /// How long until a check of this cost that does not fit now could pass if no other check came, ms: at least 1; -1
    /// if it never can.
    package func retryAfterMs(cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        guard canEverPass(cost: cost) else { return -1 }
        switch algorithm {
        case .fixedWindow:
            return Swift.max(1, windowEndMs - nowMs)
        case .slidingWindow:
            let room = max - usage.used - cost
            // Either in this window, when enough of the previous one has slid out; or in the next, when enough of this
            // one has.
            let at =
                room >= 0
                ? windowEndMs - Self.timeLeft(forReach: room, of: usage.previous, lengthMs: previousLengthMs)
                : Swift.max(
                    windowEndMs, nextEndMs - Self.timeLeft(forReach: max - cost, of: usage.used, lengthMs: lengthMs))
            return Swift.max(1, at - nowMs)
        case .tokenBucket:
            // A bucket that never leaks never makes room.
            guard max > 0 else { return -1 }
            let missing = usage.used + cost * lengthMs - burst * lengthMs
            return Swift.max(1, ceilDivide(missing, max))
        case .concurrency:
            return Swift.max(1, min(Self.slotPollMs, usage.firstExpiryMs - nowMs))
        case .slidingLog:
            return Swift.max(1, usage.firstExpiryMs - nowMs)
        }
    }

    /// How long until no usage counts any more if no check came, ms; for fixed windows, until the window ends.
    package func resetMs(_ usage: Usage, nowMs: Int64) -> Int64 {
        switch algorithm {
        case .fixedWindow: Swift.max(1, windowEndMs - nowMs)
        case .slidingWindow: Swift.max(1, (usage.used > 0 ? nextEndMs : windowEndMs) - nowMs)
        case .tokenBucket: usage.used == 0 || max == 0 ? 0 : ceilDivide(usage.used, max)
        case .concurrency, .slidingLog: Swift.max(0, usage.lastExpiryMs - nowMs)
        }
    }

    /// The most that may be left of a window for `previous` to count in it with no more than `reach`, ms.
    ///
    /// - Parameter lengthMs: the length of the window in which `previous` was used.
    private static func timeLeft(forReach reach: Int64, of previous: Int64, lengthMs: Int64) -> Int64 {
        guard previous > reach else { return lengthMs }
        return scale(lengthMs, by: reach, over: previous).quotient
    }
}

/// What was counted for one limit, at one time.
package struct Usage: Sendable, Equatable {
    /// Fixed and sliding windows: units of cost in the open window. Token bucket: its level now, in units of cost
    /// times `Quota.lengthMs`. Concurrency: slots taken. Log: units that count.
    package var used: Int64
    /// Sliding windows: units of cost in the previous window.
    package var previous: Int64 = 0
    /// Concurrency: when the first slot expires, ms since the epoch; 0 if none is taken. Log: when one more check of
    /// the requested cost fits; 0 if it fits now, or never can.
    package var firstExpiryMs: Int64 = 0
    /// Concurrency: when the last slot expires. Log: when all current usage has expired. 0 if nothing is used.
    package var lastExpiryMs: Int64 = 0
    /// How many checks a shadow limit would have denied, of those that were admitted while its key lived.
    package var denials: Int64 = 0

    package init(used: Int64) { self.used = used }

    /// Reads the numbers that `Batch.Charge.usageCount` describes.
    package init(_ numbers: ArraySlice<Int64>, of algorithm: Algorithm, isShadow: Bool) {
        let first = numbers.startIndex
        used = numbers[first]
        switch algorithm {
        case .fixedWindow, .tokenBucket: break
        case .slidingWindow: previous = numbers[first + 1]
        case .concurrency, .slidingLog:
            // The other numbers of a log are read by `LogUsage`.
            firstExpiryMs = numbers[first + 1]
            lastExpiryMs = numbers[first + 2]
        }
        if isShadow { denials = numbers[numbers.endIndex - 1] }
    }

    /// Appends the same numbers.
    package func append(to numbers: inout [Int64], of algorithm: Algorithm, isShadow: Bool) {
        numbers.append(used)
        switch algorithm {
        case .fixedWindow, .tokenBucket: break
        case .slidingWindow: numbers.append(previous)
        case .concurrency: numbers += [firstExpiryMs, lastExpiryMs]
        case .slidingLog:
            numbers += [firstExpiryMs, lastExpiryMs]
            numbers += repeatElement(0, count: Batch.logUsageCount - 3)
        }
        if isShadow { numbers.append(denials) }
    }
}

private func floorDivide(_ dividend: Int64, _ divisor: Int64) -> Int64 {
    let quotient = dividend / divisor
    return dividend % divisor < 0 ? quotient - 1 : quotient
}

/// `value * part / whole`, where the product may overflow an integer.
///
/// - Parameter part: 0 to `whole`.
private func scale(_ value: Int64, by part: Int64, over whole: Int64) -> (quotient: Int64, remainder: Int64) {
    whole.dividingFullWidth(value.multipliedFullWidth(by: part))
}

private func ceilDivide(_ dividend: Int64, _ divisor: Int64) -> Int64 { (dividend + divisor - 1) / divisor }
