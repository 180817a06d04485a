import SluiceTerminal

/// A JSON document that keeps the order of its members, for programs and for people.
enum JSONText {
    case null
    case boolean(Bool)
    case integer(Int64)
    /// A number with at most one digit behind the point, counted in tenths.
    case tenths(Int64)
    case string(String)
    case array([JSONText])
    case object([(String, JSONText)])

    /// Null if absent; Sluice encodes that as -1.
    static func known(_ number: Int64) -> JSONText { number < 0 ? .null : .integer(number) }

    /// One line, without the line feed.
    var line: String {
        switch self {
        case .null: "null"
        case .boolean(let flag): flag ? "true" : "false"
        case .integer(let number): String(number)
        case .tenths(let number): "\(number / 10).\(abs(number % 10))"
        case .string(let text): Self.quote(text)
        case .array(let elements): "[" + elements.map(\.line).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { "\(Self.quote($0.0)):\($0.1.line)" }.joined(separator: ",") + "}"
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
            case _ where TerminalText.isVisible(scalar): String(scalar)
            default: TerminalText.escape(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}
