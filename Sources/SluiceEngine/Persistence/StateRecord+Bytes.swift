/// The encoding of records: a byte for the kind, then numbers of seven bits a byte, low ones first, with the sign in
/// the lowest bit (LEB128 and zigzag, as in Protocol Buffers). Names and lists come after their length.
extension StateRecord {
    private enum Kind: Int64 { case replica = 1, counter, flight, flightOfPartition }

    package func append(to bytes: inout [UInt8]) {
        var writer = RecordWriter(bytes: bytes)
        bytes = []
        switch self {
        case .replica(let state):
            writer.put(Kind.replica.rawValue)
            writer.put(name: Array(state.keys.utf8))
            writer.put(state.lastSequence, state.acknowledgedSequence, state.highestStoreMs, state.aheadMs)
            writer.put(Int64(state.others.count))
            for other in state.others { writer.put(Int64(bitPattern: other)) }
        case .counter(let state):
            writer.put(Kind.counter.rawValue)
            writer.put(name: state.baseKey)
            let flags: Int64 = (state.needsRestore ? 1 : 0) + (state.credit > 0 ? 2 : 0)
            writer.put(state.startMs, state.countsUntilMs, state.isSeen ? 1 : 0, flags)
            if state.credit > 0 { writer.put(state.credit) }
            state.usage.saved.append(to: &writer)
        case .flight(let state):
            writer.put((state.keys.isEmpty ? Kind.flight : .flightOfPartition).rawValue)
            if !state.keys.isEmpty { writer.put(name: Array(state.keys.utf8)) }
            writer.put(state.sequence)
            for items in [state.writeBacks, state.unconfirmed] {
                writer.put(Int64(items.count))
                for item in items {
                    writer.put(name: item.baseKey)
                    writer.put(item.isRestore ? 1 : item.isRefund ? 2 : 0, item.amount, item.windowMs)
                }
            }
        }
        bytes = writer.bytes
    }

    /// Decodes consecutive records; nil unless the bytes are exactly what `append` writes. `isPlausible` judges the
    /// numbers: one implausible record does not affect the others.
    package static func all(in bytes: ArraySlice<UInt8>) -> [StateRecord]? {
        var reader = RecordReader(rest: bytes)
        var records: [StateRecord] = []
        while !reader.rest.isEmpty {
            guard let record = StateRecord(&reader) else { return nil }
            records.append(record)
        }
        return records
    }

    private init?(_ reader: inout RecordReader) {
        guard let kind = reader.number().flatMap({ Kind(rawValue: $0) }) else { return nil }
        switch kind {
        case .replica:
            guard let prefix = reader.name(), let numbers = reader.numbers(4), let others = reader.list() else {
                return nil
            }
            self = .replica(
                ReplicaState(
                    keys: String(decoding: prefix, as: UTF8.self), lastSequence: numbers[0],
                    acknowledgedSequence: numbers[1], highestStoreMs: numbers[2], aheadMs: numbers[3],
                    others: others.map { UInt64(bitPattern: $0) }))
        case .counter:
            guard let baseKey = reader.name(), let numbers = reader.numbers(4),
                let credit = numbers[3] & 2 == 0 ? 0 : reader.number(), let usage = Self.usage(&reader)
            else { return nil }
            self = .counter(
                CounterState(
                    baseKey: baseKey, startMs: numbers[0], countsUntilMs: numbers[1], isSeen: numbers[2] == 1,
                    needsRestore: numbers[3] & 1 == 1, credit: credit, usage: usage))
        case .flight, .flightOfPartition:
            var keys = ""
            if kind == .flightOfPartition {
                guard let name = reader.name(), !name.isEmpty else { return nil }
                keys = String(decoding: name, as: UTF8.self)
            }
            guard let sequence = reader.number(), let writeBacks = Self.items(&reader),
                let unconfirmed = Self.items(&reader)
            else { return nil }
            self = .flight(
                FlightState(keys: keys, sequence: sequence, writeBacks: writeBacks, unconfirmed: unconfirmed))
        }
    }

    private static func usage(_ reader: inout RecordReader) -> CounterState.Usage? {
        switch reader.number().flatMap({ UsageKind(rawValue: $0) }) {
        case .earlierWindow: CounterState.WindowState(earlier: &reader).map { .window($0) }
        case .windowWithoutShare: CounterState.WindowState(&reader, hasShare: false).map { .window($0) }
        case .windowWithShare: CounterState.WindowState(&reader, hasShare: true).map { .window($0) }
        case .bucket: CounterState.BucketState(&reader).map { .bucket($0) }
        case .logWithoutShare: CounterState.LogState(&reader, hasShare: false).map { .log($0) }
        case .logWithShare: CounterState.LogState(&reader, hasShare: true).map { .log($0) }
        case nil: nil
        }
    }

    private static func items(_ reader: inout RecordReader) -> [FlightState.Item]? {
        guard let count = reader.number(), count >= 0, count <= reader.rest.count else { return nil }
        var items: [FlightState.Item] = []
        for _ in 0..<count {
            guard let baseKey = reader.name(), let numbers = reader.numbers(3) else { return nil }
            items.append(
                FlightState.Item(
                    baseKey: baseKey, isRestore: numbers[0] == 1, isRefund: numbers[0] == 2, amount: numbers[1],
                    windowMs: numbers[2]))
        }
        return items
    }
}

/// The forms of a counter's usage. `earlierWindow` is read, but not written any more.
enum UsageKind: Int64 {
    case earlierWindow = 1
    case bucket, windowWithoutShare, windowWithShare, logWithoutShare, logWithShare
}

struct RecordWriter {
    var bytes: [UInt8]

    mutating func put(_ numbers: Int64...) { for number in numbers { put(number) } }

    mutating func put(_ number: Int64) {
        var rest = UInt64(bitPattern: (number << 1) ^ (number >> 63))
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    mutating func put(name: [UInt8]) {
        put(Int64(name.count))
        bytes += name
    }
}

struct RecordReader {
    var rest: ArraySlice<UInt8>

    mutating func number() -> Int64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte = rest.popFirst() else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
        }
        return nil
    }

    mutating func numbers(_ count: Int) -> [Int64]? {
        var numbers: [Int64] = []
        for _ in 0..<count {
            guard let number = number() else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    mutating func list() -> [Int64]? {
        guard let count = number(), count >= 0, count <= rest.count else { return nil }
        return numbers(Int(count))
    }

    mutating func name() -> [UInt8]? {
        guard let count = number(), count >= 0, count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(Int(count)) }
        return Array(rest.prefix(Int(count)))
    }
}
