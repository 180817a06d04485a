import SluicePolicy

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

    /// One that was met before.
    init(key: ByteString) { self.key = key }

    package var isEmpty: Bool { key.bytes.isEmpty }

    /// - Parameters: names of at most 65,534 bytes of UTF-8 (the protocol allows 256); `approved`: a person has
    ///   approved this call.
    package mutating func fill(grant: Span<UInt8>, tool: Span<UInt8>, approved: Bool) {
        key.bytes.removeAll(keepingCapacity: true)
        key.bytes.append(approved ? 1 : 0)
        append(grant)
        append(tool)
    }

    /// Adds the session, where the gateway named one and some limit counts by it. Whatever is added is added in this
    /// order: session, server, attributes in the order of `CountedIdentities`.
    package mutating func append(session: Span<UInt8>) { append(session, as: .session) }
    package mutating func append(server: Span<UInt8>) { append(server, as: .server) }
    package mutating func append(attribute name: Span<UInt8>, value: Span<UInt8>) {
        append(name, as: .attribute)
        append(value)
    }

    private enum Kind: UInt8 { case session = 1, server, attribute }

    private mutating func append(_ name: Span<UInt8>, as kind: Kind) {
        key.bytes.append(kind.rawValue)
        append(name)
    }

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
        var approved: Bool
        var session: [UInt8]?
        var server: [UInt8]?
        var attributes: [[UInt8]: [UInt8]] = [:]
    }

    var parts: Parts {
        var rest = key.bytes[...]
        let approved = rest.removeFirst() == 1
        let grant = Self.takeName(&rest)
        let tool = String(decoding: Self.takeName(&rest), as: UTF8.self)
        var parts = Parts(grant: grant, tool: tool, approved: approved)
        while let kind = rest.popFirst() {
            switch Kind(rawValue: kind) {
            case .session: parts.session = Self.takeName(&rest)
            case .server: parts.server = Self.takeName(&rest)
            case .attribute:
                let name = Self.takeName(&rest)
                parts.attributes[name] = Self.takeName(&rest)
            case nil: preconditionFailure("an identity has only parts of these kinds")
            }
        }
        return parts
    }

    private static func takeName(_ rest: inout ArraySlice<UInt8>) -> [UInt8] {
        let count = Int(rest.removeFirst()) << 8 | Int(rest.removeFirst())
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

/// What of a check some limit counts by, beside its grant and tool: only that is part of its identity, so that checks
/// which differ in nothing that counts are alike.
package struct CountedIdentities: Sendable, Equatable {
    package private(set) var sessions = false
    package private(set) var servers = false
    /// The names of attributes, each once, in the order in which they become part of an identity.
    package private(set) var attributes: [[UInt8]] = []

    init(_ policies: PolicySet) {
        var names: Set<String> = []
        for policy in policies.policies {
            for limit in policy.allToolsLimits + policy.tools.values.flatMap(\.limits) {
                switch limit.scope {
                case .grant, .global: break
                case .session: sessions = true
                case .server: servers = true
                case .attribute(let name): names.insert(name)
                }
            }
        }
        attributes = names.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
