internal import NIOCore
internal import SluiceEngine

/// Reads counters over a connection of its own, so that checks never wait for it: `SCAN` for a page of keys, then
/// `MGET` for their values together with the next `SCAN`. What `MGET` does not give may be the slots of a concurrency
/// limit, and is counted as such.
final class CounterScan: RedisConnectionOwner {
    typealias Completion = (Result<[StoredCounter], BatchFailure>) -> Void

    /// What the next reply answers.
    private enum Awaited {
        case page
        case values(of: [[UInt8]])
        /// The store's clock, by which slots of these keys have expired or not.
        case clock
        case slots(of: [UInt8])

        var isOfOneKey: Bool {
            if case .slots = self { true } else { false }
        }
    }

    private let query: CounterQuery
    private let address: RedisAddress
    private let handshake: RedisHandshake
    private let limits: RedisTimeLimits
    private let eventLoop: any EventLoop
    private let pattern: [UInt8]
    private var connection: RedisConnection?
    private var timeLimit: Scheduled<Void>?
    private var completion: Completion?
    private var awaited = CircularBuffer<Awaited>()
    /// `SCAN` may give a key more than once.
    private var seen: Set<[UInt8]> = []
    private var counters: [StoredCounter] = []
    /// What has no string, and waits for the clock.
    private var otherKeys: [[UInt8]] = []

    init(
        _ query: CounterQuery, address: RedisAddress, handshake: RedisHandshake, limits: RedisTimeLimits,
        eventLoop: any EventLoop
    ) {
        self.limits = limits
        self.query = query
        self.address = address
        self.handshake = handshake
        self.eventLoop = eventLoop
        pattern = Self.pattern(forPrefix: query.keyPrefix)
    }

    /// The completion is called once, within `RedisTimeLimits.scan`, and not from inside this call.
    func start(completion: @escaping Completion) {
        self.completion = completion
        connection = RedisConnection(
            to: address, handshake: handshake, limits: limits, eventLoop: eventLoop, owner: self)
        timeLimit = eventLoop.assumeIsolated().scheduleTask(in: limits.scan) {
            let limit = self.limits.scan.inMilliseconds
            self.finish(.failure(.unknown("reading the counters took longer than \(limit): ask for fewer of them")))
        }
    }

    func connectionReady(_ server: RedisServer) {
        guard query.limit > 0 else { return finish(.success([])) }
        askForPage(cursor: Array("0".utf8), andValuesOf: [])
    }

    func connectionClosed(_ reason: String) {
        finish(.failure(.unknown(reason)))
    }

    func connectionReceived(_ reply: FlatReply) {
        let question = awaited.popFirst()
        // An error about one key alone: it is of another type, and no counter.
        if let error = reply.error, question?.isOfOneKey != true { return finish(.failure(error.failure)) }
        let understood =
            switch question {
            case .page: takePage(reply)
            case .values(let keys): takeValues(reply, of: keys)
            case .clock: takeClock(reply)
            case .slots(let key): takeSlots(reply, of: key)
            case nil: false
            }
        if !understood { return finish(.failure(.unknown("Redis' answer made no sense"))) }
        if counters.count >= query.limit || awaited.isEmpty { finish(.success(counters)) }
    }

    /// Every key that begins with these bytes, taken literally.
    static func pattern(forPrefix prefix: [UInt8]) -> [UInt8] {
        var pattern: [UInt8] = []
        for byte in prefix {
            if "*?[]\\^-".utf8.contains(byte) { pattern.append(UInt8(ascii: "\\")) }
            pattern.append(byte)
        }
        pattern.append(UInt8(ascii: "*"))
        return pattern
    }

    private func takePage(_ reply: FlatReply) -> Bool {
        guard case .array(let parts) = reply.tree(), parts.count == 2, case .string(let cursor) = parts[0],
            case .array(let page) = parts[1]
        else { return false }
        var keys: [[UInt8]] = []
        for element in page {
            guard case .string(let key) = element else { return false }
            if seen.insert(key).inserted { keys.append(key) }
        }
        askForPage(cursor: cursor == Array("0".utf8) ? nil : cursor, andValuesOf: keys)
        return true
    }

    /// - Parameter cursor: nil after the last page.
    private func askForPage(cursor: [UInt8]?, andValuesOf keys: [[UInt8]]) {
        var commands = ByteBuffer()
        if !keys.isEmpty {
            commands.writeCommand([Array("MGET".utf8)] + keys)
            awaited.append(.values(of: keys))
            commands.writeCommand("TIME")
            awaited.append(.clock)
        }
        if let cursor {
            commands.writeCommand([
                Array("SCAN".utf8), cursor, Array("MATCH".utf8), pattern, Array("COUNT".utf8),
                Array("\(RedisBounds.scanKeysPerCall)".utf8),
            ])
            awaited.append(.page)
        }
        if commands.readableBytes > 0 { connection?.write(commands) }
    }

    private func takeValues(_ reply: FlatReply, of keys: [[UInt8]]) -> Bool {
        guard case .array(let values) = reply.tree(), values.count == keys.count else { return false }
        for (key, value) in zip(keys, values) {
            guard case .string(let text) = value else {
                otherKeys.append(key)
                continue
            }
            if let counter = Self.counter(key, text) { append(counter) }
        }
        return true
    }

    /// The tally of a window, or a token bucket; nil for a record, say, that is neither.
    private static func counter(_ key: [UInt8], _ text: [UInt8]) -> StoredCounter? {
        let words = text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        let numbers = words.compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
        // What the scripts do not take for a tally is none here either.
        guard numbers.count == words.count, numbers.allSatisfy({ (0...Terms.maxExact).contains($0) }) else {
            return nil
        }
        switch numbers.count {
        case 1: return StoredCounter(key: key, used: numbers[0])
        case 2...3:
            return StoredCounter(key: key, used: numbers[0], lastMs: numbers[1])
        default: return nil
        }
    }

    private func takeClock(_ reply: FlatReply) -> Bool {
        guard case .array(let parts) = reply.tree(), parts.count == 2, case .string(let seconds) = parts[0],
            case .string(let microseconds) = parts[1], let seconds = Int64(String(decoding: seconds, as: UTF8.self)),
            let microseconds = Int64(String(decoding: microseconds, as: UTF8.self)),
            (0...Terms.maxExact / 1000).contains(seconds)
        else { return false }
        let nowMs = seconds * 1000 + microseconds / 1000
        var commands = ByteBuffer()
        for key in otherKeys {
            commands.writeCommand([Array("ZCOUNT".utf8), key, Array("(\(nowMs)".utf8), Array("+inf".utf8)])
            awaited.append(.slots(of: key))
        }
        otherKeys.removeAll()
        if commands.readableBytes > 0 { connection?.write(commands) }
        return true
    }

    private func takeSlots(_ reply: FlatReply, of key: [UInt8]) -> Bool {
        guard let first = reply.items.first, first.kind == .integer else { return reply.error != nil }
        // None: all have expired, or the key has.
        if first.value > 0 { append(StoredCounter(key: key, used: first.value)) }
        return true
    }

    private func append(_ counter: StoredCounter) {
        if counters.count < query.limit { counters.append(counter) }
    }

    private func finish(_ result: Result<[StoredCounter], BatchFailure>) {
        guard let completion else { return }
        self.completion = nil
        timeLimit?.cancel()
        connection?.close()
        connection = nil
        completion(result)
    }
}
