package import SluicePolicy

/// What one limit grants in one window: an algorithm and its numbers.
///
/// With a `Usage` this specifies every algorithm, as a pure function of usage and time: see `AlgorithmRules`. Fixed
/// windows are on the path of most checks, so they are called directly. Local counters and the tests'
/// model of the store call it; the store's scripts do the same arithmetic in Lua, and one contract suite checks them
/// all. It uses integers only, none above 2^53.
package struct Quota: Sendable, Equatable {
    package var algorithm: Algorithm
    /// Whether a check takes 1, whatever its cost: a slot, or one of the calls that are counted. Else it takes its cost.
    package private(set) var countsCalls: Bool
    /// Whether its windows differ in length, as months and the days of a time zone do.
    package private(set) var hasUnevenWindows: Bool
    /// What a window admits, in units of cost; for concurrency, the number of slots. 0 to 10^12.
    package var max: Int64
    /// The open window, half-open, in ms since the epoch. All time, `Quota.endless`, for token buckets, concurrency
    /// and logs.
    package var windowStartMs: Int64
    package var windowEndMs: Int64
    /// For a token bucket, the time in which `max` leaks; else the length of the window, ms.
    package var lengthMs: Int64
    /// For sliding windows, when the window after the open one ends, until when usage of the open one counts; it may
    /// have another length, as months do. Else the end of the open window.
    package var nextEndMs: Int64
    /// What one algorithm alone needs: `burst`, `holdMs` or `previousLengthMs`. One field for all of them, because every
    /// check copies its quotas.
    private var parameter: Int64

    /// All time: up to the largest integer that is exact in a double.
    package static let endless: Range<Int64> = 0..<maxExact
    package static let maxExact: Int64 = 1 << 53

    package init(
        algorithm: Algorithm, max: Int64, burst: Int64 = 0, holdMs: Int64 = 0, windowStartMs: Int64, windowEndMs: Int64,
        lengthMs: Int64, previousLengthMs: Int64? = nil, nextEndMs: Int64? = nil, countsCalls: Bool = false,
        hasUnevenWindows: Bool = false
    ) {
        self.algorithm = algorithm
        self.countsCalls = countsCalls || algorithm == .concurrency
        self.hasUnevenWindows = hasUnevenWindows && algorithm.hasWindows
        self.max = max
        self.windowStartMs = windowStartMs
        self.windowEndMs = windowEndMs
        self.lengthMs = lengthMs
        self.nextEndMs = algorithm.slides ? nextEndMs ?? windowEndMs + lengthMs : windowEndMs
        parameter =
            switch algorithm {
            case .fixedWindow: 0
            case .slidingWindow: previousLengthMs ?? lengthMs
            case .tokenBucket: burst
            case .concurrency, .slidingLog: holdMs
            }
    }

    /// What a token bucket holds, in units of cost. 0 for other algorithms.
    package var burst: Int64 {
        get { algorithm == .tokenBucket ? parameter : 0 }
        set { if algorithm == .tokenBucket { parameter = newValue } }
    }

    /// How long a slot lives if it is not released, ms. For a log, when a write-back was charged, ms since the epoch;
    /// 0 (now) for every check. 0 for other algorithms.
    package var holdMs: Int64 {
        get { algorithm == .concurrency || algorithm == .slidingLog ? parameter : 0 }
        set { if algorithm == .concurrency || algorithm == .slidingLog { parameter = newValue } }
    }

    /// For sliding windows, the length of the previous window, ms, since days and months differ in length. Else as
    /// `lengthMs`.
    package var previousLengthMs: Int64 { algorithm.slides ? parameter : lengthMs }

    /// The same quota for one window.
    @inline(__always)
    func at(_ window: Counter.OpenWindow) -> Quota {
        var quota = self
        quota.windowStartMs = window.startMs
        quota.windowEndMs = window.endMs
        quota.nextEndMs = window.nextEndMs
        if algorithm.hasWindows { quota.lengthMs = window.endMs - window.startMs }
        if algorithm.slides { quota.parameter = window.previousLengthMs }
        return quota
    }

    package static func fixedWindow(max: Int64, window: Range<Int64>) -> Quota {
        Quota(
            algorithm: .fixedWindow, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
            lengthMs: window.upperBound - window.lowerBound)
    }

    /// What may be used at once, in units of cost; for concurrency, in slots.
    @inline(__always)
    package var capacity: Int64 { algorithm == .fixedWindow ? max : algorithm.rules.capacity(self) }

    /// What a check of this cost takes.
    @inline(__always)
    package func units(ofCost cost: Int64) -> Int64 { countsCalls ? 1 : cost }

    /// Whether a check of this cost can pass when nothing is used.
    package func canEverPass(cost: Int64) -> Bool { units(ofCost: cost) <= capacity }

    // MARK: - At one moment

    /// How much more may be used; negative if the limit is exceeded.
    package func left(_ usage: Usage, nowMs: Int64) -> Int64 {
        if algorithm == .fixedWindow { return FixedWindow.left(self, usage, nowMs: nowMs) }
        return algorithm.rules.left(self, usage, nowMs: nowMs)
    }

    /// How much is used now.
    package func used(_ usage: Usage, nowMs: Int64) -> Int64 { capacity - left(usage, nowMs: nowMs) }

    /// How many checks of this cost fit, one after the other.
    package func room(cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        Swift.max(0, left(usage, nowMs: nowMs)) / units(ofCost: cost)
    }

    /// What `count` checks of this cost add to `Usage.used`.
    package func charge(cost: Int64, count: Int64) -> Int64 {
        let cost = units(ofCost: cost)
        if algorithm == .fixedWindow { return FixedWindow.charge(self, cost: cost, count: count) }
        return algorithm.rules.charge(self, cost: cost, count: count)
    }

    /// Whether the evaluation of a limit that admits nothing is the same whatever is used.
    var ignoresUsage: Bool { algorithm.rules.ignoresUsage(self) }

    // MARK: - Waits

    /// How long until a check of this cost that does not fit now could pass if no other check came, ms: at least 1; -1
    /// if it never can.
    package func retryAfterMs(cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        guard canEverPass(cost: cost) else { return -1 }
        return algorithm.rules.retryAfterMs(self, cost: units(ofCost: cost), usage, nowMs: nowMs)
    }

    /// How long until no usage counts any more if no check came, ms; for fixed windows, until the window ends.
    package func resetMs(_ usage: Usage, nowMs: Int64) -> Int64 {
        if algorithm == .fixedWindow { return FixedWindow.resetMs(self, usage, nowMs: nowMs) }
        return algorithm.rules.resetMs(self, usage, nowMs: nowMs)
    }

    /// Until when a charge made just now counts, ms since the epoch.
    func countsUntilMs(_ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        algorithm.rules.countsUntilMs(self, usage, replicas: replicas, nowMs: nowMs)
    }

    // MARK: - In the store

    /// The present usage of a counter that the store holds.
    func usage(of stored: StoredCounter, nowMs: Int64) -> Usage {
        algorithm.rules.usage(self, of: stored, nowMs: nowMs)
    }

    /// The length by which the store's scripts divide, and the parameter of the algorithm that they read beside it.
    package var scriptParameters: (lengthMs: Int64, extra: Int64) { algorithm.rules.scriptParameters(self) }
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
    @inline(__always)
    package init(_ numbers: ArraySlice<Int64>, of algorithm: Algorithm, isShadow: Bool) {
        used = numbers[numbers.startIndex]
        if algorithm != .fixedWindow { read(numbers, of: algorithm) }
        if isShadow { denials = numbers[numbers.endIndex - 1] }
    }

    /// A function of its own, so that `init`, which every answer calls, stays small.
    private mutating func read(_ numbers: ArraySlice<Int64>, of algorithm: Algorithm) {
        algorithm.rules.read(numbers, into: &self)
    }

    /// Appends the same numbers.
    package func append(to numbers: inout [Int64], of algorithm: Algorithm, isShadow: Bool) {
        numbers.append(used)
        algorithm.rules.append(self, to: &numbers)
        if isShadow { numbers.append(denials) }
    }
}
