import SluicePolicy

/// What this replica knows of one counter: what the store last told of it, and what was admitted here without the store.
///
/// Its row in the table holds all that a check of a fixed window wants side by side, in the order in which it is wanted;
/// what few counters have lies apart, and what many have in common in their family: with many counters, each check fetches
/// another row from memory.
struct Counter {
    /// The window that was looked at last. All time where the algorithm has no windows.
    private(set) var span = WindowSpan.none
    /// Of fixed and sliding windows.
    var windowed = WindowUsage()
    /// What it has in common with others.
    let family: KeyTemplate
    /// When the batch was sent in which the store last refused a check by it or beside it; what it told then, or later,
    /// still proves something for a while. Its place in `DenialCache` tells until when.
    var provenNs = DenialCache.never
    /// Of all algorithms but fixed windows.
    var other: CopyOnWriteBox<OtherUsage>?
    /// What few have of the open window.
    private(set) var rare: CopyOnWriteBox<RareUsage>?
    /// How many plans use it, and payments and the journal; 0 frees it.
    var references: Int32 = 0
    /// Which memory of the store told of it: see `Limiter.storeEpoch`.
    var seenEpoch: Int16 = 0
    /// In which outage its share was begun: see `beginShare`. 0 while all count in the store.
    private(set) var shareEpoch: Int16 = 0
    let changeSlot: UInt16
    let algorithm: Quota.Algorithm
    /// Whether the store told of this window (of this bucket, of these slots) at all.
    var isSeen = false
    /// Whether it is in the limiter's journal, which then uses it as a plan does.
    var isJournalled = false
    /// Whether a change of it is still to be recorded: see `Limiter.markDirty`. That, too, uses it as a plan does.
    var isChanged = false
    /// Whether it is to be recorded together with a batch: see `Limiter.tie`. Then it has changed.
    var isTied = false
    /// Whether it was there before this process began, and is kept until nothing of it counts any more.
    var isRestored = false
    /// Its own part of its key: see `KeyTemplate`. Room for the names that most grants have (a UUID's 36 bytes).
    let own: SmallBytes<39>

    struct WindowSpan {
        var startMs: Int64
        /// Exclusive.
        var endMs: Int64

        /// None was looked at.
        static let none = WindowSpan(startMs: -1, endMs: -1)

        @inline(__always)
        func holds(_ nowMs: Int64) -> Bool { nowMs >= startMs && nowMs < endMs }
    }

    struct OpenWindow: Equatable {
        var startMs: Int64
        /// Exclusive.
        var endMs: Int64
        /// Of sliding windows, when the window after it ends; else as `endMs`.
        var nextEndMs: Int64
        /// Of sliding windows, how long the window before it was, ms; else 0.
        var previousLengthMs: Int64

        static let endless = OpenWindow(
            startMs: Quota.endless.lowerBound, endMs: Quota.endless.upperBound, nextEndMs: Quota.endless.upperBound,
            previousLengthMs: 0)
    }

    var windowStartMs: Int64 { span.startMs }
    var windowEndMs: Int64 { span.endMs }
    /// Of sliding windows, when the window after the open one ends; else as `windowEndMs`.
    var nextEndMs: Int64 { algorithm == .slidingWindow ? Self.nextEndMs(span, of: family.window) : span.endMs }

    static func nextEndMs(_ span: WindowSpan, of window: Window) -> Int64 {
        span.startMs >= 0 ? window.bounds(atMs: span.endMs).endMs : span.endMs
    }

    static func previousLengthMs(_ span: WindowSpan, of window: Window) -> Int64 {
        if let lengthMs = window.fixedLengthMs { return lengthMs }
        // The first window of a calendar has none before it.
        guard span.startMs > 0 else { return max(1, span.endMs - span.startMs) }
        return span.startMs - window.bounds(atMs: span.startMs - 1).startMs
    }

    /// The window that was looked at last.
    private var open: OpenWindow { Self.open(span, of: family.window, algorithm) }

    @inline(__always)
    static func open(_ span: WindowSpan, of window: Window, _ algorithm: Quota.Algorithm) -> OpenWindow {
        guard algorithm == .slidingWindow else {
            return OpenWindow(startMs: span.startMs, endMs: span.endMs, nextEndMs: span.endMs, previousLengthMs: 0)
        }
        return OpenWindow(
            startMs: span.startMs, endMs: span.endMs, nextEndMs: nextEndMs(span, of: window),
            previousLengthMs: previousLengthMs(span, of: window))
    }

    enum OtherUsage {
        /// Of sliding windows.
        case before(WindowBefore)
        case bucket(BucketUsage)
        case slots(SlotUsage)
        case log(LogUsage)
    }

