/// Reads the fields of a protobuf message one after the other, without a copy: what is not asked for costs nothing but its
/// head. Follows https://protobuf.dev/programming-guides/encoding/.
struct WireReader {
    /// The bytes are no message.
    struct Malformed: Error {}

    /// One field. What is neither text, bytes nor a message has an empty range.
    struct Field {
        var number: UInt64
        var range: Range<Int>
        var isBytes: Bool
    }

    private let bytes: [UInt8]
    private var at: Int
    private let end: Int

    init(_ bytes: [UInt8], _ range: Range<Int>? = nil) {
        self.bytes = bytes
        at = range?.lowerBound ?? 0
        end = range?.upperBound ?? bytes.count
    }

    /// The next field; nil at the end.
    mutating func next() throws(Malformed) -> Field? {
        guard at < end else { return nil }
        let tag = try varint()
        let number = tag >> 3
        guard number > 0, tag <= UInt32.max else { throw Malformed() }
        if tag & 7 == Self.lengthDelimited {
            let length = try varint()
            guard length <= end - at else { throw Malformed() }
            let start = at
            at += Int(length)
            return Field(number: number, range: start..<at, isBytes: true)
        }
        try skip(tag, depth: 0)
        return Field(number: number, range: at..<at, isBytes: false)
    }

    private static let lengthDelimited: UInt64 = 2
    /// Groups within groups, as SwiftProtobuf bounds them.
    private static let maxDepth = 100

    private mutating func skip(_ tag: UInt64, depth: Int) throws(Malformed) {
        switch tag & 7 {
        case 0: _ = try varint()
        case 1: try advance(by: 8)
        case 2: try advance(by: varint())
        case 3:
            guard depth < Self.maxDepth else { throw Malformed() }
            while true {
                let inner = try varint()
                guard inner >> 3 > 0, inner <= UInt32.max else { throw Malformed() }
                if inner & 7 == 4 {
                    guard inner >> 3 == tag >> 3 else { throw Malformed() }
                    return
                }
                try skip(inner, depth: depth + 1)
            }
        case 5: try advance(by: 4)
        default: throw Malformed()
        }
    }

    private mutating func advance(by count: UInt64) throws(Malformed) {
        guard count <= end - at else { throw Malformed() }
        at += Int(count)
    }

    private mutating func varint() throws(Malformed) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard at < end else { throw Malformed() }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        throw Malformed()
    }
}
