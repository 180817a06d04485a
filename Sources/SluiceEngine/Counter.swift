import SluicePolicy

/// What this replica knows of one counter: what the store last told of it, and what was admitted here without the store.
struct Counter {
    /// The key in the store: the stem, which stays the same, and then the open window's start where the algorithm has
    /// windows. Kept whole, so that charging it again in the same window is one copy.
    private(set) var key: [UInt8]
    /// The window that was looked at last. All time where the algorithm has no windows.
    private(set) var open = OpenWindow.none
    /// Of fixed and sliding windows.
    var windowed = WindowTally()
    /// Of the other algorithms: apart, since most counters have none, and a million of them lie side by side.
    private var other: Apart<OtherTally>?
    /// Checks that a shadow limit would have denied: as the store last told, and here without the store.
    private(set) var sharedRefusals: Int64 = 0
    private(set) var localRefusals: Int64 = 0
    /// When the batch was sent in which the store last refused a check by it or beside it; what it told then, or later,
    /// still proves something for a while. Its place in `RefusalMemory` tells until when.
    var provenNs = RefusalMemory.never
    let hash: UInt64
    let window: Window
    private let stemCount: Int32
    /// How many plans use it, and payments and the journal; 0 frees it.
    var references: Int32 = 0
    let algorithm: Terms.Algorithm
    /// Whether the store told of this window (of this bucket, of these slots) at all.
    private(set) var isSeen = false
    /// Whether it is in the limiter's journal, which then uses it as a plan does.
    var isJournalled = false
    /// Whether a change of it is still to be recorded: see `Limiter.noteChange`. That, too, uses it as a plan does.
    var isChanged = false
    /// Whether it was there before this process began, and is kept until nothing of it counts any more.
    var isRestored = false
    /// Which memory of the store told of it: see `Limiter.storeEpoch`.
    private(set) var seenEpoch: Int32 = 0
    let changeSlot: UInt16

    struct OpenWindow: Equatable {
        var startMs: Int64
        /// Exclusive.
        var endMs: Int64
        /// Of sliding windows, when the window after it ends; else as `endMs`.
        var nextEndMs: Int64

        /// None was looked at.
        static let none = OpenWindow(startMs: -1, endMs: -1, nextEndMs: -1)
        static let endless = OpenWindow(
            startMs: Terms.endless.lowerBound, endMs: Terms.endless.upperBound, nextEndMs: Terms.endless.upperBound)
    }

    var windowStartMs: Int64 { open.startMs }
    var windowEndMs: Int64 { open.endMs }

    private enum OtherTally {
        case bucket(BucketTally)
        case slots(SlotTally)
    }

    init(stem: [UInt8], window: Window, algorithm: Terms.Algorithm) {
        key = stem
        stemCount = Int32(stem.count)
        hash = stableHash(stem)
        changeSlot = RefusalMemory.slot(of: stem[...])
        self.window = window
        self.algorithm = algorithm
        switch algorithm {
        case .fixedWindow, .slidingWindow: break
        case .tokenBucket: other = Apart(.bucket(BucketTally()))
        case .concurrency: other = Apart(.slots(SlotTally()))
        }
    }

    /// The key without the window's start.
    var stem: ArraySlice<UInt8> { key[..<Int(stemCount)] }

    // MARK: - Windows

    /// The window that holds `nowMs`. It mostly is the one that is open here: then that costs no division.
    func bounds(at nowMs: Int64) -> OpenWindow {
        if nowMs >= open.startMs && nowMs < open.endMs { return open }
        return Self.bounds(of: window, algorithm, at: nowMs)
    }

    static func bounds(of window: Window, _ algorithm: Terms.Algorithm, at nowMs: Int64) -> OpenWindow {
        guard algorithm.hasWindows else { return .endless }
        let (startMs, endMs) = window.bounds(atMs: nowMs)
        // The first window of a calendar may have begun before there was time.
        return OpenWindow(
            startMs: max(0, startMs), endMs: endMs,
            nextEndMs: algorithm == .slidingWindow ? window.bounds(atMs: endMs).endMs : endMs)
    }