    struct RareUsage {
        /// Checks that a shadow limit would have denied: as the store last told, and here without the store.
        var sharedDenials: Int64 = 0
        var localDenials: Int64 = 0
        /// As `Unsettled.unconfirmed`, of what was admitted locally in a fixed or sliding window.
        var unconfirmed: Int64 = 0
    }

    /// - Parameter family: that of its stem.
    init(_ parts: BaseKeyParts, of family: KeyTemplate) {
        self.family = family
        own = SmallBytes(Array(parts.own))
        changeSlot = DenialCache.slot(of: ArraySlice(parts.head + parts.own + parts.tail))
        algorithm = family.algorithm
        switch algorithm {
        case .fixedWindow: break
        case .slidingWindow: other = CopyOnWriteBox(.before(WindowBefore()))
        case .tokenBucket: other = CopyOnWriteBox(.bucket(BucketUsage()))
        case .concurrency: other = CopyOnWriteBox(.slots(SlotUsage()))
        case .slidingLog: other = CopyOnWriteBox(.log(LogUsage(lengthMs: family.window.fixedLengthMs ?? 1)))
        }
    }

    /// What of it lies apart from its row for as long as it lives, and what of a log has been counted: see `countLogBytes`.
    var boxedBytes: Int {
        own.boxedBytes + (algorithm == .fixedWindow ? 0 : HeldBytes.perObject + MemoryLayout<OtherUsage>.size)
            + logBytes
    }

    // MARK: - Its key

    /// The key without the window's start: it stays the same for the life of the counter. Where the algorithm has no windows
    /// it is the whole key.
    var baseKey: [UInt8] { family.head + own.bytes + family.tail }

    /// The key in the store, of the open window: there must be one.
    var key: [UInt8] { algorithm.hasWindows ? key(startMs: windowStartMs) : baseKey }

    /// The key of the window before the open one.
    func previousKey() -> [UInt8] {
        key(startMs: max(0, family.window.bounds(atMs: max(0, windowStartMs - 1)).startMs))
    }

    private func key(startMs: Int64) -> [UInt8] {
        var key = baseKey
        appendDecimal(startMs, to: &key)
        return key
    }

    /// The key of the window that holds `windowMs`.
    func key(ofWindowAt windowMs: Int64) -> [UInt8] {
        algorithm.hasWindows ? key(startMs: bounds(at: windowMs).startMs) : baseKey
    }

    /// Tells counters apart, in the same way in every replica.
    var hash: UInt64 {
        stableHash(family.tail, after: own.stableHash(after: stableHash(family.head)))
    }

    /// What is counted of the window before the open one: nothing of fixed windows.
    var before: WindowBefore {
        get { if case .before(let before)? = other?.value { before } else { WindowBefore() } }
        set { if algorithm == .slidingWindow { other?.value = .before(newValue) } }
    }

    // MARK: - Windows

    /// The window that holds `nowMs`. It mostly is the one that is open here: then that costs no division.
    func bounds(at nowMs: Int64) -> OpenWindow {
        if span.holds(nowMs) { return open }
        return Self.bounds(of: family.window, algorithm, at: nowMs)
    }

    static func bounds(of window: Window, _ algorithm: Quota.Algorithm, at nowMs: Int64) -> OpenWindow {
        guard algorithm.hasWindows else { return .endless }
        let (startMs, endMs) = window.bounds(atMs: nowMs)
        // The first window of a calendar may have begun before there was time.
        return open(WindowSpan(startMs: max(0, startMs), endMs: endMs), of: window, algorithm)
    }

    /// Turns to the window that holds `nowMs`, with nothing known of it if it is another.
    mutating func roll(at nowMs: Int64) {
        if !span.holds(nowMs) { turn(to: Self.bounds(of: family.window, algorithm, at: nowMs)) }
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

    // MARK: - What the store tells

    /// - Parameters:
    ///   - cutMs: the time by which the window was cut.
    ///   - decidedMs: the time at which the store decided.
    ///   - epoch: of the store's memory: see `Limiter.storeEpoch`.
    ///   - keepsShare: the share that was begun goes on: not all replicas count in the store again.
    mutating func observe(_ usage: Usage, cutMs: Int64, decidedMs: Int64, epoch: Int16, keepsShare: Bool) {
        // Where nothing has turned, no other place than this is looked at.
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

    /// What of the open window's admissions must not be written back yet.
    var windowUnconfirmed: Int64 { rare?.value.unconfirmed ?? 0 }

    mutating func addUnconfirmed(_ amount: Int64) {
        changeRare { $0.unconfirmed = max(0, min(Quota.maxExact, $0.unconfirmed + amount)) }
    }

    /// `amount` that was admitted here turned out to have been charged in the store as well, in the window that holds
    /// `cutMs`; the store's tally has it.
    mutating func settle(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard amount > 0, let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil, .before:
            settleWindow(amount, place)
        case .bucket(var bucket):
            bucket.settle(amount, quota)
            other?.value = .bucket(bucket)
        case .slots, .log:
            break
        }
    }

    /// A batch whose answer never came turned out to have run: `amount` that was admitted here in its place, in the
    /// window that holds `cutMs`, is the store's from now on. What may still be admitted here stays the same.
    mutating func resolve(_ amount: Int64, quota: Quota, cutMs: Int64) {
        guard let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil, .before:
            resolveWindow(amount, place)
        case .bucket(var bucket):
            bucket.resolve(amount, quota)
            other?.value = .bucket(bucket)
        case .slots, .log:
            break
        }
    }

