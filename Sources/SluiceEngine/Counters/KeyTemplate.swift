import SluicePolicy

/// What many counters have in common, stored once: their window, and their keys except for the part that names their
/// owner. Of `sluice:1:{GRANT}:TOOL:COUNTER:fixed_window:60s:` only `GRANT` is a counter's own.
final class KeyTemplate: Sendable {
    /// The part of a key before the counter's own part.
    let head: [UInt8]
    /// The part after that, before the window's start.
    let tail: [UInt8]
    let window: Window
    let algorithm: Quota.Algorithm

    init(_ parts: BaseKeyParts, window: Window, algorithm: Quota.Algorithm) {
        head = Array(parts.head)
        tail = Array(parts.tail)
        self.window = window
        self.algorithm = algorithm
    }

    /// For a free row.
    static let none = KeyTemplate(BaseKeyParts([]), window: .endless, algorithm: .fixedWindow)
}

/// A counter's base key in three parts; see `CounterKey`.
struct BaseKeyParts {
    let head: ArraySlice<UInt8>
    /// The part in the braces; and, if a limit counts only some of a grant's calls, everything to the end of the
    /// subject.
    let own: ArraySlice<UInt8>
    let tail: ArraySlice<UInt8>

    init(head: ArraySlice<UInt8>, own: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
        self.head = head
        self.own = own
        self.tail = tail
    }

    /// Names are percent-encoded, so they contain none of the separators searched for here.
    init(_ baseKey: [UInt8]) {
        let begin = baseKey.firstIndex(of: UInt8(ascii: "{")).map { $0 + 1 } ?? baseKey.startIndex
        var end = baseKey[begin...].firstIndex(of: UInt8(ascii: "}")) ?? baseKey.endIndex
        if let subject = baseKey[end...].firstIndex(of: UInt8(ascii: ";")) {
            end = baseKey[subject...].firstIndex(of: UInt8(ascii: ":")) ?? baseKey.endIndex
        }
        head = baseKey[..<begin]
        own = baseKey[begin..<end]
        tail = baseKey[end...]
    }
}

/// The key templates in use: each once, while any counter has it.
struct CounterFamilies {
    private var families: [Name: (family: KeyTemplate, counters: Int)] = [:]

    private struct Name: Hashable {
        let head: ByteString
        let tail: ByteString
    }

    /// Returns the template for one more counter.
    mutating func join(_ parts: BaseKeyParts, window: Window, algorithm: Quota.Algorithm) -> KeyTemplate {
        let name = Name(head: ByteString(bytes: Array(parts.head)), tail: ByteString(bytes: Array(parts.tail)))
        let family =
            families[name]?.family ?? KeyTemplate(parts, window: window, algorithm: algorithm)
        if families[name] == nil { bytes += Self.bytes(parts) }
        families[name, default: (family, 0)].counters += 1
        return family
    }

    /// One of its counters was freed.
    mutating func leave(_ family: KeyTemplate) {
        let name = Name(head: ByteString(bytes: family.head), tail: ByteString(bytes: family.tail))
        families[name]?.counters -= 1
        guard families[name]?.counters == 0 else { return }
        families[name] = nil
        bytes -= Self.bytes(BaseKeyParts(head: family.head[...], own: [], tail: family.tail[...]))
    }

    var count: Int { families.count }
    /// Bytes held, names included.
    private(set) var bytes = 0

    /// A name is stored twice: in the template, and as the dictionary's key.
    private static func bytes(_ parts: BaseKeyParts) -> Int {
        HeldBytes.perRow(of: [Name: (family: KeyTemplate, counters: Int)].self) + 2 * HeldBytes.perObject
            + 2 * (HeldBytes.apart(parts.head.count) + HeldBytes.apart(parts.tail.count))
    }
}
