package import SluicePolicy

/// The name of a counter in the store:
/// `PREFIX:2:{GRANT}:CONTAINER:COUNTER[;SUBJECT]:CODE[:START]`, or, counted across grants,
/// `PREFIX:2:{SUBJECT}:CONTAINER:COUNTER:CODE[:START]`; in a partition of a cluster the owner follows the partition's
/// tag instead (see `KeySpace`).
///
/// | part | is |
/// |---|---|
/// | `CONTAINER` | the tool; `*` for limits over all tools; a pattern, whose `*` no tool's name has as it is; `#` and a group; after a server's name and `>` one of these |
/// | `COUNTER` | the counter's name; if that begins with the tool's, `~` and the rest |
/// | `SUBJECT` | `s=ID` of a session, `v=NAME` of a server, `a=NAME=VALUE` of an attribute, `t=KEY` of `CL.THROTTLE`, `global=` |
/// | `CODE` | the algorithm's letter, and the window: its seconds, or `d`, `w`, `m` of a calendar and `@ZONE`; see `KeyText` |
/// | `START` | of the window, in base 36, in windows or (calendars) seconds since the epoch; not where there are no windows |
///
/// Names are percent-encoded where needed (see `KeyText`), so that none can forge another's key.
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
    package var container: Limit.Container
    package var counter: String
    package var algorithm: Algorithm
    package var window: Window
    /// 0 if the algorithm has no windows.
    package var windowStartMs: Int64
    /// Whether it counts the checks that a shadow limit would have denied.
    package var isDenials = false

    private static let allTools = Array("*".utf8)
    private static let colon = UInt8(ascii: ":")
    /// Stands for the tool's name at the beginning of a counter's.
    private static let toolName = UInt8(ascii: "~")
    private static let star = UInt8(ascii: "*")
    private static let group = UInt8(ascii: "#")
    /// Stands between a server's name and the container of one of its limits.
    static let serverEnd = UInt8(ascii: ">")
    private static let denialsSuffix = Array(":!".utf8)

    // MARK: Writing

    /// The part before the window's start, which is the same for a counter's whole life. If the algorithm has no
    /// windows, it is the whole key.
    static func baseKey(in keys: KeySpace, limit: Limit, identity: Identity.Parts) -> [UInt8] {
        let subject = subject(of: limit, identity)
        return baseKey(
            in: keys, grant: isShared(limit, subject) ? nil : identity.grant, subject: subject,
            container: limit.container, counter: limit.counter, algorithm: limit.algorithm, window: limit.window)
    }

    /// What grants share of a limit's counter, as in keys; nil if the identity's grant has a counter of its own.
    static func sharedOwner(of limit: Limit, _ identity: Identity.Parts) -> [UInt8]? {
        let subject = subject(of: limit, identity)
        return isShared(limit, subject) ? owner(subject) : nil
    }

    private static func isShared(_ limit: Limit, _ subject: Subject) -> Bool {
        subject == .global || (limit.acrossGrants && subject != .grant)
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
        in keys: KeySpace, grant: [UInt8]?, subject: Subject, container: Limit.Container, counter: String,
        algorithm: Algorithm, window: Window
    ) -> [UInt8] {
        var key = grant.map { keys.grantPrefix($0) } ?? keys.ownerPrefix(owner(subject))
        append(container, to: &key)
        key.append(colon)
        append(counter: counter, container, to: &key)
        if grant != nil && subject != .grant {
            key.append(UInt8(ascii: ";"))
            append(subject, to: &key)
        }
        key.append(colon)
        key += KeyText.code(algorithm, window)
        if algorithm.hasWindows { key.append(colon) }
        return key
    }

    /// The key of one window of a counter whose algorithm has windows.
    static func key(_ baseKey: [UInt8], window: Window, startMs: Int64) -> [UInt8] {
        var key = baseKey
        KeyText.append(startMs: startMs, of: window, to: &key)
        return key
    }

    /// A tool, or a pattern that counts the tools that it matches together.
    package var tool: String? {
        switch container.withoutServer {
        case .tool(let name), .pattern(let name), .eachTool(let name): name
        case .allTools, .group, .server: nil
        }
    }

    /// A group of tools.
    package var group: String? {
        if case .group(let name) = container.withoutServer { name } else { nil }
    }

    /// A container as in keys.
    static func spelt(_ container: Limit.Container) -> [UInt8] {
        var key: [UInt8] = []
        append(container, to: &key)
        return key
    }

    private static func append(_ container: Limit.Container, to key: inout [UInt8]) {
        switch container {
        case .allTools: key += allTools
        case .tool(let tool): KeyText.append(tool.utf8, to: &key)
        case .pattern(let text):
            for (index, part) in text.utf8.split(separator: star, omittingEmptySubsequences: false).enumerated() {
                if index > 0 { key.append(star) }
                KeyText.append(part, to: &key)
            }
            // A pattern of nothing else is not all tools' container.
            if text.utf8.allSatisfy({ $0 == star }) { key.append(star) }
        case .eachTool: preconditionFailure("a check's limits name its tool")
        case .group(let name):
            key.append(group)
            KeyText.append(name.utf8, to: &key)
        case .server(let name, let container):
            KeyText.append(name.utf8, to: &key)
            key.append(serverEnd)
            append(container, to: &key)
        }
    }

    /// The container that is spelt so; nil if none is. Another spelling of one is not rejected here.
    private static func container(_ spelt: ArraySlice<UInt8>) -> Limit.Container? {
        if let end = spelt.firstIndex(of: serverEnd) {
            guard let server = KeyText.decoded(spelt[..<end]), let container = container(spelt[(end + 1)...]),
                container.server == nil
            else { return nil }
            return .server(server, container)
        }
        if spelt.elementsEqual(allTools) { return .allTools }
        if spelt.first == group { return KeyText.decoded(spelt.dropFirst()).map { .group($0) } }
        let isOnlyStars = !spelt.isEmpty && spelt.allSatisfy { $0 == star }
        guard let name = KeyText.decoded(isOnlyStars ? spelt.dropLast() : spelt) else { return nil }
        return spelt.contains(star) ? .pattern(name) : .tool(name)
    }

    private static func append(counter: String, _ container: Limit.Container, to key: inout [UInt8]) {
        if case .tool(let tool) = container, !tool.utf8.isEmpty, counter.utf8.starts(with: tool.utf8) {
            key.append(toolName)
            KeyText.append(counter.utf8.dropFirst(tool.utf8.count), to: &key)
        } else {
            KeyText.append(counter.utf8, to: &key)
        }
    }

    /// The subject of a counter that grants share, as in keys.
    static func owner(_ subject: Subject) -> [UInt8] {
        var owner: [UInt8] = []
        append(subject, to: &owner)
        return owner
    }

    /// Encoded names never contain `=`, so no subject can be taken for a grant.
    private static func append(_ subject: Subject, to key: inout [UInt8]) {
        switch subject {
        case .grant: break
        case .session(let id): append("s=", id, to: &key)
        case .server(let name): append("v=", name, to: &key)
        case .attribute(let name, let value):
            append("a=", name, to: &key)
            append("=", value, to: &key)
        case .global: key += "global=".utf8
        case .throttle(let name): append("t=", name, to: &key)
        }
    }

    private static func append(_ sign: String, _ name: String, to key: inout [UInt8]) {
        key += sign.utf8
        KeyText.append(name.utf8, to: &key)
    }

    /// The key that counts the checks a shadow limit would have denied.
    static func denials(of key: some Sequence<UInt8>) -> [UInt8] { Array(key) + denialsSuffix }

    // MARK: Reading

    /// Parses a key; nil if it is not a counter's key of this key space. Only the spelling that `baseKey` writes is
    /// accepted: any client may write to the store, and no two keys may be read as the same counter.
    package init?(_ key: some Sequence<UInt8>, in keys: KeySpace) {
        var bytes = Array(key)
        if bytes.suffix(Self.denialsSuffix.count).elementsEqual(Self.denialsSuffix) {
            isDenials = true
            bytes.removeLast(Self.denialsSuffix.count)
        }
        guard let owner = keys.owner(of: bytes[...]),
            let parts = keys.afterOwner(of: bytes[...])?.split(separator: Self.colon, omittingEmptySubsequences: false),
            parts.count >= 3, let code = KeyText.decodedCode(parts[2]),
            parts.count == (code.algorithm.hasWindows ? 4 : 3)
        else { return nil }
        (algorithm, window) = code
        guard let startMs = algorithm.hasWindows ? KeyText.decodedStartMs(parts[3], of: window) : 0,
            let container = Self.container(parts[0])
        else { return nil }
        windowStartMs = startMs
        self.container = container
        let named = parts[1].split(separator: UInt8(ascii: ";"), maxSplits: 1, omittingEmptySubsequences: false)
        let isAbbreviated = named[0].first == Self.toolName
        guard let rest = KeyText.decoded(isAbbreviated ? named[0].dropFirst() : named[0]) else { return nil }
        if isAbbreviated {
            guard case .tool(let tool) = container else { return nil }
            counter = tool + rest
        } else {
            counter = rest
        }
        if owner.contains(UInt8(ascii: "=")) {
            guard named.count == 1, let subject = Self.subject(owner) else { return nil }
            self.subject = subject
        } else {
            guard let grant = KeyText.decoded(owner), let subject = named.count == 2 ? Self.subject(named[1]) : .grant
            else { return nil }
            self.grant = grant
            self.subject = subject
        }
        guard !counter.isEmpty, bytes == spelt(in: keys) else { return nil }
    }

    private static func subject(_ bytes: ArraySlice<UInt8>) -> Subject? {
        let parts = bytes.split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false)
        let values = parts.dropFirst().compactMap { KeyText.decoded($0) }
        guard values.count == parts.count - 1, let value = values.first else { return nil }
        switch (String(decoding: parts[0], as: UTF8.self), values.count) {
        case ("s", 1): return .session(value)
        case ("v", 1): return .server(value)
        case ("a", 2): return .attribute(name: value, value: values[1])
        case ("global", 1) where value.isEmpty: return .global
        case ("t", 1): return .throttle(value)
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
    package func bytes(in keys: KeySpace) -> [UInt8] { spelt(in: keys) + (isDenials ? Self.denialsSuffix : []) }

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
    func baseKey(in keys: KeySpace) -> [UInt8] {
        Self.baseKey(
            in: keys, grant: grant.map { Array($0.utf8) }, subject: subject,
            container: container, counter: counter, algorithm: algorithm, window: window)
    }

    private func spelt(in keys: KeySpace) -> [UInt8] {
        var key = baseKey(in: keys)
        if algorithm.hasWindows { KeyText.append(startMs: windowStartMs, of: window, to: &key) }
        return key
    }
}

/// Compared by bytes, as in the store: strings that are spelt differently are different counters, even if Swift treats
/// them as equal (a separate or a combined accent).
extension CounterKey {
    package static func == (one: CounterKey, other: CounterKey) -> Bool {
        one.isDenials == other.isDenials && one.spelt(in: "") == other.spelt(in: "")
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(spelt(in: "")) }
}
