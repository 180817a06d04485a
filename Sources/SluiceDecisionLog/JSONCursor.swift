/// Reads one line of JSON (RFC 8259) in place. The policies' parser keeps the place of every value for its messages, which
/// takes ten times as long: a log has millions of lines.
struct JSONCursor {
    var index: Int
    let end: Int

    /// Values nested deeper than this are malformed.
    private static let maxDepth = 8

    private mutating func skipSpaces(_ bytes: [UInt8]) {
        while index < end,
            bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t")
                || bytes[index] == UInt8(ascii: "\r")
        {
            index += 1
        }
    }

    mutating func isAtEnd(_ bytes: [UInt8]) -> Bool {
        skipSpaces(bytes)
        return index == end
    }

    /// Whether this byte is next; if so, it is passed.
    mutating func take(_ byte: UInt8, _ bytes: [UInt8]) -> Bool {
        skipSpaces(bytes)
        guard index < end, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    /// The members of an object, one after the other. - Returns: whether it is well formed, and each was taken.
    mutating func members(
        _ bytes: inout [UInt8], _ take: (_ name: Range<Int>, inout [UInt8], inout JSONCursor) -> Bool
    ) -> Bool {
        elements(from: "{", to: "}", &bytes) { bytes, cursor in
            guard let name = cursor.string(&bytes), cursor.take(UInt8(ascii: ":"), bytes) else { return false }
            return take(name, &bytes, &cursor)
        }
    }

    /// What stands between brackets, with commas in between.
    private mutating func elements(
        from opening: Unicode.Scalar, to closing: Unicode.Scalar, _ bytes: inout [UInt8],
        _ element: (inout [UInt8], inout JSONCursor) -> Bool
    ) -> Bool {
        guard take(UInt8(ascii: opening), bytes) else { return false }
        if take(UInt8(ascii: closing), bytes) { return true }
        repeat { guard element(&bytes, &self) else { return false } } while take(UInt8(ascii: ","), bytes)
        return take(UInt8(ascii: closing), bytes)
    }

    /// A string's content. Escapes are replaced in place: the range holds what they mean.
    mutating func string(_ bytes: inout [UInt8]) -> Range<Int>? {
        guard take(UInt8(ascii: "\""), bytes) else { return nil }
        let begin = index
        while index < end {
            switch bytes[index] {
            case UInt8(ascii: "\""):
                index += 1
                return begin..<index - 1
            case UInt8(ascii: "\\"): return stringWithEscapes(&bytes, begin)
            case 0..<0x20: return nil
            default: index += 1
            }
        }
        return nil
    }

    private mutating func stringWithEscapes(_ bytes: inout [UInt8], _ begin: Int) -> Range<Int>? {
        var written = index
        while index < end {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                index += 1
                return begin..<written
            case 0..<0x20: return nil
            case UInt8(ascii: "\\"):
                guard let text = escape(bytes) else { return nil }
                for code in text {
                    bytes[written] = code
                    written += 1
                }
            default:
                bytes[written] = byte
                written += 1
                index += 1
            }
        }
        return nil
    }

    /// The UTF-8 of the escape at the index, which is passed; nil if it is malformed.
    private mutating func escape(_ bytes: [UInt8]) -> [UInt8]? {
        guard index + 1 < end else { return nil }
        let letter = bytes[index + 1]
        index += 2
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [letter]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "u"):
            guard var code = hex(bytes) else { return nil }
            if (0xD800..<0xDC00).contains(code) {
                guard index + 1 < end, bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u") else {
                    return nil
                }
                index += 2
                guard let low = hex(bytes), (0xDC00..<0xE000).contains(low) else { return nil }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            return Unicode.Scalar(code).map { Array(String($0).utf8) }
        default: return nil
        }
    }

    private mutating func hex(_ bytes: [UInt8]) -> UInt32? {
        guard index + 4 <= end, bytes[index] != UInt8(ascii: "+"), bytes[index] != UInt8(ascii: "-"),
            let code = UInt32(bytes.text(index..<index + 4), radix: 16)
        else { return nil }
        index += 4
        return code
    }

    /// A whole number of at most 18 digits.
    mutating func number(_ bytes: [UInt8]) -> Int64? {
        let isNegative = take(UInt8(ascii: "-"), bytes)
        let begin = index
        var value: Int64 = 0
        while index < end, index - begin < 19 {
            let digit = bytes[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { break }
            value = value &* 10 &+ Int64(digit)
            index += 1
        }
        guard (1...18).contains(index - begin) else { return nil }
        return isNegative ? -value : value
    }

    mutating func flag(_ bytes: [UInt8]) -> Bool? {
        skipSpaces(bytes)
        if takeWord("true", bytes) { return true }
        return takeWord("false", bytes) ? false : nil
    }

    private mutating func takeWord(_ word: String, _ bytes: [UInt8]) -> Bool {
        let text = word.utf8
        guard index + text.count <= end, bytes[index..<index + text.count].elementsEqual(text) else { return false }
        index += text.count
        return true
    }

    /// Passes any value. - Returns: whether it is well formed.
    mutating func skip(_ bytes: inout [UInt8], depth: Int) -> Bool {
        skipSpaces(bytes)
        guard index < end, depth < Self.maxDepth else { return false }
        switch bytes[index] {
        case UInt8(ascii: "\""): return string(&bytes) != nil
        case UInt8(ascii: "{"): return members(&bytes) { _, bytes, cursor in cursor.skip(&bytes, depth: depth + 1) }
        case UInt8(ascii: "["):
            return elements(from: "[", to: "]", &bytes) { bytes, cursor in cursor.skip(&bytes, depth: depth + 1) }
        default:
            let begin = index
            while index < end, !Self.endsLiteral(bytes[index]) { index += 1 }
            return index > begin
        }
    }

    private static func endsLiteral(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ",") || byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") || byte <= UInt8(ascii: " ")
    }
}
