/// Reads the fields of a protobuf message one after the other, without a copy: what is not asked for costs nothing but its
/// head. Follows https://protobuf.dev/programming-guides/encoding/.
struct WireReader {
    /// The bytes are no message.
    struct Malformed: Error {}

    /// One field, and where its value lies.
    struct Field {
        enum Kind {
            /// A text, bytes or a message.
            case bytes
            /// Eight bytes, such as a double.
            case fixed64
            case other
        }

        var number: UInt64
        var range: Range<Int>
        var kind: Kind

        var isBytes: Bool { kind == .bytes }
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
            return Field(number: number, range: start..<at, kind: .bytes)
        }
        let start = at
        try skip(tag, depth: 0)
        return Field(number: number, range: start..<at, kind: tag & 7 == Self.fixed64 ? .fixed64 : .other)
    }

    /// The name and the value of an entry of a map.
    static func entry(
        _ bytes: [UInt8], _ range: Range<Int>
    ) throws(Malformed) -> (name: Range<Int>, value: Range<Int>) {
        var entry = (name: 0..<0, value: 0..<0)
        var fields = Self(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes else { continue }
            if field.number == 1 { entry.name = field.range } else if field.number == 2 { entry.value = field.range }
        }
        return entry
    }

    static func text(_ bytes: [UInt8], _ range: Range<Int>) throws(Malformed) -> String {
        guard let text = String(validating: bytes[range], as: UTF8.self) else { throw Malformed() }
        return text
    }

    /// Whether the bytes of a range are this text.
    static func equals(_ bytes: [UInt8], _ range: Range<Int>, _ text: String) -> Bool {
        range.count == text.utf8.count && bytes[range].elementsEqual(text.utf8)
    }

    private static let fixed64: UInt64 = 1
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
