import SluicePolicy

/// One counter as this replica knows it: the usage that the store last reported, and local admissions.
///
/// A row has everything that a check of a fixed window reads, side by side and in reading order, because with many
/// counters each check fetches another row from memory. What few counters need is boxed, and what many have in common
/// is in their `KeyTemplate`.
struct Counter {
    /// The last window used. All time if the algorithm has no windows.
    private(set) var span = WindowSpan.none
    /// For fixed windows.
    var windowed = WindowUsage()
    /// What it has in common with other counters.
    let template: KeyTemplate
    /// When the batch was sent in which the store last denied a check that uses this counter. Usage reported then, or
    /// later, can prove denials for a while; its slot in `DenialCache` says until when.
    var provenNs = DenialCache.never
    /// For all algorithms but fixed windows.
    var other: CopyOnWriteBox<any LocalUsage>?
    /// Fields of the open window that few counters need.
    var rare: CopyOnWriteBox<RareUsage>?
    /// References by plans, by write-backs in flight and by the journal; 0 frees it.
    var references: Int32 = 0
    /// The store epoch in which it was last reported: see `Reconciler.storeEpoch`.
    var seenEpoch: Int16 = 0
    /// The outage whose share it has: see `beginShare`. 0 while all count in the store.
    var shareEpoch: Int16 = 0
    let changeSlot: UInt16
    let algorithm: Algorithm
    private var marks: Marks = []
    /// When the batch was sent that reported what is known of the store's usage; 0 if that is not a report alone.
    private(set) var seenAt = SentTime.never
    /// Its own part of its key: see `KeyTemplate`. Holds the names that most grants have (a UUID's 36 bytes).
    let own: SmallBytes<39>

    /// In one byte, so that a row fills whole cache lines.
    private struct Marks: OptionSet {
        let rawValue: UInt8
        static let seen = Marks(rawValue: 1)
        static let journalled = Marks(rawValue: 2)
        static let dirty = Marks(rawValue: 4)
        static let dirtyWithBatch = Marks(rawValue: 8)
        static let restored = Marks(rawValue: 16)
        static let cleared = Marks(rawValue: 32)
        static let leased = Marks(rawValue: 64)

        subscript(mark: Marks) -> Bool {
            get { contains(mark) }
            set { if newValue { insert(mark) } else { remove(mark) } }
        }
    }

    /// Whether the store has reported this window (this bucket, these slots) at all.
    var isSeen: Bool {
        get { marks[.seen] }
        set { marks[.seen] = newValue }
    }
    /// Whether it is in the limiter's journal, which then holds a reference.
    var isJournalled: Bool {
        get { marks[.journalled] }
        set { marks[.journalled] = newValue }
    }
    /// Whether a change is still to be recorded: see `StateRecorder`. That holds a reference, too.
    var isDirty: Bool {
        get { marks[.dirty] }
        set { marks[.dirty] = newValue }
    }
    /// Whether it must be recorded together with a batch: see `StateRecorder`. Then it has changed.
    var isDirtyWithBatch: Bool {
        get { marks[.dirtyWithBatch] }
        set { marks[.dirtyWithBatch] = newValue }
    }
    /// Whether the store's counter was cleared: what is known of it is not restored, and must be read again.
    var isCleared: Bool {
        get { marks[.cleared] }
        set { marks[.cleared] = newValue }
    }
    /// Whether it comes from an earlier process, and is kept until nothing of it counts any more.
    var isRestored: Bool {
        get { marks[.restored] }
        set { marks[.restored] = newValue }
    }

    /// Whether it is among the limiter's leases, which then hold a reference.
    var isLeased: Bool {
        get { marks[.leased] }
        set { marks[.leased] = newValue }
    }

    struct WindowSpan {
        var startMs: Int64
        /// Exclusive.
        var endMs: Int64

        /// No window yet.
        static let none = WindowSpan(startMs: -1, endMs: -1)

        @inline(__always)
        func holds(_ nowMs: Int64) -> Bool { nowMs >= startMs && nowMs < endMs }
    }

    struct OpenWindow: Equatable {
        var startMs: Int64
        /// Exclusive.
        var endMs: Int64
        /// For sliding windows, when the next window ends; else as `endMs`.
        var nextEndMs: Int64
        /// For sliding windows, the length of the previous window, ms; else 0.
        var previousLengthMs: Int64

