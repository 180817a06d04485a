/// The encoding of records: a byte for the kind, then numbers of seven bits a byte, low ones first, with the sign in
/// the lowest bit (LEB128 and zigzag, as in Protocol Buffers). Names and lists come after their length.
extension StateRecord {
    private enum Kind: Int64 { case replica = 1, counter, flight }
    /// `.window` is what earlier versions wrote: see `earlierWindow`.
    private enum UsageKind: Int64 {
        case window = 1
        case bucket, windowWithoutShare, windowWithShare, logWithoutShare, logWithShare
    }

    package func append(to bytes: inout [UInt8]) {
        var writer = StateWriter(bytes: bytes)
        bytes = []
        switch self {
        case .replica(let state):
            writer.put(Kind.replica.rawValue)
            writer.put(name: Array(state.keyPrefix.utf8))
            writer.put(state.lastSequence, state.acknowledgedSequence, state.highestStoreMs, state.aheadMs)
            writer.put(Int64(state.others.count))
            for other in state.others { writer.put(Int64(bitPattern: other)) }
        case .counter(let state):
            writer.put(Kind.counter.rawValue)
            writer.put(name: state.baseKey)
            writer.put(state.startMs, state.countsUntilMs, state.isSeen ? 1 : 0, state.needsRestore ? 1 : 0)
            Self.put(state.usage, to: &writer)
        case .flight(let state):
            writer.put(Kind.flight.rawValue)
            writer.put(state.sequence)
            for items in [state.writeBacks, state.unconfirmed] {
                writer.put(Int64(items.count))
                for item in items {
                    writer.put(name: item.baseKey)
                    writer.put(item.isRestore ? 1 : 0, item.amount, item.windowMs)
                }
            }
        }
        bytes = writer.bytes
    }

    private static func put(_ usage: CounterState.Usage, to writer: inout StateWriter) {
        switch usage {
        case .window(let window):
            let kind = window.share == nil ? UsageKind.windowWithoutShare : .windowWithShare
            writer.put(kind.rawValue)
            writer.put(window.sharedUsed, window.sharedPrevious, window.own, window.ownPrevious)
            if let share = window.share {
                writer.put(share.base, share.taken, share.previousBase, share.previousTaken)
            }
        case .bucket(let bucket):
            writer.put(UsageKind.bucket.rawValue)
            writer.put(bucket.sharedLevel, bucket.sharedMs, bucket.localLevel, bucket.ownLevel, bucket.confirmedLevel)
            writer.put(bucket.localMs, bucket.replicaCount, bucket.localCapacity)
            writer.put(bucket.max, bucket.burst, bucket.lengthMs)
        case .log(let log):
            writer.put((log.base == nil ? UsageKind.logWithoutShare : .logWithShare).rawValue)
            for steps in [log.shared, log.own] + (log.base.map { [$0, log.taken] } ?? []) {
                writer.put(Int64(steps.count) * 2)
                for step in steps { writer.put(step.ms, step.units) }
            }
        }
    }

    /// Decodes consecutive records; nil unless the bytes are exactly what `append` writes. `isPlausible` judges the
    /// numbers: one implausible record does not affect the others.
    package static func all(in bytes: ArraySlice<UInt8>) -> [StateRecord]? {
        var reader = StateReader(rest: bytes)
        var records: [StateRecord] = []
        while !reader.rest.isEmpty {
            guard let record = StateRecord(&reader) else { return nil }
            records.append(record)
        }
        return records
    }

    private init?(_ reader: inout StateReader) {
        guard let kind = reader.number().flatMap({ Kind(rawValue: $0) }) else { return nil }
        switch kind {
        case .replica:
            guard let prefix = reader.name(), let numbers = reader.numbers(4), let others = reader.list() else {
                return nil
            }
            self = .replica(
                ReplicaState(
                    keyPrefix: String(decoding: prefix, as: UTF8.self), lastSequence: numbers[0],
                    acknowledgedSequence: numbers[1], highestStoreMs: numbers[2], aheadMs: numbers[3],
                    others: others.map { UInt64(bitPattern: $0) }))
        case .counter:
            guard let baseKey = reader.name(), let numbers = reader.numbers(4), let usage = Self.usage(&reader) else {
                return nil
            }
            self = .counter(
                CounterState(
                    baseKey: baseKey, startMs: numbers[0], countsUntilMs: numbers[1], isSeen: numbers[2] == 1,
                    needsRestore: numbers[3] == 1, usage: usage))
        case .flight:
            guard let sequence = reader.number(), let writeBacks = Self.items(&reader),
                let unconfirmed = Self.items(&reader)
            else { return nil }
            self = .flight(FlightState(sequence: sequence, writeBacks: writeBacks, unconfirmed: unconfirmed))
        }
    }

