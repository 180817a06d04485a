/// A JSON document that keeps the order of its members, for programs and for people.
package enum JSONText: Sendable {
    /// A number, `true`, `false` or `null`, as it is written.
    case literal(String)
    case string(String)
    case array([JSONText])
    case object([(String, JSONText)])

    package static let null = JSONText.literal("null")
    package static func boolean(_ flag: Bool) -> JSONText { .literal(flag ? "true" : "false") }
    package static func integer(_ number: some BinaryInteger) -> JSONText { .literal(String(number)) }
    /// Null if absent; Sluice encodes that as -1.
    package static func known(_ number: Int64) -> JSONText { number < 0 ? .null : .integer(number) }
    /// A number with one digit behind the point, counted in tenths.
    package static func tenths(_ number: Int64) -> JSONText { .literal("\(number / 10).\(abs(number % 10))") }
    /// Null if it is not finite, which JSON cannot express.
    package static func number(_ number: Double) -> JSONText {
        guard number.isFinite else { return .null }
        let text = "\(number)"
        return .literal(text.hasSuffix(".0") ? String(text.dropLast(2)) : text)
    }
    /// Null if there is none.
    package static func text(_ text: String?) -> JSONText { text.map { .string($0) } ?? .null }
    package static func strings(_ texts: [String]) -> JSONText { .array(texts.map { .string($0) }) }

    /// The same with the members of every object sorted by name.
    package var sorted: JSONText {
        switch self {
        case .literal, .string: self
        case .array(let elements): .array(elements.map(\.sorted))
        case .object(let members): .object(members.sorted { $0.0 < $1.0 }.map { ($0.0, $0.1.sorted) })
        }
    }

    /// One line, without the line feed.
    package var line: String { text(feed: "", indent: "", colon: ":") }

    /// Lines for people, each with its line feed.
    package var lines: String { text(feed: "\n", indent: "  ", colon: " : ") + "\n" }

    /// - Parameters:
    ///   - feed: the line feed between elements, and the spaces that begin this one's line; empty for one line.
    ///   - indent: how much further in its elements begin.
    private func text(feed: String, indent: String, colon: String) -> String {
        func list(_ opening: String, _ elements: [String], _ closing: String) -> String {
            guard !elements.isEmpty else { return opening + closing }
            return opening + feed + indent + elements.joined(separator: "," + feed + indent) + feed + closing
        }
        func text(_ element: JSONText) -> String { element.text(feed: feed + indent, indent: indent, colon: colon) }
        switch self {
        case .literal(let text): return text
        case .string(let text): return Self.quote(text)
        case .array(let elements): return list("[", elements.map(text), "]")
        case .object(let members): return list("{", members.map { Self.quote($0.0) + colon + text($0.1) }, "}")
        }
    }

    /// Escapes more than JSON requires: the document may be read at a terminal.
    private static func quote(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"": "\\\""
            case "\\": "\\\\"
            case "\n": "\\n"
            case "\r": "\\r"
            case "\t": "\\t"
            default: TerminalText.visible(String(scalar))
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}

extension JSONText: ExpressibleByDictionaryLiteral, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral {
    /// An object without the members that are nil.
    package init(dictionaryLiteral members: (String, JSONText?)...) {
        self = .object(members.compactMap { name, value in value.map { (name, $0) } })
    }

    package init(stringLiteral text: String) { self = .string(text) }
    package init(integerLiteral number: Int64) { self = .integer(number) }
}