        static let endless = OpenWindow(
            startMs: Quota.endless.lowerBound, endMs: Quota.endless.upperBound, nextEndMs: Quota.endless.upperBound,
            previousLengthMs: 0)
    }

    var windowStartMs: Int64 { span.startMs }
    var windowEndMs: Int64 { span.endMs }
    /// For sliding windows, when the window after the open one ends; else as `windowEndMs`.
    var nextEndMs: Int64 { algorithm.slides ? Self.nextEndMs(span, of: template.window) : span.endMs }

    static func nextEndMs(_ span: WindowSpan, of window: Window) -> Int64 {
        span.startMs >= 0 ? window.bounds(atMs: span.endMs).endMs : span.endMs
    }

    static func previousLengthMs(_ span: WindowSpan, of window: Window) -> Int64 {
        if let lengthMs = window.fixedLengthMs { return lengthMs }
        // The first window of a calendar has no previous one.
        guard span.startMs > 0 else { return max(1, span.endMs - span.startMs) }
        return span.startMs - window.bounds(atMs: span.startMs - 1).startMs
    }

    /// The last window used.
    private var open: OpenWindow { Self.open(span, of: template.window, algorithm) }

    @inline(__always)
    static func open(_ span: WindowSpan, of window: Window, _ algorithm: Algorithm) -> OpenWindow {
        guard algorithm.slides else {
            return OpenWindow(startMs: span.startMs, endMs: span.endMs, nextEndMs: span.endMs, previousLengthMs: 0)
        }
        return OpenWindow(
            startMs: span.startMs, endMs: span.endMs, nextEndMs: nextEndMs(span, of: window),
            previousLengthMs: previousLengthMs(span, of: window))
    }

    struct RareUsage {
        /// Checks that a shadow limit would have denied: as the store last reported, and here without the store.
        var sharedDenials: Int64 = 0
        var localDenials: Int64 = 0
        /// Local admissions of a fixed window that must not be written back yet.
        var unconfirmed: Int64 = 0
        /// What was given back of a fixed window without the store.
        var credit = Credit()
        /// What was charged ahead of time. It outlives its window, without its block.
        var lease = Lease()
    }

    /// - Parameters:
    ///   - template: the template of its base key.
    ///   - changeSlot: see `DenialCache.slot`.
    init(_ parts: BaseKeyParts, of template: KeyTemplate, changeSlot: UInt16) {
        self.template = template
        own = SmallBytes(Array(parts.own))
        self.changeSlot = changeSlot
        algorithm = template.algorithm
        other = algorithm.rules.localUsage(lengthMs: template.window.fixedLengthMs ?? 1).map { CopyOnWriteBox($0) }
    }

    /// What it holds of another algorithm than fixed windows.
    var local: any LocalUsage {
        _read { yield other!.value }
        _modify { yield &other!.value }
    }

    /// Bytes stored outside its row for its whole life, and the counted bytes of a log: see `countLogBytes`.
    var boxedBytes: Int {
        guard let usage = other?.value else { return own.boxedBytes }
        // The usage is stored outside its existential container, too.
        return own.boxedBytes + 2 * HeldBytes.perObject + MemoryLayout<any LocalUsage>.size + usage.size
            + usage.countedBytes
    }

    // MARK: - Its key

    /// The key without the window's start, which is the same for the counter's whole life. If the algorithm has no
    /// windows, it is the whole key.
    var baseKey: [UInt8] { template.head + own.bytes + template.tail }

    /// The key of the open window, which must exist.
    var key: [UInt8] { algorithm.hasWindows ? key(startMs: windowStartMs) : baseKey }

    /// The key of the previous window.
    func previousKey() -> [UInt8] {
        key(startMs: max(0, template.window.bounds(atMs: max(0, windowStartMs - 1)).startMs))
    }

    private func key(startMs: Int64) -> [UInt8] {
        CounterKey.key(baseKey, window: template.window, startMs: startMs)
    }

    /// The key of the window that contains `windowMs`.
    func key(ofWindowAt windowMs: Int64) -> [UInt8] {
        algorithm.hasWindows ? key(startMs: bounds(at: windowMs).startMs) : baseKey
    }

    /// Ranks replicas for this counter; the same in every replica.
    var hash: UInt64 {
        stableHash(template.tail, after: own.stableHash(after: stableHash(template.head)))
    }

    // MARK: - Windows

