/// The rows of a table, which are never copied when it grows: a table of a million rows never does more work to grow
/// than one of some thousand, so no check waits for it.
///
/// Rows are stored in chunks. The first chunk grows as an array does until it is full, so that small tables stay
/// small; later chunks are allocated whole, and may be dropped from the end. Each begins at a cache line.
///
/// Has value semantics, as an array: a shared one is copied before it is changed.
struct ChunkedArray<Row>: RandomAccessCollection {
    /// A power of two. Chunks of large rows take some megabytes, so that the system can give them large pages.
    static var rowsPerChunk: Int { 1 << shift }
    private static var shift: Int { 14 }
    private static var mask: Int { rowsPerChunk - 1 }
    private static var fewestRows: Int { 16 }

    private typealias Chunk = UnsafeMutablePointer<Row>

    /// Frees the chunks with their last owner.
    private final class Storage {
        var chunks: UnsafeMutablePointer<Chunk>
        var chunkCount = 0
        var chunkCapacity = 0
        /// How many rows there is room for.
        var capacity = 0
        var count = 0

        init() { chunks = UnsafeMutablePointer.allocate(capacity: 0) }

        deinit {
            for index in 0..<chunkCount {
                chunks[index].deinitialize(count: Swift.max(0, Swift.min(count - index << shift, rowsPerChunk)))
                chunks[index].deallocate()
            }
            chunks.deallocate()
        }

        /// Makes room for at least one more row.
        func grow() {
            if chunkCount <= 1 && capacity < rowsPerChunk {
                let larger = Swift.max(fewestRows, capacity * 2)
                let chunk = Self.chunk(rows: larger)
                if chunkCount == 1 {
                    chunk.moveInitialize(from: chunks[0], count: count)
                    chunks[0].deallocate()
                    chunks[0] = chunk
                } else {
                    append(chunk)
                }
                capacity = larger
            } else {
                append(Self.chunk(rows: rowsPerChunk))
                capacity += rowsPerChunk
            }
        }

        /// Frees the chunks behind the first `rows` rows, which fill whole chunks.
        func truncate(to rows: Int) {
            for index in rows >> shift..<chunkCount {
                chunks[index].deinitialize(count: Swift.min(count - index << shift, rowsPerChunk))
                chunks[index].deallocate()
            }
            chunkCount = rows >> shift
            (capacity, count) = (rows, rows)
        }

        private func append(_ chunk: Chunk) {
            if chunkCount == chunkCapacity {
                let capacity = Swift.max(1, chunkCapacity * 2)
                let larger = UnsafeMutablePointer<Chunk>.allocate(capacity: capacity)
                larger.moveInitialize(from: chunks, count: chunkCount)
                chunks.deallocate()
                chunks = larger
                chunkCapacity = capacity
            }
            (chunks + chunkCount).initialize(to: chunk)
            chunkCount += 1
        }

        private static func chunk(rows: Int) -> Chunk {
            UnsafeMutableRawPointer.allocate(byteCount: rows * MemoryLayout<Row>.stride, alignment: 64)
                .bindMemory(to: Row.self, capacity: rows)
        }
    }

    private var storage = Storage()
    /// A copy of the pointer in `storage`, for quick access.
    private var chunks: UnsafeMutablePointer<Chunk>
    private(set) var count = 0

    init() { chunks = storage.chunks }

    var startIndex: Int { 0 }
    var endIndex: Int { count }

    subscript(index: Int) -> Row {
        @inline(__always)
        unsafeAddress {
            precondition(index >= 0 && index < count, "no such row")
            return UnsafePointer(chunks[index >> Self.shift] + index & Self.mask)
        }
        @inline(__always)
        unsafeMutableAddress {
            precondition(index >= 0 && index < count, "no such row")
            if !isKnownUniquelyReferenced(&storage) { copy() }
            return chunks[index >> Self.shift] + index & Self.mask
        }
    }

    mutating func append(_ row: consuming Row) {
        if !isKnownUniquelyReferenced(&storage) { copy() }
        if count == storage.capacity {
            storage.grow()
            chunks = storage.chunks
        }
        (chunks[count >> Self.shift] + count & Self.mask).initialize(to: row)
        count += 1
        storage.count = count
    }

    /// Drops the last rows and frees their memory.
    ///
    /// - Parameter rows: how many stay, in whole chunks, and at least one.
    mutating func truncate(to rows: Int) {
        precondition(rows > 0 && rows <= count && rows & Self.mask == 0, "chunks are dropped whole")
        if !isKnownUniquelyReferenced(&storage) { copy() }
        storage.truncate(to: rows)
        count = rows
    }

    @inline(never)
    private mutating func copy() {
        var copy = ChunkedArray()
        for index in indices { copy.append(self[index]) }
        self = copy
    }
}
