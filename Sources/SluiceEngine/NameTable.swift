/// The names of a table's rows, side by side: where one lies follows from its row alone, so that it is on its way from
/// memory while the row itself still is. A name that is too long for that lies apart.
struct NameTable {
    /// For each row its name's length, `tooLong` if it lies apart, and then the name.
    private var slots: [UInt8] = []
    private var longNames: [Int: [UInt8]] = [:]

    /// Bytes of a slot: a line of the processor's cache.
    private static let slotSize = 64
    private static let tooLong: UInt8 = 255

    subscript(row: Int) -> [UInt8] {
        let start = row * Self.slotSize
        if slots[start] == Self.tooLong { return longNames[row] ?? [] }
        return Array(slots[start + 1..<start + 1 + Int(slots[start])])
    }

    /// Gives a row its name, in place of the one before. Rows come in order when they are new.
    mutating func set(_ row: Int, _ name: [UInt8]) {
        let start = row * Self.slotSize
        if start == slots.count { slots.append(contentsOf: repeatElement(0, count: Self.slotSize)) }
        if slots[start] == Self.tooLong { longNames[row] = nil }
        guard name.count < Self.slotSize else {
            slots[start] = Self.tooLong
            longNames[row] = name
            return
        }
        slots[start] = UInt8(name.count)
        slots.replaceSubrange(start + 1..<start + 1 + name.count, with: name)
    }

    /// Whether the row has that name.
    @inline(__always)
    func isName(_ name: [UInt8], of row: Int) -> Bool {
        let start = row * Self.slotSize
        guard name.count < Self.slotSize else { return slots[start] == Self.tooLong && longNames[row] == name }
        guard Int(slots[start]) == name.count else { return false }
        let mine = slots.span.extracting(start + 1..<start + 1 + name.count)
        let other = name.span
        // Without a way out before the end, which lets the compiler compare many bytes at a time.
        var difference: UInt8 = 0
        for index in other.indices { difference |= mine[unchecked: index] ^ other[unchecked: index] }
        return difference == 0
    }
}