    /// The window that contains `nowMs`. It is mostly the open one, which needs no division.
    func bounds(at nowMs: Int64) -> OpenWindow {
        if span.holds(nowMs) { return open }
        return Self.bounds(of: template.window, algorithm, at: nowMs)
    }

    static func bounds(of window: Window, _ algorithm: Algorithm, at nowMs: Int64) -> OpenWindow {
        guard algorithm.hasWindows else { return .endless }
        let (startMs, endMs) = window.bounds(atMs: nowMs)
        // A calendar's first window may begin before the epoch.
        return open(WindowSpan(startMs: max(0, startMs), endMs: endMs), of: window, algorithm)
    }

    /// Opens the window that contains `nowMs`, with no usage if it is a new one.
    mutating func roll(at nowMs: Int64) {
        if !span.holds(nowMs) { turn(to: Self.bounds(of: template.window, algorithm, at: nowMs)) }
    }

    private mutating func turn(to next: OpenWindow) {
        if algorithm == .fixedWindow {
            windowed = WindowUsage()
            isCleared = false
        } else {
            local.turn(isNext: next.startMs == windowEndMs)
        }
        span = WindowSpan(startMs: next.startMs, endMs: next.endMs)
        isSeen = false
        guard isLeased, var lease = rare?.value.lease else { return rare = nil }
        // The block was charged to the window that is over.
        lease.dropBlock()
        rare = CopyOnWriteBox(RareUsage(lease: lease))
    }

    // MARK: - Reports of the store

    /// - Parameters:
    ///   - cutMs: the time that cut the window.
    ///   - decidedMs: the time at which the store decided.
    ///   - sentAt: when the batch was sent.
    ///   - epoch: the store's epoch: see `Reconciler.storeEpoch`.
    ///   - keepsShare: keeps a begun share, because not all replicas count in the store again.
    ///   - believesLess: whether a usage that is lower than the known one replaces it.
    /// - Returns: whether it is lower, and the known one was kept.
    mutating func observe(
        _ usage: Usage, cutMs: Int64, decidedMs: Int64, sentAt: SentTime, epoch: Int16, keepsShare: Bool,
        believesLess: Bool
    ) -> Bool {
        // In the usual case, an unchanged window, this reads nothing but `span`.
        guard span.holds(cutMs) || bounds(at: cutMs).startMs == windowStartMs else { return false }
        if !believesLess && isLess(usage) { return true }
        isSeen = true
        seenAt = sentAt
        seenEpoch = epoch
        if !keepsShare { endShare() }
        if rare != nil || usage.denials > 0 { changeRare { $0.sharedDenials = usage.denials } }
        if algorithm == .fixedWindow {
            windowed.observe(used: usage.used)
        } else {
            local.observe(usage, decidedMs: decidedMs)
        }
        return false
    }

    /// Whether a usage of the open window is lower than the known one, which only settlements and refunds explain. Of
    /// what becomes less with time that is not known.
    @inline(__always)
    private func isLess(_ usage: Usage) -> Bool {
        if algorithm == .fixedWindow { return usage.used < windowed.sharedUsed }
        guard algorithm.slides else { return false }
        let known = local.sharedUsage(nil, cost: 0, nowMs: 0)
        return usage.used < known.used || usage.previous < known.previous
    }

    /// The known usage of the open window in the store.
    var sharedUsed: Int64 {
        algorithm == .fixedWindow ? windowed.sharedUsed : local.sharedUsage(nil, cost: 0, nowMs: 0).used
    }

    /// The store has lost what it held, and charged `since` after that: the known usage is restored with it.
    ///
    /// - Parameter epoch: as in `observe`.
    mutating func lose(since: Int64, epoch: Int16) {
        isSeen = true
        seenEpoch = epoch &- 1
        addLost(since)
    }

    /// The store charged this much, of which its restored usage will know nothing.
    mutating func addLost(_ amount: Int64) {
        if algorithm == .fixedWindow {
            windowed.sharedUsed = WindowUsage.sum(windowed.sharedUsed, amount)
        } else {
            var usage = local.sharedUsage(nil, cost: 0, nowMs: 0)
            usage.used = WindowUsage.sum(usage.used, amount)
            local.observe(usage, decidedMs: 0)
        }
    }

    /// What is known of the store's usage is no report alone any more.
    mutating func forgetReport() { seenAt = .never }

    /// The part of a report that a `Usage` does not hold.
    ///
    /// - Parameter numbers: as in `Batch.logUsageCount`.
    mutating func observeLog(_ numbers: ArraySlice<Int64>) { local.observe(numbers) }

