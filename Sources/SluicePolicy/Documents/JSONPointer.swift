/// The place of a value in a JSON document (RFC 6901), kept as a chain and written out only for a fault: it costs
/// nothing in a document without faults.
package indirect enum JSONPointer: Sendable {
    /// The whole document, written as the empty string.
    case root
    case key(String, in: JSONPointer)
    case index(Int, in: JSONPointer)

    package func appending(_ key: String) -> JSONPointer { .key(key, in: self) }
    package func appending(_ index: Int) -> JSONPointer { .index(index, in: self) }

    /// The pointer in the RFC's form, except that keys too long for a name are cut, so that faults below them stay
    /// short.
    package var text: String {
        var tokens: [String] = []
        var pointer = self
        while true {
            switch pointer {
            case .root:
                return tokens.reversed().map { "/" + $0 }.joined()
            case .key(let key, let parent):
                let isTooLong = key.utf8.count > PolicyBounds.maxNameBytes
                tokens.append(JSONPointer.escape(isTooLong ? key.shortened : key))
                pointer = parent
            case .index(let index, let parent):
                tokens.append(String(index))
                pointer = parent
            }
        }
    }

    /// A name as one token of a pointer: `~` becomes `~0` and `/` becomes `~1`.
    package static func escape(_ name: String) -> String {
        guard name.utf8.contains(where: { $0 == UInt8(ascii: "~") || $0 == UInt8(ascii: "/") }) else { return name }
        var escaped = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "~": escaped += "~0"
            case "/": escaped += "~1"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
