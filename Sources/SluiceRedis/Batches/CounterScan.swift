internal import NIOCore
internal import SluiceEngine

/// Reads counters over a connection of its own, so that checks never wait for it: `SCAN` for a page of keys, then the
/// values under those that match, in portions. In a cluster the keys of one slot are asked for at once, if they are not too
/// many, instead of examining all that its master has.
///
/// Redis examines `RedisBounds.scanKeysPerCall` keys a call and skips those that cannot match. Of the others this keeps
/// only those that match, at most as many as were asked for, so its memory does not grow with the number of keys. When
/// time runs out, or as many were found as were asked for, it returns them, and where it goes on: the keys of a page are
/// read in the order of their hashes, and a later scan reads the page again and passes over those that come before.
final class CounterScan: RedisConnectionOwner {
    typealias Completion = (Result<StoredCounters, BatchFailure>) -> Void

    /// What the next replies answer, in order.
    private enum Awaited {
        case clock
        case page
        /// How many keys the slot has, and then those.
        case slotCount
        case slotPage
        case counter(CounterReading, hash: UInt64)
    }

    private let query: CounterQuery
    private let target: RedisTarget
    private let handshake: RedisTarget.MakeHandshake
    private let limits: RedisTimeLimits
    private let eventLoop: any EventLoop
    private var connection: RedisConnection?
    private var timeLimit: Scheduled<Void>?
    private var completion: Completion?
    private var awaited = CircularBuffer<Awaited>()
    /// The replies so far for the first of `awaited`.
    private var replies: [RedisReply] = []
    /// Keys of the latest page that may match, by their hashes.
    private var candidates = CircularBuffer<(hash: UInt64, key: [UInt8])>()
    /// Where the next page begins; nil after the last.
    private var cursor: UInt64?
    /// What has been read: all before this.
    private var done: StorePlace
    /// The slot to read, and how many keys it has, once that is known; nil: everything is scanned.
    private var slot: Int?
    private var slotCount: Int64?
    private var hasPage = false
    /// `SCAN` may return a key more than once.
    private var seen: Set<CounterKey> = []
    private var counters: [StoredCounter] = []
    private var timeMs: Int64 = 0

    /// - Parameter slot: the one that has all of the keys, in a cluster.
    init(
        _ query: CounterQuery, slot: Int? = nil, target: RedisTarget,
        handshake: @escaping RedisTarget.MakeHandshake, limits: RedisTimeLimits, eventLoop: any EventLoop
    ) {
        self.limits = limits
        // Pages are those of everything: a place behind the first is none of a slot.
        self.slot = query.place.page == 0 ? slot : nil
        self.query = query
        cursor = query.place.page
        done = query.place
        self.target = target
        self.handshake = handshake
        self.eventLoop = eventLoop
    }

    /// The completion is called once, within `RedisTimeLimits.scan`, and not from inside this call.
    func start(completion: @escaping Completion) {
        self.completion = completion
        connection = RedisConnection(
            to: target, handshake: handshake, limits: limits, eventLoop: eventLoop, owner: self)
        timeLimit = eventLoop.assumeIsolated().scheduleTask(in: limits.scan) {
            if self.hasPage { return self.finish(isWhole: false) }
            self.finish(.failure(.unknown(Self.tookTooLong(self.limits.scan))))
        }
    }

    static func tookTooLong(_ limit: TimeAmount) -> String {
        "reading the counters took longer than \(limit.inMilliseconds): ask for fewer of them"
    }

    func connectionReady(_ server: RedisServer) { goOn() }

    func connectionClosed(_ reason: String) {
        finish(.failure(.unknown(reason)))
    }

    func connectionReceived(_ reply: FlatReply) {
        let isUnderstood =
            switch awaited.first {
            case .clock: takeClock(reply)
            case .page: takePage(reply)
            case .slotCount: takeSlotCount(reply)
            case .slotPage: takeSlotPage(reply)
            case .counter(let reading, let hash): takeReply(reply, of: reading, hash: hash)
            case nil: false
            }
        guard isUnderstood else {
            return finish(.failure(reply.error?.failure ?? .unknown("Redis' answer made no sense")))
        }
        if awaited.isEmpty { goOn() }
    }

    // MARK: - Asking

    /// Every answer has arrived: sends the next commands.
    private func goOn() {
        guard completion != nil else { return }
        guard counters.count < query.limit else { return finish(isWhole: true) }
        var commands = ByteBuffer()
        var looked = 0
        while looked < RedisBounds.scanCountersPerTurn, let candidate = candidates.popFirst() {
            looked += 1
            guard let key = CounterKey(candidate.key, in: query.keys), query.matches(key),
                let open = key.open(atMs: timeMs), let source = Self.source(key, of: open)
            else { continue }
            let reading = CounterReading(open, foundBy: source, in: query.keys, nowMs: timeMs)
            reading.write(to: &commands)
            awaited.append(.counter(reading, hash: candidate.hash))
        }
        if awaited.isEmpty && !candidates.isEmpty {
            // Many keys only looked like counters: lets other work run in between.
            return eventLoop.assumeIsolated().execute { self.goOn() }
        }
        if awaited.isEmpty {
            guard let cursor else { return finish(isWhole: true) }
            // The clock comes first: it is needed to read the page's keys.
            commands.writeCommand("TIME")
            awaited.append(.clock)
            writePage(cursor, to: &commands)
        }
        connection?.write(commands)
    }

