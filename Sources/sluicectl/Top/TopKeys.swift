/// What a person typed.
enum TopKey: Equatable, Sendable {
    case character(Character)
    case enter, escape, backspace
    /// Ctrl-C.
    case interrupt
}

/// Reads keys from a terminal's bytes. Sequences of other keys (arrows, function keys) are passed over.
struct TopKeys: Sendable {
    /// The bytes of a character of UTF-8 that has not ended.
    private var unfinished: [UInt8] = []

    /// - Parameter bytes: of one read: an escape at its end is the key itself, and begins a sequence elsewhere.
    mutating func take(_ bytes: [UInt8]) -> [TopKey] {
        var keys: [TopKey] = []
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            switch byte {
            case 0x1B where rest.isEmpty: keys.append(.escape)
            case 0x1B: Self.passSequence(&rest)
            case 0x03: keys.append(.interrupt)
            case 0x0A, 0x0D: keys.append(.enter)
            case 0x08, 0x7F: keys.append(.backspace)
            case 0..<0x20: break
            case 0x80...: takePart(byte, &keys)
            default: keys.append(.character(Character(Unicode.Scalar(byte))))
            }
        }
        return keys
    }

    private static func passSequence(_ rest: inout ArraySlice<UInt8>) {
        guard let opening = rest.popFirst(), opening == UInt8(ascii: "[") || opening == UInt8(ascii: "O") else {
            return
        }
        // Parameters, and one byte that ends it.
        while let byte = rest.popFirst(), !(0x40...0x7E).contains(byte) {}
    }

    private mutating func takePart(_ byte: UInt8, _ keys: inout [TopKey]) {
        if byte >= 0xC0 || unfinished.count >= 4 { unfinished = [] }
        unfinished.append(byte)
        guard let text = String(validating: unfinished, as: UTF8.self), let character = text.first else { return }
        unfinished = []
        keys.append(.character(character))
    }
}
