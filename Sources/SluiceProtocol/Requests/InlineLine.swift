/// Splits the line of an inline command into words, with the quotes of redis-cli: `"a b\n\x00"` with escapes, `'a b'`
/// with `\'` alone. A closing quote ends its word and must be followed by a space or the end of the line.
enum InlineLine {
    enum Outcome {
        case plain
        /// Nothing was split: some words may be quoted.
        case hasQuotes
        case failed(FrameError)
    }

    /// Splits a line without quotes; the ranges count from the line's first byte.
    static func split(_ line: Span<UInt8>, into words: inout [Range<Int>]) -> Outcome {
        var index = 0
        while true {
            while index < line.count, isSpace(line[index]) { index += 1 }
            guard index < line.count else { return .plain }
            let start = index
            while index < line.count, !isSpace(line[index]) {
                if line[index] == UInt8(ascii: "\"") || line[index] == UInt8(ascii: "'") { return .hasQuotes }
                index += 1
            }
            guard words.count < ProtocolBounds.maxArguments else { return .failed(.tooManyArguments) }
            words.append(start..<index)
        }
    }

    /// Splits a line and unquotes each word in place: the write position never overtakes the read position.
    static func splitQuoted(_ line: UnsafeMutableRawBufferPointer, into words: inout [Range<Int>]) -> FrameError? {
        var index = 0
        while true {
            while index < line.count, isSpace(line[index]) { index += 1 }
            guard index < line.count else { return nil }
            guard words.count < ProtocolBounds.maxArguments else { return .tooManyArguments }
            let start = index
            var end = index
            while index < line.count, !isSpace(line[index]) {
                let byte = line[index]
                index += 1
                guard byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") else {
                    line[end] = byte
                    end += 1
                    continue
                }
                guard unquote(line, from: &index, to: &end, quote: byte) else { return .unbalancedQuotes }
                guard index == line.count || isSpace(line[index]) else { return .unbalancedQuotes }
            }
            words.append(start..<end)
        }
    }

    /// Copies a quoted part down to `end`; `index` is after the opening quote and moves to after the closing one. False
    /// if there is no closing quote.
    private static func unquote(
        _ line: UnsafeMutableRawBufferPointer, from index: inout Int, to end: inout Int, quote: UInt8
    ) -> Bool {
        while index < line.count {
            var byte = line[index]
            index += 1
            if byte == quote { return true }
            if byte == UInt8(ascii: "\\"), index < line.count {
                if quote == UInt8(ascii: "'") {
                    if line[index] == quote {
                        byte = quote
                        index += 1
                    }
                } else {
                    byte = unescape(line, at: &index)
                }
            }
            line[end] = byte
            end += 1
        }
        return false
    }

    /// The byte that an escape denotes; `index` is after the backslash, on a byte of the line.
    private static func unescape(_ line: UnsafeMutableRawBufferPointer, at index: inout Int) -> UInt8 {
        let letter = line[index]
        index += 1
        if letter == UInt8(ascii: "x"), index + 1 < line.count,
            let high = hexValue(line[index]), let low = hexValue(line[index + 1])
        {
            index += 2
            return high << 4 | low
        }
        return switch letter {
        case UInt8(ascii: "n"): 0x0a
        case UInt8(ascii: "r"): 0x0d
        case UInt8(ascii: "t"): 0x09
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "a"): 0x07
        default: letter
        }
    }

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Methods of HTTP; none of them is a command here.
    private static let methods: Set = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI",
    ]

    /// Whether a line begins an HTTP request: a method, a target, and `HTTP/1.1` or the like at its end.
    static func isOfHTTP(_ line: Span<UInt8>) -> Bool {
        var end = line.count
        if end > 0, line[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        let version = Array("HTTP/".utf8)
        // The version has three characters: 1.0, 1.1, 2.0.
        let start = end - version.count - 3
        guard start > 2, line[start - 1] == UInt8(ascii: " ") else { return false }
        for index in version.indices where line[start + index] != version[index] { return false }
        var method = ""
        for index in 0..<min(end, 8) {
            guard line[index] != UInt8(ascii: " ") else { return methods.contains(method) }
            method.unicodeScalars.append(UnicodeScalar(line[index]))
        }
        return false
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0d).contains(byte)
    }
}
