/// Memory held by the engine's tables, in bytes: estimates by the sizes of rows plus everything stored outside them,
/// so that long names count in full. Freed rows still count, because their memory is kept for new ones.
enum HeldBytes {
    /// Overhead of an array beside its elements: its header, and the allocator's.
    static let perArray = 48
    /// Overhead of an object.
    static let perObject = 32

    /// An array of this many bytes, with its overhead.
    static func array(_ count: Int) -> Int { perArray + count }

    /// A row of a dictionary, of which a quarter is always free, and which doubles its storage when it grows.
    static func perRow<Key, Value>(of: [Key: Value].Type) -> Int {
        (MemoryLayout<Key>.stride + MemoryLayout<Value>.stride + 1) * 2
    }
}

extension Limiter {
    /// Bytes held by all tables, and by checks that wait for the store.
    package var heldBytes: Int {
        table.bytes + rulebook.bytes + waitingBytes + reservations.bytes
            + reconciler.journal.count * MemoryLayout<Int32>.stride * 2 + leases.bytes
    }

    /// Whether no more reservations, answers and unsent settlements may be kept. A part of the bytes is theirs, however many identities there are.
    var isBesideFull: Bool {
        reservations.bytes >= configuration.maxTableBytes / EngineBounds.besideParts
            && reservations.bytes + table.bytes >= configuration.maxTableBytes
    }

    /// How many bytes identities and their counters may take.
    var identityBytes: Int {
        configuration.maxTableBytes - max(reservations.bytes, configuration.maxTableBytes / EngineBounds.besideParts)
    }

    private var waitingBytes: Int {
        ledger.bytes + completions.capacity * MemoryLayout<Completion>.stride
    }
}
