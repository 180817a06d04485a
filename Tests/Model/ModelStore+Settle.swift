import SluiceEngine

/// How the model ends a reservation.
extension ModelStore {
    /// Whether there was something to be done; false too if there is no such reservation.
    mutating func settle(_ settlement: Batch.Settlement, record key: [UInt8], nowMs: Int64) throws(KeyFault) -> Bool {
        let record: Record
        switch value(of: key) {
        case nil: return false
        case .record(let found): record = found
        case .integer, .bucket, .memo, .text: throw .notANumber
        case .slots, .foreign: throw .wrongType
        }
        var after = record
        switch settlement {
        case .commit(let cost):
            spend(&after, cost: cost, nowMs: nowMs)
        case .cancel:
            // A call that was never made is not remembered as one that was admitted.
            if !after.isCostSpent, let memoKey = after.memoKey { items[memoKey] = nil }
            spend(&after, cost: 0, nowMs: nowMs)
            freeSlots(&after, of: Self.reservation(key))
        case .release:
            freeSlots(&after, of: Self.reservation(key))
        }
        guard after != record else { return false }
        publishLowerings()
        if after.isCostSpent && (after.areSlotsFreed || !after.hasSlots) {
            items[key] = nil
        } else {
            items[key]?.value = .record(after)
        }
        return true
    }

    private mutating func publishLowerings() {
        for key in lowered {
            guard let end = key.firstIndex(of: UInt8(ascii: "}")) else { continue }
            let tag = Array(key[...end])
            if !published.contains(tag) { published.append(tag) }
        }
        lowered = []
    }

    /// Settles windows and buckets to another cost, once.
    private mutating func spend(_ record: inout Record, cost: Int64, nowMs: Int64) {
        guard !record.isCostSpent else { return }
        record.isCostSpent = true
        for charge in record.charges {
            switch charge.terms.algorithm {
            case .fixedWindow, .slidingWindow:
                settleWindow(charge, difference: cost - record.cost, nowMs: nowMs)
            case .tokenBucket:
                settleBucket(charge, difference: cost - record.cost, nowMs: nowMs)
            case .concurrency:
                break
            }
        }
    }

    private mutating func freeSlots(_ record: inout Record, of reservation: String) {
        guard record.hasSlots, !record.areSlotsFreed else { return }
        record.areSlotsFreed = true
        for charge in record.charges where charge.terms.algorithm == .concurrency {
            guard case .slots(var slots) = value(of: charge.key) else { continue }
            slots[reservation] = nil
            writeSlots(slots, at: charge.key)
        }
    }

    /// Only a window that still counts is changed, and never to less than nothing.
    private mutating func settleWindow(_ charge: Record.Charge, difference: Int64, nowMs: Int64) {
        let neededUntilMs = Self.neededUntilMs(charge.terms, Tally(used: 0), nowMs: nowMs)
        guard nowMs < neededUntilMs else { return }
        let tally: Int64
        switch value(of: charge.key) {
        case .integer(let found): tally = found
        case nil where difference > 0: tally = 0
        case nil, .bucket, .slots, .record, .memo, .text, .foreign: return
        }
        if difference < 0, tally > 0 { lowered.append(charge.key) }
        let after = difference < 0 ? max(0, tally + difference) : min(Terms.maxExact, tally + difference)
        if difference != 0 { write(.integer(after), at: charge.key, untilMs: neededUntilMs + Self.expirySlackMs) }
    }

    /// What has leaked of the charge is not given back: it no longer counted. What lay under it leaked first, but for
    /// what was given back since.
    private mutating func settleBucket(_ charge: Record.Charge, difference: Int64, nowMs: Int64) {
        let terms = charge.terms
        var (level, lastMs, credited) = (Int64(0), nowMs, Int64(0))
        switch value(of: charge.key) {
        case .bucket(let found, let foundMs, let foundCredit):
            credited = foundCredit
            level = terms.drained(found, sinceMs: foundMs, nowMs: nowMs)
            lastMs = max(nowMs, foundMs)
        case nil where difference > 0: break
        case nil, .integer, .slots, .record, .memo, .text, .foreign: return
        }
        if difference < 0 {
            let under = max(0, charge.levelAfter - (credited - charge.creditedBefore))
            // Where the clock has stepped back the bucket stands still, but what had leaked by then has leaked.
            let left =
                credited < charge.creditedBefore
                ? 0 : terms.drained(under, sinceMs: charge.chargedMs, nowMs: lastMs)
            let credit = min(-difference * terms.lengthMs, left, level)
            level -= credit
            credited = credited + credit > Terms.maxExact ? 0 : credited + credit
            lowered.append(charge.key)
        } else if difference > 0 {
            let (more, overflow) = difference.multipliedReportingOverflow(by: terms.lengthMs)
            level = overflow || more > Terms.maxExact - level ? Terms.maxExact : level + more
        } else {
            return
        }
        let untilMs = Self.neededUntilMs(terms, Tally(used: level), nowMs: nowMs) + Self.expirySlackMs
        items[charge.key] = Item(
            value: .bucket(level: level, lastMs: lastMs, credited: credited), expiresAtMs: untilMs)
    }
}
