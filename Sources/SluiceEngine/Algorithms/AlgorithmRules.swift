package import SluicePolicy

/// What distinguishes an algorithm: its arithmetic, as pure functions of a quota, a usage and a time; its numbers on the
/// wire; and the type of its local counter. `Quota` and `Usage` say what each function means.
protocol AlgorithmRules {
    static func capacity(_ quota: Quota) -> Int64
    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64
    /// For a check that could pass if nothing was used.
    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64
    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64
    /// Until when a charge made just now counts, ms since the epoch.
    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64
    static func charge(_ quota: Quota, cost: Int64, count: Int64) -> Int64
    /// Whether the evaluation of a limit that admits nothing is the same whatever is used.
    static func ignoresUsage(_ quota: Quota) -> Bool

    /// The length by which the store's scripts divide, and the parameter that they read beside it.
    static func scriptParameters(_ quota: Quota) -> (lengthMs: Int64, extra: Int64)
    /// How many numbers report a usage, without those of shadow limits: `used` first.
    static var usageCount: Int { get }
    /// Reads those after `used`.
    static func read(_ numbers: ArraySlice<Int64>, into usage: inout Usage)
    /// Appends the numbers after `used`.
    static func append(_ usage: Usage, to numbers: inout [Int64])
    /// The present usage of a counter that the store holds.
    static func usage(_ quota: Quota, of stored: StoredCounter, nowMs: Int64) -> Usage

    /// Whether its counters are saved in this form.
    static func keeps(_ usage: CounterState.Usage) -> Bool
    /// An empty local counter; nil for fixed windows, whose counter is part of `Counter`.
    ///
    /// - Parameter lengthMs: the length of a window; 1 if windows differ in length.
    static func localUsage(lengthMs: Int64) -> (any LocalUsage)?
}

extension AlgorithmRules {
    static func capacity(_ quota: Quota) -> Int64 { quota.max }
    static func charge(_ quota: Quota, cost: Int64, count: Int64) -> Int64 { cost * count }
    static func ignoresUsage(_ quota: Quota) -> Bool { false }
    static func scriptParameters(_ quota: Quota) -> (lengthMs: Int64, extra: Int64) { (quota.lengthMs, quota.holdMs) }
    static var usageCount: Int { 1 }
    static func read(_ numbers: ArraySlice<Int64>, into usage: inout Usage) {}
    static func append(_ usage: Usage, to numbers: inout [Int64]) {}
    static func usage(_ quota: Quota, of stored: StoredCounter, nowMs: Int64) -> Usage { stored.usage }
}

extension Algorithm {
    /// The one list of the engine's algorithms.
    var rules: any AlgorithmRules.Type {
        switch self {
        case .fixedWindow: FixedWindow.self
        case .slidingWindow: SlidingWindow.self
        case .slidingLog: SlidingLog.self
        case .tokenBucket: TokenBucket.self
        case .concurrency: Concurrency.self
        }
    }
}

/// On the path of every check, so inlined, which the same of another module is not.
extension Algorithm {
    @inline(__always)
    static func == (one: Algorithm, other: Algorithm) -> Bool {
        switch other {
        case .fixedWindow: if case .fixedWindow = one { true } else { false }
        case .slidingWindow: if case .slidingWindow = one { true } else { false }
        case .slidingLog: if case .slidingLog = one { true } else { false }
        case .tokenBucket: if case .tokenBucket = one { true } else { false }
        case .concurrency: if case .concurrency = one { true } else { false }
        }
    }

    @inline(__always)
    static func != (one: Algorithm, other: Algorithm) -> Bool { !(one == other) }

    /// Whether each window has its own key.
    @inline(__always)
    package var hasWindows: Bool { self == .fixedWindow || self == .slidingWindow }

    /// Whether usage of the previous window still counts in part.
    @inline(__always)
    var slides: Bool { self == .slidingWindow }
}