    mutating func changeRare(_ change: (inout RareUsage) -> Void) {
        if rare == nil { rare = CopyOnWriteBox(RareUsage()) }
        change(&rare!.value)
    }

    /// `amount` of local admissions, in the window that contains `cutMs`, turned out to be in the usage that the store
    /// reports.
    mutating func markStored(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard amount > 0, let place = place(ofWindowAt: cutMs) else { return }
        if algorithm == .fixedWindow { windowed.markStored(amount) } else { local.markStored(amount, quota, place) }
    }

    /// An unanswered batch turned out to have run: `amount` of local admissions, in the window that contains `cutMs`,
    /// is in the store from now on. What may still be admitted here stays the same.
    mutating func confirm(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard let place = place(ofWindowAt: cutMs) else { return }
        forgetReport()
        if algorithm == .fixedWindow {
            windowed.confirm(amount)
            isSeen = true
        } else if local.confirm(amount, quota, place) {
            isSeen = true
        }
    }

    /// As `markStored`, of a log.
    mutating func markLogStored(_ steps: [UsageLog.Step]) { local.markStored(steps) }

    /// As `confirm`, of a log.
    ///
    /// - Parameter chargedMs: the latest time at which the batch may have run.
    mutating func confirmLog(_ steps: [UsageLog.Step], chargedMs: Int64) {
        local.confirm(steps, chargedMs: chargedMs)
        isSeen = true
    }

    /// Updates the count of a log's bytes.
    ///
    /// - Returns: by how many bytes it grew.
    mutating func countLogBytes() -> Int {
        guard let usage = other?.value, usage.bytes != usage.countedBytes else { return 0 }
        let more = usage.bytes - usage.countedBytes
        local.countedBytes += more
        return more
    }

    // MARK: - Combined usage

    /// All usage known here, as if the store had reported it at `nowMs`.
    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage {
        var usage =
            algorithm == .fixedWindow ? Usage(used: windowUsed) : local.combinedUsage(quota, nowMs: nowMs)
        usage.denials = denials
        return usage
    }

    /// The usage that the store reported, as it is at `nowMs`; only if `isSeen`.
    ///
    /// - Parameter cost: that of a check that it is reported to; 0: to none.
    func shared(_ quota: Quota?, cost: Int64 = 0, nowMs: Int64) -> Usage {
        var usage =
            algorithm == .fixedWindow
            ? Usage(used: windowed.sharedUsed) : local.sharedUsage(quota, cost: cost, nowMs: nowMs)
        usage.denials = rare?.value.sharedDenials ?? 0
        return usage
    }

    /// Until then, ms since the epoch, `shared` is exactly what the store has.
    var exactUntilMs: Int64 { algorithm == .fixedWindow ? .max : local.exactUntilMs }

    /// The local admissions that count at `nowMs`, in units of cost; for concurrency, in slots.
    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 {
        algorithm == .fixedWindow ? max(0, windowed.own - windowCredit) : local.locallyUsed(quota, nowMs: nowMs)
    }

    var denials: Int64 { rare.map { $0.value.sharedDenials + $0.value.localDenials } ?? 0 }

    /// Those that the store reported.
    var sharedDenials: Int64 { rare?.value.sharedDenials ?? 0 }

    private var hasLocalDenials: Bool { rare.map { $0.value.localDenials > 0 } ?? false }

    /// Whether it has anything worth showing to an operator.
    var isTouched: Bool {
        if isSeen || hasLocalDenials { return true }
        return algorithm == .fixedWindow ? windowed.own > 0 || windowed.localShare >= 0 : local.isTouched
    }

    /// Whether dropping it loses nothing that matters at `nowMs`: what counts still decides what may be admitted in an
    /// outage.
    func isQuiet(nowMs: Int64, quota: Quota?) -> Bool {
        guard algorithm.hasWindows else { return local.isQuiet(quota, nowMs: nowMs) }
        // Where windows slide, usage reaches into the next window. If the store's clock was followed back, windows that
        // it had run ahead to do not count.
        if windowStartMs < 0 || nowMs >= nextEndMs || windowStartMs > nowMs + EngineBounds.clockStepMs { return true }
        if isSeen || hasLocalDenials { return false }
        return algorithm == .fixedWindow
            ? !windowed.isTouched && windowCredit == 0 : local.isQuiet(quota, nowMs: nowMs)
    }
}
