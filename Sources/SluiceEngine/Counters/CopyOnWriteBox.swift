/// A value that lies apart from what it belongs to, which stays small by that. A copy is made when one of two owners
/// changes it, as of an array.
struct CopyOnWriteBox<Value: Sendable>: Sendable {
    /// Changed only by the one that holds it alone.
    private final class Storage: @unchecked Sendable {
        var value: Value
        init(_ value: Value) { self.value = value }
    }

    private var storage: Storage

    init(_ value: Value) { storage = Storage(value) }

    var value: Value {
        get { storage.value }
        set {
            if isKnownUniquelyReferenced(&storage) { storage.value = newValue } else { storage = Storage(newValue) }
        }
    }
}