    private static func usage(_ reader: inout StateReader) -> CounterState.Usage? {
        switch reader.number().flatMap({ UsageKind(rawValue: $0) }) {
        case .window: return earlierWindow(&reader)
        case .windowWithoutShare: return window(&reader, hasShare: false)
        case .windowWithShare: return window(&reader, hasShare: true)
        case .logWithoutShare: return log(&reader, hasShare: false)
        case .logWithShare: return log(&reader, hasShare: true)
        case .bucket:
            guard let numbers = reader.numbers(11) else { return nil }
            return .bucket(
                CounterState.BucketState(
                    sharedLevel: numbers[0], sharedMs: numbers[1], localLevel: numbers[2], ownLevel: numbers[3],
                    confirmedLevel: numbers[4], localMs: numbers[5], replicaCount: numbers[6],
                    localCapacity: numbers[7], max: numbers[8], burst: numbers[9], lengthMs: numbers[10]))
        case nil: return nil
        }
    }

    private static func log(_ reader: inout StateReader, hasShare: Bool) -> CounterState.Usage? {
        var lists: [[UsageLog.Step]] = []
        for _ in 0..<(hasShare ? 4 : 2) {
            guard let numbers = reader.list(), numbers.count.isMultiple(of: 2) else { return nil }
            lists.append(
                stride(from: 0, to: numbers.count, by: 2).map {
                    UsageLog.Step(ms: numbers[$0], units: numbers[$0 + 1])
                })
        }
        return .log(
            CounterState.LogState(
                shared: lists[0], own: lists[1], base: hasShare ? lists[2] : nil, taken: hasShare ? lists[3] : []))
    }

    private static func window(_ reader: inout StateReader, hasShare: Bool) -> CounterState.Usage? {
        guard let numbers = reader.numbers(hasShare ? 8 : 4) else { return nil }
        let share =
            hasShare
            ? CounterState.ShareState(
                base: numbers[4], taken: numbers[5], previousBase: numbers[6], previousTaken: numbers[7]) : nil
        return .window(
            CounterState.WindowState(
                sharedUsed: numbers[0], sharedPrevious: numbers[1], own: numbers[2], ownPrevious: numbers[3],
                share: share))
    }

    /// The format before shares were recorded. Its last number is the part of local admissions that turned out to be
    /// charged in the store after its last report.
    private static func earlierWindow(_ reader: inout StateReader) -> CounterState.Usage? {
        guard let numbers = reader.numbers(5) else { return nil }
        let (base, own) = (numbers[0], numbers[2])
        let confirmed = numbers[4]
        guard [base, own, confirmed].allSatisfy({ 0...Quota.maxExact ~= $0 }) else {
            // An invalid value if the sum overflows: `isPlausible` then rejects the record.
            return .window(CounterState.WindowState(sharedUsed: -1, sharedPrevious: 0, own: 0, ownPrevious: 0))
        }
        return .window(
            CounterState.WindowState(
                sharedUsed: min(Quota.maxExact, base + confirmed), sharedPrevious: numbers[1], own: own,
                ownPrevious: numbers[3],
                share: CounterState.ShareState(
                    base: base, taken: min(Quota.maxExact, own + confirmed), previousBase: numbers[1],
                    previousTaken: numbers[3])))
    }

    private static func items(_ reader: inout StateReader) -> [FlightState.Item]? {
        guard let count = reader.number(), count >= 0, count <= reader.rest.count else { return nil }
        var items: [FlightState.Item] = []
        for _ in 0..<count {
            guard let baseKey = reader.name(), let numbers = reader.numbers(3) else { return nil }
            items.append(
                FlightState.Item(baseKey: baseKey, isRestore: numbers[0] == 1, amount: numbers[1], windowMs: numbers[2])
            )
        }
        return items
    }
}

private struct StateWriter {
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

private struct StateReader {
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
