import SluiceEngine
import SluicePolicy

/// How the model decides a check.
extension ModelStore {
    /// How long keys outlive what they count, ms: a clock that steps back finds them.
    static let expirySlackMs: Int64 = 60_000
    /// How long the refusals of a token bucket and of slots are kept, ms.
    private static let refusalsTimeToLiveMs: Int64 = 86_400_000
    static let memoTimeToLiveMs: Int64 = 600_000
    /// How long a reservation can be settled after what it charged has stopped to count, ms.
    static let settleSlackMs: Int64 = 600_000
    /// A reservation's id is the end of its record's key.
    private static let reservationBytes = 32

    /// A counter as it was found.
    struct Reading {
        var usage: Usage
        /// Of a token bucket: when its level was last true, ms since the epoch.
        var lastMs: Int64 = 0
        var credited: Int64 = 0
        var slots: [String: Int64] = [:]
        var log = UsageLog()
        /// Of a log: by which time it is read, and when a check of now is charged.
        var logNowMs: Int64 = 0
        var chargedMs: Int64 = 0
    }

    mutating func check(
        _ entry: Batch.Entry, _ keys: EntryKeys, of batch: Batch, nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        var operation = (isReserved: false, idempotency: Batch.Idempotency?.none)
        if entry.operation >= 0, case .check(let isReserved, let idempotency) = batch.operations[entry.operation] {
            precondition(entry.count <= 1, "checks with a reservation or an id are never joined")
            operation = (isReserved, idempotency)
        }
        if let idempotency = operation.idempotency,
            try replay(idempotency, at: keys.operation[keys.operation.count - 1], into: &reply)
        {
            return
        }
        let charges = Array(batch.charges[entry.firstCharge..<entry.firstCharge + entry.chargeCount])
        guard charges.allSatisfy({ $0.quota.windowStartMs <= nowMs && nowMs < $0.quota.windowEndMs }) else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var readings: [Reading] = []
        for (index, charge) in charges.enumerated() {
            readings.append(try read(charge, keys.charges[index], isPeek: entry.count == 0, nowMs: nowMs))
        }
        if entry.count == 0 {
            for (index, charge) in charges.enumerated() {
                retain(charge, keys.charges[index], readings[index], nowMs: nowMs)
            }
        }
        let rooms = charges.indices.map {
            charges[$0].quota.room(cost: entry.cost, readings[$0].usage, nowMs: nowMs)
        }
        let admitted = charges.indices.reduce(max(1, entry.count)) {
            charges[$1].isShadow ? $0 : min($0, rooms[$1])
        }
        if entry.count > 0 {
            let reservation = operation.isReserved ? keys.operation[0] : nil
            var record = Record(
                cost: entry.cost, charges: [],
                idempotencyKey: operation.idempotency.map { _ in keys.operation[keys.operation.count - 1] })
            var recordUntilMs = nowMs + 1
            for (index, charge) in charges.enumerated() {
                // An enforced limit has room for all that are admitted.
                let count = charge.isShadow ? min(admitted, rooms[index]) : admitted
                apply(
                    charge, keys.charges[index], cost: entry.cost, count: count, refused: admitted - count,
                    to: &readings[index], reservation: reservation, nowMs: nowMs)
                if count > 0 {
                    record.charges.append(
                        Record.Charge(
                            key: keys.charges[index][0], quota: charge.quota, levelAfter: readings[index].usage.used,
                            creditedBefore: readings[index].credited,
                            chargedMs: charge.quota.algorithm == .slidingLog ? readings[index].chargedMs : nowMs))
                }
                // Of all charges: a late settlement of what a shadow limit did not count asks about nothing any more.
                var usage = readings[index].usage
                usage.lastExpiryMs =
                    charge.quota.algorithm == .slidingLog
                    ? readings[index].chargedMs + charge.quota.lengthMs : nowMs + charge.quota.holdMs
                recordUntilMs = max(
                    recordUntilMs,
                    Self.keptUntilMs(charge.quota, usage, lastMs: readings[index].lastMs, nowMs: nowMs)
                        + (charge.quota.countsCalls ? 0 : Self.settleSlackMs))
            }
            if let reservation, admitted > 0 {
                items[reservation] = Item(value: .record(record), expiresAtMs: recordUntilMs)
            }
        }
        let numbers = charges.indices.flatMap { Self.numbers(readings[$0], of: charges[$0], cost: entry.cost) }
        reply.results.append(admitted)
        reply.results += numbers
        if let idempotency = operation.idempotency, entry.count > 0, admitted > 0 {
            items[keys.operation[keys.operation.count - 1]] = Item(
                value: .idempotency(
                    StoredAnswer(
                        idempotency: idempotency, admittedMs: nowMs,
                        reservation: operation.isReserved ? Self.reservation(keys.operation[0]) : "", numbers: numbers)),
                expiresAtMs: clockMs + Self.memoTimeToLiveMs)
        }
    }

