/// A dictionary by bytes, which hashes them all at once instead of one by one.
package struct ByteTable<Value> {
    @usableFromInline
    struct Key: Hashable {
        @usableFromInline var bytes: [UInt8]

        @inlinable
        init(bytes: [UInt8]) { self.bytes = bytes }

        @inlinable
        func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
    }

    @usableFromInline var values: [Key: Value] = [:]

    @inlinable package init() {}

    @inlinable package var keys: [[UInt8]] { values.keys.map { $0.bytes } }

    @inlinable package subscript(key: [UInt8]) -> Value? {
        get { values[Key(bytes: key)] }
        _modify { yield &values[Key(bytes: key)] }
    }

    @inlinable package subscript(key: [UInt8], default value: @autoclosure () -> Value) -> Value {
        get { values[Key(bytes: key), default: value()] }
        _modify { yield &values[Key(bytes: key), default: value()] }
    }

    @inlinable package mutating func removeAll() { values.removeAll() }
}

extension ByteTable: Sendable where Value: Sendable {}
