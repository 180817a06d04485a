import SluicePolicy

/// What many counters have in common, once for all of them: their windows, and their keys but for the part that tells whose
/// they are. Of `sluice:1:{GRANT}:TOOL:COUNTER:fixed_window:60s:` only `GRANT` is a counter's own.
final class KeyTemplate: Sendable {
    /// What a key begins with, before the counter's own part.
    let head: [UInt8]
    /// What comes behind that, before the window's start.
    let tail: [UInt8]
    let window: Window
    let algorithm: Quota.Algorithm

    init(_ parts: BaseKeyParts, window: Window, algorithm: Quota.Algorithm) {
        head = Array(parts.head)
        tail = Array(parts.tail)
        self.window = window
        self.algorithm = algorithm
    }

    /// Of a place where no counter is.
    static let none = KeyTemplate(BaseKeyParts([]), window: .endless, algorithm: .fixedWindow)
}

/// The stem of a counter's key in three parts; see `CounterKey`.
struct BaseKeyParts {
    let head: ArraySlice<UInt8>
    /// What is between the braces; and, where a limit counts part of a grant's calls, all up to the end of its subject.
    let own: ArraySlice<UInt8>
    let tail: ArraySlice<UInt8>

    init(head: ArraySlice<UInt8>, own: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
        self.head = head
        self.own = own
        self.tail = tail
    }

    /// Names are percent-encoded: none has any of the marks that are looked for here.
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

/// The families of the counters that there are: each once, and for as long as it has any.
struct CounterFamilies {
    private var families: [Name: (family: KeyTemplate, counters: Int)] = [:]

    private struct Name: Hashable {
        let head: ByteString
        let tail: ByteString
    }

    /// The family of one counter more.
    mutating func join(_ parts: BaseKeyParts, window: Window, algorithm: Quota.Algorithm) -> KeyTemplate {
        let name = Name(head: ByteString(bytes: Array(parts.head)), tail: ByteString(bytes: Array(parts.tail)))
        let family =
            families[name]?.family ?? KeyTemplate(parts, window: window, algorithm: algorithm)
        if families[name] == nil { bytes += Self.bytes(parts) }
        families[name, default: (family, 0)].counters += 1
        return family
    }

    /// One of its counters is no more.
    mutating func leave(_ family: KeyTemplate) {
        let name = Name(head: ByteString(bytes: family.head), tail: ByteString(bytes: family.tail))
        families[name]?.counters -= 1
        guard families[name]?.counters == 0 else { return }
        families[name] = nil
        bytes -= Self.bytes(BaseKeyParts(head: family.head[...], own: [], tail: family.tail[...]))
    }

    var count: Int { families.count }
    /// What they take, with their names.
    private(set) var bytes = 0

    /// A name is kept twice: in the family, and to find it by.
    private static func bytes(_ parts: BaseKeyParts) -> Int {
        HeldBytes.perRow(of: [Name: (family: KeyTemplate, counters: Int)].self) + 2 * HeldBytes.perObject
            + 2 * (HeldBytes.apart(parts.head.count) + HeldBytes.apart(parts.tail.count))
    }
}
