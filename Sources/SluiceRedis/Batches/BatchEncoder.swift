package import NIOCore
package import SluiceEngine
import SluicePolicy

/// Writes a `Batch` as the call of a script; the heads of `prelude.lua` and of the body document the form.
///
/// Checks of one kind are similar, so what entries have in common (their shape: cost, count, windows, maxima) is sent
/// once. An entry is then its place in a run of one shape and its keys. Once its arrays have grown, it allocates
/// nothing.
package struct BatchEncoder {
    private let markerKey: [UInt8]
    private let scriptHashes: BatchScriptHashes
    private var header = MessagePackWriter()
    /// Pairs of the start and the end of each window.
    private var windows: [Int64] = []
    private var shapes: [Shape] = []
    /// The window of each charge of each shape, from 1.
    private var shapeWindows: [Int] = []
    /// The shapes of the batch's entries, in their order.
    private var runs: [Run] = []

    private enum Kind: Int64 {
        case check = 0
        case reserved = 1
        case remembered = 2
        case reservedAndRemembered = 3
        case commit = 4
        case cancel = 5
        case release = 6
        case restore = 7
        case heartbeat = 8
        case remember = 9
        case forget = 10
        case clear = 11
        case overrides = 12
        case charge = 16
        case rememberedCharge = 18
        case refund = 32
        case rememberedRefund = 34
    }

    /// An entry that represents all entries of the same form.
    private struct Shape {
        var entry: Int
        /// Where its windows begin in `shapeWindows`; only for `decide.lua`.
        var firstWindow = 0
        /// Where it begins in ARGV[1], from 1; only for `charge.lua`.
        var place = 0
    }

    /// Neighbours of one shape.
    private struct Run {
        /// From 1.
        var shape: Int
        var length: Int
    }

    /// - Parameters:
    ///   - scriptHashes: what the server answered to `SCRIPT LOAD`; empty if it runs no script by its hash.
    ///   - markerKey: the key under which the scripts keep this replica's sequence.
    package init(scriptHashes: BatchScriptHashes, markerKey: [UInt8]) {
        self.scriptHashes = scriptHashes
        self.markerKey = markerKey
    }

    /// Whether a call may name the script by its hash.
    func hasHash(of script: BatchScript) -> Bool { !scriptHashes[script].isEmpty }

    /// Appends the call to `buffer`.
    /// - Parameter script: `BatchScript(for: batch)`.
    /// - Returns: the offset, from the first byte written, of the part that is the same for `EVALSHA` and `EVAL`.
    package mutating func encode(_ batch: borrowing Batch, for script: BatchScript, into buffer: inout ByteBuffer)
        -> Int
    {
        describe(batch, for: script)
        let start = buffer.writerIndex
        // A head of some 80 bytes; for each key at most "$12345\r\n" and "\r\n".
        buffer.reserveCapacity(
            minimumWritableBytes: 160 + markerKey.count + header.bytes.count + batch.keyBytes.count
                + batch.keyEnds.count * 10)
        buffer.writeArrayHeader(batch.keyEnds.count + 5)
        buffer.writeStaticString("$7\r\nEVALSHA\r\n")
        buffer.writeBulk(scriptHashes[script])
        let shared = buffer.writerIndex - start
        buffer.writeBulk(decimal: batch.keyEnds.count + 1)
        buffer.writeBulk(markerKey)
        var keyStart = 0
        for keyEnd in batch.keyEnds {
            buffer.writeBulk(batch.keyBytes[keyStart..<keyEnd])
            keyStart = keyEnd
        }
        buffer.writeBulk(header.bytes)
        return shared
    }

    /// Turns a call that `encode` wrote into one with the script itself: sent after `NOSCRIPT`.
    /// - Parameter shared: what `encode` returned.
    package static func writeWithScript(
        _ call: ByteBuffer, shared: Int, arguments: Int, script: [UInt8], into buffer: inout ByteBuffer
    ) {
        var rest = call
        rest.moveReaderIndex(forwardBy: shared)
        buffer.writeArrayHeader(arguments)
        buffer.writeStaticString("$4\r\nEVAL\r\n")
        buffer.writeBulk(script)
        buffer.writeBuffer(&rest)
    }

    private static let markerTimeToLive = String(RedisBounds.markerTimeToLiveMs)

    /// Where the body's own values begin in ARGV[1], from 1.
    private static let bodyPlace = 10

    /// Fills `header` with ARGV[1].
    private mutating func describe(_ batch: borrowing Batch, for script: BatchScript) {
        collectShapes(batch)
        header.removeAll()
        let sequence = batch.chargesNothing ? -batch.sequence : batch.sequence
        header.write(String(sequence))
        header.write(String(batch.sequence - 1))
        header.write(sequence)
        header.write(batch.acknowledgedSequence)
        header.write(batch.isStoreBehind ? -batch.minTimeMs : batch.minTimeMs)
        header.write(Self.markerTimeToLive)
        // Every replica has a heartbeat, which is no plain batch, once a second: that is enough.
        header.write(script == .decide ? 1 : 0)
        header.write(batch.forgotSinceMs)
        header.write(batch.requiredSequence)
        switch script {
        case .charge: describePlain(batch)
        case .decide: describeTracked(batch)
        }
    }

    /// All in one list: Redis makes one table of it. With `EngineBounds.maxChargesPerBatch` counters and as many shapes it has
    /// some 5,200 values; Lua takes 8,000 at once.
    private mutating func describePlain(_ batch: borrowing Batch) {
        var place = Self.bodyPlace + 1
        for number in shapes.indices {
            shapes[number].place = place
            place += 4 + 4 * batch.entries[shapes[number].entry].chargeCount
        }
        header.write(Int64(place))
        for shape in shapes { writePlain(shape, of: batch) }
        for run in runs {
            header.write(Int64(shapes[run.shape - 1].place))
            header.write(Int64(run.length))
        }
    }

    private mutating func writePlain(_ shape: Shape, of batch: borrowing Batch) {
        let entry = batch.entries[shape.entry]
        // A count above what any limit admits need not be sent, and keeps the script's product of both exact.
        let count = min(entry.count, RedisBounds.maxCostPerEntry / entry.cost)
        header.write(entry.cost)
        header.write(count)
        header.write(String(entry.cost * count))
        header.write(Int64(entry.chargeCount))
        for i in 0..<entry.chargeCount {
            let charge = batch.charges[entry.firstCharge + i]
            header.write(charge.quota.windowStartMs)
            header.write(charge.quota.windowEndMs)
            // In Lua 2^53 + 1 equals 2^53, so no usage may reach 2^53.
            header.write(min(charge.quota.max, Quota.maxExact - 1))
            header.write(charge.verifiesTimeToLive ? 1 : 0)
        }
    }

    private mutating func describeTracked(_ batch: borrowing Batch) {
        collectWindows(batch)
        header.writeArray(count: windows.count)
        for bound in windows { header.write(bound) }
        header.writeArray(count: shapes.count)
        for shape in shapes { write(shape, of: batch) }
        header.writeArray(count: batch.entries.count)
        for run in runs {
            for _ in 0..<run.length { header.write(Int64(run.shape)) }
        }
        writeAnswers(of: batch)
    }

    private mutating func write(_ shape: Shape, of batch: borrowing Batch) {
        let entry = batch.entries[shape.entry]
        let (kind, number, count) = Self.kind(of: entry, in: batch)
        header.writeArray(count: 3 + 5 * entry.chargeCount)
        header.write(number)
        header.write(count)
        header.write(kind.rawValue)
        for i in 0..<entry.chargeCount {
            let charge = batch.charges[entry.firstCharge + i]
            header.write(Int64(shapeWindows[shape.firstWindow + i]))
            header.write(charge.quota.max)
            header.write(Self.flags(of: charge))
            let parameters = charge.quota.scriptParameters
            header.write(parameters.lengthMs)
            header.write(parameters.extra)
        }
    }

    private static func flags(of charge: Batch.Charge) -> Int64 {
        let countsCalls = charge.quota.countsCalls && charge.quota.algorithm != .concurrency
        return charge.quota.algorithm.rawValue * 4 + (charge.verifiesTimeToLive ? 1 : 0) + (charge.isShadow ? 2 : 0)
            + (countsCalls ? 32 : 0) + (charge.quota.hasUnevenWindows ? 64 : 0)
    }

    private mutating func writeAnswers(of batch: borrowing Batch) {
        let count = batch.entries.count { $0.operation >= 0 && Self.hasIdempotencyKey(batch.operations[$0.operation]) }
        header.writeArray(count: 2 * count)
        for entry in batch.entries where entry.operation >= 0 {
            switch batch.operations[entry.operation] {
            case .check(_, let idempotency?), .charge(let idempotency?), .refund(let idempotency?):
                header.write(idempotency.argumentsHash)
                header.write(idempotency.countersHash)
            case .remember(let answer):
                header.write(Self.packed(answer))
                header.write(String(answer.lifeMs))
            case .forget(let reservation):
                header.write(reservation)
                header.write("")
            case .overrides(_, let change):
                header.write(change?.field ?? [])
                header.write(String(change?.max ?? 0))
            case .check(_, idempotency: nil), .charge(nil), .refund(nil), .settle, .restore, .clear, .heartbeat: break
            }
        }
    }

    private static func hasIdempotencyKey(_ operation: Batch.Operation) -> Bool {
        switch operation {
        case .check(_, let idempotency), .charge(let idempotency), .refund(let idempotency): idempotency != nil
        case .remember, .forget, .overrides: true
        case .settle, .restore, .clear, .heartbeat: false
        }
    }

    /// A cached answer in the form that the script itself writes.
    private static func packed(_ answer: Batch.Answer) -> [UInt8] {
        var idempotency = MessagePackWriter()
        idempotency.writeArray(count: 4 + answer.numbers.count)
        idempotency.write(answer.idempotency.argumentsHash)
        idempotency.write(answer.idempotency.countersHash)
        idempotency.write(answer.isLocal ? -answer.admittedMs : answer.admittedMs)
        idempotency.write(answer.reservation)
        for number in answer.numbers { idempotency.write(number) }
        return idempotency.bytes
    }

    /// An entry's kind, as `decide.lua` numbers it; its main number: a check's cost, the cost a commit settles to, or
    /// how long a heartbeat or an override counts; and its count of checks, when a replica had nothing to write back, or
    /// which version of the overrides it knows.
    private static func kind(
        of entry: Batch.Entry, in batch: borrowing Batch
    ) -> (kind: Kind, number: Int64, count: Int64) {
        guard entry.operation >= 0 else { return (.check, entry.cost, entry.count) }
        switch batch.operations[entry.operation] {
        case .check(isReserved: false, idempotency: nil): return (.check, entry.cost, entry.count)
        case .check(isReserved: true, idempotency: nil): return (.reserved, entry.cost, entry.count)
        case .check(isReserved: false, idempotency: .some): return (.remembered, entry.cost, entry.count)
        case .check(isReserved: true, idempotency: .some): return (.reservedAndRemembered, entry.cost, entry.count)
        case .settle(.commit(let cost)): return (.commit, cost, entry.count)
        case .settle(.cancel): return (.cancel, 0, entry.count)
        case .settle(.release): return (.release, 0, entry.count)
        case .charge(let idempotency):
            return (idempotency == nil ? .charge : .rememberedCharge, entry.cost, entry.count)
        case .refund(let idempotency):
            return (idempotency == nil ? .refund : .rememberedRefund, entry.cost, entry.count)
        case .restore: return (.restore, entry.cost, entry.count)
        case .clear: return (.clear, entry.cost, entry.count)
        case .heartbeat(let lifeMs, let writtenBackMs): return (.heartbeat, lifeMs, writtenBackMs)
        case .remember: return (.remember, 0, entry.count)
        case .forget: return (.forget, 0, entry.count)
        case .overrides(let known, let change): return (.overrides, change?.forMs ?? 0, known)
        }
    }

    private mutating func collectShapes(_ batch: borrowing Batch) {
        shapes.removeAll(keepingCapacity: true)
        runs.removeAll(keepingCapacity: true)
        for index in batch.entries.indices {
            // Neighbours are the most likely to have the same shape.
            if let last = runs.last, Self.look(batch, index, like: shapes[last.shape - 1]) {
                runs[runs.count - 1].length += 1
            } else {
                runs.append(Run(shape: shape(of: index, in: batch), length: 1))
            }
        }
    }

    /// The number of an entry's shape among the latest, or of a new one.
    private mutating func shape(of index: Int, in batch: borrowing Batch) -> Int {
        for number in shapes.indices.suffix(RedisBounds.maxDedupeLookback)
        where Self.look(batch, index, like: shapes[number]) {
            return number + 1
        }
        shapes.append(Shape(entry: index))
        return shapes.count
    }

    /// Fills `windows` and `shapeWindows`.
    private mutating func collectWindows(_ batch: borrowing Batch) {
        windows.removeAll(keepingCapacity: true)
        shapeWindows.removeAll(keepingCapacity: true)
        for number in shapes.indices {
            shapes[number].firstWindow = shapeWindows.count
            let entry = batch.entries[shapes[number].entry]
            for i in 0..<entry.chargeCount {
                shapeWindows.append(window(of: batch.charges[entry.firstCharge + i]))
            }
        }
    }

    private mutating func window(of charge: Batch.Charge) -> Int {
        let count = windows.count / 2
        for number in (max(0, count - RedisBounds.maxDedupeLookback)..<count).reversed()
        where windows[number * 2] == charge.quota.windowStartMs && windows[number * 2 + 1] == charge.quota.windowEndMs {
            return number + 1
        }
        windows.append(charge.quota.windowStartMs)
        windows.append(charge.quota.windowEndMs)
        return count + 1
    }

    private static func look(_ batch: borrowing Batch, _ index: Int, like shape: Shape) -> Bool {
        let one = batch.entries[index]
        let other = batch.entries[shape.entry]
        guard one.cost == other.cost, one.count == other.count, one.chargeCount == other.chargeCount else {
            return false
        }
        if one.operation != other.operation, kind(of: one, in: batch) != kind(of: other, in: batch) {
            return false
        }
        for i in 0..<one.chargeCount {
            let a = batch.charges[one.firstCharge + i]
            let b = batch.charges[other.firstCharge + i]
            guard a == b else { return false }
        }
        return true
    }
}
