package import SluiceEngine

/// The expected form of a batch's answer, kept while the batch is in flight.
package struct ExpectedEntry: Sendable, Equatable {
    /// How many checks wanted to pass; 0 for a peek, and for a settlement.
    package var count: Int64
    /// How many numbers report the usage of its charges.
    package var usageCount: Int
    /// Whether the answer may be a replay, because it was charged before.
    package var hasIdempotencyKey: Bool
    /// Whether it asks for the replicas' heartbeats.
    package var isHeartbeat: Bool
    /// Whether it is a settlement.
    package var isSettlement: Bool
    /// Whether it asks for the overrides.
    package var isOverrides: Bool

    package init(_ entry: Batch.Entry, of batch: borrowing Batch) {
        count = entry.count
        usageCount = 0
        for index in entry.firstCharge..<entry.firstCharge + entry.chargeCount {
            usageCount += batch.charges[index].usageCount
        }
        hasIdempotencyKey = false
        isHeartbeat = false
        isSettlement = false
        isOverrides = false
        guard entry.operation >= 0 else { return }
        switch batch.operations[entry.operation] {
        case .check(_, let idempotency), .charge(let idempotency), .refund(let idempotency):
            hasIdempotencyKey = idempotency != nil
        case .heartbeat: isHeartbeat = true
        case .restore, .clear: count = 1
        case .settle: isSettlement = true
        case .overrides: isOverrides = true
        case .remember, .forget: break
        }
    }
}

/// The answer is not one that the script gives. It is unknown whether the batch ran, and the connection cannot be
/// trusted.
package struct BatchReplyError: Error, Sendable, Equatable {
    package var reason: String
}

