/// A place in a document's text.
///
/// Lines end at LF, CRLF or a lone CR. Columns count Unicode scalars, as editors do except for combined emoji. Both
/// begin at 1.
package struct SourcePosition: Sendable, Hashable, Comparable {
    package let line: Int
    package let column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (left: SourcePosition, right: SourcePosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// One value of a JSON document and where it begins.
package struct JSONValue: Sendable, Equatable {
    package enum Content: Sendable, Equatable {
        case null
        case bool(Bool)
        /// A whole number that fits 64 bits: exact.
        case integer(Int64)
        /// Any other number, unchanged: it has a fraction, or does not fit 64 bits.
        case otherNumber(String)
        case string(String)
        case array([JSONValue])
        /// In the order of the document. A duplicate key occurs twice: the parser noted the fault.
        case object([JSONMember])
    }

    package let content: Content
    package let position: SourcePosition

    package init(_ content: Content, at position: SourcePosition) {
        self.content = content
        self.position = position
    }

    /// Text for messages after "found": short, and on one line whatever the document holds.
    package var summary: String {
        switch content {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .integer(let value): String(value)
        case .otherNumber(let text): text.shortened
        case .string(let text): text.quoted
        case .array(let elements): elements.isEmpty ? "an empty array" : "an array"
        case .object(let members): members.isEmpty ? "an empty object" : "an object"
        }
    }
}

/// One key of a JSON object with its value.
package struct JSONMember: Sendable, Equatable {
    package let key: String
    package let keyPosition: SourcePosition
    package let value: JSONValue

    package init(key: String, keyPosition: SourcePosition, value: JSONValue) {
        self.key = key
        self.keyPosition = keyPosition
        self.value = value
    }
}
