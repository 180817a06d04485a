/// What waits for answers of several partitions, in rows that are used again. Bounded.
struct CrossPartitionTable<Row> {
    private var rows: [Row?] = []
    private var freeRows: [Int] = []

    var count: Int { rows.count - freeRows.count }
    var isFull: Bool { count >= EngineBounds.maxCrossPartition }

    mutating func insert(_ row: Row) -> Int {
        if let free = freeRows.popLast() {
            rows[free] = row
            return free
        }
        rows.append(row)
        return rows.count - 1
    }

    mutating func remove(_ index: Int) {
        rows[index] = nil
        freeRows.append(index)
    }

    subscript(index: Int) -> Row {
        _read {
            guard let row = rows[index] else { preconditionFailure("a row is used until its end") }
            yield row
        }
        _modify { yield &rows[index]! }
    }
}

extension Ticket {
    private static let partMark: UInt64 = 1 << 63
    private static let settlementMark: UInt64 = 1 << 62

    /// Of a part of a check or settlement; the shell's tickets are below 2^62.
    init(row: Int, part: Int, isSettlement: Bool) {
        self.init(
            rawValue: Self.partMark | (isSettlement ? Self.settlementMark : 0) | UInt64(row) << 8 | UInt64(part))
    }

    var isOfPart: Bool { rawValue & Self.partMark != 0 }
    var isOfSettlement: Bool { rawValue & Self.settlementMark != 0 }
    var row: Int { Int(rawValue >> 8 & 0xFFFF_FFFF) }
    var part: Int { Int(rawValue & 0xFF) }
}
