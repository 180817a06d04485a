/// Words of up to eight letters, lower-cased and packed into one integer, so that one comparison finds a command or an
/// option. A byte with bit 5 set equals a small letter only if it was that letter in either case, so only the word
/// itself matches.
enum PackedWord {
    static let check: UInt64 = 0x63_6865_636b
    static let peek: UInt64 = 0x7065_656b
    static let cost: UInt64 = 0x636f_7374
    static let server: UInt64 = 0x7365_7276_6572
    static let session: UInt64 = 0x73_6573_7369_6f6e
    static let attribute: UInt64 = 0x6174_7472
    static let reserve: UInt64 = 0x72_6573_6572_7665
    static let id: UInt64 = 0x6964
    static let approved: UInt64 = 0x6170_7072_6f76_6564
    static let trace: UInt64 = 0x74_7261_6365

    /// The packed word of a range; 0, which is not a word, if the range is empty or has more than eight bytes.
    @inline(__always)
    static func of(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
        guard range.count <= 8, !range.isEmpty else { return 0 }
        if range.lowerBound &+ 8 <= bytes.count {
            // The bytes after the word are read with it and shifted out.
            let word = bytes.bytes.unsafeLoadUnaligned(fromByteOffset: range.lowerBound, as: UInt64.self)
            return (UInt64(bigEndian: word) | 0x2020_2020_2020_2020) >> UInt64(64 &- 8 &* range.count)
        }
        var word: UInt64 = 0
        for index in range { word = word << 8 | UInt64(bytes[index] | 0x20) }
        return word
    }
}

/// The rule for a name: 1 to `ProtocolBounds.maxNameBytes` bytes of UTF-8, without a NUL, because it becomes part of a
/// readable key.
enum NameFault {
    case empty
    case tooLong
    case nul
    case notUTF8

    @inline(__always)
    static func find(in bytes: Span<UInt8>, _ range: Range<Int>) -> NameFault? {
        if range.isEmpty { return .empty }
        if range.count > ProtocolBounds.maxNameBytes { return .tooLong }
        if isPlainASCII(bytes, range) { return nil }
        return findSlowly(in: bytes, range)
    }

    /// Whether every byte is 1 to 127. Eight bytes at a time; the last eight overlap the ones before them.
    @inline(__always)
    private static func isPlainASCII(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard range.count >= 8 else {
            guard range.lowerBound &+ 8 <= bytes.count else {
                for index in range where bytes[index] &- 1 >= 127 { return false }
                return true
            }
            let word = bytes.bytes.unsafeLoadUnaligned(fromByteOffset: range.lowerBound, as: UInt64.self)
            // The bytes after the name are read with it and shifted out; ones replace them, which are plain.
            return isPlain(
                UInt64(littleEndian: word) << UInt64(64 &- 8 &* range.count) | 0x0101_0101_0101_0101
                    >> UInt64(8 &* range.count))
        }
        var index = range.lowerBound
        while index < range.upperBound {
            let offset = min(index, range.upperBound - 8)
            let word = bytes.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            guard isPlain(word) else { return false }
            index &+= 8
        }
        return true
    }

    /// Whether each byte of a word is 1 to 127: subtracting one sets the top bit of a zero byte. If no byte is zero, it
    /// sets none.
    @inline(__always)
    private static func isPlain(_ word: UInt64) -> Bool {
        (word | (word &- 0x0101_0101_0101_0101)) & 0x8080_8080_8080_8080 == 0
    }

    private static func findSlowly(in bytes: Span<UInt8>, _ range: Range<Int>) -> NameFault? {
        var index = range.lowerBound
        while index < range.upperBound {
            let length = scalarLength(bytes, index, range.upperBound)
            if length == 0 { return .notUTF8 }
            if bytes[index] == 0 { return .nul }
            index += length
        }
        return nil
    }
}

/// The number of bytes of the UTF-8 scalar that begins at `index` and ends before `end`; 0 if it is malformed:
/// overlong, a surrogate, above U+10FFFF or cut off (Unicode's table 3-7).
func scalarLength(_ bytes: Span<UInt8>, _ index: Int, _ end: Int) -> Int {
    func continues(_ offset: Int, _ allowed: ClosedRange<UInt8> = 0x80...0xbf) -> Bool {
        index + offset < end && allowed.contains(bytes[index + offset])
    }
    switch bytes[index] {
    case 0x00...0x7f: return 1
    case 0xc2...0xdf: return continues(1) ? 2 : 0
    case 0xe0: return continues(1, 0xa0...0xbf) && continues(2) ? 3 : 0
    case 0xed: return continues(1, 0x80...0x9f) && continues(2) ? 3 : 0
    case 0xe1...0xef: return continues(1) && continues(2) ? 3 : 0
    case 0xf0: return continues(1, 0x90...0xbf) && continues(2) && continues(3) ? 4 : 0
    case 0xf4: return continues(1, 0x80...0x8f) && continues(2) && continues(3) ? 4 : 0
    case 0xf1...0xf3: return continues(1) && continues(2) && continues(3) ? 4 : 0
    default: return 0
    }
}

extension Span where Element == UInt8 {
    /// The text of a range; bytes that are not UTF-8 are replaced.
    package func string(_ range: Range<Int>) -> String {
        extracting(range).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// A caller's word as an error may repeat it: in quotes, cut to `ProtocolBounds.maxQuotedBytes`, with a question
    /// mark for each byte that is not printable ASCII, so that it cannot disturb a reply, log or terminal.
    func quoted(_ range: Range<Int>) -> String {
        let isCut = range.count > ProtocolBounds.maxQuotedBytes
        var text = "'"
        for index in range.prefix(ProtocolBounds.maxQuotedBytes) {
            let byte = self[index]
            text.unicodeScalars.append((0x20..<0x7f).contains(byte) ? UnicodeScalar(byte) : "?")
        }
        return text + (isCut ? "...'" : "'")
    }
}
