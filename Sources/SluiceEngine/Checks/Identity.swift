import SluicePolicy

/// Bytes as a dictionary key.
struct ByteString: Hashable, Sendable {
    var bytes: [UInt8]

    func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

/// All fields of a check that select its counters, as bytes. Checks with equal identities use the same counters.
///
/// A shell keeps one and refills it for each check, so that a known identity costs no allocation.
package struct Identity: Sendable {
    private(set) var key = ByteString(bytes: [])

    package init() { key.bytes.reserveCapacity(256) }

    /// An identity that was seen before.
    init(key: ByteString) { self.key = key }

    package var isEmpty: Bool { key.bytes.isEmpty }

    /// - Parameters: names of at most 65,534 bytes of UTF-8 (the protocol allows 256); `approved`: a person has
    ///   approved this call.
    package mutating func fill(grant: Span<UInt8>, tool: Span<UInt8>, approved: Bool) {
        key.bytes.removeAll(keepingCapacity: true)
        key.bytes.append((approved ? Form.approved : Form.plain).rawValue)
        append(grant)
        append(tool)
    }

    /// Makes it the identity of a `CL.THROTTLE` key, which has its own limit.
    package mutating func fill(_ throttle: Throttle) {
        key.bytes.removeAll(keepingCapacity: true)
        key.bytes.append(Form.throttle.rawValue)
        for number in [throttle.burst, throttle.count, throttle.periodSeconds] {
            withUnsafeBytes(of: number.littleEndian) { key.bytes.append(contentsOf: $0) }
        }
        key.bytes.append(contentsOf: throttle.key)
    }

    private enum Form: UInt8 { case plain, approved, throttle }

    /// Adds the server, if the gateway sent one and rules depend on it. Fields are added in this order: server, session,
    /// attributes in the order of `IdentityFields`.
    package mutating func append(server: Span<UInt8>) { append(server, as: .server) }
    package mutating func append(session: Span<UInt8>) { append(session, as: .session) }
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

    /// The identity's fields again, for the slow path of a new identity.
    struct Parts: Equatable {
        var grant: [UInt8]
        var tool: String
        var approved: Bool
        var session: [UInt8]?
        var server: [UInt8]?
        var attributes: [[UInt8]: [UInt8]] = [:]
    }

    var parts: Parts {
        // A limit that a request specifies belongs to no grant and no tool, but may be reserved.
        if key.bytes.first == Form.throttle.rawValue {
            return Parts(grant: Self.throttleOwner, tool: "", approved: false)
        }
        var rest = key.bytes[...]
        let approved = rest.removeFirst() == Form.approved.rawValue
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

    /// The owner of an identity's part of the tables: the grant, as bytes. All keys of `CL.THROTTLE` have one owner,
    /// whose name no grant can have.
    static func owner(ofKey key: [UInt8]) -> ArraySlice<UInt8> {
        guard let form = key.first, form != Form.throttle.rawValue else { return throttleOwner[...] }
        guard key.count >= 3 else { return key[...] }
        return key.dropFirst(3).prefix(Int(key[1]) << 8 | Int(key[2]))
    }

    /// The key of a `CL.THROTTLE` call; nil for a check.
    var throttleKey: ArraySlice<UInt8>? {
        key.bytes.first == Form.throttle.rawValue ? key.bytes.dropFirst(25) : nil
    }

    /// The first byte of a `CL.THROTTLE` key's identity.
    static var throttleForm: UInt8 { Form.throttle.rawValue }

    /// Not valid UTF-8.
    static let throttleOwner: [UInt8] = [0xFF]

    /// The part of an identity that the policies' ruling depends on: the grant, the tool, whether a person approved, and
    /// the server if it has one.
    static func ruledPart(ofKey key: [UInt8]) -> ArraySlice<UInt8> {
        var end = 1
        for _ in 0..<2 where end + 1 < key.count { end += 2 + (Int(key[end]) << 8 | Int(key[end + 1])) }
        if end + 2 < key.count, key[end] == Kind.server.rawValue {
            end += 3 + (Int(key[end + 1]) << 8 | Int(key[end + 2]))
        }
        return key.prefix(end)
    }

    /// nil for an ordinary check.
    var throttle: Throttle? {
        guard key.bytes.first == Form.throttle.rawValue else { return nil }
        let numbers = key.bytes.dropFirst().prefix(24).withUnsafeBytes { bytes in
            (0..<3).map { Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)) }
        }
        return Throttle(
            key: Array(key.bytes.dropFirst(25)), burst: numbers[0], count: numbers[1], periodSeconds: numbers[2])
    }

