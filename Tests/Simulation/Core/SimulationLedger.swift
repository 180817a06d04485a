import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What the store of a simulation admitted, check by check, and what each algorithm may admit, computed in a simple
/// way.
struct SimulationLedger {
    /// Equal checks: their counters, without windows, and the cost.
    struct Group: Hashable {
        var baseKeys: [[UInt8]]
        var cost: Int64
    }

    private struct Record {
        var cost: Int64
        var idempotencyKey: [UInt8]?
        var charges: [(key: [UInt8], quota: Quota)] = []
        var isCostSpent = false
        /// When nothing of it counts any more.
        var untilMs: Int64 = 0
    }

    private struct Drop {
        var atMs: Int64
        var amount: Int64
        var record: [UInt8]?
    }

    /// Settled usage, by key: for windows, in units of cost.
    private var windows = ByteTable<Int64>()
    private var buckets = ByteTable<[Drop]>()
    /// For logs, with write-backs.
    private var logs = ByteTable<[Drop]>()
    /// When each slot expires, by the record of its reservation.
    private var slots = ByteTable<[[UInt8]: Int64]>()
    private var records: [[UInt8]: Record] = [:]
    /// Ids that were admitted.
    private var idempotencyKeys: Set<[UInt8]> = []
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
        idempotencyKeys = []
    }

    private static func countsUntilMs(_ quota: Quota, nowMs: Int64) -> Int64 {
        switch quota.algorithm {
        case .fixedWindow, .slidingWindow: quota.nextEndMs
        case .tokenBucket: quota.max == 0 ? .max : nowMs + (quota.burst * quota.lengthMs) / quota.max + 1
        case .concurrency: nowMs + quota.holdMs
        case .slidingLog: nowMs + quota.lengthMs
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
            switch entry.operation >= 0 ? batch.operations[entry.operation] : nil {
            case .settle(let settlement):
                if outcome == 1 {
                    settle(keys.operation[0], settlement)
                } else {
                    // The reservation is gone, sooner than its longest lifetime.
                    records[keys.operation[0]]?.untilMs = 0
                }
                continue
            case .remember:
                if outcome == 1 { idempotencyKeys.insert(keys.operation[0]) }
                continue
            case .forget:
                if outcome == 1 { idempotencyKeys.remove(keys.operation[0]) }
                continue
            case .heartbeat:
                if outcome == 1 { at += 2 + 3 * Int(reply.results[at]) }
                continue
            case .overrides:
                at += 1
                continue
            case .restore:
                if outcome == 1 { raise(keys.charges[0][0], charges[0], to: reply.results[at]) }
                at += outcome == 1 ? charges[0].usageCount : 0
                continue
            case .clear:
                if outcome == 1 { windows[keys.charges[0][0]] = 0 }
                at += outcome == 1 ? charges[0].usageCount : 0
                continue
            case .charge, .refund:
                // What is there now is known from the reply; of buckets and logs the less is known, the stricter the check.
                at = account(outcome, entry, charges, keys, batch, reply, from: at, nowMs: nowMs)
                continue
            case .check, nil: break
            }
            if charges.contains(where: \.isUnlimited) {
                if outcome == 1 {
                    raise(keys.charges[0][0], charges[0], to: reply.results[at])
                    let quota = charges[0].quota
                    if quota.algorithm == .slidingLog {
                        let key = keys.charges[0][0]
                        let atMs = min(quota.holdMs, logTimeMs(key, batch, reply, nowMs: nowMs))
                        logs[key, default: []].append(Drop(atMs: atMs, amount: entry.cost))
                    }
                }
                at += outcome == 1 ? charges[0].usageCount : 0
                continue
            }
            switch outcome {
            case BatchReply.replayed: at += 2 + Int(reply.results[at + 1])
            case BatchReply.windowIsOver, BatchReply.otherArguments: break
            case BatchReply.fault: throw SimulationFailure(description: "a fault: \(reply)")
            default:
                at += charges.reduce(0) { $0 + $1.usageCount }
                if entry.count > 0 && outcome > 0 {
                    try admit(outcome, entry, charges, keys, batch, reply, nowMs: nowMs)
                }
            }
        }
        guard at == reply.results.count else {
            throw SimulationFailure(description: "\(at) results are read of \(reply.results.count): \(batch), \(reply)")
        }
    }

    /// Something was added that the store did not admit. For buckets it may be left out: the less is known to be in
    /// them, the stricter the check.
    private mutating func raise(_ key: [UInt8], _ charge: Batch.Charge, to usage: Int64) {
        if charge.quota.algorithm.hasWindows { windows[key] = usage }
    }

    /// A charge whatever the maxima say, or a refund.
    ///
    /// - Returns: where the next entry's results begin.
    private mutating func account(
        _ outcome: Int64, _ entry: Batch.Entry, _ charges: [Batch.Charge], _ keys: ModelStore.EntryKeys,
        _ batch: Batch, _ reply: BatchReply, from first: Int, nowMs: Int64
    ) -> Int {
        if outcome == BatchReply.replayed { return first + 2 + Int(reply.results[first + 1]) }
        guard outcome >= 0 else { return first }
        var at = first
        for (charge, keys) in zip(charges, keys.charges) {
            let used = reply.results[at]
            at += charge.usageCount
            if charge.quota.countsCalls || charge.isShadow { continue }
            switch charge.quota.algorithm {
            case .fixedWindow, .slidingWindow: windows[keys[0]] = used
            // Which charges a refund took back is not known here: nothing is from then on.
            case .tokenBucket: buckets[keys[0]] = []
            case .slidingLog: logs[keys[0]] = []
            case .concurrency: break
            }
        }
        return at
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
        let baseKeys = zip(charges, keys.charges).map { charge, keys in
            charge.quota.algorithm.hasWindows ? Array(keys[0][...(keys[0].lastIndex(of: 58) ?? 0)]) : keys[0]
        }
        admitted[Group(baseKeys: baseKeys, cost: entry.cost), default: 0] += count
        var record: [UInt8]?
        var idempotencyKey: [UInt8]?
        if entry.operation >= 0, case .check(let isReserved, let idempotency) = batch.operations[entry.operation] {
            if isReserved { record = keys.operation[0] }
            if idempotency != nil {
                idempotencyKey = keys.operation[keys.operation.count - 1]
                try demand(idempotencyKeys.insert(keys.operation[keys.operation.count - 1]).inserted, "an id twice")
            }
        }
        var kept = Record(cost: entry.cost, idempotencyKey: idempotencyKey)
        for (charge, keys) in zip(charges, keys.charges) where !charge.isShadow {
            let quota = charge.quota
            let units = quota.countsCalls ? 1 : entry.cost
            try demand(quota.windowStartMs <= nowMs && nowMs < quota.windowEndMs, "another window")
            kept.charges.append((keys[0], quota))
            kept.untilMs = max(kept.untilMs, Self.countsUntilMs(quota, nowMs: nowMs))
            switch quota.algorithm {
            case .fixedWindow, .slidingWindow:
                windows[keys[0], default: 0] += units * count
                var used = windows[keys[0]] ?? 0
                if quota.algorithm == .slidingWindow {
                    let lengthMs = quota.previousLengthMs
                    let reach = (windows[keys[1]] ?? 0) * min(lengthMs, quota.windowEndMs - nowMs)
                    used += (reach + lengthMs - 1) / lengthMs
                }
                try demand(used <= quota.max, "\(used) of \(quota)")
            case .tokenBucket:
                // A bucket does not leak while time is set back.
                let atMs = max(nowMs, buckets[keys[0]]?.last?.atMs ?? 0)
                buckets[keys[0], default: []].append(Drop(atMs: atMs, amount: units * count, record: record))
                var sum: Int64 = 0
                for drop in (buckets[keys[0]] ?? []).reversed() {
                    sum += drop.amount
                    let most = quota.burst * quota.lengthMs + quota.max * (atMs - drop.atMs)
                    try demand(sum * quota.lengthMs <= most, "\(sum) in \(atMs - drop.atMs) ms of \(quota)")
                }
            case .slidingLog:
                let atMs = logTimeMs(keys[0], batch, reply, nowMs: nowMs)
                let storeMs = batch.isStoreBehind ? reply.timeMs : nowMs
                logs[keys[0], default: []].append(Drop(atMs: atMs, amount: units * count, record: record))
                let used = (logs[keys[0]] ?? []).reduce(0) {
                    $0 + ($1.atMs + quota.lengthMs > storeMs ? $1.amount : 0)
                }
                try demand(used <= quota.max, "\(used) in \(quota.lengthMs) ms of \(quota)")
            case .concurrency:
                guard let record else { throw SimulationFailure(description: "a slot that nobody can release") }
                var taken = (slots[keys[0]] ?? [:]).filter { $0.value > nowMs }
                taken[record] = nowMs + quota.holdMs
                slots[keys[0]] = taken
                try demand(taken.count <= quota.max, "\(taken.count) slots of \(quota)")
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
        case .commit(let cost): spend(&record, key, cost: cost, isCancelled: false)
        case .cancel:
            // A call that was never made may be asked for again.
            if !record.isCostSpent, let idempotencyKey = record.idempotencyKey {
                idempotencyKeys.remove(idempotencyKey)
            }
            spend(&record, key, cost: 0, isCancelled: true)
            for charge in record.charges { slots[charge.key]?[key] = nil }
        case .release:
            for charge in record.charges { slots[charge.key]?[key] = nil }
        }
        records[key] = record
    }

    private mutating func spend(_ record: inout Record, _ key: [UInt8], cost: Int64, isCancelled: Bool) {
        guard !record.isCostSpent else { return }
        record.isCostSpent = true
        for charge in record.charges {
            // A call that was made counts, whatever it cost.
            if charge.quota.countsCalls && !isCancelled { continue }
            let units = charge.quota.countsCalls ? 1 : record.cost
            switch charge.quota.algorithm {
            case .fixedWindow, .slidingWindow:
                windows[charge.key] = max(0, (windows[charge.key] ?? 0) + cost - units)
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
    /// It is not for a check, and passes whatever the usage is.
    var isUnlimited: Bool { max(quota.max, quota.burst) == Quota.maxExact }
}
