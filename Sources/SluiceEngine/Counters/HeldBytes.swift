/// What the engine's tables take in memory, in bytes: estimates by the sizes of their rows, with whatever lies apart from a
/// row, so that long names count in full. ChunkedArray that are free again count on: their memory is kept for the next.
enum HeldBytes {
    /// What an array takes beside its elements: its header, and what the allocator keeps.
    static let perArray = 48
    /// The same of an object.
    static let perObject = 32

    /// Bytes that lie apart, as an array.
    static func apart(_ count: Int) -> Int { perArray + count }

    /// A row of a dictionary, of which a quarter is always free, and which is twice as large right after it grew.
    static func perRow<Key, Value>(of: [Key: Value].Type) -> Int {
        (MemoryLayout<Key>.stride + MemoryLayout<Value>.stride + 1) * 2
    }
}

extension Limiter {
    /// What all tables take, and the checks that wait for the store.
    package var heldBytes: Int {
        table.bytes + ruled.bytes + waitingBytes + reservations.bytes + idempotency.bytes + unsentBytes
            + journal.count * MemoryLayout<Int32>.stride * 2
    }

    /// What is remembered beside identities: reservations, ids, and settlements that are owed.
    private var besideBytes: Int { reservations.bytes + idempotency.bytes + unsentBytes }

    /// Whether none of these may be remembered any more. A part of the bytes is theirs, however many identities there are.
    var isBesideFull: Bool {
        besideBytes >= configuration.maxTableBytes / EngineBounds.besideParts
            && besideBytes + table.bytes >= configuration.maxTableBytes
    }

    /// What identities and their counters may take.
    var identityBytes: Int {
        configuration.maxTableBytes - max(besideBytes, configuration.maxTableBytes / EngineBounds.besideParts)
    }

    private var waitingBytes: Int {
        let lists = [queue, inFlight, unconfirmed, recycledBatches]
        return lists.reduce(0) { $0 + $1.reduce(0) { $0 + $1.bytes } }
            + completions.capacity * MemoryLayout<Completion>.stride
    }
}
