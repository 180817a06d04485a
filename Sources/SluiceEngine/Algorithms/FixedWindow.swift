/// One count per window, starting at 0. `Quota` has this arithmetic inline as well, where it is on the path of every
/// check.
enum FixedWindow: AlgorithmRules {
    static func left(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { quota.max - usage.used }

    static func retryAfterMs(_ quota: Quota, cost: Int64, _ usage: Usage, nowMs: Int64) -> Int64 {
        resetMs(quota, usage, nowMs: nowMs)
    }

    static func resetMs(_ quota: Quota, _ usage: Usage, nowMs: Int64) -> Int64 { max(1, quota.windowEndMs - nowMs) }

    static func countsUntilMs(_ quota: Quota, _ usage: Usage, replicas: ReplicaView, nowMs: Int64) -> Int64 {
        quota.windowEndMs
    }

    static func ignoresUsage(_ quota: Quota) -> Bool { true }

    static func keeps(_ usage: CounterState.Usage) -> Bool { if case .window = usage { true } else { false } }

    static func localUsage(lengthMs: Int64) -> (any LocalUsage)? { nil }
}

/// The usage of one window. A fixed window's is part of its `Counter`, which asks it directly.
struct WindowUsage {
    /// The highest usage that the store reported, plus what later turned out to be charged there.
    var sharedUsed: Int64 = 0
    /// Local admissions that are not known to be in the store's usage.
    var own: Int64 = 0
    /// `sharedUsed` at the start of the outage: the share is a part of what it left of the maximum.
    private(set) var shareBase: Int64 = 0
    /// How much of the share is spent, whether or not the store has it by now. Others' spending is not included, so
    /// that a store that is available on and off does not hand out the share again.
    private(set) var taken: Int64 = 0
    /// This replica's share of a fixed window; -1 until the first check needs it.
    private(set) var localShare: Int64 = -1
    /// The maximum that `localShare` was computed from.
    private var shareMax: Int64 = -1

    init() {}

    mutating func observe(used: Int64) { sharedUsed = used }

    /// Begins an outage for this window: a share of what is left is spent from here on.
    mutating func beginShare() {
        shareBase = sharedUsed
        taken = own
        localShare = -1
    }

    /// Local admissions turned out to be charged in the store. They still count as taken from the share.
    mutating func confirm(_ amount: Int64) {
        sharedUsed = Self.sum(sharedUsed, markStored(amount))
    }

    mutating func admit(_ cost: Int64) {
        own = Self.sum(own, cost)
        take(cost)
    }

    /// The store's usage has it.
    /// - Returns: how much of it was still counted as local.
    @discardableResult
    mutating func markStored(_ amount: Int64) -> Int64 {
        let settled = min(own, amount)
        own -= settled
        return settled
    }

    /// Takes from the share; a negative amount returns it.
    mutating func take(_ amount: Int64) { taken = max(0, Self.sum(taken, amount)) }

    /// Changes the local admissions.
    mutating func adjust(by amount: Int64) {
        let before = own
        own = max(0, Self.sum(own, amount))
        take(own - before)
    }

    /// All known usage.
    var used: Int64 { Self.sum(sharedUsed, own) }

    var isTouched: Bool { own > 0 || taken > 0 }

    /// Usage can exceed the maximum, if a limit passes every check or a commit exceeds the reserved cost: sums are
    /// clamped.
    static func sum(_ one: Int64, _ other: Int64) -> Int64 { min(Quota.maxExact, one + other) }

    /// Whether this replica's share is computed for the limit's present maximum.
    func hasShare(_ quota: Quota) -> Bool { localShare >= 0 && shareMax == quota.max }

    mutating func setShare(_ quota: Quota, _ share: Int64) {
        localShare = share
        shareMax = quota.max
    }

    /// What is left of the share. The caller also bounds admissions by what the store's usage leaves.
    var left: Int64 { localShare - taken }

