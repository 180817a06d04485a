/// What a decimal number that ends a line came to.
enum DecimalLine {
    /// The number, saturated at the ends of `Int64`, and the offset behind its CR LF.
    case value(Int64, end: Int)
    /// The bytes end before the line does, and so far are right.
    case incomplete
    case invalid
}

/// Reads a whole number that ends with CR LF, as headers and integer replies carry it: an optional minus, no leading
/// zero, no other sign, no space. `maxBytes` bounds what is looked at, line end not counted.
func readDecimal(_ bytes: Span<UInt8>, from start: Int, maxBytes: Int) -> DecimalLine {
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
            // Counting downwards reaches the lowest number, which has no positive twin.
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

/// Reads a whole number of digits alone; `nil` if there is anything else, nothing, or more than `maximum`.
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
