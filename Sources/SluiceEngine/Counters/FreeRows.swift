/// The free rows of a `ChunkedArray`, chunk by chunk. The lowest chunk with a free row is used first, so that after a burst
/// the last chunks run empty and can be given back.
struct FreeRows {
    static let rowsPerChunk = ChunkedArray<Int>.rowsPerChunk
    /// So many rows stay free when chunks are given back, so that a few more rows do not take one again at once.
    static let rowsKept = rowsPerChunk / 2

    /// For each chunk the numbers of its free rows, in any order.
    private var chunks: [[UInt16]] = []
    /// No chunk before this one has a free row.
    private var first = 0
    private(set) var count = 0

    /// Bytes that it holds.
    var bytes: Int {
        chunks.reduce(chunks.capacity * MemoryLayout<[UInt16]>.stride) {
            $0 + $1.capacity * MemoryLayout<UInt16>.stride
        }
    }

    /// A row that was free; nil if there is none.
    mutating func take() -> Int? {
        guard count > 0 else { return nil }
        while chunks[first].isEmpty { first += 1 }
        count -= 1
        return first * Self.rowsPerChunk + Int(chunks[first].removeLast())
    }

    /// A row is free from now on.
    mutating func add(_ row: Int) {
        let chunk = row / Self.rowsPerChunk
        while chunks.count <= chunk { chunks.append([]) }
        chunks[chunk].append(UInt16(row % Self.rowsPerChunk))
        first = min(first, chunk)
        count += 1
    }

    /// Frees the memory of the last chunks of rows, as far as these are all free.
    ///
    /// - Returns: whether there were any.
    mutating func giveBack<Row>(_ rows: inout ChunkedArray<Row>) -> Bool {
        let kept = trim(rowCount: rows.count)
        guard kept < rows.count else { return false }
        rows.truncate(to: kept)
        return true
    }

    /// Forgets the rows of the last chunks, as far as they are all free.
    ///
    /// - Parameter rowCount: how many rows there are, free ones included.
    /// - Returns: how many are left: at least one chunk.
    mutating func trim(rowCount: Int) -> Int {
        var kept = rowCount
        while kept > Self.rowsPerChunk {
            let chunk = (kept - 1) / Self.rowsPerChunk
            let rows = kept - chunk * Self.rowsPerChunk
            guard chunk < chunks.count, chunks[chunk].count == rows, count - rows >= Self.rowsKept else { break }
            count -= rows
            chunks.removeLast()
            kept -= rows
        }
        first = min(first, chunks.count)
        return kept
    }
}
