package import NIOCore
package import SluiceEngine

/// Writes a `Batch` as the call of the script `charge.lua`; the script's head documents the form.
///
/// Checks of one kind look alike, so what entries have in common (their shape: cost, count, windows, maxima) is sent
/// once, and an entry is its shape's number and its keys. It allocates nothing once its arrays have grown.
package struct BatchEncoder {
    private let markerKey: [UInt8]
    private let scriptHash: [UInt8]
    private var header = MessagePackWriter()
    /// Start and end of each window, by turns.
    private var windows: [Int64] = []
    private var shapes: [Shape] = []
    /// The window of each charge of each shape, from 1.
    private var shapeWindows: [Int] = []
    /// For each entry of the batch its shape, from 1.
    private var entryShapes: [Int] = []

    /// An entry that stands for all that look like it.
    private struct Shape {
        var entry: Int
        /// Where its windows begin in `shapeWindows`.
        var firstWindow: Int
    }

    /// - Parameters:
    ///   - scriptHash: the script's SHA-1 in hexadecimal, as `SCRIPT LOAD` answered it.
    ///   - markerKey: the key under which the script keeps this replica's sequence.
    package init(scriptHash: [UInt8], markerKey: [UInt8]) {
        self.scriptHash = scriptHash
        self.markerKey = markerKey
    }

    /// The key of a replica's marker: `PREFIX:1:replica:ID`, the id in hexadecimal.
    package static func markerKey(prefix: String, replica: UInt64) -> [UInt8] {
        let id = String(replica, radix: 16)
        return Array("\(prefix):1:replica:\(String(repeating: "0", count: 16 - id.count))\(id)".utf8)
    }

    /// Appends the call to `buffer`.
    /// - Returns: where in it, counted from what was written first, the part begins that is the same for `EVALSHA`
    ///   and `EVAL`.
    package mutating func encode(_ batch: Batch, into buffer: inout ByteBuffer) -> Int {
        describe(batch)
        let start = buffer.writerIndex
        // A head of some 80 bytes; for each key at most "$12345\r\n" and "\r\n".
        buffer.reserveCapacity(
            minimumWritableBytes: 160 + markerKey.count + header.bytes.count + batch.keyBytes.count
                + batch.charges.count * 10)
        buffer.writeArrayHeader(batch.charges.count + 5)
        buffer.writeStaticString("$7\r\nEVALSHA\r\n")
        buffer.writeBulk(scriptHash)
        let shared = buffer.writerIndex - start
        buffer.writeBulk(decimal: batch.charges.count + 1)
        buffer.writeBulk(markerKey)
        var keyStart = 0
        for keyEnd in batch.keyEnds {
            buffer.writeBulk(batch.keyBytes[keyStart..<keyEnd])
            keyStart = keyEnd
        }
        buffer.writeBulk(header.bytes)
        return shared
    }

    /// Turns a call that `encode` wrote into one that brings the script along: what to send after `NOSCRIPT`.
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

    /// Fills `header` with ARGV[1].
    private mutating func describe(_ batch: Batch) {
        collectShapes(batch)
        header.removeAll()
        header.write(batch.sequence)
        header.write(batch.acknowledgedSequence)
        header.write(batch.floorMs)
        header.write(RedisBounds.markerTimeToLiveMs)
        header.writeArray(count: windows.count)
        for bound in windows { header.write(bound) }
        header.writeArray(count: shapes.count)
        for shape in shapes { write(shape, of: batch) }
        header.writeArray(count: entryShapes.count)
        for shape in entryShapes { header.write(Int64(shape)) }
    }

    private mutating func write(_ shape: Shape, of batch: Batch) {
        let entry = batch.entries[shape.entry]
        header.writeArray(count: 2 + 3 * entry.chargeCount)
        header.write(entry.cost)
        header.write(entry.count)
        for i in 0..<entry.chargeCount {
            let charge = batch.charges[entry.firstCharge + i]
            header.write(Int64(shapeWindows[shape.firstWindow + i]))
            header.write(charge.terms.max)
            header.write(charge.verifiesTimeToLive ? 1 : 0)
        }
    }

    private mutating func collectShapes(_ batch: Batch) {
        windows.removeAll(keepingCapacity: true)
        shapes.removeAll(keepingCapacity: true)
        shapeWindows.removeAll(keepingCapacity: true)
        entryShapes.removeAll(keepingCapacity: true)
        for index in batch.entries.indices {
            // Neighbours are the likeliest to look alike.
            if let last = entryShapes.last, look(batch, index, like: shapes[last - 1]) {
                entryShapes.append(last)
            } else {
                entryShapes.append(shape(of: index, in: batch))
            }
        }
    }

    /// The number of an entry's shape among the latest, or of a new one.
    private mutating func shape(of index: Int, in batch: Batch) -> Int {
        for number in shapes.indices.suffix(RedisBounds.maxDedupeLookback)
        where look(batch, index, like: shapes[number]) {
            return number + 1
        }
        shapes.append(Shape(entry: index, firstWindow: shapeWindows.count))
        let entry = batch.entries[index]
        for i in 0..<entry.chargeCount {
            shapeWindows.append(window(of: batch.charges[entry.firstCharge + i]))
        }
        return shapes.count
    }

    private mutating func window(of charge: Batch.Charge) -> Int {
        let count = windows.count / 2
        for number in (max(0, count - RedisBounds.maxDedupeLookback)..<count).reversed()
        where windows[number * 2] == charge.terms.windowStartMs && windows[number * 2 + 1] == charge.terms.windowEndMs {
            return number + 1
        }
        windows.append(charge.terms.windowStartMs)
        windows.append(charge.terms.windowEndMs)
        return count + 1
    }

    private func look(_ batch: Batch, _ index: Int, like shape: Shape) -> Bool {
        let one = batch.entries[index]
        let other = batch.entries[shape.entry]
        guard one.cost == other.cost, one.count == other.count, one.chargeCount == other.chargeCount else {
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
