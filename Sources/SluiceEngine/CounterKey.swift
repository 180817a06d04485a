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

    /// Reads a key again; nil if it is not one of a counter under this prefix.
    package init?(_ key: some Sequence<UInt8>, prefix: String) {
        let text = String(decoding: Array(key), as: UTF8.self)
        let start = "\(prefix):1:{"
        guard text.hasPrefix(start) else { return nil }
        let parts = text.dropFirst(start.count).split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 6, parts[0].hasSuffix("}"), parts[3] == Self.algorithm, parts[4].hasSuffix("s"),
            let seconds = Int64(parts[4].dropLast()), seconds > 0, let startMs = Int64(parts[5])
        else { return nil }
        let named = parts[2].split(separator: ";", maxSplits: 1)
        guard let counter = named.first.flatMap(Self.decoded), let grant = Self.decoded(parts[0].dropLast()),
            let container = Self.decoded(parts[1])
        else { return nil }
        self.grant = grant
        self.tool = parts[1] == Self.allTools ? nil : container
        self.counter = counter
        if named.count == 2 {
            guard named[1].hasPrefix("session="), let session = Self.decoded(named[1].dropFirst(8)) else { return nil }
            self.session = session
        }
        windowSeconds = seconds
        windowStartMs = startMs
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

    private static func decoded(_ part: some StringProtocol) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(part.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
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
