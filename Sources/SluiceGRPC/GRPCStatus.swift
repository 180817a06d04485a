/// The result of a call that has no message: a code, and a sentence that says what to do.
package struct GRPCStatus: Error, Sendable, Equatable {
    /// The codes that this server sends.
    package enum Code: Int, Sendable {
        case ok = 0
        case invalidArgument = 3
        case deadlineExceeded = 4
        case notFound = 5
        case resourceExhausted = 8
        case unimplemented = 12
        case internalError = 13
        case unavailable = 14
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The message as a header carries it: percent-encoded UTF-8, where printable ASCII but `%` stands for itself.
    package var encodedMessage: String {
        var encoded: [UInt8] = []
        for byte in message.utf8.prefix(GRPCBounds.maxStatusMessageBytes) {
            if byte >= 0x20, byte <= 0x7E, byte != UInt8(ascii: "%") {
                encoded.append(byte)
            } else {
                encoded.append(UInt8(ascii: "%"))
                encoded.append(Self.hexDigits[Int(byte >> 4)])
                encoded.append(Self.hexDigits[Int(byte & 0xF)])
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static let hexDigits = Array("0123456789ABCDEF".utf8)
}

/// The header `grpc-timeout`: up to eight digits and a unit.
package enum GRPCTimeout {
    /// The timeout in ns; nil if the text is no timeout.
    package static func nanoseconds(_ text: String) -> Int64? {
        let digits = text.utf8.dropLast()
        guard let unit = text.utf8.last, (1...8).contains(digits.count),
            digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
        else { return nil }
        let number = digits.reduce(Int64(0)) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
        let unitNs: Int64
        switch unit {
        case UInt8(ascii: "H"): unitNs = 3_600_000_000_000
        case UInt8(ascii: "M"): unitNs = 60_000_000_000
        case UInt8(ascii: "S"): unitNs = 1_000_000_000
        case UInt8(ascii: "m"): unitNs = 1_000_000
        case UInt8(ascii: "u"): unitNs = 1_000
        case UInt8(ascii: "n"): unitNs = 1
        default: return nil
        }
        let (product, overflows) = number.multipliedReportingOverflow(by: unitNs)
        return overflows ? .max : product
    }
}
