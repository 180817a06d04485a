/// Names a reservation: 128 random bits, so that nobody can guess another's. As text, 32 hexadecimal digits.
package struct ReservationID: Sendable, Hashable, CustomStringConvertible {
    static let digitCount = 32
    package let high: UInt64
    package let low: UInt64

    /// - Parameter random: nobody else may know what it gives.
    package init(using random: inout some RandomNumberGenerator) {
        high = random.next()
        low = random.next()
    }

    /// Reads `description` again, and nothing else.
    package init?(_ text: some Sequence<UInt8>) {
        var digits: [UInt64] = []
        for byte in text {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits.append(UInt64(byte - UInt8(ascii: "0")))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digits.append(UInt64(byte - UInt8(ascii: "a") + 10))
            default: return nil
            }
            guard digits.count <= Self.digitCount else { return nil }
        }
        guard digits.count == Self.digitCount else { return nil }
        high = digits[..<16].reduce(0) { $0 << 4 | $1 }
        low = digits[16...].reduce(0) { $0 << 4 | $1 }
    }

    package var description: String { Self.hexadecimal(high) + Self.hexadecimal(low) }

    /// 16 digits.
    package static func hexadecimal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
