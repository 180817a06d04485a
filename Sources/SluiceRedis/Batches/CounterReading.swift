internal import NIOCore
internal import SluiceEngine
import SluicePolicy

/// How one counter is read: the commands, and the meaning of their answers. Besides the scripts (`Scripts/Algorithms`),
/// only this type knows the values under each algorithm's keys.
struct CounterReading {
    /// By which of its keys a counter was found.
    enum Source: Int {
        case own, previous, denials
    }

    /// The open window's key.
    let key: CounterKey
    /// A counter is reported by the first of its keys that there is, so that each is reported once.
    private let source: Source
    private let commands: [[[UInt8]]]

    /// - Parameter nowMs: Redis' clock, which decides whether slots have expired.
    init(_ key: CounterKey, foundBy source: Source, in keys: KeySpace, nowMs: Int64) {
        self.key = key
        self.source = source
        func word(_ text: String) -> [UInt8] { Array(text.utf8) }
        let name = key.bytes(in: keys)
        let denials = key.denials.bytes(in: keys)
        commands =
            switch key.algorithm {
            case .fixedWindow, .tokenBucket, .slidingLog: [[word("MGET"), denials, name]]
            case .slidingWindow: [[word("MGET"), denials, name, key.previous.bytes(in: keys)]]
            case .concurrency:
                [
                    [word("MGET"), denials],
                    [word("ZCOUNT"), name, word("(\(nowMs)"), word("+inf")],
                    [
                        word("ZRANGEBYSCORE"), name, word("(\(nowMs)"), word("+inf"), word("WITHSCORES"), word("LIMIT"),
                        word("0"), word("1"),
                    ],
                    [word("ZRANGE"), name, word("-1"), word("-1"), word("WITHSCORES")],
                ]
            }
    }

    /// How many replies the commands get.
    var replyCount: Int { commands.count }

    func write(to buffer: inout ByteBuffer) {
        for command in commands { buffer.writeCommand(command) }
    }

    /// nil if nothing is counted, if a script would not accept the value, or if another key reports it.
    func counter(_ replies: [RedisReply]) -> StoredCounter? {
        guard replies.count == replyCount, case .array(let strings) = replies[0] else { return nil }
        var usage: Usage?
        var lastMs: Int64 = 0
        var log = UsageLog()
        var first = Source.own
        switch key.algorithm {
        case .fixedWindow:
            usage = Self.integer(strings, 1).map { Usage(used: $0) }
        case .slidingWindow:
            let (used, previous) = (Self.integer(strings, 1), Self.integer(strings, 2))
            if used != nil || previous != nil {
                usage = Usage(used: used ?? 0)
                usage?.previous = previous ?? 0
                if used == nil { first = .previous }
            }
        case .tokenBucket:
            if let numbers = Self.numbers(strings, 1), (2...3).contains(numbers.count) {
                usage = Usage(used: numbers[0])
                lastMs = numbers[1]
            }
        case .slidingLog:
            if let found = Self.log(strings, 1) {
                usage = Usage(used: 0)
                log = found
            }
        case .concurrency:
            if case .integer(let count) = replies[1], count > 0 {
                usage = Usage(used: count)
                usage?.firstExpiryMs = Self.score(replies[2])
                usage?.lastExpiryMs = Self.score(replies[3])
            }
        }
        let denials = Self.integer(strings, 0)
        if usage == nil { first = .denials }
        guard first == source, var usage = usage ?? denials.map({ _ in Usage(used: 0) }) else { return nil }
        usage.denials = denials ?? 0
        return StoredCounter(key: key, usage: usage, lastMs: lastMs, log: log)
    }

    /// A MessagePack list of pairs: a time, relative to the one before, and an amount.
    private static func log(_ strings: [RedisReply], _ index: Int) -> UsageLog? {
        guard index < strings.count, case .string(let bytes) = strings[index],
            let numbers = MessagePackReader.numbers(bytes, atMost: 2 * EngineBounds.maxLogEntries),
            numbers.count.isMultiple(of: 2)
        else { return nil }
        var log = UsageLog()
        var ms: Int64 = 0
        for at in stride(from: 0, to: numbers.count, by: 2) {
            guard (at == 0 ? 0 : 1)...Quota.maxExact ~= numbers[at], 1...Quota.maxExact ~= numbers[at + 1] else {
                return nil
            }
            ms += numbers[at]
            guard ms <= Quota.maxExact else { return nil }
            log.add(numbers[at + 1], atMs: ms)
        }
        return log
    }

    private static func integer(_ strings: [RedisReply], _ index: Int) -> Int64? {
        numbers(strings, index).flatMap { $0.count == 1 ? $0[0] : nil }
    }

    /// Accepts only values that the scripts accept as a usage.
    private static func numbers(_ strings: [RedisReply], _ index: Int) -> [Int64]? {
        guard index < strings.count, case .string(let text) = strings[index] else { return nil }
        let words = text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        let numbers = words.compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
        let isCount = numbers.allSatisfy { (0...Quota.maxExact).contains($0) }
        return numbers.count == words.count && isCount ? numbers : nil
    }

    /// When the one slot of an answer expires; 0 if there is none.
    private static func score(_ reply: RedisReply) -> Int64 {
        guard case .array(let parts) = reply, parts.count == 2, case .string(let text) = parts[1],
            let score = Double(String(decoding: text, as: UTF8.self)), score > 0
        else { return 0 }
        return score < Double(Quota.maxExact) ? Int64(score) : Quota.maxExact
    }
}
