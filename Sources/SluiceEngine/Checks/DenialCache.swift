/// Whether a denial still proves that later checks must be denied, too.
///
/// The reported usage is stored in the counters themselves, and its time in `Counter.provenNs`. Only a settlement
/// lowers a counter, and the store notifies every replica of that at once. So reported usage is a minimum until its
/// window ends or such a change is received. Changes are recorded by the owner of their keys, not by counter, in a
/// fixed number of slots that many owners share. The cache is off while the change feed is down.
struct DenialCache {
    /// Before every real time, and far from overflow.
    static let never = Int64.min / 2

    private(set) var changeFeed: ChangeFeed
    private let keys: KeySpace
    /// Usage reported for batches sent up to then proves nothing: a later change may have been missed, or the store
    /// has lost its data.
    private var clearedNs = never
    /// When the last change was received, by slot.
    private var changedNs = [Int64](repeating: never, count: EngineBounds.changeSlots)
    private var command: ChangeFeedCommand?

    init(keys: KeySpace, seed: UInt64, now: ClockReading) {
        self.keys = keys
        changeFeed = ChangeFeed(seed: seed, now: now)
    }

    var isListening: Bool { changeFeed.isListening }

    /// Whether the usage reported in a batch sent at `provenNs` still proves denials.
    func holds(provenNs: Int64, slot: UInt16, nowNs: Int64) -> Bool {
        nowNs - provenNs <= EngineBounds.denialTTLNs && isSteady(sinceNs: provenNs, slot: slot)
    }

    /// Whether no change of this slot was received since then, and none was missed.
    func isSteady(sinceNs: Int64, slot: UInt16) -> Bool {
        isListening && sinceNs > clearedNs && sinceNs > changedNs[Int(slot)]
    }

    // MARK: - What lowers counters

    /// The slot of a key, or of a change: a hash of the owner.
    static func slot(of key: ArraySlice<UInt8>, in keys: KeySpace) -> UInt16 {
        let owner = keys.owner(of: key) ?? key
        return UInt16(truncatingIfNeeded: stableHash(owner)) & UInt16(EngineBounds.changeSlots - 1)
    }

    /// The store notified this replica of a change, or answered with it.
    mutating func changed(_ key: [UInt8], now: ClockReading) {
        changedNs[Int(Self.slot(of: key[...], in: keys))] = now.monotonicNs
    }

    /// No usage reported so far proves anything any more.
    mutating func forgetAll(now: ClockReading) { clearedNs = now.monotonicNs }

    mutating func storeLeft(now: ClockReading) {
        forgetAll(now: now)
        changeFeed.storeLeft(now: now)
    }

    // MARK: - The change feed

    mutating func takeCommand() -> ChangeFeedCommand? {
        guard command != nil else { return nil }
        defer { command = nil }
        return command
    }

    /// Probes the feed at once, if it listens.
    mutating func probe(now: ClockReading) {
        if command == nil, let next = changeFeed.probe(now: now) { command = next }
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
