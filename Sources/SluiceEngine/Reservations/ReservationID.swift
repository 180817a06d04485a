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

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The most partitions that an id names.
    static let maxPartitions = 4

    /// The same id, whose last four bytes name the partitions that have a part of the reservation, so that every
    /// replica can settle all of them: 96 random bits are left.
    ///
    /// - Parameter partitions: one to four.
    func naming(_ partitions: [Int]) -> ReservationID {
        precondition((1...Self.maxPartitions).contains(partitions.count))
        let named = (0..<Self.maxPartitions).reduce(UInt64(0)) {
            $0 << 8 | UInt64(partitions[min($1, partitions.count - 1)] & 0xFF)
        }
        return ReservationID(high: high, low: low & ~0xFFFF_FFFF | named)
    }

    /// The partitions that `naming` wrote, each once.
    var partitions: [Int] {
        Set((0..<Self.maxPartitions).map { Int(low >> (8 * $0) & 0xFF) }).sorted()
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
