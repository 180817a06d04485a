package import SluicePolicy

/// The name of a counter in the store:
/// `PREFIX:1:{GRANT}:CONTAINER:COUNTER[;SUBJECT]:ALGORITHM:WINDOW[:START]`, or, counted across grants,
/// `PREFIX:1:{SUBJECT}:CONTAINER:COUNTER:ALGORITHM:WINDOW[:START]`, with a subject such as `session=ID`.
///
/// Every name is percent-encoded down to the unreserved characters of RFC 3986, so that none can forge another's key;
/// what stands between braces is Redis Cluster's hash tag, so that all counters of a grant share a slot. `1` is the
/// version of this layout. A tool that is really called `all_tools` is spelt with an encoded underscore, so that it is
/// not taken for the container of limits over all tools.
package struct CounterKey: Sendable, Hashable {
    /// Whose calls a counter counts, beside the grant.
    package enum Subject: Sendable, Hashable {
        /// No one else: all calls of the grant. Also if a check lacks the identity that the limit counts by.
        case grant
        case session(String)
        case server(String)
        case attribute(name: String, value: String)
        /// All callers.
        case global
        /// The calls of `CL.THROTTLE` with this key.
        case throttle(String)

        /// As shown to operators: `session=ID`; empty for the grant.
        package var words: String {
            switch self {
            case .grant: ""
            case .session(let id): "session=\(id)"
            case .server(let name): "server=\(name)"
            case .attribute(let name, let value): "attribute:\(name)=\(value)"
            case .global: "global"
            case .throttle(let key): "throttle=\(key)"
            }
        }
    }

    /// nil if grants share the counter.
    package var grant: String?
    package var subject: Subject
    /// A tool's name; nil for limits over all tools.
    package var tool: String?
    package var counter: String
    package var algorithm: Algorithm
    package var window: Window
    /// 0 if the algorithm has no windows.
    package var windowStartMs: Int64
    /// Whether it counts the checks that a shadow limit would have denied.
    package var isDenials = false

    static let allTools = "all_tools"
    private static let colon = UInt8(ascii: ":")
    static let denialsSuffix = Array(":refused".utf8)
    // MARK: Writing

    /// The part before the window's start, which is the same for a counter's whole life. If the algorithm has no
    /// windows, it is the whole key.
    static func baseKey(prefix: String, limit: Limit, identity: Identity.Parts) -> [UInt8] {
        let subject = subject(of: limit, identity)
        let isShared = subject == .global || (limit.acrossGrants && subject != .grant)
        return baseKey(
            prefix: prefix, grant: isShared ? nil : identity.grant, subject: subject, container: limit.container,
            counter: limit.counter, algorithm: limit.algorithm, window: limit.window)
    }

    private static func subject(of limit: Limit, _ identity: Identity.Parts) -> Subject {
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        switch limit.scope {
        case .grant: return .grant
        case .global: return .global
        // Without the identity a check counts for its grant alone: checks that lack it never share a counter.
        case .session: return identity.session.map { .session(text($0)) } ?? .grant
        case .server: return identity.server.map { .server(text($0)) } ?? .grant
        case .attribute(let name):
            return identity.attributes[Array(name.utf8)].map { .attribute(name: name, value: text($0)) } ?? .grant
        }
    }

    static func baseKey(
        prefix: String, grant: [UInt8]?, subject: Subject, container: Limit.Container, counter: String,
        algorithm: Algorithm, window: Window
    ) -> [UInt8] {
        var key: [UInt8]
        if let grant {
            key = grantPrefix(prefix: prefix, grant: grant)
        } else {
            key = Self.prefix(prefix)
            append(subject, to: &key)
            key += "}:".utf8
        }
        switch container {
        case .allTools: key += allTools.utf8
        case .tool(let tool): key += Self.container(ofTool: tool)
        }
        key.append(colon)
        appendEncoded(counter.utf8, to: &key)
        if grant != nil && subject != .grant {
            key.append(UInt8(ascii: ";"))
            append(subject, to: &key)
        }
        key += ":\(algorithm.name):".utf8
        appendEncoded(window.name.utf8, to: &key)
        if algorithm.hasWindows { key.append(colon) }
        return key
    }

    /// A tool's name as in keys.
    static func container(ofTool tool: String) -> [UInt8] {
        if tool.utf8.elementsEqual(allTools.utf8) { return Array("all%5Ftools".utf8) }
        var encoded: [UInt8] = []
        appendEncoded(tool.utf8, to: &encoded)
        return encoded
    }

    /// Encoded names never contain `=`, so no subject can be taken for a grant.
    private static func append(_ subject: Subject, to key: inout [UInt8]) {
        switch subject {
        case .grant: break
        case .session(let id): append("session=", id, to: &key)
        case .server(let name): append("server=", name, to: &key)
        case .attribute(let name, let value):
            append("attribute=", name, to: &key)
            append("=", value, to: &key)
        case .global: key += "global=".utf8
        case .throttle(let name): append("throttle=", name, to: &key)
        }
    }

    private static func append(_ receipt: String, _ name: String, to key: inout [UInt8]) {
        key += receipt.utf8
        appendEncoded(name.utf8, to: &key)
    }

    /// The prefix of all keys under one grant's hash tag.
    package static func grantPrefix(prefix: String, grant: some Sequence<UInt8>) -> [UInt8] {
        var key = Self.prefix(prefix)
        appendEncoded(grant, to: &key)
        key += "}:".utf8
        return key
    }

    /// The prefix of all counters' keys.
    package static func prefix(_ prefix: String) -> [UInt8] { Array("\(prefix):1:{".utf8) }

    /// The key of the list of replicas by their last heartbeat: `PREFIX:1:replicas`.
    package static func replicas(prefix: String) -> [UInt8] { Array("\(prefix):1:replicas".utf8) }

    /// The key of the list of replicas by when they last had nothing to write back: `PREFIX:1:written-back`.
    package static func writtenBack(prefix: String) -> [UInt8] { Array("\(prefix):1:written-back".utf8) }

    /// The key that counts the checks a shadow limit would have denied.
    static func denials(of key: some Sequence<UInt8>) -> [UInt8] { Array(key) + denialsSuffix }

    /// The key of a reservation's record.
    static func reservation(_ id: ReservationID, prefix: String, grant: some Sequence<UInt8>) -> [UInt8] {
        grantPrefix(prefix: prefix, grant: grant) + "reservation:\(id)".utf8
    }

    /// The key of the answer to a check with an id.
    static func idempotency(_ id: [UInt8], prefix: String, grant: [UInt8], tool: [UInt8]) -> [UInt8] {
        var key = grantPrefix(prefix: prefix, grant: grant) + "id:".utf8
        appendEncoded(tool, to: &key)
        key.append(colon)
        appendEncoded(id, to: &key)
        return key
    }

    // MARK: Reading

    /// Parses a key; nil if it is not a counter's key under this prefix. Only the spelling that `baseKey` writes is
    /// accepted: any client may write to the store, and no two keys may be read as the same counter.
    package init?(_ key: some Sequence<UInt8>, prefix: String) {
        var bytes = Array(key)
        let start = Self.prefix(prefix)
        guard bytes.starts(with: start) else { return nil }
        if bytes.suffix(Self.denialsSuffix.count).elementsEqual(Self.denialsSuffix) {
            isDenials = true
            bytes.removeLast(Self.denialsSuffix.count)
        }
        let parts = bytes.dropFirst(start.count).split(separator: Self.colon, omittingEmptySubsequences: false)
        guard parts.count >= 5, parts[0].last == UInt8(ascii: "}"),
            let algorithm = Algorithm(name: String(decoding: parts[3], as: UTF8.self)),
            parts.count == (algorithm.hasWindows ? 6 : 5),
            let window = Self.decoded(parts[4]).flatMap({ Window(name: $0) }), algorithm.allows(window)
        else { return nil }
        let startMs = algorithm.hasWindows ? Int64(String(decoding: parts[5], as: UTF8.self)) : 0
        guard let startMs, (0...EngineBounds.latestMs).contains(startMs),
            !algorithm.hasWindows || Swift.max(0, window.startMs(at: startMs)) == startMs
        else { return nil }
        let named = parts[2].split(separator: UInt8(ascii: ";"), maxSplits: 1, omittingEmptySubsequences: false)
        guard let container = Self.decoded(parts[1]), let counter = Self.decoded(named[0]), !counter.isEmpty else {
            return nil
        }
        let tag = parts[0].dropLast()
        if tag.contains(UInt8(ascii: "=")) {
            guard named.count == 1, let subject = Self.subject(tag) else { return nil }
            self.subject = subject
        } else {
            guard let grant = Self.decoded(tag), let subject = named.count == 2 ? Self.subject(named[1]) : .grant else {
                return nil
            }
            self.grant = grant
            self.subject = subject
        }
        tool = parts[1].elementsEqual(Self.allTools.utf8) ? nil : container
        self.counter = counter
        self.algorithm = algorithm
        self.window = window
        windowStartMs = startMs
        guard bytes == spelt(prefix: prefix) else { return nil }
    }

    private static func subject(_ bytes: ArraySlice<UInt8>) -> Subject? {
        let parts = bytes.split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false)
        let values = parts.dropFirst().compactMap { decoded($0) }
        guard values.count == parts.count - 1, let value = values.first else { return nil }
        switch (String(decoding: parts[0], as: UTF8.self), values.count) {
        case ("session", 1): return .session(value)
        case ("server", 1): return .server(value)
        case ("attribute", 2): return .attribute(name: value, value: values[1])
        case ("global", 1) where value.isEmpty: return .global
        case ("throttle", 1): return .throttle(value)
        default: return nil
        }
    }

    // MARK: In the store

    /// The key of the open window, from that of a window that is open or, where windows slide, was open just before.
    /// nil if nothing of it counts at `nowMs`, or its time has not come. Never a key of denials.
    package func open(atMs nowMs: Int64) -> CounterKey? {
        var key = self
        key.isDenials = false
        let bounds = Counter.bounds(of: window, algorithm, at: windowStartMs)
        if nowMs >= bounds.endMs {
            guard algorithm.slides, nowMs < bounds.nextEndMs else { return nil }
            key.windowStartMs = bounds.endMs
        }
        return nowMs >= key.windowStartMs ? key : nil
    }

    /// As in the store.
    package func bytes(prefix: String) -> [UInt8] { spelt(prefix: prefix) + (isDenials ? Self.denialsSuffix : []) }

    /// The key that counts the checks which this limit, as a shadow limit, would have denied.
    package var denials: CounterKey {
        var key = self
        key.isDenials = true
        return key
    }

    /// For a sliding window, the key of the previous window.
    package var previous: CounterKey {
        var key = self
        key.windowStartMs = max(0, window.bounds(atMs: max(0, windowStartMs - 1)).startMs)
        return key
    }

    /// Without the window's start: see `baseKey`.
    func baseKey(prefix: String) -> [UInt8] {
        Self.baseKey(
            prefix: prefix, grant: grant.map { Array($0.utf8) }, subject: subject,
            container: tool.map { .tool($0) } ?? .allTools, counter: counter, algorithm: algorithm, window: window)
    }

    private func spelt(prefix: String) -> [UInt8] {
        var key = baseKey(prefix: prefix)
        if algorithm.hasWindows { appendDecimal(windowStartMs, to: &key) }
        return key
    }

    private static func appendEncoded(_ name: some Sequence<UInt8>, to key: inout [UInt8]) {
        let hex = Array("0123456789ABCDEF".utf8)
        for byte in name {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                key.append(byte)
            default:
                key.append(UInt8(ascii: "%"))
                key.append(hex[Int(byte >> 4)])
                key.append(hex[Int(byte & 15)])
            }
        }
    }

    private static func decoded(_ part: ArraySlice<UInt8>) -> String? {
        var bytes: [UInt8] = []
        var rest = part
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// Compared by bytes, as in the store: strings that are spelt differently are different counters, even if Swift treats
/// them as equal (a separate or a combined accent).
extension CounterKey {
    package static func == (one: CounterKey, other: CounterKey) -> Bool {
        one.isDenials == other.isDenials && one.spelt(prefix: "") == other.spelt(prefix: "")
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(spelt(prefix: "")) }
}

/// Appends a number in decimal, without allocating a String.
func appendDecimal(_ number: Int64, to bytes: inout [UInt8]) {
    precondition(number >= 0)
    var divisor: Int64 = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
        bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / divisor % 10))
        divisor /= 10
    }
}

/// Caches the decimal digits of the last number, which is mostly the next one, too.
struct LastDecimal {
    /// The number of digits of the largest integer.
    static let maxBytes = 19

    private var number: Int64 = -1
    private var digits: [UInt8] = []

    /// - Parameter number: 0 or more.
    @inline(__always)
    mutating func append(_ number: Int64, to bytes: inout [UInt8]) {
        if number != self.number {
            self.number = number
            digits.removeAll(keepingCapacity: true)
            appendDecimal(number, to: &digits)
        }
        bytes.append(contentsOf: digits)
    }
}
