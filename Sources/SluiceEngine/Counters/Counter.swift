import SluicePolicy

/// One counter as this replica knows it: the usage that the store last reported, and local admissions.
///
/// A row has everything that a check of a fixed window reads, side by side and in reading order, because with many
/// counters each check fetches another row from memory. What few counters need is boxed, and what many have in common
/// is in their `KeyTemplate`.
struct Counter {
    /// The last window used. All time if the algorithm has no windows.
    private(set) var span = WindowSpan.none
    /// For fixed and sliding windows.
    var windowed = WindowUsage()
    /// What it has in common with other counters.
    let template: KeyTemplate
    /// When the batch was sent in which the store last denied a check that uses this counter. Usage reported then, or
    /// later, can prove denials for a while; its slot in `DenialCache` says until when.
    var provenNs = DenialCache.never
    /// For all algorithms but fixed windows.
    var other: CopyOnWriteBox<OtherUsage>?
    /// Fields of the open window that few counters need.
    private(set) var rare: CopyOnWriteBox<RareUsage>?
    /// References by plans, by write-backs in flight and by the journal; 0 frees it.
    var references: Int32 = 0
    /// The store epoch in which it was last reported: see `Limiter.storeEpoch`.
    var seenEpoch: Int16 = 0
    /// The outage whose share it has: see `beginShare`. 0 while all count in the store.
    private(set) var shareEpoch: Int16 = 0
    let changeSlot: UInt16
    let algorithm: Algorithm
    /// Whether the store has reported this window (this bucket, these slots) at all.
    var isSeen = false
    /// Whether it is in the limiter's journal, which then holds a reference.
    var isJournalled = false
    /// Whether a change is still to be recorded: see `Limiter.markDirty`. That holds a reference, too.
    var isChanged = false
    /// Whether it must be recorded together with a batch: see `Limiter.tie`. Then it has changed.
    var isTied = false
    /// Whether it comes from an earlier process, and is kept until nothing of it counts any more.
    var isRestored = false
    /// Its own part of its key: see `KeyTemplate`. Holds the names that most grants have (a UUID's 36 bytes).
    let own: SmallBytes<39>

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
    var nextEndMs: Int64 { algorithm == .slidingWindow ? Self.nextEndMs(span, of: template.window) : span.endMs }

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
        guard algorithm == .slidingWindow else {
            return OpenWindow(startMs: span.startMs, endMs: span.endMs, nextEndMs: span.endMs, previousLengthMs: 0)
        }
        return OpenWindow(
            startMs: span.startMs, endMs: span.endMs, nextEndMs: nextEndMs(span, of: window),
            previousLengthMs: previousLengthMs(span, of: window))
    }

    enum OtherUsage {
        /// For sliding windows.
        case before(WindowBefore)
        case bucket(BucketUsage)
        case slots(SlotUsage)
        case log(LogUsage)
    }

    struct RareUsage {
        /// Checks that a shadow limit would have denied: as the store last reported, and here without the store.
        var sharedDenials: Int64 = 0
        var localDenials: Int64 = 0
        /// As `Unsettled.unconfirmed`, for local admissions in a fixed or sliding window.
        var unconfirmed: Int64 = 0
    }

    /// - Parameter template: the template of its base key.
    init(_ parts: BaseKeyParts, of template: KeyTemplate) {
        self.template = template
        own = SmallBytes(Array(parts.own))
        changeSlot = DenialCache.slot(of: ArraySlice(parts.head + parts.own + parts.tail))
        algorithm = template.algorithm
        switch algorithm {
        case .fixedWindow: break
        case .slidingWindow: other = CopyOnWriteBox(.before(WindowBefore()))
        case .tokenBucket: other = CopyOnWriteBox(.bucket(BucketUsage()))
        case .concurrency: other = CopyOnWriteBox(.slots(SlotUsage()))
        case .slidingLog: other = CopyOnWriteBox(.log(LogUsage(lengthMs: template.window.fixedLengthMs ?? 1)))
        }
    }

    /// Bytes stored outside its row for its whole life, and the counted bytes of a log: see `countLogBytes`.
    var boxedBytes: Int {
        own.boxedBytes + (algorithm == .fixedWindow ? 0 : HeldBytes.perObject + MemoryLayout<OtherUsage>.size)
            + logBytes
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
        var key = baseKey
        appendDecimal(startMs, to: &key)
        return key
    }

    /// The key of the window that contains `windowMs`.
    func key(ofWindowAt windowMs: Int64) -> [UInt8] {
        algorithm.hasWindows ? key(startMs: bounds(at: windowMs).startMs) : baseKey
    }

    /// Ranks replicas for this counter; the same in every replica.
    var hash: UInt64 {
        stableHash(template.tail, after: own.stableHash(after: stableHash(template.head)))
    }

    /// Usage of the previous window; empty for fixed windows.
    var before: WindowBefore {
        get { if case .before(let before)? = other?.value { before } else { WindowBefore() } }
        set { if algorithm == .slidingWindow { other?.value = .before(newValue) } }
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
        if algorithm == .slidingWindow {
            before =
                next.startMs == windowEndMs ? WindowBefore(windowed, unconfirmed: windowUnconfirmed) : WindowBefore()
        }
        windowed = WindowUsage()
        span = WindowSpan(startMs: next.startMs, endMs: next.endMs)
        isSeen = false
        rare = nil
    }

    // MARK: - Reports of the store

    /// - Parameters:
    ///   - cutMs: the time that cut the window.
    ///   - decidedMs: the time at which the store decided.
    ///   - epoch: the store's epoch: see `Limiter.storeEpoch`.
    ///   - keepsShare: keeps a begun share, because not all replicas count in the store again.
    mutating func observe(_ usage: Usage, cutMs: Int64, decidedMs: Int64, epoch: Int16, keepsShare: Bool) {
        // In the usual case, an unchanged window, this reads nothing but `span`.
        guard span.holds(cutMs) || bounds(at: cutMs).startMs == windowStartMs else { return }
        isSeen = true
        seenEpoch = epoch
        if !keepsShare { endShare() }
        if rare != nil || usage.denials > 0 { changeRare { $0.sharedDenials = usage.denials } }
        guard algorithm != .fixedWindow else { return windowed.observe(used: usage.used) }
        switch other?.value {
        case .before(var before)?:
            windowed.observe(used: usage.used)
            before.sharedUsed = usage.previous
            other?.value = .before(before)
        case .bucket(var bucket)?:
            bucket.observe(level: usage.used, atMs: decidedMs)
            other?.value = .bucket(bucket)
        case .slots(var slots)?:
            slots.observe(usage)
            other?.value = .slots(slots)
        case .log?, nil: break
        }
    }

    private mutating func changeRare(_ change: (inout RareUsage) -> Void) {
        var changed = rare?.value ?? RareUsage()
        change(&changed)
        rare = CopyOnWriteBox(changed)
    }

    /// Local admissions of the open window that must not be written back yet.
    var windowUnconfirmed: Int64 { rare?.value.unconfirmed ?? 0 }

    mutating func addUnconfirmed(_ amount: Int64) {
        changeRare { $0.unconfirmed = max(0, min(Quota.maxExact, $0.unconfirmed + amount)) }
    }

    /// `amount` of local admissions, in the window that contains `cutMs`, turned out to be in the usage that the store
    /// reports.
    mutating func markStored(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard amount > 0, let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil, .before:
            markWindowStored(amount, place)
        case .bucket(var bucket):
            bucket.markStored(amount, quota)
            other?.value = .bucket(bucket)
        case .slots, .log:
            break
        }
    }

    /// An unanswered batch turned out to have run: `amount` of local admissions, in the window that contains `cutMs`,
    /// is in the store from now on. What may still be admitted here stays the same.
    mutating func confirm(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil, .before:
            confirmWindow(amount, place)
        case .bucket(var bucket):
            bucket.confirm(amount, quota)
            other?.value = .bucket(bucket)
        case .slots, .log:
            break
        }
    }

    mutating func confirmWindow(_ amount: Int64, _ place: Place) {
        guard place == .open else {
            let stored = markWindowStored(amount, place)
            before.sharedUsed = min(Quota.maxExact, before.sharedUsed + stored)
            return
        }
        windowed.confirm(amount)
        isSeen = true
    }

    /// - Returns: how much of it was still counted as local.
    @discardableResult
    mutating func markWindowStored(_ amount: Int64, _ place: Place) -> Int64 {
        place == .open ? windowed.markStored(amount) : before.own.markStored(amount)
    }

    // MARK: - During an outage

    /// Takes a share of what the last reported usage left, unless it has the share of this outage already.
    ///
    /// - Parameter outage: see `Limiter.shareEpoch`.
    mutating func beginShare(_ outage: Int16) {
        guard shareEpoch != outage else { return }
        shareEpoch = outage
        windowed.beginShare()
        switch other?.value {
        case .before(var before)?:
            before.beginShare()
            other?.value = .before(before)
        case .bucket(var bucket)?:
            bucket.beginShare()
            other?.value = .bucket(bucket)
        case .log?: changeLog { $0.beginShare() }
        case .slots?, nil: break
        }
    }

    /// Marks its share as the share of this outage.
    mutating func keepShare(_ outage: Int16) { shareEpoch = outage }

    /// The outage is over: all count in the store.
    mutating func endShare() { shareEpoch = 0 }

    /// Takes from the share what checks ask the store for; a negative amount returns it. Slots are not shared for
    /// checks that the store decides.
    ///
    /// - Parameter cutMs: the time that cut the window.
    mutating func takeShare(_ amount: Int64, _ quota: Quota, cutMs: Int64, nowMs: Int64) {
        switch other?.value {
        case nil, .before?:
            switch place(ofWindowAt: cutMs) {
            case .open?: windowed.take(amount)
            case .before?: before.take(amount)
            case nil: break
            }
        case .bucket(var bucket)?:
            bucket.take(amount, quota, nowMs: nowMs)
            other?.value = .bucket(bucket)
        case .log?: changeLog { $0.take(amount, atMs: cutMs) }
        case .slots?: break
        }
    }

    /// What may still be admitted locally, in units of cost; for concurrency, in slots.
    mutating func localRemaining(_ quota: Quota, replicas: borrowing ReplicaView, nowMs: Int64) -> Int64 {
        if algorithm == .fixedWindow {
            if !windowed.hasShare(quota) {
                windowed.setShare(quota, replicas.share(of: quota.max - windowed.shareBase, counterHash: hash))
            }
            return min(windowed.left, max(0, quota.max - windowed.used))
        }
        switch other?.value {
        case nil:
            return 0
        case .before(let before):
            return windowed.left(quota, before, replicas: replicas, hash: hash, nowMs: nowMs)
        case .bucket(var bucket):
            bucket.turnLocal(quota, replicas: replicas, hash: hash, nowMs: nowMs)
            other?.value = .bucket(bucket)
            return bucket.left(quota)
        case .slots(var slots):
            slots.expire(nowMs: nowMs)
            other?.value = .slots(slots)
            return slots.left(quota, replicas: replicas, hash: hash, nowMs: nowMs)
        case .log:
            changeLog { $0.turn(toMs: nowMs) }
            return log?.left(quota, replicas: replicas, hash: hash, nowMs: nowMs) ?? 0
        }
    }

    /// Charges a local admission; `localRemaining` was called just before.
    ///
    /// - Returns: for a token bucket, the receipt that `adjustLocally` needs.
    @discardableResult
    mutating func admitLocally(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt? {
        guard algorithm != .fixedWindow else {
            windowed.admit(cost)
            return nil
        }
        switch other?.value {
        case nil, .before:
            windowed.admit(cost)
        case .bucket(var bucket):
            defer { other?.value = .bucket(bucket) }
            return bucket.admit(quota, cost: cost)
        case .slots(var slots):
            if let reservation { slots.take(reservation, expiryMs: nowMs + quota.holdMs) }
            other?.value = .slots(slots)
        case .log:
            changeLog { $0.admit(cost, nowMs: nowMs) }
        }
        return nil
    }

    /// Counts a local denial of a shadow limit, for a check that was admitted.
    mutating func denyLocally() { changeRare { $0.localDenials += 1 } }

    /// Adds to a local admission, or takes back some of it; what was written back is not changed. Only a window that
    /// still counts is changed.
    mutating func adjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) {
        roll(at: nowMs)
        switch other?.value {
        case nil, .before:
            if item.quota.windowStartMs == windowStartMs {
                windowed.adjust(by: cost)
            } else if algorithm == .slidingWindow && item.quota.windowEndMs == windowStartMs {
                before.adjust(by: cost)
            }
        case .bucket(var bucket):
            if let receipt = item.receipt {
                bucket.adjust(by: cost, after: receipt, chargedMs: item.chargedMs, item.quota, nowMs: nowMs)
            }
            other?.value = .bucket(bucket)
        case .log:
            changeLog { $0.adjust(by: cost, chargedMs: item.chargedMs, nowMs: nowMs) }
        case .slots:
            break
        }
    }

    /// Whether `adjustLocally` can count this much.
    mutating func canAdjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) -> Bool {
        roll(at: nowMs)
        switch other?.value {
        case nil, .before:
            // What no longer counts is not changed, and so never exceeds the bound.
            let isOpen = item.quota.windowStartMs == windowStartMs
            let isBefore = algorithm == .slidingWindow && item.quota.windowEndMs == windowStartMs
            let used = isOpen ? windowed.own : isBefore ? before.own.used : 0
            return cost <= Quota.maxExact - used
        case .bucket(let bucket):
            return bucket.canAdjust(by: cost, item.quota, nowMs: nowMs)
        case .log(let log):
            return log.canAdjust(by: cost)
        case .slots:
            return true
        }
    }

    mutating func releaseLocally(_ reservation: ReservationID) {
        guard case .slots(var slots)? = other?.value else { return }
        slots.release(reservation)
        other?.value = .slots(slots)
    }

    /// How long until a check that does not fit locally could, if the outage goes on and no other check comes, ms.
    func retryAfterLocally(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, nowMs: Int64
    ) -> Int64 {
        guard quota.canEverPass(cost: cost) else { return -1 }
        switch other?.value {
        case nil:
            return quota.retryAfterMs(cost: cost, Usage(used: windowed.used), nowMs: nowMs)
        case .before(let before):
            return windowed.retryAfterMs(quota, before, cost: cost, replicas: replicas, hash: hash, nowMs: nowMs)
        case .bucket(let bucket):
            return bucket.retryAfterMs(quota, cost: cost)
        case .slots(let slots):
            return slots.retryAfterMs(nowMs: nowMs)
        case .log(let log):
            return log.retryAfterMs(quota, cost: cost, replicas: replicas, hash: hash, nowMs: nowMs)
        }
    }

    // MARK: - Combined usage

    /// All usage known here, as if the store had reported it at `nowMs`.
    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage {
        var usage: Usage
        switch other?.value {
        case nil: usage = Usage(used: windowed.used)
        case .before(let before):
            usage = Usage(used: windowed.used)
            usage.previous = before.used
        case .bucket(let bucket): usage = Usage(used: bucket.combinedLevel(quota, nowMs: nowMs))
        case .slots(let slots): usage = slots.combinedUsage(nowMs: nowMs)
        case .log(let log): usage = log.combinedUsage(nowMs: nowMs)
        }
        usage.denials = denials
        return usage
    }

    /// The usage that the store reported, as it is at `nowMs`; only if `isSeen`.
    func shared(_ quota: Quota?, nowMs: Int64) -> Usage {
        var usage: Usage
        switch other?.value {
        case nil, .before:
            usage = Usage(used: windowed.sharedUsed)
            usage.previous = before.sharedUsed
        case .bucket(let bucket): usage = Usage(used: bucket.sharedLevel(quota, nowMs: nowMs))
        case .slots(let slots): usage = slots.shared(nowMs: nowMs)
        case .log(let log): usage = log.sharedUsage(nowMs: nowMs)
        }
        usage.denials = rare?.value.sharedDenials ?? 0
        return usage
    }

    /// The local admissions that count at `nowMs`, in units of cost; for concurrency, in slots.
    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64 {
        switch other?.value {
        case nil, .before: windowed.own
        case .bucket(let bucket): bucket.locallyUsed(quota, nowMs: nowMs)
        case .slots(let slots): slots.locallyUsed(nowMs: nowMs)
        case .log(let log): log.locallyUsed(nowMs: nowMs)
        }
    }

    var denials: Int64 { rare.map { $0.value.sharedDenials + $0.value.localDenials } ?? 0 }

    private var hasLocalDenials: Bool { rare.map { $0.value.localDenials > 0 } ?? false }

    /// Whether it has anything worth showing to an operator.
    var isTouched: Bool {
        if isSeen || hasLocalDenials { return true }
        return switch other?.value {
        case nil, .before: windowed.own > 0 || windowed.localShare >= 0
        case .bucket(let bucket): bucket.isTouched
        case .slots(let slots): slots.isTouched
        case .log(let log): log.isTouched
        }
    }

    /// Whether dropping it loses nothing that matters at `nowMs`: what counts still decides what may be admitted in an
    /// outage.
    func isQuiet(nowMs: Int64, quota: Quota?) -> Bool {
        switch other?.value {
        case nil, .before:
            // Where windows slide, usage reaches into the next window. If the store's clock was followed back, windows
            // that it had run ahead to do not count.
            return windowStartMs < 0 || nowMs >= nextEndMs
                || windowStartMs > nowMs + EngineBounds.clockStepMs
                || !(isSeen || windowed.isTouched || before.isTouched || hasLocalDenials)
        case .bucket(let bucket):
            guard let quota else { return true }
            return bucket.isQuiet(quota, nowMs: nowMs)
        case .slots(let slots):
            return slots.combinedUsage(nowMs: nowMs).used == 0
        case .log(let log):
            return nowMs >= log.countsUntilMs
        }
    }
}
