import SluiceEngine

/// How the model decides a check.
extension ModelStore {
    /// How long keys outlive what they count, ms: a clock that steps back finds them.
    static let expirySlackMs: Int64 = 60_000
    /// How long the refusals of a token bucket and of slots are kept, ms.
    private static let refusalsTimeToLiveMs: Int64 = 86_400_000
    private static let memoTimeToLiveMs: Int64 = 600_000
    /// A reservation's id is the end of its record's key.
    private static let reservationBytes = 32

    /// A counter as it was found.
    private struct Reading {
        var tally: Tally
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
        var special = (isReserved: false, memo: Batch.Memo?.none)
        if entry.special >= 0, case .check(let isReserved, let memo) = batch.specials[entry.special] {
            precondition(entry.count <= 1, "checks with a reservation or an id are never joined")
            special = (isReserved, memo)
        }
        if let memo = special.memo, try replay(memo, at: keys.special[keys.special.count - 1], into: &reply) { return }
        let charges = Array(batch.charges[entry.firstCharge..<entry.firstCharge + entry.chargeCount])
        guard charges.allSatisfy({ $0.terms.windowStartMs <= nowMs && nowMs < $0.terms.windowEndMs }) else {
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
            charges[$0].terms.room(cost: entry.cost, readings[$0].tally, nowMs: nowMs)
        }
        let admitted = charges.indices.reduce(max(1, entry.count)) {
            charges[$1].isShadow ? $0 : min($0, rooms[$1])
        }
        if entry.count > 0 {
            let reservation = special.isReserved ? keys.special[0] : nil
            var record = Record(
                cost: entry.cost, charges: [], memoKey: special.memo.map { _ in keys.special[keys.special.count - 1] })
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
                            key: keys.charges[index][0], terms: charge.terms, levelAfter: readings[index].tally.used,
                            creditedBefore: readings[index].credited,
                            chargedMs: charge.terms.algorithm == .slidingLog ? readings[index].chargedMs : nowMs))
                }
                // Of all charges: whoever settles late what a shadow limit did not count asks about nothing any more.
                var tally = readings[index].tally
                tally.lastExpiryMs =
                    charge.terms.algorithm == .slidingLog
                    ? readings[index].chargedMs + charge.terms.lengthMs : nowMs + charge.terms.holdMs
                recordUntilMs = max(
                    recordUntilMs,
                    Self.keptUntilMs(charge.terms, tally, lastMs: readings[index].lastMs, nowMs: nowMs))
            }
            if let reservation, admitted > 0 {
                items[reservation] = Item(value: .record(record), expiresAtMs: recordUntilMs)
            }
        }
        let numbers = charges.indices.flatMap { Self.numbers(readings[$0], of: charges[$0], cost: entry.cost) }
        reply.results.append(admitted)
        reply.results += numbers
        if let memo = special.memo, entry.count > 0, admitted > 0 {
            items[keys.special[keys.special.count - 1]] = Item(
                value: .memo(
                    StoredMemo(
                        memo: memo, admittedMs: nowMs,
                        reservation: special.isReserved ? Self.reservation(keys.special[0]) : "", numbers: numbers)),
                expiresAtMs: clockMs + Self.memoTimeToLiveMs)
        }
    }

    /// Raises a counter to what a replica saw before the store forgot.
    mutating func offer(
        _ entry: Batch.Entry, _ keys: EntryKeys, of batch: Batch, nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        let charge = batch.charges[entry.firstCharge]
        guard charge.terms.windowStartMs <= nowMs && nowMs < charge.terms.windowEndMs else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var reading = try read(charge, keys.charges[0], isPeek: false, nowMs: nowMs)
        if charge.terms.algorithm == .slidingLog {
            if reading.chargedMs > reading.logNowMs - charge.terms.lengthMs {
                reading.log.raise(to: entry.cost, atMs: reading.chargedMs)
                writeLog(reading.log, at: keys.charges[0][0], lengthMs: charge.terms.lengthMs)
            }
        } else {
            let more = max(0, entry.cost - reading.tally.used)
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
            value: .memo(
                StoredMemo(
                    memo: answer.memo, admittedMs: answer.admittedMs, isLocal: answer.isLocal,
                    reservation: answer.reservation, numbers: answer.numbers)), expiresAtMs: clockMs + answer.lifeMs)
        return true
    }

    /// False if what is remembered there is not of that reservation.
    mutating func forget(_ reservation: String, at key: [UInt8]) -> Bool {
        guard case .memo(let stored) = value(of: key), stored.reservation == reservation else { return false }
        items[key] = nil
        return true
    }

    /// Answers from what is remembered; false if nothing is.
    private func replay(_ memo: Batch.Memo, at key: [UInt8], into reply: inout BatchReply) throws(KeyFault) -> Bool {
        switch value(of: key) {
        case nil:
            return false
        case .memo(let stored):
            if stored.memo.argumentsHash != memo.argumentsHash {
                reply.results.append(BatchReply.otherArguments)
                return true
            }
            let numbers = stored.memo.countersHash == memo.countersHash ? stored.numbers : []
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

    private mutating func read(
        _ charge: Batch.Charge, _ keys: [[UInt8]], isPeek: Bool, nowMs: Int64
    ) throws(KeyFault) -> Reading {
        var reading: Reading
        switch charge.terms.algorithm {
        case .fixedWindow:
            reading = Reading(tally: Tally(used: try integer(keys[0])))
        case .slidingWindow:
            reading = Reading(tally: Tally(used: try integer(keys[0])))
            reading.tally.previous = try integer(keys[1])
        case .tokenBucket:
            let (level, lastMs, credited) = try storedBucket(keys[0]) ?? (0, nowMs, 0)
            let now = leaked(level, lastMs, charge.terms, of: keys[0], nowMs: nowMs)
            reading = Reading(tally: Tally(used: now.level), lastMs: now.lastMs, credited: credited)
        case .concurrency:
            let slots = try storedSlots(keys[0]).filter { $0.value > nowMs }
            if !isPeek { writeSlots(slots, at: keys[0]) }
            reading = Reading(tally: Self.tally(of: slots), slots: slots)
        case .slidingLog:
            let found = try log(keys[0], lengthMs: charge.terms.lengthMs, nowMs: nowMs)
            reading = Reading(tally: Tally(used: found.log.total), log: found.log, logNowMs: found.logNowMs)
            reading.chargedMs = max(found.logNowMs, found.log.newestMs)
            if charge.terms.holdMs > 0 { reading.chargedMs = min(reading.chargedMs, charge.terms.holdMs) }
        }
        if charge.isShadow { reading.tally.refusals = try integer(keys[keys.count - 1]) }
        return reading
    }

    /// Charges `count` checks, and tells of a shadow limit that it had no room for `refused` more.
    private mutating func apply(
        _ charge: Batch.Charge, _ keys: [[UInt8]], cost: Int64, count: Int64, refused: Int64,
        to reading: inout Reading, reservation: [UInt8]?, nowMs: Int64
    ) {
        let terms = charge.terms
        if count > 0, terms.algorithm == .concurrency {
            guard let reservation else { preconditionFailure("slots are taken by reservations alone") }
            let refusals = reading.tally.refusals
            reading.slots[Self.reservation(reservation)] = nowMs + terms.holdMs
            reading.tally = Self.tally(of: reading.slots)
            reading.tally.refusals = refusals
        } else if terms.algorithm == .slidingLog {
            if reading.chargedMs > reading.logNowMs - terms.lengthMs {
                reading.log.add(terms.charge(cost: cost, count: count), atMs: reading.chargedMs)
            }
            reading.tally.used = reading.log.total
            reading.tally.lastExpiryMs = reading.log.newestMs + terms.lengthMs
        } else {
            reading.tally.used += terms.charge(cost: cost, count: count)
        }
        let untilMs =
            Self.keptUntilMs(terms, reading.tally, lastMs: reading.lastMs, nowMs: nowMs) + Self.expirySlackMs
        if count > 0 {
            switch terms.algorithm {
            case .fixedWindow, .slidingWindow:
                write(.integer(reading.tally.used), at: keys[0], untilMs: untilMs)
            case .tokenBucket:
                writeBucket(
                    level: reading.tally.used, lastMs: reading.lastMs, credited: reading.credited, at: keys[0],
                    untilMs: untilMs)
            case .concurrency:
                items[keys[0]] = Item(value: .slots(reading.slots), expiresAtMs: untilMs)
            case .slidingLog:
                let isOver = reading.chargedMs <= reading.logNowMs - terms.lengthMs
                if !isOver { writeLog(reading.log, at: keys[0], lengthMs: terms.lengthMs) }
            }
        }
        if count > 0 {
            if charge.verifiesTimeToLive { repair(keys[0], untilMs: untilMs) }
        } else {
            retain(charge, keys, reading, nowMs: nowMs)
        }
        guard charge.isShadow else { return }
        let isWindow = terms.algorithm == .fixedWindow || terms.algorithm == .slidingWindow
        let refusalsUntilMs = isWindow ? untilMs : nowMs + Self.refusalsTimeToLiveMs
        reading.tally.refusals += refused
        if refused > 0 { write(.integer(reading.tally.refusals), at: keys[keys.count - 1], untilMs: refusalsUntilMs) }
        if charge.verifiesTimeToLive { repair(keys[keys.count - 1], untilMs: refusalsUntilMs) }
    }

    /// Writes a key that keeps the time to live that it was given when it was new.
    mutating func write(_ value: Value, at key: [UInt8], untilMs: Int64) {
        if item(key) == nil {
            items[key] = Item(value: value, expiresAtMs: untilMs)
        } else {
            items[key]?.value = value
        }
    }

    private mutating func repair(_ key: [UInt8], untilMs: Int64) {
        if let item = item(key), item.expiresAtMs == nil { items[key]?.expiresAtMs = untilMs }
    }

    /// Sees to it that what was looked at and not charged lives for as long as it counts.
    private mutating func retain(_ charge: Batch.Charge, _ keys: [[UInt8]], _ reading: Reading, nowMs: Int64) {
        if charge.terms.algorithm == .slidingLog {
            let untilMs = reading.log.newestMs + charge.terms.lengthMs + Self.expirySlackMs
            if reading.tally.used > 0 { repair(keys[0], untilMs: untilMs) }
            return
        }
        let neededMs = Self.neededUntilMs(charge.terms, reading.tally, lastMs: reading.lastMs, nowMs: nowMs)
        let untilMs = neededMs + Self.expirySlackMs
        if charge.terms.algorithm == .tokenBucket, reading.tally.used > 0, let expiresAtMs = expiresAtMs(of: keys[0]) {
            items[keys[0]]?.expiresAtMs = max(expiresAtMs, untilMs)
        }
        if reading.tally.used > 0 || charge.terms.algorithm == .tokenBucket { repair(keys[0], untilMs: untilMs) }
        if charge.terms.algorithm == .slidingWindow, reading.tally.previous > 0 {
            repair(keys[1], untilMs: charge.terms.windowEndMs + Self.expirySlackMs)
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
    static func neededUntilMs(_ terms: Terms, _ tally: Tally, lastMs: Int64, nowMs: Int64) -> Int64 {
        switch terms.algorithm {
        case .fixedWindow: terms.windowEndMs
        case .slidingWindow: terms.nextEndMs
        case .tokenBucket:
            min(
                Terms.maxExact,
                max(nowMs, lastMs) + (terms.max == 0 ? terms.lengthMs : terms.resetMs(tally, nowMs: nowMs)))
        case .concurrency, .slidingLog: tally.lastExpiryMs
        }
    }

    /// Until when what was just charged is kept, ms since the epoch: by a lower maximum, which a replica may come with
    /// later, a bucket leaks more slowly.
    static func keptUntilMs(_ terms: Terms, _ tally: Tally, lastMs: Int64, nowMs: Int64) -> Int64 {
        let neededMs = neededUntilMs(terms, tally, lastMs: lastMs, nowMs: nowMs)
        return terms.algorithm == .tokenBucket ? max(neededMs, min(Terms.maxExact, nowMs + terms.lengthMs)) : neededMs
    }

    // MARK: - Values

    /// nil if there is none.
    func storedInteger(_ key: [UInt8]) throws(KeyFault) -> Int64? {
        switch value(of: key) {
        case nil: return nil
        case .integer(let number) where (0...Terms.maxExact).contains(number): return number
        case .integer, .bucket, .log, .record, .memo, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
    }

    func integer(_ key: [UInt8]) throws(KeyFault) -> Int64 { try storedInteger(key) ?? 0 }

    func storedBucket(_ key: [UInt8]) throws(KeyFault) -> (level: Int64, lastMs: Int64, credited: Int64)? {
        switch value(of: key) {
        case nil: return nil
        case .bucket(let level, let lastMs, let credited) where max(level, lastMs, credited) <= Terms.maxExact:
            return (level, lastMs, credited)
        case .bucket, .log, .integer, .record, .memo, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
    }

    private func storedSlots(_ key: [UInt8]) throws(KeyFault) -> [String: Int64] {
        switch value(of: key) {
        case nil: return [:]
        case .slots(let slots):
            guard (slots.values.max() ?? 0) <= Terms.maxExact else { throw .notANumber }
            return slots
        case .integer, .bucket, .log, .record, .memo, .text, .foreign: throw .wrongType
        }
    }

    /// Without slots there is no key.
    mutating func writeSlots(_ slots: [String: Int64], at key: [UInt8]) {
        if slots.isEmpty { items[key] = nil } else { items[key]?.value = .slots(slots) }
    }

    private static func tally(of slots: [String: Int64]) -> Tally {
        var tally = Tally(used: Int64(slots.count))
        tally.firstExpiryMs = slots.values.min() ?? 0
        tally.lastExpiryMs = slots.values.max() ?? 0
        return tally
    }

    /// In the order that `Batch.Charge.tallyCount` says.
    private static func numbers(_ reading: Reading, of charge: Batch.Charge, cost: Int64) -> [Int64] {
        let tally = reading.tally
        let numbers: [Int64] =
            switch charge.terms.algorithm {
            case .fixedWindow, .tokenBucket: [tally.used]
            case .slidingWindow: [tally.used, tally.previous]
            case .concurrency: [tally.used, tally.firstExpiryMs, tally.lastExpiryMs]
            case .slidingLog: numbers(of: reading.log, charge.terms, cost: cost, nowMs: reading.logNowMs)
            }
        return charge.isShadow ? numbers + [tally.refusals] : numbers
    }

    /// As `Batch.logTallyCount` says.
    private static func numbers(of log: UsageLog, _ terms: Terms, cost: Int64, nowMs: Int64) -> [Int64] {
        let missing = log.total + cost - terms.max
        let freeMs = log.freeMs(missing, nowMs: nowMs, lengthMs: terms.lengthMs) ?? 0
        let (steps, exact) = log.summary()
        let told = steps.flatMap { [$0.ms, $0.units] }
        return [
            log.total, missing > 0 && cost <= terms.max ? freeMs : 0,
            log.isEmpty ? 0 : log.newestMs + terms.lengthMs, Int64(exact),
        ] + told + Array(repeating: 0, count: 2 * (Batch.maxLogSteps - steps.count))
    }
}