    /// Turns to the window that holds `nowMs`, with nothing known of it if it is another.
    mutating func roll(at nowMs: Int64) {
        guard nowMs < open.startMs || nowMs >= open.endMs else { return }
        let next = bounds(at: nowMs)
        windowed.roll(isNext: next.startMs == open.endMs && algorithm == .slidingWindow)
        open = next
        isSeen = false
        sharedRefusals = 0
        localRefusals = 0
        guard algorithm.hasWindows else { return }
        key.removeSubrange(Int(stemCount)...)
        appendDecimal(next.startMs, to: &key)
    }

    /// The key of the window before the open one.
    func previousKey() -> [UInt8] {
        var key = Array(stem)
        appendDecimal(max(0, window.bounds(atMs: max(0, windowStartMs - 1)).startMs), to: &key)
        return key
    }

    // MARK: - What the store tells

    /// - Parameters:
    ///   - cutMs: the time by which the window was cut.
    ///   - decidedMs: the time at which the store decided.
    ///   - epoch: of the store's memory: see `Limiter.storeEpoch`.
    mutating func observe(_ tally: Tally, cutMs: Int64, decidedMs: Int64, epoch: Int32) {
        guard bounds(at: cutMs).startMs == windowStartMs else { return }
        isSeen = true
        seenEpoch = epoch
        sharedRefusals = tally.refusals
        switch other?.value {
        case nil:
            windowed.observe(tally)
        case .bucket(var bucket):
            bucket.observe(level: tally.used, atMs: decidedMs)
            other?.value = .bucket(bucket)
        case .slots(var slots):
            slots.observe(tally)
            other?.value = .slots(slots)
        }
    }

