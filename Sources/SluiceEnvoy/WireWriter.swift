/// Writes a protobuf message field by field, each value once: sizes are not computed first. Fields with their default are
/// left out by the caller, as proto3 has them.
struct WireWriter {
    private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: about as many bytes as will be written.
    init(capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func integer(_ number: UInt8, _ value: UInt64) {
        bytes.append(number << 3)
        varint(value)
    }

    /// The same, left out if it is 0.
    mutating func count(_ number: UInt8, _ value: UInt64) {
        if value != 0 { integer(number, value) }
    }

    mutating func double(_ number: UInt8, _ value: Double) {
        bytes.append(number << 3 | 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func text(_ number: UInt8, _ text: String) {
        bytes.append(number << 3 | 2)
        varint(UInt64(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }

    /// A message within this one.
    mutating func message(_ number: UInt8, _ write: (inout Self) -> Void) {
        bytes.append(number << 3 | 2)
        let lengthIndex = bytes.count
        // Its length is one byte nearly always.
        bytes.append(0)
        write(&self)
        let length = bytes.count - lengthIndex - 1
        if length < 0x80 {
            bytes[lengthIndex] = UInt8(length)
        } else {
            var prefix = Self(capacity: 10)
            prefix.varint(UInt64(length))
            bytes.replaceSubrange(lengthIndex...lengthIndex, with: prefix.bytes)
        }
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
