/// Bytes as a dictionary's key.
struct ByteString: Hashable, Sendable {
    var bytes: [UInt8]

    func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

/// Who asks for what, as bytes: everything of a check that chooses its counters. Two checks with equal identities are
/// held to the same counters.
///
/// A shell keeps one and refills it for each check, so that a known identity costs no allocation.
package struct Identity: Sendable {
    private(set) var key = ByteString(bytes: [])

    package init() { key.bytes.reserveCapacity(256) }

    package var isEmpty: Bool { key.bytes.isEmpty }

    /// - Parameters: names of at most 65,534 bytes of UTF-8 (the protocol allows 256); `approved`: a person has
    ///   approved this call.
    package mutating func fill(grant: Span<UInt8>, tool: Span<UInt8>, approved: Bool) {
        key.bytes.removeAll(keepingCapacity: true)
        key.bytes.append(approved ? 1 : 0)
        append(grant)
        append(tool)
    }

    /// Adds the session, where the gateway named one and some limit counts by it.
    package mutating func append(session: Span<UInt8>) { append(session) }

    private mutating func append(_ name: Span<UInt8>) {
        precondition(name.count < 0xFFFF, "names are bounded by the protocol")
        key.bytes.append(UInt8(truncatingIfNeeded: name.count >> 8))
        key.bytes.append(UInt8(truncatingIfNeeded: name.count))
        name.withUnsafeBufferPointer { key.bytes.append(contentsOf: $0) }
    }

    /// The parts again, for the slow path that meets an identity for the first time.
    struct Parts: Equatable {
        var grant: [UInt8]
        var tool: String
        var session: [UInt8]?
        var approved: Bool
    }

    var parts: Parts {
        var rest = key.bytes[...]
        let approved = rest.removeFirst() == 1
        var names: [[UInt8]] = []
        while !rest.isEmpty {
            let count = Int(rest.removeFirst()) << 8 | Int(rest.removeFirst())
            names.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        precondition(names.count == 2 || names.count == 3)
        return Parts(
            grant: names[0], tool: String(decoding: names[1], as: UTF8.self),
            session: names.count == 3 ? names[2] : nil, approved: approved)
    }
}