    /// `amount` that was admitted here turned out to have been charged in the store as well, in the window that holds
    /// `cutMs`; the store's tally has it.
    mutating func settle(_ amount: Int64, terms: Terms, cutMs: Int64) {
        guard amount > 0, let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil:
            windowed[keyPath: place].settle(amount)
        case .bucket(var bucket):
            bucket.settle(amount, terms)
            other?.value = .bucket(bucket)
        case .slots:
            break
        }
    }

    /// A batch whose answer never came turned out to have run: `amount` that was admitted here in its place, in the
    /// window that holds `cutMs`, is the store's from now on. What may still be admitted here stays the same.
    mutating func resolve(_ amount: Int64, terms: Terms, cutMs: Int64) {
        guard let place = place(ofWindowAt: cutMs) else { return }
        switch other?.value {
        case nil:
            resolveWindow(amount, place)
        case .bucket(var bucket):
            bucket.resolve(amount, terms)
            other?.value = .bucket(bucket)
        case .slots:
            break
        }
    }

    private mutating func resolveWindow(_ amount: Int64, _ place: WritableKeyPath<WindowTally, Unsettled>) {
        guard place == \.own else {
            windowed.sharedPrevious += windowed[keyPath: place].settle(amount)
            return
        }
        windowed.resolve(amount)
        isSeen = true
    }

    // MARK: - What the store is still to be told

    /// Where the window is counted that holds `cutMs`; nil if nothing of it counts any more.
    private func place(ofWindowAt cutMs: Int64) -> WritableKeyPath<WindowTally, Unsettled>? {
        let window = bounds(at: cutMs)
        if window.startMs == windowStartMs { return \.own }
        return algorithm == .slidingWindow && window.endMs == windowStartMs ? \.ownPrevious : nil
    }

    /// Whether two times lie in one window.
    func isOneWindow(_ oneMs: Int64, _ otherMs: Int64) -> Bool {
        bounds(at: oneMs).startMs == bounds(at: otherMs).startMs
    }

    /// So much of what was admitted here, in the window that holds `cutMs`, must not be told to the store for now; less
    /// than 0: it may be told again.
    mutating func doubt(_ amount: Int64, cutMs: Int64) {
        switch other?.value {
        case nil:
            if let place = place(ofWindowAt: cutMs) { windowed[keyPath: place].doubt(amount) }
        case .bucket(var bucket):
            bucket.doubt(amount)
            other?.value = .bucket(bucket)
        case .slots:
            break
        }
    }

    /// What the store is to be told next of the windows that still count.
    ///
    /// - Parameter epoch: of the store's present memory: what was seen before that is offered to it.
    /// - Returns: additions come after offers, and none is above `EngineBounds.maxAddition`.
    func debts(nowMs: Int64, epoch: Int32) -> [Debt] {
        var debts: [Debt] = []
        let forgotten = isSeen && seenEpoch != epoch
        switch other?.value {
        case nil:
            let previousMs = algorithm == .slidingWindow ? windowStartMs - 1 : -1
            if forgotten, windowed.sharedPrevious > 0, previousMs >= 0 {
                debts.append(Debt(.offer, windowed.sharedPrevious, windowMs: previousMs))
            }
            if forgotten {
                debts.append(Debt(.offer, windowed.sharedUsed + windowed.resolved, windowMs: windowStartMs))
            }
            if previousMs >= 0 { debts.append(Debt(.addition, windowed.ownPrevious.owed, windowMs: previousMs)) }
            debts.append(Debt(.addition, windowed.own.owed, windowMs: windowStartMs))
        case .bucket(let bucket):
            guard let terms = bucket.terms else { return [] }
            if forgotten {
                debts.append(Debt(.offer, bucket.sharedLevel(terms, nowMs: nowMs), windowMs: windowStartMs))
            }
            debts.append(Debt(.addition, bucket.owedLevel(terms, nowMs: nowMs), windowMs: windowStartMs))
        case .slots:
            break
        }
        return debts.filter { $0.amount > 0 }
    }

    /// What one window's key is charged to pay a debt: whatever is used, it passes.
    func terms(of debt: Debt) -> Terms {
        if case .bucket(let bucket)? = other?.value, let terms = bucket.terms { return terms.unlimitedLevel }
        let window = bounds(at: debt.windowMs)
        return .fixedWindow(max: Terms.maxExact, window: window.startMs..<window.nextEndMs)
    }

    /// The key of the window that holds `windowMs`.
    func key(ofWindowAt windowMs: Int64) -> [UInt8] {
        guard algorithm.hasWindows, bounds(at: windowMs).startMs != windowStartMs else { return key }
        var key = Array(stem)
        appendDecimal(bounds(at: windowMs).startMs, to: &key)
        return key
    }

    /// A debt is on its way: nobody pays it a second time until it is known what became of it.
    mutating func send(_ debt: Debt) { if debt.kind == .addition { doubt(debt.amount, cutMs: debt.windowMs) } }

    /// What became of it is known.
    mutating func recall(_ debt: Debt) { if debt.kind == .addition { doubt(-debt.amount, cutMs: debt.windowMs) } }

    /// Of a token bucket: the limit that it is for.
    mutating func learn(_ terms: Terms) {
        guard case .bucket(var bucket)? = other?.value, bucket.terms != terms else { return }
        bucket.learn(terms)
        other?.value = .bucket(bucket)
    }

    /// Whether anything that was admitted here is not known to be in the store's tally, and still counts there.
    func holdsUnsettled(nowMs: Int64) -> Bool {
        switch other?.value {
        case nil: windowed.own.used > 0 || windowed.ownPrevious.used > 0
        case .bucket(let bucket): bucket.holdsUnsettled(nowMs: nowMs)
        case .slots: false
        }
    }

    /// The store was paid.
    ///
    /// - Parameter tally: as it told it; nil if its answer never came.
    mutating func paid(_ debt: Debt, tally: Int64?, decidedMs: Int64, epoch: Int32) {
        guard let place = place(ofWindowAt: debt.windowMs) else { return }
        let amount = debt.kind == .addition ? debt.amount : 0
        switch other?.value {
        case nil:
            guard let tally else { return resolveWindow(amount, place) }
            windowed[keyPath: place].settle(amount)
            if place == \.own {
                var told = Tally(used: tally)
                told.previous = windowed.sharedPrevious
                told.refusals = sharedRefusals
                observe(told, cutMs: debt.windowMs, decidedMs: decidedMs, epoch: epoch)
            } else {
                windowed.sharedPrevious = tally
            }
        case .bucket(var bucket):
            if let tally {
                bucket.settle(level: amount)
                bucket.observe(level: tally, atMs: decidedMs)
            } else {
                bucket.resolve(level: amount)
            }
            other?.value = .bucket(bucket)
            if tally != nil { seenEpoch = epoch }
        case .slots:
            break
        }
    }

    // MARK: - While the store is away

    /// What may still be admitted here, in units of cost; of concurrency, in slots.
    mutating func leftLocally(_ terms: Terms, replicas: borrowing ReplicaView, nowMs: Int64) -> Int64 {
        switch other?.value {
        case nil:
            return windowed.left(terms, replicas: replicas, hash: hash, nowMs: nowMs)
        case .bucket(var bucket):
            bucket.turnLocal(terms, replicas: replicas, hash: hash, nowMs: nowMs)
            other?.value = .bucket(bucket)
            return bucket.left(terms)
        case .slots(var slots):
            slots.expire(nowMs: nowMs)
            other?.value = .slots(slots)
            return slots.left(terms, replicas: replicas, hash: hash, nowMs: nowMs)
        }
    }

    /// Charges what was admitted here; `leftLocally` was asked just before.
    ///
    /// - Returns: of a token bucket, what `adjustLocally` wants.
    @discardableResult
    mutating func admitLocally(
        _ terms: Terms, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketTally.Mark? {
        switch other?.value {
        case nil:
            windowed.admit(cost)
        case .bucket(var bucket):
            defer { other?.value = .bucket(bucket) }
            return bucket.admit(terms, cost: cost)
        case .slots(var slots):
            if let reservation { slots.take(reservation, expiryMs: nowMs + terms.holdMs) }
            other?.value = .slots(slots)
        }
        return nil
    }

    /// A shadow limit had no room for a check that was admitted here.
    mutating func refuseLocally() { localRefusals += 1 }

    /// Takes back what was admitted here, or charges more than was admitted; what the store was told is no matter of
    /// this. Only a window that still counts is changed.
    mutating func adjustLocally(by cost: Int64, of item: LocalReservations.Item, nowMs: Int64) {
        roll(at: nowMs)
        switch other?.value {
        case nil:
            let isCurrent = item.terms.windowStartMs == windowStartMs
            guard isCurrent || (algorithm == .slidingWindow && item.terms.windowEndMs == windowStartMs) else { return }
            windowed.adjust(by: cost, isCurrent: isCurrent)
        case .bucket(var bucket):
            if let mark = item.mark {
                bucket.adjust(by: cost, after: mark, chargedMs: item.chargedMs, item.terms, nowMs: nowMs)
            }
            other?.value = .bucket(bucket)
        case .slots:
            break
        }
    }

    mutating func releaseLocally(_ reservation: ReservationID) {
        guard case .slots(var slots)? = other?.value else { return }
        slots.release(reservation)
        other?.value = .slots(slots)
    }

    /// How long until a check that does not fit here could, if the store stays away and nobody else asks, ms.
    func retryAfterLocally(
        _ terms: Terms, cost: Int64, replicas: borrowing ReplicaView, nowMs: Int64
    ) -> Int64 {
        guard terms.canEverPass(cost: cost) else { return -1 }
        switch other?.value {
        case nil:
            return windowed.retryAfterMs(terms, cost: cost, replicas: replicas, hash: hash, nowMs: nowMs)
        case .bucket(let bucket):
            return bucket.retryAfterMs(terms, cost: cost)
        case .slots(let slots):
            return slots.retryAfterMs(nowMs: nowMs)
        }
    }

    // MARK: - What is known here

    /// All that is known here to count, as if the store had told it at `nowMs`.
    func known(_ terms: Terms, nowMs: Int64) -> Tally {
        var tally: Tally
        switch other?.value {
        case nil: tally = windowed.known
        case .bucket(let bucket): tally = Tally(used: bucket.knownLevel(terms, nowMs: nowMs))
        case .slots(let slots): tally = slots.known(nowMs: nowMs)
        }
        tally.refusals = sharedRefusals + localRefusals
        return tally
    }

    /// What the store told, as it is at `nowMs`; only if `isSeen`.
    func shared(_ terms: Terms?, nowMs: Int64) -> Tally {
        var tally: Tally
        switch other?.value {
        case nil:
            tally = Tally(used: windowed.sharedUsed + windowed.resolved)
            tally.previous = windowed.sharedPrevious
        case .bucket(let bucket): tally = Tally(used: bucket.sharedLevel(terms, nowMs: nowMs))
        case .slots(let slots): tally = slots.shared(nowMs: nowMs)
        }
        tally.refusals = sharedRefusals
        return tally
    }

    /// What was admitted here without the store and counts at `nowMs`, in units of cost; of concurrency, in slots.
    func locallyUsed(_ terms: Terms?, nowMs: Int64) -> Int64 {
        switch other?.value {
        case nil: windowed.own.used
        case .bucket(let bucket): bucket.locallyUsed(terms, nowMs: nowMs)
        case .slots(let slots): slots.locallyUsed(nowMs: nowMs)
        }
    }

    var refusals: Int64 { sharedRefusals + localRefusals }

    /// Whether anything at all is known of it that a person would want to see.
    var isTouched: Bool {
        if isSeen || localRefusals > 0 { return true }
        return switch other?.value {
        case nil: windowed.own.used > 0 || windowed.localShare >= 0
        case .bucket(let bucket): bucket.isTouched
        case .slots(let slots): slots.isTouched
        }
    }

    /// Whether forgetting it loses anything that matters at `nowMs`: what counts still decides what may be admitted
    /// while the store is away.
    func isQuiet(nowMs: Int64, terms: Terms?) -> Bool {
        switch other?.value {
        case nil:
            // What was used reaches into the window after its own where windows slide.
            return windowStartMs < 0 || nowMs >= open.nextEndMs
                || !(isSeen || windowed.isTouched || localRefusals > 0)
        case .bucket(let bucket):
            guard let terms else { return true }
            return bucket.knownLevel(terms, nowMs: nowMs) == 0
        case .slots(let slots):
            return slots.known(nowMs: nowMs).used == 0
        }
    }
}

