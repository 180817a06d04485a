import StoreModel
import Support
import SluicePolicy

@testable import SluiceEngine

/// An implementation that counts by `Quota`.
protocol QuotaSubject {
    /// How far back time may step and still find everything that was counted, ms.
    static var longestStepBackMs: Int64 { get }

    init(_ limit: QuotaLimit)
    mutating func check(cost: Int64, count: Int64, nowMs: Int64) -> (admitted: Int64, usage: Usage)
    /// What a peek of that cost finds.
    mutating func usage(cost: Int64, nowMs: Int64) -> Usage
    /// Gives back the slot of the check with that number, counted from 0 over the admitted ones.
    mutating func release(_ number: Int, nowMs: Int64)
}

/// The simplest implementation: it keeps what a store would keep.
struct QuotaCounter: QuotaSubject {
    static let longestStepBackMs = Int64.max

    private let limit: QuotaLimit
    private var usages: [Int64: Int64] = [:]
    private var level: Int64 = 0
    private var lastMs: Int64 = 0
    /// When each slot expires; 0 once it is over.
    private var slots: [Int64] = []
    private var log = UsageLog()

    init(_ limit: QuotaLimit) { self.limit = limit }

    mutating func check(cost: Int64, count: Int64, nowMs: Int64) -> (admitted: Int64, usage: Usage) {
        let quota = limit.quota(at: nowMs)
        let before = usage(cost: cost, nowMs: nowMs)
        let admitted = min(count, quota.room(cost: cost, before, nowMs: nowMs))
        let used = before.used + quota.charge(cost: cost, count: admitted)
        switch limit.algorithm {
        case .fixedWindow, .slidingWindow:
            usages[quota.windowStartMs] = used
        case .tokenBucket:
            if admitted > 0 { (level, lastMs) = (used, max(lastMs, nowMs)) }
        case .concurrency:
            for index in slots.indices where slots[index] <= nowMs { slots[index] = 0 }
            if admitted > 0 { slots.append(nowMs + limit.holdMs) }
        case .slidingLog:
            if admitted > 0 {
                log.trim(nowMs: nowMs, lengthMs: limit.lengthMs)
                log.add(quota.charge(cost: cost, count: admitted), atMs: max(nowMs, log.newestMs))
            }
        }
        return (admitted, usage(cost: cost, nowMs: nowMs))
    }

    func usage(cost: Int64, nowMs: Int64) -> Usage {
        let quota = limit.quota(at: nowMs)
        switch limit.algorithm {
        case .fixedWindow:
            return Usage(used: usages[quota.windowStartMs] ?? 0)
        case .slidingWindow:
            var usage = Usage(used: usages[quota.windowStartMs] ?? 0)
            usage.previous = usages[limit.windowBefore(at: nowMs).lowerBound] ?? 0
            return usage
        case .tokenBucket:
            return Usage(used: quota.drained(level, sinceMs: lastMs, nowMs: nowMs))
        case .concurrency:
            var usage = Usage(used: 0)
            for expiryMs in slots where expiryMs > nowMs {
                usage.firstExpiryMs = usage.used == 0 ? expiryMs : min(usage.firstExpiryMs, expiryMs)
                usage.lastExpiryMs = max(usage.lastExpiryMs, expiryMs)
                usage.used += 1
            }
            return usage
        case .slidingLog:
            var usage = Usage(used: log.used(nowMs: nowMs, lengthMs: limit.lengthMs))
            let missing = usage.used + cost - limit.max
            if missing > 0, cost <= limit.max {
                usage.firstExpiryMs = log.freeMs(missing, nowMs: nowMs, lengthMs: limit.lengthMs) ?? 0
            }
            if usage.used > 0 { usage.lastExpiryMs = log.newestMs + limit.lengthMs }
            return usage
        }
    }

    mutating func release(_ number: Int, nowMs: Int64) { slots[number] = 0 }
}

/// The model of the store, with one check in each batch.
struct ModelCounter: QuotaSubject {
    /// The start as in keys, if windows are equally long: counted in windows.
    private static func windowKey(_ startMs: Int64, _ limit: QuotaLimit) -> String {
        guard limit.secondLengthMs == 0 else { return "c:\(startMs)" }
        return "c:f\(limit.lengthMs / 1_000):\(String(startMs / limit.lengthMs, radix: 36))"
    }

    /// For how long keys outlive what they count.
    static let longestStepBackMs: Int64 = 60_000

    private let limit: QuotaLimit
    /// Whether every check is reserved, so that it can be settled.
    var reservesAll = false
    private var store = ModelStore(clockMs: 0)
    private var sequence: Int64 = 0
    private var admittedChecks = 0

    init(_ limit: QuotaLimit) { self.limit = limit }

    mutating func check(cost: Int64, count: Int64, nowMs: Int64) -> (admitted: Int64, usage: Usage) {
        let isReserved = (limit.algorithm == .concurrency || reservesAll) && count > 0
        let (limit, number) = (limit, admittedChecks)
        let results = run(nowMs: nowMs) { batch in
            batch.entries.append(
                Batch.Entry(cost: cost, count: count, firstCharge: 0, chargeCount: 1, operation: isReserved ? 0 : -1))
            let quota = limit.quota(at: nowMs)
            batch.charges.append(Batch.Charge(quota: quota, verifiesTimeToLive: false))
            let isWindow = quota.algorithm == .fixedWindow || quota.algorithm == .slidingWindow
            batch.appendKey(Self.windowKey(isWindow ? quota.windowStartMs : 0, limit).utf8)
            if quota.algorithm == .slidingWindow {
                batch.appendKey(Self.windowKey(limit.windowBefore(at: nowMs).lowerBound, limit).utf8)
            }
            guard isReserved else { return }
            batch.operations.append(.check(isReserved: true, idempotency: nil))
            batch.appendKey(Self.recordKey(number).utf8)
        }
        if count > 0 && results[0] > 0 { admittedChecks += 1 }
        return (results[0], Usage(results[1...], of: limit.algorithm, isShadow: false))
    }

    mutating func usage(cost: Int64 = 1, nowMs: Int64) -> Usage { check(cost: cost, count: 0, nowMs: nowMs).usage }

    mutating func release(_ number: Int, nowMs: Int64) { _ = settle(number, .release, nowMs: nowMs) }

    /// Whether there was something to do.
    mutating func settle(_ number: Int, _ settlement: Batch.Settlement, nowMs: Int64) -> Bool {
        let results = run(nowMs: nowMs) { batch in
            batch.entries.append(Batch.Entry(cost: 0, count: 0, firstCharge: 0, chargeCount: 0, operation: 0))
            batch.operations.append(.settle(settlement))
            batch.appendKey(Self.recordKey(number).utf8)
        }
        return results == [1]
    }

    private mutating func run(nowMs: Int64, _ fill: (inout Batch) -> Void) -> [Int64] {
        var batch = Batch()
        sequence += 1
        batch.sequence = sequence
        store.clockMs = nowMs
        fill(&batch)
        guard case .success(let reply) = store.run(batch, replica: 1), reply.status == .ran, reply.results[0] >= 0
        else {
            preconditionFailure("the store did not run \(batch) at \(nowMs)")
        }
        return reply.results
    }

    private static func recordKey(_ number: Int) -> String {
        "r:" + String(repeating: "0", count: 32 - "\(number)".count) + "\(number)"
    }
}
