import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct ChunkedArrayTests {
    /// Counts its live instances.
    private final class Token {
        final class Usage { var live = 0 }
        let usage: Usage
        init(_ usage: Usage) {
            self.usage = usage
            usage.live += 1
        }
        deinit { usage.live -= 1 }
    }

    private static let several = ChunkedArray<Int>.rowsPerChunk * 2 + 5

    @Test(arguments: [0, 1, 16, 17, ChunkedArray<Int>.rowsPerChunk, ChunkedArray<Int>.rowsPerChunk + 1, several])
    func whatWasAppendedIsThere(count: Int) {
        var rows = ChunkedArray<Int>()
        for number in 0..<count { rows.append(number) }
        #expect(rows.count == count && rows.elementsEqual(0..<count))
        for index in stride(from: 0, to: count, by: 7) { rows[index] = -index }
        for index in rows.indices { expectQuickly(rows[index] == (index % 7 == 0 ? -index : index), "\(index)") }
    }

    /// There is one for each grant: one more field takes megabytes.
    @Test func rowsAreSmall() {
        #expect(MemoryLayout<Counter>.stride == 160 && MemoryLayout<Plan>.stride == 128)
    }

    /// Beyond the first chunk rows are never moved in memory.
    @Test func rowsKeepTheirPlace() {
        var rows = ChunkedArray<Int>()
        for number in 0..<ChunkedArray<Int>.rowsPerChunk { rows.append(number) }
        let place = withUnsafePointer(to: &rows[3]) { $0 }
        for number in 0..<ChunkedArray<Int>.rowsPerChunk * 3 { rows.append(number) }
        #expect(withUnsafePointer(to: &rows[3]) { $0 } == place)
        #expect(Int(bitPattern: withUnsafePointer(to: &rows[0]) { $0 }) % 64 == 0)
    }

    @Test func aCopyIsOfItsOwn() {
        var rows = ChunkedArray<Int>()
        for number in 0..<Self.several { rows.append(number) }
        var copy = rows
        copy[1] = 100
        copy.append(7)
        rows[2] = 200
        #expect(rows[1] == 1 && rows.count == Self.several)
        #expect(copy[1] == 100 && copy[2] == 2 && copy[Self.several] == 7)
    }

    @Test(arguments: [1, 15, 16, ChunkedArray<Token>.rowsPerChunk, ChunkedArray<Token>.rowsPerChunk * 2 + 5])
    func everyRowIsFreedOnce(count: Int) {
        let usage = Token.Usage()
        do {
            var rows = ChunkedArray<Token>()
            for _ in 0..<count { rows.append(Token(usage)) }
            rows[count / 2] = Token(usage)
            var copy = rows
            copy[0] = Token(usage)
            #expect(usage.live == count + 1)
        }
        #expect(usage.live == 0)
    }

    @Test(arguments: [1, 2]) func theLastChunksAreDropped(chunks: Int) {
        let usage = Token.Usage()
        do {
            var rows = ChunkedArray<Token>()
            for _ in 0..<Self.several { rows.append(Token(usage)) }
            let copy = rows
            let kept = chunks * ChunkedArray<Token>.rowsPerChunk
            rows.truncate(to: kept)
            #expect(rows.count == kept && copy.count == Self.several && usage.live == Self.several)
            for _ in 0..<3 { rows.append(Token(usage)) }
            #expect(rows.count == kept + 3 && usage.live == Self.several + 3)
        }
        #expect(usage.live == 0)
    }
}

@Suite struct FreeRowsTests {
    private static let chunk = FreeRows.rowsPerChunk

    /// The last chunks run empty, because rows of the first are used first.
    @Test func lowChunksAreUsedFirst() {
        var free = FreeRows()
        for row in [2 * Self.chunk + 3, 7, Self.chunk, 1] { free.add(row) }
        let taken = (0..<5).map { _ in free.take().map { $0 / Self.chunk } }
        #expect(taken == [0, 0, 1, 2, nil] && free.count == 0)
    }

    /// Only whole chunks at the end go, and some free rows stay.
    @Test func whatIsForgotten() {
        var free = FreeRows()
        let count = 3 * Self.chunk + 10
        for row in 0..<count where row != Self.chunk { free.add(row) }
        #expect(free.trim(rowCount: count) == 2 * Self.chunk && free.count == 2 * Self.chunk - 1)
        #expect(free.trim(rowCount: 2 * Self.chunk) == 2 * Self.chunk, "a row is in use")
        free.add(Self.chunk)
        #expect(free.trim(rowCount: 2 * Self.chunk) == Self.chunk && free.count == Self.chunk)
        #expect(free.trim(rowCount: Self.chunk) == Self.chunk, "the first chunk stays")
        var rows: Set<Int> = []
        while let row = free.take() { rows.insert(row) }
        #expect(rows == Set(0..<Self.chunk))
        // Too few would be left free.
        for row in Self.chunk..<2 * Self.chunk { free.add(row) }
        #expect(free.trim(rowCount: 2 * Self.chunk) == 2 * Self.chunk)
    }
}
