package import NIOCore

/// Writes replies into a buffer, in the version of RESP that the connection had when the request was read.
///
/// A value of two bytes: keep one with each request that waits, since `HELLO` may come behind it.
package struct ReplyWriter: Sendable, Equatable {
    package var version: RESPVersion

    package init(version: RESPVersion) {
        self.version = version
    }

    /// An error: its code word and one sentence. Line ends in the sentence become spaces, which keeps the framing whole.
    package func writeError(_ code: ErrorCode, _ sentence: String, to output: inout ByteBuffer) {
        output.writeInteger(UInt8(ascii: "-"))
        output.writeString(code.rawValue)
        output.writeInteger(UInt8(ascii: " "))
        writeLine(sentence, to: &output)
    }

    package func writeError(_ error: RequestError, to output: inout ByteBuffer) {
        writeError(error.code, error.sentence, to: &output)
    }

    package func writeError(_ error: FrameError, to output: inout ByteBuffer) {
        writeError(error.code, error.sentence, to: &output)
    }

    package func writeOK(to output: inout ByteBuffer) {
        output.writeStaticString("+OK\r\n")
    }

    /// A word such as a status. Line ends become spaces.
    package func writeSimpleString(_ text: String, to output: inout ByteBuffer) {
        output.writeInteger(UInt8(ascii: "+"))
        writeLine(text, to: &output)
    }

    package func writeInteger(_ value: Int64, to output: inout ByteBuffer) {
        writeHeader(UInt8(ascii: ":"), value, to: &output)
    }

    package func writeBulkString(_ text: String, to output: inout ByteBuffer) {
        writeHeader(UInt8(ascii: "$"), Int64(text.utf8.count), to: &output)
        output.writeString(text)
        output.writeStaticString("\r\n")
    }

    /// The bytes of an argument, exactly as they came.
    package func writeBulkString(_ range: Range<Int>, of input: ByteBuffer, to output: inout ByteBuffer) {
        writeHeader(UInt8(ascii: "$"), Int64(range.count), to: &output)
        output.writeBytes(
            input.readableBytesView[input.readerIndex + range.lowerBound..<input.readerIndex + range.upperBound])
        output.writeStaticString("\r\n")
    }

    /// Text for a person to read: a verbatim string in RESP3, a bulk string in RESP2.
    package func writeText(_ text: String, to output: inout ByteBuffer) {
        guard version == .resp3 else { return writeBulkString(text, to: &output) }
        writeHeader(UInt8(ascii: "="), Int64(text.utf8.count + 4), to: &output)
        output.writeStaticString("txt:")
        output.writeString(text)
        output.writeStaticString("\r\n")
    }

    package func writeNull(to output: inout ByteBuffer) {
        switch version {
        case .resp2: output.writeStaticString("$-1\r\n")
        case .resp3: output.writeStaticString("_\r\n")
        }
    }

    /// `true` and `false` in RESP3, 1 and 0 in RESP2.
    package func writeBoolean(_ value: Bool, to output: inout ByteBuffer) {
        switch version {
        case .resp2: writeInteger(value ? 1 : 0, to: &output)
        case .resp3: output.writeStaticString(value ? "#t\r\n" : "#f\r\n")
        }
    }

    /// The header of an array; `count` elements are to follow.
    package func writeArrayHeader(_ count: Int, to output: inout ByteBuffer) {
        writeHeader(UInt8(ascii: "*"), Int64(count), to: &output)
    }

    /// The header of a set, an array in RESP2; `count` elements are to follow.
    package func writeSetHeader(_ count: Int, to output: inout ByteBuffer) {
        writeHeader(version == .resp3 ? UInt8(ascii: "~") : UInt8(ascii: "*"), Int64(count), to: &output)
    }

    /// The header of a map, an array of keys and values in turn in RESP2; `count` pairs are to follow.
    package func writeMapHeader(_ count: Int, to output: inout ByteBuffer) {
        switch version {
        case .resp2: writeHeader(UInt8(ascii: "*"), Int64(count) * 2, to: &output)
        case .resp3: writeHeader(UInt8(ascii: "%"), Int64(count), to: &output)
        }
    }

    private func writeHeader(_ type: UInt8, _ value: Int64, to output: inout ByteBuffer) {
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: RawOutput.integerBytes) { bytes in
            var raw = RawOutput(bytes)
            raw.integer(type, value)
            return raw.count
        }
    }

    private func writeLine(_ text: String, to output: inout ByteBuffer) {
        if text.utf8.contains(where: { $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\n") }) {
            output.writeBytes(text.utf8.lazy.map { $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\n") ? 0x20 : $0 })
        } else {
            output.writeString(text)
        }
        output.writeStaticString("\r\n")
    }
}

/// Writes RESP into memory that was reserved beforehand, without a check of its length for each piece.
struct RawOutput {
    /// Most bytes of a number with its type byte and line end.
    static let integerBytes = 1 + 20 + 2

    private let bytes: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ bytes: UnsafeMutableRawBufferPointer) {
        self.bytes = bytes
    }

    @inline(__always)
    mutating func byte(_ byte: UInt8) {
        bytes[count] = byte
        count += 1
    }

    @inline(__always)
    mutating func text(_ text: StaticString) {
        let length = text.utf8CodeUnitCount
        UnsafeMutableRawBufferPointer(rebasing: bytes[count..<count + length])
            .copyMemory(from: UnsafeRawBufferPointer(start: text.utf8Start, count: length))
        count += length
    }

    @inline(__always)
    mutating func text(_ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            UnsafeMutableRawBufferPointer(rebasing: bytes[count..<count + utf8.count])
                .copyMemory(from: UnsafeRawBufferPointer(utf8))
            count += utf8.count
        }
    }

    /// A type byte, a number and a line end.
    @inline(__always)
    mutating func integer(_ type: UInt8, _ value: Int64) {
        byte(type)
        if value < 0 { byte(UInt8(ascii: "-")) }
        digits(value.magnitude)
        byte(UInt8(ascii: "\r"))
        byte(UInt8(ascii: "\n"))
    }

    /// A number digit by digit, from the last one.
    @inline(__always)
    mutating func digits(_ value: UInt64) {
        let length = Self.digitCount(value)
        var rest = value
        var index = count + length
        repeat {
            index -= 1
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            bytes[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit)
            rest = quotient
        } while rest > 0
        count += length
    }

    @inline(__always)
    static func digitCount(_ value: UInt64) -> Int {
        var length = 1
        var power: UInt64 = 10
        while value >= power, length < 20 {
            length += 1
            let (next, overflow) = power.multipliedReportingOverflow(by: 10)
            if overflow { return value >= power ? 20 : length }
            power = next
        }
        return length
    }
}
