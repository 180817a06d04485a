/// Bytes that are mostly few: those lie in the value itself, where they cost no other place in memory. Many lie apart.
struct NearBytes<let room: Int>: Sendable {
    private var nearCount: UInt8 = 0
    private var near = InlineArray<room, UInt8>(repeating: 0)
    private var apart: [UInt8]?

    init(_ bytes: [UInt8]) {
        precondition(room <= Int(UInt8.max))
        guard bytes.count <= room else {
            apart = bytes
            return
        }
        for index in bytes.indices { near[index] = bytes[index] }
        nearCount = UInt8(bytes.count)
    }

    var count: Int { apart?.count ?? Int(nearCount) }

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    /// The first so many.
    func prefix(_ count: Int) -> [UInt8] { Array(bytes.prefix(count)) }

    /// Appends them to an array.
    @inline(__always)
    func append(to bytes: inout [UInt8]) {
        if let apart { return bytes.append(contentsOf: apart) }
        near.span.extracting(first: Int(nearCount)).withUnsafeBufferPointer { bytes.append(contentsOf: $0) }
    }

    /// Puts a number's decimal digits in place of what comes after the first `count` bytes.
    ///
    /// - Parameter number: 0 or more.
    mutating func replace(after count: Int, with number: Int64) {
        var digits = 1
        var rest = number / 10
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        guard apart == nil, count + digits <= room else {
            var bytes = prefix(count)
            appendDecimal(number, to: &bytes)
            self = NearBytes(bytes)
            return
        }
        rest = number
        for index in (count..<count + digits).reversed() {
            near[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        nearCount = UInt8(count + digits)
    }

    @inline(__always)
    func isEqual(to others: [UInt8]) -> Bool { hasPrefix(others) && count == others.count }

    /// Whether they begin with others.
    @inline(__always)
    func hasPrefix(_ others: [UInt8]) -> Bool {
        if let apart { return apart.starts(with: others) }
        guard others.count <= Int(nearCount) else { return false }
        let mine = near.span
        let other = others.span
        // Without a way out before the end, which lets the compiler compare many bytes at a time.
        var difference: UInt8 = 0
        for index in other.indices { difference |= mine[unchecked: index] ^ other[unchecked: index] }
        return difference == 0
    }
}
