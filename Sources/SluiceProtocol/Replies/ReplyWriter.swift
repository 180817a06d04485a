package import NIOCore

/// Writes replies into a buffer, in the form that the connection had when the request was read.
///
/// A value of two bytes: keep one with each waiting request, since a `HELLO` or a `SELECT` may follow it.
package struct ReplyWriter: Sendable, Equatable {
    package let version: RESPVersion
    /// Whether the fields of a decision have names: always in RESP3, in RESP2 after `SELECT 1`.
    package let namesFields: Bool

    package init(version: RESPVersion, namesFields: Bool = false) {
        self.version = version
        self.namesFields = namesFields || version == .resp3
    }

    /// An error: its code word and one sentence. Line ends in the sentence become spaces, so that the framing stays
    /// valid.
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
        if let reply = error.wholeReply {
            output.writeString(reply)
        } else {
            writeError(error.code, error.sentence, to: &output)
        }
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

    /// The bytes of an argument, unchanged.
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

/// Writes RESP into reserved memory. Its creator must have reserved room for all that it will write, and `padding`
/// more, because numbers are stored eight bytes at a time.
struct RawOutput {
    /// Most bytes of a number with its type byte and line end.
    static let integerBytes = 1 + 20 + 2 + padding
    /// Bytes that may be written after the last valid one.
    static let padding = 8

    private let start: UnsafeMutableRawPointer
    private(set) var count = 0

    @inline(__always)
    init(_ bytes: UnsafeMutableRawBufferPointer) {
        start = bytes.baseAddress!
    }

    @inline(__always)
    mutating func byte(_ byte: UInt8) {
        start.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    @inline(__always)
    mutating func text(_ text: StaticString) {
        let length = text.utf8CodeUnitCount
        (start + count).copyMemory(from: text.utf8Start, byteCount: length)
        count &+= length
    }

    @inline(__always)
    mutating func text(_ text: String) {
        let position = start + count
        let length = text.utf8.withContiguousStorageIfAvailable { utf8 in
            if let base = utf8.baseAddress { position.copyMemory(from: base, byteCount: utf8.count) }
            return utf8.count
        }
        guard let length else { return slowText(text) }
        count &+= length
    }

    /// A String whose bytes are not contiguous; only Foundation makes such strings.
    @inline(never)
    private mutating func slowText(_ text: String) {
        for unit in text.utf8 { byte(unit) }
    }

    /// CR LF.
    @inline(__always)
    mutating func lineEnd() {
        start.storeBytes(of: UInt16(0x0a0d).littleEndian, toByteOffset: count, as: UInt16.self)
        count &+= 2
    }

    /// A type byte, a number and a line end.
    @inline(__always)
    mutating func integer(_ type: UInt8, _ value: Int64) {
        byte(type)
        if value < 0 { byte(UInt8(ascii: "-")) }
        digits(value.magnitude)
        lineEnd()
    }

    /// A number in decimal.
    @inline(__always)
    mutating func digits(_ value: UInt64) {
        if value < 100_000_000 { shortDigits(UInt32(truncatingIfNeeded: value)) } else { longDigits(value) }
    }

    /// Fewer than nine digits: collected in a word, beginning with the last one, so that the first is in the lowest
    /// byte.
    @inline(__always)
    private mutating func shortDigits(_ value: UInt32) {
        var rest = value
        var word: UInt64 = 0
        var length = 0
        repeat {
            let quotient = rest / 10
            word = word << 8 | UInt64(rest &- quotient &* 10 &+ 0x30)
            rest = quotient
            length &+= 1
        } while rest > 0
        start.storeBytes(of: word.littleEndian, toByteOffset: count, as: UInt64.self)
        count &+= length
    }

    @inline(never)
    private mutating func longDigits(_ value: UInt64) {
        let (high, low) = value.quotientAndRemainder(dividingBy: 100_000_000)
        digits(high)
        start.storeBytes(of: Self.eightDigits(low).littleEndian, toByteOffset: count, as: UInt64.self)
        count += 8
    }

    /// The eight digits of a number below 10^8 as text, the first in the lowest byte: halves, quarters and digits are
    /// split side by side in one word. (Khuong, "How to print integers really fast", 2017.)
    private static func eightDigits(_ value: UInt64) -> UInt64 {
        let top = value / 10_000
        let halves = top | (value &- top &* 10_000) << 32
        let upper = (halves &* 10_486) >> 20 & 0x7F_0000_007F
        let quarters = upper | (halves &- upper &* 100) << 16
        let tens = (quarters &* 103) >> 10 & 0x000F_000F_000F_000F
        return (tens | (quarters &- tens &* 10) << 8) &+ 0x3030_3030_3030_3030
    }

    static func digitCount(_ value: UInt64) -> Int {
        var length = 1
        var rest = value / 10
        while rest > 0 {
            length += 1
            rest /= 10
        }
        return length
    }
}
