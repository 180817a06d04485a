/// The place of an entry in its batch.
struct EntryIndex: Hashable, Sendable {
    private let number: Int32

    @inline(__always)
    init(_ place: Int) { number = Int32(truncatingIfNeeded: place) }

    /// No entry.
    static let none = EntryIndex(-1)

    @inline(__always)
    var place: Int { Int(number) }
    @inline(__always)
    var isNone: Bool { number < 0 }
}

extension [PendingBatch.Entry] {
    subscript(index: EntryIndex) -> PendingBatch.Entry {
        @inline(__always)
        _read { yield self[index.place] }
        @inline(__always)
        _modify { yield &self[index.place] }
    }
}