// MARK: - Over a restart

extension Counter {
    /// How many use it that are no plan and keep it by themselves, beside payments.
    var keepers: Int32 { (isJournalled ? 1 : 0) + (isChanged ? 1 : 0) + (isRestored ? 1 : 0) }

    /// What a restart must not lose; nil where nothing is kept of the algorithm.
    func state(epoch: Int32) -> CounterState? {
        let tally: CounterState.Tally
        var countsUntilMs = open.nextEndMs
        switch other?.value {
        case nil:
            tally = .window(
                CounterState.WindowState(
                    sharedUsed: windowed.sharedUsed, sharedPrevious: windowed.sharedPrevious, own: windowed.own.used,
                    ownPrevious: windowed.ownPrevious.used, resolved: windowed.resolved))
        case .bucket(let bucket):
            tally = .bucket(bucket.state)
            countsUntilMs = bucket.countsUntilMs
        case .slots: return nil
        }
        return CounterState(
            stem: Array(stem), startMs: open.startMs, countsUntilMs: countsUntilMs, isSeen: isSeen,
            owesOffer: isSeen && seenEpoch != epoch, tally: tally)
    }

    /// Makes a new one what it was.
    ///
    /// - Parameter epoch: of the store's present memory.
    mutating func restore(_ state: CounterState, epoch: Int32) {
        roll(at: max(0, state.startMs))
        isSeen = state.isSeen
        seenEpoch = state.owesOffer ? epoch &- 1 : epoch
        switch state.tally {
        case .window(let window):
            windowed.sharedUsed = window.sharedUsed
            windowed.sharedPrevious = window.sharedPrevious
            windowed.own.used = window.own
            windowed.ownPrevious.used = window.ownPrevious
            windowed.resolved = window.resolved
        case .bucket(let bucket):
            other?.value = .bucket(BucketTally(bucket))
        }
    }

    /// Of a token bucket: the limit as it was last asked of.
    var bucketTerms: Terms? {
        if case .bucket(let bucket)? = other?.value { bucket.terms } else { nil }
    }
}
