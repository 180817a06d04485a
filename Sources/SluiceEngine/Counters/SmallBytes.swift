/// A byte string. Short ones are stored in the value itself, without another memory access; long ones are boxed.
struct SmallBytes<let room: Int>: Sendable {
    private var nearCount: UInt8 = 0
    private var near = InlineArray<room, UInt8>(repeating: 0)
    private var boxed: [UInt8]?

    init(_ bytes: [UInt8]) {
        precondition(room <= Int(UInt8.max))
        guard bytes.count <= room else {
            boxed = bytes
            return
        }
        for index in bytes.indices { near[index] = bytes[index] }
        nearCount = UInt8(bytes.count)
    }

    /// Bytes stored outside the value.
    var boxedBytes: Int { boxed.map { HeldBytes.array($0.count) } ?? 0 }

    /// The same for a string of this length.
    static func boxedBytes(of count: Int) -> Int { count > room ? HeldBytes.array(count) : 0 }

    var count: Int { boxed?.count ?? Int(nearCount) }

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    /// Appends them to an array.
    @inline(__always)
    func append(to bytes: inout [UInt8]) {
        if let boxed { return bytes.append(contentsOf: boxed) }
        near.span.extracting(first: Int(nearCount)).withUnsafeBufferPointer { bytes.append(contentsOf: $0) }
    }

    @inline(__always)
    func isEqual(to others: [UInt8]) -> Bool {
        if let boxed { return boxed == others }
        guard others.count == Int(nearCount) else { return false }
        let mine = near.span
        let other = others.span
        // Without an early exit, the compiler compares many bytes at a time.
        var difference: UInt8 = 0
        for index in other.indices { difference |= mine[unchecked: index] ^ other[unchecked: index] }
        return difference == 0
    }

    /// As for `bytes`.
    func stableHash(after hash: UInt64) -> UInt64 {
        if let boxed { return SluiceEngine.stableHash(boxed, after: hash) }
        return (0..<Int(nearCount)).reduce(hash) { SluiceEngine.stableHash(CollectionOfOne(near[$1]), after: $0) }
    }
}