    /// Raises a counter to what a replica saw before the store forgot.
    mutating func restore(
        _ entry: Batch.Entry, _ keys: EntryKeys, of batch: Batch, nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        let charge = batch.charges[entry.firstCharge]
        guard charge.quota.windowStartMs <= nowMs && nowMs < charge.quota.windowEndMs else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var reading = try read(charge, keys.charges[0], isPeek: false, nowMs: nowMs)
        if charge.quota.algorithm == .slidingLog {
            if reading.chargedMs > reading.logNowMs - charge.quota.lengthMs {
                reading.log.raise(to: entry.cost, atMs: reading.chargedMs)
                writeLog(reading.log, at: keys.charges[0][0], lengthMs: charge.quota.lengthMs)
            }
        } else {
            let more = max(0, entry.cost - reading.usage.used)
            apply(
                charge, keys.charges[0], cost: more, count: more > 0 ? 1 : 0, refused: 0, to: &reading,
                reservation: nil, nowMs: nowMs)
        }
        reply.results.append(1)
        reply.results += Self.numbers(reading, of: charge, cost: entry.cost)
    }

    static func reservation(_ recordKey: [UInt8]) -> String {
        String(decoding: recordKey.suffix(reservationBytes), as: UTF8.self)
    }

    /// False if something is remembered there already.
    mutating func remember(_ answer: Batch.Answer, at key: [UInt8]) -> Bool {
        guard item(key) == nil else { return false }
        items[key] = Item(
            value: .idempotency(
                StoredAnswer(
                    idempotency: answer.idempotency, admittedMs: answer.admittedMs, isLocal: answer.isLocal,
                    reservation: answer.reservation, numbers: answer.numbers)), expiresAtMs: clockMs + answer.lifeMs)
        return true
    }

    /// False if what is remembered there is not of that reservation.
    mutating func forget(_ reservation: String, at key: [UInt8]) -> Bool {
        guard case .idempotency(let stored) = value(of: key), stored.reservation == reservation else { return false }
        items[key] = nil
        return true
    }

    /// Answers from what is remembered; false if nothing is.
    func replay(_ idempotency: Batch.Idempotency, at key: [UInt8], into reply: inout BatchReply)
        throws(KeyFault) -> Bool
    {
        switch value(of: key) {
        case nil:
            return false
        case .idempotency(let stored):
            if stored.idempotency.argumentsHash != idempotency.argumentsHash {
                reply.results.append(BatchReply.otherArguments)
                return true
            }
            let numbers = stored.idempotency.countersHash == idempotency.countersHash ? stored.numbers : []
            let admittedMs = stored.isLocal ? -stored.admittedMs : stored.admittedMs
            reply.results += [BatchReply.replayed, admittedMs, Int64(numbers.count)] + numbers
            reply.words.append(stored.reservation)
            return true
        case .slots, .foreign:
            throw .wrongType
        case .integer, .bucket, .log, .record, .text:
            throw .notANumber
        }
    }

    // MARK: - Counters

    mutating func read(
        _ charge: Batch.Charge, _ keys: [[UInt8]], isPeek: Bool, nowMs: Int64
    ) throws(KeyFault) -> Reading {
        var reading: Reading
        switch charge.quota.algorithm {
        case .fixedWindow:
            reading = Reading(usage: Usage(used: try integer(keys[0])))
        case .slidingWindow:
            reading = Reading(usage: Usage(used: try integer(keys[0])))
            reading.usage.previous = try integer(keys[1])
        case .tokenBucket:
            let (level, lastMs, credited) = try storedBucket(keys[0]) ?? (0, nowMs, 0)
            let now = leaked(level, lastMs, charge.quota, of: keys[0], nowMs: nowMs)
            reading = Reading(usage: Usage(used: now.level), lastMs: now.lastMs, credited: credited)
        case .concurrency:
            let slots = try storedSlots(keys[0]).filter { $0.value > nowMs }
            if !isPeek { writeSlots(slots, at: keys[0]) }
            reading = Reading(usage: Self.usage(of: slots), slots: slots)
        case .slidingLog:
            let found = try log(keys[0], lengthMs: charge.quota.lengthMs, nowMs: nowMs)
            reading = Reading(usage: Usage(used: found.log.total), log: found.log, logNowMs: found.logNowMs)
            reading.chargedMs = max(found.logNowMs, found.log.newestMs)
            if charge.quota.holdMs > 0 { reading.chargedMs = min(reading.chargedMs, charge.quota.holdMs) }
        }
        if charge.isShadow { reading.usage.denials = try integer(keys[keys.count - 1]) }
        return reading
    }