    /// nil for denials of a window that is over: nothing of them counts.
    private static func source(_ key: CounterKey, of open: CounterKey) -> CounterReading.Source? {
        let isOpen = key.windowStartMs == open.windowStartMs
        if key.isDenials { return isOpen ? .denials : nil }
        return isOpen ? .own : .previous
    }

    /// Asks for the next page, or for the size of the only one.
    private func writePage(_ cursor: UInt64, to commands: inout ByteBuffer) {
        switch (slot, slotCount) {
        case (let slot?, nil):
            commands.writeCommand("CLUSTER", "COUNTKEYSINSLOT", "\(slot)")
            awaited.append(.slotCount)
        case (let slot?, let count?):
            commands.writeCommand("CLUSTER", "GETKEYSINSLOT", "\(slot)", "\(count)")
            awaited.append(.slotPage)
        case (nil, _):
            commands.writeCommand([
                Array("SCAN".utf8), Array("\(cursor)".utf8), Array("MATCH".utf8), query.pattern, Array("COUNT".utf8),
                Array("\(RedisBounds.scanKeysPerCall)".utf8),
            ])
            awaited.append(.page)
        }
    }

    // MARK: - Answers

    private func takeClock(_ reply: FlatReply) -> Bool {
        guard case .array(let parts) = reply.tree(), parts.count == 2, case .string(let seconds) = parts[0],
            case .string(let microseconds) = parts[1], let seconds = Int64(String(decoding: seconds, as: UTF8.self)),
            let microseconds = Int64(String(decoding: microseconds, as: UTF8.self)),
            (0...EngineBounds.latestMs / 1000).contains(seconds), (0..<1_000_000).contains(microseconds)
        else { return false }
        timeMs = seconds * 1000 + microseconds / 1000
        awaited.removeFirst()
        return true
    }

    private func takePage(_ reply: FlatReply) -> Bool {
        let items = reply.items
        guard items.count >= 3, items[0].kind == .array, items[0].value == 2, items[1].kind == .string,
            items[2].kind == .array, items[2].value == Int64(items.count - 3)
        else { return false }
        guard items[3...].allSatisfy({ $0.kind == .string }),
            let next = UInt64(String(decoding: reply.bytes(of: items[1]), as: UTF8.self))
        else { return false }
        takeKeys(items[3...], of: reply)
        cursor = next == 0 ? nil : next
        awaited.removeFirst()
        return true
    }

    /// A slot with too many keys, and one that this user may not read, are scanned with everything else.
    private func takeSlotCount(_ reply: FlatReply) -> Bool {
        if case .integer(let count)? = reply.tree(), (0...RedisBounds.scanSlotKeys).contains(count) {
            slotCount = count
        } else {
            slot = nil
        }
        awaited.removeFirst()
        return true
    }

    private func takeSlotPage(_ reply: FlatReply) -> Bool {
        awaited.removeFirst()
        guard reply.error == nil else {
            slot = nil
            return true
        }
        guard let list = reply.items.first, list.kind == .array, list.value == Int64(reply.items.count - 1),
            reply.items.dropFirst().allSatisfy({ $0.kind == .string })
        else { return false }
        takeKeys(reply.items[1...], of: reply)
        cursor = nil
        return true
    }

    /// The page at `cursor`, which is still that of the page itself.
    private func takeKeys(_ items: ArraySlice<FlatReply.Item>, of reply: FlatReply) {
        let page = cursor ?? 0
        // Of the first page what an earlier scan has read is passed over.
        if done.page != page { done = StorePlace(page: page) }
        var keys: [(hash: UInt64, key: [UInt8])] = []
        for item in items {
            let key = reply.bytes(of: item)
            guard query.mayMatch(key) else { continue }
            let hash = stableHash(key)
            if let after = done.after, hash <= after { continue }
            keys.append((hash, Array(key)))
        }
        keys.sort { $0.hash < $1.hash }
        candidates.append(contentsOf: keys)
        hasPage = true
    }

    /// An error about one key alone: it has another type and is no counter.
    private func takeReply(_ reply: FlatReply, of reading: CounterReading, hash: UInt64) -> Bool {
        if let error = reply.error, !error.isWrongType { return false }
        guard let tree = reply.tree() else { return false }
        replies.append(tree)
        guard replies.count == reading.replyCount else { return true }
        awaited.removeFirst()
        // What comes behind the last one that is wanted is read by a later scan.
        if counters.count < query.limit {
            done.after = hash
            if var counter = reading.counter(replies), seen.insert(counter.key).inserted {
                counter.place = done
                counters.append(counter)
            }
        }
        replies.removeAll(keepingCapacity: true)
        return true
    }

    private func finish(isWhole: Bool) {
        var found = StoredCounters(counters: counters, timeMs: timeMs, isWhole: isWhole)
        if counters.count >= query.limit || !isWhole || cursor != nil || !candidates.isEmpty { found.next = next }
        finish(.success(found))
    }

    /// Where a later scan goes on.
    private var next: StorePlace {
        guard candidates.isEmpty, awaited.isEmpty, counters.count < query.limit, let cursor else { return done }
        return StorePlace(page: cursor)
    }

    private func finish(_ result: Result<StoredCounters, BatchFailure>) {
        guard let completion else { return }
        self.completion = nil
        timeLimit?.cancel()
        connection?.close()
        connection = nil
        completion(result)
    }
}