    private static func takeName(_ rest: inout ArraySlice<UInt8>) -> [UInt8] {
        let count = Int(rest.removeFirst()) << 8 | Int(rest.removeFirst())
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

/// A limit that a request specifies: a token bucket with `CL.THROTTLE`, or a fixed window.
package struct Throttle: Sendable, Equatable {
    package let key: [UInt8]
    /// The capacity of the bucket; 0: it is a fixed window.
    package let burst: Int64
    /// How much becomes free in one period; how much one window admits.
    package let count: Int64
    package let periodSeconds: Int64

    /// nil if the numbers cannot be counted exactly: `burst` and `count` are at most 10^12, the larger of them times
    /// the period in ms at most 2^53, the period at most 366 days.
    package init?(key: [UInt8], maxBurst: Int64, count: Int64, periodSeconds: Int64) {
        let largest = max(maxBurst + 1, count)
        guard largest <= PolicyBounds.maxLimit, periodSeconds <= PolicyBounds.maxWindowSeconds,
            largest <= Quota.maxExact / (periodSeconds * 1000)
        else { return nil }
        self.init(key: key, burst: maxBurst + 1, count: count, periodSeconds: periodSeconds)
    }

    /// A fixed window rather than a bucket. nil if the numbers cannot be counted: `max` is at most 10^12, the window at
    /// most 366 days.
    package init?(key: [UInt8], max: Int64, windowSeconds: Int64) {
        guard max >= 0, max <= PolicyBounds.maxLimit, (1...PolicyBounds.maxWindowSeconds).contains(windowSeconds)
        else { return nil }
        self.init(key: key, burst: 0, count: max, periodSeconds: windowSeconds)
    }

    fileprivate init(key: [UInt8], burst: Int64, count: Int64, periodSeconds: Int64) {
        self.key = key
        self.burst = burst
        self.count = count
        self.periodSeconds = periodSeconds
    }

    private static let name = "throttle"

    /// Whose reservations those of such limits are: no grant's.
    package static var owner: [UInt8] { Identity.throttleOwner }

    private var isWindow: Bool { burst == 0 }

    var limit: Limit {
        if isWindow {
            return Limit(
                container: .allTools, counter: Self.name, window: .seconds(periodSeconds), max: count, scope: .grant,
                rule: "(descriptor)", onDeny: nil)
        }
        return Limit(
            container: .allTools, counter: Self.name, window: .seconds(periodSeconds), max: count, scope: .grant,
            rule: "CL.THROTTLE", onDeny: nil, algorithm: .tokenBucket, burst: burst)
    }

    func baseKey(in keys: KeySpace) -> [UInt8] {
        CounterKey.baseKey(
            in: keys, grant: nil, subject: .throttle(String(decoding: key, as: UTF8.self)), container: .allTools,
            counter: Self.name, algorithm: isWindow ? .fixedWindow : .tokenBucket, window: .seconds(periodSeconds))
    }
}

/// Which fields of a check, beside grant and tool, some limit counts by. Only those are part of its identity, so that
/// checks that differ in other fields share it.
package struct IdentityFields: Sendable, Equatable {
    package private(set) var sessions = false
    package private(set) var servers = false
    /// The names of attributes, each once, in the order in which they are added to an identity.
    package private(set) var attributes: [[UInt8]] = []

    init(_ policies: PolicySet) {
        var names: Set<String> = []
        for policy in policies.policies {
            if !policy.servers.isEmpty { servers = true }
            for limit in policy.allLimits {
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
