import SluiceEngine
import SluicePolicy

/// How the model charges whatever the maxima say, and gives back.
extension ModelStore {
    mutating func account(
        _ entry: Batch.Entry, _ keys: EntryKeys, _ idempotency: Batch.Idempotency?, isRefund: Bool, of batch: Batch,
        nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        if let idempotency, try replay(idempotency, at: keys.operation[0], into: &reply) { return }
        let charges = Array(batch.charges[entry.firstCharge..<entry.firstCharge + entry.chargeCount])
        guard charges.allSatisfy({ $0.quota.windowStartMs <= nowMs && nowMs < $0.quota.windowEndMs }) else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var readings: [Reading] = []
        for (index, charge) in charges.enumerated() {
            readings.append(try read(charge, keys.charges[index], isPeek: charge.quota.countsCalls, nowMs: nowMs))
        }
        var fits = true
        for (index, charge) in charges.enumerated() {
            if charge.quota.countsCalls {
                retain(charge, keys.charges[index], readings[index], nowMs: nowMs)
            } else if isRefund {
                giveBack(entry.cost, charge, keys.charges[index], &readings[index], nowMs: nowMs)
            } else if !chargeAnyway(entry.cost, charge, keys.charges[index], &readings[index], nowMs: nowMs) {
                fits = fits && charge.isShadow
            }
        }
        let numbers = charges.indices.flatMap { Self.numbers(readings[$0], of: charges[$0], cost: 1) }
        reply.results.append(fits ? 1 : 0)
        reply.results += numbers
        if let idempotency {
            items[keys.operation[0]] = Item(
                value: .idempotency(
                    StoredAnswer(idempotency: idempotency, admittedMs: nowMs, reservation: "", numbers: numbers)),
                expiresAtMs: clockMs + Self.memoTimeToLiveMs)
        }
    }

    /// Whether it fitted.
    private mutating func chargeAnyway(
        _ cost: Int64, _ charge: Batch.Charge, _ keys: [[UInt8]], _ reading: inout Reading, nowMs: Int64
    ) -> Bool {
        let fits = charge.quota.left(reading.usage, nowMs: nowMs) >= cost
        let unit = charge.quota.algorithm == .tokenBucket ? charge.quota.lengthMs : 1
        let amount = min(cost, (Quota.maxExact - 1 - reading.usage.used) / unit)
        if amount > 0 {
            apply(
                charge, keys, cost: amount, count: 1, refused: 0, to: &reading, reservation: nil, nowMs: nowMs)
        }
        if !fits && charge.quota.algorithm != .fixedWindow { lowered.append(keys[0]) }
        return fits
    }

    /// Gives back all that a counter holds.
    mutating func clear(
        _ entry: Batch.Entry, _ keys: EntryKeys, of batch: Batch, nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        let (charge, keys) = (batch.charges[entry.firstCharge], keys.charges[0])
        guard charge.quota.windowStartMs <= nowMs && nowMs < charge.quota.windowEndMs else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var reading = try read(charge, keys, isPeek: true, nowMs: nowMs)
        reply.results.append(1)
        reply.results += Self.numbers(reading, of: charge, cost: 1)
        guard charge.quota.algorithm != .concurrency else { return }
        let (held, before) = (reading.usage.used, reading.usage.previous)
        giveBack(Quota.maxExact, charge, keys, &reading, nowMs: nowMs)
        if charge.quota.algorithm.slidesInModel, before > 0 {
            items[keys[1]]?.value = .integer(0)
            repair(keys[1], untilMs: charge.quota.windowEndMs)
            lowered.append(keys[1])
        }
        clearedUnits[keys[0], default: 0] += held
        cleared.append(keys[0])
    }

    private mutating func giveBack(
        _ cost: Int64, _ charge: Batch.Charge, _ keys: [[UInt8]], _ reading: inout Reading, nowMs: Int64
    ) {
        let quota = charge.quota
        let (wanted, isTooMuch) = cost.multipliedReportingOverflow(
            by: quota.algorithm == .tokenBucket ? quota.lengthMs : 1)
        let back = isTooMuch ? reading.usage.used : min(wanted, reading.usage.used)
        guard back > 0 else { return }
        reading.usage.used -= back
        lowered.append(keys[0])
        switch quota.algorithm {
        case .fixedWindow, .slidingWindow:
            items[keys[0]]?.value = .integer(reading.usage.used)
            let neededMs = Self.neededUntilMs(quota, reading.usage, lastMs: reading.lastMs, nowMs: nowMs)
            repair(keys[0], untilMs: neededMs + Self.expirySlackMs)
            retain(charge, keys, reading, nowMs: nowMs)
        case .tokenBucket:
            reading.credited = reading.credited + back > Quota.maxExact ? 0 : reading.credited + back
            let keptMs = Self.keptUntilMs(quota, reading.usage, lastMs: reading.lastMs, nowMs: nowMs)
            writeBucket(
                level: reading.usage.used, lastMs: reading.lastMs, credited: reading.credited, at: keys[0],
                untilMs: keptMs + Self.expirySlackMs)
        case .slidingLog:
            reading.log.removeNewest(back)
            writeLog(reading.log, at: keys[0], lengthMs: quota.lengthMs)
        case .concurrency: break
        }
    }

    /// The start of a window as keys have it: in base 36, in windows if they are of a number of seconds, else in seconds.
    private static func start(_ startMs: Int64, in key: [UInt8]) -> String {
        let code = key.split(separator: UInt8(ascii: ":")).dropLast().last ?? []
        let digits = code.dropFirst().prefix { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
        let seconds = Int64(String(decoding: digits, as: UTF8.self)) ?? 1
        return String(startMs / (seconds * 1000), radix: 36)
    }

    private static let shortestDayMs: Int64 = 82_800_000
    private static let longestTwoWindowsMs: Int64 = 5_529_600_000

    /// What a reservation cost more, when the window that it charged is over.
    mutating func chargeOpenWindow(_ charge: Record.Charge, _ difference: Int64, nowMs: Int64) {
        let quota = charge.quota
        guard difference > 0, let end = charge.key.lastIndex(of: UInt8(ascii: ":")) else { return }
        var startMs = quota.nextEndMs
        var untilMs = nowMs + Self.longestTwoWindowsMs
        if quota.hasUnevenWindows {
            guard nowMs - startMs < Self.shortestDayMs else { return }
        } else {
            let lengthMs = quota.algorithm.slidesInModel ? quota.nextEndMs - quota.windowEndMs : quota.lengthMs
            startMs += (nowMs - startMs) / lengthMs * lengthMs
            untilMs = startMs + (quota.algorithm.slidesInModel ? 2 : 1) * lengthMs + Self.expirySlackMs
        }
        let key = charge.key[...end] + Self.start(startMs, in: charge.key).utf8
        do throws(KeyFault) {
            let usage = try integer(Array(key))
            write(.integer(usage + min(difference, Quota.maxExact - 1 - usage)), at: Array(key), untilMs: untilMs)
            lowered.append(Array(key))
        } catch {
            passedOver = error
        }
    }
}

extension Algorithm {
    fileprivate var slidesInModel: Bool { self == .slidingWindow }
}
