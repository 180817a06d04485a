/// A strict parser of JSON (RFC 8259) that records the place of every value and every key.
///
/// Stricter than the RFC where it leaves a choice: keys occur once in an object, a byte order mark and lone surrogates
/// are rejected, nesting and size are bounded (`PolicyBounds.maxDepth`, `.maxDocumentBytes`), so that no input can
/// exhaust the stack.
package struct JSONParser {
    let bytes: [UInt8]
    /// What is read next.
    var offset = 0
    private var line = 1
    private var lineStart = 0
    /// UTF-8 continuation bytes of this line so far: they count as bytes, but not as columns.
    var continuationBytes = 0
    /// Where the parser is, for the pointer of a syntax fault.
    private var pointer = JSONPointer.root
    private var faults: FaultCollector

    /// Parses a document.
    ///
    /// A duplicate key is noted and the parser continues; the first syntax fault ends it, since anything after it would
    /// be a guess.
    /// - Returns: the document's value; `nil` after a fault of syntax, of encoding or of size.
    package static func parse(_ document: some Collection<UInt8>, faults: inout FaultCollector) -> JSONValue? {
        // One byte more than allowed shows that there are too many, without copying all of them.
        let bytes = Array(document.prefix(PolicyBounds.maxDocumentBytes + 1))
        var parser = JSONParser(bytes: bytes, faults: faults)
        let value: JSONValue?
        do throws(PolicyFault) {
            value = try parser.document()
        } catch {
            parser.faults.add(error)
            value = nil
        }
        faults = parser.faults
        return value
    }

    private init(bytes: [UInt8], faults: FaultCollector) {
        self.bytes = bytes
        self.faults = faults
    }

    private mutating func document() throws(PolicyFault) -> JSONValue {
        guard bytes.count <= PolicyBounds.maxDocumentBytes else {
            throw fault(
                found: "more than \(PolicyBounds.maxDocumentBytes) bytes",
                expected: "a document of at most \(PolicyBounds.maxDocumentBytes) bytes")
        }
        try checkEncoding()
        skipWhitespace()
        let value = try value(depth: 1, expected: "a JSON value")
        skipWhitespace()
        guard next == nil else { throw fault(found: describeNext(), expected: "the end of the document") }
        return value
    }

    private mutating func value(depth: Int, expected: String) throws(PolicyFault) -> JSONValue {
        let start = position
        guard let byte = next else { throw fault(found: describeNext(), expected: expected) }
        switch byte {
        case UInt8(ascii: "{"):
            try checkDepth(depth)
            return JSONValue(.object(try members(depth: depth)), at: start)
        case UInt8(ascii: "["):
            try checkDepth(depth)
            return JSONValue(.array(try elements(depth: depth)), at: start)
        case UInt8(ascii: "\""):
            return JSONValue(.string(try string()), at: start)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return JSONValue(try number(), at: start)
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"):
            return JSONValue(try literal(expected: expected), at: start)
        case UInt8(ascii: "'"):
            throw fault(found: describeNext(), expected: "\(expected) (strings stand in double quotes)")
        default:
            throw fault(found: describeNext(), expected: expected)
        }
    }

    private mutating func members(depth: Int) throws(PolicyFault) -> [JSONMember] {
        let parent = pointer
        var members: [JSONMember] = []
        var firstPositions: [String: SourcePosition] = [:]
        offset += 1
        skipWhitespace()
        if take("}") { return [] }
        while true {
            guard next == UInt8(ascii: "\"") else {
                let isAfterComma = !members.isEmpty && next == UInt8(ascii: "}")
                let expected = members.isEmpty ? "a key in double quotes, or '}'" : "another key in double quotes"
                throw fault(
                    found: describeNext() + (isAfterComma ? " after a comma" : ""),
                    expected: expected + (isAfterComma ? ", or no comma before '}'" : ""))
            }
            let keyPosition = position
            let key = try string()
            pointer = parent.appending(key)
            if let first = firstPositions[key] {
                faults.add(
                    pointer, keyPosition,
                    .unexpected(
                        found: "a second \(key.quoted)",
                        expected: "each key once (the first is at \(first.line):\(first.column))", nearest: nil))
            } else {
                firstPositions[key] = keyPosition
            }
            skipWhitespace()
            guard take(":") else { throw fault(found: describeNext(), expected: "':' after a key") }
            skipWhitespace()
            members.append(
                JSONMember(key: key, keyPosition: keyPosition, value: try value(depth: depth + 1, expected: "a value")))
            pointer = parent
            skipWhitespace()
            if take("}") { return members }
            guard take(",") else { throw fault(found: describeNext(), expected: "',' or '}'") }
            skipWhitespace()
        }
    }

    private mutating func elements(depth: Int) throws(PolicyFault) -> [JSONValue] {
        let parent = pointer
        var elements: [JSONValue] = []
        offset += 1
        skipWhitespace()
        if take("]") { return [] }
        while true {
            pointer = parent.appending(elements.count)
            if !elements.isEmpty, next == UInt8(ascii: "]") {
                throw fault(found: "']' after a comma", expected: "another value, or no comma before ']'")
            }
            elements.append(
                try value(depth: depth + 1, expected: elements.isEmpty ? "a value, or ']'" : "another value"))
            pointer = parent
            skipWhitespace()
            if take("]") { return elements }
            guard take(",") else { throw fault(found: describeNext(), expected: "',' or ']'") }
            skipWhitespace()
        }
    }

    private mutating func literal(expected: String) throws(PolicyFault) -> JSONValue.Content {
        let literals: [(String, JSONValue.Content)] = [("true", .bool(true)), ("false", .bool(false)), ("null", .null)]
        let word = word(from: offset)
        guard let content = literals.first(where: { $0.0 == word })?.1 else {
            let nearest = NearestName.find(word, among: literals.map(\.0))
            throw fault(found: describeNext(), expected: expected + (nearest.map { " such as \($0)" } ?? ""))
        }
        offset += word.utf8.count
        return content
    }

    private func checkDepth(_ depth: Int) throws(PolicyFault) {
        guard depth <= PolicyBounds.maxDepth else {
            throw fault(
                found: "arrays and objects nested \(depth) deep",
                expected: "at most \(PolicyBounds.maxDepth) levels")
        }
    }
}

