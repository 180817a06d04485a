import SluiceEngine
import SluicePolicy

/// How the model ends a reservation.
extension ModelStore {
    /// Whether there was something to be done; false too if there is no such reservation.
    mutating func settle(
        _ settlement: Batch.Settlement, record key: [UInt8], nowMs: Int64, into reply: inout BatchReply
    ) throws(KeyFault) {
        let record: Record
        switch value(of: key) {
        case nil: return reply.results.append(0)
        case .record(let found): record = found
        case .integer, .bucket, .log, .idempotency, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
        var after = record
        passedOver = nil
        if case .commit(let cost) = settlement, !record.isCostSpent {
            for charge in record.charges
            where !charge.quota.countsCalls && !holds(charge, cost - record.cost, nowMs: nowMs) {
                return reply.results.append(BatchReply.tooMuch)
            }
        }
        switch settlement {
        case .commit(let cost):
            spend(&after, cost: cost, isCancelled: false, nowMs: nowMs)
        case .cancel:
            try freeSlots(&after, of: Self.reservation(key))
            // A call that was never made is not remembered as one that was admitted.
            if !after.isCostSpent, let idempotencyKey = after.idempotencyKey {
                _ = forget(Self.reservation(key), at: idempotencyKey)
            }
            spend(&after, cost: 0, isCancelled: true, nowMs: nowMs)
        case .release:
            try freeSlots(&after, of: Self.reservation(key))
        }
        guard after != record else { return reply.results.append(0) }
        if after.isCostSpent && (after.areSlotsFreed || !after.hasSlots) {
            items[key] = nil
        } else {
            items[key]?.value = .record(after)
        }
        reply.results.append(passedOver == nil ? 1 : BatchReply.passedOver)
        if let passedOver { reply.words.append(passedOver.words) }
    }

    /// Whether so much more can be counted.
    private mutating func holds(_ charge: Record.Charge, _ difference: Int64, nowMs: Int64) -> Bool {
        let quota = charge.quota
        switch quota.algorithm {
        case .fixedWindow, .slidingWindow:
            if nowMs >= Self.neededUntilMs(quota, Usage(used: 0), lastMs: 0, nowMs: nowMs) { return true }
            return difference <= Quota.maxExact - ((try? integer(charge.key)) ?? 0)
        case .tokenBucket:
            guard difference > 0, let bucket = try? storedBucket(charge.key) ?? (0, nowMs, 0) else { return true }
            let level = quota.drained(bucket.level, sinceMs: bucket.lastMs, nowMs: nowMs)
            return difference <= (Quota.maxExact - level) / quota.lengthMs
        case .slidingLog:
            guard let found = try? log(charge.key, lengthMs: quota.lengthMs, nowMs: nowMs) else { return true }
            return charge.chargedMs + quota.lengthMs <= found.logNowMs || difference <= Quota.maxExact - found.log.total
        case .concurrency:
            return true
        }
    }

    /// - Returns: what this batch lowered.
    mutating func publishLowerings() -> [[UInt8]] {
        var tags: [[UInt8]] = []
        for key in lowered {
            guard let end = key.firstIndex(of: UInt8(ascii: "}")) else { continue }
            var tag = Array(key[...end])
            // In a cluster the owner follows the partition's tag.
            if isPartition { tag += key[(end + 1)...].prefix(1) + key[(end + 2)...].prefix { $0 != UInt8(ascii: ":") } }
            if !tags.contains(tag) { tags.append(tag) }
        }
        tags += cleared
        (lowered, cleared) = ([], [])
        published += tags
        return tags
    }

    /// Settles windows and buckets to another cost, once.
    private mutating func spend(_ record: inout Record, cost: Int64, isCancelled: Bool, nowMs: Int64) {
        guard !record.isCostSpent else { return }
        record.isCostSpent = true
        for charge in record.charges {
            let difference = charge.quota.countsCalls ? (isCancelled ? -1 : 0) : cost - record.cost
            switch charge.quota.algorithm {
            case .fixedWindow, .slidingWindow:
                settleWindow(charge, difference: difference, nowMs: nowMs)
            case .tokenBucket:
                settleBucket(charge, difference: difference, nowMs: nowMs)
            case .slidingLog:
                settleLog(charge, difference: difference, nowMs: nowMs)
            case .concurrency:
                break
            }
        }
    }

    private mutating func freeSlots(_ record: inout Record, of reservation: String) throws(KeyFault) {
        guard record.hasSlots, !record.areSlotsFreed else { return }
        for charge in record.charges where charge.quota.algorithm == .concurrency {
            switch value(of: charge.key) {
            case nil: break
            case .slots(var slots):
                slots[reservation] = nil
                writeSlots(slots, at: charge.key)
            case .integer, .bucket, .log, .record, .idempotency, .text, .foreign: throw .wrongType
            }
        }
        record.areSlotsFreed = true
    }

    /// Only a window that still counts is changed, and never to less than nothing.
    private mutating func settleWindow(_ charge: Record.Charge, difference: Int64, nowMs: Int64) {
        let neededUntilMs = Self.neededUntilMs(charge.quota, Usage(used: 0), lastMs: 0, nowMs: nowMs)
        guard nowMs < neededUntilMs else { return chargeOpenWindow(charge, difference, nowMs: nowMs) }
        guard difference != 0 else { return }
        let usage: Int64
        do throws(KeyFault) {
            guard let found = try storedInteger(charge.key) ?? (difference > 0 ? 0 : nil) else { return }
            usage = found
        } catch {
            passedOver = error
            return
        }
        // Raised, a sliding window takes longer to make room.
        if difference < 0 ? usage > 0 : charge.quota.algorithm == .slidingWindow { lowered.append(charge.key) }
        let after = difference < 0 ? max(0, usage + difference) : usage + difference
        write(.integer(after), at: charge.key, untilMs: neededUntilMs + Self.expirySlackMs)
    }

    /// Only a charge that still counts is changed.
    private mutating func settleLog(_ charge: Record.Charge, difference: Int64, nowMs: Int64) {
        let lengthMs = charge.quota.lengthMs
        let logNowMs = isBehind ? clockMs : nowMs
        guard difference != 0, charge.chargedMs + lengthMs > logNowMs || difference > 0 else { return }
        let chargedMs = charge.chargedMs + lengthMs > logNowMs ? charge.chargedMs : logNowMs
        do throws(KeyFault) {
            var found = try log(charge.key, lengthMs: lengthMs, nowMs: nowMs)
            if difference > 0 {
                found.log.add(difference, atMs: chargedMs)
            } else if found.log.isEmpty {
                return
            } else {
                found.log.remove(-difference, atMs: charge.chargedMs)
            }
            writeLog(found.log, at: charge.key, lengthMs: lengthMs)
            lowered.append(charge.key)
        } catch {
            passedOver = error
        }
    }

    /// What has leaked of the charge is not given back: it no longer counted. What lay under it leaked first, but for
    /// what was given back since.
    private mutating func settleBucket(_ charge: Record.Charge, difference: Int64, nowMs: Int64) {
        let quota = charge.quota
        guard difference != 0 else { return }
        var (level, lastMs, credited): (Int64, Int64, Int64)
        do throws(KeyFault) {
            guard let found = try storedBucket(charge.key) ?? (difference > 0 ? (0, 0, 0) : nil) else { return }
            (level, lastMs, credited) = found
        } catch {
            passedOver = error
            return
        }
        if difference < 0 {
            // It stays the level of then: by how much it has leaked since is for the next check to say.
            lastMs = Self.believed(lastMs, nowMs: nowMs)
            let under = max(0, charge.levelAfter - (credited - charge.creditedBefore))
            // Where the clock has stepped back the bucket stands still, but what had leaked by then has leaked.
            let left =
                credited < charge.creditedBefore
                ? 0 : quota.drained(under, sinceMs: charge.chargedMs, nowMs: max(nowMs, lastMs))
            let credit = min(-difference * quota.lengthMs, left, level)
            level -= credit
            credited = credited + credit > Quota.maxExact ? 0 : credited + credit
            lowered.append(charge.key)
        } else {
            (level, lastMs) = leaked(level, lastMs, quota, of: charge.key, nowMs: nowMs)
            level += difference * quota.lengthMs
            lowered.append(charge.key)
        }
        let keptMs = Self.keptUntilMs(quota, Usage(used: level), lastMs: lastMs, nowMs: nowMs)
        writeBucket(
            level: level, lastMs: lastMs, credited: credited, at: charge.key, untilMs: keptMs + Self.expirySlackMs)
    }
}
