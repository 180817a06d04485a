/// How far what the store proved with a refusal still holds.
///
/// What it told lies in the counters themselves, and when in `Counter.provenNs`. A tally is only ever lowered by the end
/// of a reservation, and the store tells every replica of that as it happens: so a tally that was told is the least that
/// is used, until its window ends, or such a change is heard of. Changes are kept by their keys' tag, not by counter: a
/// place for each of many tags, whoever shares one. Whoever does not hear of changes remembers nothing.
struct DenialCache {
    /// Before every time, and far from the edge.
    static let never = Int64.min / 2

    private(set) var changeFeed: ChangeFeed
    /// What was sent to the store by then is not believed: a change since may not have been heard of, or the store has
    /// lost its memory.
    private var forgottenNs = never
    /// When a change was last heard of, by place.
    private var changedNs = [Int64](repeating: never, count: EngineBounds.changeSlots)
    /// When a reservation was last settled through this replica, which may have changed any counter that grants share.
    private var sharedChangedNs = never
    private var command: ChangeFeedCommand?

    init(seed: UInt64, now: ClockReading) { changeFeed = ChangeFeed(seed: seed, now: now) }

    var isListening: Bool { changeFeed.isListening }

    /// Whether what the store told of a counter, in a batch that was sent at `provenNs`, still proves something.
    func holds(provenNs: Int64, slot: UInt16, nowNs: Int64) -> Bool {
        guard isListening, provenNs > forgottenNs, nowNs - provenNs <= EngineBounds.denialTTLNs,
            provenNs > changedNs[Int(slot & Self.slotMask)]
        else { return false }
        return slot & Self.sharedMark == 0 || provenNs > sharedChangedNs
    }

    // MARK: - What lowers counters

    private static let sharedMark: UInt16 = 1 << 15
    private static let slotMask = UInt16(EngineBounds.changeSlots - 1)

    /// The place of a key, or of what is told of it: of all up to the end of the part in braces. Marked where grants
    /// share the counter and reservations charge it.
    static func slot(of key: ArraySlice<UInt8>) -> UInt16 {
        let end = key.firstIndex(of: UInt8(ascii: "}")) ?? key.endIndex
        let tag = key[key.startIndex..<end]
        let name = tag[(tag.firstIndex(of: UInt8(ascii: "{")) ?? tag.startIndex)...]
        // `CL.THROTTLE` reserves nothing.
        let isShared = name.contains(UInt8(ascii: "=")) && !name.starts(with: "{throttle=".utf8)
        return UInt16(truncatingIfNeeded: stableHash(tag)) & slotMask | (isShared ? sharedMark : 0)
    }

    /// The store told of a change.
    mutating func changed(_ key: [UInt8], now: ClockReading) {
        changedNs[Int(Self.slot(of: key[...]) & Self.slotMask)] = now.monotonicNs
    }

    /// A reservation was settled through this replica, which need not wait to be told.
    mutating func settled(reservationKey: [UInt8], now: ClockReading) {
        changed(reservationKey, now: now)
        sharedChangedNs = now.monotonicNs
    }

    /// Nothing that was told so far is believed any more.
    mutating func forgetAll(now: ClockReading) { forgottenNs = now.monotonicNs }

    mutating func storeLeft(now: ClockReading) {
        forgetAll(now: now)
        changeFeed.storeLeft(now: now)
    }

    // MARK: - Listening

    mutating func takeCommand() -> ChangeFeedCommand? {
        guard command != nil else { return nil }
        defer { command = nil }
        return command
    }

    func nextTickNs(isStoreThere: Bool) -> Int64? { changeFeed.nextTickNs(isStoreThere: isStoreThere) }

    mutating func tick(isStoreThere: Bool, lookedNs: Int64? = nil, now: ClockReading) {
        if let next = changeFeed.tick(isStoreThere: isStoreThere, lookedNs: lookedNs, now: now) { command = next }
    }

    mutating func hear(_ event: ChangeFeedEvent, now: ClockReading) {
        changeFeed.hear(event, now: now)
        switch event {
        case .opened: forgetAll(now: now)
        case .changed(let key): changed(key, now: now)
        case .alive, .closed: break
        }
    }
}

