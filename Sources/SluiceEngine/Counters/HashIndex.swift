/// Finds rows of a table by name. It keeps hashes only; the table has the names, and compares them.
///
/// Open addressing with linear probing. Deletion moves later entries forward, so that it leaves no markers behind
/// (Knuth, The Art of Computer Programming 3, 6.4, algorithms L and R). A dictionary would keep every name and row a
/// second time, and a lookup would touch four places in memory instead of one: with a hundred thousand names that is
/// most of its cost.
///
/// It has segments, each of which grows by itself when it is full, and shrinks when most of it is free: so no insertion
/// or deletion moves more than some ten thousand of a million rows, and no check waits for it.
struct HashIndex {
    private var segments = [HashSegment](repeating: HashSegment(), count: Self.segmentCount)
    private(set) var count = 0
    /// The number of slots, taken or not.
    private(set) var slotCount = 0

    private static let segmentCount = 64

    /// - Parameter isRow: whether the row with that number has the name.
    @inline(__always)
    func find(_ hash: Int, where isRow: (Int) -> Bool) -> Int? {
        segments[Self.segment(hash)].find(hash, where: isRow)
    }

    /// The row must not be there yet.
    mutating func insert(_ row: Int, hash: Int) {
        change(Self.segment(hash)) { $0.insert(row, hash: hash) }
        count += 1
    }

    /// The row must be there.
    mutating func remove(_ row: Int, hash: Int) {
        change(Self.segment(hash)) { $0.remove(row, hash: hash) }
        count -= 1
    }

    @inline(__always)
    private mutating func change(_ segment: Int, _ body: (inout HashSegment) -> Void) {
        let before = segments[segment].slotCount
        body(&segments[segment])
        slotCount += segments[segment].slotCount - before
    }

    /// The segment uses other bits of the hash than the slot does.
    private static func segment(_ hash: Int) -> Int { hash & (segmentCount - 1) }
}

/// One segment of a `HashIndex`.
private struct HashSegment {
    /// In the lower half a row's number, from 1; in the upper half, half of its name's hash. 0 if free.
    private var slots: [UInt64] = []
    private(set) var count = 0
    var slotCount: Int { slots.count }

    /// At most three quarters are taken, so that probe sequences stay short.
    private var isFull: Bool { (count + 1) * 4 > slots.count * 3 }
    private var isNearlyEmpty: Bool { slots.count > Self.fewestSlots && count * 8 <= slots.count }
    private static let fewestSlots = 16

    /// - Parameter isRow: whether the row with that number has the name.
    @inline(__always)
    func find(_ hash: Int, where isRow: (Int) -> Bool) -> Int? {
        guard count > 0 else { return nil }
        let tag = Self.tag(hash)
        var at = home(tag)
        while slots[at] != 0 {
            if slots[at] >> 32 == tag {
                let row = Self.row(slots[at])
                if isRow(row) { return row }
            }
            at = (at + 1) & (slots.count - 1)
        }
        return nil
    }

    /// The row must not be there yet.
    mutating func insert(_ row: Int, hash: Int) {
        if isFull { resize(to: max(Self.fewestSlots, slots.count * 2)) }
        count += 1
        place(Self.tag(hash) << 32 | UInt64(row + 1))
    }

    /// The row must be there.
    mutating func remove(_ row: Int, hash: Int) {
        var hole = home(Self.tag(hash))
        while Self.row(slots[hole]) != row { hole = (hole + 1) & (slots.count - 1) }
        count -= 1
        var at = hole
        while true {
            at = (at + 1) & (slots.count - 1)
            guard slots[at] != 0 else { break }
            // An entry whose probe sequence does not cross the hole stays where it is.
            let distance = (at - home(slots[at] >> 32)) & (slots.count - 1)
            if distance < (at - hole) & (slots.count - 1) { continue }
            slots[hole] = slots[at]
            hole = at
        }
        slots[hole] = 0
        if isNearlyEmpty { resize(to: slots.count / 2) }
    }

    private static func tag(_ hash: Int) -> UInt64 { UInt64(truncatingIfNeeded: hash) >> 32 }
    private static func row(_ slot: UInt64) -> Int { Int(slot & 0xFFFF_FFFF) - 1 }
    private func home(_ tag: UInt64) -> Int { Int(tag) & (slots.count - 1) }

    private mutating func place(_ slot: UInt64) {
        var at = home(slot >> 32)
        while slots[at] != 0 { at = (at + 1) & (slots.count - 1) }
        slots[at] = slot
    }

    private mutating func resize(to slotCount: Int) {
        let old = slots
        slots = Array(repeating: 0, count: slotCount)
        for slot in old where slot != 0 { place(slot) }
    }
}
