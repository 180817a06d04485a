internal import NIOCore

/// Writes commands as arrays of bulk strings, as Redis expects them.
extension ByteBuffer {
    /// A whole command; not for the path of a check.
    mutating func writeCommand(_ words: [[UInt8]]) {
        writeArrayHeader(words.count)
        for word in words { writeBulk(word) }
    }

    mutating func writeCommand(_ words: String...) {
        writeCommand(words.map { Array($0.utf8) })
    }

    /// `*3\r\n`
    mutating func writeArrayHeader(_ count: Int) {
        writeHeader(UInt8(ascii: "*"), count)
    }

    /// `$3\r\nfoo\r\n`
    mutating func writeBulk(_ bytes: some Collection<UInt8>) {
        writeHeader(UInt8(ascii: "$"), bytes.count)
        writeBytes(bytes)
        writeLineEnd()
    }

    /// `$2\r\n42\r\n`
    mutating func writeBulk(decimal value: Int) {
        writeHeader(UInt8(ascii: "$"), value.decimalDigits)
        writeDecimal(value)
        writeLineEnd()
    }

    mutating func writeLineEnd() { writeInteger(0x0d0a as UInt16) }

    private mutating func writeHeader(_ kind: UInt8, _ count: Int) {
        guard count < 1_000 else {
            writeInteger(kind)
            writeDecimal(count)
            writeLineEnd()
            return
        }
        // A short header fits one word: its bytes are assembled in order and written at once. The bytes left over are
        // overwritten by the next write.
        var word = UInt64(kind)
        if count >= 100 { word = word << 8 | UInt64(48 + count / 100) }
        if count >= 10 { word = word << 8 | UInt64(48 + count / 10 % 10) }
        word = word << 8 | UInt64(48 + count % 10)
        word = word << 16 | 0x0d0a
        let unused = word.leadingZeroBitCount / 8
        writeInteger(word << (unused * 8))
        moveWriterIndex(to: writerIndex - unused)
    }

    /// At least 0.
    private mutating func writeDecimal(_ value: Int) {
        var divisor = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            writeInteger(UInt8(48 + value / divisor % 10))
            divisor /= 10
        }
    }
}

extension Int {
    /// How many decimal digits the number has; for 0 and above.
    fileprivate var decimalDigits: Int {
        var digits = 1
        var rest = self / 10
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        return digits
    }
}
