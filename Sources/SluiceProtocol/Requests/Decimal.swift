/// The result of reading a decimal number that ends a line.
package enum DecimalLine {
    /// The number, saturated at the ends of `Int64`, and the offset after its CR LF.
    case value(Int64, end: Int)
    /// The bytes are valid so far, but end before the line does.
    case incomplete
    case invalid
}

/// Reads a whole number that ends with CR LF, as in headers and integer replies: an optional minus, no leading zero, no
/// other sign, no space. Reads at most `maxBytes`, line end not counted.
package func readDecimal(_ bytes: Span<UInt8>, from start: Int, maxBytes: Int) -> DecimalLine {
    var index = start
    let limit = min(bytes.count, start + maxBytes)
    var negative = false
    if index < limit, bytes[index] == UInt8(ascii: "-") {
        negative = true
        index += 1
    }
    let firstDigit = index
    var value: Int64 = 0
    while index < limit {
        let digit = bytes[index] &- UInt8(ascii: "0")
        guard digit <= 9 else { break }
        if index - firstDigit < 18 {
            // Counting downwards reaches the lowest number, which has no positive counterpart.
            value = value &* 10 &- Int64(digit)
        } else {
            let (product, over) = value.multipliedReportingOverflow(by: 10)
            let (sum, overAgain) = product.subtractingReportingOverflow(Int64(digit))
            value = over || overAgain ? .min : sum
        }
        index += 1
    }
    guard index < bytes.count else { return .incomplete }
    let digits = index - firstDigit
    guard digits > 0, bytes[index] == UInt8(ascii: "\r") else { return .invalid }
    guard bytes[firstDigit] != UInt8(ascii: "0") || (digits == 1 && !negative) else { return .invalid }
    guard index + 1 < bytes.count else { return .incomplete }
    guard bytes[index + 1] == UInt8(ascii: "\n") else { return .invalid }
    if negative { return .value(value, end: index + 2) }
    return .value(value == .min ? .max : -value, end: index + 2)
}

/// A complete header with a number of one to three digits and no leading zero.
struct ShortHeader {
    var value: Int
    /// The offset behind CR LF.
    var end: Int

    /// `nil` if there is anything else.
    @inline(__always)
    init?(_ bytes: RawSpan, at start: Int, type: UInt8) {
        guard start &+ 4 <= bytes.byteCount else { return nil }
        let word = UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt32.self))
        guard UInt8(truncatingIfNeeded: word) == type else { return nil }
        let first = Int(word >> 8 & 0xff) &- 0x30
        guard first >= 0, first <= 9 else { return nil }
        if word >> 16 == 0x0a0d {
            (value, end) = (first, start &+ 4)
            return
        }
        let second = Int(word >> 16 & 0xff) &- 0x30
        guard first != 0, second >= 0, second <= 9, start &+ 6 <= bytes.byteCount else { return nil }
        if bytes.isLineEnd(at: start &+ 3) {
            (value, end) = (first &* 10 &+ second, start &+ 5)
            return
        }
        let third = Int(word >> 24) &- 0x30
        guard third >= 0, third <= 9, bytes.isLineEnd(at: start &+ 4) else { return nil }
        (value, end) = (first &* 100 &+ second &* 10 &+ third, start &+ 6)
    }
}

extension RawSpan {
    /// Whether CR LF is at an offset, two bytes before the end or earlier.
    @inline(__always)
    func isLineEnd(at offset: Int) -> Bool {
        UInt16(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self)) == 0x0a0d
    }
}

/// Reads a whole number of digits only; `nil` for anything else, for nothing, or for more than `maximum`.
func readDigits(_ bytes: Span<UInt8>, in range: Range<Int>, maximum: Int64) -> Int64? {
    guard !range.isEmpty, range.count <= 19 else { return nil }
    var value: Int64 = 0
    for index in range {
        let digit = bytes[index] &- UInt8(ascii: "0")
        guard digit <= 9 else { return nil }
        let (product, over) = value.multipliedReportingOverflow(by: 10)
        let (sum, overAgain) = product.addingReportingOverflow(Int64(digit))
        guard !over, !overAgain else { return nil }
        value = sum
    }
    return value <= maximum ? value : nil
}
