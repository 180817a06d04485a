import SluicePolicy

/// What many counters have in common, stored once: their window, and their keys except for the part that names their
/// owner. Of `sluice:2:{GRANT}:TOOL:COUNTER:f60:` only `GRANT` is a counter's own.
final class KeyTemplate: Sendable {
    /// The part of a key before the counter's own part.
    let head: [UInt8]
    /// The part after that, before the window's start.
    let tail: [UInt8]
    let window: Window
    let algorithm: Algorithm
    /// See `Window.startUnitMs`.
    let startUnitMs: Int64

    init(_ parts: BaseKeyParts, window: Window, algorithm: Algorithm) {
        head = Array(parts.head)
        tail = Array(parts.tail)
        self.window = window
        self.algorithm = algorithm
        startUnitMs = window.startUnitMs
    }

    /// For a free row.
    static let none = KeyTemplate(BaseKeyParts(head: [], own: [], tail: []), window: .endless, algorithm: .fixedWindow)
}

/// A counter's base key in three parts; see `CounterKey`.
struct BaseKeyParts {
    let head: ArraySlice<UInt8>
    /// The owner; and, if a limit counts only some of a grant's calls, everything to the end of the subject.
    let own: ArraySlice<UInt8>
    let tail: ArraySlice<UInt8>

    init(head: ArraySlice<UInt8>, own: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
        self.head = head
        self.own = own
        self.tail = tail
    }

    /// Names are percent-encoded, so they contain none of the separators searched for here.
    init(_ baseKey: [UInt8], in keys: KeySpace) {
        let owner = keys.owner(of: baseKey[...]) ?? baseKey[...]
        let begin = owner.startIndex
        var end = owner.endIndex
        if let subject = baseKey[end...].firstIndex(of: UInt8(ascii: ";")) {
            end = baseKey[subject...].firstIndex(of: UInt8(ascii: ":")) ?? baseKey.endIndex
        }
        head = baseKey[..<begin]
        own = baseKey[begin..<end]
        tail = baseKey[end...]
    }
}

/// The key templates in use: each once, while any counter has it.
struct KeyTemplates {
    private var templates: [Name: (template: KeyTemplate, counters: Int)] = [:]

    private struct Name: Hashable {
        let head: ByteString
        let tail: ByteString
    }

    /// Returns the template for one more counter.
    mutating func join(_ parts: BaseKeyParts, window: Window, algorithm: Algorithm) -> KeyTemplate {
        let name = Name(head: ByteString(bytes: Array(parts.head)), tail: ByteString(bytes: Array(parts.tail)))
        let template =
            templates[name]?.template ?? KeyTemplate(parts, window: window, algorithm: algorithm)
        if templates[name] == nil { bytes += Self.bytes(parts) }
        templates[name, default: (template, 0)].counters += 1
        return template
    }

    /// One of its counters was freed.
    mutating func leave(_ template: KeyTemplate) {
        let name = Name(head: ByteString(bytes: template.head), tail: ByteString(bytes: template.tail))
        templates[name]?.counters -= 1
        guard templates[name]?.counters == 0 else { return }
        templates[name] = nil
        bytes -= Self.bytes(BaseKeyParts(head: template.head[...], own: [], tail: template.tail[...]))
    }

    var count: Int { templates.count }
    /// Bytes held, names included.
    private(set) var bytes = 0

    /// A name is stored twice: in the template, and as the dictionary's key.
    private static func bytes(_ parts: BaseKeyParts) -> Int {
        HeldBytes.perRow(of: [Name: (template: KeyTemplate, counters: Int)].self) + 2 * HeldBytes.perObject
            + 2 * (HeldBytes.array(parts.head.count) + HeldBytes.array(parts.tail.count))
    }
}