// MARK: Places and what stands there

extension JSONParser {
    var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    /// The place of `offset`.
    var position: SourcePosition {
        SourcePosition(line: line, column: offset - lineStart - continuationBytes + 1)
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private mutating func skipWhitespace() {
        while let byte = next {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "\t"):
                offset += 1
            case UInt8(ascii: "\r"):
                offset += 1
                if next == UInt8(ascii: "\n") { offset += 1 }
                beginLine()
            case UInt8(ascii: "\n"):
                offset += 1
                beginLine()
            default:
                return
            }
        }
    }

    private mutating func beginLine() {
        line += 1
        lineStart = offset
        continuationBytes = 0
    }

    /// Throws at the first byte that is not UTF-8: everything after this treats the bytes as text.
    private mutating func checkEncoding() throws(PolicyFault) {
        let invalid: Int
        do throws(UTF8.ValidationError) {
            _ = try UTF8Span(validating: bytes.span)
            return
        } catch {
            invalid = error.byteOffsets.lowerBound
        }
        while offset < invalid {
            skipWhitespace()
            guard offset < invalid else { break }
            if bytes[offset] & 0xC0 == 0x80 { continuationBytes += 1 }
            offset += 1
        }
        let digits = String(bytes[invalid], radix: 16, uppercase: true)
        throw fault(found: "the byte 0x\(digits)", expected: "text in UTF-8")
    }

    func fault(at place: SourcePosition? = nil, found: String, expected: String) -> PolicyFault {
        let expected = place == nil && isAtComment ? "\(expected) (JSON has no comments)" : expected
        return PolicyFault(
            file: faults.file, pointer: pointer.text, position: place ?? position,
            problem: .unexpected(found: found, expected: expected, nearest: nil))
    }

    private var isAtComment: Bool {
        let head = bytes[offset...].prefix(2)
        return head.starts(with: "//".utf8) || head.starts(with: "/*".utf8) || head.first == UInt8(ascii: "#")
    }

    /// The text at `offset`, for a message: a whole word, or one character.
    func describeNext() -> String {
        guard let byte = next else { return "the end of the document" }
        if isAtComment { return "a comment" }
        let word = word(from: offset)
        if !word.isEmpty { return "'\(word.shortened)'" }
        if byte < 0x20 { return "a control character (\(String(Unicode.Scalar(byte)).onOneLine))" }
        let character = String(decoding: bytes[offset...].prefix(4), as: UTF8.self).unicodeScalars.first
        if character == "\u{FEFF}" { return "a byte order mark" }
        return character.map { "'\(String($0).onOneLine)'" } ?? "nothing"
    }

    /// The letters, digits and underscores from there on; bounded, since they are only compared and shown.
    private func word(from start: Int) -> String {
        let letters = bytes[start...].prefix(64).prefix { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return String(decoding: letters, as: UTF8.self)
    }
}
