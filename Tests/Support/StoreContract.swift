package import SluiceEngine
import SluicePolicy

/// A store that the contract suite is run over: it answers batches, and lets a test look at its keys and spoil them.
package protocol ContractStore {
    /// Every batch comes from the same replica.
    mutating func run(_ batch: Batch) async throws -> BatchReply
    /// `GET`; nil if there is no such key. Used only for windows, denials and token buckets.
    mutating func text(of key: String) async throws -> String?
    /// When a key expires, ms since the epoch; nil if it never does, or if there is none.
    mutating func expiresAtMs(of key: String) async throws -> Int64?
    /// `SET`, with no time to live.
    mutating func set(_ key: String, _ text: String) async throws
    /// Makes it a list, which is nothing that the store's scripts write.
    mutating func setList(_ key: String) async throws
    /// Makes it a set of slots with one slot, which expires at such a time, ms since the epoch.
    mutating func setSlot(_ key: String, expiresAtMs: Int64) async throws
    /// `PERSIST`.
    mutating func persist(_ key: String) async throws
    /// `DEL`.
    mutating func delete(_ key: String) async throws
    /// `ZADD` to the list of replicas.
    mutating func addToReplicas(_ key: String, _ member: String, _ score: String) async throws
    /// `SET` of the replica's marker; a list in its place if nil.
    mutating func setMarker(_ text: String?) async throws
}