    /// Charges `count` checks, and reports for a shadow limit that it had no room for `refused` more.
    mutating func apply(
        _ charge: Batch.Charge, _ keys: [[UInt8]], cost: Int64, count: Int64, refused: Int64,
        to reading: inout Reading, reservation: [UInt8]?, nowMs: Int64
    ) {
        let quota = charge.quota
        if count > 0, quota.algorithm == .concurrency {
            guard let reservation else { preconditionFailure("slots are taken by reservations alone") }
            let denials = reading.usage.denials
            reading.slots[Self.reservation(reservation)] = nowMs + quota.holdMs
            reading.usage = Self.usage(of: reading.slots)
            reading.usage.denials = denials
        } else if quota.algorithm == .slidingLog {
            if reading.chargedMs > reading.logNowMs - quota.lengthMs {
                reading.log.add(quota.charge(cost: cost, count: count), atMs: reading.chargedMs)
            }
            reading.usage.used = reading.log.total
            reading.usage.lastExpiryMs = reading.log.newestMs + quota.lengthMs
        } else {
            reading.usage.used += quota.charge(cost: cost, count: count)
        }
        let untilMs =
            Self.keptUntilMs(quota, reading.usage, lastMs: reading.lastMs, nowMs: nowMs) + Self.expirySlackMs
        if count > 0 {
            switch quota.algorithm {
            case .fixedWindow, .slidingWindow:
                write(.integer(reading.usage.used), at: keys[0], untilMs: untilMs)
            case .tokenBucket:
                writeBucket(
                    level: reading.usage.used, lastMs: reading.lastMs, credited: reading.credited, at: keys[0],
                    untilMs: untilMs)
            case .concurrency:
                items[keys[0]] = Item(value: .slots(reading.slots), expiresAtMs: untilMs)
            case .slidingLog:
                let isOver = reading.chargedMs <= reading.logNowMs - quota.lengthMs
                if !isOver { writeLog(reading.log, at: keys[0], lengthMs: quota.lengthMs) }
            }
        }
        if count > 0 {
            if charge.verifiesTimeToLive { repair(keys[0], untilMs: untilMs) }
        } else {
            retain(charge, keys, reading, nowMs: nowMs)
        }
        guard charge.isShadow else { return }
        let isWindow = quota.algorithm == .fixedWindow || quota.algorithm == .slidingWindow
        let denialsUntilMs = isWindow ? untilMs : nowMs + Self.refusalsTimeToLiveMs
        reading.usage.denials += refused
        if refused > 0 { write(.integer(reading.usage.denials), at: keys[keys.count - 1], untilMs: denialsUntilMs) }
        if charge.verifiesTimeToLive { repair(keys[keys.count - 1], untilMs: denialsUntilMs) }
    }

    /// Writes a key that keeps the time to live that it was given when it was new; after a usage of 0 it is new.
    mutating func write(_ value: Value, at key: [UInt8], untilMs: Int64) {
        if item(key) == nil || item(key)?.value == .integer(0) {
            items[key] = Item(value: value, expiresAtMs: untilMs)
        } else {
            items[key]?.value = value
        }
    }

    mutating func repair(_ key: [UInt8], untilMs: Int64) {
        if let item = item(key), item.expiresAtMs == nil { items[key]?.expiresAtMs = untilMs }
    }

    /// Sees to it that what was looked at and not charged lives for as long as it counts.
    mutating func retain(_ charge: Batch.Charge, _ keys: [[UInt8]], _ reading: Reading, nowMs: Int64) {
        if charge.quota.algorithm == .slidingLog {
            let untilMs = reading.log.newestMs + charge.quota.lengthMs + Self.expirySlackMs
            if reading.usage.used > 0 { repair(keys[0], untilMs: untilMs) }
            return
        }
        let neededMs = Self.neededUntilMs(charge.quota, reading.usage, lastMs: reading.lastMs, nowMs: nowMs)
        let untilMs = neededMs + Self.expirySlackMs
        if charge.quota.algorithm == .tokenBucket, reading.usage.used > 0, let expiresAtMs = expiresAtMs(of: keys[0]) {
            items[keys[0]]?.expiresAtMs = max(expiresAtMs, untilMs)
        }
        if reading.usage.used > 0 || charge.quota.algorithm == .tokenBucket { repair(keys[0], untilMs: untilMs) }
        if charge.quota.algorithm == .slidingWindow, reading.usage.previous > 0 {
            repair(keys[1], untilMs: charge.quota.windowEndMs + Self.expirySlackMs)
        }
    }

