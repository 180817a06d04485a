/// A value stored outside its owner, which keeps the owner small. It is copied when one of two owners changes it, as
/// an array is.
struct CopyOnWriteBox<Value> {
    /// Changed only while it has a single owner.
    private final class Storage: @unchecked Sendable {
        var value: Value
        init(_ value: Value) { self.value = value }
    }

    private var storage: Storage

    init(_ value: Value) { storage = Storage(value) }

    var value: Value {
        _read { yield storage.value }
        _modify {
            if !isKnownUniquelyReferenced(&storage) { storage = Storage(storage.value) }
            yield &storage.value
        }
    }
}

extension CopyOnWriteBox: Sendable where Value: Sendable {}