/// Decodes a script's answer and validates every part of it.
package struct BatchReplyDecoder {
    /// Kept for its storage.
    private var reply = BatchReply()
    /// The largest integer that a script's arithmetic holds exactly.
    private static let maxUsage: Int64 = 1 << 53

    package init() {}

    /// - Parameters:
    ///   - flat: a reply that is not an error.
    ///   - script: the one that gave it.
    ///   - sequence: the batch's.
    ///   - entries: those of the batch, in order.
    package mutating func decode(
        _ flat: FlatReply, of script: BatchScript, sequence: Int64, expecting entries: [ExpectedEntry]
    ) throws(BatchReplyError) -> BatchReply {
        let items = flat.items
        guard let array = items.first, array.kind == .array, array.value >= 0 else {
            throw BatchReplyError(reason: "the answer is no list")
        }
        // Only the time in place of the first key: the batch ran, and before it the one before.
        if script == .charge, items.count > 1, items[1].kind == .integer,
            BatchReply.Status(rawValue: items[1].value) == nil
        {
            begin(.ran, timeMs: try Self.storeClock(items[1].value), number: sequence - 1)
            return try readEntries(entries, of: flat, from: 2, isInPlace: true)
        }
        // With answers in place of keys, the head replaces the first key.
        let isInPlace = script == .charge && items.count > 1 && items[1].kind == .array && items[1].value == 3
        let head = isInPlace ? 2 : 1
        guard items.count >= head + 3, items[head..<head + 3].allSatisfy({ $0.kind == .integer }),
            let status = BatchReply.Status(rawValue: items[head].value),
            0...Self.maxUsage ~= items[head + 2].value, isInPlace == (script == .charge && status == .ran)
        else { throw BatchReplyError(reason: "the answer does not begin with a status, a time and a sequence") }
        begin(status, timeMs: try Self.storeClock(items[head + 1].value), number: items[head + 2].value)
        return try readEntries(entries, of: flat, from: head + 3, isInPlace: isInPlace)
    }

    /// A clock outside these years cannot be used for windows.
    private static func storeClock(_ value: Int64) throws(BatchReplyError) -> Int64 {
        guard 1...EngineBounds.latestMs ~= value else {
            throw BatchReplyError(reason: "the store's clock is not between the years 1970 and 9999")
        }
        return value
    }

    /// - Parameter number: the third of the head, see `prelude.lua`.
    private mutating func begin(_ status: BatchReply.Status, timeMs: Int64, number: Int64) {
        reply.results.removeAll(keepingCapacity: true)
        reply.words.removeAll(keepingCapacity: true)
        reply.lowered.removeAll(keepingCapacity: true)
        reply.status = status
        reply.timeMs = timeMs
        reply.previousSequence = status == .forgot ? 0 : number
        reply.forgotSinceMs = status == .forgot ? number : 0
    }

    /// What follows the head.
    private mutating func readEntries(
        _ entries: [ExpectedEntry], of flat: FlatReply, from start: Int, isInPlace: Bool
    ) throws(BatchReplyError) -> BatchReply {
        let items = flat.items
        var at = start
        var places = isInPlace ? 1 : items.count - 1
        if reply.status == .forgot, at < items.count, items[at].kind == .string {
            reply.words.append(flat.words(of: items[at]))
            at += 1
        }
        if reply.status == .ran {
            reply.results.reserveCapacity(items.count * 2)
            for entry in entries {
                if isInPlace {
                    try readPlaces(of: entry, of: flat, at: &at)
                    places += entry.usageCount
                } else {
                    try read(entry, of: flat, at: &at)
                }
            }
            while !isInPlace, at < items.count, items[at].kind == .string {
                reply.lowered.append(Array(flat.bytes(of: items[at])))
                at += 1
            }
        }
        guard at == items.count, items[0].value == places else {
            throw BatchReplyError(reason: "the answer goes on after the last entry")
        }
        return reply
    }

    /// The values with which `charge.lua` replaced an entry's keys.
    @inline(__always)
    private mutating func readPlaces(
        of entry: ExpectedEntry, of flat: FlatReply, at: inout Int
    ) throws(BatchReplyError) {
        guard at < flat.items.count else { throw BatchReplyError(reason: "the answer has too few entries") }
        let first = flat.items[at]
        let all = max(entry.count, 1)
        switch first.kind {
        case .integer:
            reply.results.append(all)
            try readTallies(entry.usageCount, of: flat, at: &at)
        case .array:
            guard first.value == 2, at + 1 < flat.items.count, flat.items[at + 1].kind == .integer,
                0..<all ~= flat.items[at + 1].value
            else { throw BatchReplyError(reason: "an entry admits other than 0 to all of its checks") }
            reply.results.append(flat.items[at + 1].value)
            at += 2
            try readTallies(entry.usageCount, of: flat, at: &at)
        case .null, .string:
            reply.results.append(first.kind == .null ? BatchReply.windowIsOver : BatchReply.fault)
            if first.kind == .string { reply.words.append(flat.words(of: first)) }
            let end = at + entry.usageCount
            guard end <= flat.items.count, flat.items[at + 1..<end].allSatisfy({ $0.kind == .null }) else {
                throw BatchReplyError(reason: "an entry that was not decided has usages")
            }
            at = end
        case .status, .error:
            throw BatchReplyError(reason: "an entry has no number")
        }
    }

    private mutating func read(
        _ entry: ExpectedEntry, of flat: FlatReply, at: inout Int
    ) throws(BatchReplyError) {
        guard at < flat.items.count else { throw BatchReplyError(reason: "the answer has too few entries") }
        let outcome = flat.items[at]
        at += 1
        if outcome.kind == .string {
            reply.results.append(BatchReply.fault)
            reply.words.append(flat.words(of: outcome))
            return
        }
        guard outcome.kind == .integer else { throw BatchReplyError(reason: "an entry has no number") }
        switch outcome.value {
        case BatchReply.windowIsOver where entry.usageCount > 0:
            reply.results.append(BatchReply.windowIsOver)
        case BatchReply.tooMuch where entry.isSettlement:
            reply.results.append(BatchReply.tooMuch)
        case BatchReply.passedOver where entry.isSettlement:
            guard at < flat.items.count, flat.items[at].kind == .string else {
                throw BatchReplyError(reason: "an end of a reservation does not say what it passed over")
            }
            reply.results.append(BatchReply.passedOver)
            reply.words.append(flat.words(of: flat.items[at]))
            at += 1
        case BatchReply.otherArguments where entry.hasIdempotencyKey:
            reply.results.append(BatchReply.otherArguments)
        case BatchReply.replayed where entry.hasIdempotencyKey:
            try readReplay(of: entry, of: flat, at: &at)
        case 1 where entry.isHeartbeat:
            reply.results.append(1)
            try readReplicas(of: flat, at: &at)
        case 0...2 where entry.isOverrides:
            guard at + 1 < flat.items.count, flat.items[at].kind == .integer, flat.items[at].value >= 0,
                flat.items[at + 1].kind == .string
            else { throw BatchReplyError(reason: "the overrides have no version and no list") }
            reply.results += [outcome.value, flat.items[at].value]
            reply.words.append(String(decoding: flat.bytes(of: flat.items[at + 1]), as: UTF8.self))
            at += 2
        case 0...max(entry.count, 1) where !entry.isHeartbeat && !entry.isOverrides:
            reply.results.append(outcome.value)
            try readTallies(entry.usageCount, of: flat, at: &at)
        default:
            throw BatchReplyError(reason: "an entry admits other than 0 to all of its checks")
        }
    }

    /// When it was charged, the reservation, how many numbers follow, and the numbers.
    private mutating func readReplay(
        of entry: ExpectedEntry, of flat: FlatReply, at: inout Int
    ) throws(BatchReplyError) {
        guard at + 3 <= flat.items.count else { throw BatchReplyError(reason: "a replay is cut off") }
        let (time, reservation, count) = (flat.items[at], flat.items[at + 1], flat.items[at + 2])
        at += 3
        guard time.kind == .integer, reservation.kind == .string, count.kind == .integer else {
            throw BatchReplyError(reason: "a replay does not begin with a time, a reservation and a number")
        }
        guard Self.isReservation(flat.bytes(of: reservation)) else {
            throw BatchReplyError(reason: "a replay names what is no reservation")
        }
        guard count.value == 0 || count.value == Int64(entry.usageCount) else {
            throw BatchReplyError(reason: "a replay has other than none or all of its usages")
        }
        reply.results.append(BatchReply.replayed)
        reply.results.append(min(max(time.value, -EngineBounds.latestMs), EngineBounds.latestMs))
        reply.results.append(count.value)
        reply.words.append(flat.words(of: reservation))
        try readTallies(Int(count.value), of: flat, at: &at)
    }

    private mutating func readTallies(
        _ count: Int, of flat: FlatReply, at: inout Int
    ) throws(BatchReplyError) {
        guard at + count <= flat.items.count else {
            throw BatchReplyError(reason: "an entry has too few usages")
        }
        for item in flat.items[at..<at + count] {
            guard item.kind == .integer else { throw BatchReplyError(reason: "a usage is not a number") }
            // Another client may have written any value to the key: no reason to close the connection.
            reply.results.append(min(max(item.value, 0), Self.maxUsage))
        }
        at += count
    }

    /// One string of a replica's number in hexadecimal and its times, repeated; then how many members of the list name
    /// no replica. Any client may have written to that list, so invalid parts are skipped.
    private mutating func readReplicas(of flat: FlatReply, at: inout Int) throws(BatchReplyError) {
        guard at + 1 < flat.items.count, flat.items[at].kind == .string, flat.items[at + 1].kind == .integer else {
            throw BatchReplyError(reason: "a sign of life is not answered with a list of replicas")
        }
        let parts = flat.bytes(of: flat.items[at]).split(separator: UInt8(ascii: " "))
        let unnamed = flat.items[at + 1].value
        at += 2
        let first = reply.results.count
        reply.results.append(0)
        var skipped: Int64 = 0
        for index in stride(from: 0, to: parts.count - 2, by: 3) {
            guard reply.results[first] < Int64(RedisBounds.maxListedReplicas), let replica = Self.replica(parts[index]),
                let seenMs = Self.time(parts[index + 1]), let writtenBackMs = Self.time(parts[index + 2])
            else {
                skipped += 1
                continue
            }
            reply.results[first] += 1
            reply.results.append(Int64(bitPattern: replica))
            reply.results.append(seenMs)
            reply.results.append(writtenBackMs)
        }
        reply.results.append(skipped + min(max(unnamed, 0), Int64(RedisBounds.maxListedReplicas)))
    }

    /// Accepts only the form that `ReservationID.hexadecimal` writes.
    private static func replica(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        guard bytes.count == 16, bytes.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
            return nil
        }
        return UInt64(String(decoding: bytes, as: UTF8.self), radix: 16)
    }

    /// Accepts digits only: the script writes no sign, space or fraction.
    private static func time(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard bytes.count <= 19, bytes.allSatisfy({ (48...57).contains($0) }),
            let timeMs = Int64(String(decoding: bytes, as: UTF8.self)), timeMs <= EngineBounds.latestMs
        else { return nil }
        return timeMs
    }

    /// Whether it is empty or the id of a reservation.
    private static func isReservation(_ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.isEmpty
            || bytes.count == RedisBounds.reservationBytes
                && bytes.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }
}