    mutating func resolveWindow(_ amount: Int64, _ place: Place) {
        guard place == .open else {
            let settled = settleWindow(amount, place)
            before.sharedUsed = min(Quota.maxExact, before.sharedUsed + settled)
            return
        }
        windowed.resolve(amount)
        isSeen = true
    }

    /// - Returns: how much of it was still counted here.
    @discardableResult
    mutating func settleWindow(_ amount: Int64, _ place: Place) -> Int64 {
        place == .open ? windowed.settle(amount) : before.own.settle(amount)
    }

    // MARK: - While the store is away

    /// Takes a share of what was left by what the store last reported, unless it has one of this outage.
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

    /// It has a share of this outage, which goes on.
    mutating func keepShare(_ outage: Int16) { shareEpoch = outage }

    /// The outage is over: all count in the store.
    mutating func endShare() { shareEpoch = 0 }

    /// Spends some of the share on checks that the store is asked for, or gives some of it back. Slots are not shared out
    /// to what the store decides.
    ///
    /// - Parameter cutMs: the time by which the window was cut.
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

    /// What may still be admitted here, in units of cost; of concurrency, in slots.
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

    /// Charges what was admitted here; `localRemaining` was asked just before.
    ///
    /// - Returns: of a token bucket, what `adjustLocally` wants.
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

    /// A shadow limit had no room for a check that was admitted here.
    mutating func denyLocally() { changeRare { $0.localDenials += 1 } }

    /// Takes back what was admitted here, or charges more than was admitted; what the store was told is no matter of
    /// this. Only a window that still counts is changed.
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

    /// Whether `adjustLocally` can count so much.
    mutating func canAdjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) -> Bool {
        roll(at: nowMs)
        switch other?.value {
        case nil, .before:
            // What no longer counts is not changed, and so never too much.
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

    /// How long until a check that does not fit here could, if the store stays away and nobody else asks, ms.
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

    // MARK: - What is known here

    /// All that is known here to count, as if the store had told it at `nowMs`.
    func known(_ quota: Quota, nowMs: Int64) -> Usage {
        var usage: Usage
        switch other?.value {
        case nil: usage = Usage(used: windowed.used)
        case .before(let before):
            usage = Usage(used: windowed.used)
            usage.previous = before.used
        case .bucket(let bucket): usage = Usage(used: bucket.knownLevel(quota, nowMs: nowMs))
        case .slots(let slots): usage = slots.known(nowMs: nowMs)
        case .log(let log): usage = log.known(nowMs: nowMs)
        }
        usage.denials = denials
        return usage
    }

    /// What the store told, as it is at `nowMs`; only if `isSeen`.
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

    /// What was admitted here without the store and counts at `nowMs`, in units of cost; of concurrency, in slots.
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

    /// Whether anything at all is known of it that a person would want to see.
    var isTouched: Bool {
        if isSeen || hasLocalDenials { return true }
        return switch other?.value {
        case nil, .before: windowed.own > 0 || windowed.localShare >= 0
        case .bucket(let bucket): bucket.isTouched
        case .slots(let slots): slots.isTouched
        case .log(let log): log.isTouched
        }
    }

    /// Whether forgetting it loses anything that matters at `nowMs`: what counts still decides what may be admitted
    /// while the store is away.
    func isQuiet(nowMs: Int64, quota: Quota?) -> Bool {
        switch other?.value {
        case nil, .before:
            // What was used reaches into the window after its own where windows slide.
            // Where the store's clock was followed back, nothing counts of a window that it had run ahead to.
            return windowStartMs < 0 || nowMs >= nextEndMs
                || windowStartMs > nowMs + EngineBounds.clockStepMs
                || !(isSeen || windowed.isTouched || before.isTouched || hasLocalDenials)
        case .bucket(let bucket):
            guard let quota else { return true }
            return bucket.isQuiet(quota, nowMs: nowMs)
        case .slots(let slots):
            return slots.known(nowMs: nowMs).used == 0
        case .log(let log):
            return nowMs >= log.countsUntilMs
        }
    }
}
