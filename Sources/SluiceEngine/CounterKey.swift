import SluicePolicy

/// The name of a counter in the store: `PREFIX:1:{GRANT}:CONTAINER:COUNTER[;session=SESSION]:fixed_window:60s:START`.
///
/// Every part is percent-encoded down to the unreserved characters of RFC 3986, so that no name can forge another's key;
/// what stands between braces is Redis Cluster's hash tag, so that all counters of a grant share a slot. `1` is the
/// version of this layout. A tool that is really called `all_tools` is spelt with an encoded underscore, so that it is
/// not taken for the container of limits over all tools.
package struct CounterKey: Sendable, Hashable {
    package var grant: String
    /// A tool's name, or nil for the limits over all tools.
    package var tool: String?
    package var counter: String
    package var session: String?
    package var windowSeconds: Int64
    package var windowStartMs: Int64

    static let allTools = "all_tools"
    private static let algorithm = "fixed_window"
    private static let sessionMark = ";session="
    /// The year 9999: far beyond every window, and with room for the arithmetic of times.
    private static let latestStartMs: Int64 = 253_402_300_800_000

    /// What comes before the window's start: it stays the same for the life of a counter.
    static func stem(prefix: String, grant: [UInt8], limit: Limit, session: [UInt8]?) -> [UInt8] {
        var key = grantPrefix(prefix: prefix, grant: grant)
        switch limit.container {
        case .allTools:
            key += allTools.utf8
        case .tool(allTools):
            key += "all%5Ftools".utf8
        case .tool(let tool):
            appendEncoded(tool.utf8, to: &key)
        }
        key.append(UInt8(ascii: ":"))
        appendEncoded(limit.counter.utf8, to: &key)
        if limit.scope == .session, let session {
            key += sessionMark.utf8
            appendEncoded(session, to: &key)
        }
        key += ":\(algorithm):\(limit.window.seconds)s:".utf8
        return key
    }

    /// How all keys of one grant begin.
    package static func grantPrefix(prefix: String, grant: some Sequence<UInt8>) -> [UInt8] {
        var key = Array("\(prefix):1:{".utf8)
        appendEncoded(grant, to: &key)
        key += "}:".utf8
        return key
    }

    /// How the keys of all counters begin.
    package static func prefix(_ prefix: String) -> [UInt8] { Array("\(prefix):1:{".utf8) }

    /// Reads a key again; nil if it is not one of a counter under this prefix. Only the one spelling that `stem` writes
    /// is taken: anybody may write to the store, and no two keys are read as the same counter.
    package init?(_ key: some Sequence<UInt8>, prefix: String) {
        let bytes = Array(key)
        let start = Self.prefix(prefix)
        guard bytes.starts(with: start) else { return nil }
        let parts = bytes.dropFirst(start.count).split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == 6, parts[0].last == UInt8(ascii: "}"), parts[4].last == UInt8(ascii: "s"),
            let seconds = Int64(String(decoding: parts[4].dropLast(), as: UTF8.self)),
            let startMs = Int64(String(decoding: parts[5], as: UTF8.self)),
            (1...PolicyBounds.maxWindowSeconds).contains(seconds), (0...Self.latestStartMs).contains(startMs)
        else { return nil }
        let window = FixedWindow(seconds: seconds)
        let named = parts[2].split(separator: UInt8(ascii: ";"), maxSplits: 1, omittingEmptySubsequences: false)
        let session = named.count == 2 ? named[1].dropFirst(Self.sessionMark.utf8.count - 1) : nil
        guard let grant = Self.decoded(parts[0].dropLast()), let container = Self.decoded(parts[1]),
            let counter = Self.decoded(named[0]), !counter.isEmpty, window.startMs(at: startMs) == startMs
        else { return nil }
        self.grant = grant
        tool = parts[1].elementsEqual(Self.allTools.utf8) ? nil : container
        self.counter = counter
        if let session {
            guard let session = Self.decoded(session) else { return nil }
            self.session = session
        }
        windowSeconds = seconds
        windowStartMs = startMs
        guard bytes == spelt(prefix: prefix, window: window) else { return nil }
    }

    private func spelt(prefix: String, window: FixedWindow) -> [UInt8] {
        let limit = Limit(
            container: tool.map { .tool($0) } ?? .allTools, counter: counter, window: window, max: 0,
            scope: session == nil ? .grant : .session, rule: "", onDeny: nil)
        var key = Self.stem(
            prefix: prefix, grant: Array(grant.utf8), limit: limit, session: session.map { Array($0.utf8) })
        appendDecimal(windowStartMs, to: &key)
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

/// By bytes, as the store compares: strings that are written differently are different counters, even where Swift takes
/// them for equal (an accent of its own or within its letter).
extension CounterKey {
    package static func == (one: CounterKey, other: CounterKey) -> Bool {
        one.windowSeconds == other.windowSeconds && one.windowStartMs == other.windowStartMs
            && zip(one.names, other.names).allSatisfy { $0.map { Array($0.utf8) } == $1.map { Array($0.utf8) } }
    }

    package func hash(into hasher: inout Hasher) {
        for name in names { hasher.combine(name.map { Array($0.utf8) }) }
        hasher.combine(windowStartMs)
        hasher.combine(windowSeconds)
    }

    private var names: [String?] { [grant, tool, counter, session] }
}

/// Appends a number in decimal, without a String.
func appendDecimal(_ number: Int64, to bytes: inout [UInt8]) {
    precondition(number >= 0)
    var divisor: Int64 = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
        bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / divisor % 10))
        divisor /= 10
    }
}
