/// Numbers and strings.
extension JSONParser {
    /// Reads a number: exact as `.integer` if it is whole, however it is written (`1000`, `1e3`, `1000.0`), and fits 64
    /// bits, otherwise as it is written.
    mutating func number() throws(PolicyFault) -> JSONValue.Content {
        let start = offset
        let startPosition = position
        let isNegative = take("-")
        let firstDigit = offset
        // Summed up as a negative number, where the range of 64 bits is larger by one.
        var sum: Int64? = 0
        while let digit = nextDigit {
            sum = sum.flatMap { sum in
                let (tenfold, overflow) = sum.multipliedReportingOverflow(by: 10)
                let (next, overflowAgain) = tenfold.subtractingReportingOverflow(digit)
                return overflow || overflowAgain ? nil : next
            }
            offset += 1
        }
        guard offset > firstDigit else { throw fault(found: describeNext(), expected: "a digit after '-'") }
        if bytes[firstDigit] == UInt8(ascii: "0"), offset > firstDigit + 1 {
            throw fault(
                at: startPosition, found: text(from: start).shortened, expected: "a number without leading zeros")
        }
        // Whether it is written as a whole number.
        var isWhole = true
        if take(".") {
            isWhole = false
            try digits(after: "the decimal point")
        }
        if take("e") || take("E") {
            isWhole = false
            if !take("+") { _ = take("-") }
            try digits(after: "the exponent's 'e'")
        }
        if !isWhole { sum = Self.wholeNumber(bytes[firstDigit..<offset]) }
        if let sum {
            if isNegative { return .integer(sum) }
            if sum != .min { return .integer(-sum) }
        }
        return .otherNumber(text(from: start))
    }

    /// The value of a number with a fraction or an exponent, as a negative number; `nil` if it is not whole, or has more
    /// digits than any integer of 64 bits.
    private static func wholeNumber(_ number: ArraySlice<UInt8>) -> Int64? {
        let parts = number.split(maxSplits: 1) { $0 == UInt8(ascii: "e") || $0 == UInt8(ascii: "E") }
        let places = parts[0].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        // A longer exponent has leading zeros, or means a number that is too large or not whole.
        guard parts.count < 2 || parts[1].count <= 4,
            var exponent = parts.count < 2 ? 0 : Int(String(decoding: parts[1], as: UTF8.self))
        else { return nil }
        var digits = places.flatMap { $0 }
        exponent -= places.count < 2 ? 0 : places[1].count
        while exponent < 0, digits.last == UInt8(ascii: "0") {
            digits.removeLast()
            exponent += 1
        }
        digits.removeFirst(digits.prefix { $0 == UInt8(ascii: "0") }.count)
        if digits.isEmpty { return 0 }
        guard exponent >= 0, digits.count + exponent <= maxDigits else { return nil }
        digits += Array(repeating: UInt8(ascii: "0"), count: exponent)
        return Int64("-" + String(decoding: digits, as: UTF8.self))
    }

    /// The digits of the largest integer of 64 bits.
    private static let maxDigits = 19

    private mutating func digits(after place: String) throws(PolicyFault) {
        guard nextDigit != nil else { throw fault(found: describeNext(), expected: "a digit after \(place)") }
        while nextDigit != nil { offset += 1 }
    }

    private var nextDigit: Int64? {
        guard let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
        return Int64(byte - UInt8(ascii: "0"))
    }

    private func text(from start: Int) -> String { String(decoding: bytes[start..<offset], as: UTF8.self) }

    /// Reads a string, from its opening quote to after its closing one.
    mutating func string() throws(PolicyFault) -> String {
        let start = position
        offset += 1
        // Most strings have no escapes and are taken unchanged; `unescaped` is for the others.
        var unescaped: [UInt8] = []
        var runStart = offset
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                let run = bytes[runStart..<offset]
                offset += 1
                if unescaped.isEmpty { return String(decoding: run, as: UTF8.self) }
                return String(decoding: unescaped + run, as: UTF8.self)
            case UInt8(ascii: "\\"):
                unescaped += bytes[runStart..<offset]
                unescaped += UTF8.encode(try escape())!
                runStart = offset
            case 0..<0x20:
                throw rawControlCharacter(byte, inStringAt: start)
            default:
                if byte & 0xC0 == 0x80 { continuationBytes += 1 }
                offset += 1
            }
        }
        throw fault(
            found: describeNext(), expected: "'\"' to end the string that begins at \(start.line):\(start.column)")
    }

    private func rawControlCharacter(_ byte: UInt8, inStringAt start: SourcePosition) -> PolicyFault {
        switch byte {
        case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
            fault(
                found: "the end of the line",
                expected: "'\"' to end the string that begins at \(start.line):\(start.column)")
        case UInt8(ascii: "\t"):
            fault(found: "a tab within a string", expected: "\\t")
        default:
            fault(
                found: "a control character within a string",
                expected: String(Unicode.Scalar(byte)).onOneLine)
        }
    }

    /// Reads an escape; a pair of surrogates counts as one.
    private mutating func escape() throws(PolicyFault) -> Unicode.Scalar {
        let start = position
        offset += 1
        let letter = next
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): break
        case UInt8(ascii: "u"):
            offset += 1
            return try unicodeEscape(at: start)
        case UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"): break
        default:
            throw fault(found: "\(describeNext()) after a backslash", expected: "one of \" \\ / b f n r t u")
        }
        offset += 1
        return switch letter {
        case UInt8(ascii: "b"): "\u{8}"
        case UInt8(ascii: "f"): "\u{C}"
        case UInt8(ascii: "n"): "\n"
        case UInt8(ascii: "r"): "\r"
        case UInt8(ascii: "t"): "\t"
        case UInt8(ascii: "/"): "/"
        case UInt8(ascii: "\\"): "\\"
        default: "\""
        }
    }

    private mutating func unicodeEscape(at start: SourcePosition) throws(PolicyFault) -> Unicode.Scalar {
        let first = try hexUnit()
        if let scalar = Unicode.Scalar(first) { return scalar }
        let expected = "a pair of surrogates such as \\ud83d\\ude00"
        let shown = "\\u" + String(first, radix: 16)
        guard UTF16.isLeadSurrogate(first), take("\\"), take("u") else {
            throw fault(at: start, found: "the lone surrogate \(shown)", expected: expected)
        }
        let second = try hexUnit()
        guard UTF16.isTrailSurrogate(second) else {
            throw fault(at: start, found: "the lone surrogate \(shown)", expected: expected)
        }
        return UTF16.decode(UTF16.EncodedScalar([first, second]))
    }

    private mutating func hexUnit() throws(PolicyFault) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = next.flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }) else {
                throw fault(found: describeNext(), expected: "four hexadecimal digits after \\u")
            }
            unit = unit << 4 | UInt16(digit)
            offset += 1
        }
        return unit
    }
}