/// What every store promises of the batches that it runs: the same cases for the model and for a real one.
///
/// The clock of a real store cannot be set. But no store's `now` is below `Batch.minTimeMs`, so every batch has a floor in
/// the far future, and each case begins later than the one before ended. Nothing expires meanwhile: keys go by the real
/// clock.
package struct StoreContract {
    package struct Case: Sendable, CustomStringConvertible {
        package let name: String
        let body: @Sendable (inout StoreContract) async throws -> Void

        package var description: String { name }

        init(_ name: String, _ body: @escaping @Sendable (inout StoreContract) async throws -> Void) {
            self.name = name
            self.body = body
        }
    }

    package struct Violation: Error, CustomStringConvertible {
        package let description: String
    }

    package static let cases: [Case] =
        fixedWindowCases + slidingWindowCases + tokenBucketCases + concurrencyCases + mixedCases + shadowCases
        + commitCases + cancelCases + bucketSettlementCases + slotSettlementCases + memoCases + faultCases + markerCases
        + offerCases + additionCases + heartbeatCases + slidingLogCases + logSettlementCases + logOfferCases
        + callCases + chargeCases + refundCases + clearCases + excessCases + overrideCases

    /// 2030-01-01: ahead of the clock of any store that this runs over.
    private static let firstDayMs: Int64 = 1_893_456_000_000
    static let dayMs: Int64 = 86_400_000

    var store: any ContractStore
    /// Gives every batch another entry, which is decided only by the script for more than plain fixed windows.
    private let isDressed: Bool
    private var caseName = ""
    private var lastSequence: Int64 = 0
    /// When the case began: the beginning of a day, and with it of every shorter window.
    private(set) var startMs: Int64
    /// What time it is for the store.
    private(set) var nowMs: Int64

    /// - Parameter store: holds no key under `contract:`, and has seen no batch of this replica.
    package init(over store: any ContractStore, isDressed: Bool = false) {
        self.store = store
        self.isDressed = isDressed
        startMs = Self.firstDayMs
        nowMs = Self.firstDayMs
    }

    /// Runs one case after the others that ran.
    package mutating func run(_ one: Case) async throws {
        caseName = one.name
        startMs = (nowMs / Self.dayMs + 1) * Self.dayMs
        nowMs = startMs
        try await one.body(&self)
    }

    // MARK: - What a case says

    /// One counter.
    struct Charge {
        var keys: [String]
        var quota: Quota
        var isShadow = false
        var verifies = false

        /// The same limit, counting calls.
        func ofCalls() -> Charge {
            var charge = self
            charge.quota = Quota(
                algorithm: quota.algorithm, max: quota.max, burst: quota.burst, windowStartMs: quota.windowStartMs,
                windowEndMs: quota.windowEndMs, lengthMs: quota.lengthMs, countsCalls: true)
            return charge
        }

        /// The same limit as a shadow.
        func shadow() -> Charge {
            var charge = self
            charge.isShadow = true
            charge.keys.append(charge.keys[0] + ":!")
            return charge
        }

        func verifying() -> Charge {
            var charge = self
            charge.verifies = true
            return charge
        }
    }

    struct Entry {
        var cost: Int64 = 0
        var count: Int64 = 0
        var charges: [Charge] = []
        var operation: Batch.Operation?
        var specialKeys: [String] = []
    }

    func key(_ name: String) -> String { "contract:{\(caseName)}:\(name)" }

    /// A reservation's id: 32 hexadecimal digits.
    func id(_ reservation: String) -> String {
        let digits = reservation.utf8.map { String($0, radix: 16) }.joined()
        return String(repeating: "0", count: max(0, 32 - digits.count)) + digits
    }

    func recordKey(_ reservation: String) -> String { key("reservation:\(id(reservation))") }

    /// The window of that length that holds now.
    func window(_ lengthMs: Int64) -> Range<Int64> { nowMs / lengthMs * lengthMs..<(nowMs / lengthMs + 1) * lengthMs }

    func fixedKey(_ name: String, _ lengthMs: Int64 = 60_000) -> String {
        windowKey(name, window(lengthMs).lowerBound, lengthMs)
    }

    /// With the code and the start of a window as in real keys, which a commit's excess is charged by; 0: of a calendar.
    func windowKey(_ name: String, _ startMs: Int64, _ lengthMs: Int64) -> String {
        guard lengthMs % 1_000 == 0 else { return key("\(name):\(startMs)") }
        let start = String(startMs / (lengthMs > 0 ? lengthMs : 1_000), radix: 36)
        return key("\(name):f\(lengthMs > 0 ? "\(lengthMs / 1_000)" : "m"):\(start)")
    }

    func fixed(_ name: String, max: Int64, lengthMs: Int64 = 60_000) -> Charge {
        Charge(keys: [fixedKey(name, lengthMs)], quota: .fixedWindow(max: max, window: window(lengthMs)))
    }

    func sliding(_ name: String, max: Int64, lengthMs: Int64 = 60_000) -> Charge {
        let window = window(lengthMs)
        return Charge(
            keys: [fixedKey(name, lengthMs), windowKey(name, window.lowerBound - lengthMs, lengthMs)],
            quota: Quota(
                algorithm: .slidingWindow, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
                lengthMs: lengthMs))
    }

    /// Of windows that are not equally long.
    func sliding(_ name: String, max: Int64, in window: Range<Int64>, after before: Range<Int64>) -> Charge {
        Charge(
            keys: [windowKey(name, window.lowerBound, 0), windowKey(name, before.lowerBound, 0)],
            quota: Quota(
                algorithm: .slidingWindow, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
                lengthMs: window.upperBound - window.lowerBound,
                previousLengthMs: before.upperBound - before.lowerBound))
    }

    func bucket(_ name: String, max: Int64, burst: Int64, lengthMs: Int64 = 60_000) -> Charge {
        Charge(
            keys: [key(name)],
            quota: Quota(
                algorithm: .tokenBucket, max: max, burst: burst, windowStartMs: Quota.endless.lowerBound,
                windowEndMs: Quota.endless.upperBound, lengthMs: lengthMs))
    }

    func slots(_ name: String, max: Int64, holdMs: Int64 = 3_600_000) -> Charge {
        Charge(
            keys: [key(name)],
            quota: Quota(
                algorithm: .concurrency, max: max, holdMs: holdMs, windowStartMs: Quota.endless.lowerBound,
                windowEndMs: Quota.endless.upperBound, lengthMs: Quota.maxExact))
    }

    /// A limit that never binds, and for which a record is kept for a day.
    func anchor() -> Charge { fixed("anchor", max: 1_000_000_000, lengthMs: Self.dayMs) }

    func check(
        cost: Int64 = 1, count: Int64 = 1, _ charges: Charge..., reserve: String? = nil,
        idempotency: (id: String, arguments: String, counters: String)? = nil
    ) -> Entry {
        var entry = Entry(cost: cost, count: count, charges: charges)
        guard reserve != nil || idempotency != nil else { return entry }
        if let reserve { entry.specialKeys.append(recordKey(reserve)) }
        if let idempotency { entry.specialKeys.append(key("id:\(idempotency.id)")) }
        entry.operation = .check(
            isReserved: reserve != nil,
            idempotency: idempotency.map { Batch.Idempotency(argumentsHash: $0.arguments, countersHash: $0.counters) })
        return entry
    }

    func charge(
        _ cost: Int64, _ charges: Charge..., id: (id: String, arguments: String, counters: String)? = nil
    ) -> Entry {
        account(cost, charges, id) { .charge(idempotency: $0) }
    }

    func refund(
        _ cost: Int64, _ charges: Charge..., id: (id: String, arguments: String, counters: String)? = nil
    ) -> Entry {
        account(cost, charges, id) { .refund(idempotency: $0) }
    }

    func clear(_ charge: Charge) -> Entry {
        Entry(cost: 1, count: 1, charges: [charge], operation: .clear, specialKeys: [])
    }

    private func account(
        _ cost: Int64, _ charges: [Charge], _ id: (id: String, arguments: String, counters: String)?,
        _ operation: (Batch.Idempotency?) -> Batch.Operation
    ) -> Entry {
        Entry(
            cost: cost, count: 1, charges: charges,
            operation: operation(id.map { Batch.Idempotency(argumentsHash: $0.arguments, countersHash: $0.counters) }),
            specialKeys: id.map { [key("id:\($0.id)")] } ?? [])
    }

    func peek(cost: Int64 = 1, _ charges: Charge...) -> Entry { Entry(cost: cost, count: 0, charges: charges) }

    typealias AnswerWords = (id: String, arguments: String, counters: String)

    /// What a replica answered by itself.
    func remember(
        _ idempotency: AnswerWords, admittedMs: Int64, isLocal: Bool = true, reservation: String? = nil,
        numbers: [Int64] = [],
        lifeMs: Int64 = 600_000
    ) -> Entry {
        let answer = Batch.Answer(
            idempotency: Batch.Idempotency(argumentsHash: idempotency.arguments, countersHash: idempotency.counters),
            isLocal: isLocal,
            admittedMs: admittedMs, reservation: reservation.map(id) ?? "", numbers: numbers, lifeMs: lifeMs)
        return Entry(operation: .remember(answer), specialKeys: [key("id:\(idempotency.id)")])
    }

    func forget(_ idempotency: String, _ reservation: String) -> Entry {
        Entry(operation: .forget(reservation: id(reservation)), specialKeys: [key("id:\(idempotency)")])
    }

    func settle(_ settlement: Batch.Settlement, _ reservation: String) -> Entry {
        Entry(operation: .settle(settlement), specialKeys: [recordKey(reservation)])
    }

    func commit(_ reservation: String, _ cost: Int64) -> Entry { settle(.commit(cost: cost), reservation) }

    func cancel(_ reservation: String) -> Entry { settle(.cancel, reservation) }

    func release(_ reservation: String) -> Entry { settle(.release, reservation) }

    // MARK: - What a case does

    /// Lets time pass until so long after the case began; never back.
    mutating func pass(until offsetMs: Int64) {
        precondition(startMs + offsetMs >= nowMs, "floors only rise")
        nowMs = startMs + offsetMs
    }

    /// Runs a batch and compares what it answers. Of faults, and of counters that were passed over, only their number is compared with `words`, and that words
    /// were said.
    mutating func expect(
        _ entries: Entry..., gives results: [Int64], words: [String] = [], line: UInt = #line
    ) async throws {
        let reply = try await run(entries)
        let faults = results.count { $0 == BatchReply.fault || $0 == BatchReply.passedOver }
        guard reply.status == .ran, reply.results == results else {
            throw violation("\(reply.status) \(reply.results) \(reply.words) instead of \(results)", line: line)
        }
        guard faults > 0 ? reply.words.count == faults && !reply.words.contains("") : reply.words == words else {
            throw violation("words \(reply.words) instead of \(words)", line: line)
        }
    }

    mutating func run(
        _ entries: [Entry], sequence: Int64? = nil, acknowledged: Int64? = nil, required: Int64 = 0,
        lossMs: Int64 = 0, isBehind: Bool = false
    ) async throws -> BatchReply {
        var batch = Batch()
        batch.isStoreBehind = isBehind
        batch.forgotSinceMs = lossMs
        batch.acknowledgedSequence = acknowledged ?? lastSequence
        lastSequence = sequence ?? lastSequence + 1
        batch.sequence = lastSequence
        batch.requiredSequence = required
        batch.minTimeMs = nowMs
        for entry in entries { batch.append(entry) }
        guard isDressed else { return try await store.run(batch) }
        batch.append(peek(bucket("dress", max: 1, burst: 1)))
        var reply = try await store.run(batch)
        guard reply.status == .ran else { return reply }
        guard reply.results.suffix(2) == [1, 0] else {
            throw violation("the dress is at fault: \(reply.results) \(reply.words)", line: #line)
        }
        reply.results.removeLast(2)
        return reply
    }

    /// The next batch has the first sequence again.
    mutating func beginAgain() { lastSequence = 0 }

    /// The sequence of the last batch.
    var sequence: Int64 { lastSequence }

    /// Compares a key's value, as `GET` returns it.
    mutating func expect(_ key: String, holds text: String?, line: UInt = #line) async throws {
        let found = try await store.text(of: key)
        if found != text { throw violation("\(key) holds \(found ?? "nothing"), not \(text ?? "nothing")", line: line) }
    }

    /// Compares when a key expires, ms after the case began.
    mutating func expect(_ key: String, expiresAt offsetMs: Int64?, line: UInt = #line) async throws {
        let found = try await store.expiresAtMs(of: key).map { $0 - startMs }
        if found != offsetMs { throw violation("\(key) expires at \(String(describing: found)) ms", line: line) }
    }

    func violation(_ what: String, line: UInt) -> Violation {
        Violation(description: "\(caseName), line \(line): \(what)")
    }
}

extension Batch {
    fileprivate mutating func append(_ entry: StoreContract.Entry) {
        entries.append(
            Entry(
                cost: entry.cost, count: entry.count, firstCharge: charges.count, chargeCount: entry.charges.count,
                operation: entry.operation == nil ? -1 : operations.count))
        for charge in entry.charges {
            for key in charge.keys { appendKey(key.utf8) }
            charges.append(
                Charge(quota: charge.quota, isShadow: charge.isShadow, verifiesTimeToLive: charge.verifies))
        }
        if let operation = entry.operation { operations.append(operation) }
        for key in entry.specialKeys { appendKey(key.utf8) }
    }
}
