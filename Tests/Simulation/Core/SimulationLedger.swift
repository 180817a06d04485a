import StoreModel

@testable import SluiceEngine

/// What the store of a simulation admitted, check by check, and what each algorithm may admit, added up the long way.
struct SimulationLedger {
    /// Equal checks: the counters that hold them, without their windows, and the cost.
    struct Group: Hashable {
        var stems: [[UInt8]]
        var cost: Int64
    }

    private struct Record {
        var cost: Int64
        var memoKey: [UInt8]?
        var charges: [(key: [UInt8], terms: Terms)] = []
        var isCostSpent = false
        /// When nothing of it counts any more.
        var untilMs: Int64 = 0
    }

    private struct Drop {
        var atMs: Int64
        var amount: Int64
        var record: [UInt8]?
    }

    /// By key, settled: of windows in units of cost.
    private var windows = ByteTable<Int64>()
    private var buckets = ByteTable<[Drop]>()
    /// Of logs, with what was written back.
    private var logs = ByteTable<[Drop]>()
    /// When each slot expires, by the record of its reservation.
    private var slots = ByteTable<[[UInt8]: Int64]>()
    private var records: [[UInt8]: Record] = [:]
    /// Ids that were admitted.
    private var memos: Set<[UInt8]> = []
    private(set) var admitted: [Group: Int64] = [:]
    /// Reservations that were admitted, as text.
    private(set) var reservations: Set<String> = []

    /// The store lost everything.
    mutating func forget() {
        windows.removeAll()
        buckets.removeAll()
        logs.removeAll()
        slots.removeAll()
        records = [:]
        memos = []
    }

    private static func countsUntilMs(_ terms: Terms, nowMs: Int64) -> Int64 {
        switch terms.algorithm {
        case .fixedWindow, .slidingWindow: terms.nextEndMs
        case .tokenBucket: terms.max == 0 ? .max : nowMs + (terms.burst * terms.lengthMs) / terms.max + 1
        case .concurrency: nowMs + terms.holdMs
        case .slidingLog: nowMs + terms.lengthMs
        }
    }

    /// Whether nothing of a reservation counts any more, if the store ever admitted it.
    func isGivenBack(_ reservation: String, nowMs: Int64) -> Bool {
        records.allSatisfy { key, record in
            !key.suffix(32).elementsEqual(reservation.utf8) || record.untilMs <= nowMs
                || (record.isCostSpent && record.charges.allSatisfy { slots[$0.key]?[key] == nil })
        }
    }

    /// The store ran a batch.
    mutating func add(_ batch: Batch, _ reply: BatchReply, nowMs: Int64) throws {
        guard reply.status == .ran else { return }
        var firstKey = 0
        var at = 0
        for entry in batch.entries {
            let keys = ModelStore.EntryKeys(of: entry, in: batch, from: &firstKey)
            let outcome = reply.results[at]
            at += 1
            let charges = Array(batch.charges[entry.firstCharge..<entry.firstCharge + entry.chargeCount])
            switch entry.special >= 0 ? batch.specials[entry.special] : nil {
            case .settle(let settlement):
                if outcome == 1 {
                    settle(keys.special[0], settlement)
                } else {
                    // There is no such reservation any more: it is over, sooner than the most that it could count for.
                    records[keys.special[0]]?.untilMs = 0
                }
                continue
            case .remember:
                if outcome == 1 { memos.insert(keys.special[0]) }
                continue
            case .forget:
                if outcome == 1 { memos.remove(keys.special[0]) }
                continue
            case .heartbeat:
                at += 1 + 2 * Int(reply.results[at])
                continue
            case .offer:
                if outcome == 1 { raise(keys.charges[0][0], charges[0], to: reply.results[at]) }
                at += outcome == 1 ? charges[0].tallyCount : 0
                continue
            case .check, nil: break
            }
            if charges.contains(where: \.isUnlimited) {
                if outcome == 1 {
                    raise(keys.charges[0][0], charges[0], to: reply.results[at])
                    let terms = charges[0].terms
                    if terms.algorithm == .slidingLog {
                        let key = keys.charges[0][0]
                        let atMs = min(terms.holdMs, logTimeMs(key, batch, reply, nowMs: nowMs))
                        logs[key, default: []].append(Drop(atMs: atMs, amount: entry.cost))
                    }
                }
                at += outcome == 1 ? charges[0].tallyCount : 0
                continue
            }
            switch outcome {
            case BatchReply.replayed: at += 2 + Int(reply.results[at + 1])
            case BatchReply.windowIsOver, BatchReply.otherArguments: break
            case BatchReply.fault: throw SimulationFailure(description: "a fault: \(reply)")
            default:
                at += charges.reduce(0) { $0 + $1.tallyCount }
                if entry.count > 0 && outcome > 0 {
                    try admit(outcome, entry, charges, keys, batch, reply, nowMs: nowMs)
                }
            }
        }
    }

    /// Something was added that was not admitted by the store. Of buckets it may be left out: the less is known to be in
    /// them, the less is found to be too much.
    private mutating func raise(_ key: [UInt8], _ charge: Batch.Charge, to tally: Int64) {
        if charge.terms.algorithm.hasWindows { windows[key] = tally }
    }

