import SluiceEngine
import SluicePolicy

/// A window that holds now for as long as the tests run: from 2020 to 2100.
let longWindow: Range<Int64> = 1_577_836_800_000..<4_102_444_800_000

/// One counter of an entry, as tests write it.
struct TestCharge {
    var key: String
    var max: Int64
    var window = longWindow
    var verifies = false
    var algorithm = Algorithm.fixedWindow
    var burst: Int64 = 0
    var holdMs: Int64 = 0
    /// nil: that of the window.
    var lengthMs: Int64?
    /// Of a sliding window: the key of the window before.
    var previousKey = ""
    var isShadow = false
    var countsCalls = false
    /// Whether its windows differ in length.
    var isUneven = false

    static func sliding(
        _ key: String, before: String, max: Int64, window: Range<Int64> = longWindow, verifies: Bool = false
    ) -> TestCharge {
        TestCharge(
            key: key, max: max, window: window, verifies: verifies, algorithm: .slidingWindow, previousKey: before)
    }

    static func bucket(_ key: String, max: Int64, burst: Int64, lengthMs: Int64, verifies: Bool = false) -> TestCharge {
        TestCharge(
            key: key, max: max, window: Quota.endless, verifies: verifies, algorithm: .tokenBucket, burst: burst,
            lengthMs: lengthMs)
    }

    static func slots(_ key: String, max: Int64, holdMs: Int64, verifies: Bool = false) -> TestCharge {
        TestCharge(
            key: key, max: max, window: Quota.endless, verifies: verifies, algorithm: .concurrency, holdMs: holdMs)
    }

    /// The same limit as a shadow.
    var shadow: TestCharge {
        var charge = self
        charge.isShadow = true
        return charge
    }

    var keys: [String] {
        [key] + (algorithm == .slidingWindow ? [previousKey] : []) + (isShadow ? [key + ":!"] : [])
    }

    var charge: Batch.Charge {
        let quota = Quota(
            algorithm: algorithm, max: max, burst: burst, holdMs: holdMs, windowStartMs: window.lowerBound,
            windowEndMs: window.upperBound, lengthMs: lengthMs ?? (window.upperBound - window.lowerBound),
            countsCalls: countsCalls, hasUnevenWindows: isUneven)
        return Batch.Charge(quota: quota, isShadow: isShadow, verifiesTimeToLive: verifies)
    }
}

/// The key of a reservation's record, from a short name of hexadecimal digits.
func recordKey(_ name: String) -> String { "reservation:" + reservationID(name) }

func reservationID(_ name: String) -> String { String(repeating: "0", count: 32 - name.utf8.count) + name }

extension Batch {
    init(sequence: Int64, acknowledged: Int64 = 0, minTimeMs: Int64 = 0) {
        self.init()
        self.sequence = sequence
        acknowledgedSequence = acknowledged
        self.minTimeMs = minTimeMs
    }

    mutating func add(cost: Int64 = 1, count: Int64 = 1, _ charges: TestCharge...) {
        add(cost: cost, count: count, charges)
    }

    /// - Parameters:
    ///   - reserve: the reservation's short name, see `recordKey`.
    ///   - memo: its key and what it holds.
    mutating func add(
        cost: Int64 = 1, count: Int64 = 1, _ charges: [TestCharge], reserve: String? = nil,
        idempotency: (key: String, idempotency: Idempotency)? = nil
    ) {
        let isTracked = reserve != nil || idempotency != nil
        entries.append(
            Entry(
                cost: cost, count: count, firstCharge: self.charges.count, chargeCount: charges.count,
                operation: isTracked ? operations.count : -1))
        for charge in charges {
            for key in charge.keys { appendKey(key.utf8) }
            self.charges.append(charge.charge)
        }
        if isTracked { operations.append(.check(isReserved: reserve != nil, idempotency: idempotency?.idempotency)) }
        if let reserve { appendKey(recordKey(reserve).utf8) }
        if let idempotency { appendKey(idempotency.key.utf8) }
    }

    /// A charge whatever the maxima say, or a refund.
    mutating func account(
        cost: Int64, _ charges: [TestCharge], isRefund: Bool, idempotency: (key: String, idempotency: Idempotency)?
    ) {
        add(cost: cost, charges)
        entries[entries.count - 1].operation = operations.count
        operations.append(
            isRefund ? .refund(idempotency: idempotency?.idempotency) : .charge(idempotency: idempotency?.idempotency))
        if let idempotency { appendKey(idempotency.key.utf8) }
    }

    /// What a replica last saw of a counter.
    mutating func restore(_ amount: Int64, _ charge: TestCharge) {
        add(cost: amount, charge)
        entries[entries.count - 1].operation = operations.count
        operations.append(.restore)
    }

    mutating func settle(_ settlement: Settlement, _ reservation: String) {
        entries.append(
            Entry(cost: 0, count: 0, firstCharge: charges.count, chargeCount: 0, operation: operations.count))
        operations.append(.settle(settlement))
        appendKey(recordKey(reservation).utf8)
    }
}