/// Decides when to listen for changes of counters, and whether they are heard.
///
/// A value-type state machine: events go in with the time, what the link must do comes out.
struct ChangeFeed {
    enum State: Equatable {
        /// Nothing is heard. Waits for its time, and for the store to be there. Becomes `opening`.
        case off(retryAtNs: Int64)
        /// Waits for the store to say that it will tell. Becomes `listening`, or `off` when that failed or took too long.
        case opening(sinceNs: Int64)
        /// Everything is heard. After a silence it asks for a sign of life, at `probedNs`. Becomes `off` when the
        /// connection broke or none came in time.
        case listening(heardNs: Int64, probedNs: Int64?)
    }

    private(set) var state: State
    /// Failures in a row: each doubles the pause before the next try.
    private(set) var failures = 0
    /// Why it is not listening.
    private(set) var reason = ""
    private var random: SeededRandom

    init(seed: UInt64, now: ClockReading) {
        random = SeededRandom(seed: seed &+ 1)
        state = .off(retryAtNs: now.monotonicNs)
    }

    var isListening: Bool { if case .listening = state { true } else { false } }

    /// - Parameter lookedNs: as in `Breaker.tick`.
    mutating func tick(isStoreThere: Bool, lookedNs: Int64? = nil, now: ClockReading) -> ChangeFeedCommand? {
        let nowNs = now.monotonicNs
        let lookedNs = lookedNs ?? nowNs
        switch state {
        case .off(let retryAtNs):
            guard isStoreThere, nowNs >= retryAtNs else { return nil }
            state = .opening(sinceNs: nowNs)
            return .open
        case .opening(let sinceNs):
            guard lookedNs - sinceNs >= EngineBounds.listeningOpenNs else { return nil }
            fail("no answer", now: now)
            return .close
        case .listening(let heardNs, nil):
            guard nowNs - heardNs >= EngineBounds.listeningProbeNs else { return nil }
            state = .listening(heardNs: heardNs, probedNs: nowNs)
            return .probe
        case .listening(_, let probedNs?):
            guard lookedNs - probedNs >= EngineBounds.listeningSilenceNs else { return nil }
            fail("no sign of life", now: now)
            return .close
        }
    }

    /// As `Breaker.wantsLook`.
    func wantsLook(now: ClockReading) -> Bool {
        switch state {
        case .opening, .listening(_, .some): nextTickNs(isStoreThere: true).map { now.monotonicNs >= $0 } ?? false
        case .off, .listening(_, nil): false
        }
    }

    mutating func hear(_ event: ChangeFeedEvent, now: ClockReading) {
        switch (event, state) {
        case (.opened, .opening):
            failures = 0
            state = .listening(heardNs: now.monotonicNs, probedNs: nil)
        case (.changed, .listening), (.alive, .listening):
            state = .listening(heardNs: now.monotonicNs, probedNs: nil)
        case (.closed(let reason), .opening), (.closed(let reason), .listening):
            fail(reason, now: now)
        case (.opened, _), (.changed, _), (.alive, _), (.closed, .off):
            break
        }
    }

    /// The store has gone, and most likely takes the connection for changes along: once it is back there is no reason
    /// to wait.
    mutating func storeLeft(now: ClockReading) {
        failures = 0
        if case .off = state { state = .off(retryAtNs: now.monotonicNs) }
    }

    /// When `tick` has something to do by itself; nil if only an event can change anything.
    func nextTickNs(isStoreThere: Bool) -> Int64? {
        switch state {
        case .off(let retryAtNs): isStoreThere ? retryAtNs : nil
        case .opening(let sinceNs): sinceNs + EngineBounds.listeningOpenNs
        case .listening(let heardNs, nil): heardNs + EngineBounds.listeningProbeNs
        case .listening(_, let probedNs?): probedNs + EngineBounds.listeningSilenceNs
        }
    }

    /// As the breaker's pauses.
    private mutating func fail(_ reason: String, now: ClockReading) {
        let ceiling = min(EngineBounds.firstBackoffNs << Int64(min(failures, 20)), EngineBounds.maxChangeFeedBackoffNs)
        failures += 1
        self.reason = reason
        state = .off(retryAtNs: now.monotonicNs + ceiling / 2 + Int64.random(in: 0...ceiling / 2, using: &random))
    }
}
