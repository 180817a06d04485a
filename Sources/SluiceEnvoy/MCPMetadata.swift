/// What Envoy's mcp filter says of a request, as it lies in a `google.protobuf.Struct`.
struct MCPMetadata: Sendable, Equatable {
    enum Value: Sendable, Equatable {
        /// Not there, or without a value.
        case none
        case text(String)
        case number(Double)
        case other
    }

    private(set) var method = Value.none
    private(set) var id = Value.none
    /// What is called: `name` of `params`.
    private(set) var name = Value.none

    /// - Throws: if what is read of the struct is malformed.
    init(_ bytes: [UInt8], _ range: Range<Int>) throws(WireReader.Malformed) {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes, field.number == 1 else { continue }
            let (key, value) = try WireReader.entry(bytes, field.range)
            switch key.count {
            case 6 where WireReader.equals(bytes, key, "method"): method = try Self.value(bytes, value).value
            case 2 where WireReader.equals(bytes, key, "id"): id = try Self.value(bytes, value).value
            case 6 where WireReader.equals(bytes, key, "params"):
                name = .none
                guard let members = try Self.value(bytes, value).members else { continue }
                name = try Self.name(bytes, members)
            default: break
            }
        }
    }

    private static func name(_ bytes: [UInt8], _ range: Range<Int>) throws(WireReader.Malformed) -> Value {
        var name = Value.none
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes, field.number == 1 else { continue }
            let (key, value) = try WireReader.entry(bytes, field.range)
            if WireReader.equals(bytes, key, "name") { name = try Self.value(bytes, value).value }
        }
        return name
    }

    /// Reads a `google.protobuf.Value`: of several kinds the last counts.
    /// - Returns: it, and where its members are if it is a struct.
    private static func value(
        _ bytes: [UInt8], _ range: Range<Int>
    ) throws(WireReader.Malformed) -> (value: Value, members: Range<Int>?) {
        var result = (value: Value.none, members: Range<Int>?.none)
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            switch (field.number, field.kind) {
            case (2, .fixed64):
                let bits = bytes[field.range].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                result = (.number(Double(bitPattern: bits)), nil)
            case (3, .bytes): result = (.text(try WireReader.text(bytes, field.range)), nil)
            case (5, .bytes): result = (.other, field.range)
            case (6, .bytes), (1, .other), (4, .other): result = (.other, nil)
            default: break
            }
        }
        return result
    }
}
