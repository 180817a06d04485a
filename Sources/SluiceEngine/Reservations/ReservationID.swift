/// Identifies a reservation: 128 random bits, so that it cannot be guessed. As text, 32 hexadecimal digits.
package struct ReservationID: Sendable, Hashable, CustomStringConvertible {
    static let digitCount = 32
    package let high: UInt64
    package let low: UInt64

    /// - Parameter random: its output must be secret.
    package init(using random: inout some RandomNumberGenerator) {
        high = random.next()
        low = random.next()
    }

    /// Parses `description`, and accepts no other spelling.
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