    private mutating func admit(
        _ count: Int64, _ entry: Batch.Entry, _ charges: [Batch.Charge], _ keys: ModelStore.EntryKeys, _ batch: Batch,
        _ reply: BatchReply, nowMs: Int64
    ) throws {
        func demand(_ isSo: Bool, _ what: @autoclosure () -> String) throws {
            if !isSo {
                throw SimulationFailure(description: "the store admits too much: \(what()) at \(nowMs), \(entry)")
            }
        }
        let stems = zip(charges, keys.charges).map { charge, keys in
            charge.terms.algorithm.hasWindows ? Array(keys[0][...(keys[0].lastIndex(of: 58) ?? 0)]) : keys[0]
        }
        admitted[Group(stems: stems, cost: entry.cost), default: 0] += count
        var record: [UInt8]?
        var memoKey: [UInt8]?
        if entry.special >= 0, case .check(let isReserved, let memo) = batch.specials[entry.special] {
            if isReserved { record = keys.special[0] }
            if memo != nil {
                memoKey = keys.special[keys.special.count - 1]
                try demand(memos.insert(keys.special[keys.special.count - 1]).inserted, "an id twice")
            }
        }
        var kept = Record(cost: entry.cost, memoKey: memoKey)
        for (charge, keys) in zip(charges, keys.charges) where !charge.isShadow {
            let terms = charge.terms
            try demand(terms.windowStartMs <= nowMs && nowMs < terms.windowEndMs, "another window")
            kept.charges.append((keys[0], terms))
            kept.untilMs = max(kept.untilMs, Self.countsUntilMs(terms, nowMs: nowMs))
            switch terms.algorithm {
            case .fixedWindow, .slidingWindow:
                windows[keys[0], default: 0] += entry.cost * count
                var used = windows[keys[0]] ?? 0
                if terms.algorithm == .slidingWindow {
                    let lengthMs = terms.previousLengthMs
                    let reach = (windows[keys[1]] ?? 0) * min(lengthMs, terms.windowEndMs - nowMs)
                    used += (reach + lengthMs - 1) / lengthMs
                }
                try demand(used <= terms.max, "\(used) of \(terms)")
            case .tokenBucket:
                // A bucket does not leak while time is back.
                let atMs = max(nowMs, buckets[keys[0]]?.last?.atMs ?? 0)
                buckets[keys[0], default: []].append(Drop(atMs: atMs, amount: entry.cost * count, record: record))
                var sum: Int64 = 0
                for drop in (buckets[keys[0]] ?? []).reversed() {
                    sum += drop.amount
                    let most = terms.burst * terms.lengthMs + terms.max * (atMs - drop.atMs)
                    try demand(sum * terms.lengthMs <= most, "\(sum) in \(atMs - drop.atMs) ms of \(terms)")
                }
            case .slidingLog:
                let atMs = logTimeMs(keys[0], batch, reply, nowMs: nowMs)
                let storeMs = batch.isStoreBehind ? reply.timeMs : nowMs
                logs[keys[0], default: []].append(Drop(atMs: atMs, amount: entry.cost * count, record: record))
                let used = (logs[keys[0]] ?? []).reduce(0) {
                    $0 + ($1.atMs + terms.lengthMs > storeMs ? $1.amount : 0)
                }
                try demand(used <= terms.max, "\(used) in \(terms.lengthMs) ms of \(terms)")
            case .concurrency:
                guard let record else { throw SimulationFailure(description: "a slot that nobody can release") }
                var taken = (slots[keys[0]] ?? [:]).filter { $0.value > nowMs }
                taken[record] = nowMs + terms.holdMs
                slots[keys[0]] = taken
                try demand(taken.count <= terms.max, "\(taken.count) slots of \(terms)")
            }
        }
        guard let record else { return }
        records[record] = kept
        reservations.insert(String(decoding: record.suffix(32), as: UTF8.self))
    }

    /// - Parameter settlement: never to more than was reserved.
    private mutating func settle(_ key: [UInt8], _ settlement: Batch.Settlement) {
        guard var record = records[key] else { return }
        switch settlement {
        case .commit(let cost): spend(&record, key, cost: cost)
        case .cancel:
            // What was never called may be asked for anew.
            if !record.isCostSpent, let memoKey = record.memoKey { memos.remove(memoKey) }
            spend(&record, key, cost: 0)
            for charge in record.charges { slots[charge.key]?[key] = nil }
        case .release:
            for charge in record.charges { slots[charge.key]?[key] = nil }
        }
        records[key] = record
    }

    private mutating func spend(_ record: inout Record, _ key: [UInt8], cost: Int64) {
        guard !record.isCostSpent else { return }
        record.isCostSpent = true
        for charge in record.charges {
            switch charge.terms.algorithm {
            case .fixedWindow, .slidingWindow:
                windows[charge.key] = max(0, (windows[charge.key] ?? 0) + cost - record.cost)
            case .tokenBucket:
                for index in (buckets[charge.key] ?? []).indices where buckets[charge.key]?[index].record == key {
                    buckets[charge.key]?[index].amount = cost
                }
            case .slidingLog:
                for index in (logs[charge.key] ?? []).indices where logs[charge.key]?[index].record == key {
                    logs[charge.key]?[index].amount = cost
                }
            case .concurrency: break
            }
        }
    }

    /// When a log is charged: by the store's own clock, and never before its last charge.
    private func logTimeMs(_ key: [UInt8], _ batch: Batch, _ reply: BatchReply, nowMs: Int64) -> Int64 {
        max(batch.isStoreBehind ? reply.timeMs : nowMs, logs[key]?.map(\.atMs).max() ?? 0)
    }
}

extension Batch.Charge {
    /// It passes whatever is used: it is for no check.
    var isUnlimited: Bool { max(terms.max, terms.burst) == Terms.maxExact }
}
