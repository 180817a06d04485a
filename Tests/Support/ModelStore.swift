package import SluiceEngine

/// A model of a Redis that runs `charge.lua`, in plain Swift: for tests that want a store without a process.
///
/// Its clock stands still until the test moves it. `run` does what one call of the script does, atomically.
package struct ModelStore: Sendable {
    /// What a key holds.
    package enum Value: Sendable, Equatable {
        case integer(Int64)
        /// Something that is no counter: a list, say, or a string that is not a number.
        case foreign
    }

    private struct Item {
        var value: Value
        /// By the store's clock, ms; nil: it lives for ever.
        var expiresAtMs: Int64?
    }

    /// The store's own clock, ms since the epoch. May be set back, as a failover would.
    package var clockMs: Int64
    /// While it is set, every call is refused with it before it runs (`LOADING`, say).
    package var refusal: String?
    /// How many calls ran, whatever they answered.
    package private(set) var runs = 0
    private var counters: [[UInt8]: Item] = [:]
    private var markers: [UInt64: Item] = [:]

    /// How long keys outlive their window, ms; as in the script.
    private static let expirySlackMs: Int64 = 60_000
    private static let markerTimeToLiveMs: Int64 = 3_600_000

    package init(clockMs: Int64) { self.clockMs = clockMs }

    // MARK: - The script

    package mutating func run(_ batch: Batch, replica: UInt64) -> Result<BatchReply, BatchFailure> {
        if let refusal { return .failure(.refused(refusal)) }
        runs += 1
        let nowMs = max(clockMs, batch.floorMs)
        var reply = BatchReply()
        reply.timeMs = clockMs
        reply.previousSequence = marker(of: replica)
        let isLate = reply.previousSequence >= batch.sequence
        markers[replica] = Item(
            value: .integer(isLate ? reply.previousSequence : batch.sequence),
            expiresAtMs: clockMs + Self.markerTimeToLiveMs)
        if isLate {
            reply.status = .superseded
        } else if reply.previousSequence < batch.acknowledgedSequence {
            reply.status = .forgot
        } else {
            for entry in batch.entries { run(entry, of: batch, nowMs: nowMs, into: &reply) }
        }
        return .success(reply)
    }

    private mutating func run(_ entry: Batch.Entry, of batch: Batch, nowMs: Int64, into reply: inout BatchReply) {
        let charges = entry.firstCharge..<entry.firstCharge + entry.chargeCount
        let holds = charges.allSatisfy {
            nowMs >= batch.charges[$0].terms.windowStartMs && nowMs < batch.charges[$0].terms.windowEndMs
        }
        guard holds else {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        var tallies: [Int64] = []
        let outcome =
            entry.count == 0
            ? peek(entry, charges, of: batch, tallies: &tallies) : charge(entry, charges, of: batch, tallies: &tallies)
        guard let outcome else {
            reply.results.append(BatchReply.fault)
            reply.words.append("WRONGTYPE Operation against a key holding the wrong kind of value")
            return
        }
        reply.results.append(outcome)
        reply.results += tallies
    }

    /// nil: a counter is at fault.
    private func peek(
        _ entry: Batch.Entry, _ charges: Range<Int>, of batch: Batch, tallies: inout [Int64]
    ) -> Int64? {
        var passes: Int64 = 1
        for index in charges {
            guard case .integer(let used) = value(of: Array(batch.key(index))) ?? .integer(0) else {
                return nil
            }
            tallies.append(used)
            if used > batch.charges[index].terms.max - entry.cost { passes = 0 }
        }
        return passes
    }

    /// nil: a counter is at fault, and what was charged has been taken back.
    private mutating func charge(
        _ entry: Batch.Entry, _ charges: Range<Int>, of batch: Batch, tallies: inout [Int64]
    ) -> Int64? {
        let wanted = entry.cost * entry.count
        var admitted = entry.count
        for index in charges {
            let charge = batch.charges[index]
            let key = Array(batch.key(index))
            guard let tally = add(wanted, to: key) else {
                for earlier in charges.lowerBound..<index { _ = add(-wanted, to: Array(batch.key(earlier))) }
                return nil
            }
            if tally == wanted || (charge.verifiesTimeToLive && counters[key]?.expiresAtMs == nil) {
                counters[key]?.expiresAtMs = charge.terms.windowEndMs + Self.expirySlackMs
            }
            let room = charge.terms.max - tally + wanted
            admitted = min(admitted, room < 0 ? 0 : room / entry.cost)
        }
        let back = (entry.count - admitted) * entry.cost
        for index in charges { tallies.append(add(-back, to: Array(batch.key(index))) ?? 0) }
        return admitted
    }

    /// `INCRBY`: nil if the key holds no integer.
    private mutating func add(_ amount: Int64, to key: [UInt8]) -> Int64? {
        switch value(of: key) {
        case .foreign:
            return nil
        case .integer(let before):
            let (after, overflow) = before.addingReportingOverflow(amount)
            if overflow { return nil }
            counters[key]?.value = .integer(after)
            return after
        case nil:
            counters[key] = Item(value: .integer(amount), expiresAtMs: nil)
            return amount
        }
    }

    private func marker(of replica: UInt64) -> Int64 {
        guard let item = markers[replica], !isExpired(item), case .integer(let sequence) = item.value else { return 0 }
        return sequence
    }

    private func isExpired(_ item: Item) -> Bool { item.expiresAtMs.map { $0 <= clockMs } ?? false }

    // MARK: - What a test arranges and looks up

    /// nil if there is no such key, or it has expired.
    package func value(of key: [UInt8]) -> Value? {
        guard let item = counters[key], !isExpired(item) else { return nil }
        return item.value
    }

    /// The tally of a counter; 0 if there is none.
    package func tally(of key: [UInt8]) -> Int64 {
        if case .integer(let tally) = value(of: key) { tally } else { 0 }
    }

    package func timeToLiveMs(of key: [UInt8]) -> Int64? {
        guard let item = counters[key], !isExpired(item) else { return nil }
        return item.expiresAtMs.map { $0 - clockMs }
    }

    /// Writes a key as another client would, with no time to live.
    package mutating func set(_ key: [UInt8], _ value: Value) { counters[key] = Item(value: value, expiresAtMs: nil) }

    /// Every counter under a prefix, as a scan finds them.
    package func stored(prefix: [UInt8]) -> [StoredCounter] {
        counters.keys.filter { $0.starts(with: prefix) }.compactMap { key in
            guard case .integer(let used) = value(of: key) else { return nil }
            return StoredCounter(key: key, used: used)
        }
    }

    /// `FLUSHALL`.
    package mutating func flush() {
        counters = [:]
        markers = [:]
    }

    /// Forgets the last batch of a replica, as if its marker had been evicted.
    package mutating func forgetMarker(of replica: UInt64) { markers[replica] = nil }
}