    /// The store has answered a write-back of this much, or a restore; nil: no answer came, but it turned out to have
    /// run.
    mutating func wroteBack(_ amount: Int64, _ reported: Int64?) {
        guard let reported else { return confirm(amount) }
        markStored(amount)
        sharedUsed = reported
    }
}

// MARK: - A restart

extension WindowUsage {
    init(_ state: CounterState.WindowState) {
        sharedUsed = state.sharedUsed
        own = state.own
        guard let share = state.share else { return }
        shareBase = share.base
        taken = share.taken
    }

    func state(hasShare: Bool) -> CounterState.WindowState {
        CounterState.WindowState(
            sharedUsed: sharedUsed, sharedPrevious: 0, own: own, ownPrevious: 0,
            share: hasShare
                ? CounterState.ShareState(base: shareBase, taken: taken, previousBase: 0, previousTaken: 0) : nil)
    }
}

extension CounterState {
    /// Of a fixed or sliding window, in units of cost; see `WindowUsage`. A fixed window has 0 for the previous one.
    package struct WindowState: Sendable, Equatable, SavedUsage {
        package var sharedUsed: Int64
        package var sharedPrevious: Int64
        package var own: Int64
        package var ownPrevious: Int64
        /// nil while all count in the store.
        package var share: ShareState?

        package init(
            sharedUsed: Int64, sharedPrevious: Int64, own: Int64, ownPrevious: Int64, share: ShareState? = nil
        ) {
            self.sharedUsed = sharedUsed
            self.sharedPrevious = sharedPrevious
            self.own = own
            self.ownPrevious = ownPrevious
            self.share = share
        }
    }

    /// The share that this replica took in an outage: see `WindowUsage.shareBase`; then the same for the previous
    /// window.
    package struct ShareState: Sendable, Equatable {
        package var base: Int64
        package var taken: Int64
        package var previousBase: Int64
        package var previousTaken: Int64
    }
}

extension CounterState.WindowState {
    var isPlausible: Bool {
        let shares = share.map { [$0.base, $0.taken, $0.previousBase, $0.previousTaken] } ?? []
        return ([sharedUsed, sharedPrevious, own, ownPrevious] + shares).allSatisfy(StateRecord.isAmount)
    }

    var isVoid: Bool {
        sharedUsed <= 0 && sharedPrevious <= 0 && own <= 0 && ownPrevious <= 0 && share?.taken ?? 0 <= 0
    }

    var isUnsent: Bool { own > 0 || ownPrevious > 0 }

    func append(to writer: inout RecordWriter) {
        writer.put((share == nil ? UsageKind.windowWithoutShare : .windowWithShare).rawValue)
        writer.put(sharedUsed, sharedPrevious, own, ownPrevious)
        if let share { writer.put(share.base, share.taken, share.previousBase, share.previousTaken) }
    }

    init?(_ reader: inout RecordReader, hasShare: Bool) {
        guard let numbers = reader.numbers(hasShare ? 8 : 4) else { return nil }
        self.init(sharedUsed: numbers[0], sharedPrevious: numbers[1], own: numbers[2], ownPrevious: numbers[3])
        guard hasShare else { return }
        share = CounterState.ShareState(
            base: numbers[4], taken: numbers[5], previousBase: numbers[6], previousTaken: numbers[7])
    }

    /// The format before shares were recorded. Its last number is the part of local admissions that turned out to be
    /// charged in the store after its last report.
    init?(earlier reader: inout RecordReader) {
        guard let numbers = reader.numbers(5) else { return nil }
        let (base, own) = (numbers[0], numbers[2])
        let confirmed = numbers[4]
        guard [base, own, confirmed].allSatisfy({ 0...Quota.maxExact ~= $0 }) else {
            // An invalid value if the sum overflows: `isPlausible` then rejects the record.
            self.init(sharedUsed: -1, sharedPrevious: 0, own: 0, ownPrevious: 0)
            return
        }
        self.init(
            sharedUsed: min(Quota.maxExact, base + confirmed), sharedPrevious: numbers[1], own: own,
            ownPrevious: numbers[3],
            share: CounterState.ShareState(
                base: base, taken: min(Quota.maxExact, own + confirmed), previousBase: numbers[1],
                previousTaken: numbers[3]))
    }
}