    /// Writes a bucket, which lives for as long as it did, or longer.
    mutating func writeBucket(level: Int64, lastMs: Int64, credited: Int64, at key: [UInt8], untilMs: Int64) {
        let expiresAtMs = max(untilMs, expiresAtMs(of: key) ?? 0)
        items[key] = Item(
            value: .bucket(level: level, lastMs: lastMs, credited: credited), expiresAtMs: expiresAtMs)
    }

    /// Until when what was counted counts by these terms, ms since the epoch.
    ///
    /// - Parameter lastMs: of a token bucket: until then it does not leak.
    static func neededUntilMs(_ quota: Quota, _ usage: Usage, lastMs: Int64, nowMs: Int64) -> Int64 {
        switch quota.algorithm {
        case .fixedWindow: quota.windowEndMs
        case .slidingWindow: quota.nextEndMs
        case .tokenBucket:
            min(
                Quota.maxExact,
                max(nowMs, lastMs) + (quota.max == 0 ? quota.lengthMs : quota.resetMs(usage, nowMs: nowMs)))
        case .concurrency, .slidingLog: usage.lastExpiryMs
        }
    }

    /// Until when what was just charged is kept, ms since the epoch: by a lower maximum, which a replica may come with
    /// later, a bucket leaks more slowly.
    static func keptUntilMs(_ quota: Quota, _ usage: Usage, lastMs: Int64, nowMs: Int64) -> Int64 {
        let neededMs = neededUntilMs(quota, usage, lastMs: lastMs, nowMs: nowMs)
        return quota.algorithm == .tokenBucket ? max(neededMs, min(Quota.maxExact, nowMs + quota.lengthMs)) : neededMs
    }

    // MARK: - Values

    /// nil if there is none.
    func storedInteger(_ key: [UInt8]) throws(KeyFault) -> Int64? {
        switch value(of: key) {
        case nil: return nil
        case .integer(let number) where (0...Quota.maxExact).contains(number): return number
        case .integer, .bucket, .log, .record, .idempotency, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
    }

    func integer(_ key: [UInt8]) throws(KeyFault) -> Int64 { try storedInteger(key) ?? 0 }

    func storedBucket(_ key: [UInt8]) throws(KeyFault) -> (level: Int64, lastMs: Int64, credited: Int64)? {
        switch value(of: key) {
        case nil: return nil
        case .bucket(let level, let lastMs, let credited) where max(level, lastMs, credited) <= Quota.maxExact:
            return (level, lastMs, credited)
        case .bucket, .log, .integer, .record, .idempotency, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
    }

    private func storedSlots(_ key: [UInt8]) throws(KeyFault) -> [String: Int64] {
        switch value(of: key) {
        case nil: return [:]
        case .slots(let slots):
            guard (slots.values.max() ?? 0) <= Quota.maxExact else { throw .notANumber }
            return slots
        case .integer, .bucket, .log, .record, .idempotency, .text, .foreign: throw .wrongType
        }
    }

    /// Without slots there is no key.
    mutating func writeSlots(_ slots: [String: Int64], at key: [UInt8]) {
        if slots.isEmpty { items[key] = nil } else { items[key]?.value = .slots(slots) }
    }

    private static func usage(of slots: [String: Int64]) -> Usage {
        var usage = Usage(used: Int64(slots.count))
        usage.firstExpiryMs = slots.values.min() ?? 0
        usage.lastExpiryMs = slots.values.max() ?? 0
        return usage
    }

    /// In the order that `Batch.Charge.usageCount` says.
    static func numbers(_ reading: Reading, of charge: Batch.Charge, cost: Int64) -> [Int64] {
        let usage = reading.usage
        let numbers: [Int64] =
            switch charge.quota.algorithm {
            case .fixedWindow, .tokenBucket: [usage.used]
            case .slidingWindow: [usage.used, usage.previous]
            case .concurrency: [usage.used, usage.firstExpiryMs, usage.lastExpiryMs]
            case .slidingLog: numbers(of: reading.log, charge.quota, cost: cost, nowMs: reading.logNowMs)
            }
        return charge.isShadow ? numbers + [usage.denials] : numbers
    }

    /// As `Batch.logUsageCount` says.
    private static func numbers(of log: UsageLog, _ quota: Quota, cost: Int64, nowMs: Int64) -> [Int64] {
        let cost = quota.units(ofCost: cost)
        let missing = log.total + cost - quota.max
        let freeMs = log.freeMs(missing, nowMs: nowMs, lengthMs: quota.lengthMs) ?? 0
        let (steps, exact) = log.summary()
        let stepNumbers = steps.flatMap { [$0.ms, $0.units] }
        return [
            log.total, missing > 0 && cost <= quota.max ? freeMs : 0,
            log.isEmpty ? 0 : log.newestMs + quota.lengthMs, Int64(exact),
        ] + stepNumbers + Array(repeating: 0, count: 2 * (Batch.maxLogSteps - steps.count))
    }
}
